//! `/admin/v1/migration`

use std::collections::BTreeMap;
use std::sync::Arc;

use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::{Topic, caller};
use crate::admin::migration::{self, Issuer};
use crate::app::App;
use crate::domain::origin::Origin;
use crate::http::authorization::{AdminScope, Bearer};
use crate::http::error::MetricsFailure;
use crate::http::json::Answer;
use crate::http::moment::Moment;

/// How far a system that moves in has come.
#[derive(Debug, Object)]
#[oai(example)]
struct Migration {
    /// All users.
    users: u64,
    /// Those whose password hash is Latchkey's own, or who have exchanged a token of a legacy issuer.
    moved: u64,
    /// The others: they have to log in once more, with a password that Latchkey knows.
    left: u64,
    /// Users by how their password hash begins, such as `argon2id` (Latchkey's own), `pbkdf2_sha256` or `bcrypt`; `none`
    /// for those without a password.
    password_hashes: BTreeMap<String, u64>,
    legacy_issuers: Vec<LegacyIssuer>,
}

/// A system whose tokens are taken, or were.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct LegacyIssuer {
    name: String,
    /// Until when its tokens are taken; absent where it is not configured any more.
    cut_off: Option<Moment>,
    /// Its tokens that were exchanged, until some time after the cut-off.
    tokens: u64,
    /// The users who exchanged them.
    users: u64,
    /// When one was exchanged last.
    latest: Option<Moment>,
}

impl Example for Migration {
    fn example() -> Self {
        let hashes = [("argon2id", 5_120), ("pbkdf2_sha256", 3_800), ("none", 80)];
        Self {
            users: 9_000,
            moved: 6_400,
            left: 2_600,
            password_hashes: hashes.map(|(name, count)| (name.to_owned(), count)).into(),
            legacy_issuers: vec![LegacyIssuer {
                name: "django".into(),
                cut_off: Some(Moment::example("2027-03-01T00:00:00Z")),
                tokens: 2_150,
                users: 1_900,
                latest: Some(Moment::example("2027-01-31T09:30:00Z")),
            }],
        }
    }
}

impl From<Issuer> for LegacyIssuer {
    fn from(issuer: Issuer) -> Self {
        let Issuer { name, cut_off, tokens, users, latest } = issuer;
        Self { name, cut_off: cut_off.map(Into::into), tokens, users, latest: latest.map(Into::into) }
    }
}

impl From<migration::Migration> for Migration {
    fn from(report: migration::Migration) -> Self {
        let named = |(scheme, count): (Option<String>, u64)| (scheme.unwrap_or_else(|| "none".into()), count);
        Self {
            users: report.users,
            moved: report.moved,
            left: report.left,
            password_hashes: report.password_hashes.into_iter().map(named).collect(),
            legacy_issuers: report.issuers.into_iter().map(Into::into).collect(),
        }
    }
}

/// Watching a migration.
pub struct MigrationApi {
    app: Arc<App>,
}

impl MigrationApi {
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

#[OpenApi(prefix_path = "/admin/v1", tag = "Topic::Users")]
impl MigrationApi {
    /// See how many users have moved in
    ///
    /// Counted when it is asked for: of a million users it takes about a second.
    #[oai(path = "/migration", method = "get", operation_id = "getMigration")]
    async fn show(
        &self,
        #[oai(scope = "AdminScope::UsersRead")] bearer: Bearer,
        origin: Origin,
    ) -> Result<Answer<Migration>, MetricsFailure> {
        caller(&self.app, &bearer, "admin:users:read", &origin).await?;
        Ok(Answer(migration::report(&self.app.context).await?.into()))
    }
}
