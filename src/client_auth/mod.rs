//! Who the client is (RFC 6749 section 2.3): a file per method, and the judgement that they share.
//!
//! An unknown client, a wrong secret and a method that the client has no secret for get the same answer, at about the
//! same price. A `client_id` is no secret, and whether one exists may be found out elsewhere; what must not be found out
//! here is whether a guess at a secret came close. Only a client whose secret proved right is told that it used another
//! method than it is registered for. What is wrong with an assertion is told: it is its maker's own.

mod assertion;
mod basic;
mod client_secret_jwt;
mod none;
mod post;
mod private_key_jwt;

use std::fmt;
use std::sync::Arc;

use serde_json::{Value, json};

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
    /// RFC 7521 section 4.2.
    pub client_assertion: Option<SecretText>,
    pub client_assertion_type: Option<String>,
}

impl fmt::Debug for ClientClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientClaim")
            .field("authorization", &self.authorization.as_ref().map(|_| ".."))
            .field("client_id", &self.client_id)
            .field("client_secret", &self.client_secret)
            .field("client_assertion", &self.client_assertion)
            .finish_non_exhaustive()
    }
}

/// Where a client says who it is: what an assertion may name as its audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Token,
    Introspection,
    Revocation,
}

impl Endpoint {
    /// Its URL, as the metadata has it.
    pub fn url(self, ctx: &Context) -> String {
        let path = match self {
            Self::Token => "/oauth2/token",
            Self::Introspection => "/oauth2/introspect",
            Self::Revocation => "/oauth2/revoke",
        };
        format!("{}{path}", ctx.issuer)
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

/// What a request claims, by one method.
#[derive(Debug, PartialEq, Eq)]
enum Claimed<'c> {
    Proof(Proof),
    /// The text of an assertion.
    Assertion(&'c str),
}

/// Finds out who the client is.
///
/// # Errors
/// `invalid_client`: nothing was claimed, or it was not proven; `invalid_request`: more than one method was used, or two
/// client ids; 429 after too many guesses at a secret that a person chose; 503 where the database, or the place that the
/// client publishes its keys at, does not answer.
pub async fn authenticate(
    ctx: &Context,
    credentials: &Credentials,
    claim: &ClientClaim,
    origin: &Origin,
    endpoint: Endpoint,
) -> Result<AuthenticatedClient, OAuthError> {
    let proof = match read(claim)? {
        Claimed::Proof(proof) => proof,
        Claimed::Assertion(text) => {
            let claimed = (text, claim.client_id.as_deref());
            return assertion::authenticate(ctx, credentials, claimed, origin, endpoint).await;
        }
    };
    let (client, proven) = prove(ctx, credentials, &proof, origin).await?;
    match client {
        Some(client) if proven && client.auth_method == proof.method => {
            Ok(AuthenticatedClient { client, method: proof.method })
        }
        client => {
            let failure = explain(client.as_deref().filter(|_| proven));
            let detail = json!({ "method": proof.method.as_str() });
            record_failure(ctx, credentials, client.as_deref(), detail, origin).await?;
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
fn read(claim: &ClientClaim) -> Result<Claimed<'_>, OAuthError> {
    let ClientClaim { authorization, client_id, client_secret, client_assertion, client_assertion_type } = claim;
    let is_assertion = client_assertion.is_some() || client_assertion_type.is_some();
    if [authorization.is_some(), client_secret.is_some(), is_assertion].into_iter().filter(|used| *used).count() > 1 {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            "the request authenticates the client more than once, by the Authorization header, by client_secret or by \
             client_assertion; use one",
        ));
    }
    if is_assertion {
        return assertion::read(client_assertion.as_ref(), client_assertion_type.as_deref()).map(Claimed::Assertion);
    }
    Ok(Claimed::Proof(match (authorization, client_id, client_secret) {
        (Some(header), named, _) => basic::read(header, named.as_deref())?,
        (None, Some(client_id), Some(secret)) => post::read(client_id, secret),
        (None, Some(client_id), None) => none::read(client_id),
        (None, None, Some(_)) => return Err(invalid("client_secret came without client_id")),
        (None, None, None) => {
            return Err(invalid(
                "the request does not say which client it comes from; use HTTP Basic, client_id and client_secret, \
                 client_assertion, or client_id alone for a public client",
            ));
        }
    }))
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
            client.auth_method.as_str()
        )),
        None => invalid(
            "unknown client, wrong client secret, or a method of authentication that the client is not registered for",
        ),
    }
}

