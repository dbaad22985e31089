//! One, two and three nodes as one service on one PostgreSQL, beside the commits that the server's own `pgbench` makes.
//!
//! The client, the nodes and a server on this machine share its cores, so no rate grows with the nodes: what the ratios
//! show is what a further node costs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use latchkey::domain::key::Alg;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;

use super::about::About;
use super::closed::Effort;
use super::generator::{Load, drive_over};
use super::goals::{Operation, hold_nodes};
use super::measured::{Measured, median};
use super::operations::callers;
use super::place::{Place, free_address};
use super::process::cores;
use super::report::{Figure, Row};
use super::server::Server;

/// The most nodes at once.
const NODES: usize = 3;

const OPERATIONS: [Operation; 3] =
    [Operation::Refresh(Alg::ES256), Operation::ClientCredentials(Alg::ES256), Operation::Introspection];

/// One row for each client, so that none waits for the lock of another: what is measured is the commit.
const COMMIT: &str = "UPDATE bare_commits SET value = value + 1 WHERE client = :client_id\n";

/// Everything that was found.
pub struct Found {
    pub rows: Vec<Row>,
    /// The commits a second of `pgbench` in the middle run.
    pub commits: f64,
}

/// # Errors
/// A node does not start, an answer is not what must come, or `pgbench` fails.
pub fn measure(runtime: &Runtime, place: &Place, pgbench: &Path, effort: Effort<'_>) -> anyhow::Result<Found> {
    let bare = BareCommits::prepare(runtime, place, pgbench, effort.connections)?;
    let (mut rows, mut all) = (Vec::new(), Vec::new());
    for operation in OPERATIONS {
        let mut runs: [Vec<Measured>; NODES] = Default::default();
        let mut commits = Vec::new();
        for _ in 0..effort.runs.max(1) {
            for (index, runs) in runs.iter_mut().enumerate() {
                runs.push(over(place, index + 1, operation, effort)?);
            }
            // In turn with them: what disturbs the machine for a while disturbs both.
            commits.push(bare.a_second(effort.span.measured.as_secs_f64())?);
        }
        all.extend(commits.iter().copied());
        let commits = median(commits, |rate| *rate).context("pgbench did not run")?;
        rows.append(&mut compared(place, operation, runs, commits)?);
    }
    Ok(Found { rows, commits: median(all, |rate| *rate).context("pgbench did not run")? })
}

/// Who shares the cores, for those who read the ratios.
pub fn about(place: &Place) -> About {
    let database = if place.postmaster.is_some() { ", PostgreSQL" } else { "" };
    let told = format!("client{database} and all nodes share {} cores: ratios show what a further node costs", cores());
    vec![("nodes".to_owned(), told)]
}

/// Drives the operation over so many nodes.
fn over(place: &Place, count: usize, operation: Operation, effort: Effort<'_>) -> anyhow::Result<Measured> {
    // What the callers need is had of the first, at the address of the place.
    let mut nodes = vec![Server::start(place)?];
    for _ in 1..count {
        nodes.push(Server::start_node(place, free_address()?)?);
    }
    let targets: Vec<_> = nodes.iter().map(Server::target).collect();
    let asking = callers(operation, place, effort.connections)?;
    let measured = drive_over(&targets, vec![Load::closed(asking)], effort.span)?.pop();
    for node in nodes {
        node.stop()?;
    }
    measured.context("nothing was measured")
}

/// A row for each number of nodes.
fn compared(
    place: &Place,
    operation: Operation,
    runs: [Vec<Measured>; NODES],
    commits: f64,
) -> anyhow::Result<Vec<Row>> {
    let mut of_one = None;
    let mut rows = Vec::new();
    for (index, runs) in runs.into_iter().enumerate() {
        let middle = median(runs, |run| run.rate).context("there was no run")?;
        let [one, bare] = hold_nodes(middle.rate, *of_one.get_or_insert(middle.rate), commits);
        let (nodes, held) = if index == 0 {
            ("1 node".to_owned(), vec![bare])
        } else {
            (format!("{} nodes", index + 1), vec![one, bare])
        };
        rows.push(Row {
            operation: format!("{operation}, {nodes}"),
            database: place.store.to_string(),
            figure: Figure::Requests(middle),
            held,
        });
    }
    Ok(rows)
}

/// `pgbench` on a table of its own in the service's database.
struct BareCommits<'a> {
    pgbench: &'a Path,
    url: &'a str,
    script: NamedTempFile,
    clients: usize,
}

impl<'a> BareCommits<'a> {
    fn prepare(runtime: &Runtime, place: &'a Place, pgbench: &'a Path, clients: usize) -> anyhow::Result<Self> {
        let script = NamedTempFile::new()?;
        std::fs::write(script.path(), COMMIT)?;
        let rows = format!("INSERT INTO bare_commits SELECT n, 0 FROM generate_series(0, {}) AS n", clients - 1);
        runtime.block_on(async {
            let mut conn = PgConnection::connect(&place.url).await?;
            conn.execute("CREATE TABLE bare_commits (client BIGINT PRIMARY KEY, value BIGINT NOT NULL)").await?;
            conn.execute(AssertSqlSafe(rows)).await?;
            conn.close().await
        })?;
        Ok(Self { pgbench, url: &place.url, script, clients })
    }

    /// Durable commits of one row a second, by as many connections as the load has. `pgbench` counts in whole seconds.
    fn a_second(&self, seconds: f64) -> anyhow::Result<f64> {
        let (clients, seconds) = (self.clients.to_string(), (seconds.ceil() as u64).max(1).to_string());
        let output = Command::new(self.pgbench)
            .args(["--no-vacuum", "--protocol", "prepared", "--client", &clients, "--time", &seconds, "--file"])
            .arg(self.script.path())
            .arg(self.url)
            .env("PGOPTIONS", "-c synchronous_commit=on")
            .stdin(Stdio::null())
            .output()?;
        let (told, fault) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "pgbench ended with {}: {fault}", output.status);
        transactions(&told).with_context(|| format!("pgbench told no rate:\n{told}"))
    }
}

/// The rate in what `pgbench` tells. Before version 14 it tells two; the last leaves the connecting out, as the only one does.
fn transactions(told: &str) -> Option<f64> {
    told.lines().rev().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
}

/// The program: beside the server's others, or where the shell finds it.
///
/// # Errors
/// It is nowhere.
pub fn pgbench() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("LATCHKEY_TEST_PG_BINDIR").map(PathBuf::from);
    let configured = || {
        let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
        output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = named.into_iter().chain(configured()).chain(std::env::split_paths(&path));
    let Some(found) = folders.map(|folder| folder.join("pgbench")).find(|file| file.is_file()) else {
        bail!("pgbench is nowhere: LATCHKEY_TEST_PG_BINDIR must name the folder of PostgreSQL's programs")
    };
    Ok(found)
}
