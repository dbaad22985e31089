//! Who calls the admin API: a bearer of one of Latchkey's own access tokens (RFC 6750), active, meant for Latchkey
//! itself, with an `admin*` scope that gives the right.

use crate::context::Context;
use crate::domain::audit::{Actor, AuditType};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::ClientId;
use crate::domain::origin::Origin;
use crate::domain::scope::Scope;
use crate::introspection::Introspector;
use crate::tokens::claims::AccessClaims;

/// An authorised caller of the admin API.
#[derive(Clone, Debug)]
pub struct AdminCaller {
    /// Who goes into the audit trail.
    pub actor: Actor,
    /// The `admin*` scopes of the presented token: what the caller holds in this call, whatever else it could ask for.
    pub scope: Scope,
}

impl AdminCaller {
    /// The operator of the machine, who holds everything: `bootstrap.file` and `latchkey admin recover`.
    pub fn operator(who: &str) -> Self {
        let scope = Scope::parse("admin").unwrap_or_default();
        Self { actor: Actor { who: who.to_owned(), ..Actor::default() }, scope }
    }

    /// Passes a use case's result on, and writes a refusal for want of rights into the audit trail.
    ///
    /// # Errors
    /// The use case's; or the database does not answer.
    pub async fn audited<T>(&self, ctx: &Context, result: Result<T, OAuthError>) -> Result<T, OAuthError> {
        if let Err(error) = &result
            && error.code == Code::InsufficientScope
        {
            record_denial(ctx, self.actor.clone(), &error.description).await?;
        }
        result
    }
}

/// Lets a call through whose token gives the right `needed`, a name of
/// [`ADMIN_SCOPES`](crate::domain::scope::ADMIN_SCOPES).
///
/// # Errors
/// [`Code::NoToken`], [`Code::InvalidToken`]: no token, or one that is not active or not meant for Latchkey. [`Code::InsufficientScope`]:
/// the token does not give the right, which goes into the audit trail if it gives any. Unavailable: this node cannot vouch for what it
/// knows.
pub async fn authorize(
    ctx: &Context,
    introspector: &Introspector,
    bearer: Option<&str>,
    needed: &str,
    origin: &Origin,
) -> Result<AdminCaller, OAuthError> {
    let Some(token) = bearer else {
        return Err(OAuthError::new(
            Code::NoToken,
            "send Authorization: Bearer with an access token of Latchkey's own that carries an admin scope",
        ));
    };
    let Some(verified) = introspector.check(ctx, token).await? else {
        return Err(OAuthError::new(
            Code::InvalidToken,
            "the access token is not active: it is unknown, expired or revoked; ask for a new one",
        ));
    };
    let claims = &verified.claims;
    let caller = AdminCaller { actor: actor(claims, origin), scope: claims.scope.only_admin() };
    let judged = judge(claims, &ctx.issuer, needed);
    // Only an administrator's: anybody with a token could fill the trail otherwise.
    if caller.scope.is_empty() {
        judged?;
    } else {
        caller.audited(ctx, judged).await?;
    }
    Ok(caller)
}

/// Whether an active token with these claims gives the right.
fn judge(claims: &AccessClaims, issuer: &str, needed: &str) -> Result<(), OAuthError> {
    if !claims.aud.iter().any(|audience| audience == issuer) {
        return Err(OAuthError::new(
            Code::InvalidToken,
            format!("the access token is meant for another audience; the admin API takes those that name {issuer}"),
        ));
    }
    if !claims.scope.gives(needed) {
        return Err(OAuthError::new(
            Code::InsufficientScope,
            format!("this needs the scope {needed}, which the access token does not give"),
        ));
    }
    Ok(())
}

/// A client that acts for itself is named by its `client_id`, a user by the `sub` and the client it came through.
fn actor(claims: &AccessClaims, origin: &Origin) -> Actor {
    let for_itself = claims.sub == claims.client_id.as_str();
    let via: Option<ClientId> = (!for_itself).then(|| claims.client_id.clone());
    Actor { who: claims.sub.clone(), via, address: Some(origin.address().to_string()) }
}

async fn record_denial(ctx: &Context, actor: Actor, why: &str) -> Result<(), OAuthError> {
    let event = ctx.audit(AuditType::AdminDenied, actor).detail(serde_json::json!({ "reason": why }));
    Ok(ctx.store.record(vec![event]).await?)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::domain::ids::Jti;
    use crate::domain::time::Timestamp;

    const ISSUER: &str = "https://id.example.com";

    fn claims(sub: &str, aud: &[&str], scope: &str) -> AccessClaims {
        AccessClaims {
            iss: ISSUER.into(),
            sub: sub.into(),
            aud: aud.iter().map(|name| (*name).to_owned()).collect(),
            exp: Timestamp::from_seconds(20),
            iat: Timestamp::from_seconds(10),
            jti: Jti::new("j"),
            client_id: ClientId::new("console"),
            scope: Scope::parse(scope).unwrap(),
            sid: None,
            auth_time: None,
            act: None,
            extra: Default::default(),
        }
    }

    #[test]
    fn the_audience_and_the_scope_decide() {
        for (aud, scope, needed, verdict) in [
            (&[ISSUER][..], "admin", "admin:keys", None),
            (&["https://api.example.com", ISSUER], "read admin:keys:read", "admin:keys:read", None),
            (&[ISSUER], "admin:keys:read", "admin:keys", Some(Code::InsufficientScope)),
            (&[ISSUER], "read", "admin:audit:read", Some(Code::InsufficientScope)),
            (&["https://api.example.com"], "admin", "admin:keys", Some(Code::InvalidToken)),
            (&["https://id.example.com/"], "admin", "admin:keys", Some(Code::InvalidToken)),
        ] {
            let judged = judge(&claims("console", aud, scope), ISSUER, needed);
            assert_eq!(judged.err().map(|error| error.code), verdict, "{aud:?} {scope:?} {needed}");
        }
    }

    #[test]
    fn the_trail_names_the_user_and_the_client_it_came_through() {
        let origin = Origin::direct(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let user = actor(&claims("usr_1", &[ISSUER], "admin"), &origin);
        assert_eq!((user.who.as_str(), user.via), ("usr_1", Some(ClientId::new("console"))));
        let client = actor(&claims("console", &[ISSUER], "admin"), &origin);
        assert_eq!((client.who.as_str(), client.via), ("console", None));
        assert_eq!(client.address.as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn the_operator_holds_everything() {
        assert!(AdminCaller::operator("shell").scope.gives("admin:keys"));
    }
}
