//! What a run was made on and with: figures mean nothing without it.

use anyhow::bail;
use latchkey::domain::sources::{Clock as _, SystemClock};
use sqlx::{Connection as _, PgConnection, SqliteConnection};

use super::closed::Effort;
use super::process::cores;

/// Each with its name.
pub type About = Vec<(String, String)>;

/// The machine and the libraries.
///
/// # Errors
/// SQLite does not tell its version.
pub async fn machine(effort: Effort<'_>) -> anyhow::Result<About> {
    let mut sqlite = SqliteConnection::connect("sqlite::memory:").await?;
    let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut sqlite).await?;
    let Effort { connections, span, runs, .. } = effort;
    let (warmup, seconds) = (span.warmup.as_secs_f64(), span.measured.as_secs_f64());
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(named([
        ("run", format!("{connections} connections, {seconds} s after {warmup} s, median of {runs}")),
        ("begun", SystemClock.now().rfc3339()),
        ("machine", format!("{} cores shared by all, {processor}, {memory}", cores())),
        ("kernel", kernel.trim().to_owned()),
        ("OpenSSL", openssl::version::version().to_owned()),
        ("SQLite", format!("{version}, WAL, synchronous FULL")),
    ]))
}

/// The PostgreSQL server.
///
/// # Errors
/// It does not answer, or what it commits is not durable where it must be.
pub async fn postgres(admin: &str, must_be_durable: bool) -> anyhow::Result<About> {
    let mut conn = PgConnection::connect(admin).await?;
    let mut told = Vec::new();
    for setting in ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"] {
        let value: String = sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&mut conn).await?;
        if must_be_durable && setting == "fsync" && value != "on" {
            bail!("PostgreSQL runs with fsync off: nothing that it commits is durable, so no figure counts");
        }
        told.push(format!("{setting} {value}"));
    }
    conn.close().await?;
    Ok(named([("PostgreSQL", told.join(", "))]))
}

fn named<const N: usize>(lines: [(&str, String); N]) -> About {
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The first value of a name in one of the kernel's tables.
fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}
