//! The keyring: what this node signs and verifies with at this moment, read without a lock.
//!
//! A [`Snapshot`] is one revision of the key table made ready for use. It is never changed; a reload builds the next
//! one and reuses every signer and verifier of the one before, so it costs nothing but the new keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::error::KeyError;
use super::jwks::JwksDocument;
use super::seal::{MasterKeys, SealError, refresh_name, signing_name};
use super::slot::{Material, RefreshSlot, Signer, SigningSlot, VerifierSlot};
use crate::domain::ids::{Kid, SessionId};
use crate::domain::key::{Alg, KeyState, KeyTable, RefreshKeyState, SigningKey};
use crate::domain::secret::Secret32;
use crate::domain::session::ChainKeys;

/// One revision of the key table, ready for use.
pub struct Snapshot {
    table: KeyTable,
    jwks_max_age: Duration,
    materials: HashMap<Kid, Material>,
    refresh: HashMap<u8, Arc<RefreshSlot>>,
    active: Vec<SigningSlot>,
    verifiers: HashMap<Kid, VerifierSlot>,
    compromised: HashSet<Kid>,
    jwks: JwksDocument,
}

impl Snapshot {
    /// Opens every sealed key of the table. `jwks_max_age` is `keys.jwks_max_age`.
    ///
    /// # Errors
    /// A sealed half does not open (the error names the master key it needs) or is not a usable key.
    pub fn build(table: &KeyTable, masters: &MasterKeys, jwks_max_age: Duration) -> Result<Self, KeyError> {
        Self::rebuild(&Self::empty(), table, masters, jwks_max_age)
    }

    /// As [`Snapshot::build`], reusing what `previous` has opened and built.
    ///
    /// # Errors
    /// As [`Snapshot::build`].
    pub fn rebuild(
        previous: &Self,
        table: &KeyTable,
        masters: &MasterKeys,
        jwks_max_age: Duration,
    ) -> Result<Self, KeyError> {
        let mut materials = HashMap::new();
        for key in table.signing.iter().filter(|key| key.state.is_published()) {
            materials.insert(key.kid.clone(), material(key, previous.materials.get(&key.kid), masters)?);
        }
        let mut refresh = HashMap::new();
        for key in &table.refresh {
            // Same sealed bytes, same keys; a version number alone may come back after its keys were dropped.
            let same = previous.table.refresh.iter().any(|old| old.version == key.version && old.sealed == key.sealed);
            let slot = match previous.refresh.get(&key.version).filter(|_| same) {
                Some(slot) => Arc::clone(slot),
                None => Arc::new(open_refresh(key.version, &key.sealed, masters)?),
            };
            refresh.insert(key.version, slot);
        }
        Ok(Self::assemble(table.clone(), jwks_max_age, materials, refresh))
    }

    /// No keys at all; older than every revision.
    fn empty() -> Self {
        let table = KeyTable { revision: i64::MIN, ..KeyTable::default() };
        Self::assemble(table, Duration::ZERO, HashMap::new(), HashMap::new())
    }

    fn assemble(
        table: KeyTable,
        jwks_max_age: Duration,
        materials: HashMap<Kid, Material>,
        refresh: HashMap<u8, Arc<RefreshSlot>>,
    ) -> Self {
        let mut active = Vec::new();
        let mut verifiers = HashMap::new();
        for key in &table.signing {
            let Some(material) = materials.get(&key.kid) else { continue };
            verifiers.insert(key.kid.clone(), VerifierSlot::new(key, material));
            if matches!(key.state, KeyState::Active { .. }) {
                active.extend(SigningSlot::new(key, material));
            }
        }
        let compromised = table
            .signing
            .iter()
            .filter(|key| matches!(key.state, KeyState::Compromised { .. }))
            .map(|key| key.kid.clone())
            .collect();
        let jwks = JwksDocument::of(&table, jwks_max_age);
        Self { table, jwks_max_age, materials, refresh, active, verifiers, compromised, jwks }
    }

    /// The key that signs new tokens of `alg`; `None` before the first start's plan was carried out.
    pub fn active(&self, alg: Alg) -> Option<&SigningSlot> {
        self.active.iter().find(|slot| slot.alg() == alg)
    }

    /// The key of that name, if its tokens count: standby, active or retiring.
    pub fn verifier(&self, kid: &str) -> Option<&VerifierSlot> {
        self.verifiers.get(kid)
    }

