//! From values to settings: each is read, then everything is held against everything else.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::fault::Fault;
use super::issuer::check_issuer;
use super::settings::{ServerSettings, Settings, Visitor, issuer_of};
use super::source::{Gathered, Origin, nearest};
use super::tables::{Columns, Table};
use super::value::{self, Raw, Setting};
use super::{Effective, show_size};
use crate::domain::units::show_duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Keys and revocations outlast their tokens by this much: beyond it an expired token could not be told from a revoked
/// one.
const LONGEST_LEEWAY: Duration = Duration::from_secs(60);

/// A client secret chosen by a person has at least this many bytes.
const MIN_SECRET: usize = 32;

/// Reads what was gathered over the defaults, and tells everything that is wrong with it.
pub(super) fn settle(gathered: Gathered, faults: &mut Vec<Fault>) -> (Settings, Vec<Effective>) {
    let mut settings = Settings::default();
    let mut reader = Reader { gathered: &gathered, faults, broken: BTreeSet::new() };
    settings.visit(&mut reader);
    let broken = reader.broken;
    if !gathered.contains_key("server.issuer") {
        // One of the two files tells the wish as well: what the other's absence means is said once.
        let tls = &settings.server.tls;
        let wants_tls = tls.certificate.is_some() || tls.private_key.is_some();
        settings.server.issuer = issuer_of(settings.server.listen, wants_tls);
    }
    let mut shower = Shower { gathered: &gathered, effective: Vec::new() };
    settings.visit(&mut shower);
    let effective = shower.effective;
    let mut rules = Rules { effective: &effective, faults, broken };
    rules.server(&settings);
    rules.keys(&settings);
    rules.tokens(&settings);
    rules.sign_in(&settings);
    rules.passwords(&settings);
    rules.pages(&settings);
    rules.rest(&settings);
    rules.tables(&settings);
    (settings, effective)
}

struct Reader<'a> {
    gathered: &'a Gathered,
    faults: &'a mut Vec<Fault>,
    broken: BTreeSet<String>,
}

impl Visitor for Reader<'_> {
    fn key<T: Setting>(&mut self, name: &'static str, field: &mut T) {
        let Some(given) = self.gathered.get(name) else { return };
        match T::read(&given.raw) {
            Ok(value) => *field = value,
            Err(wrong) => {
                self.broken.insert(name.into());
                self.faults.push(Fault {
                    key: name.into(),
                    value: Some(if T::SECRET { "***".into() } else { given.raw.show() }),
                    origin: Some(given.origin.clone()),
                    reason: wrong.reason,
                    mend: wrong.mend,
                });
            }
        }
    }

    fn tables<T: Table>(&mut self, name: &'static str, rows: &mut Vec<T>) {
        let Some(given) = self.gathered.get(name) else { return };
        let tables = match value::tables(name, &given.raw) {
            Ok(tables) => tables,
            Err(wrong) => {
                self.faults.push(Fault {
                    key: name.into(),
                    value: (!T::SECRET).then(|| given.raw.show()),
                    origin: Some(given.origin.clone()),
                    reason: wrong.reason,
                    mend: wrong.mend,
                });
                return;
            }
        };
        for (index, table) in tables.into_iter().enumerate() {
            let (faults, broken) = (&mut *self.faults, &mut self.broken);
            let place = format!("{name}[{index}]");
            let mut reader = TableReader { place, table, origin: &given.origin, known: Vec::new(), faults, broken };
            let mut row = T::default();
            row.visit(&mut reader);
            reader.refuse_the_rest();
            rows.push(row);
        }
    }
}

/// Reads one table of an array.
struct TableReader<'a> {
    /// For example `claims[0]`.
    place: String,
    /// What has not been read yet.
    table: toml::Table,
    origin: &'a Origin,
    known: Vec<&'static str>,
    faults: &'a mut Vec<Fault>,
    broken: &'a mut BTreeSet<String>,
}

impl TableReader<'_> {
    fn fault(&mut self, name: &str, value: Option<String>, reason: String, mend: String) {
        let key = format!("{}.{name}", self.place);
        self.broken.insert(key.clone());
        self.faults.push(Fault { key, value, origin: Some(self.origin.clone()), reason, mend });
    }

    fn refuse_the_rest(mut self) {
        for (name, _) in std::mem::take(&mut self.table) {
            let mend = match nearest(&name, &self.known) {
                Some(meant) => format!("did you mean {meant}?"),
                None => format!("remove it; what there is: {}", self.known.join(", ")),
            };
            self.fault(&name, None, "there is no such key".into(), mend);
        }
    }
}

