//! The ending of many sessions at once, and of what ends with them: a user's sign-ins, a client's consents, and the codes
//! that still wait for their exchange. Clients that are to hear of it are noted.
//!
//! Rows are locked in one order everywhere: users, sign-ins, consents, codes, sessions, each by their ids.

use super::sql::{DbResult, JsonRows, Sql, Value, args};
use super::tx::Tx;
use super::writer::Decision;
use super::{codes, consents, logouts, sign_ins};
use crate::domain::ids::{ClientId, SessionId, SignInId, Sub};
use crate::domain::revocation::{Revocation, Revoked};
use crate::domain::session::EndReason;
use crate::domain::time::Timestamp;

/// Whose sessions to end.
#[derive(Clone, Debug)]
pub(super) enum Owner {
    /// A user's, with the user's sign-ins; one sign-in and what came from it may be spared.
    User { sub: Sub, except: Option<SignInId> },
    /// A client's; what users have allowed it is forgotten.
    Client(ClientId),
    /// Those of a sign-in that do not outlive it.
    SignIn(SignInId),
    /// Those that a client got from a user through codes.
    Consent { sub: Sub, client_id: ClientId },
}

/// When and why sessions end, and until when their access tokens must be remembered as inactive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub reason: EndReason,
    pub now: Timestamp,
    pub horizon: Timestamp,
}

/// A session that has been ended, and whose it was.
#[derive(Clone, Debug)]
pub(super) struct EndedSession {
    pub id: SessionId,
    pub client_id: ClientId,
}

/// How many rows of a kind end in one transaction at most: a fraction of a second's work. Whoever has a user's password
/// can open sessions without end, and must not thereby make it impossible to end them all.
pub(super) const AT_ONCE: u32 = 5_000;

/// There is more than one transaction ends: end some of it first ([`end_some`]).
#[derive(Debug)]
pub(super) struct TooMany {
    pub owner: Owner,
    pub ending: Ending,
}

/// What one transaction has ended.
#[derive(Debug)]
pub(super) struct Round {
    pub sessions: Vec<EndedSession>,
    /// Rows of the most numerous kind.
    most: u64,
}

impl Round {
    /// Whether there may be more.
    pub fn is_full(&self) -> bool {
        self.most >= u64::from(AT_ONCE)
    }
}

macro_rules! live_sessions {
    (@text $whose:literal) => {
        concat!("SELECT id FROM sessions WHERE ", $whose, " AND ended_at IS NULL AND idle_expires_at > $1 LIMIT $2")
    };
    // Rows are locked in the order that batches lock them in.
    ($whose:literal) => {
        Sql {
            sqlite: live_sessions!(@text $whose),
            postgres: concat!(
                "SELECT id FROM sessions WHERE id = ANY (ARRAY(",
                live_sessions!(@text $whose),
                ")) ORDER BY id FOR UPDATE"
            ),
        }
    };
}

const LIVE_OF_USER: Sql = live_sessions!("sub = $3 AND (CAST($4 AS TEXT) IS NULL OR sign_in IS NULL OR sign_in <> $4)");
const LIVE_OF_CLIENT: Sql = live_sessions!("client_id = $3");
const LIVE_OF_SIGN_IN: Sql = live_sessions!("sign_in = $3 AND offline = 0");
/// By the user's index, whatever the planner thinks of the client's: a client may have any number of sessions.
const LIVE_OF_CONSENT: Sql =
    live_sessions!("sub = $3 AND (CAST($4 AS TEXT) IS NULL OR client_id = $4) AND sign_in IS NOT NULL");

macro_rules! end {
    ($ids:literal) => {
        concat!(
            "UPDATE sessions SET ended_at = $2, end_reason = $3, row_version = row_version + 1 WHERE id ",
            $ids,
            " AND ended_at IS NULL RETURNING id, client_id"
        )
    };
}

const END: Sql = Sql {
    sqlite: end!("IN (SELECT value FROM json_each($1))"),
    postgres: end!("= ANY (ARRAY(SELECT json_array_elements_text($1::json)))"),
};

/// Ends all that is the owner's, and answers which sessions those were.
///
/// A session that expired so long ago that no access token of it can be live is left as it is: its reason stays right.
pub(super) async fn end_all(tx: &mut Tx, owner: Owner, ending: Ending) -> DbResult<Result<Vec<EndedSession>, TooMany>> {
    let round = end_up_to(tx, &owner, ending, AT_ONCE + 1).await?;
    Ok(if round.most > u64::from(AT_ONCE) { Err(TooMany { owner, ending }) } else { Ok(round.sessions) })
}

/// Ends some of what is the owner's.
pub(super) async fn end_some(tx: &mut Tx, owner: Owner, ending: Ending) -> DbResult<Decision<Round>> {
    end_up_to(tx, &owner, ending, AT_ONCE).await.map(Decision::Keep)
}

async fn end_up_to(tx: &mut Tx, owner: &Owner, ending: Ending, limit: u32) -> DbResult<Round> {
    let (others, live, mut whose) = match owner {
        Owner::User { sub, except } => {
            let sign_ins = sign_ins::end_of_user(tx, sub, *except, ending, limit).await?;
            codes::forget(tx, Some(sub), None, ending.now).await?;
            (sign_ins, LIVE_OF_USER, args![sub, *except])
        }
        Owner::Client(client_id) => {
            let consents = consents::forget_of_client(tx, client_id, limit).await?;
            codes::forget(tx, None, Some(client_id), ending.now).await?;
            (consents, LIVE_OF_CLIENT, args![client_id])
        }
        Owner::SignIn(id) => (0, LIVE_OF_SIGN_IN, args![*id]),
        Owner::Consent { sub, client_id } => {
            codes::forget(tx, Some(sub), Some(client_id), ending.now).await?;
            (0, LIVE_OF_CONSENT, args![sub, client_id])
        }
    };
    let longest_token = ending.horizon.since(ending.now);
    let expired_long_ago = Value::from(ending.now.minus(longest_token));
    let mut args = vec![expired_long_ago, limit.into()];
    args.append(&mut whose);
    let found = tx.fetch(live, args).await?;
    let found: Vec<SessionId> =
        found.iter().map(|row| row.parsed("id", |text| text.parse().ok())).collect::<DbResult<_>>()?;
    if found.is_empty() {
        return Ok(Round { sessions: Vec::new(), most: others });
    }
    let args = args![JsonRows::of(found)?, ending.now, ending.reason.as_str()];
    let mut sessions = Vec::new();
    for row in tx.fetch(END, args).await? {
        let id = row.parsed("id", |text| text.parse().ok())?;
        sessions.push(EndedSession { id, client_id: ClientId::new(row.get::<&str>("client_id")?) });
    }
    let revoked = |session: &EndedSession| {
        let what = Revoked::Session(session.id);
        Revocation { what, expires_at: ending.horizon }
    };
    tx.revoke(sessions.iter().map(revoked).collect())?;
    // A client that is being deleted is told nothing any more.
    if !matches!(owner, Owner::Client(_)) {
        logouts::enqueue(tx, sessions.iter().map(|session| session.id))?;
    }
    let most = others.max(sessions.len() as u64);
    Ok(Round { sessions, most })
}
