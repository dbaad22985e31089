//! Is this access token active? (RFC 7662, for every resource of Latchkey's own too.)
//!
//! What is expensive is immutable, what changes is small: the cache holds *verified* tokens, and whether a token is
//! still active is asked every time, of the clock, the keyring, the revocation set and the client registry.

mod cache;

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::domain::error::OAuthError;
use crate::domain::meter::Count;
use crate::domain::time::Timestamp;
use crate::replica::{ReplicaError, Subject};
use crate::tokens::verify::{TokenFault, Verified, verify_within};
use cache::VerifiedTokens;

/// Verifies access tokens and says whether they are active.
pub struct Introspector {
    verified: VerifiedTokens,
}

impl Introspector {
    /// `cache_entries` is `introspection.cache_entries`; about half a kilobyte each.
    pub fn new(cache_entries: u64) -> Self {
        Self { verified: VerifiedTokens::new(cache_entries) }
    }

    /// The token's claims while it is active, `None` while it is not.
    ///
    /// # Errors
    /// This node cannot vouch for its memory and the database does not answer: 503, never a stale `active`.
    pub async fn check(&self, ctx: &Context, token: &str) -> Result<Option<Verified>, OAuthError> {
        self.check_within(ctx, token, Duration::ZERO).await
    }

    /// The same, up to `leeway` after the token's `exp`: at most the clock skew, see [`verify_within`].
    ///
    /// # Errors
    /// As [`Introspector::check`].
    pub async fn check_within(
        &self,
        ctx: &Context,
        token: &str,
        leeway: Duration,
    ) -> Result<Option<Verified>, OAuthError> {
        if !ctx.replica.is_current() {
            ctx.meter.count(Count::IntrospectionUnvouched);
            ctx.replica.ensure_current().await?;
        }
        let Some(verified) = self.verified_within(ctx, token, ctx.now(), leeway).await? else {
            return Ok(None);
        };
        Ok(if self.is_unrevoked(ctx, &verified).await? { Some(verified) } else { None })
    }

    /// The token's claims if Latchkey signed it and it has not expired, revoked or not.
    ///
    /// # Errors
    /// The `kid` is unknown here and the database does not answer.
    pub async fn verified(&self, ctx: &Context, token: &str, now: Timestamp) -> Result<Option<Verified>, ReplicaError> {
        self.verified_within(ctx, token, now, Duration::ZERO).await
    }

    /// The token's claims if Latchkey signed it, expired or not, revoked or not: what everyone can find out from the key
    /// set. Of a key that is gone nothing is known any more.
    ///
    /// # Errors
    /// As [`Introspector::verified`].
    pub async fn authentic(&self, ctx: &Context, token: &str) -> Result<Option<Verified>, ReplicaError> {
        self.verified_within(ctx, token, ctx.now(), Duration::MAX).await
    }

    async fn verified_within(
        &self,
        ctx: &Context,
        token: &str,
        now: Timestamp,
        leeway: Duration,
    ) -> Result<Option<Verified>, ReplicaError> {
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.verified.get(&hash) {
            ctx.meter.count(Count::IntrospectionHit);
            return Ok((now < known.expires_at().plus(leeway)).then_some(known));
        }
        ctx.meter.count(Count::IntrospectionMiss);
        let judge = || verify_within(&ctx.replica.keys(), &ctx.issuer, token, now, leeway);
        let mut outcome = judge();
        // Another node may have made the key, or raised its longest lifetime, since this one last looked.
        if matches!(outcome, Err(TokenFault::UnknownKid(_) | TokenFault::TooLong)) {
            ctx.replica.look_again().await?;
            outcome = judge();
        }
        match outcome {
            Ok(verified) => {
                if now < verified.expires_at() {
                    self.verified.insert(hash, &verified, now);
                }
                Ok(Some(verified))
            }
            Err(fault) => {
                tracing::debug!(%fault, "access token refused");
                Ok(None)
            }
        }
    }

    async fn is_unrevoked(&self, ctx: &Context, token: &Verified) -> Result<bool, ReplicaError> {
        let claims = &token.claims;
        let subject = Subject { sid: claims.sid, jti: &claims.jti, client_id: &claims.client_id };
        let alive =
            ctx.replica.keys().verifier(token.kid.as_str()).is_some() && !ctx.replica.revocations().concerns(subject);
        Ok(alive && ctx.replica.client(&claims.client_id).await?.is_some_and(|client| !client.disabled))
    }
}
