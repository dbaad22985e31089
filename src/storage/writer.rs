//! The writers: bounded queues of jobs, and the tasks that commit what waits in them together (group commit).
//!
//! SQLite has one writer. PostgreSQL has two for the hot operations, each owning the sessions whose id falls to it, so
//! that they never wait for each other's rows, one for everything administrative, and one for what is not logged, whose
//! commits wait for no disk. An answer leaves only after its commit; a job lives on when its caller goes away, but for one
//! not begun that presents what is good for one use.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::checkpoint::Checkpointer;
use super::conn::Conn;
use super::dial::Dialer;
use super::endpoint::Endpoint;
use super::group::{self, GroupJob, Pending};
use super::lock::ExclusiveLock;
use super::news::News;
use super::sql::{DbError, DbResult, Dialect};
use super::tx::{Stage, Tx};
use super::{Result, StoreError};
use crate::domain::ids::SessionId;
use crate::domain::revocation::RevocationSink;
use crate::domain::session::ChainKeys;
use crate::domain::sources::{Clock as _, SystemClock};

/// How many jobs share a commit at most. Beyond some hundred the gain is small and the latency is not.
const MAX_BATCH: usize = 256;

/// How many writers of hot operations PostgreSQL has.
const POSTGRES_HOT_WRITERS: usize = 2;

/// What administrative work comes to.
pub(super) enum Decision<T> {
    /// Commit, then answer.
    Keep(T),
    /// Undo what was written, and answer.
    Discard(T),
}

impl<T> Decision<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Decision<U> {
        match self {
            Self::Keep(outcome) => Decision::Keep(change(outcome)),
            Self::Discard(outcome) => Decision::Discard(change(outcome)),
        }
    }
}

pub(super) type Work<'t, T> = Pin<Box<dyn Future<Output = DbResult<Decision<T>>> + Send + 't>>;

