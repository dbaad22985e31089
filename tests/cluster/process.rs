//! Processes of this machine, as signals and `/proc` reach them.

use rustix::process::{Pid, Signal, kill_process};

/// Sends a signal; a process that is gone already is none to fail for.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Ends a process and its children at once, as when the machine loses its power.
pub fn kill_family(parent: u32) -> anyhow::Result<()> {
    // Stopped, it has no more children.
    signal(parent, Signal::STOP);
    let children = children(parent)?;
    for pid in children.into_iter().chain([parent]) {
        signal(pid, Signal::KILL);
    }
    Ok(())
}

fn children(parent: u32) -> anyhow::Result<Vec<u32>> {
    let numbered = std::fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbered.filter(|pid| parent_of(*pid) == Some(parent)).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, in which anything may stand.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}
