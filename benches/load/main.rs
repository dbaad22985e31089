//! The load benchmark: Latchkey over real sockets, beside the limits of the machine that it runs on.
//!
//! `cargo bench --bench load -- [OPTIONS]`, and `--help` for these. It starts the release binary on loopback as an
//! operator would, drives one operation after the other in a closed loop, and measures in the same run what each could
//! reach at the most. `docs/performance.md` says what the rows mean.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a benchmark times processes from outside and prints"
)]

mod about;
mod bare;
mod closed;
mod flame;
mod footprint;
mod forge;
mod generator;
mod goals;
mod growth;
mod limits;
mod logins;
mod measured;
mod nodes;
mod operations;
mod place;
mod plot;
mod process;
mod report;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use latchkey::domain::key::Alg;
use tokio::runtime::Runtime;

use self::closed::{Compared, Effort, compare};
use self::flame::Flames;
use self::generator::Span;
use self::goals::{Limits, Machine, Operation, Store, judge};
use self::place::Place;
use self::report::{Figure, Report, Row};

/// The load benchmark.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo bench --bench load --")]
struct Options {
    /// Connections at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// How long each run is measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long each run is driven before it is measured.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Runs of each operation: the one in the middle counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// What alone is measured, by the beginnings of names: refresh-es256, refresh-rs256, client_credentials-es256,
    /// client_credentials-rs256, introspection, jwks, jwks-304, password, revoke, userinfo, logins, memory, start, growth,
    /// nodes.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// A superuser's URL: PostgreSQL is measured too, on databases that are made and dropped. LATCHKEY_TEST_POSTGRES
    /// stands in for it.
    #[arg(long)]
    postgres: Option<String>,
    /// One short run of everything, to see that it works: its figures mean nothing, and no missed goal fails it.
    #[arg(long)]
    quick: bool,
    /// Also what takes long and gigabytes of disk: a million cached tokens, ten million sessions, a million swept.
    #[arg(long)]
    long: bool,
    /// The sizes of the table that `--long` measures, beginning with the one that the others are held against.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 1_000_000, 10_000_000])]
    sessions: Vec<u64>,
    /// Where the figures are written as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where the plot is written.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Where flame graphs of what is measured are drawn, each from a run of its own. It needs `perf`, and root.
    #[arg(long)]
    flames: Option<PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn effort(&self) -> Effort<'_> {
        let (runs, warmup, seconds) = if self.quick { (1, 0.2, 1.0) } else { (self.runs, self.warmup, self.seconds) };
        let span = Span { warmup: Duration::from_secs_f64(warmup), measured: Duration::from_secs_f64(seconds) };
        Effort { connections: self.connections.max(1), span, runs, flames: Flames(self.flames.as_deref()) }
    }

    /// How long each limit of the machine is measured.
    fn limit_span(&self) -> Duration {
        self.effort().span.measured.min(Duration::from_secs(3))
    }

    /// Of one to three nodes there are many runs: the short ones are shorter.
    fn nodes_effort(&self) -> Effort<'_> {
        let mut effort = self.effort();
        if self.quick {
            effort.span = Span { warmup: Duration::from_millis(100), measured: Duration::from_millis(300) };
        }
        effort
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }
}

