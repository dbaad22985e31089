//! The hot operations, carried out many at a time in one transaction (RFC 6749 section 6, RFC 7009).
//!
//! A batch reads its rows in one statement per table, decides every job in arrival order on a copy in memory, and writes
//! each table in one statement: what it costs is statements, not jobs. Users are locked before sessions, and each in
//! the order of their ids, so that no two transactions wait for each other in a circle.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;

use super::assertions;
use super::audit::AuditRows;
use super::redeem::Redemptions;
use super::sessions::{self, Held, SessionRow};
use super::sql::{DbError, DbResult, Hex, JsonRows, Sql, args, from_json};
use super::tx::Tx;
use super::{
    AssertionOutcome, AssertionUse, EndOutcome, EndSession, OpenOutcome, OpenSession, RedeemOutcome, RedeemToken,
    Refresh, Refreshed, RenewOutcome, RenewSession, StoreError,
};
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::ids::{ClientId, Jti, SessionId, Sub};
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::session::{ChainKeys, Notice, Outcome, Refusal, Session, present, renew};
use crate::domain::time::Timestamp;

/// One access token to make inactive.
#[derive(Debug)]
pub(super) struct RevokeToken {
    pub jti: Jti,
    pub expires_at: Timestamp,
    pub audit: AuditEvent,
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
    Redeem(Box<Pending<RedeemToken, RedeemOutcome>>),
    Refresh(Box<Pending<Refresh, Refreshed>>),
    Renew(Box<Pending<RenewSession, RenewOutcome>>),
    End(Box<Pending<EndSession, EndOutcome>>),
    RevokeToken(Box<Pending<RevokeToken, ()>>),
    Record(Pending<Vec<AuditEvent>, ()>),
}

impl GroupJob {
    /// Answers the caller, with the outcome if it was committed.
    pub fn answer(self, committed: Result<(), StoreError>) {
        match self {
            Self::UseAssertion(job) => job.answer(committed),
            Self::Open(job) => job.answer(committed),
            Self::Redeem(job) => job.answer(committed),
            Self::Refresh(job) => job.answer(committed),
            Self::Renew(job) => job.answer(committed),
            Self::End(job) => job.answer(committed),
            Self::RevokeToken(job) => job.answer(committed),
            Self::Record(job) => job.answer(committed),
        }
    }
}

/// What the jobs of a batch leave behind beside their rows.
#[derive(Default)]
pub(super) struct Effects {
    pub audit: AuditRows,
    pub revocations: Vec<Revocation>,
}

/// Carries out a batch within its transaction, and notes every job's outcome, to be answered after the commit.
///
/// # Errors
/// Nothing of the batch may be committed then; its jobs may be tried one by one.
pub(super) async fn carry_out(jobs: &mut [GroupJob], tx: &mut Tx, keys: &dyn ChainKeys) -> DbResult<()> {
    let mut effects = Effects::default();
    // Before all locks: another node may have one of these rows under way.
    assertions::carry_out(jobs, tx).await?;
    let users = read_users(jobs, tx).await?;
    open_sessions(jobs, tx, &users, &mut effects).await?;
    let mut redemptions = Redemptions::prepare(jobs, tx, &users).await?;
    step_sessions(jobs, tx, Stepping { keys, users: &users, redemptions: &mut redemptions }, &mut effects).await?;
    redemptions.finish(tx).await?;
    for job in jobs {
        match job {
            GroupJob::RevokeToken(job) => {
                let RevokeToken { jti, expires_at, audit } = &job.request;
                effects.revocations.push(Revocation { what: Revoked::Token(jti.clone()), expires_at: *expires_at });
                effects.audit.push(audit)?;
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
            | GroupJob::Redeem(_)
            | GroupJob::Refresh(_)
            | GroupJob::Renew(_)
            | GroupJob::End(_) => {}
        }
    }
    tx.revoke(effects.revocations).await?;
    tx.record_rows(effects.audit).await
}

/// Users by the JSON array of their subs in `$1`, kept from changing until the commit.
const READ_USERS: Sql = Sql {
    sqlite: "SELECT sub, credential_epoch, disabled, sessions_ended_at FROM users \
             WHERE sub IN (SELECT value FROM json_each($1))",
    postgres: "SELECT sub, credential_epoch, disabled, sessions_ended_at FROM users \
               WHERE sub = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY sub FOR SHARE",
};

/// The same for a batch that exchanges legacy tokens, which writes to its users: a lock that is shared first and raised
/// later would wait for another node's that does the same.
const READ_USERS_TO_MOVE: Sql = Sql {
    sqlite: READ_USERS.sqlite,
    postgres: "SELECT sub, credential_epoch, disabled, sessions_ended_at FROM users \
               WHERE sub = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY sub FOR NO KEY UPDATE",
};

const REMEMBER_ADDRESSES: Sql = from_json!(
    "INSERT INTO known_addresses (sub, address, seen_at) SELECT sub, address, seen_at FROM ",
    [sub text, address bytea, seen_at bigint],
    " WHERE true ON CONFLICT (sub, address) DO UPDATE SET \
     seen_at = CASE WHEN excluded.seen_at > known_addresses.seen_at \
         THEN excluded.seen_at ELSE known_addresses.seen_at END"
);

#[derive(Serialize)]
struct AddressRow<'a> {
    sub: &'a str,
    address: Hex<'a>,
    seen_at: i64,
}

