//! Users that come in many at a time: two statements that look who is here, one that writes the others, one for the
//! trail.

use serde::Serialize;

use super::readers::Readers;
use super::sql::{DbError, DbResult, JsonRows, Row, Sql, args, from_json};
use super::tx::Tx;
use super::users::json_of;
use super::writer::Decision;
use super::{ImportUsers, Imported};
use crate::domain::audit::AuditEvent;
use crate::domain::ids::Sub;
use crate::domain::newcomers::{Known, Residents, Verdict};
use crate::domain::user::User;

/// Looks each name of `$1` up, and reads no user who is not asked for. `CROSS JOIN` tells SQLite so. PostgreSQL would plan
/// for the few users there are when the first batch comes in, and read the whole table for every batch after it; a
/// `LIMIT` within leaves it nothing but the index.
macro_rules! of_names {
    ($column:literal) => {
        Sql {
            sqlite: concat!(
                "SELECT u.sub, u.username_key, u.external_id FROM json_each($1) AS j CROSS JOIN users AS u WHERE u.",
                $column,
                " = j.value"
            ),
            postgres: concat!(
                "SELECT u.sub, u.username_key, u.external_id FROM json_array_elements_text($1::json) AS j(name) \
                 CROSS JOIN LATERAL (SELECT * FROM users WHERE ",
                $column,
                " = j.name LIMIT 1) AS u"
            ),
        }
    };
}

const OF_USERNAMES: Sql = of_names!("username_key");
const OF_EXTERNAL_IDS: Sql = of_names!("external_id");

/// SQLite needs the `WHERE` to tell a conflict clause from a join.
const INSERT: Sql = from_json!(
    "INSERT INTO users (sub, username, username_key, external_id, password_hash, claims, attributes, admin_scopes, \
     disabled, created_at, updated_at, version, credential_epoch) \
     SELECT sub, username, username_key, external_id, password_hash, claims, attributes, admin_scopes, \
     disabled, created_at, updated_at, version, credential_epoch FROM ",
    [
        sub text, username text, username_key text, external_id text, password_hash text, claims text, attributes text,
        admin_scopes text, disabled bigint, created_at bigint, updated_at bigint, version bigint,
        credential_epoch bigint
    ],
    " WHERE true ON CONFLICT DO NOTHING"
);

#[derive(Serialize)]
struct UserRow<'a> {
    sub: &'a str,
    username: &'a str,
    username_key: &'a str,
    external_id: Option<&'a str>,
    password_hash: Option<&'a str>,
    claims: String,
    attributes: String,
    admin_scopes: String,
    disabled: i64,
    created_at: i64,
    updated_at: i64,
    version: i64,
    credential_epoch: i64,
}

impl<'a> From<&'a User> for UserRow<'a> {
    fn from(user: &'a User) -> Self {
        Self {
            sub: user.sub.as_str(),
            username: &user.username,
            username_key: &user.username_key,
            external_id: user.external_id.as_deref(),
            password_hash: user.password_hash.as_deref(),
            claims: json_of(&user.claims),
            attributes: json_of(&user.attributes),
            admin_scopes: user.admin_scopes.to_string(),
            disabled: user.disabled.into(),
            created_at: user.created_at.millis(),
            updated_at: user.updated_at.millis(),
            version: user.version,
            credential_epoch: user.credential_epoch,
        }
    }
}

fn usernames(users: &[User]) -> DbResult<JsonRows> {
    JsonRows::of(users.iter().map(|user| &user.username_key))
}

fn external_ids(users: &[User]) -> DbResult<JsonRows> {
    JsonRows::of(users.iter().filter_map(|user| user.external_id.as_deref()))
}

fn residents(rows: impl IntoIterator<Item = Row>) -> DbResult<Residents> {
    let mut residents = Residents::default();
    for row in rows {
        residents.add(Known {
            sub: Sub::new(row.get::<&str>("sub")?),
            username_key: row.get("username_key")?,
            external_id: row.get("external_id")?,
        });
    }
    Ok(residents)
}

/// What would become of the users now.
pub(super) async fn rehearse(readers: &Readers, users: &[User]) -> DbResult<Vec<Verdict>> {
    let asked = [(OF_USERNAMES, args![usernames(users)?]), (OF_EXTERNAL_IDS, args![external_ids(users)?])];
    let rows = readers.fetch_snapshot(&asked).await?;
    Ok(residents(rows.into_iter().flatten())?.judge(users))
}

/// Writes those who are new. Nothing is written where nobody is, nor where another node was faster with one of them:
/// what is then true shows at the next try.
pub(super) async fn import(tx: &mut Tx, job: ImportUsers) -> DbResult<Decision<Vec<Verdict>>> {
    let mut here = tx.fetch(OF_USERNAMES, args![usernames(&job.users)?]).await?;
    here.extend(tx.fetch(OF_EXTERNAL_IDS, args![external_ids(&job.users)?]).await?);
    let verdicts = residents(here)?.judge(&job.users);

    let mut rows = JsonRows::default();
    let mut trail: Vec<AuditEvent> = Vec::new();
    for (user, _) in job.users.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == Verdict::New) {
        rows.push(&UserRow::from(user))?;
        // Rights that are handed out are entries of their own, as everywhere.
        trail.extend(job.granted.iter().find(|event| event.sub.as_ref() == Some(&user.sub)).cloned());
    }
    if rows.is_empty() {
        return Ok(Decision::Discard(verdicts));
    }
    let new = rows.len() as u64;
    if tx.execute(INSERT, args![rows]).await? != new {
        return Err(DbError::Contended);
    }
    let counts = Imported::of(&verdicts);
    let mut audit = job.audit;
    if let Some(detail) = audit.detail.as_object_mut() {
        detail.insert("created".into(), counts.created.into());
        detail.insert("exists".into(), counts.exists.into());
        detail.insert("taken".into(), counts.taken.into());
    }
    trail.push(audit);
    tx.record(&trail)?;
    Ok(Decision::Keep(verdicts))
}
