//! How usernames and passwords are prepared before they are compared: PRECIS (RFC 8265), so that a name typed on
//! another keyboard is the same name, and a password keeps meaning the same on every device.
//!
//! The refusal of a password never says anything of it.

use precis_core::Error;
use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::{OpaqueString, UsernameCaseMapped};

use crate::domain::secret::SecretText;

/// The longest username and the longest password, in bytes of UTF-8, before and after preparation.
pub const LONGEST: usize = 1024;

/// Rules are applied again until the text stays the same, this often at most (RFC 8264 section 7). Once is not enough:
/// U+0387 may be in a password, and becomes U+00B7, which may not stand alone.
const ROUNDS: usize = 4;

/// The text cannot be a username.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAUsername {
    #[error("the username is empty")]
    Empty,
    #[error("the username is longer than {LONGEST} bytes")]
    TooLong,
    /// Section 3.3 of RFC 8265 takes letters, digits and printable ASCII.
    #[error("the username contains U+{0:04X}, which usernames may not contain (RFC 8265 section 3.3)")]
    Character(u32),
    #[error("the username mixes writing directions in a way that cannot be displayed unambiguously (RFC 5893)")]
    Direction,
}

/// The text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAPassword {
    #[error("the password is empty")]
    Empty,
    #[error("the password is longer than {LONGEST} bytes")]
    TooLong,
    #[error("the password contains a character that passwords may not contain, such as a control character (RFC 8265)")]
    Character,
}

/// A username as it is compared and kept unique: UsernameCaseMapped.
///
/// # Errors
/// No user can have this name.
pub fn username_key(username: &str) -> Result<String, NotAUsername> {
    if username.is_empty() {
        return Err(NotAUsername::Empty);
    }
    if username.len() > LONGEST {
        return Err(NotAUsername::TooLong);
    }
    let mut text = username.to_owned();
    for _ in 0..ROUNDS {
        let enforced = UsernameCaseMapped::enforce(text.as_str()).map_err(|error| match error {
            Error::BadCodepoint(info) => NotAUsername::Character(info.cp),
            Error::Invalid | Error::Unexpected(_) => NotAUsername::Direction,
        })?;
        if enforced.len() > LONGEST {
            return Err(NotAUsername::TooLong);
        }
        if enforced == text {
            return Ok(text);
        }
        text = enforced.into_owned();
    }
    Err(NotAUsername::Direction)
}

/// A password as it is hashed: OpaqueString.
///
/// # Errors
/// No password can be this text. Nothing of the text is in the error.
pub fn prepare_password(password: &str) -> Result<SecretText, NotAPassword> {
    if password.is_empty() {
        return Err(NotAPassword::Empty);
    }
    if password.len() > LONGEST {
        return Err(NotAPassword::TooLong);
    }
    let mut text = SecretText::new(password);
    for _ in 0..ROUNDS {
        // Owned at once, so that whatever preparation copied is wiped too.
        let enforced = OpaqueString::enforce(text.expose()).map_err(|_| NotAPassword::Character)?;
        let enforced = SecretText::new(enforced);
        if enforced.expose().len() > LONGEST {
            return Err(NotAPassword::TooLong);
        }
        if enforced == text {
            return Ok(text);
        }
        text = enforced;
    }
    Err(NotAPassword::Character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usernames_are_the_same_whatever_the_keyboard() {
        for (typed, key) in [
            ("Alice", "alice"),
            ("ALICE", "alice"),
            ("\u{ff21}lice", "alice"),
            ("cafe\u{301}", "caf\u{e9}"),
            ("a.b+c@example.org", "a.b+c@example.org"),
            ("\u{391}\u{3a3}", "\u{3b1}\u{3c3}"),
        ] {
            assert_eq!(username_key(typed).as_deref(), Ok(key), "{typed}");
        }
    }

    #[test]
    fn refusals_say_what_is_wrong() {
        assert_eq!(username_key(""), Err(NotAUsername::Empty));
        assert_eq!(username_key("bob smith"), Err(NotAUsername::Character(0x20)));
        assert_eq!(username_key("bob\u{0}"), Err(NotAUsername::Character(0)));
        assert_eq!(username_key(&"a".repeat(1025)), Err(NotAUsername::TooLong));
        assert_eq!(username_key("\u{5d0}a"), Err(NotAUsername::Direction));
        assert_eq!(prepare_password(""), Err(NotAPassword::Empty));
        assert_eq!(prepare_password("tab\there"), Err(NotAPassword::Character));
        assert_eq!(prepare_password(&"a".repeat(1025)), Err(NotAPassword::TooLong));
        assert_eq!(prepare_password("\u{387}"), Err(NotAPassword::Character), "it would become another refused one");
    }

    #[test]
    fn passwords_keep_their_case_and_their_spaces() {
        let prepared = |text| prepare_password(text).map(|secret| secret.expose().to_owned());
        assert_eq!(prepared("Correct  Horse ").as_deref(), Ok("Correct  Horse "));
        assert_eq!(prepared("a\u{a0}b").as_deref(), Ok("a b"), "spaces of all kinds are one kind");
        assert_eq!(prepared("u\u{308}").as_deref(), Ok("\u{fc}"), "composed");
    }

    proptest! {
        #[test]
        fn a_prepared_text_stays_as_it_is(text in "\\PC{1,40}") {
            if let Ok(key) = username_key(&text) {
                prop_assert_eq!(username_key(&key), Ok(key.clone()));
            }
            if let Ok(secret) = prepare_password(&text) {
                prop_assert_eq!(prepare_password(secret.expose()), Ok(secret.clone()));
            }
        }

        #[test]
        fn a_refused_password_is_not_in_the_refusal(text in "[a-z]{6,20}") {
            let refusal = prepare_password(&format!("{text}\u{7}")).unwrap_err();
            prop_assert!(!refusal.to_string().contains(&text));
        }
    }
}