    /// The same, or a retired key: for a text that may be as old as it likes, because nothing but who wrote it matters.
    /// Of a retired key the verifier is built for this one use.
    pub fn past_verifier(&self, kid: &str) -> Option<VerifierSlot> {
        if let Some(published) = self.verifiers.get(kid) {
            return Some(published.clone());
        }
        let retired = |key: &&SigningKey| key.kid.as_str() == kid && matches!(key.state, KeyState::Retired { .. });
        let key = self.table.signing.iter().find(retired)?;
        let verifier = Material::verifier_of(key).ok()?;
        Some(VerifierSlot::new(key, &Material { verifier, signer: None }))
    }

    /// Whether a key of that name is or was one of Latchkey's, whatever became of it.
    pub fn knows(&self, kid: &str) -> bool {
        self.table.signing.iter().any(|key| key.kid.as_str() == kid)
    }

    /// Whether every token that names this key is inactive, for ever.
    pub fn is_compromised(&self, kid: &str) -> bool {
        self.compromised.contains(kid)
    }

    /// The key set to publish.
    pub fn jwks(&self) -> &JwksDocument {
        &self.jwks
    }

    /// The `max-age` that has to be raised in the store (then [`Keyring::raise_max_age`]) before the key set is served
    /// with it; until then it is served with the shorter one that is recorded. `None` where nothing has to be done.
    pub fn max_age_to_raise(&self) -> Option<Duration> {
        let mut published = self.table.signing.iter().filter(|key| key.state.is_published());
        published.any(|key| key.longest_max_age < self.jwks_max_age).then_some(self.jwks_max_age)
    }

    /// The longest lifetime of any token that any key signed: how long a revocation must be remembered.
    pub fn longest_ttl_overall(&self) -> Duration {
        self.table.signing.iter().map(|key| key.longest_ttl).max().unwrap_or(Duration::ZERO)
    }

    pub fn revision(&self) -> i64 {
        self.table.revision
    }

    /// The rows it was made of.
    pub fn table(&self) -> &KeyTable {
        &self.table
    }

    /// The tag of a refresh token's body (RFC 2104, truncated to 16 bytes); `None` where the version is not kept.
    pub fn refresh_tag(&self, version: u8, body: &[u8]) -> Option<[u8; 16]> {
        Some(self.refresh.get(&version)?.tag(body))
    }

    /// This snapshot with its rows' limits at least as high as those of `other`. `None` where they are already.
    fn raised_to(&self, other: &Self) -> Option<Self> {
        let mut table = self.table.clone();
        let mut raised = false;
        for key in &mut table.signing {
            if let Some(theirs) = other.table.signing.iter().find(|theirs| theirs.kid == key.kid) {
                raised |= raise(&mut key.longest_ttl, theirs.longest_ttl);
                raised |= raise(&mut key.longest_max_age, theirs.longest_max_age);
            }
        }
        for key in &mut table.refresh {
            if let Some(theirs) = other.table.refresh.iter().find(|theirs| theirs.sealed == key.sealed) {
                raised |= raise(&mut key.longest_absolute, theirs.longest_absolute);
            }
        }
        raised.then(|| self.with_table(table))
    }

    /// This snapshot with other limits in the same rows.
    fn with_table(&self, table: KeyTable) -> Self {
        Self::assemble(table, self.jwks_max_age, self.materials.clone(), self.refresh.clone())
    }
}

impl ChainKeys for Snapshot {
    fn current_version(&self) -> u8 {
        let active = self.table.refresh.iter().find(|key| key.state == RefreshKeyState::Active);
        // Version 0 is never made, so before the first start's plan nothing is found under it.
        active.map_or(0, |key| key.version)
    }

    /// A version that is not kept is not trusted either.
    fn is_compromised(&self, version: u8) -> bool {
        let key = self.table.refresh.iter().find(|key| key.version == version);
        key.is_none_or(|key| matches!(key.state, RefreshKeyState::Compromised { .. }))
    }

    fn successor(&self, version: u8, session: SessionId, generation: u32, secret: &Secret32) -> Option<Secret32> {
        Some(self.refresh.get(&version)?.successor(session, generation, secret))
    }
}

fn raise(limit: &mut Duration, to: Duration) -> bool {
    let raised = *limit < to;
    *limit = to.max(*limit);
    raised
}

