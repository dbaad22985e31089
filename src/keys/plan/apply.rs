//! Plans on rows: pure, so that the executor and the property test change tables alike. The executor compares before
//! and after, and writes what differs.

use std::time::Duration;

use super::{Action, Plan};
use crate::domain::ids::Kid;
use crate::domain::key::{Alg, KeyState, KeyTable, RefreshKey, RefreshKeyState, SigningKey};
use crate::domain::sources::Entropy;
use crate::domain::time::Timestamp;
use crate::keys::error::KeyError;
use crate::keys::generate::{GeneratedKey, generate, generate_refresh};
use crate::keys::seal::{MasterKeys, refresh_name, signing_name};

/// How far the clock may have been set back for stamps to go on from where they were. Stamps that lie further ahead
/// were made by a clock that was wrong, and are not followed.
const STEP_BACK: Duration = Duration::from_secs(24 * 60 * 60);

/// A key that is to become a row.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub kid: Kid,
    pub public_jwk: String,
    pub sealed_private: Vec<u8>,
}

/// Where a plan's new keys come from.
pub trait NewKeys {
    /// A new key pair.
    ///
    /// # Errors
    /// None could be made.
    fn signing(&mut self, alg: Alg) -> Result<NewKey, KeyError>;

    /// The key that is being imported.
    ///
    /// # Errors
    /// It is not at hand.
    fn imported(&mut self, kid: &Kid) -> Result<NewKey, KeyError>;

    /// New refresh keys, sealed as this version.
    ///
    /// # Errors
    /// None could be made.
    fn refresh(&mut self, version: u8) -> Result<Vec<u8>, KeyError>;
}

/// Makes keys as they are asked for and seals them. An RSA pair takes 50 to 100 ms: apply on a blocking thread.
pub struct SealedKeys<'a> {
    pub masters: &'a MasterKeys,
    pub entropy: &'a dyn Entropy,
    /// The key of a [`super::Request::Import`].
    pub importing: Option<GeneratedKey>,
}

impl<'a> SealedKeys<'a> {
    pub fn new(masters: &'a MasterKeys, entropy: &'a dyn Entropy) -> Self {
        Self { masters, entropy, importing: None }
    }

    fn sealed(&self, key: GeneratedKey) -> NewKey {
        let sealed_private = self.masters.seal(self.entropy, &signing_name(&key.kid), &key.private_der);
        NewKey { kid: key.kid, public_jwk: key.public_jwk, sealed_private }
    }
}

impl NewKeys for SealedKeys<'_> {
    fn signing(&mut self, alg: Alg) -> Result<NewKey, KeyError> {
        generate(alg, self.entropy).map(|key| self.sealed(key))
    }

    fn imported(&mut self, kid: &Kid) -> Result<NewKey, KeyError> {
        match self.importing.take() {
            Some(key) if key.kid == *kid => Ok(self.sealed(key)),
            _ => Err(KeyError::NotAtHand { kid: kid.to_string() }),
        }
    }

    fn refresh(&mut self, version: u8) -> Result<Vec<u8>, KeyError> {
        Ok(self.masters.seal(self.entropy, &refresh_name(version), generate_refresh(self.entropy).as_slice()))
    }
}

/// Carries `plan` out on the rows it was made for. The revision stays: whoever stores the rows counts it up.
///
/// # Errors
/// A new key could not be made; the table is unchanged.
pub fn apply(table: &mut KeyTable, plan: &Plan, keys: &mut dyn NewKeys, now: Timestamp) -> Result<(), KeyError> {
    let stamp = stamp(table, now);
    let mut changed = table.clone();
    for action in &plan.actions {
        apply_one(&mut changed, action, keys, stamp)?;
    }
    *table = changed;
    Ok(())
}

