//! What a process costs, by the kernel's account in `/proc`.

use anyhow::Context as _;

/// Clock ticks a second in `/proc/PID/stat`: Linux shows 100 to every program, whatever its own timer does.
const TICKS: f64 = 100.0;

/// Seconds of all cores that the process has used so far, in itself and in the kernel.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = read(pid, "stat")?;
    // The second field is the name in brackets, in which anything may stand.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<f64>);
    let mut next = || ticks.next().context("no times in /proc/PID/stat");
    Ok((next()?? + next()??) / TICKS)
}

/// Resident memory, in MiB.
pub fn resident(pid: u32) -> anyhow::Result<f64> {
    let status = read(pid, "status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
}

fn read(pid: u32, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::read_to_string(&path).with_context(|| format!("{path} cannot be read"))
}

/// How many threads can run at once: what the product sizes its queues by.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
