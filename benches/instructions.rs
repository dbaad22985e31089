//! How many instructions the hot paths take for one call, counted by callgrind and held against `instructions.json`.
//!
//! `cargo bench --bench instructions` counts, prints and compares; it fails where a case differs from the baseline by more
//! than the margin, in either direction. `-- --write` renews the baseline, `-- NAME` counts only what has NAME in its
//! name. The profiles stay under `target/tmp/instructions`, for `callgrind_annotate --inclusive=yes`.
//! Exit status: 0 within the margin, 1 beyond it, [`NO_VALGRIND`] where nothing could be counted.
//!
//! What is counted is one function, [`measured`], so the start of the service is not in it. Nothing that signs is a case:
//! that is OpenSSL's work, and it differs from call to call. Valgrind shows programs the same processor on every machine
//! with AVX2, one without instructions for SHA: digests are computed in plain code, about 3,300 instructions for each 64
//! bytes, whatever machine counts. So the counts tell what a change costs, not how long a call takes: `micro.rs` does.
//!
//! From run to run most cases are equal to the instruction or within 0.1 %; `signing_input` and `ticket_issue`, whose
//! buffers grow, vary by up to 1 % with where the heap lies, and hash maps and moka a little with seeds and clock. A change
//! elsewhere moves a case by 1 % or so, because other functions are inlined. The margin of 3 % is above both, and below
//! what a digest, a copy of a text or a few allocations more cost. The counts hold for the compiler, the C library and the
//! valgrind that the baseline names; with others they are printed and not judged.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]

mod bed;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use bed::{Bed, CASES};

/// What test runners take for "skipped".
const NO_VALGRIND: u8 = 77;

const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions.json");
const PROFILES: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/instructions");

/// What is counted: none of it signs or checks a signature.
const HOT: &[&str] = &[
    "signing_input",
    "claims_parse",
    "claims_by_rules",
    "key_by_kid",
    "refresh_parse",
    "refresh_derive",
    "session_rotated",
    "session_retried",
    "token_form",
    "ticket_issue",
    "ticket_read",
    "cache_hit",
    "introspect_cached",
];

/// Enough that what happens once in a while, as moka's housekeeping at every 64th look-up, is in the mean.
const CALLS: u32 = 2000;

/// Calls before counting, so that what is made at the first call is there.
const WARM_UP: u32 = 200;

/// [`measured`], as callgrind knows it.
const MEASURED: &str = "instructions::measured";

/// In percent, in either direction.
const MARGIN: f64 = 3.0;

#[derive(Serialize, Deserialize)]
struct Baseline {
    #[serde(flatten)]
    made_with: Tools,
    /// Instructions per call.
    cases: BTreeMap<String, u64>,
}

/// What the counts depend on beside the source and `Cargo.lock`.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Tools {
    rustc: String,
    target: String,
    libc: String,
    valgrind: String,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        let names: Vec<&str> = arguments[at + 1..].iter().map(String::as_str).collect();
        return count(&names).map(|()| ExitCode::SUCCESS);
    }
    ensure!(!cfg!(debug_assertions), "the counts are of optimised code: run it by `cargo bench --bench instructions`");
    let write = arguments.iter().any(|argument| argument == "--write");
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    ensure!(filters.is_empty() || !write, "--write renews the whole baseline: name no case beside it");
    let names: Vec<&str> = HOT
        .iter()
        .copied()
        .filter(|name| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())))
        .collect();
    ensure!(!names.is_empty(), "no case has that in its name; there are {}", HOT.join(", "));

    let Some(valgrind) = said("valgrind", &["--version"]) else {
        eprintln!("valgrind is not there, so no instruction was counted; Debian and Ubuntu: apt-get install valgrind");
        return Ok(ExitCode::from(NO_VALGRIND));
    };
    let tools = Tools::of_here(valgrind)?;
    let counted = run(&names)?;
    if write {
        let baseline = Baseline { made_with: tools, cases: counted };
        std::fs::write(BASELINE, serde_json::to_string_pretty(&baseline)? + "\n")?;
        println!("{BASELINE} was written with {} cases", baseline.cases.len());
        return Ok(ExitCode::SUCCESS);
    }
    compare(&names, &counted, &tools)
}