/// The moment to write on rows: never before one that stands on a row already. A row stamped too early by a clock that
/// was set back would, once the clock is right again, ripen or retire too early.
fn stamp(table: &KeyTable, now: Timestamp) -> Timestamp {
    let signing = table.signing.iter().map(|key| match key.state {
        KeyState::Standby => key.created_at,
        KeyState::Active { since }
        | KeyState::Retiring { since }
        | KeyState::Retired { since }
        | KeyState::Compromised { since } => key.created_at.max(since),
    });
    let refresh = table.refresh.iter().map(|key| match key.state {
        RefreshKeyState::Active => key.created_at,
        RefreshKeyState::Retained { since } | RefreshKeyState::Compromised { since } => key.created_at.max(since),
    });
    let latest = signing.chain(refresh).filter(|stamp| *stamp <= now.plus(STEP_BACK)).max();
    latest.map_or(now, |latest| latest.max(now))
}

fn apply_one(table: &mut KeyTable, action: &Action, keys: &mut dyn NewKeys, stamp: Timestamp) -> Result<(), KeyError> {
    match action {
        Action::CreateActive { alg, longest_max_age } => {
            let mut key = row(keys.signing(*alg)?, *alg, stamp);
            key.state = KeyState::Active { since: stamp };
            key.longest_max_age = *longest_max_age;
            table.signing.push(key);
        }
        Action::CreateStandby { alg, unseen_max_age, longest_max_age } => {
            let mut key = row(keys.signing(*alg)?, *alg, stamp);
            key.unseen_max_age = *unseen_max_age;
            key.longest_max_age = *longest_max_age;
            table.signing.push(key);
        }
        Action::Import { kid, alg, unseen_max_age, longest_max_age } => {
            let mut key = row(keys.imported(kid)?, *alg, stamp);
            key.unseen_max_age = *unseen_max_age;
            key.longest_max_age = *longest_max_age;
            key.imported = true;
            table.signing.push(key);
        }
        Action::RecordRequest { kid } => change(table, kid, |key| key.rotation_requested_at = Some(stamp)),
        Action::Activate { kid } => change(table, kid, |key| {
            key.state = KeyState::Active { since: stamp };
            key.rotation_requested_at = None;
        }),
        Action::BeginRetiring { kid } => stop(table, kid, KeyState::Retiring { since: stamp }),
        Action::Retire { kid } => stop(table, kid, KeyState::Retired { since: stamp }),
        Action::Compromise { kid } => stop(table, kid, KeyState::Compromised { since: stamp }),
        Action::CreateRefresh { version, longest_absolute } => table.refresh.push(RefreshKey {
            version: *version,
            state: RefreshKeyState::Active,
            created_at: stamp,
            sealed: keys.refresh(*version)?,
            longest_absolute: *longest_absolute,
        }),
        Action::RetainRefresh { version } => {
            change_refresh(table, *version, RefreshKeyState::Retained { since: stamp });
        }
        Action::CompromiseRefresh { version } => {
            change_refresh(table, *version, RefreshKeyState::Compromised { since: stamp });
        }
        Action::DropRefresh { version } => table.refresh.retain(|key| key.version != *version),
    }
    Ok(())
}

fn row(key: NewKey, alg: Alg, stamp: Timestamp) -> SigningKey {
    SigningKey {
        kid: key.kid,
        alg,
        state: KeyState::Standby,
        created_at: stamp,
        public_jwk: key.public_jwk,
        sealed_private: Some(key.sealed_private),
        unseen_max_age: Duration::ZERO,
        longest_max_age: Duration::ZERO,
        longest_ttl: Duration::ZERO,
        rotation_requested_at: None,
        imported: false,
    }
}

fn change(table: &mut KeyTable, kid: &Kid, change: impl FnOnce(&mut SigningKey)) {
    if let Some(key) = table.signing.iter_mut().find(|key| key.kid == *kid) {
        change(key);
    }
}

/// A key that signs no more has no private half.
fn stop(table: &mut KeyTable, kid: &Kid, state: KeyState) {
    change(table, kid, |key| {
        key.state = state;
        key.sealed_private = None;
        key.rotation_requested_at = None;
    });
}

fn change_refresh(table: &mut KeyTable, version: u8, state: RefreshKeyState) {
    if let Some(key) = table.refresh.iter_mut().find(|key| key.version == version) {
        key.state = state;
    }
}
