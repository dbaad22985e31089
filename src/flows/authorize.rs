//! The authorization endpoint (RFC 6749 section 4.1, RFC 9207, OpenID Connect Core section 3.1.2): from the request of a
//! client to the code, through the pages that it takes.
//!
//! What is asked is judged once, by the table in [`crate::domain::authorization::checks`], and carried through the pages by
//! the browser. What comes next is asked again on every page, of whoever is signed in by then: so any node takes any step,
//! and going back, loading again and a second tab are steps like any other.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::sign_in::{self, Visitor};
use crate::context::Context;
use crate::domain::audit::AuditType;
use crate::domain::authorization::checks::{self, Judged, Known, Unanswerable};
use crate::domain::authorization::parameters::Parameters;
use crate::domain::authorization::steps::{self, Consented, SignedIn, Step};
use crate::domain::authorization::{AuthorizationRequest, Destination};
use crate::domain::client::{Client, GrantType};
use crate::domain::code::{self, Challenge, Code};
use crate::domain::error::{self, OAuthError};
use crate::domain::ids::Sub;
use crate::domain::redirect_uri;
use crate::domain::secret::Secret32;
use crate::domain::sign_in::SignIn;
use crate::domain::sources::random;
use crate::domain::user::User;
use crate::domain::wish::user_holds;
use crate::storage::GrantConsent;

/// How long a started request may go on: somebody looks for a password, or for a second opinion.
pub const LONGEST: Duration = Duration::from_secs(30 * 60);

/// What a browser is shown, or where it is sent.
#[derive(Debug)]
pub enum Turn {
    /// There is nobody to answer.
    Unanswerable(Unanswerable),
    /// The client is answered.
    Reply(Reply),
    SignIn {
        request: Box<AuthorizationRequest>,
        client: Arc<Client>,
    },
    Consent {
        request: Box<AuthorizationRequest>,
        client: Arc<Client>,
        user: Box<User>,
    },
}

/// The answer to a client (RFC 6749 sections 4.1.2 and 4.1.2.1).
pub struct Reply {
    pub client: Arc<Client>,
    pub destination: Destination,
    /// Names and values, in their order.
    pub parameters: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("destination", &self.destination).finish_non_exhaustive()
    }
}

