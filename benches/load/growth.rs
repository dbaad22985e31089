//! Large tables: the same requests with a thousand sessions and with millions, and while a million expired ones are
//! swept. The requests go to sessions from all over the table.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use latchkey::domain::key::Alg;
use tokio::runtime::Runtime;

use super::closed::Effort;
use super::forge::{Forge, Hands};
use super::generator::{Answer, Caller, Load, Span, drive};
use super::goals::{Operation, judge_growth, judge_sweep};
use super::logins::{PROBES, probes, short};
use super::measured::{Measured, median};
use super::operations::{Fixed, Login, Refreshing, callers, post};
use super::place::Place;
use super::report::{Figure, Row, number};
use super::server::Server;

/// How many sessions are in use at the same time, at the most.
const IN_USE: u64 = 100_000;

/// What is measured at each size.
const KINDS: [&str; 3] = ["refresh", "introspect access", "introspect refresh"];

/// For how long expired rows may take to go.
const SWEEP_PATIENCE: Duration = Duration::from_secs(600);

/// # Errors
/// The service does not start, or an answer is not what must come.
pub fn grow(runtime: &Runtime, place: &Place, effort: Effort<'_>, sizes: &[u64]) -> anyhow::Result<Vec<Row>> {
    login(place)?;
    let mut rows = Vec::new();
    let mut small: Option<[f64; KINDS.len()]> = None;
    let mut written = 0;
    for size in sizes {
        eprintln!("growth on {}: {} sessions", place.store, number(*size as f64));
        runtime.block_on(write(place, written, *size, Duration::ZERO))?;
        let measured = at_size(place, effort, written, *size)?;
        written = *size;
        let p99 = measured.map(|measured| measured.latency.p99);
        for (index, (kind, measured)) in KINDS.into_iter().zip(measured).enumerate() {
            let held = small.iter().map(|small| judge_growth(measured.latency.p99, small[index])).collect();
            let operation = format!("{kind}, {} sessions", number(*size as f64));
            rows.push(Row { operation, database: place.store.to_string(), figure: Figure::Requests(measured), held });
        }
        small.get_or_insert(p99);
    }
    Ok(rows)
}

/// A session that the others are copies of.
fn login(place: &Place) -> anyhow::Result<()> {
    let server = Server::start(place)?;
    Login::of(place, Alg::ES256)?;
    server.stop()
}

async fn write(place: &Place, from: u64, to: u64, age: Duration) -> anyhow::Result<()> {
    let mut hands = Hands::on(place).await?;
    hands.forge(place.clients.es256.id, from, to, age).await?;
    hands.settle(place).await?;
    hands.close().await
}

/// Each kind, with sessions that nobody has used before among those from `fresh` on.
fn at_size(place: &Place, effort: Effort<'_>, fresh: u64, size: u64) -> anyhow::Result<[Measured; KINDS.len()]> {
    let runs = effort.runs.max(1) as u64;
    let unused = Unused { place, fresh, size, connections: effort.connections as u64, parts: effort.parts() };
    let mut measured = KINDS.map(|_| Vec::new());
    for run in 0..runs {
        let server = Server::start(place)?;
        // Before they are used up: looking at them changes nothing.
        measured[2].push(one(&server, unused.introspecting(run)?, effort.span)?);
        measured[0].push(one(&server, unused.refreshing(run)?, effort.span)?);
        let cached = callers(Operation::Introspection, place, effort.connections)?;
        measured[1].push(one(&server, cached, effort.span)?);
        server.stop()?;
    }
    let name = format!("refresh-of-{size}");
    effort.flames.draw(&name, place, || Ok(vec![Load::closed(unused.refreshing(runs)?)]))?;
    let middles = measured.map(|runs| median(runs, |run| run.latency.p99));
    let [Some(refresh), Some(cached), Some(read)] = middles else { bail!("there was no run") };
    Ok([refresh, cached, read])
}

/// Sessions from `fresh` on that each run takes its own part of.
struct Unused<'a> {
    place: &'a Place,
    fresh: u64,
    size: u64,
    connections: u64,
    parts: u64,
}

