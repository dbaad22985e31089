//! Sealing every stored key and every sealed client secret anew under the current master key, so that an earlier one can
//! be put away.

use super::super::{ATTEMPTS, contended};
use crate::context::Context;
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::client::{Client, SecretHash};
use crate::domain::error::OAuthError;
use crate::domain::key::KeyTable;
use crate::keys::seal::{SealError, client_secret_name, refresh_name, signing_name};
use crate::storage::{ChangeOutcome, ClientEffects, KeyCommit, KeyWrite};

/// Seals anew what an earlier master key had sealed, and answers how many rows that were: the keys all in one transaction,
/// then each client in one of its own. Cut short, it goes on from there when it is called again.
///
/// # Errors
/// A row is sealed under a master key that is not at hand. The database does not answer.
pub async fn reseal(ctx: &Context, actor: Actor) -> Result<usize, OAuthError> {
    let keys = reseal_keys(ctx, &actor).await?;
    Ok(keys + reseal_clients(ctx, &actor).await?)
}

async fn reseal_keys(ctx: &Context, actor: &Actor) -> Result<usize, OAuthError> {
    for _ in 0..ATTEMPTS {
        let table = ctx.store.keys().await?;
        let writes = resealed(ctx, &table).map_err(OAuthError::internal)?;
        if writes.is_empty() {
            return Ok(0);
        }
        let rows = writes.len();
        let audit = event(ctx, actor, rows);
        if let KeyCommit::Committed(_) = ctx.store.commit_keys(table.revision, writes, vec![audit]).await? {
            ctx.replica.reload_keys().await?;
            return Ok(rows);
        }
    }
    Err(contended())
}

/// Clients whose secret is sealed are few: those that sign with it.
async fn reseal_clients(ctx: &Context, actor: &Actor) -> Result<usize, OAuthError> {
    let mut rows = 0;
    for _ in 0..ATTEMPTS {
        let mut is_whole = true;
        for client in ctx.store.clients().await?.1 {
            let Some(next) = resealed_client(ctx, &client).map_err(OAuthError::internal)? else { continue };
            let audit = event(ctx, actor, 1).about_client(&client.client_id);
            let effects = ClientEffects { revoke_tokens_before: None, now: ctx.now(), horizon: ctx.horizon(), audit };
            match ctx.store.change_client(next, effects).await? {
                ChangeOutcome::Changed => rows += 1,
                ChangeOutcome::NotFound => {}
                // Somebody changed it in between.
                ChangeOutcome::Conflict | ChangeOutcome::Exists(_) | ChangeOutcome::LastAdmin => is_whole = false,
            }
        }
        if is_whole {
            ctx.replica.reload_clients().await?;
            return Ok(rows);
        }
    }
    Err(contended())
}

fn event(ctx: &Context, actor: &Actor, rows: usize) -> AuditEvent {
    let detail = serde_json::json!({ "master_key": ctx.masters.current.id(), "rows": rows });
    ctx.audit(AuditType::MasterKeyRotated, actor.clone()).detail(detail)
}

fn resealed_client(ctx: &Context, client: &Client) -> Result<Option<Client>, SealError> {
    let name = client_secret_name(&client.client_id);
    let mut next = client.clone();
    let mut is_changed = false;
    for secret in &mut next.secrets {
        if let SecretHash::Sealed { sealed, .. } = &mut secret.hash
            && let Some(anew) = ctx.masters.reseal(&*ctx.entropy, &name, sealed)?
        {
            *sealed = anew;
            is_changed = true;
        }
    }
    Ok(is_changed.then_some(next))
}

fn resealed(ctx: &Context, table: &KeyTable) -> Result<Vec<KeyWrite>, SealError> {
    let mut writes = Vec::new();
    for key in &table.signing {
        let Some(sealed) = &key.sealed_private else { continue };
        if let Some(anew) = ctx.masters.reseal(&*ctx.entropy, &signing_name(&key.kid), sealed)? {
            let mut key = key.clone();
            key.sealed_private = Some(anew);
            writes.push(KeyWrite::UpdateSigning(key));
        }
    }
    for key in &table.refresh {
        if let Some(anew) = ctx.masters.reseal(&*ctx.entropy, &refresh_name(key.version), &key.sealed)? {
            let mut key = key.clone();
            key.sealed = anew;
            writes.push(KeyWrite::UpdateRefresh(key));
        }
    }
    Ok(writes)
}
