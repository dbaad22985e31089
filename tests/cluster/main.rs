//! Three nodes on a PostgreSQL pair, under load, while things fail; and a checker of all that clients were answered.
//!
//! `cargo test --test cluster -- [OPTIONS]`, and `--help` for these. It needs LATCHKEY_TEST_PG_BINDIR (the folder of
//! initdb and pg_ctl), and as root LATCHKEY_TEST_PG_USER. Everything listens on loopback, lives in temporary folders,
//! and goes with them. A round is told in one line; one that breaks a rule (`checker`) with the whole story of its
//! session, and the run fails.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it times processes from outside and prints"
)]

mod bed;
mod checker;
mod clients;
mod dice;
mod faults;
mod forwarder;
mod history;
mod load;
mod nodes;
mod pair;
mod process;
mod rotation;
mod staleness;
mod verifiers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use latchkey::domain::sources::{SystemEntropy, random};
use tokio::signal::unix::{SignalKind, signal};

use self::bed::Bed;
use self::checker::{Verdict, check};
use self::clients::Clients;
use self::dice::Dice;
use self::faults::{Fault, happen};
use self::history::{History, Lag, Moment};
use self::load::{Haste, Load};
use self::pair::{Mode, Programs};
use self::rotation::Extent;

/// `introspection.revocation_staleness`, as it is unless set.
const BOUND: Duration = Duration::from_secs(2);

/// Faults under load.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo test --test cluster --")]
struct Options {
    /// How often each fault happens.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// What alone happens: kill, pause, unheard, restart, clocks, rolling, failover-sync, failover-async, staleness,
    /// rotation.
    #[arg(long, value_delimiter = ',', value_parser = Part::named)]
    only: Vec<Part>,
    /// What chance begins with: the first round has this seed, and each further one the next.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the load goes on beside a fault: a third of it before.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How long a node is stopped, in seconds: by default five where each fault happens once, else longer than the
    /// twenty after which the others count it as gone.
    #[arg(long)]
    pause: Option<f64>,
    /// Users renew again at once where they gave up waiting for an answer. A request that its session has left two
    /// steps behind counts as a replay: such rounds may break a rule.
    #[arg(long)]
    hurried: bool,
    /// Another version of Latchkey (its executable), for the upgrade: one node or two run it in each round, and a rolling
    /// restart gives every node the version that it did not run.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Where the verifiers of `tests/verifiers` are installed: they take part in the rotation of keys.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.check/verifiers"))]
    tools: PathBuf,
}

impl Options {
    fn is_full(&self) -> bool {
        self.times > 1
    }

    fn pause(&self) -> Duration {
        Duration::from_secs_f64(self.pause.unwrap_or(if self.is_full() { 22.0 } else { 5.0 }))
    }
}

/// A part of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Under(Fault),
    Staleness,
    Rotation,
}

impl Part {
    fn all() -> impl Iterator<Item = Self> {
        Fault::ALL.into_iter().map(Self::Under).chain([Self::Staleness, Self::Rotation])
    }

