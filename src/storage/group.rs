//! The hot operations, carried out many at a time in one transaction (RFC 6749 section 6, RFC 7009).
//!
//! A batch reads its rows in one statement per table, decides every job in arrival order on a copy in memory, and writes
//! each table in one statement: what it costs is statements, not jobs. Users are locked before sign-ins, those before
//! codes and tokens, those before sessions, and each in the order of their ids, so that no two transactions wait for each
//! other in a circle.

use std::collections::HashMap;

use serde_json::json;
use tokio::sync::oneshot;

use super::assertions;
use super::audit::AuditRows;
use super::codes::{self, CodeRedemptions, CodeRow, NewCode};
use super::logins::{self, Addresses, Users};
use super::logouts;
use super::redeem::Redemptions;
use super::sessions::{self, Held, SessionRow};
use super::sql::{DbResult, JsonRows, args};
use super::throttles;
use super::tx::Tx;
use super::{
    AssertionOutcome, AssertionUse, EndOutcome, EndSession, OpenOutcome, OpenSession, RedeemCode, RedeemCodeOutcome,
    RedeemOutcome, RedeemToken, Refresh, Refreshed, RenewOutcome, RenewSession, ReserveAttempt, SettleAttempt,
    StoreError,
};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::failures;
use crate::domain::ids::{ClientId, SessionId, Sub};
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::session::{ChainKeys, EndReason, Notice, Outcome, Refusal, Session, present, renew};
use crate::domain::time::Timestamp;

/// Access tokens to make inactive.
#[derive(Debug)]
pub(super) struct Revoke {
    pub revocation: Revocation,
    pub audit: Option<AuditEvent>,
}

/// A request, what was decided about it, and who waits for it.
pub(super) struct Pending<R, T> {
    request: R,
    outcome: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<R, T> Pending<R, T> {
    pub fn new(request: R, reply: oneshot::Sender<Result<T, StoreError>>) -> Self {
        Self { request, outcome: None, reply }
    }

    pub fn request(&self) -> &R {
        &self.request
    }

    pub fn decide(&mut self, outcome: T) {
        self.outcome = Some(outcome);
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn answer(self, committed: Result<(), StoreError>) {
        let outcome = committed.and_then(|()| {
            self.outcome.ok_or_else(|| StoreError::Inconsistent("a job was committed without an outcome".into()))
        });
        // A caller that went away does not undo its job.
        let _ = self.reply.send(outcome);
    }
}

/// A job that is committed together with others.
pub(super) enum GroupJob {
    UseAssertion(Pending<AssertionUse, AssertionOutcome>),
    Open(Box<Pending<OpenSession, OpenOutcome>>),
    CreateCode(Box<Pending<NewCode, ()>>),
    RedeemCode(Box<Pending<RedeemCode, RedeemCodeOutcome>>),
    Redeem(Box<Pending<RedeemToken, RedeemOutcome>>),
    Refresh(Box<Pending<Refresh, Refreshed>>),
    Renew(Box<Pending<RenewSession, RenewOutcome>>),
    End(Box<Pending<EndSession, EndOutcome>>),
    Revoke(Box<Pending<Revoke, ()>>),
    Record(Pending<Vec<AuditEvent>, ()>),
    Reserve(Box<Pending<ReserveAttempt, failures::Verdict>>),
    Settle(Box<Pending<SettleAttempt, ()>>),
}

impl GroupJob {
    /// Whether the caller has gone of one who presents what is good for one use. What is not begun yet is better left:
    /// the client will present it again, perhaps has done so elsewhere and gone on from there, and late as it is this
    /// would look like a thief's.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Refresh(job) => job.is_abandoned(),
            Self::RedeemCode(job) => job.is_abandoned(),
            _ => false,
        }
    }

    /// Answers the caller, with the outcome if it was committed.
    pub fn answer(self, committed: Result<(), StoreError>) {
        match self {
            Self::UseAssertion(job) => job.answer(committed),
            Self::Open(job) => job.answer(committed),
            Self::CreateCode(job) => job.answer(committed),
            Self::RedeemCode(job) => job.answer(committed),
            Self::Redeem(job) => job.answer(committed),
            Self::Refresh(job) => job.answer(committed),
            Self::Renew(job) => job.answer(committed),
            Self::End(job) => job.answer(committed),
            Self::Revoke(job) => job.answer(committed),
            Self::Record(job) => job.answer(committed),
            Self::Reserve(job) => job.answer(committed),
            Self::Settle(job) => job.answer(committed),
        }
    }
}

