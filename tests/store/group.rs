//! Group commit: what a batch owes each of its jobs.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use latchkey::domain::audit::{Actor, AuditEvent, AuditType};
use latchkey::domain::ids::Jti;
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::storage::{OpenOutcome, Position, StoreError};

use crate::bed::{Bed, NOW, Raw, all, contract, end_session, event, login, seconds, started, token_of, user_effects};

contract!(
    one_bad_job_does_not_fail_the_others,
    one_more_than_the_queue_holds_is_refused_at_once,
    the_sink_is_told_before_the_commit,
    a_job_survives_its_caller,
    a_refresh_is_not_begun_for_a_caller_who_has_gone,
    equal_revocations_in_one_batch_are_one_row,
    closing_finishes_what_waits_and_takes_no_more,
    a_name_nobody_could_have_stored_harms_nobody,
);

async fn one_bad_job_does_not_fail_the_others(bed: Bed) {
    let user = bed.user("ada").await;
    let mut held = bed.hold_writers().await;
    // The writer is busy with one job, so that the others wait together.
    let store = Arc::clone(&bed.store);
    let first = started(async move { store.record(vec![event(AuditType::AdminDenied)]).await });

    let (good, bad) = (login(&user, &bed.policy), login(&user, &bed.policy));
    let mut stranger = login(&user, &bed.policy).0;
    stranger.credential_epoch = 7;
    let logins = [bad.0.clone(), good.0, bad.0, stranger];
    let calls = logins.map(|login| {
        let store = Arc::clone(&bed.store);
        started(async move { store.open_session(login).await })
    });
    let store = Arc::clone(&bed.store);
    let entry = started(async move { store.record(vec![event(AuditType::LoginFailed)]).await });
    held.run("ROLLBACK").await;

    first.await.unwrap();
    let outcomes = all(calls.into()).await;
    assert!(matches!(outcomes[0], Ok(OpenOutcome::Opened)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Ok(OpenOutcome::Opened)), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(StoreError::Inconsistent(_))), "the same id again: {outcomes:?}");
    assert!(matches!(outcomes[3], Ok(OpenOutcome::UserChanged)), "{outcomes:?}");
    entry.await.unwrap();
    assert_eq!(bed.trail(AuditType::LoginSucceeded).await.len(), 2, "each kept job has its entry, once");
    assert_eq!(bed.trail(AuditType::LoginFailed).await.len(), 1);
    bed.rotate(&good.1, NOW).await;
    bed.rotate(&bad.1, NOW).await;
}

async fn one_more_than_the_queue_holds_is_refused_at_once(bed: Bed) {
    let bed = bed.with_queue(4).await;
    let mut held = bed.hold_writers().await;
    let mut waiting = Vec::new();
    // The writer takes some from the queue before it is held up; every one more than it holds is refused.
    let refused = loop {
        let store = Arc::clone(&bed.store);
        let mut call = Box::pin(async move { store.record(vec![event(AuditType::AdminDenied)]).await });
        match std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
            Poll::Ready(refused) => break refused,
            Poll::Pending => waiting.push(call),
        }
        assert!(waiting.len() <= 4 * 3, "the queue has no end");
        tokio::task::yield_now().await;
    };
    assert!(matches!(refused, Err(StoreError::QueueFull)), "{refused:?}");
    held.run("ROLLBACK").await;
    let count = waiting.len();
    assert!(count >= 4);
    assert!(all(waiting).await.iter().all(Result::is_ok), "what was taken is done");
    assert_eq!(bed.trail(AuditType::AdminDenied).await.len(), count);
}

async fn the_sink_is_told_before_the_commit(bed: Bed) {
    let user = bed.user("ada").await;
    let (one, two) = (bed.login_of(&user).await, bed.login_of(&user).await);
    let ways: [(&str, crate::bed::Token, bool); 2] = [("in a batch", one, true), ("alone", two, false)];
    for (way, token, in_batch) in ways {
        let (mut arrived, go_on) = bed.sink.close_gate();
        let store = Arc::clone(&bed.store);
        let (session, sub) = (token.session, user.sub.clone());
        let ending = tokio::spawn(async move {
            if in_batch {
                store.end_session(end_session(session, EndReason::RevokedByAdmin)).await.map(|_| ())
            } else {
                store.end_user_sessions(&sub, user_effects(AuditType::UserLoggedOut)).await.map(|_| ())
            }
        });
        arrived.recv().await.unwrap();
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(session)), "{way}");
        assert!(bed.session(&token).await.ended.is_none(), "{way}: told, and not committed yet");
        assert!(!ending.is_finished(), "{way}: an answer leaves only after the commit");
        go_on.send(()).unwrap();
        ending.await.unwrap().unwrap();
        assert!(bed.session(&token).await.ended.is_some(), "{way}");
    }
}

