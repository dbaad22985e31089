//! Sealing every stored key anew under the current master key, so that an earlier one can be put away.

use super::super::{ATTEMPTS, contended};
use crate::context::Context;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::OAuthError;
use crate::domain::key::KeyTable;
use crate::keys::seal::{SealError, refresh_name, signing_name};
use crate::storage::{KeyCommit, KeyWrite};

/// Seals anew what an earlier master key had sealed, all in one transaction, and answers how many rows that were.
///
/// # Errors
/// A row is sealed under a master key that is not at hand. The database does not answer.
pub async fn reseal(ctx: &Context, actor: Actor) -> Result<usize, OAuthError> {
    for _ in 0..ATTEMPTS {
        let table = ctx.store.keys().await?;
        let writes = resealed(ctx, &table).map_err(OAuthError::internal)?;
        if writes.is_empty() {
            return Ok(0);
        }
        let rows = writes.len();
        let audit = ctx.audit(AuditType::MasterKeyRotated, actor.clone());
        let detail = serde_json::json!({ "master_key": ctx.masters.current.id(), "rows": rows });
        if let KeyCommit::Committed(_) =
            ctx.store.commit_keys(table.revision, writes, vec![audit.detail(detail)]).await?
        {
            ctx.replica.reload_keys().await?;
            return Ok(rows);
        }
    }
    Err(contended())
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