/// What the jobs of a batch leave behind beside their rows.
#[derive(Default)]
pub(super) struct Effects {
    pub audit: AuditRows,
    pub revocations: Vec<Revocation>,
    /// Sessions that ended without a word of their clients, which are to hear of it.
    untold: Vec<SessionId>,
}

impl Effects {
    /// Notes what follows from the end of a session: its access tokens are inactive, and its client is to hear of it,
    /// unless that has ended it itself.
    pub fn ended(&mut self, session: &Session, horizon: Timestamp) {
        self.revocations.push(Revocation { what: Revoked::Session(session.id), expires_at: horizon });
        if session.ended.is_some_and(|(_, reason)| reason != EndReason::RevokedByClient) {
            self.untold.push(session.id);
        }
    }
}

/// Carries out a batch within its transaction, and notes every job's outcome, to be answered after the commit.
///
/// # Errors
/// Nothing of the batch may be committed then; its jobs may be tried one by one.
pub(super) async fn carry_out(jobs: &mut [GroupJob], tx: &mut Tx, keys: &dyn ChainKeys) -> DbResult<()> {
    let mut effects = Effects::default();
    // These come to a writer of their own, and so never with any others.
    throttles::carry_out(jobs, tx).await?;
    // Before all locks: another node may have one of these rows under way.
    assertions::carry_out(jobs, tx).await?;
    let users = read_users(jobs, tx).await?;
    open_sessions(jobs, tx, &users, &mut effects)?;
    create_codes(jobs, tx)?;
    let mut codes = CodeRedemptions::prepare(jobs, tx).await?;
    let mut redemptions = Redemptions::prepare(jobs, tx, &users).await?;
    let stepping = Stepping { keys, users: &users, codes: &mut codes, redemptions: &mut redemptions };
    step_sessions(jobs, tx, stepping, &mut effects).await?;
    codes.finish(tx)?;
    redemptions.finish(tx)?;
    for job in jobs {
        match job {
            GroupJob::Revoke(job) => {
                let Revoke { revocation, audit } = &job.request;
                effects.revocations.push(revocation.clone());
                if let Some(audit) = audit {
                    effects.audit.push(audit)?;
                }
                job.outcome = Some(());
            }
            GroupJob::Record(job) => {
                for event in &job.request {
                    effects.audit.push(event)?;
                }
                job.outcome = Some(());
            }
            GroupJob::UseAssertion(_)
            | GroupJob::Open(_)
            | GroupJob::CreateCode(_)
            | GroupJob::RedeemCode(_)
            | GroupJob::Redeem(_)
            | GroupJob::Refresh(_)
            | GroupJob::Renew(_)
            | GroupJob::End(_)
            | GroupJob::Reserve(_)
            | GroupJob::Settle(_) => {}
        }
    }
    tx.revoke(effects.revocations)?;
    tx.record_rows(effects.audit);
    Ok(())
}

/// Reads the users of the batch's logins.
async fn read_users(jobs: &[GroupJob], tx: &mut Tx) -> DbResult<Users> {
    let mut statement = logins::READ;
    let subs = jobs
        .iter()
        .filter_map(|job| match job {
            GroupJob::Open(job) => Some(job.request.session.sub.as_str()),
            GroupJob::RedeemCode(job) => Some(job.request.session.sub.as_str()),
            GroupJob::Redeem(job) => {
                let opening = job.request.opening.as_ref().ok()?;
                // The users of legacy tokens are written to: they have moved.
                statement = logins::READ_TO_WRITE;
                Some(opening.session.sub.as_str())
            }
            _ => None,
        })
        .collect();
    logins::read(tx, statement, subs).await
}

/// Opens the sessions of logins whose user is still the one that was checked.
fn open_sessions(jobs: &mut [GroupJob], tx: &mut Tx, users: &Users, effects: &mut Effects) -> DbResult<()> {
    let mut opened = JsonRows::default();
    let mut addresses = Addresses::default();
    for job in jobs {
        let GroupJob::Open(job) = job else { continue };
        let login = &job.request;
        if users.unchanged(&login.session.sub, login.credential_epoch).is_none() {
            job.outcome = Some(OpenOutcome::UserChanged);
            continue;
        }
        opened.push(&SessionRow::insert(&login.session))?;
        addresses.add(&login.session.sub, login.known_address.as_ref(), login.session.started_at);
        effects.audit.push(&login.audit)?;
        job.outcome = Some(OpenOutcome::Opened);
    }
    tx.write(sessions::INSERT, opened);
    addresses.remember(tx)
}

