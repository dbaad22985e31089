//! PostgreSQL's own: other writers, commits out of order, connections that die.

use std::sync::Arc;
use std::time::Duration;

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::{Jti, NodeId};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::EndReason;
use latchkey::storage::{EndOutcome, Lease, Position, Store, StoreError};

use crate::bed::{Backend, Bed, NOW, end_session, event, seconds};
use crate::pg::PgDatabase;

fn database(bed: &Bed) -> &PgDatabase {
    match &bed.backend {
        Backend::Postgres(database) => database,
        Backend::Sqlite(_) => unreachable!(),
    }
}

async fn revoke(bed: &Bed, jti: &str) {
    bed.store.revoke_token(&Jti::new(jti), NOW.plus(seconds(600)), event(AuditType::TokenRevoked)).await.unwrap();
}

/// What a follower learns, and where it goes on.
async fn follow(bed: &Bed, position: &mut Position) -> Vec<String> {
    let caught = bed.store.catch_up(*position, NOW).await.unwrap();
    *position = caught.position;
    let mut names: Vec<_> = caught
        .revocations
        .into_iter()
        .map(|revocation| match revocation.what {
            Revoked::Token(jti) => jti.to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_not_skipped() {
    let Some(bed) = Bed::postgres().await else { return };
    let mut position = Position::default();
    revoke(&bed, "a").await;
    follow(&bed, &mut position).await;

    let mut slow = bed.raw().await;
    let expiry = NOW.plus(seconds(600)).millis();
    slow.run("BEGIN").await;
    slow.run(&format!("INSERT INTO revocations (kind, id, expires_at) VALUES ('token', 'slow', {expiry})")).await;
    revoke(&bed, "b").await;
    // The floor is held back by the oldest transaction of the whole server, so other tests may make it reread more than
    // it must; that it never rereads less is what counts.
    assert!(!follow(&bed, &mut position).await.contains(&"slow".into()));
    let before = position;
    slow.run("COMMIT").await;
    revoke(&bed, "c").await;
    let caught = follow(&bed, &mut position).await;
    assert!(caught.contains(&"slow".into()) && caught.contains(&"c".into()), "{caught:?} from {before:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_raised_revocation_is_told_again() {
    let Some(bed) = Bed::postgres().await else { return };
    let mut position = Position::default();
    revoke(&bed, "a").await;
    follow(&bed, &mut position).await;
    revoke(&bed, "a").await;
    assert_eq!(follow(&bed, &mut position).await, ["a"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_floor_of_another_life_of_the_database_rereads_everything() {
    let Some(bed) = Bed::postgres().await else { return };
    revoke(&bed, "a").await;
    let mut position = Position::default();
    follow(&bed, &mut position).await;
    let here = position;
    assert!(follow(&bed, &mut position).await.is_empty() || position.floor == here.floor);
    // Of a server that had given more numbers than this one, and of one that had given as many.
    for elsewhere in [Position { floor: i64::MAX, ..here }, Position { life: here.life - 1, ..here }] {
        position = elsewhere;
        assert_eq!(follow(&bed, &mut position).await, ["a"], "{elsewhere:?}");
        assert_eq!(position.life, here.life);
    }
}

/// Catches up as often as there is news, and never for any other reason, until `jti` is known.
async fn hear_of(node: &dyn Store, jti: &str) {
    loop {
        hear(node).await;
        let caught = node.catch_up(Position::default(), NOW).await.unwrap();
        if caught.revocations.iter().any(|it| matches!(&it.what, Revoked::Token(it) if it.as_str() == jti)) {
            return;
        }
    }
}

/// Waits for news, which is all that wakes it.
async fn hear(node: &dyn Store) {
    let heard = tokio::time::timeout(Duration::from_secs(20), node.news()).await;
    assert!(heard.is_ok(), "nobody told of anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_hear_of_each_others_changes() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    // That each has begun to listen is news.
    for node in &nodes {
        hear(&**node).await;
    }
    revoke(&bed, "a").await;
    hear_of(&*nodes[1], "a").await;
    // Of changed keys, too.
    let revision = async || nodes[1].catch_up(Position::default(), NOW).await.unwrap().keys_revision;
    let before = revision().await;
    bed.store.commit_keys(before, Vec::new(), Vec::new()).await.unwrap();
    hear(&*nodes[1]).await;
    assert_eq!(revision().await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_ear_was_cut_off_listens_again() {
    let Some(bed) = Bed::postgres().await else { return };
    let nodes = bed.nodes().await;
    hear(&*nodes[1]).await;
    for jti in ["a", "b", "c"] {
        database(&bed).cut_connections().await;
        // What is told before it listens again it looks for when it does.
        revoke(&bed, jti).await;
        hear_of(&*nodes[1], jti).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_know_which_keys_the_others_have_loaded() {
    let Some(bed) = Bed::postgres().await else { return };
    let [first, second] = [1, 2].map(|byte| NodeId::from_bytes([byte; 16]));
    bed.store.report_node(first, 3).await.unwrap();
    bed.store.report_node(second, 5).await.unwrap();
    assert_eq!(bed.store.other_nodes(first).await.unwrap(), [5]);
    bed.store.report_node(first, 4).await.unwrap();
    assert_eq!(bed.store.other_nodes(second).await.unwrap(), [4]);
    bed.store.forget_node(first).await.unwrap();
    assert!(bed.store.other_nodes(second).await.unwrap().is_empty());

    // Silent for so long, it counts as gone; a day later nobody remembers it.
    let mut raw = bed.raw().await;
    bed.store.report_node(first, 4).await.unwrap();
    raw.run("UPDATE nodes SET seen_at = seen_at - 15000 WHERE keys_revision = 4").await;
    assert_eq!(bed.store.other_nodes(second).await.unwrap(), [4]);
    raw.run("UPDATE nodes SET seen_at = seen_at - 5001 WHERE keys_revision = 4").await;
    assert!(bed.store.other_nodes(second).await.unwrap().is_empty());
    raw.run("UPDATE nodes SET seen_at = seen_at - 86400000 WHERE keys_revision = 4").await;
    bed.store.report_node(second, 5).await.unwrap();
    raw.run("UPDATE nodes SET seen_at = seen_at + 86420000").await;
    assert_eq!(bed.store.other_nodes(NodeId::from_bytes([3; 16])).await.unwrap(), [5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_nodes_one_sweeps() {
    let Some(bed) = Bed::postgres().await else { return };
    let [first, second] = [1, 2].map(|byte| NodeId::from_bytes([byte; 16]));
    let sweep = async |node| bed.store.sweep(node, NOW, 10).await.unwrap().is_some();
    assert!(sweep(first).await && !sweep(second).await && sweep(first).await);
    // It is suspended in between for longer than its lease.
    let mut raw = bed.raw().await;
    let expire = "UPDATE leases SET ends_at = ends_at - 20000";
    raw.run(expire).await;
    assert!(sweep(second).await);
    assert!(!sweep(first).await, "its turn is over, whatever it believes");
    // It is suspended in the middle of a step: nobody waits for it.
    raw.run("BEGIN").await;
    raw.run(expire).await;
    assert!(!tokio::time::timeout(Duration::from_millis(1500), sweep(first)).await.unwrap());
    raw.run("COMMIT").await;
    assert!(sweep(first).await);
    // It stops in order.
    bed.store.forget_node(first).await.unwrap();
    assert!(sweep(second).await);
    // Other work has a lease of its own.
    assert!(bed.store.hold(Lease::Keys, first).await.unwrap());
    assert!(!bed.store.hold(Lease::Keys, second).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_connections_are_replaced_unnoticed() {
    let Some(bed) = Bed::postgres().await else { return };
    let mut token = bed.login().await;
    for _ in 0..3 {
        // Several readers, so that more than one idle connection is dead.
        tokio::try_join!(bed.store.ping(), bed.store.ping(), bed.store.ping()).unwrap();
        database(&bed).cut_connections().await;
        bed.store.ping().await.unwrap();
        token = bed.rotate(&token, NOW).await;
        bed.store.set_note("a", "b").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_database_is_unavailable_soon_and_comes_back() {
    let Some(bed) = Bed::postgres().await else { return };
    let token = bed.login().await;
    database(&bed).stop().await;
    let soon = Duration::from_secs(3);
    let refreshed = tokio::time::timeout(soon, bed.store.refresh(bed.request(&token, NOW))).await.unwrap();
    assert!(matches!(refreshed, Err(StoreError::Unavailable(_))), "{refreshed:?}");
    let read = tokio::time::timeout(soon, bed.store.session(token.session)).await.unwrap();
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let changed = tokio::time::timeout(soon, bed.store.set_note("a", "b")).await.unwrap();
    assert!(matches!(changed, Err(StoreError::Unavailable(_))), "{changed:?}");
    database(&bed).start().await;
    bed.rotate(&token, NOW).await;
    bed.store.ping().await.unwrap();
}

/// The connection dies when all is written and COMMIT is about to be sent: nobody can know what became of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_commit_is_unavailable_and_stays_told() {
    let Some(bed) = Bed::postgres().await else { return };
    let (mut arrived, go_on) = bed.sink.close_gate();
    let store = Arc::clone(&bed.store);
    let audit = event(AuditType::TokenRevoked);
    let (jti, expiry) = (Jti::new("a"), NOW.plus(seconds(600)));
    let revoking = tokio::spawn(async move { store.revoke_token(&jti, expiry, audit).await });
    arrived.recv().await.unwrap();
    database(&bed).cut_connections().await;
    go_on.send(()).unwrap();
    let answer = revoking.await.unwrap();
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    assert_eq!(bed.sink.told().len(), 1, "what was decided stays told");
    // The caller tries again, and it is done.
    revoke(&bed, "a").await;
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations.len(), 1);
}

/// One is stopped when it holds the row of a session that the other is to end, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_stopped_in_a_transaction_holds_nobody_up() {
    let Some(bed) = Bed::postgres().await else { return };
    let token = bed.login().await;
    let nodes = bed.nodes().await;
    let (mut arrived, go_on) = bed.sink.close_gate();
    let [stopped, waiting] = [0, 1].map(|n| {
        let node = Arc::clone(&nodes[n]);
        let end = end_session(token.session, EndReason::RevokedByAdmin);
        async move { node.end_session(end).await }
    });
    let stopped = tokio::spawn(stopped);
    arrived.recv().await.unwrap();
    assert_eq!(waiting.await.unwrap(), EndOutcome::Ended);
    go_on.send(()).unwrap();
    let answer = stopped.await.unwrap();
    assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    // It goes on with another connection.
    bed.rotate(&bed.login().await, NOW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_migrate_one_database_at_once() {
    let Some(database) = PgDatabase::create().await else { return };
    let url = database.url();
    tokio::try_join!(latchkey::storage::migrate(&url), latchkey::storage::migrate(&url)).unwrap();
}
