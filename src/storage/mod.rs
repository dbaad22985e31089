//! The Store seam: named atomic operations that answer with outcomes.
//!
//! No transaction leaves this layer; an outcome whose effect must be kept is never an `Err`; no network call and no
//! signature happens inside a transaction. SQLite and PostgreSQL share the text of every statement but the batches.
//! A single-use state changes only by a guarded statement whose row count is the verdict.
//!
//! How it is done: [`open()`] starts the writers, which commit what waits in their queues together, and the readers.
//! `group` is what the hot operations share a transaction in, `ending` what ends many sessions at once; `sessions`,
//! `sign_ins`, `codes`, `consents`, `logouts`, `users`, `clients`, `keys`, `revocations`, `throttles`, `audit` and `upkeep`
//! own a table each, or two; `sql` and `conn` are the thin layer beneath, over both databases.

mod assertions;
mod audit;
mod checkpoint;
mod clients;
mod codes;
mod conn;
mod consents;
mod cursor;
mod database;
mod dial;
mod ending;
mod endpoint;
mod group;
mod import;
mod inspect;
mod keys;
mod leases;
mod legacy;
mod lock;
mod logins;
mod logouts;
mod news;
mod nodes;
mod open;
mod readers;
mod redeem;
mod revocations;
mod schema;
mod sessions;
mod sign_ins;
mod sql;
mod throttles;
mod tx;
mod upkeep;
mod users;
mod writer;

use std::time::Duration;

use async_trait::async_trait;

use crate::domain::audit::{AuditEvent, AuditRecord, AuditType};
use crate::domain::client::Client;
use crate::domain::code::Code;
use crate::domain::consent::Consent;
use crate::domain::failures;
use crate::domain::ids::{ClientId, Jti, Kid, NodeId, SessionId, SignInId, Sub};
use crate::domain::key::{KeyTable, RefreshKey, SigningKey};
use crate::domain::logout::LogoutDelivery;
use crate::domain::newcomers::Verdict;
use crate::domain::policy::TokenPolicy;
use crate::domain::revocation::Revocation;
use crate::domain::session::{EndReason, Outcome, Presented, Refusal, Session};
use crate::domain::sign_in::SignIn;
use crate::domain::time::Timestamp;
use crate::domain::user::User;

pub use crate::domain::user::UserName;
pub use codes::{RedeemCode, RedeemCodeOutcome};
pub use consents::{GrantConsent, RevokeConsent};
pub use inspect::{Inspection, inspect};
pub use leases::Lease;
pub use legacy::{LegacyCount, MigrationCounts, UserCount};
pub use logouts::RetryLogout;
pub use open::{OpenError, StorageSettings, migrate, open};
pub use redeem::{Opening, RedeemOutcome, RedeemRefusal, RedeemToken, RedeemedToken};
pub use schema::Schema;
pub use sign_ins::{
    BeginOutcome, BeginSignIn, EndSignIn, EndedSignIn, RenewSignIn, RenewSignInOutcome, SessionOfSignIn, SignInFilter,
};
pub use throttles::{ReserveAttempt, SettleAttempt};
pub use upkeep::Swept;

/// Why the store gave no outcome. Whether a write took effect is then unknown; every operation may be tried again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or the outcome of a COMMIT is unknown.
    #[error("the database does not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More writes are waiting than the queue holds.
    #[error("the write queue is full")]
    QueueFull,
    /// A row does not mean anything: a defect, or a database edited by hand.
    #[error("the database holds a row that cannot be: {0}")]
    Inconsistent(String),
}

