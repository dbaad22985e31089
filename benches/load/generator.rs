//! The load: a closed loop over kept-alive connections, hand-written so that it costs little beside what it measures.
//!
//! One thread drives all connections. Each sends a request whose bytes are made beforehand, reads the answer to its
//! end, has it checked, and sends the next: none is ever ahead of its answer. Latencies are kept whole, in microseconds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::measured::Measured;
use super::process;

/// Room for every answer that is expected. A larger one is read in pieces.
const BUFFER: usize = 16 << 10;

/// How long after its end a run may wait for its last answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection's part of a load.
pub trait Caller: Send {
    /// Writes the next request; `false` where there is none.
    fn ask(&mut self, request: &mut Vec<u8>) -> bool;

    /// Checks the answer.
    ///
    /// # Errors
    /// It is not what must come. The run ends.
    fn hear(&mut self, answer: &Answer<'_>) -> anyhow::Result<()>;
}

/// An answer, as it lies in the buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub head: &'a [u8],
    pub body: &'a [u8],
}

/// Callers that are measured together.
pub struct Load {
    pub callers: Vec<Box<dyn Caller>>,
    /// How often each of them asks; `None`: as soon as it has its answer.
    pub pace: Option<Duration>,
}

impl Load {
    pub fn closed(callers: Vec<Box<dyn Caller>>) -> Self {
        Self { callers, pace: None }
    }

    pub fn paced(callers: Vec<Box<dyn Caller>>, pace: Duration) -> Self {
        Self { callers, pace: Some(pace) }
    }
}

/// How long to drive.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warmup: Duration,
    pub measured: Duration,
}

/// Who is driven, and whose processor time that costs.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub pid: u32,
    /// The parent of all processes of a database server on this machine, where there is one.
    pub database: Option<u32>,
}

/// Drives the loads at once, and measures each. The processor times are those of all of them together.
///
/// # Errors
/// An answer is not what must come: with what was asked and what was answered.
pub fn drive(target: Target, loads: Vec<Load>, span: Span) -> anyhow::Result<Vec<Measured>> {
    drive_over(&[target], loads, span)
}

/// The same over several nodes of one service: each load's callers take them in turn, and each caller keeps to its own.
///
/// # Errors
/// An answer is not what must come: with what was asked and what was answered.
pub fn drive_over(targets: &[Target], loads: Vec<Load>, span: Span) -> anyhow::Result<Vec<Measured>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(targets, loads, span))
}

/// One request and its answer, whole.
pub struct Exchange {
    pub request: Vec<u8>,
    pub status: u16,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// Has a caller ask once, on a connection of its own.
///
/// # Errors
/// The answer is not what must come.
pub fn once(address: SocketAddr, caller: &mut dyn Caller) -> anyhow::Result<Exchange> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut line = Line::open(address).await?;
        if !caller.ask(&mut line.request) {
            bail!("there is nothing to ask");
        }
        let answer = line.exchange().await?;
        let heard = caller.hear(&answer);
        let (status, head, body) = (answer.status, answer.head.to_vec(), answer.body.to_vec());
        heard.with_context(|| line.told(status, &body))?;
        Ok(Exchange { request: line.request, status, head, body })
    })
}

async fn run(targets: &[Target], loads: Vec<Load>, span: Span) -> anyhow::Result<Vec<Measured>> {
    let begin = Instant::now() + span.warmup;
    let clock = Clock { begin, end: begin + span.measured, stop: Arc::default() };
    let mut callers = JoinSet::new();
    let mut latencies: Vec<Vec<u32>> = Vec::new();
    for (index, load) in loads.into_iter().enumerate() {
        latencies.push(Vec::new());
        for (caller, target) in load.callers.into_iter().zip(targets.iter().cycle()) {
            let (clock, pace, address) = (clock.clone(), load.pace, target.address);
            callers.spawn(async move { Ok::<_, anyhow::Error>((index, call(address, caller, pace, clock).await?)) });
        }
    }
    let mut gathered = Gathered { callers, latencies };
    if gathered.until(begin).await? {
        bail!("the callers ran out of requests during the warm-up: there must be more");
    }
    let before = Used::now(targets)?;
    // Callers that run out of requests end the run early.
    let is_over = gathered.until(clock.end).await?;
    let costs = before.until(&Used::now(targets)?);
    clock.stop.store(true, Ordering::Relaxed);
    if !is_over && !gathered.until(Instant::now() + PATIENCE).await? {
        bail!("answers are still missing {} s after the end", PATIENCE.as_secs());
    }
    let answers = gathered.latencies.iter().map(Vec::len).sum();
    Ok(gathered.latencies.into_iter().map(|latencies| Measured::of(latencies, answers, costs)).collect())
}

/// Callers under way, and what those that have ended bring home.
struct Gathered {
    callers: JoinSet<anyhow::Result<(usize, Vec<u32>)>>,
    /// By load.
    latencies: Vec<Vec<u32>>,
}

