//! Failures of logins that nodes count together: races through several stores, attempts that nobody settles, and what
//! the table is. PostgreSQL's own; one process that serves a file counts in its memory.

use std::sync::Arc;
use std::time::Duration;

use latchkey::domain::failures::{Outcome, Rule, Subject, Verdict};
use latchkey::domain::sources::Offset;
use latchkey::domain::time::Timestamp;
use latchkey::storage::{ReserveAttempt, SettleAttempt, Store, StoreError};

use crate::bed::{Bed, NOW, all, seconds};

const ACCOUNT: Rule = Rule { free: 5, longest_delay: Duration::from_secs(30), forgives: true };
const ADDRESS: Rule = Rule { free: 1000, longest_delay: Duration::from_secs(30), forgives: false };

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn account(number: u8) -> Subject {
    Subject { key: [number; 32], rule: ACCOUNT }
}

fn address(number: u8) -> Subject {
    Subject { key: [0x80 | number; 32], rule: ADDRESS }
}

/// The clocks of the nodes stand still, at a time of their own.
fn reservation(subjects: &[Subject], after: Duration) -> ReserveAttempt {
    ReserveAttempt { subjects: subjects.to_vec(), offset: Offset::Still(NOW.plus(after)) }
}

async fn reserve_after(node: &dyn Store, subjects: &[Subject], after: Duration) -> Verdict {
    node.reserve_attempt(reservation(subjects, after)).await.unwrap()
}

async fn reserve(node: &dyn Store, subjects: &[Subject]) -> Verdict {
    reserve_after(node, subjects, Duration::ZERO).await
}

async fn settle(node: &dyn Store, subjects: &[Subject], until: Timestamp, outcome: Outcome) {
    let offset = Offset::Still(NOW);
    node.settle_attempt(SettleAttempt { subjects: subjects.to_vec(), until, outcome, offset }).await.unwrap();
}

async fn admitted(node: &dyn Store, subjects: &[Subject]) -> Timestamp {
    match reserve(node, subjects).await {
        Verdict::Admitted { until } => until,
        other => panic!("{other:?}"),
    }
}