impl From<StoreError> for crate::domain::error::OAuthError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Inconsistent(_) => Self::internal(error),
            StoreError::Unavailable(_) | StoreError::QueueFull => {
                Self::unavailable("the service is overloaded or its database does not answer; try again").cause(error)
            }
        }
    }
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// A login that is to become a session.
#[derive(Clone, Debug)]
pub struct OpenSession {
    pub session: Session,
    /// The user's `credential_epoch` when the password was checked: the session opens only if it still holds and the
    /// user is neither disabled nor deleted.
    pub credential_epoch: i64,
    /// Keyed hash of the address to remember as known for this user; `None` where the address is a backend's.
    pub known_address: Option<[u8; 32]>,
    pub audit: AuditEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenOutcome {
    Opened,
    /// The user was disabled, deleted or given another password in between.
    UserChanged,
}

/// A client's assertion whose signature was found good.
#[derive(Clone, Copy, Debug)]
pub struct AssertionUse {
    /// Names it among the assertions of all clients.
    pub hash: [u8; 32],
    /// Until when it must be recognised.
    pub keep_until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionOutcome {
    Fresh,
    /// It has been used before.
    Replayed,
}

/// A refresh token presented by an authenticated client.
#[derive(Clone, Debug)]
pub struct Refresh {
    pub presented: Presented,
    /// The presenting client's policy.
    pub policy: TokenPolicy,
    pub now: Timestamp,
    /// The caller's address, for the audit trail.
    pub address: Option<String>,
    /// When the longest access token of this session will have expired: what a revocation written now must outlive.
    pub horizon: Timestamp,
}

/// What the presentation came to, and the session as it is now (absent where there is none).
#[derive(Clone, Debug)]
pub struct Refreshed {
    pub outcome: Outcome,
    pub session: Option<Session>,
    /// Whether this presentation made the session's window short (`retry_pattern`).
    pub pattern: bool,
}

/// A session that goes on because one of its access tokens was brought back for a successor.
#[derive(Clone, Debug)]
pub struct RenewSession {
    pub id: SessionId,
    pub client_id: ClientId,
    /// The client's policy.
    pub policy: TokenPolicy,
    /// When the new access token expires.
    pub latest_expiry: Timestamp,
    pub now: Timestamp,
    /// The caller's address, for the audit trail.
    pub address: Option<String>,
    /// Written if the session goes on.
    pub audit: AuditEvent,
}

#[derive(Clone, Debug)]
pub enum RenewOutcome {
    /// The session as it is now.
    Renewed(Box<Session>),
    Refused(Refusal),
}

/// A session to end.
#[derive(Clone, Debug)]
pub struct EndSession {
    pub id: SessionId,
    /// End it only if it is this client's.
    pub of_client: Option<ClientId>,
    pub reason: EndReason,
    pub now: Timestamp,
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndOutcome {
    Ended,
    EndedBefore,
    /// There is none, or it is another client's.
    NotFound,
}

/// What else happens in the transaction of a change to a user.
#[derive(Clone, Debug)]
pub struct UserEffects {
    /// End all the user's sessions and sign-ins, for this reason; codes that wait for their exchange go too. Where there
    /// are thousands, most of them end in transactions before that of the change.
    pub end_sessions: Option<EndReason>,
    /// But for this sign-in and its sessions: a user who changes their own password stays where they are. A deleted user
    /// stays nowhere.
    pub except: Option<SignInId>,
    pub now: Timestamp,
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

/// What else happens in the transaction of a change to a client.
#[derive(Clone, Debug)]
pub struct ClientEffects {
    /// Make every token of the client inactive that was minted before this moment.
    pub revoke_tokens_before: Option<Timestamp>,
    pub now: Timestamp,
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

/// The verdict on a creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateOutcome {
    Created,
    /// The name is taken.
    Exists,
}

/// The verdict on the creation of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateUserOutcome {
    Created,
    /// Another user has this name.
    Exists(UserName),
}

/// Users that come in together.
#[derive(Clone, Debug)]
pub struct ImportUsers {
    pub users: Vec<User>,
    /// The entry of the batch; the counts are added to its detail.
    pub audit: AuditEvent,
    /// Entries about users who get rights, written where the user is new.
    pub granted: Vec<AuditEvent>,
}

/// How many users a batch found in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    pub created: usize,
    pub exists: usize,
    pub taken: usize,
}

impl Imported {
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut counts = Self::default();
        for verdict in verdicts {
            match verdict {
                Verdict::New => counts.created += 1,
                Verdict::Exists(_) => counts.exists += 1,
                Verdict::Taken(_) => counts.taken += 1,
            }
        }
        counts
    }
}

/// The verdict on a change or removal that was planned on a reading of some version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeOutcome {
    Changed,
    NotFound,
    /// Somebody changed it in between: read again, decide again.
    Conflict,
    /// The new name is taken (a renamed user).
    Exists(UserName),
    /// It would leave no full admin.
    LastAdmin,
}

