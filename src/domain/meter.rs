//! What the use cases count, without knowing who counts it.

use super::client::GrantType;
use super::error::Reason;

/// One countable event. Benign retries and thefts are different events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Count {
    TokenIssued(GrantType),
    TokenRefused(GrantType),
    /// A claim of the operator's own would have made the token too large.
    ClaimLeftOut,
    RefreshRotated,
    /// Rotation is off for the client: the same refresh token again.
    RefreshKept,
    /// The same successor again: a lost answer, or several tabs.
    RefreshRetried {
        late: bool,
    },
    RefreshReused,
    RefreshHealed,
    RefreshRefused(Reason),
    RetryPattern,
    /// A legacy token opened its session.
    LegacyExchanged,
    /// The same again: a lost answer.
    LegacyRetried {
        late: bool,
    },
    LegacyReplayed,
    LegacyRefused(Reason),
    LoginFailed,
    LoginThrottled,
    ClientAuthFailed,
    /// The password queue was full.
    PasswordQueueFull,
    /// The verified claims were cached.
    IntrospectionHit,
    IntrospectionMiss,
    /// This node could not vouch for its revocation set, so it asked the database.
    IntrospectionUnvouched,
    TokenRevoked,
    SessionRevoked,
    /// A client has taken a logout token.
    LogoutDelivered,
    /// It has not yet.
    LogoutRetried,
    LogoutUndeliverable,
    KeyActivated,
    KeyCompromised,
}

/// Who counts.
pub trait Meter: Send + Sync {
    fn count(&self, what: Count);
}

/// Counts nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Meter for Silent {
    fn count(&self, _: Count) {}
}
