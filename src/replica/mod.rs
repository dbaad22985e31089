//! What this node holds in memory of the database (clients, keys, revocations), and whether it may vouch for it.
//!
//! One bound covers all three: the node vouches by a catch-up query *begun* less than `revocation_staleness` ago, on a
//! clock that counts suspended time. Past the bound it asks the database before it answers, and fails if that fails:
//! slower, never wrong. A miss is never answered from memory where others write too; equal and concurrent misses share
//! one query. Where this process is the only writer (SQLite) memory is current: whoever changes something reads it again
//! before it answers, and the polling job finds the change of a caller that went away in between.

mod pulse;
mod revocations;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, MutexGuard};

pub use pulse::{PACE as PULSE_PACE, Pulse};
pub use revocations::{RevocationSet, Subject};

use crate::domain::client::Client;
use crate::domain::error::OAuthError;
use crate::domain::ids::ClientId;
use crate::domain::key::{Alg, RefreshKey, RefreshKeyState};
use crate::domain::session::{ChainKeys as _, Presented};
use crate::domain::sources::Clock;
use crate::keys::KeyError;
use crate::keys::keyring::{Keyring, Snapshot};
use crate::keys::seal::MasterKeys;
use crate::storage::{Position, Raise, Store, StoreError};
use crate::tokens::refresh::{self, RefreshFault};

/// How many versions of the refresh keys this node may be behind the one that made a token.
const VERSIONS_BEHIND: u8 = 4;

/// Why memory could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the stored keys cannot be used: {0}")]
    Keys(#[from] KeyError),
    #[error("there is no active {0} key; the key job makes one at start")]
    NoActiveKey(&'static str),
}

impl From<ReplicaError> for OAuthError {
    fn from(error: ReplicaError) -> Self {
        match error {
            ReplicaError::Store(error) => error.into(),
            ReplicaError::Keys(_) | ReplicaError::NoActiveKey(_) => Self::internal(error),
        }
    }
}

type Result<T> = std::result::Result<T, ReplicaError>;

#[derive(Debug, Default)]
struct Clients {
    revision: i64,
    by_id: HashMap<ClientId, Arc<Client>>,
}

/// Settings of the replica.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaSettings {
    /// `introspection.revocation_staleness`.
    pub staleness: Duration,
    /// `keys.jwks_max_age`.
    pub jwks_max_age: Duration,
}

/// A node's memory of the database.
pub struct Replica {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    keyring: Arc<Keyring>,
    masters: Arc<MasterKeys>,
    revocations: Arc<RevocationSet>,
    pulse: Pulse,
    clients: ArcSwap<Clients>,
    settings: ReplicaSettings,
    /// Milliseconds of uptime at which the latest successful catch-up began; 0 before the first.
    caught_up_at: AtomicU64,
    /// Where the next catch-up begins, and the lock that makes concurrent ones share.
    position: Mutex<Position>,
    /// One reload of each at a time, so that an older reading never lands on a newer one.
    loading_keys: Mutex<()>,
    loading_clients: Mutex<()>,
    /// The life of the database in which the loss of its tail was last noticed.
    tail_lost_in: Mutex<i64>,
}

impl Replica {
    /// Reads everything once.
    ///
    /// # Errors
    /// The database does not answer, or its keys are sealed under a master key that is not at hand.
    pub async fn load(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        keyring: Arc<Keyring>,
        masters: Arc<MasterKeys>,
        revocations: Arc<RevocationSet>,
        settings: ReplicaSettings,
    ) -> Result<Self> {
        let replica = Self {
            store,
            clock,
            keyring,
            masters,
            revocations,
            pulse: Pulse::default(),
            clients: ArcSwap::default(),
            settings,
            caught_up_at: AtomicU64::new(0),
            position: Mutex::default(),
            loading_keys: Mutex::new(()),
            loading_clients: Mutex::new(()),
            tail_lost_in: Mutex::new(Position::default().life),
        };
        replica.catch_up().await?;
        Ok(replica)
    }

    /// The keys as last read.
    pub fn keys(&self) -> Arc<Snapshot> {
        self.keyring.load()
    }