/// One row of the key table to write.
#[derive(Clone, Debug)]
pub enum KeyWrite {
    InsertSigning(SigningKey),
    /// Writes state, sealed private half and `rotation_requested_at`; never shortens `longest_*`.
    UpdateSigning(SigningKey),
    InsertRefresh(RefreshKey),
    /// Writes state and sealed keys; never shortens `longest_absolute`.
    UpdateRefresh(RefreshKey),
    DeleteRefresh(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyCommit {
    /// The new revision.
    Committed(i64),
    /// The table is not at the expected revision: read it and plan again. Nothing was written.
    Outdated,
}

/// A limit to raise. Never lowers one. What it raises changes the revision, so that every node learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raise {
    /// `longest_max_age` of every published key.
    MaxAge(Duration),
    Ttl {
        kid: Kid,
        ttl: Duration,
    },
    RefreshAbsolute {
        version: u8,
        absolute: Duration,
    },
}

/// A page of a list, by cursor. `limit` is between 1 and 1,000.
#[derive(Clone, Debug)]
pub struct Page {
    /// Opaque text from the page before; `None` for the first. Whoever takes it from outside checks
    /// [`Page::is_legible`]: an illegible one is answered with no rows.
    pub after: Option<String>,
    pub limit: u32,
}

#[derive(Clone, Debug)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// The cursor of the next page, where there is one.
    pub next: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct SessionFilter {
    pub sub: Option<Sub>,
    pub client_id: Option<ClientId>,
}

#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    pub kind: Option<AuditType>,
    pub sub: Option<Sub>,
    pub client_id: Option<ClientId>,
    pub sid: Option<SessionId>,
    pub newest_first: bool,
}

/// How far a follower has read: what its last [`CatchUp`] said. The default has read nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The oldest transaction that may have been unfinished then.
    pub floor: i64,
    /// Which life of the database that was in: a server that was restarted, or put in the place of another one, may lack
    /// what was read before, and have other things under the same numbers.
    pub life: i64,
}

/// What changed since a position, and the position for the next question. Rows of transactions that were still running
/// are reread next time: sequence order is not commit order.
#[derive(Clone, Debug)]
pub struct CatchUp {
    pub revocations: Vec<Revocation>,
    pub position: Position,
    pub keys_revision: i64,
    pub clients_revision: i64,
}

/// The seam. Every write is durable when its outcome is answered.
#[async_trait]
pub trait Store: Send + Sync {
    /// Answers when the database does.
    async fn ping(&self) -> Result<()>;

    // The hot path, committed in groups.
    /// Uses an assertion up.
    async fn use_assertion(&self, assertion: AssertionUse) -> Result<AssertionOutcome>;

    // Sessions, on the hot path too.
    async fn open_session(&self, login: OpenSession) -> Result<OpenOutcome>;
    /// Opens the one session of a legacy token, or meets it.
    async fn redeem_token(&self, token: RedeemToken) -> Result<RedeemOutcome>;
    /// The legacy token of this hash, if it has opened a session. Changes nothing.
    async fn redeemed_token(&self, hash: &[u8; 32]) -> Result<Option<RedeemedToken>>;
    /// Goes through an index of all users and one of all redeemed tokens.
    async fn migration_counts(&self) -> Result<MigrationCounts>;
    async fn refresh(&self, refresh: Refresh) -> Result<Refreshed>;
    async fn renew_session(&self, renewal: RenewSession) -> Result<RenewOutcome>;
    async fn end_session(&self, end: EndSession) -> Result<EndOutcome>;
    /// Ends every session and sign-in of the user, and answers how many sessions that were. The reason is `effects.end_sessions`, or
    /// [`EndReason::RevokedByAdmin`].
    async fn end_user_sessions(&self, sub: &Sub, effects: UserEffects) -> Result<u64>;
    /// Makes one access token inactive.
    async fn revoke_token(&self, jti: &Jti, expires_at: Timestamp, audit: AuditEvent) -> Result<()>;
    /// Makes the access tokens of a session inactive that is not there. Not audited: a client that holds a token of one
    /// could fill the trail with it.
    async fn revoke_lost_session(&self, id: SessionId, expires_at: Timestamp) -> Result<()>;
    async fn session(&self, id: SessionId) -> Result<Option<Session>>;
    /// Newest first.
    async fn sessions(&self, filter: SessionFilter, page: Page) -> Result<Listed<Session>>;

