//! What a signing key and a version of the refresh keys are, as rows. What they turn into, and when, is
//! the key plan's business.

use std::fmt;
use std::time::Duration;

use super::ids::Kid;
use super::time::Timestamp;

/// A signature algorithm of RFC 7518 section 3.1 that Latchkey signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub enum Alg {
    ES256,
    RS256,
}

impl Alg {
    pub const ALL: [Self; 2] = [Self::ES256, Self::RS256];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ES256 => "ES256",
            Self::RS256 => "RS256",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.as_str() == text)
    }
}

impl fmt::Display for Alg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a signing key stands, with the moment it came to stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Published, does not sign.
    Standby,
    /// Published, signs.
    Active { since: Timestamp },
    /// Published, no longer signs; its private half is gone.
    Retiring { since: Timestamp },
    /// Not published: every token it signed has expired.
    Retired { since: Timestamp },
    /// Not published; every token it signed is inactive, for ever.
    Compromised { since: Timestamp },
}

impl KeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Standby => "standby",
            Self::Active { .. } => "active",
            Self::Retiring { .. } => "retiring",
            Self::Retired { .. } => "retired",
            Self::Compromised { .. } => "compromised",
        }
    }

    /// Whether the key is in the key set, so that its tokens verify.
    pub const fn is_published(self) -> bool {
        matches!(self, Self::Standby | Self::Active { .. } | Self::Retiring { .. })
    }
}

/// One signing key, as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    pub kid: Kid,
    pub alg: Alg,
    pub state: KeyState,
    /// When it was created, which is when it was published.
    pub created_at: Timestamp,
    /// The public half as a JWK: `kty`, its members, `kid`, `alg`, `use`.
    pub public_jwk: String,
    /// The private half (PKCS#8 DER), sealed; `None` once it stopped signing.
    pub sealed_private: Option<Vec<u8>>,
    /// The longest `max-age` of any key set served before this key was in it.
    pub unseen_max_age: Duration,
    /// The longest `max-age` of any key set served with this key in it. Raised durably before its first use.
    pub longest_max_age: Duration,
    /// The longest lifetime of any token it signed. Raised durably before its first use.
    pub longest_ttl: Duration,
    /// When an operator asked for a planned rotation to this standby; it waits for ripeness.
    pub rotation_requested_at: Option<Timestamp>,
    /// Whether it came from outside, so that someone else may hold its private half.
    pub imported: bool,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("alg", &self.alg)
            .field("state", &self.state)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}

/// Where a version of the refresh keys stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKeyState {
    /// New successors are derived with it.
    Active,
    /// Its tokens are still taken.
    Retained { since: Timestamp },
    /// Its tokens are taken only where the session's hash proves them, and never healed.
    Compromised { since: Timestamp },
}

impl RefreshKeyState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retained { .. } => "retained",
            Self::Compromised { .. } => "compromised",
        }
    }
}

/// One version of the chain and tag keys of refresh tokens, as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshKey {
    /// The first byte of the tokens it makes.
    pub version: u8,
    pub state: RefreshKeyState,
    pub created_at: Timestamp,
    /// Chain key, then tag key, 32 bytes each, sealed.
    pub sealed: Vec<u8>,
    /// The longest absolute lifetime of any session opened while it was active. Raised durably before its first use.
    pub longest_absolute: Duration,
}

impl fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshKey").field("version", &self.version).field("state", &self.state).finish_non_exhaustive()
    }
}

/// All keys at one moment.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// Grows with every change of the table; a change planned on an older revision is refused.
    pub revision: i64,
    pub signing: Vec<SigningKey>,
    pub refresh: Vec<RefreshKey>,
}
