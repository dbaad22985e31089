//! What the machine could do at the most: signatures, password hashes, durable commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use latchkey::config::Settings;
use latchkey::domain::key::Alg;
use latchkey::domain::time::Timestamp;
use latchkey::keys::{Keyring, Snapshot};
use latchkey::replica::RevocationSet;
use latchkey::storage::{AssertionOutcome, AssertionUse, StorageSettings, Store as Seam, open};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::task::JoinSet;

use super::goals::{Commits, Machine};
use super::place::{create_database, drop_database, folder};
use super::process::cores;

/// What is signed: as long as the signed part of an access token.
const MESSAGE: [u8; 620] = [b'm'; 620];

/// The limits that no database has a part in.
///
/// # Errors
/// The keys sign nothing, or argon2 refuses the parameters.
pub fn machine(keys: &Snapshot, span: Duration) -> anyhow::Result<Machine> {
    Ok(Machine {
        cores: cores(),
        rsa_core: signatures(keys, Alg::RS256, 1, span)?,
        rsa_all: signatures(keys, Alg::RS256, cores(), span)?,
        ecdsa_core: signatures(keys, Alg::ES256, 1, span)?,
        ecdsa_all: signatures(keys, Alg::ES256, cores(), span)?,
        argon2: password_hashes(span)?,
    })
}

/// Signatures a second of the product's own signer, on so many threads.
///
/// # Errors
/// The key signs nothing.
pub fn signatures(keys: &Snapshot, alg: Alg, threads: usize, span: Duration) -> anyhow::Result<f64> {
    let slot = keys.active(alg).with_context(|| format!("no active {alg} key"))?;
    let sign = || -> anyhow::Result<()> {
        std::hint::black_box(slot.sign(std::hint::black_box(&MESSAGE))?);
        Ok(())
    };
    on_threads(threads, span, || sign)
}

/// Password hashes a second of all cores, with the default parameters and in memory that is used again.
///
/// # Errors
/// argon2 refuses the parameters.
pub fn password_hashes(span: Duration) -> anyhow::Result<f64> {
    let cost = Settings::default().passwords;
    let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(32))
        .map_err(|fault| anyhow::anyhow!("argon2 refuses the parameters: {fault}"))?;
    let blocks = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    on_threads(cores(), span, || {
        let (argon2, mut memory) = (argon2.clone(), vec![Block::new(); blocks]);
        move || {
            let mut output = [0; 32];
            argon2
                .hash_password_into_with_memory(b"a password to be hashed", &[7; 16], &mut output, &mut memory[..])
                .map_err(|fault| anyhow::anyhow!("argon2 fails: {fault}"))?;
            std::hint::black_box(output);
            Ok(())
        }
    })
}

/// How often a second `work` is done by so many threads, each with work of its own making.
fn on_threads<W: FnMut() -> anyhow::Result<()>>(
    threads: usize,
    span: Duration,
    work: impl Fn() -> W + Sync,
) -> anyhow::Result<f64> {
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut work = work();
                    work()?;
                    let (began, mut count) = (Instant::now(), 0);
                    while began.elapsed() < span {
                        work()?;
                        count += 1;
                    }
                    Ok(f64::from(count) / began.elapsed().as_secs_f64())
                })
            })
            .collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?).sum()
    })
}

/// Durable commits a second of SQLite: one row each by the one writer there can be, and through the store.
///
/// # Errors
/// The database does not answer.
pub async fn sqlite_commits(connections: usize, span: Duration) -> anyhow::Result<Commits> {
    let folder = folder()?;
    let options = SqliteConnectOptions::new()
        .filename(folder.path().join("single.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut conn = options.connect().await?;
    conn.execute("CREATE TABLE trivial (n INTEGER NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT").await?;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < span {
        sqlx::query("INSERT INTO trivial (value) VALUES ($1)").bind(count).execute(&mut conn).await?;
        count += 1;
    }
    let single = f64::from(count) / began.elapsed().as_secs_f64();
    conn.close().await?;
    Ok(Commits { single, grouped: sqlite_group_commits(connections, span).await? })
}

/// Rows a second through the store, on a new file.
///
/// # Errors
/// The database does not answer.
pub async fn sqlite_group_commits(connections: usize, span: Duration) -> anyhow::Result<f64> {
    let folder = folder()?;
    grouped(&format!("sqlite://{}", folder.path().join("grouped.db").display()), connections, span).await
}

/// Rows a second through the store, on a new database.
///
/// # Errors
/// The server does not answer, or makes no database.
pub async fn postgres_group_commits(admin: &str, connections: usize, span: Duration) -> anyhow::Result<f64> {
    let url = create_database(admin, "limit").await?;
    let measured = grouped(&url, connections, span).await;
    drop_database(admin, &url);
    measured
}

/// The same of PostgreSQL, where every connection commits for itself.
///
/// # Errors
/// The server does not answer, or makes no database.
pub async fn postgres_commits(admin: &str, connections: usize, span: Duration) -> anyhow::Result<Commits> {
    let url = create_database(admin, "limit").await?;
    let measured = async {
        let mut conn = PgConnection::connect(&url).await?;
        conn.execute("CREATE TABLE trivial (n BIGSERIAL PRIMARY KEY, value BIGINT NOT NULL)").await?;
        conn.close().await?;
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let url = url.clone();
            tasks.spawn(async move {
                let mut conn = PgConnection::connect(&url).await?;
                conn.execute("SET synchronous_commit = on").await?;
                let (began, mut count) = (Instant::now(), 0i64);
                while began.elapsed() < span {
                    sqlx::query("INSERT INTO trivial (value) VALUES ($1)").bind(count).execute(&mut conn).await?;
                    count += 1;
                }
                Ok::<_, anyhow::Error>(count as f64 / began.elapsed().as_secs_f64())
            });
        }
        sum(tasks).await
    };
    let single = measured.await;
    drop_database(admin, &url);
    Ok(Commits { single: single?, grouped: postgres_group_commits(admin, connections, span).await? })
}

/// Rows a second through the store's own queue and group commit, each caller waiting for its own.
async fn grouped(url: &str, connections: usize, span: Duration) -> anyhow::Result<f64> {
    let settings = StorageSettings::new(url);
    let store = open(settings, Arc::new(Keyring::empty()), Arc::new(RevocationSet::default())).await?;
    let numbers = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(insert(Arc::clone(&store), Arc::clone(&numbers), span));
    }
    let rate = sum(tasks).await;
    store.close().await;
    rate
}

async fn insert(store: Arc<dyn Seam>, numbers: Arc<AtomicU64>, span: Duration) -> anyhow::Result<f64> {
    let keep_until = Timestamp::MAX;
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < span {
        let n = numbers.fetch_add(1, Ordering::Relaxed);
        let mut hash = [0; 32];
        // The first byte chooses the writer; behind it, row follows row.
        hash[0] = (n % 2) as u8;
        hash[1..9].copy_from_slice(&n.to_be_bytes());
        let outcome = store.use_assertion(AssertionUse { hash, keep_until }).await?;
        ensure!(outcome == AssertionOutcome::Fresh, "a row was there already");
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

async fn sum(mut tasks: JoinSet<anyhow::Result<f64>>) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    while let Some(rate) = tasks.join_next().await {
        sum += rate??;
    }
    Ok(sum)
}