    pub fn revocations(&self) -> &RevocationSet {
        &self.revocations
    }

    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether what is in memory may be answered from.
    pub fn is_current(&self) -> bool {
        if !self.store.has_other_writers() {
            return true;
        }
        match self.caught_up_at.load(Ordering::Acquire) {
            0 => false,
            begun => self.uptime_millis().saturating_sub(begun) < millis(self.settings.staleness),
        }
    }

    /// How long ago the latest catch-up began; zero where no other process writes.
    pub fn staleness(&self) -> Duration {
        if !self.store.has_other_writers() {
            return Duration::ZERO;
        }
        let begun = self.caught_up_at.load(Ordering::Acquire);
        Duration::from_millis(self.uptime_millis().saturating_sub(begun))
    }

    /// Makes memory current, by asking the database where it is not.
    ///
    /// # Errors
    /// The database does not answer: the caller answers 503, never from memory.
    pub async fn ensure_current(&self) -> Result<()> {
        if self.is_current() {
            return Ok(());
        }
        self.catch_up_since(self.uptime_millis()).await
    }

    /// Looks again after a miss, where others write too. Concurrent misses share one query: whoever waited while a
    /// query *began after* its own miss needs no other.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn look_again(&self) -> Result<()> {
        if !self.store.has_other_writers() {
            return Ok(());
        }
        self.catch_up_since(self.uptime_millis()).await
    }

    /// Reads the refresh token that `client_id` presents; `None` where it is not one, or not authentic. Another node may
    /// have made a newer version of the keys a moment ago. Only the next few are looked for, so that a token that is noise
    /// does not reach the database.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn presented(&self, text: &str, client_id: &ClientId) -> Result<Option<Presented>> {
        let keys = self.keys();
        match refresh::parse(&keys, text, client_id) {
            Ok(presented) => Ok(Some(presented)),
            Err(RefreshFault::UnknownVersion(version))
                if (1..=VERSIONS_BEHIND).contains(&version.wrapping_sub(keys.current_version())) =>
            {
                self.look_again().await?;
                Ok(refresh::parse(&self.keys(), text, client_id).ok())
            }
            Err(_) => Ok(None),
        }
    }

    /// One catch-up, whatever the age of the last: what the polling job calls.
    ///
    /// # Errors
    /// The database does not answer, or its keys cannot be used.
    pub async fn catch_up(&self) -> Result<()> {
        let mut position = self.position.lock().await;
        self.catch_up_from(&mut position).await
    }

    /// Asked at a heal (a refresh token newer than its row): `None` where one was noted before in this life of the
    /// database.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn first_heal(&self) -> Result<Option<FirstHeal<'_>>> {
        self.look_again().await?;
        let life = self.position.lock().await.life;
        let noted = self.tail_lost_in.lock().await;
        Ok((*noted != life).then_some(FirstHeal { noted, life }))
    }

    async fn catch_up_since(&self, moment: u64) -> Result<()> {
        let mut position = self.position.lock().await;
        if self.caught_up_at.load(Ordering::Acquire) > moment {
            return Ok(());
        }
        self.catch_up_from(&mut position).await
    }

    async fn catch_up_from(&self, position: &mut Position) -> Result<()> {
        let begun = self.uptime_millis().max(1);
        let news = self.store.catch_up(*position, self.clock.now()).await?;
        self.revocations.insert(&news.revocations);
        let is_another_life = news.position.life != position.life;
        if is_another_life || news.keys_revision != self.keyring.load().revision() {
            self.reload_keys().await?;
        }
        if is_another_life || news.clients_revision != self.clients.load().revision {
            self.reload_clients().await?;
        }
        *position = news.position;
        self.caught_up_at.store(begun, Ordering::Release);
        Ok(())
    }

    fn uptime_millis(&self) -> u64 {
        millis(self.clock.uptime())
    }

    /// A client by its id: from memory while that is current, and from the database on a miss.
    ///
    /// # Errors
    /// Memory is stale and the database does not answer.
    pub async fn client(&self, id: &ClientId) -> Result<Option<Arc<Client>>> {
        self.ensure_current().await?;
        if let Some(client) = self.clients.load().by_id.get(id) {
            return Ok(Some(Arc::clone(client)));
        }
        self.look_again().await?;
        Ok(self.clients.load().by_id.get(id).map(Arc::clone))
    }

    /// Every client in memory, and the revision that it is.
    pub fn clients(&self) -> (i64, Vec<Arc<Client>>) {
        let clients = self.clients.load();
        (clients.revision, clients.by_id.values().map(Arc::clone).collect())
    }

    /// The revision of the clients in memory: whoever derives something from them compares it.
    pub fn clients_revision(&self) -> i64 {
        self.clients.load().revision
    }

    /// # Errors
    /// The database does not answer.
    pub async fn reload_clients(&self) -> Result<()> {
        let _one_at_a_time = self.loading_clients.lock().await;
        let (revision, clients) = self.store.clients().await?;
        let by_id = clients.into_iter().map(|client| (client.client_id.clone(), Arc::new(client))).collect();
        self.clients.store(Arc::new(Clients { revision, by_id }));
        Ok(())
    }

    /// # Errors
    /// The database does not answer, or its keys cannot be used.
    pub async fn reload_keys(&self) -> Result<()> {
        let _one_at_a_time = self.loading_keys.lock().await;
        let table = self.store.keys().await?;
        let snapshot = Snapshot::rebuild(&self.keyring.load(), &table, &self.masters, self.settings.jwks_max_age)?;
        self.keyring.install(snapshot);
        Ok(())
    }

    /// The keys, once it is durable that the active one of `alg` signs tokens of this lifetime: a restart must not
    /// forget how long a retiring key is needed.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ensure_ttl(&self, alg: Alg, ttl: Duration) -> Result<Arc<Snapshot>> {
        self.ensure_current().await?;
        let snapshot = self.keys();
        let active = snapshot.active(alg).ok_or(ReplicaError::NoActiveKey(alg.as_str()))?;
        if ttl <= active.longest_ttl() {
            return Ok(snapshot);
        }
        self.store.raise(Raise::Ttl { kid: active.kid().clone(), ttl }).await?;
        self.reload_keys().await?;
        let raised = self.keys();
        match raised.active(alg) {
            Some(active) if ttl <= active.longest_ttl() => Ok(raised),
            // A rotation came in between; the next one is a whole rotation away.
            Some(active) => {
                self.store.raise(Raise::Ttl { kid: active.kid().clone(), ttl }).await?;
                self.reload_keys().await?;
                Ok(self.keys())
            }
            None => Err(ReplicaError::NoActiveKey(alg.as_str())),
        }
    }

    /// The keys, once it is durable that the active refresh keys make tokens of sessions this long.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ensure_absolute(&self, absolute: Duration) -> Result<Arc<Snapshot>> {
        self.ensure_current().await?;
        let mut snapshot = self.keys();
        // A rotation may come in between; the next one is a whole rotation away.
        for _ in 0..2 {
            let active = active_refresh(&snapshot)?;
            if absolute <= active.longest_absolute {
                return Ok(snapshot);
            }
            self.store.raise(Raise::RefreshAbsolute { version: active.version, absolute }).await?;
            self.reload_keys().await?;
            snapshot = self.keys();
        }
        Ok(snapshot)
    }

    /// Makes it durable that key sets are served with this `max-age`, before the first one is.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn ensure_max_age(&self) -> Result<()> {
        if let Some(max_age) = self.keys().max_age_to_raise() {
            self.store.raise(Raise::MaxAge(max_age)).await?;
            self.reload_keys().await?;
        }
        Ok(())
    }
}

/// The first heal in a life of the database. Others wait until it is noted, or given up.
pub struct FirstHeal<'a> {
    noted: MutexGuard<'a, i64>,
    life: i64,
}

impl FirstHeal<'_> {
    pub fn noted(mut self) {
        *self.noted = self.life;
    }
}

fn active_refresh(snapshot: &Snapshot) -> Result<&RefreshKey> {
    let active = snapshot.table().refresh.iter().find(|key| key.state == RefreshKeyState::Active);
    active.ok_or(ReplicaError::NoActiveKey("refresh"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
