//! Work that nobody waits for: following the database, moving keys along, telling clients of logouts, sweeping what has
//! expired.
//!
//! Each job is a step that can be called by itself and a loop that calls it. A job only executes what pure functions
//! planned; a failed step is logged and tried again at its next turn.
//!
//! Of several nodes one moves the keys, and one sweeps, under a lease. A holder may be suspended and go on when the lease
//! is another's, so that nothing depends on it: keys are committed against the revision they were planned from, a sweep
//! takes its lease along in each transaction, and each logout to be told is claimed by a guarded statement of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::admin;
use crate::app::App;
use crate::flows::backchannel;
use crate::replica::PULSE_PACE;
use crate::storage::Lease;

/// How often keys are looked at. A plan that is due waits no longer than this.
const KEY_PACE: Duration = Duration::from_secs(1);
/// How often other nodes hear that this one lives.
const REPORT_PACE: Duration = Duration::from_secs(5);
/// How soon a client hears of a logout.
const LOGOUT_PACE: Duration = Duration::from_secs(1);
const SWEEP_PACE: Duration = Duration::from_secs(30);
/// How often hashes of users are counted. It takes an index and some milliseconds for every hundred thousand.
const LEARN_PACE: Duration = Duration::from_secs(60);
const HOUSEKEEPING_PACE: Duration = Duration::from_secs(5);
/// How long one step of the sweep may take: a writer waits for one such step at the most.
const SWEEP_STEP: Duration = Duration::from_millis(10);
/// Rows of each kind that the first step removes, and the most that one does.
const SWEEP_FIRST: u32 = 32;
const SWEEP_MOST: u32 = 512;

/// Starts every job; dropping the set ends them.
pub fn start(app: &Arc<App>) -> JoinSet<()> {
    let mut jobs = JoinSet::new();
    let pace = app.settings.introspection.revocation_staleness / 2;
    jobs.spawn(keep_following(Arc::clone(app), pace));
    jobs.spawn(repeat(Arc::clone(app), PULSE_PACE, "pulse", beat));
    jobs.spawn(repeat(Arc::clone(app), KEY_PACE, "keys", move_keys));
    jobs.spawn(repeat(Arc::clone(app), REPORT_PACE, "report", report));
    jobs.spawn(repeat(Arc::clone(app), LOGOUT_PACE, "logouts", deliver_logouts));
    jobs.spawn(repeat(Arc::clone(app), SWEEP_PACE, "sweep", sweep));
    jobs.spawn(repeat(Arc::clone(app), LEARN_PACE, "learn", learn_users));
    jobs.spawn(repeat(Arc::clone(app), HOUSEKEEPING_PACE, "housekeeping", housekeeping));
    jobs
}

async fn repeat<F, Step>(app: Arc<App>, pace: Duration, name: &'static str, step: F)
where
    F: Fn(Arc<App>) -> Step,
    Step: Future<Output = anyhow::Result<()>>,
{
    let mut turns = tokio::time::interval(pace);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        attempt(name, step(Arc::clone(&app))).await;
    }
}

async fn attempt(name: &'static str, step: impl Future<Output = anyhow::Result<()>>) {
    if let Err(error) = step.await {
        tracing::warn!(job = name, "a job failed and is tried again at its next turn: {error:#}");
    }
}

/// Follows at a pace, and at once where another node tells that there is something to follow.
async fn keep_following(app: Arc<App>, pace: Duration) {
    loop {
        attempt("follow", follow(Arc::clone(&app))).await;
        // Whichever comes first; a word that comes while it follows is still there afterwards.
        let _ = tokio::time::timeout(pace, app.context.store.news()).await;
    }
}

/// Keeps the node able to vouch, so that requests need not ask the database themselves.
///
/// Where no other process writes, it still finds what this one wrote without noticing: a change lives on when its
/// caller hangs up, or its COMMIT goes unanswered, before memory was read again.
async fn follow(app: Arc<App>) -> anyhow::Result<()> {
    Ok(app.context.replica.catch_up().await?)
}

async fn beat(app: Arc<App>) -> anyhow::Result<()> {
    app.context.replica.pulse().beat();
    Ok(())
}

/// Carries out what the key plan says is due, where no other node does.
pub async fn move_keys(app: Arc<App>) -> anyhow::Result<()> {
    let context = &app.context;
    if admin::keys::is_due(context)? && context.store.hold(Lease::Keys, context.node).await? {
        admin::keys::tick(context).await?;
    }
    Ok(())
}

/// Tells the other nodes which keys this one has loaded.
pub async fn report(app: Arc<App>) -> anyhow::Result<()> {
    Ok(admin::keys::report(&app.context).await?)
}

/// Tells clients of the sessions that have ended, until nothing is due.
pub async fn deliver_logouts(app: Arc<App>) -> anyhow::Result<()> {
    while backchannel::deliver(&app.context, &app.outbound).await? > 0 {}
    Ok(())
}

/// Removes expired rows, in steps small enough that no request waits for long, and with as long a rest after each. Leaves
/// off where another node has taken it over.
pub async fn sweep(app: Arc<App>) -> anyhow::Result<()> {
    let mut limit = SWEEP_FIRST;
    loop {
        let context = &app.context;
        let began = context.clock.uptime();
        let Some(swept) = context.store.sweep(context.node, context.now(), limit).await? else { return Ok(()) };
        let took = context.clock.uptime().saturating_sub(began);
        if swept.most() < u64::from(limit) {
            return Ok(());
        }
        limit = next_limit(limit, took);
        tokio::time::sleep(rest(took)).await;
    }
}

/// How many rows the next step removes, after one of `limit` rows took so long. Where they lie decides what they cost:
/// neighbours share pages, and in a large table nothing has neighbours.
fn next_limit(limit: u32, took: Duration) -> u32 {
    if took > SWEEP_STEP {
        (limit / 2).max(1)
    } else if took < SWEEP_STEP / 3 {
        (limit * 2).min(SWEEP_MOST)
    } else {
        limit
    }
}

/// Keeps logins of unknown users as slow as those of known ones while users of another system move.
pub async fn learn_users(app: Arc<App>) -> anyhow::Result<()> {
    Ok(app.credentials.learn_users(&*app.context.store).await?)
}

/// Gives memory back that is no longer needed.
async fn housekeeping(app: Arc<App>) -> anyhow::Result<()> {
    app.context.replica.revocations().prune(app.context.now());
    app.credentials.release_idle();
    Ok(())
}

/// As long as the step took, and never longer than until the next turn: a test clock may have been moved meanwhile.
fn rest(took: Duration) -> Duration {
    took.min(SWEEP_PACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_of_the_sweep_follow_what_they_cost() {
        assert_eq!(next_limit(SWEEP_FIRST, Duration::ZERO), 2 * SWEEP_FIRST);
        assert_eq!(next_limit(SWEEP_MOST, Duration::ZERO), SWEEP_MOST);
        assert_eq!(next_limit(SWEEP_FIRST, SWEEP_STEP / 2), SWEEP_FIRST);
        assert_eq!(next_limit(SWEEP_FIRST, SWEEP_STEP * 2), SWEEP_FIRST / 2);
        assert_eq!(next_limit(1, SWEEP_STEP * 2), 1, "it goes on");
        assert_eq!(rest(SWEEP_STEP * 2), SWEEP_STEP * 2);
        assert_eq!(rest(Duration::from_secs(30 * 24 * 60 * 60)), SWEEP_PACE);
    }
}
