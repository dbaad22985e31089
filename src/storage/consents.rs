//! The table of consents: what users have allowed clients (OpenID Connect Core section 3.1.2.4).
//!
//! Changes of one user's consents come one after the other: each locks the user's row first.

use super::ending::{self, Ending, Owner, TooMany};
use super::logins;
use super::readers::Readers;
use super::sql::{DbResult, Row, Sql, args};
use super::tx::Tx;
use super::writer::Decision;
use crate::domain::audit::AuditEvent;
use crate::domain::consent::Consent;
use crate::domain::ids::{ClientId, Sub};
use crate::domain::scope::Scope;
use crate::domain::session::EndReason;
use crate::domain::time::Timestamp;

/// What a user allows a client, beside what was allowed before.
#[derive(Clone, Debug)]
pub struct GrantConsent {
    pub sub: Sub,
    pub client_id: ClientId,
    pub scope: Scope,
    pub now: Timestamp,
    pub audit: AuditEvent,
}

/// A user takes back what a client was allowed.
#[derive(Clone, Debug)]
pub struct RevokeConsent {
    pub sub: Sub,
    pub client_id: ClientId,
    pub now: Timestamp,
    pub horizon: Timestamp,
    pub audit: AuditEvent,
}

macro_rules! select {
    ($where:literal) => {
        concat!("SELECT sub, client_id, scope, granted_at FROM consents WHERE ", $where)
    };
}

fn consent_of(row: &Row) -> DbResult<Consent> {
    Ok(Consent {
        sub: Sub::new(row.get::<&str>("sub")?),
        client_id: ClientId::new(row.get::<&str>("client_id")?),
        scope: row.parsed("scope", |text| Scope::parse(text).ok())?,
        granted_at: row.time("granted_at")?,
    })
}

const ONE: &str = select!("sub = $1 AND client_id = $2");

pub(super) async fn one(readers: &Readers, sub: &Sub, client_id: &ClientId) -> DbResult<Option<Consent>> {
    readers.fetch(ONE, args![sub, client_id]).await?.first().map(consent_of).transpose()
}

pub(super) async fn of_user(readers: &Readers, sub: &Sub) -> DbResult<Vec<Consent>> {
    const TEXT: &str = select!("sub = $1 ORDER BY granted_at DESC, client_id");
    readers.fetch(TEXT, args![sub]).await?.iter().map(consent_of).collect()
}

/// Keeps the client from being deleted until the commit.
const CLIENT: Sql = Sql {
    sqlite: "SELECT 1 AS found FROM clients WHERE client_id = $1",
    postgres: "SELECT 1 AS found FROM clients WHERE client_id = $1 FOR KEY SHARE",
};

pub(super) async fn grant(tx: &mut Tx, grant: GrantConsent) -> DbResult<Decision<Option<Consent>>> {
    const TEXT: &str = "INSERT INTO consents (sub, client_id, scope, granted_at) VALUES ($1, $2, $3, $4) \
                        ON CONFLICT (sub, client_id) DO UPDATE SET scope = excluded.scope, \
                        granted_at = excluded.granted_at";
    let GrantConsent { sub, client_id, scope, now, audit } = grant;
    let users = logins::read(tx, logins::READ_TO_WRITE, vec![sub.as_str()]).await?;
    if !users.has(&sub) || tx.fetch(CLIENT, args![&client_id]).await?.is_empty() {
        return Ok(Decision::Discard(None));
    }
    let consent = match tx.fetch(ONE, args![&sub, &client_id]).await?.first() {
        Some(row) => consent_of(row)?.widened(&scope, now),
        None => Consent { sub, client_id, scope, granted_at: now },
    };
    let args = args![&consent.sub, &consent.client_id, consent.scope.to_string(), consent.granted_at];
    tx.execute(TEXT, args).await?;
    tx.record(&[audit])?;
    Ok(Decision::Keep(Some(consent)))
}

/// Removes a consent, and ends what the client got by it.
pub(super) async fn revoke(tx: &mut Tx, revocation: RevokeConsent) -> DbResult<Decision<Result<Option<u64>, TooMany>>> {
    const TEXT: &str = "DELETE FROM consents WHERE sub = $1 AND client_id = $2";
    let RevokeConsent { sub, client_id, now, horizon, audit } = revocation;
    logins::read(tx, logins::READ_TO_WRITE, vec![sub.as_str()]).await?;
    if tx.execute(TEXT, args![&sub, &client_id]).await? == 0 {
        return Ok(Decision::Discard(Ok(None)));
    }
    let ending = Ending { reason: EndReason::ConsentRevoked, now, horizon };
    match ending::end_all(tx, Owner::Consent { sub, client_id }, ending).await? {
        Ok(ended) => {
            tx.record(&[audit])?;
            Ok(Decision::Keep(Ok(Some(ended.len() as u64))))
        }
        Err(many) => Ok(Decision::Discard(Err(many))),
    }
}

/// Removes consents that were given to a client, and answers how many.
pub(super) async fn forget_of_client(tx: &mut Tx, client_id: &ClientId, limit: u32) -> DbResult<u64> {
    const TEXT: &str = "DELETE FROM consents WHERE (sub, client_id) IN \
                        (SELECT sub, client_id FROM consents WHERE client_id = $1 LIMIT $2)";
    tx.execute(TEXT, args![client_id, limit]).await
}
