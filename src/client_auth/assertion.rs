//! What `private_key_jwt` and `client_secret_jwt` share (RFC 7521 section 4.2, RFC 7523 section 3): whose the assertion is,
//! what it says, and that it counts once. How it is signed is each method's own.
//!
//! A refusal tells what is wrong, for an assertion is its maker's own: no guess at a key comes close.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    ATTEMPTS, AuthenticatedClient, Endpoint, client_secret_jwt, explain, invalid, may_be_id, private_key_jwt,
    record_failure,
};
use crate::context::Context;
use crate::credentials::Credentials;
use crate::domain::client::{AuthMethod, Client};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::ClientId;
use crate::domain::origin::Origin;
use crate::domain::secret::SecretText;
use crate::storage::{AssertionOutcome, AssertionUse};
use crate::tokens::assertion::{ASSERTION_TYPE, Assertion, AssertionFault};
use crate::tokens::client_keys::NoKeys;

/// Why an assertion proves nothing.
pub(super) enum Fault {
    /// There is no such client, or it proves itself in another way.
    OtherMethod,
    Assertion(AssertionFault),
    NoKeys(NoKeys),
}

impl From<AssertionFault> for Fault {
    fn from(fault: AssertionFault) -> Self {
        Self::Assertion(fault)
    }
}

/// Why the proof is not complete: a fault of the assertion, or a failure to judge it.
pub(super) enum Unproven {
    Fault(Fault),
    Failed(OAuthError),
}

impl<F: Into<Fault>> From<F> for Unproven {
    fn from(fault: F) -> Self {
        Self::Fault(fault.into())
    }
}

/// The parameters that belong together (RFC 7521 section 4.2).
pub(super) fn read<'c>(assertion: Option<&'c SecretText>, assertion_type: Option<&str>) -> Result<&'c str, OAuthError> {
    let missing = |name: &str| OAuthError::new(Code::InvalidRequest, format!("the parameter {name} is missing"));
    let assertion = assertion.ok_or_else(|| missing("client_assertion"))?;
    match assertion_type.ok_or_else(|| missing("client_assertion_type"))? {
        ASSERTION_TYPE => Ok(assertion.expose()),
        _ => Err(invalid(format!("client_assertion_type is not supported; it is {ASSERTION_TYPE}"))),
    }
}

/// Finds out who the client is by its assertion. `named` is the `client_id` of the body, which may repeat the assertion's
/// and may not differ.
pub(super) async fn authenticate(
    ctx: &Context,
    credentials: &Credentials,
    (text, named): (&str, Option<&str>),
    origin: &Origin,
    endpoint: Endpoint,
) -> Result<AuthenticatedClient, OAuthError> {
    let assertion = match Assertion::parse(text) {
        Ok(assertion) => assertion,
        Err(fault) => return Err(refused(ctx, credentials, Attempt::UNREADABLE, &fault.into(), origin).await?),
    };
    if named.is_some_and(|named| named != assertion.client_id()) {
        return Err(OAuthError::new(
            Code::InvalidRequest,
            "client_id is another one than the sub of client_assertion; leave it out",
        ));
    }
    let id = ClientId::new(assertion.client_id());
    let client = if may_be_id(id.as_str()) { ctx.replica.client(&id).await? } else { None };
    let attempt = Attempt { client: client.clone(), method: method_of(client.as_deref(), &assertion) };
    let proof = Proof { ctx, credentials, assertion: &assertion, origin };
    match proof.prove(client, endpoint).await {
        Ok(client) => Ok(AuthenticatedClient { method: client.auth_method, client }),
        Err(Unproven::Failed(error)) => Err(error),
        Err(Unproven::Fault(fault)) => Err(refused(ctx, credentials, attempt, &fault, origin).await?),
    }
}

/// The method as the registration has it; where it has another, or there is none, as the assertion looks.
fn method_of(client: Option<&Client>, assertion: &Assertion<'_>) -> AuthMethod {
    match client.map(|client| client.auth_method) {
        Some(method @ (AuthMethod::PrivateKeyJwt | AuthMethod::ClientSecretJwt)) => method,
        _ if assertion.is_keyed() => AuthMethod::ClientSecretJwt,
        _ => AuthMethod::PrivateKeyJwt,
    }
}

