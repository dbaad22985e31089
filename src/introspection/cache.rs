//! The cache of verified tokens: SHA-256 of the token to its claims. The only place that knows moka.
//!
//! It never decides whether a token is active, so nothing is ever invalidated in it: an entry may at worst be missing.
//! An entry holds what is the token's own, packed; what a client's tokens have in common lies there once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::domain::ids::{ClientId, Jti, Kid, SessionId};
use crate::domain::key::Alg;
use crate::domain::scope::Scope;
use crate::domain::time::Timestamp;
use crate::tokens::claims::{AccessClaims, Act, ExtraClaims};
use crate::tokens::verify::Verified;

/// What many tokens of one client say.
#[derive(PartialEq, Eq)]
struct Common {
    iss: String,
    aud: Vec<String>,
    client_id: ClientId,
    scope: Scope,
    kid: Kid,
    alg: Alg,
}

/// What few tokens say at all.
#[derive(Clone)]
struct Rare {
    act: Option<Act>,
    extra: ExtraClaims,
}

#[derive(Clone)]
struct Entry {
    common: Arc<Common>,
    /// `sub`, and `jti` behind it.
    names: Box<str>,
    sub_ends: u32,
    /// Seconds that the token had to live when it was verified.
    remaining: u32,
    sid: Option<SessionId>,
    iat: Timestamp,
    exp: Timestamp,
    auth_time: Option<Timestamp>,
    rare: Option<Box<Rare>>,
}

impl Entry {
    fn verified(self) -> Verified {
        let Common { iss, aud, client_id, scope, kid, alg } = &*self.common;
        let (sub, jti) = self.names.split_at(self.sub_ends as usize);
        let Rare { act, extra } = match self.rare {
            Some(rare) => *rare,
            None => Rare { act: None, extra: ExtraClaims::default() },
        };
        let claims = AccessClaims {
            iss: iss.clone(),
            sub: sub.to_owned(),
            aud: aud.clone(),
            exp: self.exp,
            iat: self.iat,
            jti: Jti::new(jti),
            client_id: client_id.clone(),
            scope: scope.clone(),
            sid: self.sid,
            auth_time: self.auth_time,
            act,
            extra,
        };
        Verified { claims, kid: kid.clone(), alg: *alg }
    }
}

/// Drops an entry about when its token expires. Expiry itself is checked on every hit, on the injected clock.
struct WithTheToken;

impl Expiry<[u8; 32], Entry> for WithTheToken {
    fn expire_after_create(&self, _: &[u8; 32], entry: &Entry, _: Instant) -> Option<Duration> {
        Some(Duration::from_secs(entry.remaining.into()))
    }
}

pub struct VerifiedTokens {
    entries: Cache<[u8; 32], Entry>,
    /// What the latest token of each client said: so the next one's says, mostly.
    latest: Mutex<HashMap<ClientId, Arc<Common>>>,
}

impl VerifiedTokens {
    pub fn new(capacity: u64) -> Self {
        let entries = Cache::builder().max_capacity(capacity).expire_after(WithTheToken).build();
        Self { entries, latest: Mutex::default() }
    }

    pub fn get(&self, hash: &[u8; 32]) -> Option<Verified> {
        self.entries.get(hash).map(Entry::verified)
    }

    pub fn insert(&self, hash: [u8; 32], verified: &Verified, now: Timestamp) {
        let Verified { claims, kid, alg } = verified;
        let AccessClaims { iss, sub, aud, exp, iat, jti, client_id, scope, sid, auth_time, act, extra } = claims;
        let common = Common {
            iss: iss.clone(),
            aud: aud.clone(),
            client_id: client_id.clone(),
            scope: scope.clone(),
            kid: kid.clone(),
            alg: *alg,
        };
        // Longer than any token is; an entry that leaves early is missing, and that is all.
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let is_rare = act.is_some() || !extra.members().is_empty();
        let entry = Entry {
            common: self.shared(common),
            names: format!("{sub}{}", jti.as_str()).into(),
            sub_ends: small(sub.len() as u64),
            remaining: small(exp.since(now).as_secs() + 1),
            sid: *sid,
            iat: *iat,
            exp: *exp,
            auth_time: *auth_time,
            rare: is_rare.then(|| Box::new(Rare { act: act.clone(), extra: extra.clone() })),
        };
        self.entries.insert(hash, entry);
    }

    /// The same, if the client's latest token said the same.
    fn shared(&self, common: Common) -> Arc<Common> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = latest.get(&common.client_id).filter(|known| ***known == common) {
            return Arc::clone(known);
        }
        let common = Arc::new(common);
        latest.insert(common.client_id.clone(), Arc::clone(&common));
        common
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::testing::START;
    use crate::tokens::testing::claims;

    fn verified(claims: AccessClaims) -> Verified {
        Verified { claims, kid: Kid::new("k"), alg: Alg::ES256 }
    }

    #[test]
    fn what_went_in_comes_out() {
        let cache = VerifiedTokens::new(10);
        let own = json!({ "tenant": "t", "roles": ["a"] });
        let plain = claims();
        let client = AccessClaims { sid: None, auth_time: None, scope: Scope::default(), ..claims() };
        let acted = AccessClaims {
            act: Some(Act { sub: "gateway".to_owned(), act: None }),
            extra: ExtraClaims::new(own.as_object().cloned().unwrap()),
            aud: vec!["a".to_owned(), "b".to_owned()],
            ..claims()
        };
        for (hash, claims) in [([1; 32], plain), ([2; 32], client), ([3; 32], acted)] {
            let verified = verified(claims);
            cache.insert(hash, &verified, verified.claims.iat);
            assert_eq!(cache.get(&hash), Some(verified));
        }
        assert_eq!(cache.get(&[4; 32]), None);
    }

    #[test]
    fn tokens_of_a_client_share_what_they_have_in_common() {
        let cache = VerifiedTokens::new(10);
        let entry = |hash: u8| cache.entries.get(&[hash; 32]).unwrap();
        let insert = |hash: u8, claims: AccessClaims| cache.insert([hash; 32], &verified(claims), START);
        insert(1, claims());
        insert(2, AccessClaims { jti: Jti::new("another"), ..claims() });
        insert(3, AccessClaims { scope: Scope::default(), ..claims() });
        assert!(Arc::ptr_eq(&entry(1).common, &entry(2).common));
        assert!(!Arc::ptr_eq(&entry(1).common, &entry(3).common));
    }
}
