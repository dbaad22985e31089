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

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};
use latchkey::domain::sources::{SystemEntropy, random};

use self::bed::Bed;
use self::checker::{Verdict, check};
use self::clients::Clients;
use self::dice::Dice;
use self::faults::{Fault, Spans, happen};
use self::history::{History, Lag};
use self::load::{Haste, Load};
use self::pair::Programs;

/// `introspection.revocation_staleness`, as it is unless set.
const BOUND: Duration = Duration::from_secs(2);

/// Faults under load.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo test --test cluster --")]
struct Options {
    /// How often each fault happens.
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// What alone happens.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Fault>,
    /// What chance begins with: the first round has this seed, and each further one the next.
    #[arg(long)]
    seed: Option<u64>,
    /// How long the load goes on beside a fault: a third of it before.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How long a node is stopped, in seconds. The others count it as gone after twenty.
    #[arg(long, default_value_t = 5.0)]
    pause: f64,
    /// Users renew again at once where they gave up waiting for an answer. A request that its session has left two
    /// steps behind counts as a replay: such rounds may break a rule.
    #[arg(long)]
    hurried: bool,
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
    let faults = Fault::value_variants().iter().filter(|it| options.only.is_empty() || options.only.contains(it));
    for fault in faults {
        for _ in 0..options.times {
            if !runtime.block_on(round.run(*fault))? {
                return Ok(false);
            }
            round.seed += 1;
        }
    }
    Ok(true)
}

struct Round<'a> {
    programs: Programs,
    seed: u64,
    options: &'a Options,
    bed: Option<Bed>,
}

impl Round<'_> {
    /// Whether all rules held.
    async fn run(&mut self, fault: Fault) -> anyhow::Result<bool> {
        let mut bed = match self.bed.take() {
            Some(bed) if bed.mode == fault.mode() => bed,
            _ => Bed::make(&self.programs, fault.mode(), &[]).await?,
        };
        let clients = Arc::new(Clients::new(bed.nodes.urls())?);
        let outcome = self.drive(fault, &mut bed, &clients).await;
        let (last_tries, lag) = match outcome {
            Ok(done) => done,
            Err(error) => return Err(error.context(format!("{} seed {}\n{}", fault.name(), self.seed, bed.logs()))),
        };
        let history = History {
            operations: clients.operations(),
            bound: BOUND,
            last_tries,
            lag,
            gentle: fault == Fault::Rolling,
        };
        let verdict = check(&history);
        self.tell(fault, &verdict, lag);
        if !verdict.violations.is_empty() {
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
    ) -> anyhow::Result<(history::Moment, Option<Lag>)> {
        let mut dice = Dice::of(self.seed, u64::MAX);
        let spans = Spans { pause: Duration::from_secs_f64(self.options.pause) };
        let before = Duration::from_secs_f64(self.options.seconds / 3.0);
        let haste = if self.options.hurried { Haste::Hurried } else { Haste::Patient };
        let load = Load::start(clients, self.seed, haste);
        tokio::time::sleep(before).await;
        let lag = happen(fault, bed, clients, &mut dice, spans).await?;
        tokio::time::sleep(before * 2).await;
        Ok((load.finish().await?, lag))
    }

    fn tell(&self, fault: Fault, verdict: &Verdict, lag: Option<Lag>) {
        let Verdict { logins, refreshes, introspections, revocations, unavailable, unanswered, .. } = verdict;
        let Verdict { kept, given_again, past_bound, lost_logins, lost_revocations, violations, .. } = verdict;
        println!(
            "{:<14} seed {}: {logins} logins, {refreshes} refreshes, {introspections} introspections, {revocations} \
             revocations; {unanswered} unanswered, {unavailable} put off; {given_again} successors given again, \
             {past_bound} answers past the bound, {kept} sessions kept",
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