fn material(key: &SigningKey, known: Option<&Material>, masters: &MasterKeys) -> Result<Material, KeyError> {
    let verifier = match known {
        Some(known) => Arc::clone(&known.verifier),
        None => Material::verifier_of(key)?,
    };
    let signer = match (&key.sealed_private, known.and_then(|known| known.signer.clone())) {
        (None, _) => None,
        (Some(_), Some(signer)) => Some(signer),
        (Some(sealed), None) => {
            let opened = masters.open(&signing_name(&key.kid), sealed);
            let der = opened.map_err(|source| sealed_error(format!("signing key {}", key.kid), source))?;
            Some(Signer::new(&key.kid, key.alg, &der)?)
        }
    };
    Ok(Material { verifier, signer })
}

fn open_refresh(version: u8, sealed: &[u8], masters: &MasterKeys) -> Result<RefreshSlot, KeyError> {
    let what = || format!("version {version} of the refresh keys");
    let keys = masters.open(&refresh_name(version), sealed).map_err(|source| sealed_error(what(), source))?;
    RefreshSlot::new(&keys).ok_or_else(|| KeyError::unusable(what(), "64 bytes are two keys"))
}

fn sealed_error(what: String, source: SealError) -> KeyError {
    KeyError::Sealed { what, source }
}

/// The current snapshot, shared by the whole node.
pub struct Keyring(ArcSwap<Snapshot>);

impl Keyring {
    /// A keyring before the table was read: it signs and verifies nothing.
    pub fn empty() -> Self {
        Self(ArcSwap::from_pointee(Snapshot::empty()))
    }

    /// What holds now. Keep it for one request, not longer.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts a snapshot in place, whatever its revision: a promoted standby may have lost the last ones. Limits that were
    /// raised here while the rows were being read stay raised.
    pub fn install(&self, snapshot: Snapshot) {
        let next = Arc::new(snapshot);
        self.0.rcu(|current| next.raised_to(current).map_or_else(|| Arc::clone(&next), Arc::new));
    }

    /// Notes that the store has recorded `ttl` as a lifetime of this key's tokens. Lowers nothing.
    pub fn raise_ttl(&self, kid: &Kid, ttl: Duration) {
        self.raise(|table| {
            for key in table.signing.iter_mut().filter(|key| key.kid == *kid) {
                raise(&mut key.longest_ttl, ttl);
            }
        });
    }

    /// Notes that the store has recorded `max_age` for every published key. Lowers nothing.
    pub fn raise_max_age(&self, max_age: Duration) {
        self.raise(|table| {
            for key in table.signing.iter_mut().filter(|key| key.state.is_published()) {
                raise(&mut key.longest_max_age, max_age);
            }
        });
    }

    /// Notes that the store has recorded `absolute` as a lifetime of sessions under this version. Lowers nothing.
    pub fn raise_refresh_absolute(&self, version: u8, absolute: Duration) {
        self.raise(|table| {
            for key in table.refresh.iter_mut().filter(|key| key.version == version) {
                raise(&mut key.longest_absolute, absolute);
            }
        });
    }

    fn raise(&self, change: impl Fn(&mut KeyTable)) {
        self.0.rcu(|current| {
            let mut table = current.table.clone();
            change(&mut table);
            Arc::new(current.with_table(table))
        });
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("table", &self.table).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Keyring").field(&self.load()).finish()
    }
}

impl ChainKeys for Keyring {
    fn current_version(&self) -> u8 {
        self.0.load().current_version()
    }

    fn is_compromised(&self, version: u8) -> bool {
        ChainKeys::is_compromised(&**self.0.load(), version)
    }