    // Sign-ins, codes and consents.
    /// Signs a user in, if the user is still the one that was checked.
    async fn begin_sign_in(&self, login: BeginSignIn) -> Result<BeginOutcome>;
    /// Gives a sign-in another secret and lets its limits begin anew, if the browser's secret is its latest.
    async fn renew_sign_in(&self, login: RenewSignIn) -> Result<RenewSignInOutcome>;
    /// Writes what [`SignIn::touch`] has changed, unless it has ended or a later use is written; answers whether it did.
    async fn touch_sign_in(&self, used: &SignIn) -> Result<bool>;
    /// Where its sessions are thousands, most of them end in transactions before that of the sign-in.
    async fn end_sign_in(&self, end: EndSignIn) -> Result<EndedSignIn>;
    async fn sign_in(&self, id: SignInId) -> Result<Option<SignIn>>;
    /// The sign-in of a browser: by the SHA-256 of its cookie's secret. Ended and expired ones are answered too.
    async fn sign_in_by_secret(&self, hash: &[u8; 32]) -> Result<Option<SignIn>>;
    /// Newest first.
    async fn sign_ins(&self, filter: SignInFilter, page: Page) -> Result<Listed<SignIn>>;
    /// Keeps a code under its SHA-256.
    async fn create_code(&self, hash: [u8; 32], code: Code) -> Result<()>;
    async fn code(&self, hash: &[u8; 32]) -> Result<Option<Code>>;
    /// Opens the one session of a code, or ends it where it was opened before.
    async fn redeem_code(&self, redemption: RedeemCode) -> Result<RedeemCodeOutcome>;
    /// Answers what the client is allowed now; `None` where the user is disabled, or one of the two is deleted.
    async fn grant_consent(&self, grant: GrantConsent) -> Result<Option<Consent>>;
    /// Also ends the client's sessions of this user that came from codes, and answers how many those were; `None` where
    /// there is no consent, and nothing was changed.
    async fn revoke_consent(&self, revocation: RevokeConsent) -> Result<Option<u64>>;
    async fn consent(&self, sub: &Sub, client_id: &ClientId) -> Result<Option<Consent>>;
    /// The latest first.
    async fn consents_of(&self, sub: &Sub) -> Result<Vec<Consent>>;

