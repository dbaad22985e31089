//! The revocation set: what makes a verified access token inactive (RFC 7009), held in memory.
//!
//! Small by construction: an entry leaves when the longest token it could concern has expired. An entry is here before
//! its COMMIT is sent, because storage tells of it through [`RevocationSink`].

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::domain::ids::{ClientId, Jti, SessionId};
use crate::domain::revocation::{Revocation, RevocationSink, Revoked};
use crate::domain::time::Timestamp;

/// What of an access token can be revoked.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub sid: Option<SessionId>,
    pub jti: &'a Jti,
    pub client_id: &'a ClientId,
}

#[derive(Debug, Default)]
struct Entries {
    sessions: HashMap<SessionId, Timestamp>,
    tokens: HashMap<Jti, Timestamp>,
    /// Tokens minted before the first moment; the entry goes at the second.
    clients: HashMap<ClientId, (Timestamp, Timestamp)>,
}

/// Sessions, tokens and clients whose access tokens are inactive.
#[derive(Debug, Default)]
pub struct RevocationSet(RwLock<Entries>);

impl RevocationSet {
    pub fn concerns(&self, token: Subject<'_>) -> bool {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        token.sid.is_some_and(|sid| entries.sessions.contains_key(&sid))
            || entries.tokens.contains_key(token.jti)
            || entries.clients.get(token.client_id).is_some_and(|(minted_before, _)| {
                // A token whose jti does not tell its age was not minted here: treat it as old.
                token.jti.minted_at().is_none_or(|minted| minted < *minted_before)
            })
    }

    pub fn insert(&self, revocations: &[Revocation]) {
        if revocations.is_empty() {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for Revocation { what, expires_at } in revocations {
            match what {
                Revoked::Session(sid) => keep_latest(entries.sessions.entry(*sid).or_insert(*expires_at), *expires_at),
                Revoked::Token(jti) => {
                    keep_latest(entries.tokens.entry(jti.clone()).or_insert(*expires_at), *expires_at);
                }
                Revoked::Client { client_id, minted_before } => {
                    let entry = entries.clients.entry(client_id.clone()).or_insert((*minted_before, *expires_at));
                    keep_latest(&mut entry.0, *minted_before);
                    keep_latest(&mut entry.1, *expires_at);
                }
            }
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.sessions.len() + entries.tokens.len() + entries.clients.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops entries that no unexpired token can meet.
    pub fn prune(&self, now: Timestamp) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.sessions.retain(|_, expires_at| now < *expires_at);
        entries.tokens.retain(|_, expires_at| now < *expires_at);
        entries.clients.retain(|_, (_, expires_at)| now < *expires_at);
    }
}

fn keep_latest(known: &mut Timestamp, new: Timestamp) {
    *known = (*known).max(new);
}

impl RevocationSink for RevocationSet {
    fn decided(&self, revocations: &[Revocation]) {
        self.insert(revocations);
    }
}
