//! Two versions on one database: the newer one has migrated it, and writes what the older one does not know.

use latchkey::domain::audit::AuditType;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::storage::{AuditFilter, Page};
use sqlx::migrate::Migrate as _;

use crate::bed::{Bed, NOW, Raw, contract, event, try_open};
use crate::pg::PgDatabase;

contract!(
    the_next_version_may_migrate_under_a_running_one,
    what_the_next_version_must_not_share_it_refuses,
    what_only_the_next_version_knows_is_read_all_the_same,
);

async fn migrate_further(raw: &mut Raw) {
    let bytes = if matches!(raw, Raw::Sqlite(_)) { "x'00'" } else { "'\\x00'::bytea" };
    raw.run(&format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'later', true, {bytes}, 0); \
         ALTER TABLE sessions ADD COLUMN colour TEXT"
    ))
    .await;
}

async fn the_next_version_may_migrate_under_a_running_one(bed: Bed) {
    let token = bed.login().await;
    migrate_further(&mut bed.raw().await).await;
    let token = bed.rotate(&token, NOW).await;
    let bed = bed.with_queue(10).await;
    bed.rotate(&token, NOW).await;
}

/// It saw a database that it knows, and waits for its turn to migrate.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_while_the_next_version_migrates_serves_beside_it() {
    let Some(database) = PgDatabase::create().await else { return };
    try_open(&database.url()).await.unwrap().close().await;
    let mut newer = database.connect().await;
    newer.lock().await.unwrap();
    let turn = async {
        Raw::Postgres(database.connect().await).wait_for_waiters(1).await;
        // It ends with its connection.
        migrate_further(&mut Raw::Postgres(newer)).await;
    };
    let url = database.url();
    let (opened, ()) = tokio::join!(try_open(&url), turn);
    opened.unwrap().close().await;
}

async fn what_the_next_version_must_not_share_it_refuses(bed: Bed) {
    bed.store.close().await;
    let mut raw = bed.raw().await;
    migrate_further(&mut raw).await;
    raw.run("INSERT INTO notes (name, value) VALUES ('oldest_program', '9999')").await;
    let url = bed.url();
    // The backend takes the database away with it.
    let Bed { store, backend: _backend, .. } = bed;
    drop(store);
    let error = try_open(&url).await.err().unwrap().to_string();
    assert!(error.contains("can no longer serve it (it holds migration 9999); run that version"), "{error}");
    raw.run("UPDATE notes SET value = '10' WHERE name = 'oldest_program'").await;
    try_open(&url).await.unwrap().close().await;
}

async fn what_only_the_next_version_knows_is_read_all_the_same(bed: Bed) {
    let token = bed.login().await;
    bed.store.record(vec![event(AuditType::LoginFailed)]).await.unwrap();
    let mut raw = bed.raw().await;
    raw.run("UPDATE audit SET type = 'comet_seen' WHERE type = 'login_failed'").await;
    let trail = bed.store.audit(AuditFilter::default(), Page { after: None, limit: 1000 }).await.unwrap().items;
    let newest = &trail.last().unwrap().event;
    assert_eq!((newest.kind, &newest.detail["type"]), (AuditType::Unknown, &"comet_seen".into()));

    raw.run("UPDATE sessions SET ended_at = 1, end_reason = 'comet_fell'").await;
    assert_eq!(bed.session(&token).await.ended.unwrap().1, EndReason::Unknown);
    let outcome = bed.present(&token, NOW).await.outcome;
    assert!(matches!(outcome, Outcome::Refused(Refusal::Ended(EndReason::Unknown))), "{outcome:?}");
}
