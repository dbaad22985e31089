//! The key tables: guarded by their revision, and with limits that only grow.

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::Kid;
use latchkey::domain::key::{Alg, KeyState, RefreshKey, RefreshKeyState, SigningKey};
use latchkey::storage::{KeyCommit, KeyWrite, Position, Raise};

use crate::bed::{Bed, NOW, contract, event, seconds};

contract!(keys_are_read_back_as_written, a_commit_that_fails_writes_nothing, limits_are_raised_and_never_lowered,);

fn signing(kid: &str, state: KeyState) -> SigningKey {
    SigningKey {
        kid: Kid::new(kid),
        alg: Alg::ES256,
        state,
        created_at: NOW,
        public_jwk: r#"{"kty":"EC"}"#.into(),
        sealed_private: Some(vec![0, 1, 255]),
        unseen_max_age: seconds(600),
        longest_max_age: seconds(60),
        longest_ttl: seconds(30),
        rotation_requested_at: Some(NOW),
        imported: true,
    }
}

fn refresh(version: u8, state: RefreshKeyState) -> RefreshKey {
    RefreshKey { version, state, created_at: NOW, sealed: vec![7; 92], longest_absolute: seconds(100) }
}

async fn keys_are_read_back_as_written(bed: Bed) {
    let since = NOW.plus(seconds(1));
    let states = [
        KeyState::Standby,
        KeyState::Active { since },
        KeyState::Retiring { since },
        KeyState::Retired { since },
        KeyState::Compromised { since },
    ];
    let mut signing: Vec<_> = states.into_iter().enumerate().map(|(n, it)| signing(&format!("kid{n}"), it)).collect();
    let mut refresh = vec![
        refresh(1, RefreshKeyState::Compromised { since }),
        refresh(2, RefreshKeyState::Retained { since }),
        refresh(255, RefreshKeyState::Active),
    ];
    let writes = signing.iter().cloned().map(KeyWrite::InsertSigning);
    let writes = writes.chain(refresh.iter().cloned().map(KeyWrite::InsertRefresh)).collect();
    let events = vec![event(AuditType::KeyCreated), event(AuditType::KeyActivated)];
    assert_eq!(bed.store.commit_keys(0, writes, events).await.unwrap(), KeyCommit::Committed(1));
    let table = bed.store.keys().await.unwrap();
    assert_eq!((table.revision, &table.signing, &table.refresh), (1, &signing, &refresh));

    signing[1].state = KeyState::Retiring { since: NOW.plus(seconds(2)) };
    signing[1].sealed_private = None;
    signing[1].rotation_requested_at = None;
    refresh[1].state = RefreshKeyState::Compromised { since };
    refresh[1].sealed = vec![8];
    let writes = vec![
        KeyWrite::UpdateSigning(signing[1].clone()),
        KeyWrite::UpdateRefresh(refresh[1].clone()),
        KeyWrite::DeleteRefresh(1),
    ];
    assert_eq!(bed.store.commit_keys(1, writes, Vec::new()).await.unwrap(), KeyCommit::Committed(2));
    refresh.remove(0);
    let table = bed.store.keys().await.unwrap();
    assert_eq!((table.revision, &table.signing, &table.refresh), (2, &signing, &refresh));
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().keys_revision, 2);
    assert_eq!(bed.trail(AuditType::KeyCreated).await.len(), 1);
}

async fn a_commit_that_fails_writes_nothing(bed: Bed) {
    let insert = |kid| KeyWrite::InsertSigning(signing(kid, KeyState::Standby));
    let outdated = bed.store.commit_keys(5, vec![insert("a")], vec![event(AuditType::KeyCreated)]).await.unwrap();
    assert_eq!(outdated, KeyCommit::Outdated);
    assert!(bed.store.commit_keys(0, vec![insert("a"), insert("a")], Vec::new()).await.is_err());
    let absent = KeyWrite::UpdateSigning(signing("b", KeyState::Standby));
    assert!(bed.store.commit_keys(0, vec![insert("a"), absent], Vec::new()).await.is_err());
    let table = bed.store.keys().await.unwrap();
    assert_eq!((table.revision, table.signing), (0, vec![]));
    assert_eq!(bed.trail(AuditType::KeyCreated).await, []);
}

async fn limits_are_raised_and_never_lowered(bed: Bed) {
    let active = signing("active", KeyState::Active { since: NOW });
    let retired = signing("retired", KeyState::Retired { since: NOW });
    let standby = signing("standby", KeyState::Standby);
    let writes = vec![
        KeyWrite::InsertSigning(active.clone()),
        KeyWrite::InsertSigning(retired),
        KeyWrite::InsertSigning(standby),
        KeyWrite::InsertRefresh(refresh(1, RefreshKeyState::Active)),
    ];
    bed.store.commit_keys(0, writes, Vec::new()).await.unwrap();
    for n in [5000, 5] {
        bed.store.raise(Raise::MaxAge(seconds(n))).await.unwrap();
        bed.store.raise(Raise::Ttl { kid: active.kid.clone(), ttl: seconds(n) }).await.unwrap();
        bed.store.raise(Raise::RefreshAbsolute { version: 1, absolute: seconds(n) }).await.unwrap();
    }
    // Every node learns of what was raised, by a revision for each; what raised nothing changes nothing.
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().keys_revision, 4);
    // Rows as they were before the limits were raised do not lower them.
    let writes = || {
        let refresh = refresh(1, RefreshKeyState::Active);
        vec![KeyWrite::UpdateSigning(active.clone()), KeyWrite::UpdateRefresh(refresh)]
    };
    assert_eq!(bed.store.commit_keys(1, writes(), Vec::new()).await.unwrap(), KeyCommit::Outdated);
    assert_eq!(bed.store.commit_keys(4, writes(), Vec::new()).await.unwrap(), KeyCommit::Committed(5));
    let table = bed.store.keys().await.unwrap();
    let of = |kid: &str| table.signing.iter().find(|key| key.kid.as_str() == kid).unwrap();
    assert_eq!((of("active").longest_max_age, of("active").longest_ttl), (seconds(5000), seconds(5000)));
    assert_eq!((of("retired").longest_max_age, of("retired").longest_ttl), (seconds(60), seconds(30)));
    // Somebody may have been served the longer max-age before the standby was in the set.
    assert_eq!(of("standby").unseen_max_age, seconds(5000));
    assert_eq!(table.refresh[0].longest_absolute, seconds(5000));
}
