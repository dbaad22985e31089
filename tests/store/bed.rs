//! What every test of the store stands on: an opened store, keys that derive, a sink that remembers, and logins.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use latchkey::domain::audit::{Actor, AuditEvent, AuditRecord, AuditType};
use latchkey::domain::client::{Client, GrantType};
use latchkey::domain::ids::{ClientId, NodeId, SessionId, Sub};
use latchkey::domain::policy::TokenPolicy;
use latchkey::domain::revocation::{Revocation, RevocationSink};
use latchkey::domain::scope::Scope;
use latchkey::domain::secret::Secret32;
use latchkey::domain::session::{Chain, ChainKeys, EndReason, Outcome, Presented, RetrySeen, Session, Successor};
use latchkey::domain::sources::{SystemEntropy, random};
use latchkey::domain::time::Timestamp;
use latchkey::domain::user::User;
use latchkey::storage::{
    AuditFilter, ClientEffects, CreateUserOutcome, EndSession, OpenError, OpenOutcome, OpenSession, Page, Refresh,
    Refreshed, StorageSettings, Store, Swept, UserEffects, open,
};
use sha2::Sha256;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use tempfile::TempDir;

use crate::pg::PgDatabase;

/// When tests take place.
pub const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Makes of each `async fn name(bed: Bed)` a test per database.
macro_rules! contract {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(crate::bed::Bed::sqlite().await).await;
                }
            )+
        }
        mod postgresql {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(bed) = crate::bed::Bed::postgres().await {
                        super::$name(bed).await;
                    }
                }
            )+
        }
    };
}
pub(crate) use contract;

/// Refresh keys whose version `n` is thirty-two bytes of `n`.
pub struct TestKeys {
    pub current: u8,
    pub compromised: HashSet<u8>,
}

impl ChainKeys for TestKeys {
    fn current_version(&self) -> u8 {
        self.current
    }

    fn is_compromised(&self, version: u8) -> bool {
        self.compromised.contains(&version)
    }

    fn successor(&self, version: u8, session: SessionId, generation: u32, secret: &Secret32) -> Option<Secret32> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&[version; 32]).ok()?;
        mac.update(session.as_bytes());
        mac.update(&generation.to_be_bytes());
        mac.update(secret.expose());
        Some(Secret32::new(mac.finalize().into_bytes().into()))
    }
}

/// Remembers what it was told, and can hold up whoever tells it.
#[derive(Default)]
pub struct TestSink {
    told: Mutex<Vec<Revocation>>,
    gate: Mutex<Option<Gate>>,
}

struct Gate {
    arrived: tokio::sync::mpsc::UnboundedSender<()>,
    go_on: std::sync::mpsc::Receiver<()>,
}

impl RevocationSink for TestSink {
    fn decided(&self, revocations: &[Revocation]) {
        self.told.lock().unwrap().extend_from_slice(revocations);
        let gate = self.gate.lock().unwrap().take();
        if let Some(gate) = gate {
            gate.arrived.send(()).unwrap();
            // Whoever opens the gate needs the runtime that this thread would block.
            tokio::task::block_in_place(|| gate.go_on.recv().unwrap());
        }
    }
}

impl TestSink {
    pub fn told(&self) -> Vec<Revocation> {
        self.told.lock().unwrap().clone()
    }

    /// Holds up the next one who tells, until the sender sends.
    pub fn close_gate(&self) -> (tokio::sync::mpsc::UnboundedReceiver<()>, std::sync::mpsc::Sender<()>) {
        let (arrived, has_arrived) = tokio::sync::mpsc::unbounded_channel();
        let (open, go_on) = std::sync::mpsc::channel();
        *self.gate.lock().unwrap() = Some(Gate { arrived, go_on });
        (has_arrived, open)
    }
}

/// The database of one test.
pub enum Backend {
    Sqlite(TempDir),
    Postgres(PgDatabase),
}

