//! The text of a refresh token: opaque to clients (RFC 6749 section 1.5), and authentic or not without a look at the
//! database.
//!
//! `lkr_` and base64url of `key version 1 | session id 16 | generation 4, big endian | secret 32 | tag 16`, where the
//! tag is HMAC-SHA256 of all before it, truncated. What a presentation does is [`crate::domain::session`]'s.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::ids::{ClientId, SessionId};
use crate::domain::secret::{Secret32, SecretText, same};
use crate::domain::session::{Chain, ChainKeys as _, Presented, RetrySeen, Successor};
use crate::domain::sources::{Entropy, random};
use crate::domain::time::Timestamp;
use crate::keys::Snapshot;

/// What every refresh token begins with: a scanner for leaked secrets finds it, and introspection tells it from a JWT.
pub const PREFIX: &str = "lkr_";

const BODY: usize = 1 + 16 + 4 + 32;
const TAG: usize = 16;

/// Base64url characters after the prefix. Three bytes are four characters, so no bit is left over.
const CHARACTERS: usize = (BODY + TAG) / 3 * 4;

/// Why a text is not an authentic refresh token. To a client all are `invalid_grant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshFault {
    #[error("not the text of a refresh token")]
    Malformed,
    /// Its keys were dropped, or never were.
    #[error("version {0} of the refresh keys is not kept")]
    UnknownVersion(u8),
    #[error("the tag does not hold")]
    Forged,
}

/// Whether the text means to be a refresh token.
pub fn looks_like_refresh_token(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// The first secret of a session, under the current version of the keys; `None` before the first start's plan made one.
pub fn first(entropy: &dyn Entropy, keys: &Snapshot, session: SessionId) -> Option<Successor> {
    let key_version = keys.current_version();
    let secret = Secret32::new(random(entropy));
    let known = keys.refresh_tag(key_version, &[]).is_some();
    known.then_some(Successor { session, generation: 0, secret, key_version })
}

/// The chain that the row of a new session holds.
pub fn chain_of(first: &Successor, now: Timestamp) -> Chain {
    Chain {
        generation: first.generation,
        secret_hash: first.secret.sha256(),
        key_version: first.key_version,
        rotated_at: now,
        retry_seen: RetrySeen::None,
        late_streak: 0,
        narrowed: false,
    }
}

/// The text to answer with.
///
/// # Errors
/// The version of its keys is not kept.
pub fn encode(keys: &Snapshot, successor: &Successor) -> Result<SecretText, RefreshFault> {
    let mut bytes = Zeroizing::new([0; BODY + TAG]);
    let (body, tag) = bytes.split_at_mut(BODY);
    body[0] = successor.key_version;
    body[1..17].copy_from_slice(successor.session.as_bytes());
    body[17..21].copy_from_slice(&successor.generation.to_be_bytes());
    body[21..].copy_from_slice(successor.secret.expose());
    let made = keys.refresh_tag(successor.key_version, body);
    tag.copy_from_slice(&made.ok_or(RefreshFault::UnknownVersion(successor.key_version))?);

    let mut text = String::with_capacity(PREFIX.len() + CHARACTERS);
    text.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
    Ok(SecretText::new(text))
}

/// Reads a refresh token that `client_id` presents.
///
/// # Errors
/// It is not one, or not ours.
pub fn parse(keys: &Snapshot, text: &str, client_id: &ClientId) -> Result<Presented, RefreshFault> {
    let text = text.strip_prefix(PREFIX).filter(|text| text.len() == CHARACTERS).ok_or(RefreshFault::Malformed)?;
    let mut bytes = Zeroizing::new([0; BODY + TAG]);
    URL_SAFE_NO_PAD.decode_slice(text, bytes.as_mut_slice()).map_err(|_| RefreshFault::Malformed)?;
    let (body, tag) = bytes.split_at(BODY);

    let key_version = body[0];
    let expected = keys.refresh_tag(key_version, body).ok_or(RefreshFault::UnknownVersion(key_version))?;
    if !same(&expected, tag) {
        return Err(RefreshFault::Forged);
    }
    let (mut session, mut generation, mut secret) = ([0; 16], [0; 4], Zeroizing::new([0; 32]));
    session.copy_from_slice(&body[1..17]);
    generation.copy_from_slice(&body[17..21]);
    secret.copy_from_slice(&body[21..]);
    Ok(Presented {
        session: SessionId::from_bytes(session),
        generation: u32::from_be_bytes(generation),
        secret: Secret32::new(*secret),
        key_version,
        client_id: client_id.clone(),
    })
}
