//! Where the processor time of an operation goes: one more run, whose stacks `perf` takes from the whole machine, drawn
//! as a flame graph. The run counts for no figure, because being watched slows it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::generator::{Load, Span, Target, drive};
use super::place::Place;
use super::plot::escaped;
use super::process::{cores, family};
use super::server::Server;

/// Stacks a second of each core, so that no timer beats with it.
const HERTZ: u32 = 997;
/// Bytes of each stack: what a request of ours is deep.
const STACK: u32 = 24 << 10;
/// How long stacks are taken.
const WATCHED: Duration = Duration::from_secs(2);
/// How long the load runs before and after: `perf` takes a while to begin.
const AROUND: Duration = Duration::from_millis(1500);

/// The folder that graphs go to.
#[derive(Clone, Copy, Debug)]
pub struct Flames<'a>(pub Option<&'a Path>);

impl Flames<'_> {
    pub fn are_wanted(self) -> bool {
        self.0.is_some()
    }

    /// Draws the loads, on a service that is started for them, where graphs are wanted at all.
    ///
    /// # Errors
    /// The service does not start, `perf` cannot be run, or an answer is not what must come.
    pub fn draw(
        self,
        name: &str,
        place: &Place,
        loads: impl FnOnce() -> anyhow::Result<Vec<Load>>,
    ) -> anyhow::Result<()> {
        if !self.are_wanted() {
            return Ok(());
        }
        let server = Server::start(place)?;
        self.draw_on(&server, name, place, loads)?;
        server.stop()
    }

    /// The same, on a service that runs.
    ///
    /// # Errors
    /// `perf` cannot be run, or an answer is not what must come.
    pub fn draw_on(
        self,
        server: &Server,
        name: &str,
        place: &Place,
        loads: impl FnOnce() -> anyhow::Result<Vec<Load>>,
    ) -> anyhow::Result<()> {
        let Some(folder) = self.0 else { return Ok(()) };
        let (target, loads) = (server.target(), loads()?);
        let name = format!("{name}-{}", place.store.to_string().to_lowercase());
        eprintln!("flame graph of {name}");
        let taken = tempfile::tempdir()?;
        let data = taken.path().join("perf.data");
        let watching = {
            let data = data.clone();
            std::thread::spawn(move || watch(&data))
        };
        drive(target, loads, Span { warmup: AROUND, measured: WATCHED + AROUND })?;
        watching.join().map_err(|_| anyhow::anyhow!("the thread beside perf panicked"))??;
        let stacks = Stacks::read(&data, target)?;
        ensure!(stacks.root.samples > 0, "perf took no stacks of {name}");
        std::fs::create_dir_all(folder)?;
        let file = folder.join(format!("{name}.svg"));
        std::fs::write(&file, stacks.svg(&name)).with_context(|| format!("{} cannot be written", file.display()))
    }
}

fn watch(data: &Path) -> anyhow::Result<()> {
    std::thread::sleep(AROUND);
    let mut perf = Command::new("perf");
    perf.args(["record", "-a", "-e", "cpu-clock", "-F", &HERTZ.to_string()]);
    perf.args(["--call-graph", &format!("dwarf,{STACK}"), "-o"]).arg(data);
    perf.args(["--", "sleep", &WATCHED.as_secs().to_string()]);
    let output = perf.stdin(Stdio::null()).output().context("perf cannot be run: it comes with linux-perf")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "perf record: {said}\nStacks of the whole machine are for root alone");
    Ok(())
}

/// Samples by their stacks, the outermost function first.
#[derive(Default)]
struct Stacks {
    root: Node,
}

#[derive(Default)]
struct Node {
    samples: u64,
    inner: BTreeMap<String, Node>,
}

impl Stacks {
    fn read(data: &Path, target: Target) -> anyhow::Result<Self> {
        // Resolving inlined functions takes minutes.
        let mut perf = Command::new("perf");
        perf.args(["script", "--no-inline", "-F", "comm,pid,ip,sym", "-i"]).arg(data);
        let output = perf.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "perf script: {}", String::from_utf8_lossy(&output.stderr));
        let database = target.database.map(family).transpose()?.unwrap_or_default();
        let process = |pid: u32| match pid {
            0 => "idle",
            pid if pid == target.pid => "Latchkey",
            pid if pid == std::process::id() => "the benchmark's client",
            pid if database.contains(&pid) => "PostgreSQL",
            _ => "others",
        };
        let mut stacks = Self::default();
        for sample in String::from_utf8_lossy(&output.stdout).split("\n\n") {
            let mut lines = sample.trim_matches('\n').lines();
            let Some((thread, pid)) = lines.next().and_then(|head| head.trim().rsplit_once(' ')) else { continue };
            let process = process(pid.parse().with_context(|| format!("perf script wrote {pid} for a process"))?);
            let mut stack = vec![process.to_owned()];
            match process {
                "idle" | "others" => {}
                _ => {
                    stack.push(thread.trim().to_owned());
                    let functions: Vec<_> = lines.filter_map(|line| line.trim().split_once(' ')).collect();
                    stack.extend(functions.iter().rev().filter_map(|(_, function)| named(function)));
                    stack.dedup();
                }
            }
            stacks.add(stack);
        }
        Ok(stacks)
    }

    fn add(&mut self, stack: Vec<String>) {
        let mut node = &mut self.root;
        node.samples += 1;
        for function in stack {
            node = node.inner.entry(function).or_default();
            node.samples += 1;
        }
    }

    fn svg(&self, name: &str) -> String {
        let mut flames = Drawing { whole: self.root.samples as f64, deepest: 0, text: String::new() };
        let mut x = 0.0;
        for (function, node) in by_weight(&self.root) {
            flames.node(function, node, x, 0);
            x += flames.width(node);
        }
        let height = TOP + ROW * (flames.deepest + 1) as f64 + EDGE;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"Flame graph of {name}\">\n<style>{STYLE}</style>\n\
             <rect class=\"panel\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text x=\"{EDGE}\" y=\"20\" class=\"title\">{name}: {} samples of {} cores, outermost function on top</text>\n\
             {}</svg>\n",
            self.root.samples,
            cores(),
            flames.text,
        )
    }
}

