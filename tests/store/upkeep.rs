//! The sweep and the notes.

use std::time::Duration;

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::Jti;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::domain::time::Timestamp;
use latchkey::storage::Swept;

use crate::bed::{Bed, NOW, contract, end_session, event, login, seconds};

contract!(
    the_sweep_removes_what_is_over_and_nothing_else,
    an_idle_session_keeps_its_reason_to_its_absolute_limit,
    the_sweep_goes_in_small_steps,
    notes_are_claimed_once_and_set_at_will,
);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn the_sweep_removes_what_is_over_and_nothing_else(bed: Bed) {
    let user = bed.user("ada").await;
    let (mut known, _) = login(&user, &bed.policy);
    known.known_address = Some([1; 32]);
    bed.store.open_session(known).await.unwrap();
    let ended = bed.login_of(&user).await;
    let end = end_session(ended.session, EndReason::RevokedByClient);
    bed.store.end_session(end).await.unwrap();
    bed.store.revoke_token(&Jti::new("t"), NOW.plus(seconds(60)), event(AuditType::TokenRevoked)).await.unwrap();

    let sweep = |now: Timestamp| bed.sweep(now, 100);
    let nothing = Swept::default();
    assert_eq!(sweep(NOW).await, nothing);
    assert_eq!(sweep(NOW.plus(seconds(60))).await, Swept { revocations: 1, ..nothing });
    assert_eq!(sweep(NOW.plus(30 * DAY)).await, Swept { revocations: 1, ..nothing });
    let past = NOW.plus(30 * DAY).plus(seconds(1));
    assert_eq!(sweep(past).await, Swept { sessions: 1, known_addresses: 1, ..nothing });
    assert!(bed.store.session(ended.session).await.unwrap().is_none(), "it ended 30 days ago");
    assert_eq!(sweep(NOW.plus(31 * DAY)).await, nothing);
    assert_eq!(sweep(NOW.plus(31 * DAY).plus(seconds(1))).await, Swept { sessions: 1, ..nothing });
    assert_eq!(sweep(NOW.plus(400 * DAY)).await, nothing);
    let entries = bed.count("audit").await.unsigned_abs();
    assert_eq!(sweep(NOW.plus(400 * DAY).plus(seconds(1))).await, Swept { audit: entries, ..nothing });
    assert!(bed.store.user(&user.sub).await.unwrap().is_some());
}

async fn an_idle_session_keeps_its_reason_to_its_absolute_limit(bed: Bed) {
    let token = bed.login().await;
    let last = NOW.plus(bed.policy.refresh_absolute).minus(seconds(1));
    bed.sweep(last, 100).await;
    assert_eq!(bed.present(&token, last).await.outcome, Outcome::Refused(Refusal::IdleExpired));
}

async fn the_sweep_goes_in_small_steps(bed: Bed) {
    for n in 0..5 {
        let jti = Jti::new(format!("token {n}"));
        bed.store.revoke_token(&jti, NOW, event(AuditType::TokenRevoked)).await.unwrap();
    }
    let mut swept = Vec::new();
    for _ in 0..4 {
        swept.push(bed.sweep(NOW, 2).await.revocations);
    }
    assert_eq!(swept, [2, 2, 1, 0]);
}

async fn notes_are_claimed_once_and_set_at_will(bed: Bed) {
    let store = &bed.store;
    assert_eq!(store.note("lease").await.unwrap(), None);
    assert_eq!(store.claim_note("lease", "one").await.unwrap(), "one");
    assert_eq!(store.claim_note("lease", "two").await.unwrap(), "one");
    store.set_note("lease", "three").await.unwrap();
    assert_eq!(store.note("lease").await.unwrap().as_deref(), Some("three"));
    store.set_note("other", "four").await.unwrap();
    assert_eq!(store.note("other").await.unwrap().as_deref(), Some("four"));
}