impl Columns for TableReader<'_> {
    fn key<T: Setting>(&mut self, name: &'static str, field: &mut T) {
        self.known.push(name);
        let Some(value) = self.table.remove(name) else { return };
        let raw = Raw::Toml(value);
        match T::read(&raw) {
            Ok(value) => *field = value,
            Err(wrong) => {
                let shown = if T::SECRET { "***".into() } else { raw.show() };
                self.fault(name, Some(shown), wrong.reason, wrong.mend);
            }
        }
    }

    fn required<T: Setting>(&mut self, name: &'static str, field: &mut T) {
        if !self.table.contains_key(name) {
            self.fault(name, None, "it is missing, and there is no default for it".into(), format!("give {name}"));
        }
        self.key(name, field);
    }
}

struct Shower<'a> {
    gathered: &'a Gathered,
    effective: Vec<Effective>,
}

impl Visitor for Shower<'_> {
    fn key<T: Setting>(&mut self, key: &'static str, field: &mut T) {
        let origin = match self.gathered.get(key) {
            Some(given) => given.origin.clone(),
            None if key == "server.issuer" => Origin::Follows("server.listen"),
            None => Origin::Default,
        };
        self.effective.push(Effective { key: key.into(), value: field.show(), origin });
    }

    fn tables<T: Table>(&mut self, name: &'static str, rows: &mut Vec<T>) {
        let given = self.gathered.get(name);
        let origin = given.map_or(Origin::Default, |given| given.origin.clone());
        let tables = given.and_then(|given| value::tables(name, &given.raw).ok()).unwrap_or_default();
        if rows.is_empty() {
            self.effective.push(Effective { key: name.into(), value: None, origin });
            return;
        }
        for (index, (row, table)) in rows.iter_mut().zip(tables).enumerate() {
            let place = format!("{name}[{index}]");
            row.visit(&mut TableShower { place, table, origin: &origin, effective: &mut self.effective });
        }
    }
}

/// Shows one table of an array.
struct TableShower<'a> {
    place: String,
    /// As it was given.
    table: toml::Table,
    origin: &'a Origin,
    effective: &'a mut Vec<Effective>,
}

impl Columns for TableShower<'_> {
    fn key<T: Setting>(&mut self, name: &'static str, field: &mut T) {
        let origin = if self.table.contains_key(name) { self.origin.clone() } else { Origin::Default };
        self.effective.push(Effective { key: format!("{}.{name}", self.place), value: field.show(), origin });
    }
}

/// What the settings must be, each by itself and all together.
pub(super) struct Rules<'a> {
    effective: &'a [Effective],
    faults: &'a mut Vec<Fault>,
    /// Keys whose value did not read: what they hold now is the default, and says nothing.
    broken: BTreeSet<String>,
}

