//! How long a revocation takes from one node to the others: with NOTIFY, and where nothing is heard and polling is all.
//!
//! The span begins with the acknowledgement of one node and ends with the first answer of another that says so. That
//! nothing is heard is made by freezing the connections that listen: they stay open, so no node notices, and none of
//! them tries to listen anew.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use tokio::task::JoinSet;

use super::bed::Bed;
use super::clients::Clients;
use super::faults::listening;
use super::history::{Answer, Asked, Moment};
use super::nodes::NODES;

/// How many revocations are under way at once, where they are heard of and where they are not: there each waits long.
const HEARD_AT_ONCE: usize = 1;
const UNHEARD_AT_ONCE: usize = 24;

/// With NOTIFY, at the 99th of a hundred.
const GOAL: Duration = Duration::from_millis(50);

/// Measures both ways; whether none was past the bound.
pub async fn measure(bed: &Bed, samples: usize, bound: Duration) -> anyhow::Result<bool> {
    let clients = Arc::new(Clients::new(bed.nodes.urls())?);
    let heard = spans(&clients, samples, HEARD_AT_ONCE).await?;
    tell("with NOTIFY", &heard, bound);
    println!("  goal: p99 under {GOAL:?}, {}", if percentile(&heard, 99) < GOAL { "met" } else { "missed" });
    for (_, port) in listening(bed).await? {
        ensure!(bed.pair.door.freeze_one(port), "no connection from port {port}");
    }
    let polled = spans(&clients, samples, UNHEARD_AT_ONCE).await?;
    tell("with polling", &polled, bound);
    Ok(heard.iter().chain(&polled).all(|span| *span <= bound))
}

fn tell(how: &str, spans: &[Duration], bound: Duration) {
    let [p50, p99] = [50, 99].map(|share| percentile(spans, share).as_secs_f64() * 1e3);
    let longest = spans.last().copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!(
        "revoke to inactive, {how}: p50 {p50:.1} ms, p99 {p99:.1} ms, longest {longest:.1} ms of {} (bound {:.0} ms)",
        spans.len(),
        bound.as_secs_f64() * 1e3
    );
}

/// Of spans in their order.
fn percentile(spans: &[Duration], share: usize) -> Duration {
    spans.get((spans.len() * share).div_ceil(100).saturating_sub(1)).copied().unwrap_or_default()
}

/// From acknowledgement to the first inactive answer of each other node, shortest first.
async fn spans(clients: &Arc<Clients>, samples: usize, at_once: usize) -> anyhow::Result<Vec<Duration>> {
    let mut under_way = JoinSet::new();
    let mut spans = Vec::new();
    for sample in 0..samples {
        if sample >= at_once {
            spans.extend(under_way.join_next().await.context("nothing is under way")???);
        }
        under_way.spawn(revoke(Arc::clone(clients), sample % NODES));
    }
    while let Some(done) = under_way.join_next().await {
        spans.extend(done??);
    }
    spans.sort_unstable();
    Ok(spans)
}

async fn revoke(clients: Arc<Clients>, at: usize) -> anyhow::Result<[Duration; NODES - 1]> {
    let session = clients.new_session();
    let Answer::Tokens { access, refresh } = clients.ask(at, session, Asked::Login).await else {
        bail!("a login failed");
    };
    let asked = Asked::IsActive(access);
    let others = [(at + 1) % NODES, (at + 2) % NODES];
    for node in others {
        let answer = clients.ask(node, session, asked.clone()).await;
        ensure!(matches!(answer, Answer::Active(true)), "a fresh token was not active: {answer:?}");
    }
    let answer = clients.ask(at, session, Asked::Revoke(refresh)).await;
    ensure!(matches!(answer, Answer::Revoked), "a revocation failed: {answer:?}");
    let acknowledged = clients.now();
    let (one, other) = tokio::join!(
        until_inactive(&clients, others[0], session, &asked, acknowledged),
        until_inactive(&clients, others[1], session, &asked, acknowledged)
    );
    Ok([one?, other?])
}

async fn until_inactive(
    clients: &Clients,
    node: usize,
    session: usize,
    asked: &Asked,
    acknowledged: Moment,
) -> anyhow::Result<Duration> {
    loop {
        match clients.ask(node, session, asked.clone()).await {
            Answer::Active(true) => {}
            Answer::Active(false) => return Ok(Duration::from_micros(clients.now().0 - acknowledged.0)),
            other => bail!("an introspection failed: {other:?}"),
        }
    }
}
