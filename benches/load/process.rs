//! What a process costs, by the kernel's account in `/proc`.

use anyhow::{Context as _, ensure};

/// Clock ticks a second in `/proc/PID/stat`: Linux shows 100 to every program, whatever its own timer does.
const TICKS: f64 = 100.0;

/// Seconds of all cores that the process has used so far, in itself and in the kernel.
pub fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    Stat::of(pid).map(|stat| stat.own)
}

/// The same of a process and all its children, those that have ended too.
pub fn family_cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    // One that ends in between is counted with its parent the next time.
    Ok(members(pid)?.map(|(_, stat)| stat.own + stat.ended).sum())
}

/// A process and all its children.
pub fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    Ok(members(pid)?.map(|(one, _)| one).collect())
}

fn members(pid: u32) -> anyhow::Result<impl Iterator<Item = (u32, Stat)>> {
    let numbered = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let known = numbered.filter_map(|one| Some((one, Stat::of(one).ok()?)));
    Ok(known.filter(move |(one, stat)| *one == pid || stat.parent == pid))
}

/// The parent of a process of that name; fails where there is none, as with a server on another machine.
pub fn parent_of(pid: u32, name: &str) -> anyhow::Result<u32> {
    ensure!(read(pid, "comm")?.trim() == name, "process {pid} is not {name}");
    Stat::of(pid).map(|stat| stat.parent)
}

struct Stat {
    parent: u32,
    /// Seconds of its own, and of its children that have ended.
    own: f64,
    ended: f64,
}

impl Stat {
    fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = read(pid, "stat")?;
        // The second field is the name in brackets, in which anything may stand.
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let ticks = |index: usize| Ok::<f64, anyhow::Error>(fields.get(index).context("too short")?.parse()?);
        let parent = fields.get(1).context("no parent in /proc/PID/stat")?.parse()?;
        Ok(Self { parent, own: (ticks(11)? + ticks(12)?) / TICKS, ended: (ticks(13)? + ticks(14)?) / TICKS })
    }
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
