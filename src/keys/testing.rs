//! Real keys for the unit tests of this layer and the next: made once, for an RSA pair takes its time.

use std::sync::OnceLock;
use std::time::Duration;

use super::plan::{KeyPolicy, Request, SealedKeys, apply, plan};
use super::{MasterKey, MasterKeys, Snapshot};
use crate::domain::key::KeyTable;
use crate::domain::sources::SystemEntropy;
use crate::domain::time::Timestamp;

pub(crate) const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
pub(crate) const TTL: Duration = Duration::from_secs(600);

pub(crate) fn masters() -> MasterKeys {
    MasterKeys::new(MasterKey::new([7; 32]))
}

/// The table after a first start at [`START`], each key used with [`TTL`].
pub(crate) fn table() -> KeyTable {
    static TABLE: OnceLock<KeyTable> = OnceLock::new();
    let made = TABLE.get_or_init(|| {
        let mut table = KeyTable::default();
        carry_out(&mut table, &Request::Tick, START);
        for key in &mut table.signing {
            key.longest_ttl = TTL;
        }
        table
    });
    made.clone()
}

pub(crate) fn carry_out(table: &mut KeyTable, request: &Request, now: Timestamp) {
    let masters = masters();
    let plan = plan(now, table, &KeyPolicy::default(), &[], request).unwrap();
    apply(table, &plan, &mut SealedKeys::new(&masters, &SystemEntropy), now).unwrap();
    table.revision += 1;
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot::build(&table(), &masters(), KeyPolicy::default().jwks_max_age).unwrap()
}