async fn a_job_survives_its_caller(bed: Bed) {
    let token = bed.login().await;
    let mut held = bed.hold_writers().await;
    let end = end_session(token.session, EndReason::RevokedByAdmin);
    let store = Arc::clone(&bed.store);
    drop(started(async move { store.end_session(end).await }));
    held.run("ROLLBACK").await;
    // Jobs are taken in their order, so this one comes after it.
    let refused = bed.present(&token, NOW).await.outcome;
    assert!(matches!(refused, Outcome::Refused(Refusal::Ended(EndReason::RevokedByAdmin))), "{refused:?}");
}

async fn a_refresh_is_not_begun_for_a_caller_who_has_gone(bed: Bed) {
    let token = bed.login().await;
    let bed = bed.with_queue(1).await;
    let mut held = bed.hold_writers().await;
    let refresh = || {
        let (store, request) = (Arc::clone(&bed.store), bed.request(&token, NOW));
        Box::pin(async move { store.refresh(request).await })
    };
    let first = started(refresh());
    // Where another one finds room, the writer is at the first.
    let mut second = refresh();
    while let Poll::Ready(full) = second.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        assert!(matches!(full, Err(StoreError::QueueFull)), "{full:?}");
        tokio::task::yield_now().await;
        second = refresh();
    }
    drop(second);
    held.run("ROLLBACK").await;
    let next = token_of(&first.await.unwrap().outcome).unwrap();
    // Closing is through with all that waits.
    let bed = bed.with_queue(10).await;
    assert!(bed.trail(AuditType::RefreshRetried).await.is_empty());
    bed.rotate(&next, NOW).await;
}

async fn equal_revocations_in_one_batch_are_one_row(bed: Bed) {
    let jti = Jti::new("token-1");
    let mut held = bed.hold_writers().await;
    let calls = [30, 90, 60].map(|life| {
        let (store, jti) = (Arc::clone(&bed.store), jti.clone());
        started(async move { store.revoke_token(&jti, NOW.plus(seconds(life)), event(AuditType::TokenRevoked)).await })
    });
    held.run("ROLLBACK").await;
    assert!(all(calls.into()).await.iter().all(Result::is_ok));
    bed.store.revoke_token(&jti, NOW.plus(seconds(10)), event(AuditType::TokenRevoked)).await.unwrap();
    let known = bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations;
    assert_eq!(known.len(), 1);
    assert_eq!((&known[0].what, known[0].expires_at), (&Revoked::Token(jti), NOW.plus(seconds(90))));
    assert_eq!(bed.trail(AuditType::TokenRevoked).await.len(), 4);
}

async fn closing_finishes_what_waits_and_takes_no_more(bed: Bed) {
    let mut held = bed.hold_writers().await;
    let calls = [(); 3].map(|()| {
        let store = Arc::clone(&bed.store);
        started(async move { store.record(vec![event(AuditType::AdminDenied)]).await })
    });
    let store = Arc::clone(&bed.store);
    let closing = started(async move { store.close().await });
    held.run("ROLLBACK").await;
    drop(held);
    assert!(all(calls.into()).await.iter().all(Result::is_ok));
    closing.await;
    let refused = bed.store.record(vec![event(AuditType::AdminDenied)]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert!(bed.store.ping().await.is_err());
    assert_eq!(bed.count("audit").await, 3);
}

async fn a_name_nobody_could_have_stored_harms_nobody(bed: Bed) {
    let odd = "a\0b'\"\\\u{1f600}";
    assert!(bed.store.user_by_username(odd).await.unwrap().is_none());
    assert!(bed.store.client(&latchkey::domain::ids::ClientId::new(odd)).await.unwrap().is_none());
    let actor = Actor { who: odd.into(), via: None, address: Some(odd.into()) };
    let event = AuditEvent::new(NOW, AuditType::ClientAuthFailed, actor).detail(serde_json::json!({ "name": odd }));
    bed.store.record(vec![event]).await.unwrap();
    let trail = bed.trail(AuditType::ClientAuthFailed).await;
    assert_eq!(trail[0].event.actor.who, odd.replace('\0', "\u{fffd}"));
    assert_eq!(trail[0].event.detail["name"], odd);
}

/// A database that stands still costs callers a bounded time, however many of them wait together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_is_unavailable_in_bounded_time() {
    let Some(bed) = Bed::postgres().await else { return };
    let held = bed.hold_writers().await;
    let calls = [(); 8].map(|()| {
        let store = Arc::clone(&bed.store);
        started(async move { store.record(vec![event(AuditType::AdminDenied)]).await })
    });
    // One batch that the writer had begun, and one that waited for it: two seconds each.
    let answers = tokio::time::timeout(Duration::from_secs(6), all(calls.into())).await.expect("answers in time");
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    drop::<Raw>(held);
}
