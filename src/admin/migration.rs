//! How far a system that moves in has come: whose password hash is Latchkey's own by now, who has exchanged a token, who
//! is left.

use crate::context::Context;
use crate::domain::error::OAuthError;
use crate::domain::time::Timestamp;
use crate::storage::{LegacyCount, MigrationCounts, UserCount};

/// How Latchkey's own password hashes begin.
const OWN: &str = "argon2id";

/// The state of the migration at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub users: u64,
    /// Those who have logged in with their password or exchanged a token of a legacy issuer.
    pub moved: u64,
    pub left: u64,
    /// How many users there are of each kind of password hash; under `None` those without a password.
    pub password_hashes: Vec<(Option<String>, u64)>,
    /// As configured, then those that were configured once.
    pub issuers: Vec<Issuer>,
}

/// One legacy issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    pub name: String,
    /// `None` where it is not configured any more.
    pub cut_off: Option<Timestamp>,
    pub tokens: u64,
    pub users: u64,
    pub latest: Option<Timestamp>,
}

/// Counts.
///
/// # Errors
/// The database does not answer.
pub async fn report(ctx: &Context) -> Result<Migration, OAuthError> {
    let counts = ctx.store.migration_counts().await?;
    Ok(told(counts, ctx.legacy.iter().map(|issuer| (issuer.name.as_str(), issuer.cut_off))))
}

fn told<'a>(counts: MigrationCounts, configured: impl Iterator<Item = (&'a str, Timestamp)>) -> Migration {
    let MigrationCounts { users: kinds, mut issuers } = counts;
    let users = kinds.iter().map(|kind| kind.users).sum();
    let has_moved =
        |kind: &UserCount| if kind.password_scheme.as_deref() == Some(OWN) { kind.users } else { kind.moved };
    let moved = kinds.iter().map(has_moved).sum();
    let password_hashes = kinds.into_iter().map(|kind| (kind.password_scheme, kind.users)).collect();
    let mut shown = Vec::new();
    for (name, cut_off) in configured {
        let at = issuers.iter().position(|issuer| issuer.issuer == name);
        shown.push(match at.map(|at| issuers.remove(at)) {
            Some(count) => Issuer { cut_off: Some(cut_off), ..Issuer::from(count) },
            None => Issuer { name: name.to_owned(), cut_off: Some(cut_off), tokens: 0, users: 0, latest: None },
        });
    }
    shown.extend(issuers.into_iter().map(Issuer::from));
    Migration { users, moved, left: users - moved, password_hashes, issuers: shown }
}

impl From<LegacyCount> for Issuer {
    fn from(count: LegacyCount) -> Self {
        let LegacyCount { issuer, tokens, users, latest } = count;
        Self { name: issuer, cut_off: None, tokens, users, latest: Some(latest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_moved_by_a_new_hash_or_by_a_token() {
        let kind =
            |scheme: Option<&str>, users, moved| UserCount { password_scheme: scheme.map(str::to_owned), users, moved };
        let at = Timestamp::from_seconds;
        let count = |issuer: &str, tokens| LegacyCount { issuer: issuer.into(), tokens, users: 1, latest: at(9) };
        let counts = MigrationCounts {
            issuers: vec![count("former", 2), count("node", 3)],
            users: vec![
                kind(None, 5, 1),
                kind(Some("argon2"), 6, 0),
                kind(Some("argon2id"), 7, 4),
                kind(Some("bcrypt"), 8, 3),
            ],
        };
        let report = told(counts, [("unused", at(1)), ("node", at(2))].into_iter());
        assert_eq!((report.users, report.moved, report.left), (26, 11, 15));
        let shown: Vec<_> =
            report.issuers.iter().map(|it| (it.name.as_str(), it.cut_off, it.tokens, it.latest)).collect();
        assert_eq!(
            shown,
            [("unused", Some(at(1)), 0, None), ("node", Some(at(2)), 3, Some(at(9))), ("former", None, 2, Some(at(9))),]
        );
    }
}
