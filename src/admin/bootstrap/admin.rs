//! The built-in client `latchkey-admin`: made at the first start, and given a new secret by `latchkey admin recover`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::admin::{ATTEMPTS, AdminCaller, contended};
use crate::context::Context;
use crate::credentials::{Credentials, secrets};
use crate::domain::audit::AuditType;
use crate::domain::client::{AuthMethod, Client, ClientSecret, GrantType};
use crate::domain::client_keys::ClientKeys;
use crate::domain::error::OAuthError;
use crate::domain::ids::{BUILT_IN_ADMIN, ClientId};
use crate::domain::key::Alg;
use crate::domain::scope::Scope;
use crate::domain::secret::{SecretText, same, sha256};
use crate::storage::{ChangeOutcome, ClientEffects, CreateOutcome};

/// The note that tells whether the built-in admin was ever made, and with which secret: the SHA-256 of the secret,
/// sealed under the master key. So a configured secret is recognised without a slow hash, and a copy of the database
/// tells nothing of it.
const NOTE: &str = "bootstrap.admin_secret";

/// What became of `bootstrap.admin_secret`.
#[derive(Debug, PartialEq, Eq)]
pub enum AdminSecret {
    /// First start without a given one: this was drawn, and is shown this once.
    Created(SecretText),
    /// First start with the given one.
    Given,
    /// The client was there before.
    Unchanged,
    /// The client was there before, with another secret than the one given now: that is ignored, with a warning.
    IgnoredChange,
}

/// Makes `latchkey-admin` at the first start, and never again: once removed it stays removed.
///
/// # Errors
/// The given secret is too short. The database does not answer.
pub async fn ensure_admin(
    ctx: &Context,
    credentials: &Credentials,
    given: Option<SecretText>,
) -> Result<AdminSecret, OAuthError> {
    let note = ctx.store.note(NOTE).await?;
    let there = note.is_some() || ctx.store.client(&ClientId::new(BUILT_IN_ADMIN)).await?.is_some();
    if there {
        return recognise(ctx, note, given).await;
    }
    let (hash, secret) = match &given {
        Some(given) => (secrets::hash_chosen(credentials, given).await?, given.clone()),
        None => {
            let drawn = secrets::draw(ctx.entropy.as_ref());
            (secrets::hash_drawn(&drawn), drawn)
        }
    };
    let client = admin(ctx, ClientSecret { hash, created_at: ctx.now(), expires_at: None });
    let audit = ctx.audit(AuditType::ClientCreated, operator("bootstrap").actor).about_client(&client.client_id);
    match ctx.store.create_client(client, audit).await? {
        CreateOutcome::Created => {
            ctx.store.set_note(NOTE, &fingerprint(ctx, &secret)).await?;
            ctx.replica.reload_clients().await?;
            Ok(if given.is_some() { AdminSecret::Given } else { AdminSecret::Created(secret) })
        }
        // Another node was faster, and tells the secret.
        CreateOutcome::Exists => Ok(AdminSecret::Unchanged),
    }
}

async fn recognise(ctx: &Context, note: Option<String>, given: Option<SecretText>) -> Result<AdminSecret, OAuthError> {
    let sealed = note.and_then(|note| STANDARD.decode(note).ok());
    if let Some(sealed) = &sealed
        && let Ok(Some(anew)) = ctx.masters.reseal(ctx.entropy.as_ref(), NOTE, sealed)
    {
        // The master key was rotated; the previous one will not be at hand for ever.
        ctx.store.set_note(NOTE, &STANDARD.encode(anew)).await?;
    }
    let Some(given) = given else { return Ok(AdminSecret::Unchanged) };
    let known = sealed.and_then(|sealed| ctx.masters.open(NOTE, &sealed).ok());
    let is_known = known.is_some_and(|known| same(&known, &sha256(given.expose().as_bytes())));
    Ok(if is_known { AdminSecret::Unchanged } else { AdminSecret::IgnoredChange })
}

fn fingerprint(ctx: &Context, secret: &SecretText) -> String {
    let hash = sha256(secret.expose().as_bytes());
    STANDARD.encode(ctx.masters.seal(ctx.entropy.as_ref(), NOTE, &hash))
}

fn admin(ctx: &Context, secret: ClientSecret) -> Client {
    Client {
        client_name: "Latchkey administration".into(),
        secrets: vec![secret],
        ..restored(&Client::blank(ClientId::new(BUILT_IN_ADMIN), ctx.now()))
    }
}

/// The built-in admin with everything that an admin call needs.
fn restored(client: &Client) -> Client {
    Client {
        auth_method: AuthMethod::ClientSecretBasic,
        keys: ClientKeys::default(),
        grant_types: vec![GrantType::ClientCredentials],
        scope: Scope::parse("admin").unwrap_or_default(),
        access_token_alg: Alg::ES256,
        id_token_alg: Alg::RS256,
        userinfo_alg: None,
        // Empty is the issuer, which is what the admin API takes.
        audience: Vec::new(),
        // Without the grant type that they belong to, they would contradict the rest.
        redirect_uris: Vec::new(),
        post_logout_redirect_uris: Vec::new(),
        disabled: false,
        ..client.clone()
    }
}

fn operator(who: &str) -> AdminCaller {
    AdminCaller::operator(who)
}

/// Gives `latchkey-admin` a new secret and everything it needs, and makes it again where it was removed. Its earlier
/// secrets end at once and its access tokens turn inactive: who recovers may have lost them to somebody.
///
/// # Errors
/// The database does not answer.
pub async fn recover(ctx: &Context) -> Result<SecretText, OAuthError> {
    let text = secrets::draw(ctx.entropy.as_ref());
    let secret = ClientSecret { hash: secrets::hash_drawn(&text), created_at: ctx.now(), expires_at: None };
    for _ in 0..ATTEMPTS {
        if replace(ctx, secret.clone()).await? {
            ctx.store.set_note(NOTE, &fingerprint(ctx, &text)).await?;
            ctx.replica.reload_clients().await?;
            return Ok(text);
        }
    }
    Err(contended())
}

/// Whether it is written; `false` asks for another attempt.
async fn replace(ctx: &Context, secret: ClientSecret) -> Result<bool, OAuthError> {
    let id = ClientId::new(BUILT_IN_ADMIN);
    let now = ctx.now();
    let audit = ctx.audit(AuditType::AdminRecovered, operator("shell").actor).about_client(&id);
    let Some(base) = ctx.store.client(&id).await? else {
        return Ok(ctx.store.create_client(admin(ctx, secret), audit).await? == CreateOutcome::Created);
    };
    let next = Client { secrets: vec![secret], updated_at: now, ..restored(&base) };
    let before = now.plus(std::time::Duration::from_millis(1));
    let effects = ClientEffects { revoke_tokens_before: Some(before), now, horizon: ctx.horizon(), audit };
    Ok(ctx.store.change_client(next, effects).await? == ChangeOutcome::Changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn the_restored_admin_is_a_full_admin() {
        let mut broken = Client::blank(ClientId::new(BUILT_IN_ADMIN), Timestamp::from_seconds(1));
        broken.disabled = true;
        broken.audience = vec!["https://api.example.com".into()];
        broken.redirect_uris = vec!["com.example.app:/callback".into()];
        broken.version = 7;
        let restored = restored(&broken);
        assert!(restored.is_full_admin() && !restored.is_public());
        assert!(restored.audience.is_empty() && restored.redirect_uris.is_empty());
        assert_eq!(restored.version, 7, "the change is planned on what was read");
    }
}
