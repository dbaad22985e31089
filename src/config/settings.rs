//! The settings themselves, their defaults, and the one list of keys.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::pages::PageSettings;
use super::tables::{ClaimSettings, CompatSettings, LegacyIssuerSettings, Table};
use super::value::{Setting, Size};
use crate::domain::policy::TokenPolicy;
use crate::domain::secret::SecretText;
use crate::domain::sign_in::SignInLimits;
use crate::domain::units::RateLimit;

/// Everything an operator decides. [`Settings::default`] is what holds where nothing is set.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub server: ServerSettings,
    pub database: DatabaseSettings,
    pub keys: KeySettings,
    pub tokens: TokenPolicy,
    pub introspection: IntrospectionSettings,
    pub passwords: PasswordSettings,
    pub sign_in: SignInLimits,
    pub pages: PageSettings,
    pub bootstrap: BootstrapSettings,
    /// In the order they are applied in.
    pub claims: Vec<ClaimSettings>,
    pub legacy_issuers: Vec<LegacyIssuerSettings>,
    pub compat: Vec<CompatSettings>,
}

/// `server.*`
#[derive(Clone, Debug)]
pub struct ServerSettings {
    pub listen: SocketAddr,
    /// The exact `iss`. Begins every public URL; its path, where it has one, moves every route.
    pub issuer: String,
    /// A listener of its own for the admin API and the metrics.
    pub admin_listen: Option<SocketAddr>,
    pub tls: TlsSettings,
    /// Whose forwarded headers count.
    pub trusted_proxies: Vec<IpNet>,
    /// The longest request body taken, in bytes.
    pub max_body: usize,
    /// Per client address; `None` sets no limit.
    pub rate_limit: Option<RateLimit>,
    /// Internal networks that Latchkey connects to where a client names a place there.
    pub outbound_allow: Vec<IpNet>,
    /// How long such a place has to answer.
    pub outbound_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 8420));
        Self {
            listen,
            issuer: issuer_of(listen, false),
            admin_listen: None,
            tls: TlsSettings::default(),
            trusted_proxies: Vec::new(),
            max_body: 64 << 10,
            rate_limit: None,
            outbound_allow: Vec::new(),
            outbound_timeout: Duration::from_secs(5),
        }
    }
}

/// `server.tls.*`: both or neither. With both, every listener speaks TLS alone.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// PEM of the server's certificate, and then of its issuers.
    pub certificate: Option<PathBuf>,
    /// PEM of its private key.
    pub private_key: Option<PathBuf>,
}

impl TlsSettings {
    /// The two files, where TLS is on.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.certificate.as_deref().zip(self.private_key.as_deref())
    }
}

/// The issuer that follows from a listening address where none is set.
pub(super) fn issuer_of(listen: SocketAddr, tls: bool) -> String {
    match (tls, listen.port()) {
        // Clients drop the port that a scheme implies.
        (true, 443) => format!("https://{}", host_of(listen)),
        (true, _) => format!("https://{listen}"),
        (false, 80) => format!("http://{}", host_of(listen)),
        (false, _) => format!("http://{listen}"),
    }
}

fn host_of(listen: SocketAddr) -> String {
    match listen.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// `database.*`
#[derive(Clone, Debug, Default)]
pub struct DatabaseSettings {
    pub url: DatabaseUrl,
}

/// Where the database is: `sqlite://path` or `postgres://...`. May hold a password, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(SecretText);

impl DatabaseUrl {
    /// # Errors
    /// Why the text names no database.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            match path {
                "" => return Err("it names no file"),
                ":memory:" => return Err("a database in memory would forget every key and session at exit"),
                _ if path.contains(['?', '#']) => return Err("options are not taken: Latchkey sets what it needs"),
                _ => {}
            }
        } else if let Some(rest) = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://")) {
            // libpq's `?host=/socket` names no authority, so only an altogether empty rest is refused.
            if rest.trim_matches('/').is_empty() {
                return Err("it names no host and no database");
            }
        } else {
            return Err("it is neither sqlite:// nor postgres://");
        }
        Ok(Self(SecretText::new(text)))
    }

    /// The whole text, password included, for the one who connects.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The SQLite file; `None` for PostgreSQL.
    pub fn sqlite_path(&self) -> Option<&str> {
        self.expose().strip_prefix("sqlite://")
    }

    /// The text with every password replaced.
    pub fn masked(&self) -> String {
        let text = self.expose();
        let Some((scheme, rest)) = text.split_once("://") else { return "***".into() };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((user, host)) if user.contains(':') => {
                format!("{}:***@{host}", user.split(':').next().unwrap_or_default())
            }
            _ => authority.to_owned(),
        };
        // libpq also takes the password as a parameter.
        let tail = match tail.split_once('?') {
            Some((path, query)) if query.to_ascii_lowercase().contains("pass") => format!("{path}?***"),
            _ => tail.to_owned(),
        };
        format!("{scheme}://{authority}{tail}")
    }
}

