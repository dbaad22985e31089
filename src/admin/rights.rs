//! Who may do what to whom (design: nobody grants an `admin*` scope they lack, nobody touches who holds one they lack).
//!
//! Pure: what the caller holds against what a principal holds now and shall hold.

use crate::domain::error::{Code, OAuthError};
use crate::domain::scope::{Scope, is_admin};

/// The caller may give a principal the scope `after`, where it had `before`.
///
/// # Errors
/// [`Code::InsufficientScope`], naming an `admin*` scope that the principal would gain and the caller lacks.
pub fn may_grant(held: &Scope, before: &Scope, after: &Scope) -> Result<(), OAuthError> {
    match after.iter().find(|token| is_admin(token) && !before.contains(token) && !held.gives(token)) {
        None => Ok(()),
        Some(lacking) => Err(OAuthError::new(
            Code::InsufficientScope,
            format!("you cannot grant {lacking}: your token does not carry it; ask someone who holds it"),
        )),
    }
}

/// The caller may change, disable or delete a principal that holds `theirs`, or set its secret or password.
///
/// # Errors
/// [`Code::InsufficientScope`], naming an `admin*` scope that the principal holds and the caller lacks: who could reset
/// that principal's secret could act as it.
pub fn may_touch(held: &Scope, theirs: &Scope) -> Result<(), OAuthError> {
    match theirs.iter().find(|token| is_admin(token) && !held.gives(token)) {
        None => Ok(()),
        Some(lacking) => Err(OAuthError::new(
            Code::InsufficientScope,
            format!("this principal holds {lacking}, which your token does not carry; ask someone who holds it"),
        )),
    }
}

/// Whether an `admin*` scope is in `before` and no longer in `after`: tokens that carry it must then stop counting.
pub fn loses_admin(before: &Scope, after: &Scope) -> bool {
    before.only_admin().first_outside(after).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    #[test]
    fn nobody_grants_what_they_lack() {
        for (held, before, after, allowed) in [
            ("admin:clients", "", "read write", true),
            ("admin:clients", "", "admin:clients", true),
            ("admin:clients", "", "admin:clients:read", true),
            ("admin:clients", "", "admin", false),
            ("admin:clients", "", "admin:keys:read", false),
            ("admin:clients", "admin:clients", "admin:clients admin", false),
            ("admin:clients:read", "", "admin:clients", false),
            ("admin", "", "admin admin:keys admin:metrics", true),
            ("admin:users admin:keys", "", "admin:keys", true),
            // What was there before is not granted anew.
            ("admin:clients", "admin", "admin read", true),
        ] {
            let verdict = may_grant(&scope(held), &scope(before), &scope(after));
            assert_eq!(verdict.is_ok(), allowed, "{held:?} turns {before:?} into {after:?}");
            if let Err(error) = verdict {
                assert_eq!(error.code, Code::InsufficientScope);
            }
        }
    }

    #[test]
    fn nobody_touches_who_is_stronger() {
        for (held, theirs, allowed) in [
            ("admin:clients", "", true),
            ("admin:clients", "read openid", true),
            ("admin:clients", "admin:clients:read", true),
            ("admin:clients", "admin:clients", true),
            ("admin:clients", "admin", false),
            ("admin:clients", "admin:clients admin:audit:read", false),
            ("admin:users", "admin:users:read admin:keys", false),
            ("admin", "admin admin:metrics", true),
        ] {
            assert_eq!(may_touch(&scope(held), &scope(theirs)).is_ok(), allowed, "{held:?} touches {theirs:?}");
        }
    }

    #[test]
    fn only_a_lost_admin_scope_counts_as_lost() {
        for (before, after, lost) in [
            ("admin:keys read", "admin:keys", false),
            ("admin:keys", "", true),
            ("admin:keys", "admin:keys:read", true),
            ("", "admin", false),
        ] {
            assert_eq!(loses_admin(&scope(before), &scope(after)), lost, "{before:?} becomes {after:?}");
        }
    }
}