fn main() -> anyhow::Result<ExitCode> {
    if std::env::args().nth(1).is_some_and(|argument| argument == bare::ARGUMENT) {
        bare::run()?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut options = Options::parse();
    options.postgres = options.postgres.or_else(|| std::env::var("LATCHKEY_TEST_POSTGRES").ok());
    let mut bench = Bench { runtime: Runtime::new()?, report: Report::default(), options };
    bench.run()?;
    let Bench { report, options, .. } = bench;
    report.print();
    if let Some(file) = &options.json {
        std::fs::write(file, format!("{:#}\n", report.json()))?;
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, plot::svg(&report))?;
    }
    let missed = report.tally().1 > 0 && !options.quick;
    Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Bench {
    /// For what asks databases. The generator has its own, so it is never called within this one.
    runtime: Runtime,
    report: Report,
    options: Options,
}

impl Bench {
    fn run(&mut self) -> anyhow::Result<()> {
        self.report.about = self.runtime.block_on(about::machine(self.options.effort()))?;
        // What is missing is said before anything is measured.
        let pgbench = self.pgbench()?;
        let place = self.place(Store::Sqlite)?;
        let machine = limits::machine(&place.keys, self.options.limit_span())?;
        self.report.limits.extend(machine.named());
        self.database(place, machine)?;
        self.footprint()?;
        self.growth(Store::Sqlite)?;
        if let Some(admin) = &self.options.postgres {
            let about = self.runtime.block_on(about::postgres(admin, !self.options.quick))?;
            self.report.about.extend(about);
            self.database(self.place(Store::Postgres)?, machine)?;
            self.growth(Store::Postgres)?;
        }
        pgbench.map_or(Ok(()), |pgbench| self.nodes(&pgbench))
    }

    /// Where `pgbench` is, if several nodes are to be measured.
    fn pgbench(&self) -> anyhow::Result<Option<PathBuf>> {
        if !self.options.wants("nodes") || (self.options.only.is_empty() && self.options.postgres.is_none()) {
            return Ok(None);
        }
        self.admin().context("several nodes need PostgreSQL")?;
        nodes::pgbench().map(Some)
    }

    fn admin(&self) -> anyhow::Result<&str> {
        self.options.postgres.as_deref().context("no PostgreSQL was named")
    }

    /// A new place, that nothing has been done in yet.
    fn place(&self, store: Store) -> anyhow::Result<Place> {
        match store {
            Store::Sqlite => self.runtime.block_on(Place::sqlite()),
            Store::Postgres => self.runtime.block_on(Place::postgres(self.admin()?)),
        }
    }

    /// Every operation on one database, and what logins do to the others.
    fn database(&mut self, place: Place, machine: Machine) -> anyhow::Result<()> {
        let (store, effort, span) = (place.store, self.options.effort(), self.options.limit_span());
        let commits = match store {
            Store::Sqlite => self.runtime.block_on(limits::sqlite_commits(effort.connections, span))?,
            Store::Postgres => {
                self.runtime.block_on(limits::postgres_commits(self.admin()?, effort.connections, span))?
            }
        };
        self.report.limits.extend(commits.named(store));
        for operation in Operation::ALL.into_iter().filter(|operation| self.options.wants(operation.name())) {
            // What the database has no part in is measured once.
            if store == Store::Postgres && !operation.is_stored() {
                continue;
            }
            eprintln!("{operation} on {store}");
            // Revocations are remembered for as long as tokens live: nothing else is to be slowed by a million of them.
            let own = if operation == Operation::Revoke { Some(self.place(store)?) } else { None };
            let place = own.as_ref().unwrap_or(&place);
            let beside = || self.beside(operation, place);
            let Compared { product, bare, beside } = compare(&self.runtime, operation, place, effort, beside)?;
            let mut limits = Limits { machine, commits, bare: bare.rate, client_share: product.client_share };
            if let Some(rate) = beside {
                limits.set(operation, rate);
            }
            self.report.rows.push(Row {
                operation: operation.to_string(),
                database: store.to_string(),
                figure: Figure::Requests(product),
                held: judge(operation, store, product.rate, &limits),
            });
        }
        if self.options.wants("logins") {
            eprintln!("logins on {store}");
            self.report.rows.extend(logins::beside_logins(&place, effort)?);
        }
        Ok(())
    }

    /// The limit that the operation's goal names, measured once more.
    fn beside(&self, operation: Operation, place: &Place) -> anyhow::Result<Option<f64>> {
        let (span, connections) = (self.options.limit_span(), self.options.effort().connections);
        Ok(Some(match operation {
            Operation::Refresh(Alg::RS256) => limits::signatures(&place.keys, Alg::RS256, process::cores(), span)?,
            Operation::ClientCredentials(Alg::RS256) => limits::signatures(&place.keys, Alg::RS256, 1, span)?,
            Operation::Password => limits::password_hashes(span)?,
            Operation::Refresh(Alg::ES256) | Operation::Revoke => match place.store {
                Store::Sqlite => self.runtime.block_on(limits::sqlite_group_commits(connections, span))?,
                Store::Postgres => {
                    self.runtime.block_on(limits::postgres_group_commits(self.admin()?, connections, span))?
                }
            },
            _ => return Ok(None),
        }))
    }

    fn nodes(&mut self, pgbench: &Path) -> anyhow::Result<()> {
        eprintln!("one, two and three nodes on {}", Store::Postgres);
        let place = self.place(Store::Postgres)?;
        let found = nodes::measure(&self.runtime, &place, pgbench, self.options.nodes_effort())?;
        self.report.about.extend(nodes::about(&place));
        self.report.limits.push(("durable rows, PostgreSQL, pgbench".to_owned(), found.commits));
        self.report.rows.extend(found.rows);
        Ok(())
    }

    fn footprint(&mut self) -> anyhow::Result<()> {
        let quick = self.options.quick;
        let connections = self.options.effort().connections;
        let place = self.place(Store::Sqlite)?;
        if self.options.wants("start") {
            eprintln!("start");
            self.report.rows.push(footprint::starts(&place, if quick { 3 } else { 20 })?);
        }
        if self.options.wants("memory") {
            eprintln!("memory");
            let requests = if quick { 1_000 } else { 100_000 };
            self.report.rows.extend(footprint::memory(&place, connections, requests, !quick)?);
        }
        if self.options.wants("memory") && self.options.long {
            eprintln!("memory of cached tokens");
            let tokens = if quick { 10_000 } else { 1_000_000 };
            self.report.rows.extend(footprint::remembered(&place, connections, tokens)?);
        }
        Ok(())
    }

    fn growth(&mut self, store: Store) -> anyhow::Result<()> {
        if !self.options.long || !self.options.wants("growth") {
            return Ok(());
        }
        let (effort, quick, place) = (self.options.effort(), self.options.quick, self.place(store)?);
        let sizes = if quick { &[1_000, 10_000, 250_000] } else { self.options.sessions.as_slice() };
        self.report.rows.extend(growth::grow(&self.runtime, &place, effort, sizes)?);
        let swept = if quick { 10_000 } else { 1_000_000 };
        self.report.rows.extend(growth::sweep(&self.runtime, &place, effort, swept)?);
        Ok(())
    }
}
