//! Who the client is (RFC 6749 section 2.3): a file per method, and the judgement that they share.
//!
//! An unknown client, a wrong secret and a method that the client has no secret for get the same answer, at about the
//! same price. A `client_id` is no secret, and whether one exists may be found out elsewhere; what must not be found out
//! here is whether a guess at a secret came close. Only a client whose secret proved right is told that it used another
//! method than it is registered for.

mod basic;
mod none;
mod post;

use std::fmt;
use std::sync::Arc;

use serde_json::json;

use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::client::{AuthMethod, Client};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::ClientId;
use crate::domain::meter::Count;
use crate::domain::origin::Origin;
use crate::domain::secret::SecretText;

/// No `client_id` is longer, in bytes.
const LONGEST_ID: usize = 256;

/// How often a client that was changed while it was proven is proven again.
const ATTEMPTS: u32 = 4;

/// What a request says of who the client is, not yet judged. Empty parameters are absent ones.
#[derive(Clone, Default)]
pub struct ClientClaim {
    /// The `Authorization` header as it came in.
    pub authorization: Option<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<SecretText>,
}

impl fmt::Debug for ClientClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientClaim")
            .field("authorization", &self.authorization.as_ref().map(|_| ".."))
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .finish()
    }
}

/// A client that has shown who it is; a public one has only named itself. It may be disabled: whoever serves it asks.
#[derive(Clone, Debug)]
pub struct AuthenticatedClient {
    pub client: Arc<Client>,
    pub method: AuthMethod,
}

/// A claim that is in one piece: one method, and what it needs.
#[derive(Debug, PartialEq, Eq)]
struct Proof {
    client_id: String,
    /// `None` with the method `none` alone.
    secret: Option<SecretText>,
    method: AuthMethod,
}

/// Finds out who the client is.
///
/// # Errors
/// `invalid_client`: nothing was claimed, or it was not proven; `invalid_request`: more than one method was used, or two
/// client ids; 429 after too many guesses at a secret that a person chose; 503 where the database does not answer.
pub async fn authenticate(
    ctx: &Context,
    credentials: &Credentials,
    claim: &ClientClaim,
    origin: &Origin,
) -> Result<AuthenticatedClient, OAuthError> {
    let proof = read(claim)?;
    let (client, proven) = prove(ctx, credentials, &proof, origin).await?;
    match client {
        Some(client) if proven && client.auth_method == proof.method => {
            Ok(AuthenticatedClient { client, method: proof.method })
        }
        client => {
            let failure = explain(client.as_deref().filter(|_| proven));
            record_failure(ctx, credentials, client.as_deref(), proof.method, origin).await?;
            Err(failure)
        }
    }
}

/// The client that is named, if there is one, and whether it is proven.
async fn prove(
    ctx: &Context,
    credentials: &Credentials,
    proof: &Proof,
    origin: &Origin,
) -> Result<(Option<Arc<Client>>, bool), OAuthError> {
    if !may_be_id(&proof.client_id) {
        return Ok((None, false));
    }
    let id = ClientId::new(proof.client_id.as_str());
    let mut found = ctx.replica.client(&id).await?;
    let Some(secret) = &proof.secret else {
        let is_public = found.as_ref().is_some_and(|client| client.is_public());
        return Ok((found, is_public));
    };
    for _ in 0..ATTEMPTS {
        let proven = credentials.verify_client_secret(found.as_deref(), secret, origin.address()).await?;
        if !proven {
            return Ok((found, false));
        }
        // A secret that a person chose waits for its turn to be hashed: meanwhile the client may have been disabled, or
        // lost this secret or part of its scope.
        let now = ctx.replica.client(&id).await?;
        if now == found {
            return Ok((found, true));
        }
        found = now;
    }
    Err(OAuthError::unavailable("the client is being changed all the time; try again"))
}

/// Which method the request uses. More than one is an error, not a choice (RFC 6749 section 2.3).
fn read(claim: &ClientClaim) -> Result<Proof, OAuthError> {
    match (&claim.authorization, &claim.client_id, &claim.client_secret) {
        (Some(_), _, Some(_)) => Err(OAuthError::new(
            Code::InvalidRequest,
            "the request authenticates the client twice, by the Authorization header and by client_secret; use one",
        )),
        (Some(header), named, None) => basic::read(header, named.as_deref()),
        (None, Some(client_id), Some(secret)) => Ok(post::read(client_id, secret)),
        (None, Some(client_id), None) => Ok(none::read(client_id)),
        (None, None, Some(_)) => Err(invalid("client_secret came without client_id")),
        (None, None, None) => Err(invalid(
            "the request does not say which client it comes from; use HTTP Basic, or client_id and client_secret, or \
             client_id alone for a public client",
        )),
    }
}