    // Logouts that clients are to hear of; what ends a session for others than its client adds them.
    /// Takes up to `limit` that are due, so that no other node does until `until`.
    async fn claim_logouts(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<LogoutDelivery>>;
    /// Removes one, if no later attempt was begun; answers whether it did.
    async fn settle_logout(&self, delivery: LogoutDelivery, audit: Option<AuditEvent>) -> Result<bool>;
    /// Puts one off, if no later attempt was begun; answers whether it did.
    async fn retry_logout(&self, delivery: LogoutDelivery, retry: RetryLogout) -> Result<bool>;

    // Failures of logins, where other processes write too: one process alone counts them in its memory.
    /// Reserves an attempt with all its subjects or with none, by what all nodes have counted. One that is let in and not
    /// settled within [`failures::LONGEST_ATTEMPT`] has failed. Not durable: a crash of the database forgets failures.
    async fn reserve_attempt(&self, attempt: ReserveAttempt) -> Result<failures::Verdict>;
    async fn settle_attempt(&self, settlement: SettleAttempt) -> Result<()>;

    // Users.
    async fn create_user(&self, user: User, audit: AuditEvent) -> Result<CreateUserOutcome>;
    /// Writes those of the users who are new, all together, and answers what became of each.
    async fn import_users(&self, import: ImportUsers) -> Result<Vec<Verdict>>;
    /// What [`Store::import_users`] would answer now.
    async fn rehearse_import(&self, users: &[User]) -> Result<Vec<Verdict>>;
    async fn user(&self, sub: &Sub) -> Result<Option<User>>;
    async fn user_by_username(&self, username_key: &str) -> Result<Option<User>>;
    async fn user_by_external_id(&self, external_id: &str) -> Result<Option<User>>;
    /// When all sessions of the user were last ended.
    async fn sessions_ended_at(&self, sub: &Sub) -> Result<Option<Timestamp>>;
    async fn users(&self, page: Page) -> Result<Listed<User>>;
    /// How many users there are by how their password hash begins: `argon2id`, `pbkdf2_sha256`, `bcrypt`, `2y`, `SSHA`;
    /// under `None` those without a password.
    async fn password_schemes(&self) -> Result<Vec<(Option<String>, u64)>>;
    /// The password hash of one user whose hash begins so.
    async fn password_hash_of_scheme(&self, scheme: &str) -> Result<Option<String>>;
    /// Writes `user` over the row if the row is at `user.version`; the row's version then grows by one.
    async fn change_user(&self, user: User, effects: UserEffects) -> Result<ChangeOutcome>;
    /// Also ends the user's sessions and sign-ins: for the reason in `effects`, or [`EndReason::UserDeleted`].
    async fn delete_user(&self, sub: &Sub, version: i64, effects: UserEffects) -> Result<ChangeOutcome>;
    /// Replaces the password hash alone (new parameters at a login), if the epoch still holds. Ends no session.
    async fn upgrade_password_hash(&self, sub: &Sub, credential_epoch: i64, hash: &str) -> Result<bool>;
    /// Whether the user has logged in from the address since then.
    async fn is_known_address(&self, sub: &Sub, address: &[u8; 32], since: Timestamp) -> Result<bool>;

    // Clients.
    async fn create_client(&self, client: Client, audit: AuditEvent) -> Result<CreateOutcome>;
    async fn client(&self, client_id: &ClientId) -> Result<Option<Client>>;
    /// Every client, with the revision of the table they were read at.
    async fn clients(&self) -> Result<(i64, Vec<Client>)>;
    async fn list_clients(&self, page: Page) -> Result<Listed<Client>>;
    /// Writes `client` over the row if the row is at `client.version`; the row's version then grows by one.
    async fn change_client(&self, client: Client, effects: ClientEffects) -> Result<ChangeOutcome>;
    /// Also ends the client's sessions, and forgets its codes and what users have allowed it.
    async fn delete_client(&self, client_id: &ClientId, version: i64, effects: ClientEffects) -> Result<ChangeOutcome>;

    // Keys.
    async fn keys(&self) -> Result<KeyTable>;
    async fn commit_keys(&self, revision: i64, writes: Vec<KeyWrite>, audit: Vec<AuditEvent>) -> Result<KeyCommit>;
    async fn raise(&self, limit: Raise) -> Result<()>;

    // The rest.
    async fn record(&self, events: Vec<AuditEvent>) -> Result<()>;
    async fn audit(&self, filter: AuditFilter, page: Page) -> Result<Listed<AuditRecord>>;
    async fn note(&self, name: &str) -> Result<Option<String>>;
    /// Writes a note if there is none under the name, and answers the one that is there afterwards.
    async fn claim_note(&self, name: &str, value: &str) -> Result<String>;
    async fn set_note(&self, name: &str, value: &str) -> Result<()>;
    /// Tells the other nodes that this one lives, and which revision of the keys it has loaded. Where no other process
    /// writes, there is nobody to tell.
    async fn report_node(&self, node: NodeId, keys_revision: i64) -> Result<()>;
    /// Says that this node is gone.
    async fn forget_node(&self, node: NodeId) -> Result<()>;
    /// The revisions of the keys that the other nodes have loaded, of those heard of within 20 seconds.
    async fn other_nodes(&self, node: NodeId) -> Result<Vec<i64>>;
    /// What changed since the position of an earlier answer; everything that has not expired, where the database has
    /// begun another life since.
    async fn catch_up(&self, since: Position, now: Timestamp) -> Result<CatchUp>;
    /// Returns when [`Store::catch_up`] may have more to tell since the last time. It may say so for nothing, and may say
    /// nothing: whoever must know asks from time to time. Where no other process writes, it never returns.
    async fn news(&self);
    /// Whether other processes write too: `false` on SQLite.
    fn has_other_writers(&self) -> bool;
    /// Has this node do a job for all for the next 20 seconds; answers `false` where another one has it. It may then be
    /// done twice all the same (a node may be suspended in between): what it writes must be guarded by itself. Where no
    /// other process writes, it is always to be had.
    async fn hold(&self, lease: Lease, node: NodeId) -> Result<bool>;
    /// Removes up to `limit` expired rows of each kind; `None` where another node is at it.
    async fn sweep(&self, node: NodeId, now: Timestamp, limit: u32) -> Result<Option<Swept>>;
    /// Drains the write queue and closes every connection.
    async fn close(&self);
}