    fn successor(&self, version: u8, session: SessionId, generation: u32, secret: &Secret32) -> Option<Secret32> {
        self.0.load().successor(version, session, generation, secret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::MasterKey;
    use crate::keys::plan::{KeyPolicy, Mode, Request};
    use crate::keys::testing::{START, TTL, carry_out, masters, snapshot, table};

    const AGE: Duration = Duration::from_secs(600);

    fn rotated(mut table: KeyTable) -> KeyTable {
        let later = START.plus(Duration::from_secs(3600));
        carry_out(&mut table, &Request::Rotate { alg: Alg::ES256, mode: Mode::Planned }, later);
        table
    }

    #[test]
    fn a_snapshot_signs_with_active_keys_and_verifies_with_published_ones() {
        let before = table();
        let after = rotated(before.clone());
        let snapshot = Snapshot::build(&after, &masters(), AGE).unwrap();
        let old = Snapshot::build(&before, &masters(), AGE).unwrap().active(Alg::ES256).unwrap().kid().clone();
        assert_ne!(*snapshot.active(Alg::ES256).unwrap().kid(), old);
        assert!(snapshot.verifier(old.as_str()).is_some());
        assert_eq!(after.signing.len(), 5);
        assert!(after.signing.iter().all(|key| snapshot.verifier(key.kid.as_str()).is_some()));

        let mut lost = after;
        carry_out(&mut lost, &Request::Compromise { alg: Alg::ES256, kid: Some(old.clone()) }, START);
        let snapshot = Snapshot::rebuild(&snapshot, &lost, &masters(), AGE).unwrap();
        assert!(snapshot.verifier(old.as_str()).is_none());
        assert!(snapshot.is_compromised(old.as_str()));
    }

    #[test]
    fn a_reload_opens_only_what_is_new() {
        let snapshot = snapshot();
        let nothing = MasterKeys::new(MasterKey::new([0; 32]));
        let again = Snapshot::rebuild(&snapshot, &table(), &nothing, AGE).unwrap();
        assert!(again.active(Alg::RS256).is_some());
        assert!(Snapshot::rebuild(&snapshot, &rotated(table()), &nothing, AGE).is_err());
    }

    #[test]
    fn a_missing_master_key_is_named() {
        let nothing = MasterKeys::new(MasterKey::new([0; 32]));
        let error = Snapshot::build(&table(), &nothing, AGE).unwrap_err().to_string();
        assert!(error.contains(&masters().current.id()) && error.contains("signing key"), "{error}");
    }

    #[test]
    fn what_was_raised_stays_raised() {
        let keyring = Keyring::empty();
        keyring.install(snapshot());
        let kid = keyring.load().active(Alg::ES256).unwrap().kid().clone();
        keyring.raise_ttl(&kid, TTL * 2);
        keyring.raise_ttl(&kid, TTL);
        // Rows that were read before the raise.
        keyring.install(snapshot());
        let now = keyring.load();
        assert_eq!(now.active(Alg::ES256).unwrap().longest_ttl(), TTL * 2);
        assert_eq!(now.verifier(kid.as_str()).unwrap().longest_ttl(), TTL * 2);
        assert_eq!(now.longest_ttl_overall(), TTL * 2);
    }

    #[test]
    fn a_longer_max_age_is_served_once_it_is_recorded() {
        let keyring = Keyring::empty();
        keyring.install(Snapshot::build(&table(), &masters(), AGE * 2).unwrap());
        assert_eq!(keyring.load().jwks().max_age, KeyPolicy::default().jwks_max_age);
        assert_eq!(keyring.load().max_age_to_raise(), Some(AGE * 2));
        keyring.raise_max_age(AGE * 2);
        assert_eq!(keyring.load().jwks().max_age, AGE * 2);
        assert_eq!(keyring.load().max_age_to_raise(), None);
    }

    #[test]
    fn the_chain_depends_on_version_session_generation_and_secret() {
        let mut table = table();
        carry_out(&mut table, &Request::RotateRefresh, START);
        let keys = Snapshot::build(&table, &masters(), AGE).unwrap();
        let (session, secret) = (SessionId::from_bytes([1; 16]), Secret32::new([2; 32]));
        let base = keys.successor(1, session, 1, &secret).unwrap();
        assert_eq!(keys.successor(1, session, 1, &secret).unwrap(), base);
        assert_ne!(keys.successor(2, session, 1, &secret).unwrap(), base);
        assert_ne!(keys.successor(1, session, 2, &secret).unwrap(), base);
        assert_ne!(keys.successor(1, SessionId::from_bytes([3; 16]), 1, &secret).unwrap(), base);
        assert_ne!(keys.successor(1, session, 1, &Secret32::new([3; 32])).unwrap(), base);
        assert_eq!(keys.successor(3, session, 1, &secret), None);
        assert_eq!(keys.current_version(), 2);

        carry_out(&mut table, &Request::CompromiseRefresh { version: Some(1) }, START);
        let keyring = Keyring::empty();
        keyring.install(Snapshot::rebuild(&keys, &table, &masters(), AGE).unwrap());
        assert!(ChainKeys::is_compromised(&keyring, 1) && !ChainKeys::is_compromised(&keyring, 2));
        assert_eq!(keyring.successor(1, session, 1, &secret).unwrap(), base);
    }
}