impl Rules<'_> {
    /// Tells a fault of the first of `keys` where `is_broken` and all of them were read.
    pub(super) fn refuse(
        &mut self,
        keys: &[&str],
        is_broken: bool,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) {
        if !is_broken || keys.iter().any(|key| self.broken.contains(*key)) {
            return;
        }
        // The key that somebody set is the one to name: a default contradicts nobody.
        let set = |key: &&&str| self.effective.iter().any(|e| e.key == **key && e.origin != Origin::Default);
        let Some(key) = keys.iter().find(set).or(keys.first()) else { return };
        let Some(effective) = self.effective.iter().find(|e| e.key == *key) else { return };
        self.faults.push(Fault {
            key: (*key).into(),
            value: effective.value.clone(),
            origin: Some(effective.origin.clone()),
            reason: reason.into(),
            mend: mend.into(),
        });
    }

    /// The keys that begin so.
    pub(super) fn keys_of(&self, beginning: &str) -> Vec<String> {
        self.effective.iter().filter(|e| e.key.starts_with(beginning)).map(|e| e.key.clone()).collect()
    }

    /// Whether somebody gave a value for the key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.effective.iter().any(|e| e.key == key && e.origin != Origin::Default)
    }

    pub(super) fn span(&mut self, key: &str, span: Duration, from: Duration, to: Duration) {
        let (from_text, to_text) = (show_duration(from), show_duration(to));
        let reason = format!("it must be between {from_text} and {to_text}");
        let mend = format!("write {}", if span < from { from_text } else { to_text });
        self.refuse(&[key], span < from || span > to, reason, mend);
    }

    fn count(&mut self, key: &'static str, count: u64, from: u64, to: u64) {
        let mend = format!("write {}", count.clamp(from, to));
        self.refuse(&[key], count < from || count > to, format!("it must be between {from} and {to}"), mend);
    }

    pub(super) fn whole_seconds(&mut self, key: &str, span: Duration) {
        self.refuse(&[key], span.subsec_millis() != 0, "it goes out in whole seconds", "drop the milliseconds");
    }

    fn server(&mut self, settings: &Settings) {
        let server = &settings.server;
        let followed =
            self.effective.iter().any(|e| e.key == "server.issuer" && e.origin != Origin::Follows("server.listen"));
        if followed {
            if let Err((reason, mend)) = check_issuer(&server.issuer) {
                self.refuse(&["server.issuer"], true, reason, mend);
            }
        } else {
            let ip = server.listen.ip();
            let mend = "set server.issuer to the URL that clients use, such as https://id.example.com";
            self.refuse(
                &["server.listen"],
                server.listen.port() == 0,
                "the issuer cannot follow a port that the system picks",
                mend,
            );
            let is_https = server.issuer.starts_with("https://");
            self.refuse(
                &["server.listen"],
                server.listen.port() != 0 && !ip.is_loopback() && !is_https,
                "the issuer would follow it as plain http on an address that is not loopback",
                mend,
            );
            self.refuse(
                &["server.listen"],
                server.listen.port() != 0 && ip.is_unspecified() && is_https,
                "the issuer cannot follow an address that stands for all of this machine's",
                mend,
            );
        }
        self.tls(server);
        if let Some(admin) = server.admin_listen {
            self.refuse(
                &["server.admin_listen", "server.listen"],
                overlap(admin, server.listen),
                format!("it takes the same port as server.listen = \"{}\"", server.listen),
                "give it a port of its own, or leave it out to serve both on one",
            );
        }
        let max = server.max_body as u64;
        let (from, to) = (1 << 10, 16 << 20);
        self.refuse(
            &["server.max_body"],
            max < from || max > to,
            format!("it must be between {} and {}", show_size(from), show_size(to)),
            "write 64KiB",
        );
        let (from, to) = (Duration::from_millis(100), Duration::from_secs(30));
        self.span("server.outbound_timeout", server.outbound_timeout, from, to);
    }

    fn tls(&mut self, server: &ServerSettings) {
        let [certificate, private_key] = ["server.tls.certificate", "server.tls.private_key"];
        let halves = [
            (certificate, private_key, server.tls.certificate.is_some(), server.tls.private_key.is_some()),
            (private_key, certificate, server.tls.private_key.is_some(), server.tls.certificate.is_some()),
        ];
        for (given, missing, is_given, is_there) in halves {
            self.refuse(
                &[given, missing],
                is_given && !is_there,
                format!("{missing} is not set, and one is of no use without the other"),
                format!("set {missing} as well, or leave both out"),
            );
        }
        let insecure = server.issuer.strip_prefix("http://").filter(|_| server.tls.files().is_some());
        self.refuse(
            &["server.issuer", certificate, private_key],
            insecure.is_some(),
            "with server.tls every listener speaks https alone, and the issuer is http",
            format!("write https://{}, or leave server.tls out", insecure.unwrap_or_default()),
        );
    }

    fn keys(&mut self, settings: &Settings) {
        let keys = &settings.keys;
        self.span("keys.jwks_max_age", keys.jwks_max_age, Duration::ZERO, DAY);
        self.whole_seconds("keys.jwks_max_age", keys.jwks_max_age);
        self.span("keys.min_publication", keys.min_publication, Duration::ZERO, 30 * DAY);
        self.span("keys.publication_margin", keys.publication_margin, Duration::ZERO, DAY);
        self.span("keys.rotate_every", keys.rotate_every, Duration::from_secs(1), 10 * YEAR);
        let ripe = keys.min_publication.max(keys.jwks_max_age) + keys.publication_margin;
        self.refuse(
            &["keys.rotate_every", "keys.min_publication", "keys.jwks_max_age", "keys.publication_margin"],
            keys.rotate_every < ripe,
            format!(
                "a new key takes {} to ripen (the longer of keys.min_publication and keys.jwks_max_age, plus \
                 keys.publication_margin), and keys.rotate_every = \"{}\" is shorter",
                show_duration(ripe),
                show_duration(keys.rotate_every),
            ),
            "rotate less often, or lower the three",
        );
        self.refuse(
            &["keys.master_key_file", "keys.master_key"],
            keys.master_key.is_some() && keys.master_key_file.is_some(),
            "keys.master_key and keys.master_key_file are both set, and only one can be the master key",
            "leave one of them out; while resealing, the old one goes into keys.previous_master_keys",
        );
    }

    fn sign_in(&mut self, settings: &Settings) {
        let limits = &settings.sign_in;
        // Use is noted once a minute.
        self.span("sign_in.idle", limits.idle, Duration::from_secs(5 * 60), YEAR);
        self.span("sign_in.absolute", limits.absolute, Duration::from_secs(5 * 60), YEAR);
        self.not_longer(
            ("sign_in.idle", limits.idle),
            ("sign_in.absolute", limits.absolute),
            "a sign-in never outlives its absolute limit",
        );
    }

    fn tokens(&mut self, settings: &Settings) {
        let tokens = &settings.tokens;
        self.span("tokens.access_ttl", tokens.access_ttl, Duration::from_secs(1), DAY);
        self.whole_seconds("tokens.access_ttl", tokens.access_ttl);
        self.span("tokens.id_token_ttl", tokens.id_token_ttl, Duration::from_secs(1), DAY);
        self.whole_seconds("tokens.id_token_ttl", tokens.id_token_ttl);
        self.span("tokens.refresh_idle", tokens.refresh_idle, Duration::from_secs(1), 10 * YEAR);
        self.span("tokens.refresh_absolute", tokens.refresh_absolute, Duration::from_secs(1), 10 * YEAR);
        self.not_longer(
            ("tokens.refresh_idle", tokens.refresh_idle),
            ("tokens.refresh_absolute", tokens.refresh_absolute),
            "a session never outlives its absolute limit",
        );
        self.not_longer(
            ("tokens.refresh_retry_window", tokens.refresh_retry_window),
            ("tokens.refresh_idle", tokens.refresh_idle),
            "a retry after the idle limit finds the session expired",
        );
        self.not_longer(
            ("tokens.late_retry", tokens.late_retry),
            ("tokens.refresh_retry_window", tokens.refresh_retry_window),
            "a retry counts as late only inside the window",
        );
        self.span("tokens.exchange_leeway", tokens.exchange_leeway, Duration::ZERO, LONGEST_LEEWAY);
        self.whole_seconds("tokens.exchange_leeway", tokens.exchange_leeway);
    }

    fn not_longer(&mut self, inner: (&'static str, Duration), outer: (&'static str, Duration), why: &str) {
        self.refuse(
            &[inner.0, outer.0],
            inner.1 > outer.1,
            format!(
                "{} = \"{}\" is longer than {} = \"{}\", and {why}",
                inner.0,
                show_duration(inner.1),
                outer.0,
                show_duration(outer.1),
            ),
            format!("lower {} or raise {}", inner.0, outer.0),
        );
    }

    fn passwords(&mut self, settings: &Settings) {
        let passwords = &settings.passwords;
        let memory = u64::from(passwords.memory_kib) << 10;
        let (from, to) = (8 << 20, 1 << 30);
        self.refuse(
            &["passwords.memory"],
            memory < from || memory > to,
            format!("one password check needs between {} and {}", show_size(from), show_size(to)),
            "write 19MiB, and see the documentation before going below",
        );
        self.count("passwords.iterations", passwords.iterations.into(), 1, 64);
        self.count("passwords.parallelism", passwords.parallelism.into(), 1, 16);
        self.count("passwords.ceiling_pbkdf2", passwords.ceiling_pbkdf2.into(), 1, 1_000_000_000);
        self.count("passwords.ceiling_bcrypt", passwords.ceiling_bcrypt.into(), 4, 31);
        let memory = u64::from(passwords.ceiling_memory_kib) << 10;
        let (from, to) = (1 << 20, 4 << 30);
        self.refuse(
            &["passwords.ceiling_memory"],
            memory < from || memory > to,
            format!("it must be between {} and {}", show_size(from), show_size(to)),
            "write 256MiB, which as many checks as there are cores may take at once",
        );
        self.count("passwords.queue", passwords.queue.into(), 1, 100_000);
        self.count("passwords.account_failures", passwords.account_failures.into(), 1, 1_000_000);
        self.count("passwords.address_failures", passwords.address_failures.into(), 1, 1_000_000);
        self.count("passwords.client_failures", passwords.client_failures.into(), 1, 1_000_000);
    }

    fn rest(&mut self, settings: &Settings) {
        let introspection = &settings.introspection;
        self.count("introspection.cache_entries", introspection.cache_entries, 0, 100_000_000);
        let (from, to) = (Duration::from_millis(100), Duration::from_secs(60));
        self.span("introspection.revocation_staleness", introspection.revocation_staleness, from, to);
        if let Some(secret) = &settings.bootstrap.admin_secret {
            let text = secret.expose();
            let legal = text.len() >= MIN_SECRET && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
            self.refuse(
                &["bootstrap.admin_secret"],
                !legal,
                format!("a secret has {MIN_SECRET} or more printable ASCII characters and no space"),
                "leave it out, and Latchkey draws one; or write what `openssl rand -base64 32` prints",
            );
        }
    }
}

/// Whether two listeners could not both be bound.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