/// A transaction of somebody else's.
pub enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Raw {
    pub async fn run(&mut self, sql: &str) {
        match self {
            Self::Sqlite(conn) => sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.map(|_| ()),
            Self::Postgres(conn) => sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.map(|_| ()),
        }
        .unwrap();
    }

    /// Returns when this many writers wait for what this transaction holds. (Who waits for a SQLite file is not to be
    /// seen from outside, nor does it matter there: one writer is all there is.)
    pub async fn wait_for_waiters(&mut self, count: i64) {
        const WAITING: &str = "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database \
                               WHERE NOT granted AND datname = current_database()";
        while matches!(self, Self::Postgres(_)) && self.number(WAITING).await < count {
            tokio::task::yield_now().await;
        }
    }

    pub async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self {
            Self::Sqlite(conn) => sqlx::query(sql).fetch_one(conn).await.unwrap().get(0),
            Self::Postgres(conn) => sqlx::query(sql).fetch_one(conn).await.unwrap().get(0),
        }
    }
}

pub struct Bed {
    pub store: Arc<dyn Store>,
    pub sink: Arc<TestSink>,
    pub policy: TokenPolicy,
    // Dropped last: it takes the database away.
    pub backend: Backend,
}

impl Bed {
    pub async fn sqlite() -> Self {
        Self::on(Backend::Sqlite(tempfile::tempdir().unwrap()), StorageSettings::DEFAULT_QUEUE).await
    }

    pub async fn postgres() -> Option<Self> {
        let database = PgDatabase::create().await?;
        Some(Self::on(Backend::Postgres(database), StorageSettings::DEFAULT_QUEUE).await)
    }

    async fn on(backend: Backend, queue: usize) -> Self {
        let sink = Arc::new(TestSink::default());
        let store = open_store(&backend, queue, Arc::clone(&sink), keys(1)).await;
        Self { store, sink, policy: TokenPolicy::default(), backend }
    }

    /// The same database, opened anew with another queue.
    pub async fn with_queue(self, queue: usize) -> Self {
        self.store.close().await;
        drop(self.store);
        Self::on(self.backend, queue).await
    }

    /// The same database, opened anew with other refresh keys.
    pub async fn with_keys(self, keys: TestKeys) -> Self {
        let Self { store, sink, policy, backend } = self;
        store.close().await;
        drop(store);
        let store = open_store(&backend, StorageSettings::DEFAULT_QUEUE, Arc::clone(&sink), keys).await;
        Self { store, sink, policy, backend }
    }

    /// The stores that a race is run from: two nodes where the database can have two.
    pub async fn nodes(&self) -> Vec<Arc<dyn Store>> {
        let mut nodes = vec![Arc::clone(&self.store)];
        if self.store.has_other_writers() {
            let sink = Arc::clone(&self.sink);
            nodes.push(open_store(&self.backend, StorageSettings::DEFAULT_QUEUE, sink, keys(1)).await);
        }
        nodes
    }

    /// Removes what is over, as the one node that does.
    pub async fn sweep(&self, now: Timestamp, limit: u32) -> Swept {
        self.store.sweep(NodeId::from_bytes([1; 16]), now, limit).await.unwrap().unwrap()
    }

    pub async fn raw(&self) -> Raw {
        match &self.backend {
            Backend::Sqlite(_) => {
                let path = self.url().replacen("sqlite://", "", 1);
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                Raw::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
            }
            Backend::Postgres(database) => Raw::Postgres(database.connect().await),
        }
    }

    /// Holds up every writer until the transaction is rolled back. Reading goes on.
    pub async fn hold_writers(&self) -> Raw {
        let mut raw = self.raw().await;
        match raw {
            Raw::Sqlite(_) => raw.run("BEGIN IMMEDIATE").await,
            Raw::Postgres(_) => {
                raw.run(
                    "BEGIN; LOCK TABLE users, sign_ins, codes, sessions, legacy_tokens, revocations, audit, notes \
                     IN EXCLUSIVE MODE",
                )
                .await;
            }
        }
        raw
    }

