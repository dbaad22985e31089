//! What every login owes its user, whichever way it was made: the user is still the one who was checked, and the address
//! is known from then on.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::sql::{DbResult, Hex, JsonRows, Sql, args, from_json};
use super::tx::Tx;
use crate::domain::ids::Sub;
use crate::domain::time::Timestamp;

/// Users by the JSON array of their subs in `$1`, kept from changing until the commit.
pub(super) const READ: Sql = Sql {
    sqlite: "SELECT sub, credential_epoch, disabled, sessions_ended_at FROM users \
             WHERE sub IN (SELECT value FROM json_each($1))",
    postgres: "SELECT sub, credential_epoch, disabled, sessions_ended_at FROM users \
               WHERE sub = ANY (ARRAY(SELECT json_array_elements_text($1::json))) ORDER BY sub FOR SHARE",
};

/// The same for who writes to the users or must come one after the other: a lock that is shared first and raised later
/// would wait for another node's that does the same.
pub(super) const READ_TO_WRITE: Sql = Sql {
    sqlite: READ.sqlite,
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
#[derive(Debug)]
pub(super) struct UserNow {
    pub credential_epoch: i64,
    /// When all of the user's sessions were last ended.
    pub sessions_ended_at: Option<Timestamp>,
}

/// The users of logins, by their `sub`; not those that are disabled.
#[derive(Debug, Default)]
pub(super) struct Users(HashMap<String, UserNow>);

impl Users {
    pub fn has(&self, sub: &Sub) -> bool {
        self.0.contains_key(sub.as_str())
    }

    /// The user, unless disabled, deleted or given another password since the login read this epoch.
    pub fn unchanged(&self, sub: &Sub, credential_epoch: i64) -> Option<&UserNow> {
        self.0.get(sub.as_str()).filter(|user| user.credential_epoch == credential_epoch)
    }
}

/// Reads users and keeps them from changing: by [`READ`] or [`READ_TO_WRITE`].
pub(super) async fn read(tx: &mut Tx, statement: Sql, mut subs: Vec<&str>) -> DbResult<Users> {
    let mut users = HashMap::with_capacity(subs.len());
    if subs.is_empty() {
        return Ok(Users(users));
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
    Ok(Users(users))
}

/// Addresses that users have logged in from, and when last.
#[derive(Debug, Default)]
pub(super) struct Addresses<'a>(BTreeMap<(&'a str, &'a [u8; 32]), Timestamp>);

impl<'a> Addresses<'a> {
    pub fn add(&mut self, sub: &'a Sub, address: Option<&'a [u8; 32]>, at: Timestamp) {
        let Some(address) = address else { return };
        // One row per user and address, in one order.
        let latest = self.0.entry((sub.as_str(), address)).or_insert(at);
        *latest = at.max(*latest);
    }

    pub fn remember(self, tx: &mut Tx) -> DbResult<()> {
        let rows = self.0.into_iter();
        let rows =
            rows.map(|((sub, address), seen_at)| AddressRow { sub, address: Hex(address), seen_at: seen_at.millis() });
        tx.write(REMEMBER_ADDRESSES, JsonRows::of(rows)?);
        Ok(())
    }
}