/// What the reader knows by: a function without its generics, and nothing of what only passes calls on.
fn named(function: &str) -> Option<String> {
    const PASSING: [&str; 16] = [
        "core::",
        "std::",
        "alloc::",
        "tokio::runtime::",
        "tracing::instrument",
        "__rust_",
        "_start",
        "start_thread",
        "clone3",
        "__libc_",
        "main",
        "entry_SYSCALL",
        "do_syscall",
        "x64_sys_call",
        "asm_",
        "[unknown]",
    ];
    let plain = without_generics(function);
    let plain = plain.trim_start_matches("__x64_").trim_end_matches("::{{closure}}");
    let passing = plain.is_empty() || PASSING.iter().any(|passing| plain.starts_with(passing));
    (!passing).then(|| plain.to_owned())
}

/// `<a::B<T> as c::D>::e` as `a::B::e`, `a::b<T>` as `a::b`.
fn without_generics(function: &str) -> String {
    let (mut plain, mut depth, mut rest) = (String::new(), 0usize, function);
    if let Some((kind, method)) = function.strip_prefix('<').and_then(|inner| inner.rsplit_once(">::")) {
        plain = without_generics(kind.split_once(" as ").map_or(kind, |(kind, _)| kind));
        plain.push_str("::");
        rest = method;
    }
    for letter in rest.chars() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(letter),
            _ => {}
        }
    }
    plain
}

const WIDTH: f64 = 1200.0;
const EDGE: f64 = 10.0;
const TOP: f64 = 30.0;
const ROW: f64 = 16.0;
/// Of a letter, about.
const LETTER: f64 = 6.3;
/// What is narrower is left out.
const NARROWEST: f64 = 3.0;

const STYLE: &str = "text{font:10.5px ui-monospace,monospace;fill:#1f2328}.title{font-size:13px}.panel{fill:#fff}\
                     rect{stroke:#fff;stroke-width:.6}.own{fill:#ffb86b}.crate{fill:#f4e0a4}.else{fill:#b5d7f3}";

struct Drawing {
    whole: f64,
    deepest: usize,
    text: String,
}

impl Drawing {
    fn width(&self, node: &Node) -> f64 {
        (WIDTH - 2.0 * EDGE) * node.samples as f64 / self.whole
    }

    fn node(&mut self, function: &str, node: &Node, x: f64, depth: usize) {
        let width = self.width(node);
        if width < NARROWEST {
            return;
        }
        self.deepest = self.deepest.max(depth);
        let (left, y, share) = (EDGE + x, TOP + ROW * depth as f64, 100.0 * node.samples as f64 / self.whole);
        let label = escaped(&shortened(function, (width / LETTER) as usize));
        // Writing to a string does not fail.
        let _ = writeln!(
            self.text,
            "<g><title>{}, {share:.1} %</title><rect class=\"{}\" x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"{ROW}\"/><text x=\"{:.1}\" y=\"{}\">{label}</text></g>",
            escaped(function),
            class(function),
            left + 2.0,
            y + 11.5,
        );
        let mut x = x;
        for (function, inner) in by_weight(node) {
            self.node(function, inner, x, depth + 1);
            x += self.width(inner);
        }
    }
}

/// The widest first: idle time and the client come to the same place in every graph.
fn by_weight(node: &Node) -> Vec<(&str, &Node)> {
    let mut inner: Vec<_> = node.inner.iter().map(|(function, node)| (function.as_str(), node)).collect();
    inner.sort_by_key(|(_, node)| std::cmp::Reverse(node.samples));
    inner
}

/// What a box has room for: the end of a path says more than its beginning.
fn shortened(function: &str, room: usize) -> String {
    match function.chars().count() {
        _ if room < 4 => String::new(),
        letters if letters <= room => function.to_owned(),
        letters => "…".chars().chain(function.chars().skip(letters + 1 - room)).collect(),
    }
}

/// The colour: Latchkey's own functions, those of its crates, and all else.
fn class(function: &str) -> &'static str {
    if function.starts_with("latchkey::") {
        "own"
    } else if function.contains("::") {
        "crate"
    } else {
        "else"
    }
}