/// Takes a request in.
///
/// # Errors
/// The database does not answer: whoever is at the browser may load the page again.
pub async fn begin(ctx: &Context, visitor: &Visitor, parameters: &Parameters) -> Result<Turn, OAuthError> {
    let client_id = match checks::client_id(parameters) {
        Ok(client_id) => client_id,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let client = ctx.replica.client(&client_id).await?;
    let hint = match parameters.get("id_token_hint") {
        Some(token) => Some(hinted(ctx, client.as_deref(), token).await?),
        None => None,
    };
    let known = Known { issuer: &ctx.issuer, hint: hint.as_ref().map(Option::as_ref), now: ctx.now() };
    match (checks::judge(parameters, client.as_deref(), known), client) {
        (Judged::Good(request), _) => go_on(ctx, visitor, request).await,
        (Judged::Refused { destination, error }, Some(client)) => {
            Ok(Turn::Reply(refusal(ctx, client, destination, &error)))
        }
        (Judged::Refused { .. }, None) => Ok(Turn::Unanswerable(Unanswerable::ClientUnknown)),
        (Judged::Unanswerable(fault), _) => Ok(Turn::Unanswerable(fault)),
    }
}

/// Goes on with a request that was taken in before.
///
/// # Errors
/// As [`begin`].
pub async fn go_on(ctx: &Context, visitor: &Visitor, request: Box<AuthorizationRequest>) -> Result<Turn, OAuthError> {
    let client = match addressee(ctx, &request).await? {
        Ok(client) => client,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let sign_in = sign_in::current(ctx, visitor).await?;
    let user = match &sign_in {
        Some(sign_in) => ctx.store.user(&sign_in.sub).await?.filter(|user| !user.disabled),
        None => None,
    };
    let signed_in = sign_in.as_ref().zip(user);
    let consent = match &signed_in {
        Some((sign_in, _)) => ctx.store.consent(&sign_in.sub, &client.client_id).await?,
        None => None,
    };
    let who = signed_in.as_ref().map(|(it, _)| SignedIn { sub: &it.sub, auth_time: it.auth_time });
    let consented = consent.as_ref().map(|consent| Consented { scope: &consent.scope, at: consent.granted_at });
    let step = match steps::next(&request, &client, who, consented, ctx.now()) {
        Ok(step) => step,
        Err(error) => return Ok(Turn::Reply(refusal(ctx, client, request.destination(), &error))),
    };
    Ok(match (step, signed_in) {
        (Step::Code, Some((sign_in, user))) => Turn::Reply(code(ctx, client, *request, sign_in, &user).await?),
        (Step::Consent, Some((_, user))) => Turn::Consent { request, client, user: Box::new(user) },
        (Step::SignIn | Step::Code | Step::Consent, _) => Turn::SignIn { request, client },
    })
}

/// The user allows what is asked.
///
/// # Errors
/// As [`begin`].
pub async fn allow(ctx: &Context, visitor: &Visitor, request: Box<AuthorizationRequest>) -> Result<Turn, OAuthError> {
    let client = match addressee(ctx, &request).await? {
        Ok(client) => client,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let (now, asked) = (ctx.now(), request.asked(&client));
    let sign_in = sign_in::current(ctx, visitor).await?;
    let serving = |it: &SignIn| steps::serves(&request, SignedIn { sub: &it.sub, auth_time: it.auth_time }, now);
    if let Some(sign_in) = sign_in.filter(serving) {
        let audit = ctx
            .audit(AuditType::ConsentGranted, visitor.actor(&sign_in))
            .about_user(&sign_in.sub)
            .about_client(&request.client_id)
            .detail(json!({ "scope": asked }));
        let grant = GrantConsent { sub: sign_in.sub, client_id: request.client_id.clone(), scope: asked, now, audit };
        ctx.store.grant_consent(grant).await?;
    }
    go_on(ctx, visitor, request).await
}

/// The user does not allow it.
///
/// # Errors
/// As [`begin`].
pub async fn deny(ctx: &Context, request: &AuthorizationRequest) -> Result<Turn, OAuthError> {
    let client = match addressee(ctx, request).await? {
        Ok(client) => client,
        Err(fault) => return Ok(Turn::Unanswerable(fault)),
    };
    let error = OAuthError::new(error::Code::AccessDenied, "the user did not allow it");
    Ok(Turn::Reply(refusal(ctx, client, request.destination(), &error)))
}

/// The client of a request that was good once, if it still would be answered.
/// The answer is an error where the database does not give one.
pub async fn addressee(
    ctx: &Context,
    request: &AuthorizationRequest,
) -> Result<Result<Arc<Client>, Unanswerable>, OAuthError> {
    let Some(client) = ctx.replica.client(&request.client_id).await? else {
        return Ok(Err(Unanswerable::ClientUnknown));
    };
    let its_own = |registered: &String| redirect_uri::matches(registered, &request.redirect_uri);
    Ok(if client.disabled {
        Err(Unanswerable::ClientDisabled)
    } else if !client.may_use(GrantType::AuthorizationCode) {
        Err(Unanswerable::NoCodeFlow)
    } else if !client.redirect_uris.iter().any(its_own) {
        Err(Unanswerable::RedirectUnknown)
    } else {
        Ok(client)
    })
}

/// The user of an `id_token_hint`; `None` where it is no ID token of this client's.
async fn hinted(ctx: &Context, client: Option<&Client>, token: &str) -> Result<Option<Sub>, OAuthError> {
    let Some(client) = client else { return Ok(None) };
    let hint = super::hint::read(ctx, token).await?;
    Ok(hint.filter(|hint| hint.is_for(&client.client_id)).map(|hint| Sub::new(hint.sub)))
}

/// Makes the code.
async fn code(
    ctx: &Context,
    client: Arc<Client>,
    request: AuthorizationRequest,
    sign_in: &SignIn,
    user: &User,
) -> Result<Reply, OAuthError> {
    let destination = request.destination();
    if let Err(error) = user_holds(&request.scope, &user.admin_scopes) {
        return Ok(refusal(ctx, client, destination, &error));
    }
    // Offline access is a refresh token that outlives the sign-in; where there is none, the word means nothing.
    let renews = client.may_use(GrantType::RefreshToken);
    let scope = request.scope.filtered(|token| renews || token != "offline_access");
    let secret = Secret32::new(random(&*ctx.entropy));
    let now = ctx.now();
    let code = Code {
        client_id: request.client_id,
        redirect_uri: Some(request.redirect_uri),
        challenge: request.code_challenge.as_deref().and_then(Challenge::parse),
        nonce: request.nonce,
        scope,
        audience: request.audience,
        sub: sign_in.sub.clone(),
        credential_epoch: user.credential_epoch,
        sign_in: sign_in.id,
        auth_time: sign_in.auth_time,
        acr: request.acr,
        claims: request.claims,
        created_at: now,
        expires_at: now.plus(code::LIFETIME),
        redeemed: None,
    };
    ctx.store.create_code(secret.sha256(), code).await?;
    Ok(reply(ctx, client, destination, vec![("code", URL_SAFE_NO_PAD.encode(secret.expose()))]))
}

fn refusal(ctx: &Context, client: Arc<Client>, destination: Destination, error: &OAuthError) -> Reply {
    let parameters =
        vec![("error", error.code.as_str().to_owned()), ("error_description", described(&error.description))];
    reply(ctx, client, destination, parameters)
}

/// Adds what every answer carries: the client's `state`, and whose answer it is, so that none is taken for another server's.
fn reply(
    ctx: &Context,
    client: Arc<Client>,
    destination: Destination,
    mut parameters: Vec<(&'static str, String)>,
) -> Reply {
    parameters.extend(destination.state.clone().map(|state| ("state", state)));
    parameters.push(("iss", ctx.issuer.to_string()));
    Reply { client, destination, parameters }
}

/// RFC 6749 section 4.1.2.1 allows printable ASCII without quotes and backslashes.
fn described(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => '\'',
            '\\' => '/',
            ' '..='~' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_no_character_that_the_rfc_forbids() {
        assert_eq!(described("scope \"a\\b\" caf\u{e9}\n"), "scope 'a/b' caf??");
    }
}
