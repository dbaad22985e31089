//! What other requests feel of logins: introspections and renewals at a steady pace, without logins and while as many
//! passwords are checked and wait as the service takes.

use std::time::Duration;

use anyhow::Context as _;
use latchkey::config::Settings;
use latchkey::domain::key::Alg;

use super::closed::Effort;
use super::generator::{Load, drive};
use super::goals::{Operation, judge_under_logins};
use super::measured::{Measured, median};
use super::operations::callers;
use super::place::Place;
use super::process::cores;
use super::report::{Figure, Row};
use super::server::Server;

/// What is asked meanwhile: 100 a second by each of two callers.
const PACE: Duration = Duration::from_millis(10);
const CALLERS: usize = 2;

pub const PROBES: [Operation; 2] = [Operation::Introspection, Operation::Refresh(Alg::ES256)];

/// Callers that ask at a steady pace.
fn probe(operation: Operation, place: &Place) -> anyhow::Result<Load> {
    Ok(Load::paced(callers(operation, place, CALLERS)?, PACE))
}

/// All of them.
///
/// # Errors
/// What they need cannot be had.
pub fn probes(place: &Place) -> anyhow::Result<Vec<Load>> {
    PROBES.into_iter().map(|probed| probe(probed, place)).collect()
}

/// All of them, and so many logins at once.
fn crowded(place: &Place, logins: usize) -> anyhow::Result<Vec<Load>> {
    let mut loads = probes(place)?;
    loads.push(Load::closed(callers(Operation::Password, place, logins)?));
    Ok(loads)
}

/// # Errors
/// The service does not start, or an answer is not what must come: a login that finds the queue full, too.
pub fn beside_logins(place: &Place, effort: Effort<'_>) -> anyhow::Result<Vec<Row>> {
    let places = cores() + Settings::default().passwords.queue as usize;
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    for _ in 0..effort.runs.max(1) {
        let server = Server::start(place)?;
        idle.push(drive(server.target(), probes(place)?, effort.span)?);
        busy.push(drive(server.target(), crowded(place, places)?, effort.span)?);
        server.stop()?;
    }
    effort.flames.draw("logins", place, || crowded(place, places))?;
    let mut rows = Vec::new();
    for (index, operation) in PROBES.into_iter().enumerate() {
        let (idle, busy) = (middle(&idle, index)?, middle(&busy, index)?);
        let judged = judge_under_logins(busy.latency.p99, idle.latency.p99);
        let row = |what: String, figure, held| Row {
            operation: format!("{} {what}", short(operation)),
            database: place.store.to_string(),
            figure: Figure::Paced(figure),
            held,
        };
        rows.push(row("at a pace".to_owned(), idle, Vec::new()));
        rows.push(row(format!("beside {places} logins"), busy, vec![judged]));
    }
    Ok(rows)
}

/// What the table has room for.
pub fn short(operation: Operation) -> &'static str {
    match operation {
        Operation::Refresh(_) => "refresh",
        _ => "introspection",
    }
}

/// Of one load, the run whose p99 is in the middle.
fn middle(runs: &[Vec<Measured>], index: usize) -> anyhow::Result<Measured> {
    let runs = runs.iter().filter_map(|loads| loads.get(index)).copied().collect();
    median(runs, |run: &Measured| run.latency.p99).context("there was no run")
}
