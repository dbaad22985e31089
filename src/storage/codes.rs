//! The table of authorization codes, and their exchange within a batch: each opens one session, on whatever node (RFC
//! 6749 sections 4.1.2 and 4.1.3).
//!
//! Who redeems a code is decided by the one guarded update of its row. It is in one transaction with the session and the
//! audit entry, so that no crash leaves one without the others.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::json;

use super::group::{Effects, GroupJob, about};
use super::logins::Users;
use super::readers::Readers;
use super::sessions::Held;
use super::sign_ins;
use super::sql::{DbError, DbResult, Hex, JsonRows, Row, Sql, args, from_json};
use super::tx::Tx;
use crate::domain::audit::{Actor, AuditEvent, AuditType};
use crate::domain::code::{Challenge, Code};
use crate::domain::ids::{ClientId, SessionId, SignInId, Sub};
use crate::domain::scope::Scope;
use crate::domain::session::{EndReason, Session};
use crate::domain::sign_in::SignInEnd;
use crate::domain::time::Timestamp;

/// A code that [`crate::domain::code::check`] has found good, or used before, to exchange for a session.
#[derive(Clone, Debug)]
pub struct RedeemCode {
    /// SHA-256 of the code.
    pub hash: [u8; 32],
    /// What it is to open: of the code's client, user and sign-in.
    pub session: Session,
    pub now: Timestamp,
    /// The caller's address, for the audit trail.
    pub address: Option<String>,
    /// See [`super::Refresh::horizon`].
    pub horizon: Timestamp,
    /// Written if the session opens.
    pub audit: AuditEvent,
}

/// What the exchange of a code came to. Nothing was changed but by the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeemCodeOutcome {
    Opened,
    /// It was exchanged before: the session that this opened has been ended, if it was not over before.
    Replayed {
        sid: SessionId,
    },
    /// The user was disabled, deleted or given another password in between.
    UserChanged,
    /// The sign-in that the code came from has ended, and the session would not have outlived that.
    SignInEnded,
    /// No such code of this client: it never was, it was swept, or it went with the sessions of its user or client.
    Gone,
}

/// A code on its way into the table.
#[derive(Clone, Debug)]
pub(super) struct NewCode {
    pub hash: [u8; 32],
    pub code: Code,
}

#[derive(Serialize)]
pub(super) struct CodeRow<'a> {
    hash: Hex<'a>,
    client_id: &'a ClientId,
    redirect_uri: Option<&'a str>,
    challenge: Option<Hex<'a>>,
    nonce: Option<&'a str>,
    scope: &'a Scope,
    audience: String,
    sub: &'a Sub,
    credential_epoch: i64,
    sign_in: SignInId,
    auth_time: i64,
    acr: Option<&'a str>,
    claims: Option<&'a str>,
    created_at: i64,
    expires_at: i64,
}

impl<'a> From<&'a NewCode> for CodeRow<'a> {
    fn from(NewCode { hash, code }: &'a NewCode) -> Self {
        Self {
            hash: Hex(hash),
            client_id: &code.client_id,
            redirect_uri: code.redirect_uri.as_deref(),
            challenge: code.challenge.as_ref().map(|challenge| Hex(challenge.as_bytes())),
            nonce: code.nonce.as_deref(),
            scope: &code.scope,
            audience: serde_json::Value::from(code.audience.as_slice()).to_string(),
            sub: &code.sub,
            credential_epoch: code.credential_epoch,
            sign_in: code.sign_in,
            auth_time: code.auth_time.millis(),
            acr: code.acr.as_deref(),
            claims: code.claims.as_deref(),
            created_at: code.created_at.millis(),
            expires_at: code.expires_at.millis(),
        }
    }
}

macro_rules! columns {
    () => {
        "client_id, redirect_uri, challenge, nonce, scope, audience, sub, credential_epoch, sign_in, auth_time, acr, \
         claims, created_at, expires_at"
    };
}

pub(super) const INSERT: Sql = from_json!(
    concat!("INSERT INTO codes (hash, ", columns!(), ") SELECT hash, ", columns!(), " FROM "),
    [
        hash bytea, client_id text, redirect_uri text, challenge bytea, nonce text, scope text, audience text, sub text,
        credential_epoch bigint, sign_in text, auth_time bigint, acr text, claims text, created_at bigint,
        expires_at bigint,
    ],
    ""
);