impl Unused<'_> {
    fn refreshing(&self, part: u64) -> anyhow::Result<Vec<Box<dyn Caller>>> {
        self.callers(part, |tokens| Box::new(Roaming::refreshing(self.place, &tokens)))
    }

    fn introspecting(&self, part: u64) -> anyhow::Result<Vec<Box<dyn Caller>>> {
        self.callers(part, |tokens| Box::new(Roaming::introspecting(self.place, &tokens)))
    }

    fn callers(
        &self,
        part: u64,
        make: impl Fn(Vec<String>) -> Box<dyn Caller>,
    ) -> anyhow::Result<Vec<Box<dyn Caller>>> {
        let Self { fresh, size, connections, parts, .. } = *self;
        let used = ((size - fresh) / parts).min(IN_USE) / connections;
        if used == 0 {
            bail!("{size} sessions are too few for {connections} connections and {parts} parts");
        }
        let step = (size - fresh) / (used * connections * parts);
        let forge = Forge::of(self.place);
        let token = |caller: u64, n: u64| forge.token(fresh + ((n * connections + caller) * parts + part) * step);
        let tokens = |caller| (0..used).map(|n| token(caller, n)).collect::<anyhow::Result<_>>();
        (0..connections).map(|caller| Ok(make(tokens(caller)?))).collect()
    }
}

fn one(server: &Server, callers: Vec<Box<dyn Caller>>, span: Span) -> anyhow::Result<Measured> {
    drive(server.target(), vec![Load::closed(callers)], span)?.pop().context("nothing was measured")
}

/// Many sessions, one after the other and again from the first.
struct Roaming<C> {
    sessions: Vec<C>,
    next: usize,
}

impl Roaming<Refreshing> {
    fn refreshing(place: &Place, tokens: &[String]) -> Self {
        let sessions = tokens.iter().map(|token| Refreshing::with(&place.clients.es256, token)).collect();
        Self { sessions, next: 0 }
    }
}

impl Roaming<Fixed> {
    fn introspecting(place: &Place, tokens: &[String]) -> Self {
        let request = |token: &String| {
            let form = format!("token={token}&token_type_hint=refresh_token");
            Fixed::new(post("/oauth2/introspect", &place.clients.es256, &form), 200, r#"{"active":true,"#)
        };
        Self { sessions: tokens.iter().map(request).collect(), next: 0 }
    }
}

impl<C: Caller> Caller for Roaming<C> {
    fn ask(&mut self, request: &mut Vec<u8>) -> bool {
        self.sessions[self.next].ask(request)
    }

    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()> {
        self.sessions[self.next].hear(answer)?;
        self.next = (self.next + 1) % self.sessions.len();
        Ok(())
    }
}

/// The longest request while so many expired sessions are swept, and while none are.
///
/// # Errors
/// The service does not start, an answer is not what must come, or the rows are still there after ten minutes.
pub fn sweep(runtime: &Runtime, place: &Place, effort: Effort<'_>, rows: u64) -> anyhow::Result<Vec<Row>> {
    const LONG_AGO: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
    /// Numbers that no other session has.
    const FIRST: u64 = 1 << 40;
    eprintln!("sweep on {}: {} sessions", place.store, number(rows as f64));
    login(place)?;
    runtime.block_on(write(place, FIRST, FIRST + rows, LONG_AGO))?;
    let server = Server::start(place)?;
    let (began, mut during) = (Instant::now(), [0.0f64; PROBES.len()]);
    effort.flames.draw_on(&server, "sweep", place, || probes(place))?;
    loop {
        for (longest, now) in during.iter_mut().zip(longest(&server, place, effort.span)?) {
            *longest = longest.max(now);
        }
        if runtime.block_on(expired(place))? == 0 {
            break;
        }
        if began.elapsed() > SWEEP_PATIENCE {
            bail!("expired rows are still there after {} s", SWEEP_PATIENCE.as_secs());
        }
    }
    let took = began.elapsed().as_secs();
    let before = longest(&server, place, effort.span)?;
    server.stop()?;
    let row = |what: String, value: f64, held| Row {
        operation: what,
        database: place.store.to_string(),
        figure: Figure::Milliseconds(value),
        held,
    };
    let mut found = Vec::new();
    for (operation, (before, during)) in PROBES.into_iter().zip(before.into_iter().zip(during)) {
        let name = short(operation);
        found.push(row(format!("{name}, longest at a pace"), before, Vec::new()));
        found.push(row(format!("{name}, longest in a {took} s sweep"), during, vec![judge_sweep(during)]));
    }
    Ok(found)
}

/// The longest request of each kind.
fn longest(server: &Server, place: &Place, span: Span) -> anyhow::Result<Vec<f64>> {
    Ok(drive(server.target(), probes(place)?, span)?.into_iter().map(|measured| measured.latency.longest).collect())
}

/// Whether expired sessions are left: 0 or 1.
async fn expired(place: &Place) -> anyhow::Result<i64> {
    const LEFT: &str =
        "SELECT count(*) FROM (SELECT 1 FROM sessions WHERE absolute_expires_at < 1700000000000 LIMIT 1) AS j";
    let mut hands = Hands::on(place).await?;
    let left = hands.count(LEFT).await;
    hands.close().await?;
    left
}
