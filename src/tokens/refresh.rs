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

/// The first refresh token of a session, under the current version of the keys; `None` before the first start's plan made
/// one.
pub fn first(keys: &Snapshot, session: SessionId, secret: Secret32) -> Option<Successor> {
    let key_version = keys.current_version();
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::sources::{SystemEntropy, random};
    use crate::keys::plan::Request;
    use crate::keys::testing::{START, carry_out, masters, snapshot, table};

    fn client() -> ClientId {
        ClientId::new("cli_1")
    }

    fn text(keys: &Snapshot) -> (Successor, String) {
        let secret = Secret32::new(random(&SystemEntropy));
        let first = first(keys, SessionId::from_bytes([5; 16]), secret).unwrap();
        let text = encode(keys, &first).unwrap().expose().to_owned();
        (first, text)
    }

    #[test]
    fn what_was_written_is_read() {
        let keys = snapshot();
        let (first, text) = text(&keys);
        assert!(looks_like_refresh_token(&text) && !looks_like_refresh_token("eyJ"));
        assert_eq!(text.len(), PREFIX.len() + CHARACTERS);
        let presented = parse(&keys, &text, &client()).unwrap();
        assert_eq!((presented.session, presented.generation, presented.key_version), (first.session, 0, 1));
        assert_eq!((presented.secret, presented.client_id), (first.secret.clone(), client()));
        let chain = chain_of(&first, START);
        assert_eq!((chain.generation, chain.key_version, chain.secret_hash), (0, 1, first.secret.sha256()));
    }

    #[test]
    fn the_chain_is_followed_by_the_domain() {
        let keys = snapshot();
        let (first, _) = text(&keys);
        let secret = keys.successor(1, first.session, 1, &first.secret).unwrap();
        let second = Successor { generation: 1, secret, ..first };
        let presented = parse(&keys, encode(&keys, &second).unwrap().expose(), &client()).unwrap();
        assert_eq!(presented.generation, 1);
    }

    #[test]
    fn tokens_of_earlier_versions_are_read_until_the_version_is_dropped() {
        let before = snapshot();
        let (first, text) = text(&before);
        let mut later = table();
        carry_out(&mut later, &Request::RotateRefresh, START);
        let keys = Snapshot::build(&later, &masters(), std::time::Duration::ZERO).unwrap();
        assert_eq!(parse(&keys, &text, &client()).unwrap().key_version, 1);
        later.refresh.retain(|key| key.version != 1);
        let keys = Snapshot::build(&later, &masters(), std::time::Duration::ZERO).unwrap();
        assert_eq!(parse(&keys, &text, &client()).unwrap_err(), RefreshFault::UnknownVersion(1));
        assert_eq!(encode(&keys, &first).unwrap_err(), RefreshFault::UnknownVersion(1));
    }

    #[test]
    fn other_spellings_are_refused() {
        let keys = snapshot();
        let (_, text) = text(&keys);
        for odd in [
            format!("{text}="),
            format!(" {text}"),
            format!("{text}\n"),
            text.replace("lkr_", "LKR_"),
            text.replace("lkr_", ""),
            text[..text.len() - 1].to_owned(),
            format!("{text}AAAA"),
            format!("{}=", &text[..text.len() - 1]),
            format!("{}é", &text[..text.len() - 2]),
            String::new(),
            "lkr_".to_owned(),
        ] {
            assert_eq!(parse(&keys, &odd, &client()).unwrap_err(), RefreshFault::Malformed, "{odd}");
        }
        let no_keys = crate::keys::Keyring::empty().load();
        assert!(first(&no_keys, SessionId::from_bytes([0; 16]), Secret32::new([0; 32])).is_none());
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused(at in 0..BODY + TAG, bit in 0..8_u32) {
            let keys = snapshot();
            let (_, text) = text(&keys);
            let mut bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).unwrap();
            bytes[at] ^= 1 << bit;
            let flipped = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
            let fault = parse(&keys, &flipped, &client()).unwrap_err();
            prop_assert_eq!(matches!(fault, RefreshFault::UnknownVersion(_)), at == 0);
        }

        #[test]
        fn no_text_panics(text in "(lkr_)?.{0,120}") {
            prop_assert!(parse(&snapshot(), &text, &client()).is_err());
        }
    }
}
