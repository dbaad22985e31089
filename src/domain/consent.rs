//! Consent: what a user has allowed a client, so that the same is not asked twice (OpenID Connect Core section
//! 3.1.2.4).

use super::ids::{ClientId, Sub};
use super::scope::Scope;
use super::time::Timestamp;

/// What one user has allowed one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consent {
    pub sub: Sub,
    pub client_id: ClientId,
    /// Everything that was ever allowed, until it is revoked.
    pub scope: Scope,
    /// When the user last said so.
    pub granted_at: Timestamp,
}

impl Consent {
    /// Whether a request for this scope needs no question.
    pub fn covers(&self, scope: &Scope) -> bool {
        scope.first_outside(&self.scope).is_none()
    }

    /// The user allows this too: nothing that was allowed before is taken back.
    pub fn widened(&self, scope: &Scope, now: Timestamp) -> Self {
        let granted_at = self.granted_at.max(now);
        Self { scope: self.scope.union(scope), granted_at, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::NotAScope;
    use super::*;

    #[test]
    fn what_was_allowed_once_is_not_asked_again() -> Result<(), NotAScope> {
        let now = Timestamp::from_seconds(1_800_000_000);
        let consent = Consent {
            sub: Sub::new("usr_1"),
            client_id: ClientId::new("web"),
            scope: Scope::parse("openid email")?,
            granted_at: now,
        };
        for (asked, covered) in [("", true), ("email", true), ("email openid", true), ("openid phone", false)] {
            assert_eq!(consent.covers(&Scope::parse(asked)?), covered, "{asked:?}");
        }
        let wider = consent.widened(&Scope::parse("phone openid")?, now);
        assert_eq!(wider.scope.to_string(), "openid email phone");
        assert!(wider.covers(&consent.scope));
        Ok(())
    }
}