/// Work with a transaction of its own.
#[async_trait]
trait Solo: Send {
    /// Does the work, and answers whether to commit it.
    async fn run(&mut self, tx: &mut Tx) -> DbResult<bool>;
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct SoloWork<F, T> {
    work: Option<F>,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

#[async_trait]
impl<F, T> Solo for SoloWork<F, T>
where
    F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send,
    T: Send,
{
    async fn run(&mut self, tx: &mut Tx) -> DbResult<bool> {
        let Some(work) = self.work.take() else { return Ok(false) };
        let (keep, outcome) = match work(tx).await? {
            Decision::Keep(outcome) => (true, outcome),
            Decision::Discard(outcome) => (false, outcome),
        };
        self.outcome = Some(outcome);
        Ok(keep)
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let lost = || StoreError::Inconsistent("a job was committed without an outcome".into());
        let Self { outcome, reply, .. } = *self;
        // A caller that went away does not undo its job.
        let _ = reply.send(committed.and_then(|()| outcome.ok_or_else(lost)));
    }
}

enum Job {
    Group(GroupJob, Submitted),
    Solo(Box<dyn Solo>),
    /// Take no more, finish what waits, and leave.
    Stop,
}

impl Job {
    fn group(job: GroupJob) -> Self {
        Self::Group(job, Submitted::now())
    }

    fn answer(self, committed: Result<()>) {
        match self {
            Self::Group(job, _) => job.answer(committed),
            Self::Solo(job) => job.answer(committed),
            Self::Stop => {}
        }
    }
}

/// How long a job may have waited. Whoever asked has given up by then and asks another node, and what was answered there
/// must not be overtaken by this: a refresh token that its session has left two steps behind counts as stolen. So it is
/// in a node that was suspended, and where the database was away.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

/// When a job was handed in, in uptime of the machine: no test moves that.
#[derive(Clone, Copy)]
struct Submitted(Duration);

impl Submitted {
    fn now() -> Self {
        Self(SystemClock.uptime())
    }

    fn is_too_old(self, now: Self) -> bool {
        now.0.saturating_sub(self.0) > LONGEST_WAIT
    }
}

/// What every writer works with.
#[derive(Clone)]
pub(super) struct Workshop {
    pub endpoint: Endpoint,
    pub chain_keys: Arc<dyn ChainKeys>,
    pub sink: Arc<dyn RevocationSink>,
    pub news: News,
    /// A writer holds the database's lock to its own last commit.
    pub _lock: Option<Arc<ExclusiveLock>>,
}

/// The queues in front of the writers.
pub(super) struct Writers {
    hot: Vec<mpsc::Sender<Job>>,
    admin: mpsc::Sender<Job>,
    unlogged: mpsc::Sender<Job>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Writers {
    /// Starts the writers; each holds at most `queue` waiting jobs.
    pub fn start(workshop: &Workshop, queue: usize) -> Self {
        let mut tasks = Vec::new();
        let mut start = || {
            let (sender, queue) = mpsc::channel(queue.max(1));
            tasks.push(tokio::spawn(Writer::new(workshop.clone(), queue).run()));
            sender
        };
        let (hot, admin, unlogged) = match workshop.endpoint.dialect() {
            Dialect::Sqlite => {
                let only = start();
                (vec![only.clone()], only.clone(), only)
            }
            Dialect::Postgres => ((0..POSTGRES_HOT_WRITERS).map(|_| start()).collect(), start(), start()),
        };
        Self { hot, admin, unlogged, tasks: Mutex::new(tasks) }
    }

    /// Has a job committed together with others, by the writer that owns the session.
    pub async fn together<R, T>(
        &self,
        owner: Option<SessionId>,
        request: R,
        job: impl FnOnce(Pending<R, T>) -> GroupJob,
    ) -> Result<T> {
        let shard = owner.map_or(0, |id| usize::from(id.as_bytes()[0]) % self.hot.len());
        submit_grouped(self.hot.get(shard).unwrap_or(&self.admin), request, job).await
    }

    /// Has a job committed together with others that write to unlogged tables alone.
    pub async fn unlogged<R, T>(&self, request: R, job: impl FnOnce(Pending<R, T>) -> GroupJob) -> Result<T> {
        submit_grouped(&self.unlogged, request, job).await
    }

    /// Has work done in a transaction of its own.
    pub async fn alone<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
        T: Send + 'static,
    {
        submit_solo(&self.admin, work).await
    }

    /// The same, of work that writes to unlogged tables alone.
    pub async fn alone_unlogged<T, F>(&self, work: F) -> Result<T>
    where
        F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
        T: Send + 'static,
    {
        submit_solo(&self.unlogged, work).await
    }

    /// Takes no more jobs, and returns when the waiting ones are committed and answered.
    pub async fn close(&self) {
        for queue in self.hot.iter().chain([&self.admin, &self.unlogged]) {
            // A closed queue is what is wanted.
            let _ = queue.send(Job::Stop).await;
        }
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
    }
}

async fn submit_grouped<R, T>(
    queue: &mpsc::Sender<Job>,
    request: R,
    job: impl FnOnce(Pending<R, T>) -> GroupJob,
) -> Result<T> {
    let (reply, answer) = oneshot::channel();
    submit(queue, Job::group(job(Pending::new(request, reply))))?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

async fn submit_solo<T, F>(queue: &mpsc::Sender<Job>, work: F) -> Result<T>
where
    F: for<'t> FnOnce(&'t mut Tx) -> Work<'t, T> + Send + 'static,
    T: Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    submit(queue, Job::Solo(Box::new(SoloWork { work: Some(work), outcome: None, reply })))?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

fn submit(queue: &mpsc::Sender<Job>, job: Job) -> Result<()> {
    queue.try_send(job).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
        mpsc::error::TrySendError::Closed(_) => gone(),
    })
}

fn waited_too_long() -> StoreError {
    StoreError::Unavailable(format!("a write waited for more than {} s", LONGEST_WAIT.as_secs()).into())
}

fn gone() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

/// How an attempt at a transaction failed.
enum Failure {
    /// There is no connection to be had, or it cannot even begin (another process holds the file).
    Unreachable(DbError),
    /// Nothing was committed.
    Undone(DbError),
    /// COMMIT was sent, or may have been, and its answer was lost.
    Unknown(DbError),
}

impl Failure {
    fn error(&self) -> &DbError {
        match self {
            Self::Unreachable(error) | Self::Undone(error) | Self::Unknown(error) => error,
        }
    }

    /// What each of several callers is told.
    fn told(&self) -> StoreError {
        let text = self.error().to_string();
        let passing = match self {
            Self::Unreachable(_) | Self::Unknown(_) => true,
            Self::Undone(error) => error.may_pass(),
        };
        if passing { StoreError::Unavailable(text.into()) } else { StoreError::Inconsistent(text) }
    }
}

struct Writer {
    workshop: Workshop,
    dialer: Dialer,
    queue: mpsc::Receiver<Job>,
    conn: Option<Conn>,
    /// Where the database is a file.
    checkpointer: Option<Checkpointer>,
}

impl Writer {
    fn new(workshop: Workshop, queue: mpsc::Receiver<Job>) -> Self {
        let is_file = workshop.endpoint.dialect() == Dialect::Sqlite;
        let checkpointer = is_file.then(|| Checkpointer::start(workshop.endpoint.clone()));
        let dialer = Dialer::new(workshop.endpoint.clone());
        Self { workshop, dialer, queue, conn: None, checkpointer }
    }

    async fn run(mut self) {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        let mut together = Vec::with_capacity(MAX_BATCH);
        let mut alone = Vec::new();
        while self.queue.recv_many(&mut waiting, MAX_BATCH).await > 0 {
            let now = Submitted::now();
            for job in waiting.drain(..) {
                match job {
                    Job::Group(job, _) if job.is_abandoned() => {}
                    Job::Group(job, submitted) if submitted.is_too_old(now) => job.answer(Err(waited_too_long())),
                    Job::Group(job, _) => together.push(job),
                    Job::Solo(job) => alone.push(job),
                    Job::Stop => self.queue.close(),
                }
            }
            self.commit_together(&mut together).await;
            for job in alone.drain(..) {
                self.commit_alone(job).await;
            }
        }
        if let Some(checkpointer) = self.checkpointer {
            checkpointer.close().await;
        }
        if let Some(conn) = self.conn.take() {
            conn.close().await;
        }
    }

