//! The redemption of legacy tokens within a batch: who comes first opens the session, whoever brings the same token
//! again meets it there.
//!
//! The guarded insert of the token's hash is the verdict. It is in one transaction with the session and the audit entry,
//! so that no crash leaves one without the others. Users are locked first, then tokens, then sessions.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::json;

use super::group::{Effects, GroupJob, about};
use super::legacy::{self, NewRow, Redeemed};
use super::logins::Users;
use super::sessions::Held;
use super::sql::{DbError, DbResult};
use super::tx::Tx;
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::error::Reason;
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::domain::legacy::{Return, ReturnOutcome, come_back, was_logged_out};
use crate::domain::policy::TokenPolicy;
use crate::domain::session::{Notice, Refusal, Session};
use crate::domain::time::Timestamp;

/// A legacy token presented by an authenticated client. Its signature was found good.
#[derive(Clone, Debug)]
pub struct RedeemToken {
    /// SHA-256 of what its signature protects.
    pub hash: [u8; 32],
    /// The name of its issuer.
    pub issuer: String,
    /// The session that it opens or has opened: derived from it.
    pub sid: SessionId,
    pub client_id: ClientId,
    /// The presenting client's policy.
    pub policy: TokenPolicy,
    pub now: Timestamp,
    /// The caller's address, for the audit trail.
    pub address: Option<String>,
    /// See [`super::Refresh::horizon`].
    pub horizon: Timestamp,
    /// What it opens where nobody was before; why not, where it counts for nothing by itself any more.
    pub opening: Result<Opening, Reason>,
}

/// The session that a legacy token is to become.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Last used at the moment of the redemption.
    pub session: Session,
    /// See [`super::OpenSession::credential_epoch`].
    pub credential_epoch: i64,
    /// When the user logged in, as far as the token tells: a login from before all sessions of the user were ended opens
    /// none.
    pub logged_in_at: Option<Timestamp>,
    /// Until when the token must be recognised.
    pub keep_until: Timestamp,
    pub audit: AuditEvent,
}

/// What the presentation of a legacy token came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedeemOutcome {
    Opened,
    /// It is a retry: the session that it has opened, whose first refresh token is the answer again.
    Retried {
        session: Box<Session>,
        late: bool,
    },
    /// The session that it had opened has been ended, if it was not over before.
    Replayed,
    /// Nothing was changed.
    Refused(RedeemRefusal),
}

/// Why a legacy token changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeemRefusal {
    /// It counts for nothing any more, and nobody has redeemed it. Not audited.
    NotRedeemed(Reason),
    /// It counts for nothing any more, but by now it would be a retry.
    Lapsed(Reason),
    /// The user was disabled, deleted or given another password in between. Not audited.
    UserChanged,
    /// All sessions of the user were ended after this login. Not audited.
    LoggedOut,
    /// What is the matter with the session that it has opened.
    Session(Refusal),
}

/// A legacy token that has opened a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedeemedToken {
    /// Who brought it.
    pub client_id: ClientId,
    pub sid: SessionId,
    pub redeemed_at: Timestamp,
}

/// The bits of `noted` beside those of refusals (stored: never renumber).
const REPLAYED: i64 = 1 << 16;
const LAPSED: i64 = 1 << 17;
const RETRIED: i64 = 1 << 18;
const RETRIED_LATE: i64 = 1 << 19;

/// The tokens of a batch as the database has them.
#[derive(Default)]
pub(super) struct Redemptions {
    redeemed: HashMap<[u8; 32], Redeemed>,
    /// Hashes that this batch has written and whose session is still to be opened.
    won: HashSet<[u8; 32]>,
    /// The users whose tokens have opened a session, and when first.
    moved: BTreeMap<Sub, Timestamp>,
}

impl Redemptions {
    /// Writes the hashes of all tokens that may open a session, and reads those that were there.
    pub async fn prepare(jobs: &[GroupJob], tx: &mut Tx, users: &Users) -> DbResult<Self> {
        let requests = || {
            jobs.iter().filter_map(|job| match job {
                GroupJob::Redeem(job) => Some(job.request()),
                _ => None,
            })
        };
        let mut rows = BTreeMap::new();
        for request in requests() {
            let Ok(Opening { session, keep_until, .. }) = admissible(request, users) else { continue };
            rows.entry(request.hash).or_insert(NewRow {
                issuer: &request.issuer,
                client_id: &session.client_id,
                sub: &session.sub,
                sid: session.id,
                redeemed_at: session.last_used_at,
                keep_until: *keep_until,
            });
        }
        let mut redemptions = Self::default();
        if !rows.is_empty() {
            redemptions.won.extend(legacy::insert(tx, &rows).await?);
        }
        let others: HashSet<&[u8; 32]> =
            requests().map(|request| &request.hash).filter(|hash| !redemptions.won.contains(*hash)).collect();
        if !others.is_empty() {
            redemptions.redeemed = legacy::read(tx, others).await?;
        }
        Ok(redemptions)
    }

