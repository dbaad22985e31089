//! The clients table. Every change grows its revision in the same transaction, which is how nodes that hold clients in
//! memory notice.

use super::cursor::Cursor;
use super::ending::{self, Ending, Owner, TooMany};
use super::readers::Readers;
use super::sql::{DbError, DbResult, Row, args};
use super::tx::Tx;
use super::writer::Decision;
use super::{ChangeOutcome, ClientEffects, CreateOutcome, Listed, Page};
use crate::domain::audit::AuditEvent;
use crate::domain::client::Client;
use crate::domain::ids::ClientId;
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::session::EndReason;

/// Grows the revision. On PostgreSQL the row stays locked until the commit, so changes of clients come one after the
/// other: of two that would each remove one of the last two full admins, the second sees what the first did.
async fn grow_revision(tx: &mut Tx) -> DbResult<()> {
    tx.execute("UPDATE revisions SET value = value + 1 WHERE name = 'clients'", args![]).await?;
    tx.make_news();
    Ok(())
}

fn client_of(row: &Row) -> DbResult<Client> {
    let mut client: Client = row.json("body")?;
    client.version = row.get("version")?;
    Ok(client)
}

fn body_of(client: &Client) -> DbResult<String> {
    serde_json::to_string(client).map_err(|error| DbError::Row(error.to_string()))
}

pub(super) async fn one(readers: &Readers, client_id: &ClientId) -> DbResult<Option<Client>> {
    const TEXT: &str = "SELECT body, version FROM clients WHERE client_id = $1";
    readers.fetch(TEXT, args![client_id]).await?.first().map(client_of).transpose()
}

/// All clients and the revision, of one moment.
pub(super) async fn all(readers: &Readers) -> DbResult<(i64, Vec<Client>)> {
    const TEXT: &str = "SELECT revisions.value AS revision, clients.body, clients.version \
                        FROM revisions LEFT JOIN clients ON true WHERE revisions.name = 'clients'";
    let rows = readers.fetch(TEXT, args![]).await?;
    let revision =
        rows.first().ok_or_else(|| DbError::Row("there is no revision of clients".into()))?.get("revision")?;
    let mut clients = Vec::with_capacity(rows.len());
    for row in &rows {
        // The one row of an outer join that found nothing.
        if row.get::<Option<&str>>("body")?.is_some() {
            clients.push(client_of(row)?);
        }
    }
    Ok((revision, clients))
}

/// A page, oldest first.
pub(super) async fn list(readers: &Readers, page: Page) -> DbResult<Listed<Client>> {
    const TEXT: &str = "SELECT body, version FROM clients WHERE (created_at, client_id) > ($1, $2) \
                        ORDER BY created_at, client_id LIMIT $3";
    let Some(start) = page.start(Cursor::lowest()) else { return Ok(Listed::empty()) };
    let rows = readers.fetch(TEXT, args![start.number, start.id, page.probe()]).await?;
    page.cut(&rows, client_of, |client| Cursor { number: client.created_at.millis(), id: client.client_id.to_string() })
}

pub(super) async fn create(tx: &mut Tx, client: Client, audit: AuditEvent) -> DbResult<Decision<CreateOutcome>> {
    const TEXT: &str = "INSERT INTO clients (client_id, body, full_admin, created_at, version) \
                        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    grow_revision(tx).await?;
    let body = body_of(&client)?;
    let args = args![&client.client_id, body, client.is_full_admin(), client.created_at, client.version];
    if tx.execute(TEXT, args).await? == 0 {
        return Ok(Decision::Discard(CreateOutcome::Exists));
    }
    tx.record(&[audit])?;
    Ok(Decision::Keep(CreateOutcome::Created))
}

pub(super) async fn change(tx: &mut Tx, client: Client, effects: ClientEffects) -> DbResult<Decision<ChangeOutcome>> {
    const TEXT: &str = "UPDATE clients SET body = $3, full_admin = $4, version = version + 1 \
                        WHERE client_id = $1 AND version = $2";
    let admins = lock_and_count(tx).await?;
    let args = args![&client.client_id, client.version, body_of(&client)?, client.is_full_admin()];
    if tx.execute(TEXT, args).await? == 0 {
        return Ok(Decision::Discard(missed(tx, &client.client_id).await?));
    }
    if admins > 0 && count_full_admins(tx).await? == 0 {
        return Ok(Decision::Discard(ChangeOutcome::LastAdmin));
    }
    carry_out(tx, &client.client_id, effects)?;
    Ok(Decision::Keep(ChangeOutcome::Changed))
}

pub(super) async fn delete(
    tx: &mut Tx,
    client_id: ClientId,
    version: i64,
    effects: ClientEffects,
) -> DbResult<Decision<Result<ChangeOutcome, TooMany>>> {
    const TEXT: &str = "DELETE FROM clients WHERE client_id = $1 AND version = $2";
    let admins = lock_and_count(tx).await?;
    if tx.execute(TEXT, args![&client_id, version]).await? == 0 {
        return Ok(Decision::Discard(Ok(missed(tx, &client_id).await?)));
    }
    if admins > 0 && count_full_admins(tx).await? == 0 {
        return Ok(Decision::Discard(Ok(ChangeOutcome::LastAdmin)));
    }
    let ending = Ending { reason: EndReason::ClientDeleted, now: effects.now, horizon: effects.horizon };
    if let Err(many) = ending::end_all(tx, Owner::Client(client_id.clone()), ending).await? {
        return Ok(Decision::Discard(Err(many)));
    }
    carry_out(tx, &client_id, effects)?;
    Ok(Decision::Keep(Ok(ChangeOutcome::Changed)))
}

/// Locks out other changes of clients, and counts the full admins as they are then.
async fn lock_and_count(tx: &mut Tx) -> DbResult<i64> {
    grow_revision(tx).await?;
    count_full_admins(tx).await
}

async fn count_full_admins(tx: &mut Tx) -> DbResult<i64> {
    let rows = tx.fetch("SELECT count(*) AS admins FROM clients WHERE full_admin = 1", args![]).await?;
    rows.first().map_or(Ok(0), |row| row.get("admins"))
}

/// Why a guarded statement found no row.
async fn missed(tx: &mut Tx, client_id: &ClientId) -> DbResult<ChangeOutcome> {
    let rows = tx.fetch("SELECT 1 AS found FROM clients WHERE client_id = $1", args![client_id]).await?;
    Ok(if rows.is_empty() { ChangeOutcome::NotFound } else { ChangeOutcome::Conflict })
}

fn carry_out(tx: &mut Tx, client_id: &ClientId, effects: ClientEffects) -> DbResult<()> {
    if let Some(minted_before) = effects.revoke_tokens_before {
        let what = Revoked::Client { client_id: client_id.clone(), minted_before };
        tx.revoke(vec![Revocation { what, expires_at: effects.horizon }])?;
    }
    tx.record(&[effects.audit])
}