    /// Commits a batch, if need be one by one, and answers its jobs.
    async fn commit_together(&mut self, jobs: &mut Vec<GroupJob>) {
        if jobs.is_empty() {
            return;
        }
        match self.attempt(Task::Together(jobs)).await {
            Ok(()) => jobs.drain(..).for_each(|job| job.answer(Ok(()))),
            Err(Failure::Undone(error)) if jobs.len() > 1 && error.may_be_of_one_job() => {
                // One job spoils the batch, and nobody knows which.
                tracing::warn!(jobs = jobs.len(), %error, "a batch failed; its jobs are tried one by one");
                let mut jobs = jobs.drain(..);
                while let Some(mut job) = jobs.next() {
                    match self.attempt(Task::Together(std::slice::from_mut(&mut job))).await {
                        Ok(()) => job.answer(Ok(())),
                        Err(failure @ Failure::Unreachable(_)) => {
                            self.fail(std::iter::once(job).chain(jobs).map(Job::group), &failure);
                            return;
                        }
                        Err(failure) => job.answer(Err(failure.told())),
                    }
                }
            }
            Err(failure) => self.fail(jobs.drain(..).map(Job::group), &failure),
        }
    }

    async fn commit_alone(&mut self, mut job: Box<dyn Solo>) {
        match self.attempt(Task::Alone(job.as_mut())).await {
            Ok(()) => job.answer(Ok(())),
            Err(failure) => self.fail([Job::Solo(job)], &failure),
        }
    }

    /// Answers jobs with a failure. Where the database is out of reach, so is it for all who wait: they are told now,
    /// instead of each batch finding out for itself.
    fn fail(&mut self, jobs: impl IntoIterator<Item = Job>, failure: &Failure) {
        tracing::warn!(error = %failure.error(), "a write failed");
        jobs.into_iter().for_each(|job| job.answer(Err(failure.told())));
        while matches!(failure, Failure::Unreachable(_))
            && let Ok(job) = self.queue.try_recv()
        {
            if matches!(job, Job::Stop) {
                self.queue.close();
            }
            job.answer(Err(failure.told()));
        }
    }

    /// One transaction, from BEGIN to COMMIT.
    async fn attempt(&mut self, task: Task<'_>) -> std::result::Result<(), Failure> {
        match self.workshop.endpoint.deadline() {
            None => self.transact(task).await,
            Some(deadline) => match tokio::time::timeout(deadline, self.transact(task)).await {
                Ok(outcome) => outcome,
                // The transaction was dropped with its connection.
                Err(_) => Err(Failure::Unknown(DbError::TimedOut(deadline))),
            },
        }
    }

    async fn transact(&mut self, task: Task<'_>) -> std::result::Result<(), Failure> {
        let mut tx = self.begin().await?;
        let is_heavy = matches!(task, Task::Alone(_));
        let done = match task {
            Task::Together(jobs) => group::carry_out(jobs, &mut tx, &*self.workshop.chain_keys).await.map(|()| true),
            Task::Alone(job) => job.run(&mut tx).await,
        };
        let done = match done {
            Ok(true) => tx.commit(&*self.workshop.sink).await.map(|()| true),
            other => other,
        };
        let stage = tx.stage();
        match done {
            Ok(true) => {
                if tx.is_news() {
                    self.workshop.news.tell();
                }
                self.conn = Some(tx.into_conn());
                if let Some(checkpointer) = &mut self.checkpointer {
                    checkpointer.committed(is_heavy);
                }
                Ok(())
            }
            Ok(false) => {
                self.conn = tx.roll_back().await;
                Ok(())
            }
            Err(error) if stage == Stage::Refused => Err(Failure::Unreachable(error)),
            Err(error) if stage == Stage::Committing => Err(Failure::Unknown(error)),
            Err(error) => {
                if !error.breaks_connection() {
                    self.conn = tx.roll_back().await;
                }
                Err(Failure::Undone(error))
            }
        }
    }

    async fn begin(&mut self) -> std::result::Result<Tx, Failure> {
        if let Some(conn) = self.conn.take() {
            match Tx::begin(conn).await {
                // It died while it was idle: the next one may live.
                Err(error) if error.breaks_connection() => {}
                begun => return begun.map_err(Failure::Unreachable),
            }
        }
        let conn = self.dialer.writer().await.map_err(Failure::Unreachable)?;
        Tx::begin(conn).await.map_err(Failure::Unreachable)
    }
}

/// What to do within a transaction.
enum Task<'a> {
    Together(&'a mut [GroupJob]),
    Alone(&'a mut dyn Solo),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_waited_for_more_than_three_seconds_is_not_carried_out() {
        let at = |millis| Submitted(Duration::from_millis(millis));
        assert!(!at(1_000).is_too_old(at(4_000)));
        assert!(at(1_000).is_too_old(at(4_001)));
        assert!(!at(4_000).is_too_old(at(1_000)));
    }
}