/// Whether the text can be a `client_id` at all (RFC 6749 appendix A.1). What cannot is not looked up: databases differ
/// in what text they take.
fn may_be_id(text: &str) -> bool {
    (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e))
}

fn invalid(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(Code::InvalidClient, description)
}

/// `proven` is the client whose secret was right, by the wrong method.
fn explain(proven: Option<&Client>) -> OAuthError {
    match proven {
        Some(client) => invalid(format!(
            "the client is registered for token_endpoint_auth_method {}, and this request used another",
            name(client.auth_method)
        )),
        None => invalid(
            "unknown client, wrong client secret, or a method of authentication that the client is not registered for",
        ),
    }
}

fn name(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::ClientSecretBasic => "client_secret_basic",
        AuthMethod::ClientSecretPost => "client_secret_post",
        AuthMethod::None => "none",
    }
}

async fn record_failure(
    ctx: &Context,
    credentials: &Credentials,
    client: Option<&Client>,
    method: AuthMethod,
    origin: &Origin,
) -> Result<(), OAuthError> {
    ctx.meter.count(Count::ClientAuthFailed);
    if !credentials.client_failure_is_news(origin.address()) {
        return Ok(());
    }
    // Never the id of an unknown client: whoever mixes up two fields writes a secret there.
    let who = client.map_or("unknown", |client| client.client_id.as_str());
    let actor = Actor { who: who.to_owned(), via: None, address: Some(origin.address().to_string()) };
    let mut event = ctx.audit(AuditType::ClientAuthFailed, actor).detail(json!({ "method": name(method) }));
    event.client_id = client.map(|client| client.client_id.clone());
    ctx.store.record(vec![event]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(authorization: Option<&str>, client_id: Option<&str>, secret: Option<&str>) -> ClientClaim {
        ClientClaim {
            authorization: authorization.map(str::to_owned),
            client_id: client_id.map(str::to_owned),
            client_secret: secret.map(SecretText::new),
        }
    }

    #[test]
    fn one_method_is_read_and_two_are_refused() {
        let method = |claim: &ClientClaim| read(claim).map(|proof| proof.method).map_err(|error| error.code);
        let header = Some("Basic YTpi");
        assert_eq!(method(&claim(header, None, None)), Ok(AuthMethod::ClientSecretBasic));
        assert_eq!(method(&claim(header, Some("a"), None)), Ok(AuthMethod::ClientSecretBasic));
        assert_eq!(method(&claim(None, Some("a"), Some("b"))), Ok(AuthMethod::ClientSecretPost));
        assert_eq!(method(&claim(None, Some("a"), None)), Ok(AuthMethod::None));
        assert_eq!(method(&claim(header, Some("a"), Some("b"))), Err(Code::InvalidRequest));
        assert_eq!(method(&claim(header, Some("other"), None)), Err(Code::InvalidRequest));
        assert_eq!(method(&claim(None, None, Some("b"))), Err(Code::InvalidClient));
        assert_eq!(method(&claim(None, None, None)), Err(Code::InvalidClient));
        assert_eq!(method(&claim(Some("Basic @@@"), Some("a"), None)), Err(Code::InvalidClient), "never as if absent");
    }

    #[test]
    fn secrets_are_not_in_what_is_printed() {
        let claim = claim(Some("Basic c2VjcmV0"), Some("a"), Some("secret"));
        let printed = format!("{claim:?}");
        assert!(!printed.contains("c2VjcmV0") && !printed.contains("\"secret\""), "{printed}");
    }

    #[test]
    fn what_cannot_be_an_id_is_not_looked_up() {
        assert!(may_be_id("a b") && may_be_id(&"a".repeat(256)));
        assert!(!may_be_id("") && !may_be_id(&"a".repeat(257)) && !may_be_id("a\0") && !may_be_id("\u{e9}"));
    }
}