async fn attempt(node: &dyn Store, subjects: &[Subject], outcome: Outcome) {
    let until = admitted(node, subjects).await;
    settle(node, subjects, until, outcome).await;
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_on_one_node_close_the_door_on_all_and_are_announced_once() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    let who = [account(1), address(1)];
    for n in 0..5 {
        attempt(&*nodes[n % 2], &who, Outcome::Failed).await;
    }
    let mut announced = Vec::new();
    for node in &nodes {
        match reserve(&**node, &who).await {
            Verdict::Refused { retry_after, closed, announce } => {
                assert_eq!((retry_after, closed), (seconds(1), vec![seconds(1), seconds(0)]));
                announced.push(announce);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(announced, [true, false]);
    // Others are not concerned, and the wait is as long as told.
    attempt(&*nodes[1], &[account(2), address(1)], Outcome::Failed).await;
    assert!(matches!(reserve_after(&*nodes[1], &who, seconds(1)).await, Verdict::Admitted { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_guesses_at_once_on_several_nodes_get_the_tries_of_one() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    for round in 0..20 {
        let who = [account(round), address(round)];
        let calls = (0..20).map(|n: usize| {
            let node = Arc::clone(&nodes[n % nodes.len()]);
            async move { reserve(&*node, &who).await }
        });
        let verdicts = all(calls.collect()).await;
        let mut untils = Vec::new();
        for verdict in &verdicts {
            match verdict {
                Verdict::Admitted { until } => untils.push(*until),
                Verdict::Undecided => {}
                Verdict::Refused { .. } => panic!("nothing has failed"),
            }
        }
        assert_eq!(untils.len(), 5);
        // Their outcomes meet the next ones, wherever each is told.
        let calls = untils.into_iter().enumerate().map(|(n, until)| {
            let node = Arc::clone(&nodes[n % nodes.len()]);
            async move { settle(&*node, &who, until, Outcome::Failed).await }
        });
        all(calls.collect()).await;
        for node in &nodes {
            assert!(is_refused(&reserve(&**node, &who).await));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_the_same_subjects_on_several_nodes_never_wait_in_a_circle() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    for _ in 0..10 {
        // Each node gets all of them, in another order; each success removes its row again.
        let calls = (0..120).map(|n: u8| {
            let node = Arc::clone(&nodes[usize::from(n) % nodes.len()]);
            let number = if n.is_multiple_of(2) { n / 2 } else { 59 - n / 2 };
            let who = if n.is_multiple_of(3) {
                [account(number), address(number % 7)]
            } else {
                [address(number % 7), account(number)]
            };
            async move { attempt(&*node, &who, Outcome::Succeeded).await }
        });
        // Held up, so that they come in large batches.
        let mut held = bed.raw().await;
        held.run("BEGIN; LOCK TABLE login_failures IN EXCLUSIVE MODE").await;
        let running = tokio::spawn(all(calls.collect()));
        held.wait_for_waiters(2).await;
        held.run("ROLLBACK").await;
        running.await.unwrap();
        assert_eq!(bed.count("login_failures").await, 0, "nothing is remembered of successes");
    }
    // Connections tell what they have counted when they leave.
    for node in nodes {
        node.close().await;
    }
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(bed.raw().await.number(deadlocks).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_success_clears_the_account_for_every_node_and_not_the_address() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    let who = [account(1), address(1)];
    for _ in 0..4 {
        attempt(&*nodes[0], &who, Outcome::Failed).await;
    }
    attempt(&*nodes[1], &who, Outcome::Succeeded).await;
    assert_eq!(bed.count("login_failures").await, 1);
    for _ in 0..5 {
        attempt(&*nodes[0], &who, Outcome::Failed).await;
    }
    assert!(is_refused(&reserve(&*nodes[1], &who).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_attempts_of_a_node_that_died_have_failed_and_block_nobody_for_long() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    let who = [account(1)];
    for _ in 0..5 {
        admitted(&*nodes[0], &who).await;
    }
    nodes[0].close().await;
    let node = &*nodes[1];
    assert_eq!(reserve_after(node, &who, seconds(5)).await, Verdict::Undecided);
    assert!(is_refused(&reserve_after(node, &who, seconds(10)).await), "five have failed");
    assert!(matches!(reserve_after(node, &who, seconds(11)).await, Verdict::Admitted { .. }), "and that is all");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counts_no_more_is_swept_by_the_clock_of_the_database() {
    let Some(bed) = Bed::postgres().await else { return };
    let store = &bed.store;
    for n in 0..3 {
        let (subjects, offset) = (vec![account(n)], Offset::Ahead(Duration::ZERO));
        let request = ReserveAttempt { subjects: subjects.clone(), offset };
        let Verdict::Admitted { until } = store.reserve_attempt(request).await.unwrap() else { panic!("refused") };
        let outcome = Outcome::Failed;
        store.settle_attempt(SettleAttempt { subjects, until, outcome, offset }).await.unwrap();
    }
    let sweep = async || bed.sweep(NOW.plus(365 * DAY), 2).await.login_failures;
    assert_eq!(sweep().await, 0, "whatever the clock of a node says");
    let mut raw = bed.raw().await;
    let early = "SELECT count(*) FROM login_failures WHERE forget_at < (extract(epoch FROM now()) + 870) * 1000";
    assert_eq!(raw.number(early).await, 0, "they count for 15 minutes");
    // The window, and the rest of a minute.
    raw.run("UPDATE login_failures SET forget_at = forget_at - 961000").await;
    assert_eq!([sweep().await, sweep().await, sweep().await], [2, 1, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_waits_for_no_disk_and_a_stopped_database_is_unavailable() {
    let Some(bed) = Bed::postgres().await else { return };
    let mut raw = bed.raw().await;
    let unlogged = "SELECT count(*) FROM pg_class WHERE relname = 'login_failures' AND relpersistence = 'u'";
    assert_eq!(raw.number(unlogged).await, 1);
    let crate::bed::Backend::Postgres(database) = &bed.backend else { unreachable!() };
    database.stop().await;
    let asked = bed.store.reserve_attempt(reservation(&[account(1)], Duration::ZERO)).await;
    assert!(matches!(asked, Err(StoreError::Unavailable(_))), "{asked:?}");
    database.start().await;
    attempt(&*bed.store, &[account(1)], Outcome::Failed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_alone_has_no_table() {
    let bed = Bed::sqlite().await;
    let asked = bed.store.reserve_attempt(reservation(&[account(1)], Duration::ZERO)).await;
    assert!(matches!(asked, Err(StoreError::Inconsistent(_))), "{asked:?}");
    assert_eq!(bed.sweep(NOW, 10).await.login_failures, 0);
}