    /// The sessions that tokens of this batch have opened before it.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.redeemed.values().map(|row| row.sid)
    }

    /// Decides one job on the sessions in memory.
    pub fn decide(
        &mut self,
        request: &RedeemToken,
        users: &Users,
        held: &mut HashMap<SessionId, Held>,
        effects: &mut Effects,
    ) -> DbResult<RedeemOutcome> {
        let opening = admissible(request, users);
        if self.won.contains(&request.hash) {
            return match opening {
                Ok(opening) => self.open(request, opening, held, effects),
                Err(refusal) => Ok(RedeemOutcome::Refused(refusal)),
            };
        }
        let Some(token) = self.redeemed.get_mut(&request.hash) else {
            // The insert found a row that was gone before it could be read: the sweep came between.
            return opening.map_or_else(|refusal| Ok(RedeemOutcome::Refused(refusal)), |_| Err(DbError::Contended));
        };
        if token.client_id != request.client_id {
            return refused(request, token, Refusal::WrongClient, effects);
        }
        match held.get_mut(&token.sid) {
            Some(held) => meet(request, token, held, effects),
            None => {
                if token.is_news(REPLAYED) {
                    effects.audit.push(&event(request, token, AuditType::LegacyReplayed, json!({})))?;
                }
                Ok(RedeemOutcome::Replayed)
            }
        }
    }

    fn open(
        &mut self,
        request: &RedeemToken,
        opening: &Opening,
        held: &mut HashMap<SessionId, Held>,
        effects: &mut Effects,
    ) -> DbResult<RedeemOutcome> {
        let session = &opening.session;
        self.won.remove(&request.hash);
        self.redeemed.insert(
            request.hash,
            Redeemed {
                client_id: session.client_id.clone(),
                sub: session.sub.clone(),
                sid: session.id,
                redeemed_at: session.last_used_at,
                noted: 0,
                changed: false,
            },
        );
        if held.insert(session.id, Held::new(session.clone())).is_some() {
            return Err(DbError::Row(format!("session {} is there already", session.id)));
        }
        self.moved.entry(session.sub.clone()).or_insert(session.last_used_at);
        effects.audit.push(&opening.audit)?;
        Ok(RedeemOutcome::Opened)
    }

    /// Writes what the trail has heard of the tokens, and who has moved.
    pub fn finish(self, tx: &mut Tx) -> DbResult<()> {
        legacy::note(tx, &self.redeemed)?;
        legacy::moved(tx, &self.moved)
    }
}

/// What the request would open, if its token still counts and its user has not changed.
fn admissible<'r>(request: &'r RedeemToken, users: &Users) -> Result<&'r Opening, RedeemRefusal> {
    let opening = request.opening.as_ref().map_err(|reason| RedeemRefusal::NotRedeemed(*reason))?;
    let user = users.unchanged(&opening.session.sub, opening.credential_epoch).ok_or(RedeemRefusal::UserChanged)?;
    if was_logged_out(opening.logged_in_at, user.sessions_ended_at) {
        return Err(RedeemRefusal::LoggedOut);
    }
    Ok(opening)
}

/// A token meets the session that it has opened.
fn meet(
    request: &RedeemToken,
    token: &mut Redeemed,
    held: &mut Held,
    effects: &mut Effects,
) -> DbResult<RedeemOutcome> {
    let back = Return {
        client_id: &request.client_id,
        redeemed_at: token.redeemed_at,
        lapsed: request.opening.is_err(),
        now: request.now,
    };
    let (outcome, notices) = come_back(&mut held.session, back, &request.policy);
    let generation = held.session.chain.as_ref().map(|chain| chain.generation);
    held.changed |= !notices.is_empty();
    match outcome {
        ReturnOutcome::Retried { late } => {
            let news = token.is_news(if late { RETRIED_LATE } else { RETRIED });
            if notices.contains(&Notice::Retried { late }) || (generation.is_none() && news) {
                let detail = json!({ "generation": generation, "late": late });
                effects.audit.push(&event(request, token, AuditType::RefreshRetried, detail))?;
            }
            if notices.contains(&Notice::RetryPattern) {
                let detail = json!({ "generation": generation });
                effects.audit.push(&event(request, token, AuditType::RetryPattern, detail))?;
            }
            Ok(RedeemOutcome::Retried { session: Box::new(held.session.clone()), late })
        }
        ReturnOutcome::Replayed => {
            held.changed = true;
            token.is_news(REPLAYED);
            let detail = json!({ "current": generation });
            effects.audit.push(&event(request, token, AuditType::LegacyReplayed, detail))?;
            effects.ended(&held.session, request.horizon);
            Ok(RedeemOutcome::Replayed)
        }
        ReturnOutcome::Lapsed => {
            let reason = match &request.opening {
                Err(reason) => *reason,
                Ok(_) => return Err(DbError::Row("a token that counts has lapsed".into())),
            };
            if token.is_news(LAPSED) {
                let detail = json!({ "reason": reason.as_str() });
                effects.audit.push(&event(request, token, AuditType::LegacyRefused, detail))?;
            }
            Ok(RedeemOutcome::Refused(RedeemRefusal::Lapsed(reason)))
        }
        ReturnOutcome::Refused(refusal) => refused(request, token, refusal, effects),
    }
}

fn refused(
    request: &RedeemToken,
    token: &mut Redeemed,
    refusal: Refusal,
    effects: &mut Effects,
) -> DbResult<RedeemOutcome> {
    let (bit, mut detail) = super::group::refusal_entry(refusal);
    // What the client is told: of the session it learns nothing.
    if refusal.public() == Reason::UnknownSession {
        detail["reason"] = Reason::TokenInactive.as_str().into();
    }
    if token.is_news(bit) {
        effects.audit.push(&event(request, token, AuditType::LegacyRefused, detail))?;
    }
    Ok(RedeemOutcome::Refused(RedeemRefusal::Session(refusal)))
}

fn event(request: &RedeemToken, token: &Redeemed, kind: AuditType, mut detail: serde_json::Value) -> AuditEvent {
    detail["issuer"] = request.issuer.as_str().into();
    let actor = Actor { who: request.client_id.to_string(), via: None, address: request.address.clone() };
    about(request.now, kind, actor, (&token.sub, &token.client_id, token.sid), detail)
}
