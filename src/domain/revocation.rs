//! What makes an access token inactive before it expires (RFC 7009), and how storage tells of it.

use super::ids::{ClientId, Jti, SessionId};
use super::time::Timestamp;

/// Whose tokens are inactive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Every access token with this `sid`.
    Session(SessionId),
    /// The one token with this `jti`.
    Token(Jti),
    /// Every token of the client whose `jti` was made before the moment.
    Client { client_id: ClientId, minted_before: Timestamp },
}

/// One entry of the revocation set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub what: Revoked,
    /// When the longest access token it could concern has expired, so that the entry may go.
    pub expires_at: Timestamp,
}

/// Where storage tells of revocations it has decided. It is called before COMMIT is sent, and what it was told stays
/// told if the outcome of the COMMIT is unknown: never late, at worst too careful.
pub trait RevocationSink: Send + Sync {
    fn decided(&self, revocations: &[Revocation]);
}
