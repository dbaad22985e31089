//! Authorization codes: what is kept of one, and whether whoever brings it is whom it was made for (RFC 6749 section
//! 4.1.3, RFC 7636, RFC 9700 section 4.8).
//!
//! A code is used once. Everything here but [`Code::redeemed`] is fixed when it is made, so it is checked on a reading of
//! any age; that it is used once is the database's own word.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::ids::{ClientId, SessionId, SignInId, Sub};
use super::scope::Scope;
use super::secret::{same, sha256};
use super::time::Timestamp;

/// How long a code may wait for its exchange: a redirect and one request.
pub const LIFETIME: Duration = Duration::from_secs(60);

/// A `code_challenge` of the method `S256`: the SHA-256 of its verifier.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 32]);

impl Challenge {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the 43 characters of base64url that a request carries; `None` where they are anything else.
    pub fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    fn is_met_by(&self, verifier: &str) -> bool {
        same(&self.0, &sha256(verifier.as_bytes()))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// A code as it is kept. The code itself is nowhere: it is found by its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    pub client_id: ClientId,
    /// As the request had it; `None` where it named none.
    pub redirect_uri: Option<String>,
    pub challenge: Option<Challenge>,
    pub nonce: Option<String>,
    pub scope: Scope,
    /// The `aud` that access tokens may name.
    pub audience: Vec<String>,
    pub sub: Sub,
    /// The user's when the code was made: it opens a session only if it still holds.
    pub credential_epoch: i64,
    pub sign_in: SignInId,
    pub auth_time: Timestamp,
    pub acr: Option<String>,
    /// The `claims` parameter, as JSON.
    pub claims: Option<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// When it was exchanged, and the session that this opened.
    pub redeemed: Option<(Timestamp, SessionId)>,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Code")
            .field("client_id", &self.client_id)
            .field("sub", &self.sub)
            .field("sign_in", &self.sign_in)
            .field("expires_at", &self.expires_at)
            .field("redeemed", &self.redeemed)
            .finish_non_exhaustive()
    }
}

/// Why a code opens nothing. Nothing is changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeRefusal {
    /// Answered like a code that nobody knows: a wrong client learns nothing.
    WrongClient,
    Expired,
    WrongRedirectUri,
    /// The request had a challenge, and no `code_verifier` meets it.
    MissingVerifier,
    /// Not 43 to 128 unreserved characters.
    MalformedVerifier,
    WrongVerifier,
    /// There is a `code_verifier`, and the request had no challenge: somebody took it away (RFC 9700 section 4.8.2).
    UnexpectedVerifier,
}

impl CodeRefusal {
    /// What to tell the client: what happened and what to do.
    pub const fn text(self) -> &'static str {
        match self {
            Self::WrongClient => "no such code for this client; begin the authorization again",
            Self::Expired => "the code has expired: it lives for a minute; begin the authorization again",
            Self::WrongRedirectUri => {
                "redirect_uri is not the one of the authorization request; send the same, or none if it had none"
            }
            Self::MissingVerifier => "code_verifier is missing: the authorization request had a code_challenge",
            Self::MalformedVerifier => {
                "code_verifier is malformed: 43 to 128 letters, digits, '-', '.', '_' and '~' are one"
            }
            Self::WrongVerifier => "code_verifier does not match the code_challenge of the authorization request",
            Self::UnexpectedVerifier => {
                "code_verifier is of no use: the authorization request had no code_challenge; begin it again with one"
            }
        }
    }
}

/// Checks who brings a code and with what, in this order: the client, so that a wrong one changes and learns nothing;
/// the time; `redirect_uri`; `code_verifier`.
///
/// A code that was exchanged before does not expire here: a replay is to be noticed for as long as its row is kept, and
/// only from whoever can prove to have begun the login, so that a code that leaked ends nobody's session.
///
/// # Errors
/// See [`CodeRefusal`].
pub fn check(
    code: &Code,
    client_id: &ClientId,
    redirect_uri: Option<&str>,
    code_verifier: Option<&str>,
    now: Timestamp,
) -> Result<(), CodeRefusal> {
    if code.client_id != *client_id {
        return Err(CodeRefusal::WrongClient);
    }
    if code.redeemed.is_none() && now >= code.expires_at {
        return Err(CodeRefusal::Expired);
    }
    if code.redirect_uri.as_deref() != redirect_uri {
        return Err(CodeRefusal::WrongRedirectUri);
    }
    match (&code.challenge, code_verifier) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(CodeRefusal::UnexpectedVerifier),
        (Some(_), None) => Err(CodeRefusal::MissingVerifier),
        (Some(_), Some(verifier)) if !is_verifier(verifier) => Err(CodeRefusal::MalformedVerifier),
        (Some(challenge), Some(verifier)) if challenge.is_met_by(verifier) => Ok(()),
        (Some(_), Some(_)) => Err(CodeRefusal::WrongVerifier),
    }
}