/// Counted is what happens in here, and nothing of what comes before.
#[inline(never)]
fn measured(case: &mut dyn FnMut() -> bool, calls: u32) -> bool {
    let mut right = true;
    for _ in 0..calls {
        right &= case();
    }
    right
}

/// The process under callgrind.
fn count(names: &[&str]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let bed = Bed::new(folder.path())?;
    for name in names {
        let (_, make) = CASES.iter().find(|(known, _)| known == name).context("no such case")?;
        let mut case = make(&bed)?;
        let warmed = (0..WARM_UP).all(|_| case());
        ensure!(warmed && measured(&mut *case, CALLS), "{name} came to something else");
    }
    bed.close();
    Ok(())
}

/// Starts this program under callgrind. Each of the cases is dumped when it has been measured: the first is `.1`.
fn run(names: &[&str]) -> anyhow::Result<BTreeMap<String, u64>> {
    let folder = Path::new(PROFILES);
    // Of an earlier run; there may be none.
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder)?;
    let dumps = folder.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--quiet", "--trace-children=no"]);
    command.arg(format!("--callgrind-out-file={}", dumps.display()));
    command.args([format!("--toggle-collect={MEASURED}"), format!("--dump-after={MEASURED}")]);
    let status = command.arg(std::env::current_exe()?).arg("--count").args(names).status()?;
    if !status.success() {
        bail!("the counting run ended with {status}");
    }
    let each = names.iter().enumerate().map(|(at, name)| {
        let kept = folder.join(format!("{name}.out"));
        std::fs::rename(dumps.with_extension(format!("out.{}", at + 1)), &kept)
            .with_context(|| format!("callgrind has dumped nothing for {name}"))?;
        Ok(((*name).to_owned(), total(&kept)? / u64::from(CALLS)))
    });
    each.collect()
}

fn total(profile: &PathBuf) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(profile)?;
    let line = text.lines().find_map(|line| line.strip_prefix("totals: ")).context("the profile has no total")?;
    Ok(line.trim().parse()?)
}

fn compare(names: &[&str], counted: &BTreeMap<String, u64>, tools: &Tools) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(BASELINE).with_context(|| format!("{BASELINE} is not there: --write makes it"))?;
    let Baseline { made_with, cases } = serde_json::from_str(&text)?;
    let mut beyond = Vec::new();
    println!("{:<28}{:>14}{:>14}{:>14}", "instructions per call", "counted", "baseline", "difference");
    for name in names {
        let (now, before) = (counted.get(*name).copied().unwrap_or(0), cases.get(*name).copied());
        let difference = before.map(|before| (now as f64 / before.max(1) as f64 - 1.0) * 100.0);
        let shown = difference.map_or("new".to_owned(), |percent| format!("{percent:+.2} %"));
        println!("{name:<28}{now:>14}{:>14}{shown:>14}", before.map_or("-".to_owned(), |before| before.to_string()));
        if difference.is_none_or(|percent| percent.abs() > MARGIN) {
            beyond.push(*name);
        }
    }
    if *tools != made_with {
        println!("NOT JUDGED: the baseline was made with {made_with}, and this run with {tools}; --write renews it");
        return Ok(ExitCode::SUCCESS);
    }
    if beyond.is_empty() {
        println!("all within {MARGIN} % of the baseline");
        return Ok(ExitCode::SUCCESS);
    }
    println!("beyond {MARGIN} %: {}. Where that is meant, `-- --write` renews the baseline", beyond.join(", "));
    Ok(ExitCode::FAILURE)
}

impl Tools {
    fn of_here(valgrind: String) -> anyhow::Result<Self> {
        let compiler = said("rustc", &["-vV"]).context("rustc does not say its version")?;
        let line = |name: &str| compiler.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Ok(Self {
            rustc: compiler.lines().next().unwrap_or_default().to_owned(),
            target: line("host: ").context("rustc does not say its host")?,
            libc: said("getconf", &["GNU_LIBC_VERSION"]).unwrap_or_else(|| "unknown".to_owned()),
            valgrind,
        })
    }
}

impl std::fmt::Display for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}, {}, {}", self.rustc, self.target, self.libc, self.valgrind)
    }
}

/// What a program answers; `None` where it is not there or fails.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