fn code_of(row: &Row) -> DbResult<Code> {
    Ok(Code {
        client_id: ClientId::new(row.get::<&str>("client_id")?),
        redirect_uri: row.get("redirect_uri")?,
        challenge: row.hash_if_any("challenge")?.map(Challenge::from_bytes),
        nonce: row.get("nonce")?,
        scope: row.parsed("scope", |text| Scope::parse(text).ok())?,
        audience: row.json("audience")?,
        sub: Sub::new(row.get::<&str>("sub")?),
        credential_epoch: row.get("credential_epoch")?,
        sign_in: row.parsed("sign_in", |text| text.parse().ok())?,
        auth_time: row.time("auth_time")?,
        acr: row.get("acr")?,
        claims: row.get("claims")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        redeemed: redeemed_of(row)?,
    })
}

fn redeemed_of(row: &Row) -> DbResult<Option<(Timestamp, SessionId)>> {
    let Some(at) = row.time_if_any("redeemed_at")? else { return Ok(None) };
    Ok(Some((at, row.parsed("sid", |text| text.parse().ok())?)))
}

pub(super) async fn one(readers: &Readers, hash: &[u8; 32]) -> DbResult<Option<Code>> {
    const TEXT: &str = concat!("SELECT ", columns!(), ", redeemed_at, sid FROM codes WHERE hash = $1");
    readers.fetch(TEXT, args![hash]).await?.first().map(code_of).transpose()
}

macro_rules! waiting {
    () => {
        "SELECT hash FROM codes WHERE expires_at > $1 AND redeemed_at IS NULL \
         AND (CAST($2 AS TEXT) IS NULL OR sub = $2) AND (CAST($3 AS TEXT) IS NULL OR client_id = $3)"
    };
}

/// Removes the codes of a user, of a client, or of both together that could still be exchanged.
pub(super) async fn forget(
    tx: &mut Tx,
    sub: Option<&Sub>,
    client_id: Option<&ClientId>,
    now: Timestamp,
) -> DbResult<()> {
    const TEXT: Sql = Sql {
        sqlite: concat!("DELETE FROM codes WHERE hash IN (", waiting!(), ")"),
        // Locked in the order that batches lock them in.
        postgres: concat!("DELETE FROM codes WHERE hash = ANY (ARRAY(", waiting!(), " ORDER BY hash FOR UPDATE))"),
    };
    tx.execute(TEXT, args![now, sub, client_id]).await?;
    Ok(())
}

/// A code as a batch holds it: read once, decided on, written once.
#[derive(Debug)]
struct HeldCode {
    client_id: ClientId,
    sub: Sub,
    credential_epoch: i64,
    redeemed: Option<(Timestamp, SessionId)>,
    replayed_at: Option<Timestamp>,
    changed: bool,
}

/// Codes by the JSON array of their hashes in `$1`; on PostgreSQL locked in one order.
const READ: Sql = Sql {
    sqlite: "SELECT hash, client_id, sub, credential_epoch, redeemed_at, sid, replayed_at FROM codes \
             WHERE hash IN (SELECT unhex(substr(value, 3)) FROM json_each($1))",
    postgres: "SELECT hash, client_id, sub, credential_epoch, redeemed_at, sid, replayed_at FROM codes \
               WHERE hash = ANY (ARRAY(SELECT CAST(json_array_elements_text($1::json) AS bytea))) \
               ORDER BY hash FOR UPDATE",
};

/// The guard: a code is redeemed where nobody has redeemed it, and a replay noted where none was.
const WRITE: Sql = from_json!(
    "UPDATE codes SET redeemed_at = j.redeemed_at, sid = j.sid, replayed_at = j.replayed_at FROM ",
    [hash bytea, redeemed_at bigint, sid text, replayed_at bigint],
    " WHERE codes.hash = j.hash AND (codes.redeemed_at IS NULL OR codes.sid = j.sid) AND codes.replayed_at IS NULL"
);

#[derive(Serialize)]
struct RedeemedRow<'a> {
    hash: Hex<'a>,
    redeemed_at: i64,
    sid: SessionId,
    replayed_at: Option<i64>,
}

/// The codes of a batch as the database has them, and how their sign-ins stand.
#[derive(Debug, Default)]
pub(super) struct CodeRedemptions {
    codes: HashMap<[u8; 32], HeldCode>,
    sign_ins: HashMap<SignInId, Option<SignInEnd>>,
}