async fn record_failure(
    ctx: &Context,
    credentials: &Credentials,
    client: Option<&Client>,
    detail: Value,
    origin: &Origin,
) -> Result<(), OAuthError> {
    ctx.meter.count(Count::ClientAuthFailed);
    if !credentials.client_failure_is_news(origin.address()) {
        return Ok(());
    }
    // Never the id of an unknown client: whoever mixes up two fields writes a secret there.
    let who = client.map_or("unknown", |client| client.client_id.as_str());
    let actor = Actor { who: who.to_owned(), via: None, address: Some(origin.address().to_string()) };
    let mut event = ctx.audit(AuditType::ClientAuthFailed, actor).detail(detail);
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
            ..ClientClaim::default()
        }
    }

    #[test]
    fn one_method_is_read_and_two_are_refused() {
        let method = |claim: &ClientClaim| match read(claim) {
            Ok(Claimed::Proof(proof)) => Ok(proof.method),
            Ok(Claimed::Assertion(_)) => Ok(AuthMethod::PrivateKeyJwt),
            Err(error) => Err(error.code),
        };
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
    fn an_assertion_comes_with_its_type_and_with_no_other_proof() {
        let with = |assertion: Option<&str>, kind: Option<&str>, rest: ClientClaim| {
            let claim = ClientClaim {
                client_assertion: assertion.map(SecretText::new),
                client_assertion_type: kind.map(str::to_owned),
                ..rest
            };
            read(&claim).map(|_| ()).map_err(|error| error.code)
        };
        let kind = Some(crate::tokens::assertion::ASSERTION_TYPE);
        assert_eq!(with(Some("a.b.c"), kind, claim(None, None, None)), Ok(()));
        assert_eq!(with(Some("a.b.c"), kind, claim(None, Some("a"), None)), Ok(()));
        assert_eq!(with(Some("a.b.c"), None, claim(None, None, None)), Err(Code::InvalidRequest));
        assert_eq!(with(None, kind, claim(None, None, None)), Err(Code::InvalidRequest));
        assert_eq!(with(Some("a.b.c"), Some("saml2"), claim(None, None, None)), Err(Code::InvalidClient));
        assert_eq!(with(Some("a.b.c"), kind, claim(Some("Basic YTpi"), None, None)), Err(Code::InvalidRequest));
        assert_eq!(with(Some("a.b.c"), kind, claim(None, Some("a"), Some("b"))), Err(Code::InvalidRequest));
        assert_eq!(with(None, kind, claim(None, Some("a"), Some("b"))), Err(Code::InvalidRequest));
    }

    #[test]
    fn secrets_are_not_in_what_is_printed() {
        let assertion = Some(SecretText::new("secret.secret"));
        let claim =
            ClientClaim { client_assertion: assertion, ..claim(Some("Basic c2VjcmV0"), Some("a"), Some("secret")) };
        let printed = format!("{claim:?}");
        assert!(
            !printed.contains("c2VjcmV0") && !printed.contains("secret.secret") && !printed.contains("\"secret\""),
            "{printed}"
        );
    }

    #[test]
    fn what_cannot_be_an_id_is_not_looked_up() {
        assert!(may_be_id("a b") && may_be_id(&"a".repeat(256)));
        assert!(!may_be_id("") && !may_be_id(&"a".repeat(257)) && !may_be_id("a\0") && !may_be_id("\u{e9}"));
    }
}
