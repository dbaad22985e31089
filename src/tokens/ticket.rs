//! What a browser carries from page to page: the ticket of a started request, so that any node can continue it and
//! strangers leave no rows behind, and the token that a form proves its origin with (OWASP's signed double submit).
//!
//! A ticket is base64url of `version 1 | expiry 8, milliseconds, big endian | JSON | HMAC-SHA256 32`. It is authentic and
//! not secret: all it says came in the URL of the request that it continues, and it goes on in a URL. So there is
//! nothing to encrypt. Whoever holds a ticket can continue the request, as whoever holds the first URL can begin it:
//! what a browser may do with it is decided by its cookies.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::domain::secret::{Secret32, keyed_hash, same};
use crate::domain::time::Timestamp;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 8;
const TAG: usize = 32;

/// The longest text that is looked at, in bytes. A request's head is shorter, so none that was issued is lost.
const LONGEST: usize = 64 << 10;

/// What a ticket or a form's token is for; one is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A started authorization request.
    Authorization,
    /// A logout that a client asked for.
    Logout,
    /// The form that takes a password.
    SignIn,
    Consent,
    Account,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Logout => "logout",
            Self::SignIn => "sign_in",
            Self::Consent => "consent",
            Self::Account => "account",
        }
    }
}

/// Why a text is no ticket that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketFault {
    #[error("not the text of a ticket")]
    Malformed,
    /// Altered, of another service, or for another purpose.
    #[error("the tag does not hold")]
    Forged,
    #[error("it has expired")]
    Expired,
    /// Authentic, and of a version of this program that says other things.
    #[error("it holds something else")]
    Unreadable,
}

/// Issues and reads tickets. Every node of a service has the same key.
#[derive(Debug)]
pub struct Tickets {
    key: Secret32,
}

impl Tickets {
    pub fn new(key: Secret32) -> Self {
        Self { key }
    }