    pub fn url(&self) -> String {
        url_of(&self.backend)
    }

    pub async fn count(&self, table: &str) -> i64 {
        self.raw().await.number(&format!("SELECT count(*) FROM {table}")).await
    }

    /// A user who may log in.
    pub async fn user(&self, name: &str) -> User {
        let user = user(name);
        let created = self.store.create_user(user.clone(), event(AuditType::UserCreated)).await.unwrap();
        assert_eq!(created, CreateUserOutcome::Created);
        user
    }

    /// Logs a new user in, and answers the first refresh token.
    pub async fn login(&self) -> Token {
        let user = self.user(&unique("user")).await;
        self.login_of(&user).await
    }

    pub async fn login_of(&self, user: &User) -> Token {
        let (login, token) = login(user, &self.policy);
        assert_eq!(self.store.open_session(login).await.unwrap(), OpenOutcome::Opened);
        token
    }

    pub fn request(&self, token: &Token, now: Timestamp) -> Refresh {
        request(token, &self.policy, now)
    }

    pub async fn present(&self, token: &Token, now: Timestamp) -> Refreshed {
        self.store.refresh(self.request(token, now)).await.unwrap()
    }

    /// Presents a current token, and answers its successor.
    pub async fn rotate(&self, token: &Token, now: Timestamp) -> Token {
        match self.present(token, now).await.outcome {
            Outcome::Rotated(successor) => successor.into(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn session(&self, token: &Token) -> Session {
        self.store.session(token.session).await.unwrap().unwrap()
    }

    /// The audit trail, oldest first.
    pub async fn trail(&self, kind: AuditType) -> Vec<AuditRecord> {
        let filter = AuditFilter { kind: Some(kind), ..AuditFilter::default() };
        self.store.audit(filter, Page { after: None, limit: 1000 }).await.unwrap().items
    }
}

pub fn url_of(backend: &Backend) -> String {
    match backend {
        Backend::Sqlite(folder) => format!("sqlite://{}", folder.path().join("latchkey.db").display()),
        Backend::Postgres(database) => database.url(),
    }
}

async fn open_store(backend: &Backend, queue: usize, sink: Arc<TestSink>, keys: TestKeys) -> Arc<dyn Store> {
    let settings = StorageSettings { url: url_of(backend), queue };
    open(settings, Arc::new(keys), sink).await.unwrap()
}

/// Opens a database as a program does that starts.
pub async fn try_open(url: &str) -> Result<Arc<dyn Store>, OpenError> {
    open(StorageSettings::new(url), Arc::new(keys(1)), Arc::new(TestSink::default())).await
}

pub fn keys(current: u8) -> TestKeys {
    TestKeys { current, compromised: HashSet::new() }
}

/// A refresh token, as a client keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub session: SessionId,
    pub generation: u32,
    pub secret: Secret32,
    pub key_version: u8,
}

impl From<Successor> for Token {
    fn from(it: Successor) -> Self {
        Self { session: it.session, generation: it.generation, secret: it.secret, key_version: it.key_version }
    }
}

/// The refresh token of a successful answer; `None` where it was refused.
pub fn token_of(outcome: &Outcome) -> Option<Token> {
    match outcome {
        Outcome::Rotated(successor)
        | Outcome::Kept(successor)
        | Outcome::Healed { successor, .. }
        | Outcome::RetryOfParent { successor, .. } => Some(successor.clone().into()),
        Outcome::Replayed { .. } | Outcome::Refused(_) => None,
    }
}

pub fn request(token: &Token, policy: &TokenPolicy, now: Timestamp) -> Refresh {
    Refresh {
        presented: Presented {
            session: token.session,
            generation: token.generation,
            secret: token.secret.clone(),
            key_version: token.key_version,
            client_id: ClientId::new("app"),
        },
        policy: policy.clone(),
        now,
        address: Some("192.0.2.1".into()),
        horizon: now.plus(policy.access_ttl),
    }
}

/// A login of the user, and the refresh token it would give.
pub fn login(user: &User, policy: &TokenPolicy) -> (OpenSession, Token) {
    let id = SessionId::generate(&SystemEntropy);
    let secret = Secret32::new(random(&SystemEntropy));
    let chain = Chain {
        generation: 0,
        secret_hash: secret.sha256(),
        key_version: 1,
        rotated_at: NOW,
        retry_seen: RetrySeen::None,
        late_streak: 0,
        narrowed: false,
    };
    let session = Session {
        id,
        client_id: ClientId::new("app"),
        sub: user.sub.clone(),
        scope: Scope::parse("read write").unwrap(),
        audience: vec!["https://api.example".into()],
        auth_time: NOW,
        started_at: NOW,
        last_used_at: NOW,
        idle_expires_at: NOW.plus(policy.refresh_idle),
        absolute_expires_at: NOW.plus(policy.refresh_absolute),
        sign_in: None,
        offline: false,
        claims: None,
        chain: Some(chain),
        ended: None,
    };
    let audit = event(AuditType::LoginSucceeded).about_user(&user.sub).about_session(id);
    let login = OpenSession { session, credential_epoch: user.credential_epoch, known_address: None, audit };
    (login, Token { session: id, generation: 0, secret, key_version: 1 })
}

pub fn unique(name: &str) -> String {
    format!("{name}-{}", u64::from_be_bytes(random(&SystemEntropy)))
}

pub fn user(name: &str) -> User {
    User {
        sub: Sub::generate(&SystemEntropy),
        username: name.to_uppercase(),
        username_key: name.to_owned(),
        external_id: None,
        password_hash: Some("$argon2id$made-up".into()),
        claims: serde_json::from_str(r#"{"email":"a@example.org","address":{"locality":"Bonn"}}"#).unwrap(),
        attributes: serde_json::from_str(r#"{"tenant":7,"tags":["a",null]}"#).unwrap(),
        admin_scopes: Scope::default(),
        disabled: false,
        created_at: NOW,
        updated_at: NOW,
        version: 1,
        credential_epoch: 1,
    }
}

pub fn client(name: &str, scope: &str) -> Client {
    Client {
        client_name: name.to_owned(),
        grant_types: vec![GrantType::ClientCredentials],
        scope: Scope::parse(scope).unwrap(),
        version: 1,
        ..Client::blank(ClientId::new(name), NOW)
    }
}

pub fn event(kind: AuditType) -> AuditEvent {
    AuditEvent::new(NOW, kind, Actor::system())
}

/// By an administrator, or by the client of [`Bed::login`] where that is the reason.
pub fn end_session(id: SessionId, reason: EndReason) -> EndSession {
    EndSession {
        id,
        of_client: (reason == EndReason::RevokedByClient).then(|| ClientId::new("app")),
        reason,
        now: NOW,
        horizon: NOW.plus(Duration::from_secs(600)),
        audit: event(AuditType::SessionRevoked).about_session(id),
    }
}

pub fn user_effects(kind: AuditType) -> UserEffects {
    UserEffects {
        end_sessions: None,
        except: None,
        now: NOW,
        horizon: NOW.plus(Duration::from_secs(600)),
        audit: event(kind),
    }
}

pub fn client_effects(kind: AuditType) -> ClientEffects {
    ClientEffects {
        revoke_tokens_before: None,
        now: NOW,
        horizon: NOW.plus(Duration::from_secs(600)),
        audit: event(kind),
    }
}

pub const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A future that has begun: what it sends first has been sent.
pub fn started<T: 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    let mut future: Pin<Box<dyn Future<Output = T> + Send>> = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(_) => panic!("it was over before it began to wait"),
        Poll::Pending => future,
    }
}

/// Runs all at once, and answers in their order.
pub async fn all<T: Send + 'static>(futures: Vec<impl Future<Output = T> + Send + 'static>) -> Vec<T> {
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}
