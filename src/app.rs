//! The only wiring: settings, store, keyring, clock, randomness and meters become a program.
//!
//! `serve` starts an [`App`]; the commands that work with the server stopped start one too, on the same lock, and so
//! never meet a running service on SQLite.

pub mod legacy;
pub mod logo;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use self::logo::{Logo, LogoError};
use crate::admin::bootstrap::{self, AdminSecret, BootstrapError};
use crate::admin::keys;
use crate::admin::test_clock::{self, Admission, TestClock};
use crate::config::{ClaimSettings, Settings};
use crate::context::Context;
use crate::credentials::{Ceilings, CredentialSettings, Credentials};
use crate::domain::audit::Actor;
use crate::domain::claim_rules::ClaimRules;
use crate::domain::error::OAuthError;
use crate::domain::ids::NodeId;
use crate::domain::meter::Meter;
use crate::domain::secret::{Secret32, SecretText};
use crate::domain::sources::{AdvancedClock, Clock, Entropy, SystemClock, SystemEntropy, random};
use crate::introspection::Introspector;
use crate::keys::keyring::Keyring;
use crate::keys::master::{self, MasterError, MasterSource};
use crate::keys::plan::KeyPolicy;
use crate::keys::seal::{MasterKeys, masters_of};
use crate::outbound::guard::is_loopback_host;
use crate::outbound::key_sets::KeySets;
use crate::outbound::{Outbound, OutboundSettings};
use crate::replica::{Replica, ReplicaError, ReplicaSettings, RevocationSet};
use crate::storage::{self, OpenError, StorageSettings, Store, StoreError};
use crate::telemetry::Metrics;
use crate::tokens::legacy::LegacyIssuers;
use crate::tokens::ticket::Tickets;
use crate::tokens::verify::CLOCK_SKEW;

/// The key under which addresses of logins are remembered, sealed; see [`sealed_key`].
const ADDRESS_KEY_NOTE: &str = "credentials.address_key";

/// The key that the sessions of legacy tokens are derived with, sealed; see [`sealed_key`].
const LEGACY_KEY_NOTE: &str = "tokens.legacy_key";

/// The key that authenticates tickets and the tokens of forms, sealed; see [`sealed_key`].
const TICKET_KEY_NOTE: &str = "tokens.ticket_key";

/// Where time, randomness and counting come from.
pub struct Sources {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Counts instead of the metrics, where a test wants to.
    pub meter: Option<Arc<dyn Meter>>,
    /// The same as `clock`, where integrators may move it.
    pub test_clock: Option<Arc<AdvancedClock>>,
}

impl Default for Sources {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), meter: None, test_clock: None }
    }
}

impl Sources {
    /// Under a clock that integrators move.
    pub fn under_test_clock() -> Self {
        let clock = Arc::new(AdvancedClock::default());
        Self { clock: Arc::clone(&clock) as _, test_clock: Some(clock), ..Self::default() }
    }
}

/// The running program, shared by all of its listeners and jobs.
pub struct App {
    pub settings: Settings,
    pub context: Context,
    pub credentials: Credentials,
    pub introspector: Introspector,
    /// What asks others over HTTP.
    pub outbound: Arc<Outbound>,
    pub metrics: Arc<Metrics>,
    /// The operator's own, for the pages.
    pub logo: Option<Logo>,
    /// Only with `serve --test-clock`.
    pub test_clock: Option<TestClock>,
    /// What the start did with `bootstrap.*`.
    pub bootstrap: Bootstrapped,
}

/// What an operator is told after a start.
#[derive(Debug)]
pub struct Bootstrapped {
    pub admin: AdminSecret,
    /// Where an existing client or user differs from `bootstrap.file`.
    pub warnings: Vec<String>,
}