    fn name(self) -> &'static str {
        match self {
            Self::Under(fault) => fault.name(),
            Self::Staleness => "staleness",
            Self::Rotation => "rotation",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        Self::all().find(|part| part.name() == name).ok_or_else(|| "there is no such part".to_owned())
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let seed = options.seed.unwrap_or_else(|| u64::from(u32::from_be_bytes(random(&SystemEntropy))));
    let mut round = Round { programs: Programs::named()?, seed, options, bed: None };
    for part in Part::all().filter(|part| options.only.is_empty() || options.only.contains(part)) {
        let held = runtime.block_on(async {
            tokio::select! {
                held = round.carry_out(part) => held,
                // What was started ends with the round, which is dropped.
                told = told_to_stop() => told.and_then(|()| bail!("told to stop")),
            }
        });
        if !held? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn told_to_stop() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

struct Round<'a> {
    programs: Programs,
    seed: u64,
    options: &'a Options,
    bed: Option<Bed>,
}

impl Round<'_> {
    async fn carry_out(&mut self, part: Part) -> anyhow::Result<bool> {
        match part {
            Part::Under(fault) => self.repeat(fault).await,
            Part::Staleness => self.measure_staleness().await,
            Part::Rotation => self.rotate_keys().await,
        }
    }

    /// Whether all rules held each time.
    async fn repeat(&mut self, fault: Fault) -> anyhow::Result<bool> {
        for _ in 0..self.options.times {
            if !self.run(fault).await? {
                return Ok(false);
            }
            self.seed += 1;
        }
        Ok(true)
    }

    async fn measure_staleness(&mut self) -> anyhow::Result<bool> {
        let samples = if self.options.is_full() { 300 } else { 60 };
        let bed = self.take_bed(Mode::Synchronous).await?;
        staleness::measure(&bed, samples, BOUND).await
    }

    async fn rotate_keys(&mut self) -> anyhow::Result<bool> {
        let full = self.options.is_full();
        let extent = Extent { rotations: if full { 20 } else { 4 }, pause: full.then(|| self.options.pause()) };
        self.bed = None;
        let bed = self.make_bed(Mode::Synchronous, &rotation::SETTINGS).await?;
        rotation::rotate(&bed, extent, &self.options.tools).await
    }

    async fn take_bed(&mut self, mode: Mode) -> anyhow::Result<Bed> {
        match self.bed.take() {
            Some(bed) if bed.mode == mode => Ok(bed),
            _ => self.make_bed(mode, &[]).await,
        }
    }

    async fn make_bed(&self, mode: Mode, settings: &[(&'static str, &str)]) -> anyhow::Result<Bed> {
        Bed::make(&self.programs, mode, settings, self.options.beside.as_deref()).await
    }

    /// Whether all rules held.
    async fn run(&mut self, fault: Fault) -> anyhow::Result<bool> {
        let mut bed = self.take_bed(fault.mode()).await?;
        let clients = Arc::new(Clients::new(bed.nodes.urls())?);
        let driven = self.drive(fault, &mut bed, &clients).await;
        let (lag, [stopped, last_tries]) =
            driven.with_context(|| format!("{} seed {}\n{}", fault.name(), self.seed, bed.logs()))?;
        let gentle = fault == Fault::Rolling;
        let operations = clients.operations();
        let history = History { operations, bound: BOUND, stopped, last_tries, lag, gentle };
        let verdict = check(&history);
        self.tell(fault, &verdict, lag);
        if !verdict.violations.is_empty() || (lag.is_some() && !is_loss_audited(&bed).await?) {
            println!("{}", bed.logs());
            return Ok(false);
        }
        if !fault.uses_up_the_pair() {
            self.bed = Some(bed);
        }
        Ok(true)
    }

    async fn drive(
        &self,
        fault: Fault,
        bed: &mut Bed,
        clients: &Arc<Clients>,
    ) -> anyhow::Result<(Option<Lag>, [Moment; 2])> {
        let mut dice = Dice::of(self.seed, u64::MAX);
        let before = Duration::from_secs_f64(self.options.seconds / 3.0);
        let haste = if self.options.hurried { Haste::Hurried } else { Haste::Patient };
        let load = Load::start(clients, self.seed, haste);
        tokio::time::sleep(before).await;
        let lag = happen(fault, bed, clients, &mut dice, self.options.pause()).await?;
        tokio::time::sleep(before * 2).await;
        Ok((lag, load.finish().await?))
    }

    fn tell(&self, fault: Fault, verdict: &Verdict, lag: Option<Lag>) {
        let Verdict { logins, refreshes, introspections, revocations, unavailable, unanswered, .. } = verdict;
        let Verdict { kept, given_again, past_bound, longest_silence, closed, .. } = verdict;
        let Verdict { lost_logins, lost_revocations, violations, .. } = verdict;
        println!(
            "{:<14} seed {}: {logins} logins, {refreshes} refreshes, {introspections} introspections, {revocations} \
             revocations; {unanswered} unanswered ({closed} closed), {unavailable} put off, no refresh for \
             {longest_silence:.1?}; {given_again} successors given again, {past_bound} answers past the bound, {kept} \
             sessions kept",
            fault.name(),
            self.seed
        );
        if let Some(Lag { since, until }) = lag {
            let span = Duration::from_micros(until.0.saturating_sub(since.0));
            println!("  lag {span:.1?}: {lost_logins} logins and {lost_revocations} revocations lost, as they may be");
        }
        for violation in violations {
            println!("VIOLATION: {}\n  {}", violation.what, violation.story.join("\n  "));
        }
    }
}

/// Whether the nodes have told operators that the database lost its tail, where a session showed it.
async fn is_loss_audited(bed: &Bed) -> anyhow::Result<bool> {
    let (healed, told) = (bed.pair.audited("refresh_healed").await?, bed.pair.audited("tail_lost").await?);
    println!("  {healed} sessions healed, audited as tail_lost {told} times");
    let held = healed == 0 || told > 0;
    if !held {
        println!("VIOLATION: sessions healed, and no tail_lost was audited");
    }
    Ok(held)
}