impl CodeRedemptions {
    /// Reads and locks the sign-ins, then the codes.
    pub async fn prepare(jobs: &[GroupJob], tx: &mut Tx) -> DbResult<Self> {
        let requests = || {
            jobs.iter().filter_map(|job| match job {
                GroupJob::RedeemCode(job) => Some(job.request()),
                _ => None,
            })
        };
        let mut redemptions = Self::default();
        let mut hashes: Vec<&[u8; 32]> = requests().map(|request| &request.hash).collect();
        if hashes.is_empty() {
            return Ok(redemptions);
        }
        let mut ids: Vec<SignInId> = requests().filter_map(|request| request.session.sign_in).collect();
        ids.sort_unstable();
        ids.dedup();
        redemptions.sign_ins.extend(sign_ins::read(tx, &ids).await?);
        hashes.sort_unstable();
        hashes.dedup();
        let hashes = JsonRows::of(hashes.into_iter().map(|hash| Hex(hash)))?;
        for row in tx.fetch(READ, args![hashes]).await? {
            let code = HeldCode {
                client_id: ClientId::new(row.get::<&str>("client_id")?),
                sub: Sub::new(row.get::<&str>("sub")?),
                credential_epoch: row.get("credential_epoch")?,
                redeemed: redeemed_of(&row)?,
                replayed_at: row.time_if_any("replayed_at")?,
                changed: false,
            };
            redemptions.codes.insert(row.hash("hash")?, code);
        }
        Ok(redemptions)
    }

    /// The sessions that codes of this batch have opened before it.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.codes.values().filter_map(|code| code.redeemed.map(|(_, sid)| sid))
    }

    /// Decides one job on the sessions in memory.
    pub fn decide(
        &mut self,
        request: &RedeemCode,
        users: &Users,
        held: &mut HashMap<SessionId, Held>,
        effects: &mut Effects,
    ) -> DbResult<RedeemCodeOutcome> {
        let session = &request.session;
        let Some(code) = self.codes.get_mut(&request.hash).filter(|code| code.client_id == session.client_id) else {
            return Ok(RedeemCodeOutcome::Gone);
        };
        if let Some((_, sid)) = code.redeemed {
            replay(request, code, (sid, held.get_mut(&sid)), effects)?;
            return Ok(RedeemCodeOutcome::Replayed { sid });
        }
        if code.sub != session.sub || users.unchanged(&code.sub, code.credential_epoch).is_none() {
            return Ok(RedeemCodeOutcome::UserChanged);
        }
        let goes_on = match session.sign_in.and_then(|id| self.sign_ins.get(&id)) {
            Some(None) => true,
            Some(Some(end)) => session.offline && end.spares_offline(),
            None => false,
        };
        if !goes_on {
            return Ok(RedeemCodeOutcome::SignInEnded);
        }
        code.redeemed = Some((request.now, session.id));
        code.changed = true;
        if held.insert(session.id, Held::new(session.clone())).is_some() {
            return Err(DbError::Row(format!("session {} is there already", session.id)));
        }
        effects.audit.push(&request.audit)?;
        Ok(RedeemCodeOutcome::Opened)
    }

    /// Writes what has become of the codes, or fails if one is not as it was read.
    pub fn finish(self, tx: &mut Tx) -> DbResult<()> {
        let changed = self.codes.iter().filter(|(_, code)| code.changed).filter_map(|(hash, code)| {
            let (redeemed_at, sid) = code.redeemed?;
            let replayed_at = code.replayed_at.map(Timestamp::millis);
            Some(RedeemedRow { hash: Hex(hash), redeemed_at: redeemed_at.millis(), sid, replayed_at })
        });
        tx.write_guarded(WRITE, JsonRows::of(changed)?);
        Ok(())
    }
}

/// Ends the session that a code has opened, and notes the first replay of it.
fn replay(
    request: &RedeemCode,
    code: &mut HeldCode,
    (sid, held): (SessionId, Option<&mut Held>),
    effects: &mut Effects,
) -> DbResult<()> {
    if let Some(held) = held
        && held.session.end(request.now, EndReason::CodeReused)
    {
        held.changed = true;
        effects.ended(&held.session, request.horizon);
    }
    if code.replayed_at.is_none() {
        code.replayed_at = Some(request.now);
        code.changed = true;
        let actor = Actor { who: code.client_id.to_string(), via: None, address: request.address.clone() };
        let whose = (&code.sub, &code.client_id, sid);
        effects.audit.push(&about(request.now, AuditType::CodeReplayed, actor, whose, json!({})))?;
    }
    Ok(())
}