/// What a login must not have missed of its user.
pub(super) struct UserNow {
    pub credential_epoch: i64,
    /// When all of the user's sessions were last ended.
    pub sessions_ended_at: Option<Timestamp>,
}

/// The users of a batch's logins, by their `sub`; not those that are disabled.
pub(super) type Users = HashMap<String, UserNow>;

async fn read_users(jobs: &[GroupJob], tx: &mut Tx) -> DbResult<Users> {
    let mut statement = READ_USERS;
    let mut subs: Vec<&str> = jobs
        .iter()
        .filter_map(|job| match job {
            GroupJob::Open(job) => Some(job.request.session.sub.as_str()),
            GroupJob::Redeem(job) => {
                let opening = job.request.opening.as_ref().ok()?;
                statement = READ_USERS_TO_MOVE;
                Some(opening.session.sub.as_str())
            }
            _ => None,
        })
        .collect();
    let mut users = Users::with_capacity(subs.len());
    if subs.is_empty() {
        return Ok(users);
    }
    subs.sort_unstable();
    subs.dedup();
    for row in tx.fetch(statement, args![JsonRows::of(subs)?]).await? {
        if !row.flag("disabled")? {
            let credential_epoch = row.get("credential_epoch")?;
            let sessions_ended_at = row.time_if_any("sessions_ended_at")?;
            users.insert(row.get::<String>("sub")?, UserNow { credential_epoch, sessions_ended_at });
        }
    }
    Ok(users)
}

/// Opens the sessions of logins whose user is still the one that was checked.
async fn open_sessions(jobs: &mut [GroupJob], tx: &mut Tx, users: &Users, effects: &mut Effects) -> DbResult<()> {
    let mut opened = JsonRows::default();
    // One row per user and address, in one order.
    let mut addresses = BTreeMap::new();
    for job in jobs {
        let GroupJob::Open(job) = job else { continue };
        let login = &job.request;
        let user = users.get(login.session.sub.as_str());
        if user.is_none_or(|user| user.credential_epoch != login.credential_epoch) {
            job.outcome = Some(OpenOutcome::UserChanged);
            continue;
        }
        opened.push(&SessionRow::insert(&login.session))?;
        if let Some(address) = &login.known_address {
            let seen_at = login.session.started_at;
            let latest = addresses.entry((login.session.sub.as_str(), address)).or_insert(seen_at);
            *latest = seen_at.max(*latest);
        }
        effects.audit.push(&login.audit)?;
        job.outcome = Some(OpenOutcome::Opened);
    }
    if !opened.is_empty() {
        tx.execute(sessions::INSERT, args![opened]).await?;
    }
    if !addresses.is_empty() {
        let rows = addresses.into_iter();
        let rows =
            rows.map(|((sub, address), seen_at)| AddressRow { sub, address: Hex(address), seen_at: seen_at.millis() });
        tx.execute(REMEMBER_ADDRESSES, args![JsonRows::of(rows)?]).await?;
    }
    Ok(())
}

/// What sessions are stepped with.
struct Stepping<'a> {
    keys: &'a dyn ChainKeys,
    users: &'a Users,
    redemptions: &'a mut Redemptions,
}

/// Steps and ends sessions, and opens those of legacy tokens: one reading of all their rows, one decision per job, one
/// guarded writing.
async fn step_sessions(
    jobs: &mut [GroupJob],
    tx: &mut Tx,
    Stepping { keys, users, redemptions }: Stepping<'_>,
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
            any |= id.is_some() || matches!(job, GroupJob::Redeem(_));
            id
        })
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
    write_back(tx, &held).await
}

/// Writes every new row, and every changed one once, or fails if one is not as it was read.
async fn write_back(tx: &mut Tx, held: &HashMap<SessionId, Held>) -> DbResult<()> {
    let fresh = JsonRows::of(held.values().filter(|row| row.is_new).map(|row| SessionRow::insert(&row.session)))?;
    if !fresh.is_empty() {
        tx.execute(sessions::INSERT, args![fresh]).await?;
    }
    let changed = JsonRows::of(held.values().filter(|row| row.changed && !row.is_new).map(SessionRow::update))?;
    if changed.is_empty() {
        return Ok(());
    }
    // The guard admits no other row and the ids are distinct, so equal numbers are equal sets.
    let decided = changed.len();
    let written = tx.fetch(sessions::UPDATE, args![changed]).await?;
    if written.len() == decided { Ok(()) } else { Err(DbError::Contended) }
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
            effects
                .revocations
                .push(Revocation { what: Revoked::Session(held.session.id), expires_at: request.horizon });
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
    effects.revocations.push(Revocation { what: Revoked::Session(request.id), expires_at: request.horizon });
    effects.audit.push(&request.audit)?;
    Ok(EndOutcome::Ended)
}