/// Why the program did not start. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Storage(#[from] OpenError),
    #[error(transparent)]
    MasterKey(#[from] MasterError),
    #[error(
        "the database holds keys sealed under master key {needed}, and the one at hand is {current}: put that key back, \
         or name it in keys.previous_master_keys"
    )]
    OtherMasterKey { needed: String, current: String },
    #[error("the master key file {} cannot be read or moved: {source}; mend its permissions and run it again", path.display())]
    MasterKeyFile { path: PathBuf, source: std::io::Error },
    #[error(
        "the database holds a service under the real clock, which --test-clock would move: set database.url and \
         keys.directory to places of their own"
    )]
    NoTestDatabase,
    #[error(
        "the database has been under a test clock, so no time in it is true: serve it with --test-clock, or set \
         database.url to another one"
    )]
    TestDatabase,
    #[error(transparent)]
    Legacy(#[from] legacy::LegacyError),
    #[error(transparent)]
    Logo(#[from] LogoError),
    #[error("{0}")]
    Replica(#[from] ReplicaError),
    #[error("the database does not answer: {0}")]
    Store(#[from] StoreError),
    #[error("bootstrap.file {} cannot be read: {source}; mend the path or its permissions", path.display())]
    BootstrapUnreadable { path: PathBuf, source: std::io::Error },
    #[error("bootstrap.file {}: {source}", path.display())]
    Bootstrap { path: PathBuf, source: BootstrapError },
    #[error("{0}")]
    UseCase(#[from] OAuthError),
}

impl App {
    /// Opens the database, reads or makes what is missing, and answers a program that can issue tokens.
    ///
    /// # Errors
    /// See [`StartError`]: what is wrong and how to mend it. The database is closed again.
    pub async fn start(settings: Settings, sources: Sources) -> Result<Arc<Self>, StartError> {
        let keyring = Arc::new(Keyring::empty());
        let revocations = Arc::new(RevocationSet::default());
        let storage = StorageSettings::new(settings.database.url.expose());
        let store = storage::open(storage, Arc::clone(&keyring) as _, Arc::clone(&revocations) as _).await?;
        let opened = Opened { store: Arc::clone(&store), keyring, revocations };
        let started = Self::start_on(opened, settings, sources).await;
        if started.is_err() {
            store.close().await;
        }
        started
    }

    async fn start_on(opened: Opened, settings: Settings, mut sources: Sources) -> Result<Arc<Self>, StartError> {
        let test_clock = sources.test_clock.take();
        match test_clock::admit(&*opened.store, test_clock.as_deref()).await? {
            Admission::Admitted => {}
            Admission::Real => return Err(StartError::NoTestDatabase),
            Admission::Test => return Err(StartError::TestDatabase),
        }
        let logo = logo::logo(&settings)?;
        let metrics = Arc::new(Metrics::new(sources.clock.now()));
        let outbound = Arc::new(Outbound::new(outbound_settings(&settings)));
        let client_keys = Arc::new(KeySets::new(Arc::clone(&outbound), Arc::clone(&sources.clock)));
        let mut context = context(opened, &settings, sources, &metrics, client_keys).await?;
        // Kept where there is no issuer too: a key that the master key's rotation passed by could not be opened again.
        let key =
            Secret32::new(sealed_key(&context.masters, &*context.entropy, &*context.store, LEGACY_KEY_NOTE).await?);
        context.legacy = Arc::new(LegacyIssuers::new(legacy::verifiers(&settings)?, key));

        // The first start makes keys here; a later one carries out what became due in the meantime.
        keys::tick(&context).await?;
        context.replica.ensure_max_age().await?;
        keys::report(&context).await?;

        // Of users, this tells where they log in from: a copy of the database alone does not.
        let address_key = sealed_key(&context.masters, &*context.entropy, &*context.store, ADDRESS_KEY_NOTE).await?;
        let (clock, entropy) = (Arc::clone(&context.clock), Arc::clone(&context.entropy));
        let shared = context.store.has_other_writers().then(|| Arc::clone(&context.store));
        let credentials = Credentials::new(credential_settings(&settings), clock, entropy, address_key, shared);
        let introspector = Introspector::new(settings.introspection.cache_entries);
        let bootstrap = bootstrap(&settings, &context, &credentials).await?;
        watch(&metrics, &context.replica);
        let test_clock = test_clock.map(TestClock::new);
        Ok(Arc::new(Self {
            settings,
            context,
            credentials,
            introspector,
            outbound,
            metrics,
            logo,
            test_clock,
            bootstrap,
        }))
    }

    /// Drains what is being written and closes the database. Call it when no request is under way any more.
    pub async fn stop(&self) {
        // One that cannot say so is missed soon.
        let _ = self.context.store.forget_node(self.context.node).await;
        self.context.store.close().await;
    }
}

/// The gauges that are read when somebody scrapes.
fn watch(metrics: &Metrics, replica: &Arc<Replica>) {
    let seen = Arc::clone(replica);
    let help = "Sessions, tokens and clients whose access tokens are inactive before they expire";
    metrics.watch("revocations", help, move || i64::try_from(seen.revocations().len()).unwrap_or(i64::MAX));
    let seen = Arc::clone(replica);
    let help =
        "How old this node's knowledge of revocations is; above introspection.revocation_staleness it asks first";
    metrics.watch("revocation_staleness_milliseconds", help, move || {
        i64::try_from(seen.staleness().as_millis()).unwrap_or(i64::MAX)
    });
    let seen = Arc::clone(replica);
    let help = "The revision of the keys that this node has loaded";
    metrics.watch("keys_revision", help, move || seen.keys().revision());
}

/// An opened database and what it tells of what it decides.
struct Opened {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    revocations: Arc<RevocationSet>,
}

/// The context of use cases on an opened database, before any key or client is made.
async fn context(
    Opened { store, keyring, revocations }: Opened,
    settings: &Settings,
    Sources { clock, entropy, meter, test_clock: _ }: Sources,
    metrics: &Arc<Metrics>,
    client_keys: Arc<KeySets>,
) -> Result<Context, StartError> {
    let masters = Arc::new(master_keys(settings, &*store, &*entropy).await?);
    let tickets = Tickets::new(Secret32::new(sealed_key(&masters, &*entropy, &*store, TICKET_KEY_NOTE).await?));
    let replica_settings = ReplicaSettings {
        staleness: settings.introspection.revocation_staleness,
        jwks_max_age: settings.keys.jwks_max_age,
    };
    let replica = Replica::load(
        Arc::clone(&store),
        Arc::clone(&clock),
        keyring,
        Arc::clone(&masters),
        revocations,
        replica_settings,
    );
    Ok(Context {
        node: NodeId::generate(&*entropy),
        replica: Arc::new(replica.await?),
        store,
        clock,
        entropy,
        meter: meter.unwrap_or_else(|| Arc::clone(metrics) as Arc<dyn Meter>),
        masters,
        issuer: settings.server.issuer.as_str().into(),
        policy: settings.tokens.clone(),
        claims: Arc::new(ClaimRules::new(settings.claims.iter().filter_map(ClaimSettings::rule).collect())),
        legacy: Arc::default(),
        tickets: Arc::new(tickets),
        sign_ins: settings.sign_in,
        client_keys,
        key_policy: key_policy(settings),
    })
}

/// The master key that the settings name and the earlier ones. One is made only where nothing is sealed yet.
async fn master_keys(settings: &Settings, store: &dyn Store, entropy: &dyn Entropy) -> Result<MasterKeys, StartError> {
    let sealed_under = masters_of(&store.keys().await?, &store.clients().await?.1);
    let source = master_source(settings);
    let current =
        source.load(entropy, sealed_under.is_empty()).map_err(|error| error.needing(sealed_under.iter().cloned()))?;
    let previous = settings
        .keys
        .previous_master_keys
        .iter()
        .map(|text| master::from_text(text.expose(), "one of keys.previous_master_keys"));
    let masters = MasterKeys { current, previous: previous.collect::<Result<_, _>>()? };
    match sealed_under.into_iter().find(|id| !masters.holds(id)) {
        None => Ok(masters),
        Some(needed) => Err(StartError::OtherMasterKey { needed, current: masters.current.id() }),
    }
}

/// Where the settings keep the master key.
pub fn master_source(settings: &Settings) -> MasterSource {
    match (&settings.keys.master_key, &settings.keys.master_key_file) {
        (Some(text), _) => MasterSource::Text(text.clone()),
        (None, Some(path)) => MasterSource::File(path.clone()),
        (None, None) => MasterSource::Directory(settings.keys.directory.clone()),
    }
}

fn key_policy(settings: &Settings) -> KeyPolicy {
    KeyPolicy {
        rotate_every: settings.keys.rotate_every,
        jwks_max_age: settings.keys.jwks_max_age,
        min_publication: settings.keys.min_publication,
        publication_margin: settings.keys.publication_margin,
        clock_skew: CLOCK_SKEW,
    }
}

fn outbound_settings(settings: &Settings) -> OutboundSettings {
    let server = &settings.server;
    let authority = server.issuer.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
    OutboundSettings {
        allow: server.outbound_allow.clone(),
        // Who serves this machine alone has its clients on it.
        loopback: authority.parse::<http::uri::Authority>().is_ok_and(|it| is_loopback_host(it.host())),
        timeout: server.outbound_timeout,
    }
}

fn credential_settings(settings: &Settings) -> CredentialSettings {
    let passwords = &settings.passwords;
    CredentialSettings {
        memory_kib: passwords.memory_kib,
        iterations: passwords.iterations,
        parallelism: passwords.parallelism,
        ceilings: Ceilings {
            pbkdf2: passwords.ceiling_pbkdf2,
            bcrypt: passwords.ceiling_bcrypt,
            memory_kib: passwords.ceiling_memory_kib,
        },
        queue: usize::try_from(passwords.queue).unwrap_or(usize::MAX),
        account_failures: passwords.account_failures,
        address_failures: passwords.address_failures,
        client_failures: passwords.client_failures,
    }
}

/// A key that stays the same: drawn once, kept sealed in the note of that name.
async fn sealed_key(
    masters: &MasterKeys,
    entropy: &dyn Entropy,
    store: &dyn Store,
    note: &str,
) -> Result<[u8; 32], StartError> {
    let drawn = masters.seal(entropy, note, &random::<32>(entropy));
    let kept = store.claim_note(note, &STANDARD_NO_PAD.encode(drawn)).await?;
    let sealed = STANDARD_NO_PAD.decode(kept).unwrap_or_default();
    if let Ok(Some(anew)) = masters.reseal(entropy, note, &sealed) {
        store.set_note(note, &STANDARD_NO_PAD.encode(anew)).await?;
    }
    let opened = masters.open(note, &sealed).map_err(OAuthError::internal)?;
    opened
        .as_slice()
        .try_into()
        .map_err(|_| StoreError::Inconsistent(format!("the note {note} holds {} bytes, not 32", opened.len())).into())
}

async fn bootstrap(settings: &Settings, ctx: &Context, credentials: &Credentials) -> Result<Bootstrapped, StartError> {
    let admin = bootstrap::ensure_admin(ctx, credentials, settings.bootstrap.admin_secret.clone()).await?;
    let warnings = match &settings.bootstrap.file {
        None => Vec::new(),
        Some(path) => {
            let text = tokio::fs::read_to_string(path)
                .await
                .map_err(|source| StartError::BootstrapUnreadable { path: path.clone(), source })?;
            bootstrap::apply(ctx, credentials, &text)
                .await
                .map_err(|source| StartError::Bootstrap { path: path.clone(), source })?
        }
    };
    Ok(Bootstrapped { admin, warnings })
}

/// Gives `latchkey-admin` a new secret and every right it is made with, as one more node: SQLite lets in but one.
///
/// # Errors
/// As [`App::start`].
pub async fn recover_admin(settings: Settings) -> Result<SecretText, StartError> {
    let app = App::start(settings, Sources::default()).await?;
    let secret = bootstrap::recover(&app.context).await;
    app.stop().await;
    Ok(secret?)
}

/// Creates or migrates the database, and nothing else.
///
/// # Errors
/// It cannot be opened, or is newer than this program.
pub async fn migrate(settings: &Settings) -> Result<(), StartError> {
    Ok(storage::migrate(settings.database.url.expose()).await?)
}

/// What became of a rotation of the master key.
#[derive(Debug)]
pub struct MasterKeyRotated {
    /// The id of the key that everything is sealed under now.
    pub id: String,
    /// How many keys were sealed anew.
    pub rows: usize,
    /// Where the earlier key was put, where this program keeps it.
    pub previous: Option<PathBuf>,
}

/// Seals everything under another master key. The server must be stopped.
///
/// Where the master key is `master.key` in `keys.directory`, a new one is drawn and takes its place, and the earlier
/// one is kept beside it. Where the settings give it, they give the new one, and the earlier one in
/// `keys.previous_master_keys`. Cut short anywhere, it is finished by running it again.
///
/// # Errors
/// As [`App::start`], and where the files cannot be moved.
pub async fn rotate_master(mut settings: Settings) -> Result<MasterKeyRotated, StartError> {
    let files = match master_source(&settings) {
        MasterSource::Directory(directory) => Some(MasterFiles::prepare(&directory)?),
        MasterSource::File(_) | MasterSource::Text(_) => None,
    };
    if let Some(files) = &files {
        settings.keys.master_key = Some(files.read(&files.next)?);
        settings.keys.previous_master_keys.push(files.read(&files.current)?);
    }
    let app = App::start(settings, Sources::default()).await?;
    let shell = Actor { who: "shell".into(), ..Actor::default() };
    let rows = keys::reseal(&app.context, shell).await;
    let id = app.context.masters.current.id();
    app.stop().await;
    let rows = rows?;
    let previous = files.map(|files| files.swap()).transpose()?;
    Ok(MasterKeyRotated { id, rows, previous })
}

/// The master key's file, and the one that is to follow it.
struct MasterFiles {
    current: PathBuf,
    next: PathBuf,
}

impl MasterFiles {
    /// Draws the next key, or finds the one of a run that was cut short.
    fn prepare(directory: &Path) -> Result<Self, StartError> {
        let next = directory.join("next");
        master::load_or_create(directory, &SystemEntropy, false)?;
        master::load_or_create(&next, &SystemEntropy, true)?;
        Ok(Self { current: directory.join(master::FILE_NAME), next: next.join(master::FILE_NAME) })
    }

    fn read(&self, path: &Path) -> Result<SecretText, StartError> {
        let text = std::fs::read_to_string(path).map_err(|source| unmovable(path, source))?;
        Ok(SecretText::new(text.trim()))
    }

    /// Puts the next key in the place of the current one, which stays beside it under its id.
    fn swap(&self) -> Result<PathBuf, StartError> {
        let id = master::from_text(self.read(&self.current)?.expose(), "master.key")?.id();
        let kept = self.current.with_file_name(format!("{}.{id}", master::FILE_NAME));
        if !kept.exists() {
            std::fs::hard_link(&self.current, &kept).map_err(|source| unmovable(&kept, source))?;
        }
        std::fs::rename(&self.next, &self.current).map_err(|source| unmovable(&self.current, source))?;
        // Empty by now; left behind it would do no harm.
        let _ = self.next.parent().map(std::fs::remove_dir);
        Ok(kept)
    }
}

fn unmovable(path: &Path, source: std::io::Error) -> StartError {
    StartError::MasterKeyFile { path: path.to_owned(), source }
}