impl Gathered {
    /// Waits until then, and answers whether all callers have ended before.
    ///
    /// # Errors
    /// That of the first caller that failed.
    async fn until(&mut self, then: Instant) -> anyhow::Result<bool> {
        loop {
            match tokio::time::timeout_at(then.into(), self.callers.join_next()).await {
                Err(_) => return Ok(false),
                Ok(None) => return Ok(true),
                Ok(Some(done)) => {
                    let (index, mut measured) = done??;
                    self.latencies[index].append(&mut measured);
                }
            }
        }
    }
}

#[derive(Clone)]
struct Clock {
    begin: Instant,
    end: Instant,
    stop: Arc<AtomicBool>,
}

/// What a run has used.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    pub seconds: f64,
    /// Processor seconds.
    pub server: f64,
    pub client: f64,
    pub database: Option<f64>,
}

/// What the processes have used so far.
struct Used {
    at: Instant,
    server: f64,
    client: f64,
    database: Option<f64>,
}

impl Used {
    fn now(targets: &[Target]) -> anyhow::Result<Self> {
        // All nodes have the same database.
        let database = targets.iter().find_map(|target| target.database);
        let database = database.map(process::family_cpu_seconds).transpose()?;
        let client = process::cpu_seconds(std::process::id())?;
        let server = targets.iter().map(|target| process::cpu_seconds(target.pid)).sum::<anyhow::Result<f64>>()?;
        Ok(Self { server, client, database, at: Instant::now() })
    }

    fn until(&self, now: &Self) -> Costs {
        Costs {
            seconds: (now.at - self.at).as_secs_f64(),
            server: now.server - self.server,
            client: now.client - self.client,
            database: now.database.zip(self.database).map(|(now, before)| now - before),
        }
    }
}

/// A caller's connection to the end of the run: its latencies, in microseconds.
async fn call(
    address: SocketAddr,
    mut caller: Box<dyn Caller>,
    pace: Option<Duration>,
    clock: Clock,
) -> anyhow::Result<Vec<u32>> {
    let mut line = Line::open(address).await?;
    let mut latencies = Vec::new();
    let mut due = Instant::now();
    while !clock.stop.load(Ordering::Relaxed) {
        let mut asked = Instant::now();
        if let Some(pace) = pace {
            if asked < due {
                tokio::time::sleep_until(due.into()).await;
                // The timer's lateness is the client's.
                asked = Instant::now();
            } else {
                // The answer before came late, and this request waited for it.
                asked = due;
            }
            due += pace;
        }
        line.request.clear();
        if !caller.ask(&mut line.request) {
            break;
        }
        let answer = line.exchange().await?;
        let now = Instant::now();
        if let Err(fault) = caller.hear(&answer) {
            let (status, body) = (answer.status, answer.body.to_vec());
            return Err(fault.context(line.told(status, &body)));
        }
        if now >= clock.begin && now < clock.end {
            latencies.push(u32::try_from((now - asked).as_micros()).unwrap_or(u32::MAX));
        }
    }
    Ok(latencies)
}

/// One kept-alive connection.
struct Line {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Line {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(4096), buffer: Vec::with_capacity(BUFFER) })
    }

    async fn exchange(&mut self) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(&self.request).await?;
        self.buffer.clear();
        let mut head = None;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let (asked, got) = (shown(&self.request), shown(&self.buffer));
                bail!("the connection was closed in the middle of an answer: asked {asked}, got {got}");
            }
            if head.is_none() {
                head = Head::read(&self.buffer)?;
            }
            if let Some(Head { status, length, body }) = head
                && self.buffer.len() >= length + body
            {
                let (head, body) = self.buffer.split_at(length);
                return Ok(Answer { status, head, body });
            }
        }
    }

    fn told(&self, status: u16, body: &[u8]) -> String {
        format!("answered with {status} {}\nto {}", shown(body), shown(&self.request))
    }
}

/// What must be known of a head: the status, its own length, and the body's.
#[derive(Clone, Copy)]
struct Head {
    status: u16,
    length: usize,
    body: usize,
}

impl Head {
    fn read(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        const LENGTH: &[u8] = b"content-length:";
        let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
        let status = bytes.get(9..12).and_then(digits).context("no status")?;
        let status = u16::try_from(status)?;
        let mut lines = bytes[..end].split(|byte| *byte == b'\n');
        let field = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(LENGTH.len())?;
            name.eq_ignore_ascii_case(LENGTH).then(|| digits(value.trim_ascii()))?
        });
        let body = match (status, field) {
            (204 | 304, _) => 0,
            (_, Some(length)) => length,
            (_, None) => bail!("an answer without a length: {}", shown(bytes)),
        };
        Ok(Some(Self { status, length: end + 4, body }))
    }
}

fn digits(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2048)]).into_owned()
}
