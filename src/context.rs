//! What a use case works with: the store, the node's memory, time, randomness, policy. Never the whole program.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::claim_rules::{ClaimPlace, ClaimRules, Subject};
use crate::domain::ids::NodeId;
use crate::domain::meter::{Count, Meter};
use crate::domain::policy::TokenPolicy;
use crate::domain::sign_in::SignInLimits;
use crate::domain::sources::{Clock, Entropy};
use crate::domain::time::Timestamp;
use crate::keys::plan::KeyPolicy;
use crate::keys::seal::MasterKeys;
use crate::replica::Replica;
use crate::storage::Store;
use crate::tokens::client_keys::KeySource;
use crate::tokens::legacy::LegacyIssuers;
use crate::tokens::ticket::Tickets;
use crate::tokens::verify::CLOCK_SKEW;

/// The context of every use case.
#[derive(Clone)]
pub struct Context {
    /// What the other nodes know this one by.
    pub node: NodeId,
    pub store: Arc<dyn Store>,
    pub replica: Arc<Replica>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub meter: Arc<dyn Meter>,
    pub masters: Arc<MasterKeys>,
    /// The exact text of `iss`.
    pub issuer: Arc<str>,
    pub policy: TokenPolicy,
    /// What tokens say beside what every token says.
    pub claims: Arc<ClaimRules>,
    /// Whose tokens are taken beside Latchkey's own.
    pub legacy: Arc<LegacyIssuers>,
    /// What browsers carry from page to page.
    pub tickets: Arc<Tickets>,
    /// How long browsers stay signed in.
    pub sign_ins: SignInLimits,
    /// What clients sign their assertions with.
    pub client_keys: Arc<dyn KeySource>,
    pub key_policy: KeyPolicy,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// When every access token that exists now will have expired, skew and a mint under way included: what a
    /// revocation written now must outlive.
    pub fn horizon(&self) -> Timestamp {
        self.now().plus(self.replica.keys().longest_ttl_overall()).plus(CLOCK_SKEW)
    }

    /// What the operator's rules tell of a subject in one place. What is left out for its size is logged and counted.
    pub fn claims_in(&self, place: ClaimPlace, subject: &Subject<'_>) -> Map<String, Value> {
        let mapped = self.claims.claims_of(place, subject);
        for claim in mapped.left_out {
            let (place, sub) = (place.as_str(), subject.sub);
            tracing::warn!(claim, place, sub, "the claim was left out: with it there would have been too much");
            self.meter.count(Count::ClaimLeftOut);
        }
        mapped.claims
    }

    pub fn audit(&self, kind: AuditType, actor: Actor) -> AuditEvent {
        AuditEvent::new(self.now(), kind, actor)
    }
}