/// RFC 7636 section 4.1.
fn is_verifier(text: &str) -> bool {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    (43..=128).contains(&text.len()) && text.bytes().all(unreserved)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const CALLBACK: &str = "https://app.example/callback";
    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn code(challenge: Option<Challenge>) -> Code {
        Code {
            client_id: ClientId::new("web"),
            redirect_uri: Some(CALLBACK.into()),
            challenge,
            nonce: None,
            scope: Scope::default(),
            audience: Vec::new(),
            sub: Sub::new("usr_1"),
            credential_epoch: 1,
            sign_in: SignInId::from_bytes([1; 16]),
            auth_time: NOW,
            acr: None,
            claims: None,
            created_at: NOW,
            expires_at: NOW.plus(LIFETIME),
            redeemed: None,
        }
    }

    fn checked(code: &Code, verifier: Option<&str>) -> Result<(), CodeRefusal> {
        check(code, &code.client_id, Some(CALLBACK), verifier, NOW)
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        let code = code(Challenge::parse(CHALLENGE));
        assert!(code.challenge.is_some());
        assert_eq!(checked(&code, Some(VERIFIER)), Ok(()));
        assert_eq!(checked(&code, None), Err(CodeRefusal::MissingVerifier));
        assert_eq!(checked(&code, Some(CHALLENGE)), Err(CodeRefusal::WrongVerifier), "plain is no method here");
    }

    #[test]
    fn a_challenge_is_43_characters_of_base64url_and_nothing_else() {
        let (short, long) = (&CHALLENGE[1..], format!("{CHALLENGE}A"));
        let padded = format!("{CHALLENGE}=");
        for bad in ["", short, &long, &padded, &CHALLENGE.replace('-', "+"), &CHALLENGE.replace("cM", "cN")] {
            assert_eq!(Challenge::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_request_without_a_challenge_takes_no_verifier() {
        assert_eq!(checked(&code(None), None), Ok(()));
        assert_eq!(checked(&code(None), Some(VERIFIER)), Err(CodeRefusal::UnexpectedVerifier));
    }

    #[test]
    fn the_client_is_checked_before_all_else_and_the_verifier_last() {
        let late = NOW.plus(LIFETIME);
        let code = code(Challenge::parse(CHALLENGE));
        let (web, other) = (ClientId::new("web"), ClientId::new("other"));
        let (right, wrong) = (Some(CALLBACK), Some("https://app.example/Callback"));
        for (client, uri, verifier, now, expected) in [
            (&other, wrong, None, late, Err(CodeRefusal::WrongClient)),
            (&web, wrong, None, late, Err(CodeRefusal::Expired)),
            (&web, wrong, None, NOW, Err(CodeRefusal::WrongRedirectUri)),
            (&web, None, Some(VERIFIER), NOW, Err(CodeRefusal::WrongRedirectUri)),
            (&web, right, None, NOW, Err(CodeRefusal::MissingVerifier)),
            (&web, right, Some(VERIFIER), late.minus(Duration::from_millis(1)), Ok(())),
        ] {
            assert_eq!(check(&code, client, uri, verifier, now), expected);
        }
        let without = Code { redirect_uri: None, ..code };
        assert_eq!(check(&without, &web, None, Some(VERIFIER), NOW), Ok(()));
        assert_eq!(check(&without, &web, right, Some(VERIFIER), NOW), Err(CodeRefusal::WrongRedirectUri));
    }

    #[test]
    fn a_replay_is_noticed_after_the_code_expired_and_only_with_its_proof() {
        let redeemed = Some((NOW, SessionId::from_bytes([2; 16])));
        let code = Code { redeemed, ..code(Challenge::parse(CHALLENGE)) };
        let late = NOW.plus(50 * LIFETIME);
        let again = |verifier| check(&code, &code.client_id, Some(CALLBACK), verifier, late);
        assert_eq!(again(Some(VERIFIER)), Ok(()));
        assert_eq!(again(None), Err(CodeRefusal::MissingVerifier));
        assert_eq!(again(Some(CHALLENGE)), Err(CodeRefusal::WrongVerifier));
    }

    proptest! {
        #[test]
        fn every_verifier_meets_its_own_challenge_and_no_other(
            verifier in "[A-Za-z0-9._~-]{43,128}",
            other in "[A-Za-z0-9._~-]{43,128}",
        ) {
            let code = code(Some(Challenge::from_bytes(sha256(verifier.as_bytes()))));
            prop_assert_eq!(checked(&code, Some(&verifier)), Ok(()));
            if other != verifier {
                prop_assert_eq!(checked(&code, Some(&other)), Err(CodeRefusal::WrongVerifier));
            }
        }

        #[test]
        fn a_verifier_of_another_syntax_is_refused_though_its_hash_matches(text in "\\PC{0,140}") {
            let code = code(Some(Challenge::from_bytes(sha256(text.as_bytes()))));
            let legal = (43..=128).contains(&text.len())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c));
            let expected = if legal { Ok(()) } else { Err(CodeRefusal::MalformedVerifier) };
            prop_assert_eq!(checked(&code, Some(&text)), expected);
        }

        #[test]
        fn a_wrong_client_never_learns_anything(
            uri in proptest::option::of(Just(CALLBACK)),
            verifier in proptest::option::of("[a-z]{40,50}"),
            after in 0_u64..200,
            used in any::<bool>(),
        ) {
            let redeemed = used.then_some((NOW, SessionId::from_bytes([2; 16])));
            let code = Code { redeemed, ..code(Challenge::parse(CHALLENGE)) };
            let now = NOW.plus(Duration::from_secs(after));
            let refused = check(&code, &ClientId::new("other"), uri, verifier.as_deref(), now);
            prop_assert_eq!(refused, Err(CodeRefusal::WrongClient));
        }
    }
}
