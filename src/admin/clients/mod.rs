//! Registering clients (RFC 7591 names), changing and removing them, and their secrets.

mod keys;
mod origins;
pub mod secrets;
pub mod spec;

use serde_json::json;

pub use secrets::{SecretRotation, rotate_secret};
use spec::{Bounds, ClientSpec};

use super::rights::{loses_admin, may_grant, may_touch};
use super::{ATTEMPTS, AdminCaller, contended, last_admin, not_found, page};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::audit::AuditType;
use crate::domain::client::{AuthMethod, Client};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::ClientId;
use crate::domain::scope::Scope;
use crate::domain::secret::SecretText;
use crate::domain::time::Timestamp;
use crate::storage::{ChangeOutcome, ClientEffects, CreateOutcome, Listed};

/// A client, and its secret where this call drew one: the only time it is shown.
#[derive(Clone, Debug)]
pub struct Registered {
    pub client: Client,
    pub secret: Option<SecretText>,
}

/// Registers a client.
///
/// # Errors
/// [`Code::InvalidClientMetadata`]: a member is refused. [`Code::InsufficientScope`]: it would hold an `admin*` scope
/// that the caller lacks. [`Code::Conflict`]: the `client_id` is taken. The database does not answer.
pub async fn create(
    ctx: &Context,
    credentials: &Credentials,
    caller: &AdminCaller,
    spec: &ClientSpec,
) -> Result<Registered, OAuthError> {
    let id = spec.given_id()?.unwrap_or_else(|| ClientId::generate(ctx.entropy.as_ref()));
    let mut client = spec.applied_to(&Client::blank(id, ctx.now()), bounds(ctx))?;
    let granted = may_grant(&caller.scope, &Scope::default(), &client.scope);
    caller.audited(ctx, granted).await?;
    let mut drawn = None;
    if client.auth_method.has_secret() {
        let given = spec.given_secret()?;
        let (secret, shown) = secrets::given_or_drawn(ctx, credentials, given).await?;
        client.secrets = vec![secret.kept_for(ctx, &client)];
        drawn = shown;
    }
    let audit = ctx.audit(AuditType::ClientCreated, caller.actor.clone()).about_client(&client.client_id).detail(
        json!({ "scope": client.scope, "grant_types": client.grant_types, "redirect_uris": client.redirect_uris }),
    );
    match ctx.store.create_client(client.clone(), audit).await? {
        CreateOutcome::Created => {
            ctx.replica.reload_clients().await?;
            Ok(Registered { client, secret: drawn })
        }
        CreateOutcome::Exists => Err(OAuthError::new(
            Code::Conflict,
            format!(
                "there is a client {:?} already; change it with PATCH, or choose another client_id",
                client.client_id
            ),
        )),
    }
}

/// One page of the registered clients.
///
/// # Errors
/// [`Code::InvalidRequest`]: the limit or cursor is none. The database does not answer.
pub async fn list(ctx: &Context, after: Option<String>, limit: Option<u32>) -> Result<Listed<Client>, OAuthError> {
    Ok(ctx.store.list_clients(page(after, limit)?).await?)
}

/// One client, read from the database.
///
/// # Errors
/// [`Code::NotFound`]. The database does not answer.
pub async fn show(ctx: &Context, client_id: &str) -> Result<Client, OAuthError> {
    ctx.store.client(&ClientId::new(client_id)).await?.ok_or_else(|| not_found("client"))
}

/// Merges a body into a client (RFC 7396): absent members stay, `null` is the default.
///
/// A client that had no secret and now needs one gets it, and the answer shows it; so does one that is changed to or from
/// `client_secret_jwt`, whose secret is kept in another way than all others. Disabling a client, and taking an `admin*`
/// scope from it, make every access token it has inactive for good.
///
/// # Errors
/// [`Code::InvalidClientMetadata`], [`Code::NotFound`], [`Code::InsufficientScope`]: it holds, or would hold, an
/// `admin*` scope that the caller lacks. [`Code::Conflict`]: no full admin would be left. The database does not answer.
pub async fn patch(
    ctx: &Context,
    caller: &AdminCaller,
    client_id: &str,
    spec: &ClientSpec,
) -> Result<Registered, OAuthError> {
    refuse_fixed_members(client_id, spec)?;
    let mut drawn = None;
    let client = change(ctx, caller, client_id, AuditType::ClientUpdated, |base| {
        let mut next = spec.applied_to(base, bounds(ctx))?;
        may_grant(&caller.scope, &base.scope, &next.scope)?;
        // One that an earlier attempt drew was never written.
        drawn = None;
        let is_sealed = |client: &Client| client.auth_method == AuthMethod::ClientSecretJwt;
        if !next.auth_method.has_secret() {
            next.secrets.clear();
        } else if next.secrets.is_empty() || is_sealed(base) != is_sealed(&next) {
            let (secret, text) = secrets::draw(ctx);
            next.secrets = vec![secret.kept_for(ctx, &next)];
            drawn = Some(text);
        }
        Ok(next)
    })
    .await?;
    Ok(Registered { client, secret: drawn })
}