impl Default for DatabaseUrl {
    fn default() -> Self {
        Self(SecretText::new("sqlite://latchkey.db"))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

/// `keys.*`
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// Holds `master.key` and whatever else only this service may read.
    pub directory: PathBuf,
    /// How long an active key signs before the job rotates it.
    pub rotate_every: Duration,
    /// `max-age` of the key set; whole seconds.
    pub jwks_max_age: Duration,
    /// How long a key is published at the least before it signs.
    pub min_publication: Duration,
    /// What is added to every wait for publication.
    pub publication_margin: Duration,
    pub master_key: Option<SecretText>,
    pub master_key_file: Option<PathBuf>,
    /// Master keys that open what has not been resealed yet.
    pub previous_master_keys: Vec<SecretText>,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            directory: PathBuf::from("keys"),
            rotate_every: Duration::from_secs(30 * 24 * 60 * 60),
            jwks_max_age: Duration::from_secs(600),
            min_publication: Duration::from_secs(600),
            publication_margin: Duration::from_secs(60),
            master_key: None,
            master_key_file: None,
            previous_master_keys: Vec::new(),
        }
    }
}

/// `introspection.*`
#[derive(Clone, Debug)]
pub struct IntrospectionSettings {
    /// How many verified tokens are remembered; 0 remembers none.
    pub cache_entries: u64,
    /// How old the knowledge of revocations may be on a node that answers from memory.
    pub revocation_staleness: Duration,
}

impl Default for IntrospectionSettings {
    fn default() -> Self {
        Self { cache_entries: 100_000, revocation_staleness: Duration::from_secs(2) }
    }
}

/// `passwords.*`: the cost of argon2id, what hashes from elsewhere may cost, the queue, and how many failures are free in
/// 15 minutes.
#[derive(Clone, Debug)]
pub struct PasswordSettings {
    /// argon2's `m`, in KiB.
    pub memory_kib: u32,
    /// argon2's `t`.
    pub iterations: u32,
    /// argon2's `p`.
    pub parallelism: u32,
    /// Iterations of a PBKDF2 hash at most.
    pub ceiling_pbkdf2: u32,
    /// bcrypt's cost at most.
    pub ceiling_bcrypt: u32,
    /// What an argon2 or scrypt hash may fill, in KiB.
    pub ceiling_memory_kib: u32,
    /// How many checks may wait; past it the answer is 503.
    pub queue: u32,
    pub account_failures: u32,
    pub address_failures: u32,
    pub client_failures: u32,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self {
            memory_kib: 19 << 10,
            iterations: 2,
            parallelism: 1,
            ceiling_pbkdf2: 10_000_000,
            ceiling_bcrypt: 16,
            ceiling_memory_kib: 256 << 10,
            queue: 64,
            account_failures: 5,
            address_failures: 20,
            client_failures: 1000,
        }
    }
}

/// `bootstrap.*`: what is there from the first start on.
#[derive(Clone, Debug, Default)]
pub struct BootstrapSettings {
    /// Secret of the client `latchkey-admin` at the first start; drawn where it is unset.
    pub admin_secret: Option<SecretText>,
    /// JSON of `clients` and `users`.
    pub file: Option<PathBuf>,
}