/// Writes the batch's new codes.
fn create_codes(jobs: &mut [GroupJob], tx: &mut Tx) -> DbResult<()> {
    let mut rows = JsonRows::default();
    for job in jobs {
        let GroupJob::CreateCode(job) = job else { continue };
        rows.push(&CodeRow::from(&job.request))?;
        job.outcome = Some(());
    }
    tx.write(codes::INSERT, rows);
    Ok(())
}

/// What sessions are stepped with.
struct Stepping<'a> {
    keys: &'a dyn ChainKeys,
    users: &'a Users,
    codes: &'a mut CodeRedemptions,
    redemptions: &'a mut Redemptions,
}

/// Steps and ends sessions, and opens those of codes and legacy tokens: one reading of all their rows, one decision per
/// job, one guarded writing.
async fn step_sessions(
    jobs: &mut [GroupJob],
    tx: &mut Tx,
    Stepping { keys, users, codes, redemptions }: Stepping<'_>,
    effects: &mut Effects,
) -> DbResult<()> {
    let mut any = false;
    let mut ids: Vec<SessionId> = jobs
        .iter()
        .filter_map(|job| {
            let id = match job {
                GroupJob::Refresh(job) => Some(job.request.presented.session),
                GroupJob::Renew(job) => Some(job.request.id),
                GroupJob::End(job) => Some(job.request.id),
                _ => None,
            };
            any |= id.is_some() || matches!(job, GroupJob::Redeem(_) | GroupJob::RedeemCode(_));
            id
        })
        .chain(codes.sessions())
        .chain(redemptions.sessions())
        .collect();
    if !any {
        return Ok(());
    }
    ids.sort_unstable();
    ids.dedup();
    let mut held = HashMap::with_capacity(ids.len());
    if !ids.is_empty() {
        for row in tx.fetch(sessions::READ, args![JsonRows::of(ids)?]).await? {
            let row = sessions::held_of(&row)?;
            held.insert(row.session.id, row);
        }
    }
    for job in jobs {
        match job {
            GroupJob::RedeemCode(job) => {
                job.outcome = Some(codes.decide(&job.request, users, &mut held, effects)?);
            }
            GroupJob::Redeem(job) => {
                job.outcome = Some(redemptions.decide(&job.request, users, &mut held, effects)?);
            }
            GroupJob::Refresh(job) => {
                let row = held.get_mut(&job.request.presented.session);
                job.outcome = Some(refresh(&job.request, row, keys, effects)?);
            }
            GroupJob::Renew(job) => {
                let row = held.get_mut(&job.request.id);
                job.outcome = Some(go_on(&job.request, row, effects)?);
            }
            GroupJob::End(job) => {
                let row = held.get_mut(&job.request.id);
                job.outcome = Some(end(&job.request, row, effects)?);
            }
            _ => {}
        }
    }
    write_back(tx, &held)?;
    logouts::enqueue(tx, effects.untold.drain(..))
}

/// Writes every new row, and every changed one once, or fails if one is not as it was read.
fn write_back(tx: &mut Tx, held: &HashMap<SessionId, Held>) -> DbResult<()> {
    let fresh = held.values().filter(|row| row.is_new).map(|row| SessionRow::insert(&row.session));
    tx.write(sessions::INSERT, JsonRows::of(fresh)?);
    let changed = held.values().filter(|row| row.changed && !row.is_new).map(SessionRow::update);
    // The guard admits no other row and the ids are distinct, so equal numbers are equal sets.
    tx.write_guarded(sessions::UPDATE, JsonRows::of(changed)?);
    Ok(())
}

fn refresh(
    request: &Refresh,
    held: Option<&mut Held>,
    keys: &dyn ChainKeys,
    effects: &mut Effects,
) -> DbResult<Refreshed> {
    // Not audited: whoever holds a token of a swept session could fill the trail with it.
    let Some(held) = held else {
        let outcome = Outcome::Refused(Refusal::UnknownSession);
        return Ok(Refreshed { outcome, session: None, pattern: false });
    };
    let verdict = present(&mut held.session, &request.presented, &request.policy, keys, request.now);
    held.changed |= verdict.changed;
    let mut note = |kind, session: &Session, detail| effects.audit.push(&event(request, session, kind, detail));

    let mut pattern = false;
    let generation = held.session.chain.as_ref().map(|chain| chain.generation);
    for notice in &verdict.notices {
        match notice {
            Notice::Retried { late } => {
                let detail = json!({ "generation": generation, "late": late });
                note(AuditType::RefreshRetried, &held.session, detail)?;
            }
            Notice::RetryPattern => {
                pattern = true;
                note(AuditType::RetryPattern, &held.session, json!({ "generation": generation }))?;
            }
        }
    }
    match &verdict.outcome {
        Outcome::Replayed { presented, current } => {
            let detail = json!({ "presented": presented, "current": current });
            note(AuditType::RefreshReused, &held.session, detail)?;
            effects.ended(&held.session, request.horizon);
        }
        Outcome::Healed { from, to, .. } => {
            note(AuditType::RefreshHealed, &held.session, json!({ "from": from, "to": to }))?;
        }
        Outcome::Refused(refusal) => {
            if let Some(detail) = news(held, *refusal) {
                note(AuditType::RefreshRefused, &held.session, detail)?;
            }
        }
        Outcome::Rotated(_) | Outcome::RetryOfParent { .. } | Outcome::Kept(_) => {}
    }
    Ok(Refreshed { outcome: verdict.outcome, session: Some(held.session.clone()), pattern })
}