/// What an assertion is judged with.
struct Proof<'p> {
    ctx: &'p Context,
    credentials: &'p Credentials,
    assertion: &'p Assertion<'p>,
    origin: &'p Origin,
}

impl Proof<'_> {
    async fn prove(&self, found: Option<Arc<Client>>, endpoint: Endpoint) -> Result<Arc<Client>, Unproven> {
        let Self { ctx, assertion, .. } = self;
        let urls = [ctx.issuer.to_string(), Endpoint::Token.url(ctx), endpoint.url(ctx)];
        assertion.check_claims(&urls.each_ref().map(String::as_str), ctx.now())?;
        let client = self.signed_by(found.ok_or(Fault::OtherMethod)?).await?;
        // Last, so that nobody uses up an assertion who cannot make one.
        let using = AssertionUse { hash: assertion.hash(), keep_until: assertion.keep_until() };
        match ctx.store.use_assertion(using).await.map_err(|error| Unproven::Failed(error.into()))? {
            AssertionOutcome::Fresh => Ok(client),
            AssertionOutcome::Replayed => Err(AssertionFault::Replayed.into()),
        }
    }

    async fn signed_by(&self, mut client: Arc<Client>) -> Result<Arc<Client>, Unproven> {
        for _ in 0..ATTEMPTS {
            match client.auth_method {
                AuthMethod::PrivateKeyJwt => private_key_jwt::check(self.ctx, &client, self.assertion).await?,
                AuthMethod::ClientSecretJwt => {
                    client_secret_jwt::check(self.ctx, self.credentials, &client, self.assertion, self.origin).await?;
                }
                AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost | AuthMethod::None => {
                    return Err(Fault::OtherMethod.into());
                }
            }
            // Its keys may have been fetched: meanwhile it may have been disabled, or have lost this one.
            let now =
                self.ctx.replica.client(&client.client_id).await.map_err(|error| Unproven::Failed(error.into()))?;
            let now = now.ok_or(Fault::OtherMethod)?;
            if now == client {
                return Ok(client);
            }
            client = now;
        }
        Err(Unproven::Failed(OAuthError::unavailable("the client is being changed all the time; try again")))
    }
}

/// Who tried, for the audit trail.
struct Attempt {
    client: Option<Arc<Client>>,
    method: AuthMethod,
}

impl Attempt {
    const UNREADABLE: Self = Self { client: None, method: AuthMethod::PrivateKeyJwt };
}

/// Records a refusal, and answers what the caller is told.
async fn refused(
    ctx: &Context,
    credentials: &Credentials,
    attempt: Attempt,
    fault: &Fault,
    origin: &Origin,
) -> Result<OAuthError, OAuthError> {
    record_failure(ctx, credentials, attempt.client.as_deref(), detail(attempt.method, fault), origin).await?;
    Ok(match fault {
        Fault::OtherMethod => explain(None),
        Fault::Assertion(fault) => invalid(format!("client_assertion is refused: {fault}")),
        // What answers at which address is the operator's to know.
        Fault::NoKeys(NoKeys { passing: true, .. }) => {
            OAuthError::unavailable("the client's keys cannot be fetched from its jwks_uri at the moment; try again")
        }
        Fault::NoKeys(NoKeys { passing: false, .. }) => {
            invalid("the client's jwks_uri gives no keys that are taken; the audit trail says why")
        }
    })
}

fn detail(method: AuthMethod, fault: &Fault) -> Value {
    let method = method.as_str();
    match fault {
        Fault::OtherMethod => json!({ "method": method }),
        Fault::Assertion(fault) => json!({ "method": method, "reason": fault.as_str() }),
        Fault::NoKeys(fault) => json!({ "method": method, "reason": "jwks_uri", "cause": fault.cause }),
    }
}