/// Someone who goes through all keys.
pub(super) trait Visitor {
    fn key<T: Setting>(&mut self, name: &'static str, field: &mut T);
    fn tables<T: Table>(&mut self, name: &'static str, rows: &mut Vec<T>);
}

impl Settings {
    /// The list of keys: the only place that names them, in the order of the documentation.
    pub(super) fn visit(&mut self, v: &mut impl Visitor) {
        let Self { server, database, keys, tokens, introspection, passwords, sign_in, pages, bootstrap, .. } = self;
        v.key("server.listen", &mut server.listen);
        v.key("server.issuer", &mut server.issuer);
        v.key("server.admin_listen", &mut server.admin_listen);
        v.key("server.tls.certificate", &mut server.tls.certificate);
        v.key("server.tls.private_key", &mut server.tls.private_key);
        v.key("server.trusted_proxies", &mut server.trusted_proxies);
        let mut max_body = Size(server.max_body as u64);
        v.key("server.max_body", &mut max_body);
        server.max_body = usize::try_from(max_body.0).unwrap_or(usize::MAX);
        v.key("server.rate_limit", &mut server.rate_limit);
        v.key("server.outbound_allow", &mut server.outbound_allow);
        v.key("server.outbound_timeout", &mut server.outbound_timeout);

        v.key("database.url", &mut database.url);

        v.key("keys.directory", &mut keys.directory);
        v.key("keys.rotate_every", &mut keys.rotate_every);
        v.key("keys.jwks_max_age", &mut keys.jwks_max_age);
        v.key("keys.min_publication", &mut keys.min_publication);
        v.key("keys.publication_margin", &mut keys.publication_margin);
        v.key("keys.master_key", &mut keys.master_key);
        v.key("keys.master_key_file", &mut keys.master_key_file);
        v.key("keys.previous_master_keys", &mut keys.previous_master_keys);

        v.key("tokens.access_ttl", &mut tokens.access_ttl);
        v.key("tokens.id_token_ttl", &mut tokens.id_token_ttl);
        v.key("tokens.refresh_idle", &mut tokens.refresh_idle);
        v.key("tokens.refresh_absolute", &mut tokens.refresh_absolute);
        v.key("tokens.refresh_retry_window", &mut tokens.refresh_retry_window);
        v.key("tokens.rotate_refresh", &mut tokens.rotate_refresh);
        v.key("tokens.refresh_heal", &mut tokens.refresh_heal);
        v.key("tokens.late_retry", &mut tokens.late_retry);
        v.key("tokens.exchange_leeway", &mut tokens.exchange_leeway);

        v.key("introspection.cache_entries", &mut introspection.cache_entries);
        v.key("introspection.revocation_staleness", &mut introspection.revocation_staleness);

        let mut memory = Size(u64::from(passwords.memory_kib) << 10);
        v.key("passwords.memory", &mut memory);
        passwords.memory_kib = u32::try_from(memory.0 >> 10).unwrap_or(u32::MAX);
        v.key("passwords.iterations", &mut passwords.iterations);
        v.key("passwords.parallelism", &mut passwords.parallelism);
        v.key("passwords.ceiling_pbkdf2", &mut passwords.ceiling_pbkdf2);
        v.key("passwords.ceiling_bcrypt", &mut passwords.ceiling_bcrypt);
        let mut ceiling = Size(u64::from(passwords.ceiling_memory_kib) << 10);
        v.key("passwords.ceiling_memory", &mut ceiling);
        passwords.ceiling_memory_kib = u32::try_from(ceiling.0 >> 10).unwrap_or(u32::MAX);
        v.key("passwords.queue", &mut passwords.queue);
        v.key("passwords.account_failures", &mut passwords.account_failures);
        v.key("passwords.address_failures", &mut passwords.address_failures);
        v.key("passwords.client_failures", &mut passwords.client_failures);

        v.key("sign_in.idle", &mut sign_in.idle);
        v.key("sign_in.absolute", &mut sign_in.absolute);

        v.key("pages.name", &mut pages.name);
        v.key("pages.logo", &mut pages.logo);
        v.key("pages.accent", &mut pages.accent);
        v.key("pages.background", &mut pages.background);
        v.key("pages.accent_dark", &mut pages.accent_dark);
        v.key("pages.background_dark", &mut pages.background_dark);
        v.key("pages.support", &mut pages.support);

        v.key("bootstrap.admin_secret", &mut bootstrap.admin_secret);
        v.key("bootstrap.file", &mut bootstrap.file);

        v.tables("claims", &mut self.claims);
        v.tables("legacy_issuers", &mut self.legacy_issuers);
        v.tables("compat", &mut self.compat);
    }

    /// The names of all keys, and of the arrays of tables.
    pub fn keys() -> Vec<&'static str> {
        struct Names(Vec<&'static str>);
        impl Visitor for Names {
            fn key<T: Setting>(&mut self, name: &'static str, _: &mut T) {
                self.0.push(name);
            }

            fn tables<T: Table>(&mut self, name: &'static str, _: &mut Vec<T>) {
                self.0.push(name);
            }
        }
        let mut names = Names(Vec::new());
        Self::default().visit(&mut names);
        names.0
    }
}