/// Lets a session go on for one of its access tokens.
fn go_on(request: &RenewSession, held: Option<&mut Held>, effects: &mut Effects) -> DbResult<RenewOutcome> {
    let RenewSession { client_id, policy, latest_expiry, now, .. } = request;
    let Some(held) = held else { return Ok(RenewOutcome::Refused(Refusal::UnknownSession)) };
    match renew(&mut held.session, client_id, policy, *latest_expiry, *now) {
        Ok(()) => {
            held.changed = true;
            effects.audit.push(&request.audit)?;
            Ok(RenewOutcome::Renewed(Box::new(held.session.clone())))
        }
        Err(refusal) => {
            if let Some(detail) = news(held, refusal) {
                let actor = Actor { who: client_id.to_string(), via: None, address: request.address.clone() };
                effects.audit.push(&about_session(*now, AuditType::RefreshRefused, actor, &held.session, detail))?;
            }
            Ok(RenewOutcome::Refused(refusal))
        }
    }
}

/// What to note of a refusal, each kind once per session: a client that asks in a loop does not fill the trail.
fn news(held: &mut Held, refusal: Refusal) -> Option<serde_json::Value> {
    let (bit, detail) = refusal_entry(refusal);
    if held.refusals_noted & bit != 0 {
        return None;
    }
    held.refusals_noted |= bit;
    held.changed = true;
    Some(detail)
}

fn event(request: &Refresh, session: &Session, kind: AuditType, detail: serde_json::Value) -> AuditEvent {
    let who = request.presented.client_id.as_str().to_owned();
    about_session(request.now, kind, Actor { who, via: None, address: request.address.clone() }, session, detail)
}

fn about_session(
    at: Timestamp,
    kind: AuditType,
    actor: Actor,
    session: &Session,
    detail: serde_json::Value,
) -> AuditEvent {
    about(at, kind, actor, (&session.sub, &session.client_id, session.id), detail)
}

/// An entry about a session and whose it is.
pub(super) fn about(
    at: Timestamp,
    kind: AuditType,
    actor: Actor,
    (sub, client_id, sid): (&Sub, &ClientId, SessionId),
    detail: serde_json::Value,
) -> AuditEvent {
    AuditEvent::new(at, kind, actor).about_user(sub).about_client(client_id).about_session(sid).detail(detail)
}

/// The bit under which a session remembers that a kind of refusal was audited (stored: never renumber), and the entry's
/// detail: what the client was told, and the cause where that hides it.
pub(super) fn refusal_entry(refusal: Refusal) -> (i64, serde_json::Value) {
    let reason = refusal.public().as_str();
    let hidden = |cause| json!({ "reason": reason, "cause": cause });
    match refusal {
        Refusal::UnknownSession => (1, hidden("not_renewable")),
        Refusal::WrongClient => (2, hidden("wrong_client")),
        Refusal::Ended(ended) => (4, hidden(ended.as_str())),
        Refusal::IdleExpired => (8, json!({ "reason": reason })),
        Refusal::AbsoluteExpired => (16, json!({ "reason": reason })),
        Refusal::AheadOfDatabase => (32, hidden("ahead_of_database")),
        Refusal::Unproven => (64, hidden("unproven")),
    }
}

fn end(request: &EndSession, held: Option<&mut Held>, effects: &mut Effects) -> DbResult<EndOutcome> {
    let Some(held) = held else { return Ok(EndOutcome::NotFound) };
    if request.of_client.as_ref().is_some_and(|client_id| *client_id != held.session.client_id) {
        return Ok(EndOutcome::NotFound);
    }
    if !held.session.end(request.now, request.reason) {
        return Ok(EndOutcome::EndedBefore);
    }
    held.changed = true;
    effects.ended(&held.session, request.horizon);
    effects.audit.push(&request.audit)?;
    Ok(EndOutcome::Ended)
}