    /// The text of a ticket that is taken until just before `expires_at`. Characters of base64url alone: it needs no
    /// escaping in URLs and forms.
    ///
    /// # Errors
    /// The payload has no form in JSON.
    pub fn issue<T: Serialize>(
        &self,
        purpose: Purpose,
        payload: &T,
        expires_at: Timestamp,
    ) -> Result<String, serde_json::Error> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&expires_at.millis().to_be_bytes());
        serde_json::to_writer(&mut bytes, payload)?;
        let tag = self.tag(purpose, &bytes);
        bytes.extend_from_slice(&tag);
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What a ticket says.
    ///
    /// # Errors
    /// See [`TicketFault`]. Only an authentic ticket is told that it has expired.
    pub fn read<T: DeserializeOwned>(&self, purpose: Purpose, text: &str, now: Timestamp) -> Result<T, TicketFault> {
        if text.len() > LONGEST {
            return Err(TicketFault::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TicketFault::Malformed)?;
        let (body, tag) = bytes.split_last_chunk::<TAG>().ok_or(TicketFault::Malformed)?;
        let (head, json) = body.split_first_chunk::<HEAD>().ok_or(TicketFault::Malformed)?;
        let [version, expiry @ ..] = *head;
        if version != VERSION {
            return Err(TicketFault::Malformed);
        }
        if !same(&self.tag(purpose, body), tag) {
            return Err(TicketFault::Forged);
        }
        if now >= Timestamp::from_millis(i64::from_be_bytes(expiry)) {
            return Err(TicketFault::Expired);
        }
        serde_json::from_slice(json).map_err(|_| TicketFault::Unreadable)
    }

    /// What a form of this browser carries, for this purpose and in this context (a ticket, a sign-in): `visit` is the
    /// value of the cookie that pages of other origins can neither read nor set. 43 characters of base64url.
    pub fn csrf(&self, visit: &str, purpose: Purpose, context: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.form_tag(visit, purpose, context))
    }

    /// Whether the form came from a page that this browser was given for just this.
    pub fn csrf_holds(&self, token: &str, visit: &str, purpose: Purpose, context: &str) -> bool {
        let mut given = [0; TAG];
        // Decoded into a buffer of the right size, which text of another length does not fill.
        let decoded = URL_SAFE_NO_PAD.decode_slice(token, &mut given);
        !visit.is_empty() && decoded == Ok(TAG) && same(&self.form_tag(visit, purpose, context), &given)
    }

    fn tag(&self, purpose: Purpose, body: &[u8]) -> [u8; TAG] {
        keyed_hash(&self.key, &[b"ticket", purpose.as_str().as_bytes(), body])
    }

    fn form_tag(&self, visit: &str, purpose: Purpose, context: &str) -> [u8; TAG] {
        keyed_hash(&self.key, &[b"form", purpose.as_str().as_bytes(), visit.as_bytes(), context.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const END: Timestamp = Timestamp::from_seconds(1_800_000_000);
    const PURPOSES: [Purpose; 5] =
        [Purpose::Authorization, Purpose::Logout, Purpose::SignIn, Purpose::Consent, Purpose::Account];

    fn tickets() -> Tickets {
        Tickets::new(Secret32::new([7; 32]))
    }

    fn before() -> Timestamp {
        END.minus(Duration::from_millis(1))
    }

    fn read(text: &str) -> Result<String, TicketFault> {
        tickets().read(Purpose::Authorization, text, before())
    }

    #[test]
    fn a_ticket_counts_until_its_last_moment_and_not_in_it() {
        let text = tickets().issue(Purpose::Authorization, &"hello", END).unwrap();
        assert_eq!(read(&text).as_deref(), Ok("hello"));
        let late = tickets().read::<String>(Purpose::Authorization, &text, END);
        assert_eq!(late, Err(TicketFault::Expired));
        let other = tickets().read::<u32>(Purpose::Authorization, &text, before());
        assert_eq!(other, Err(TicketFault::Unreadable));
    }

    #[test]
    fn another_service_and_another_purpose_are_refused_even_when_expired() {
        let text = tickets().issue(Purpose::Authorization, &"hello", END).unwrap();
        let elsewhere = Tickets::new(Secret32::new([8; 32])).read::<String>(Purpose::Authorization, &text, END);
        assert_eq!(elsewhere, Err(TicketFault::Forged));
        for purpose in PURPOSES.into_iter().filter(|purpose| *purpose != Purpose::Authorization) {
            assert_eq!(tickets().read::<String>(purpose, &text, before()), Err(TicketFault::Forged), "{purpose:?}");
        }
    }

    #[test]
    fn what_is_no_ticket_is_survived() {
        for text in ["", "A", "AQ", "====", "Zm9v", &"A".repeat(53), &"A".repeat(LONGEST + 1), "ÄÖÜ"] {
            assert_eq!(read(text), Err(TicketFault::Malformed), "{}", text.len());
        }
    }

    #[test]
    fn a_form_without_a_visit_proves_nothing() {
        let token = tickets().csrf("", Purpose::SignIn, "ticket");
        assert!(!tickets().csrf_holds(&token, "", Purpose::SignIn, "ticket"));
        let token = tickets().csrf("visit", Purpose::SignIn, "ticket");
        for broken in ["", &token[1..], &format!("{token}A"), &format!("{token}=")] {
            assert!(!tickets().csrf_holds(broken, "visit", Purpose::SignIn, "ticket"), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(payload in ".{0,200}") {
            let text = tickets().issue(Purpose::Authorization, &payload, END).unwrap();
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(read(&text), Ok(payload));
        }

        /// One bit anywhere, or any end cut off, and it is no ticket any more.
        #[test]
        fn a_garbled_or_truncated_ticket_is_refused(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let text = tickets().issue(Purpose::Authorization, &"hello", END).unwrap();
            let mut bytes = URL_SAFE_NO_PAD.decode(&text).unwrap();
            let length = bytes.len();
            bytes[at.index(length)] ^= 1 << bit;
            prop_assert!(matches!(
                read(&URL_SAFE_NO_PAD.encode(&bytes)),
                Err(TicketFault::Forged | TicketFault::Malformed)
            ));
            prop_assert!(read(&text[..at.index(text.len())]).is_err());
        }

        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            prop_assert!(read(&text).is_err());
        }

        /// A form's token holds for its own browser, purpose and context: another one of any of them, and it does not.
        #[test]
        fn a_forms_token_holds_for_its_own_form_alone(
            visit in ".{1,40}", context in ".{0,40}", purposes in (0..5_usize, 1..5_usize),
        ) {
            let this = PURPOSES[purposes.0];
            let other = PURPOSES[(purposes.0 + purposes.1) % PURPOSES.len()];
            let token = tickets().csrf(&visit, this, &context);
            let holds = |visit: &str, purpose, context: &str| tickets().csrf_holds(&token, visit, purpose, context);
            prop_assert!(holds(&visit, this, &context));
            prop_assert!(!holds(&visit, other, &context));
            let (another_visit, another_context) = (visit.clone() + "a", context.clone() + "a");
            prop_assert!(!holds(&another_visit, this, &context));
            prop_assert!(!holds(&visit, this, &another_context));
            // What one ends with is not what the other begins with.
            prop_assert!(!holds(&(visit.clone() + &another_context), this, ""));
            prop_assert!(!Tickets::new(Secret32::new([8; 32])).csrf_holds(&token, &visit, this, &context));
        }
    }
}
