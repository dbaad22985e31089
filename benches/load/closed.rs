//! One operation in a closed loop, and right after it the bare endpoint on the same request and the limit that its goal
//! names, as often as wanted: what disturbs the machine for a while disturbs both.

use std::time::Duration;

use anyhow::Context as _;
use latchkey::domain::key::Alg;
use tokio::runtime::Runtime;

use super::bare::{Bare, Recorded};
use super::flame::Flames;
use super::forge::{Forge, Hands};
use super::generator::{Caller, Exchange, Load, Span, Target, drive, once};
use super::goals::Operation;
use super::measured::{Measured, median};
use super::operations::{Fixed, Login, Revoking, caller, callers};
use super::place::Place;
use super::server::Server;

/// Sessions a second that a run of revocations may use up; a run that has no more ends early.
const REVOKED: u64 = 20_000;

/// What the server loop writes by itself.
const BY_ITSELF: [&str; 4] = ["content-length", "date", "connection", "transfer-encoding"];

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Effort<'a> {
    pub connections: usize,
    pub span: Span,
    pub runs: usize,
    pub flames: Flames<'a>,
}

impl Effort<'_> {
    /// What sessions are divided into: a part for each run, and one for a flame graph where it is wanted.
    pub fn parts(self) -> u64 {
        self.runs.max(1) as u64 + u64::from(self.flames.are_wanted())
    }
}

/// The medians: of the product, of the bare endpoint, and of what else was measured beside them.
pub struct Compared {
    pub product: Measured,
    pub bare: Measured,
    pub beside: Option<f64>,
}

/// # Errors
/// The service does not start, or an answer is not what must come.
pub fn compare(
    runtime: &Runtime,
    operation: Operation,
    place: &Place,
    effort: Effort<'_>,
    beside: impl Fn() -> anyhow::Result<Option<f64>>,
) -> anyhow::Result<Compared> {
    let forged = if operation == Operation::Revoke { Some(forge_sessions(runtime, place, effort)?) } else { None };
    let (mut products, mut bares, mut limits) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..effort.runs.max(1) {
        let server = Server::start(place)?;
        let (ready, mut sample) = ready(operation, place, effort, run, forged)?;
        let Exchange { request, status, head, body } = once(place.address, sample.as_mut())?;
        products.push(measure(server.target(), ready, effort.span)?);
        server.stop()?;

        let bare = Bare::start(&recorded(status, &head, body)?)?;
        let asking = (0..effort.connections)
            .map(|_| Box::new(Fixed::new(request.clone(), status, "")) as Box<dyn Caller>)
            .collect();
        bares.push(measure(bare.target(), asking, effort.span)?);
        drop(bare);
        limits.extend(beside()?);
    }
    effort.flames.draw(operation.name(), place, || {
        let (asking, _) = ready(operation, place, effort, effort.runs.max(1), forged)?;
        Ok(vec![Load::closed(asking)])
    })?;
    Ok(Compared { product: middle(products)?, bare: middle(bares)?, beside: median(limits, |rate| *rate) })
}

/// What asks in a run, and what asks once for a sample. `forged` is how many sessions each run may revoke.
fn ready(
    operation: Operation,
    place: &Place,
    effort: Effort<'_>,
    run: usize,
    forged: Option<u64>,
) -> anyhow::Result<Ready> {
    match forged {
        Some(each) => revoking(place, effort.connections, run as u64 * each, each),
        None => Ok((callers(operation, place, effort.connections)?, caller(operation, place)?)),
    }
}

fn measure(target: Target, callers: Vec<Box<dyn Caller>>, span: Span) -> anyhow::Result<Measured> {
    drive(target, vec![Load::closed(callers)], span)?.pop().context("nothing was measured")
}

fn middle(runs: Vec<Measured>) -> anyhow::Result<Measured> {
    median(runs, |run| run.rate).context("there was no run")
}

/// Makes sessions to revoke, and answers how many each run has.
fn forge_sessions(runtime: &Runtime, place: &Place, effort: Effort<'_>) -> anyhow::Result<u64> {
    let server = Server::start(place)?;
    Login::of(place, Alg::ES256)?;
    server.stop()?;
    let seconds = (effort.span.warmup + effort.span.measured).as_secs_f64();
    let each = (seconds * REVOKED as f64) as u64 + 1;
    runtime.block_on(async {
        let mut hands = Hands::on(place).await?;
        hands.forge(place.clients.es256.id, 0, each * effort.parts(), Duration::ZERO).await?;
        hands.close().await
    })?;
    Ok(each)
}

type Ready = (Vec<Box<dyn Caller>>, Box<dyn Caller>);

/// Callers that end the sessions from `first` on between them, and one that ends the very first.
fn revoking(place: &Place, connections: usize, first: u64, each: u64) -> anyhow::Result<Ready> {
    let revoking = |first: u64, step: u64, end: u64| {
        let caller = Revoking::new(&place.clients.es256, Forge::of(place), first, step, end)?;
        Ok::<_, anyhow::Error>(Box::new(caller) as Box<dyn Caller>)
    };
    let step = connections as u64;
    let callers = (0..step).map(|n| revoking(first + 1 + n, step, first + each)).collect::<anyhow::Result<_>>()?;
    Ok((callers, revoking(first, 1, first + 1)?))
}

fn recorded(status: u16, head: &[u8], body: Vec<u8>) -> anyhow::Result<Recorded> {
    let head = std::str::from_utf8(head)?;
    let headers = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| !BY_ITSELF.contains(&name.to_ascii_lowercase().as_str()))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    Ok(Recorded { status, headers, body: String::from_utf8(body)? })
}