fn refuse_fixed_members(client_id: &str, spec: &ClientSpec) -> Result<(), OAuthError> {
    if spec.client_id.as_ref().value().is_some_and(|id| id != client_id) {
        return Err(OAuthError::new(
            Code::InvalidClientMetadata,
            "a client_id never changes; make a new client and delete this one",
        ));
    }
    if spec.client_secret.is_present() {
        return Err(OAuthError::new(
            Code::InvalidClientMetadata,
            format!("a secret is changed by POST /admin/v1/clients/{client_id}/secret, which lets the old one overlap"),
        ));
    }
    Ok(())
}

/// Removes a client; its sessions end and its access tokens turn inactive.
///
/// # Errors
/// [`Code::NotFound`]. [`Code::InsufficientScope`]: it holds an `admin*` scope that the caller lacks.
/// [`Code::Conflict`]: no full admin would be left. The database does not answer.
pub async fn delete(ctx: &Context, caller: &AdminCaller, client_id: &str) -> Result<(), OAuthError> {
    let id = ClientId::new(client_id);
    for _ in 0..ATTEMPTS {
        let client = show(ctx, client_id).await?;
        caller.audited(ctx, may_touch(&caller.scope, &client.scope)).await?;
        let effects = ClientEffects {
            revoke_tokens_before: Some(after_now(ctx)),
            now: ctx.now(),
            horizon: ctx.horizon(),
            audit: ctx.audit(AuditType::ClientDeleted, caller.actor.clone()).about_client(&id),
        };
        let outcome = ctx.store.delete_client(&id, client.version, effects).await?;
        if settled(outcome)? {
            ctx.replica.reload_clients().await?;
            return Ok(());
        }
    }
    Err(contended())
}

/// Plans and writes a change of one client, again while somebody else is faster. Answers the client as it is now.
async fn change(
    ctx: &Context,
    caller: &AdminCaller,
    client_id: &str,
    kind: AuditType,
    mut plan: impl FnMut(&Client) -> Result<Client, OAuthError>,
) -> Result<Client, OAuthError> {
    for _ in 0..ATTEMPTS {
        let base = show(ctx, client_id).await?;
        let planned = may_touch(&caller.scope, &base.scope).and_then(|()| plan(&base));
        let mut next = caller.audited(ctx, planned).await?;
        next.updated_at = ctx.now();
        let outcome = ctx.store.change_client(next.clone(), effects(ctx, caller, kind, &base, &next)).await?;
        if settled(outcome)? {
            ctx.replica.reload_clients().await?;
            return Ok(next);
        }
    }
    Err(contended())
}

fn effects(ctx: &Context, caller: &AdminCaller, kind: AuditType, base: &Client, next: &Client) -> ClientEffects {
    let must_stop = (next.disabled && !base.disabled) || loses_admin(&base.scope, &next.scope);
    let mut detail = json!({ "changed": ClientSpec::changed(base, next) });
    if base.scope != next.scope {
        detail["scope"] = json!({ "from": base.scope, "to": next.scope });
    }
    // Where codes went for a while must be known even after somebody has put it back.
    if base.redirect_uris != next.redirect_uris {
        detail["redirect_uris"] = json!({ "from": base.redirect_uris, "to": next.redirect_uris });
    }
    ClientEffects {
        revoke_tokens_before: must_stop.then(|| after_now(ctx)),
        now: ctx.now(),
        horizon: ctx.horizon(),
        audit: ctx.audit(kind, caller.actor.clone()).about_client(&base.client_id).detail(detail),
    }
}

/// Whether the change is written; `false` asks for another attempt.
fn settled(outcome: ChangeOutcome) -> Result<bool, OAuthError> {
    match outcome {
        ChangeOutcome::Changed => Ok(true),
        ChangeOutcome::Conflict => Ok(false),
        ChangeOutcome::NotFound => Err(not_found("client")),
        ChangeOutcome::LastAdmin => Err(last_admin()),
        // Clients are not renamed.
        ChangeOutcome::Exists(_) => Err(OAuthError::internal("a client change met a taken name")),
    }
}

/// The first moment that no token minted up to now was minted at.
fn after_now(ctx: &Context) -> Timestamp {
    ctx.now().plus(std::time::Duration::from_millis(1))
}

fn bounds(ctx: &Context) -> Bounds<'_> {
    Bounds { issuer: &ctx.issuer, policy: &ctx.policy }
}
