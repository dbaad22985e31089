//! What differs between two key tables: the rows to write, and what the audit trail says of it. Pure.

use serde_json::{Value, json};

use super::AuditType;
use crate::domain::ids::Kid;
use crate::domain::key::{KeyState, KeyTable, RefreshKey, RefreshKeyState, SigningKey};
use crate::storage::KeyWrite;

/// Something that happened to a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyEvent {
    pub kind: AuditType,
    pub detail: Value,
}

/// The way from one table to the next.
#[derive(Debug, Default)]
pub struct Changes {
    pub writes: Vec<KeyWrite>,
    pub events: Vec<KeyEvent>,
}

/// What leads from `before` to `after`.
pub fn changes(before: &KeyTable, after: &KeyTable) -> Changes {
    let mut changes = Changes::default();
    for key in &after.signing {
        let old = before.signing.iter().find(|old| old.kid == key.kid);
        match old {
            None => changes.writes.push(KeyWrite::InsertSigning(key.clone())),
            Some(old) if old != key => changes.writes.push(KeyWrite::UpdateSigning(key.clone())),
            Some(_) => continue,
        }
        changes.events.extend(signing_events(old, key));
    }
    for key in &after.refresh {
        let old = before.refresh.iter().find(|old| old.version == key.version);
        match old {
            None => changes.writes.push(KeyWrite::InsertRefresh(key.clone())),
            Some(old) if old != key => changes.writes.push(KeyWrite::UpdateRefresh(key.clone())),
            Some(_) => continue,
        }
        changes.events.extend(refresh_event(old, key));
    }
    for old in &before.refresh {
        if after.refresh.iter().all(|key| key.version != old.version) {
            changes.writes.push(KeyWrite::DeleteRefresh(old.version));
            let detail = json!({ "version": old.version, "dropped": true });
            changes.events.push(KeyEvent { kind: AuditType::RefreshKeyRotated, detail });
        }
    }
    changes
}

/// The signing keys of `after` that `before` lacks, in order.
pub fn created(before: &KeyTable, after: &KeyTable) -> Vec<Kid> {
    let is_new = |key: &&SigningKey| before.signing.iter().all(|old| old.kid != key.kid);
    after.signing.iter().filter(is_new).map(|key| key.kid.clone()).collect()
}

fn signing_events(old: Option<&SigningKey>, key: &SigningKey) -> Vec<KeyEvent> {
    let mut kinds = Vec::new();
    if old.is_none() {
        kinds.push(if key.imported { AuditType::KeyImported } else { AuditType::KeyCreated });
    }
    let moved = old.is_none_or(|old| old.state.as_str() != key.state.as_str());
    match key.state {
        KeyState::Active { .. } if moved => kinds.push(AuditType::KeyActivated),
        KeyState::Retiring { .. } if moved => kinds.push(AuditType::KeyRetiring),
        KeyState::Retired { .. } if moved => kinds.push(AuditType::KeyRetired),
        KeyState::Compromised { .. } if moved => kinds.push(AuditType::KeyCompromised),
        _ => {}
    }
    if key.rotation_requested_at.is_some() && old.is_some_and(|old| old.rotation_requested_at.is_none()) {
        kinds.push(AuditType::KeyRotationRequested);
    }
    let detail = json!({ "kid": key.kid, "alg": key.alg });
    kinds.into_iter().map(|kind| KeyEvent { kind, detail: detail.clone() }).collect()
}

/// A version that is merely retained is told by the event of the one that follows it.
fn refresh_event(old: Option<&RefreshKey>, key: &RefreshKey) -> Option<KeyEvent> {
    let kind = match (old, key.state) {
        (None, _) => AuditType::RefreshKeyRotated,
        (Some(_), RefreshKeyState::Compromised { .. }) => AuditType::RefreshKeyCompromised,
        (Some(_), _) => return None,
    };
    Some(KeyEvent { kind, detail: json!({ "version": key.version }) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::key::Alg;
    use crate::domain::time::Timestamp;

    const NOW: Timestamp = Timestamp::from_seconds(100);

    fn signing(kid: &str, state: KeyState) -> SigningKey {
        SigningKey {
            kid: Kid::new(kid),
            alg: Alg::ES256,
            state,
            created_at: NOW,
            public_jwk: "{}".into(),
            sealed_private: Some(vec![1]),
            unseen_max_age: Duration::ZERO,
            longest_max_age: Duration::ZERO,
            longest_ttl: Duration::ZERO,
            rotation_requested_at: None,
            imported: false,
        }
    }

    fn refresh(version: u8, state: RefreshKeyState) -> RefreshKey {
        RefreshKey { version, state, created_at: NOW, sealed: vec![1], longest_absolute: Duration::ZERO }
    }

    fn table(signing: Vec<SigningKey>, refresh: Vec<RefreshKey>) -> KeyTable {
        KeyTable { revision: 1, signing, refresh }
    }

    fn kinds(changes: &Changes) -> Vec<AuditType> {
        changes.events.iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_rotation_is_three_rows_and_three_events() {
        let before =
            table(vec![signing("a", KeyState::Active { since: NOW }), signing("b", KeyState::Standby)], Vec::new());
        let retiring = SigningKey { sealed_private: None, ..signing("a", KeyState::Retiring { since: NOW }) };
        let after = table(
            vec![retiring, signing("b", KeyState::Active { since: NOW }), signing("c", KeyState::Standby)],
            Vec::new(),
        );
        let changes = changes(&before, &after);
        assert_eq!(kinds(&changes), [AuditType::KeyRetiring, AuditType::KeyActivated, AuditType::KeyCreated]);
        assert!(matches!(
            &changes.writes[..],
            [KeyWrite::UpdateSigning(_), KeyWrite::UpdateSigning(_), KeyWrite::InsertSigning(_)]
        ));
        assert_eq!(created(&before, &after), [Kid::new("c")]);
    }

    #[test]
    fn a_request_and_an_import_are_told() {
        let before = table(vec![signing("b", KeyState::Standby)], Vec::new());
        let requested = SigningKey { rotation_requested_at: Some(NOW), ..signing("b", KeyState::Standby) };
        let imported = SigningKey { imported: true, ..signing("i", KeyState::Standby) };
        let changes = changes(&before, &table(vec![requested, imported], Vec::new()));
        assert_eq!(kinds(&changes), [AuditType::KeyRotationRequested, AuditType::KeyImported]);
    }

    #[test]
    fn refresh_versions_come_change_and_go() {
        let before = table(
            Vec::new(),
            vec![refresh(1, RefreshKeyState::Retained { since: NOW }), refresh(2, RefreshKeyState::Active)],
        );
        let after = table(
            Vec::new(),
            vec![refresh(2, RefreshKeyState::Compromised { since: NOW }), refresh(3, RefreshKeyState::Active)],
        );
        let changes = changes(&before, &after);
        assert_eq!(
            kinds(&changes),
            [AuditType::RefreshKeyCompromised, AuditType::RefreshKeyRotated, AuditType::RefreshKeyRotated]
        );
        assert!(matches!(
            &changes.writes[..],
            [KeyWrite::UpdateRefresh(_), KeyWrite::InsertRefresh(_), KeyWrite::DeleteRefresh(1)]
        ));
    }

    #[test]
    fn nothing_is_written_for_nothing() {
        let same = table(vec![signing("a", KeyState::Standby)], vec![refresh(1, RefreshKeyState::Active)]);
        let changes = changes(&same, &same);
        assert!(changes.writes.is_empty() && changes.events.is_empty());
    }
}
