//! Every row of the outcome table of a refresh, as the database makes of it.

use std::collections::HashSet;
use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::error::Reason;
use latchkey::domain::ids::{ClientId, SessionId};
use latchkey::domain::revocation::{Revocation, Revoked};
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::domain::time::Timestamp;
use latchkey::storage::{ChangeOutcome, EndOutcome, EndSession, Position, RenewOutcome, RenewSession};

use crate::bed::{Bed, NOW, TestKeys, Token, all, contract, end_session, event, keys, seconds, token_of, user_effects};

contract!(
    a_login_is_read_back_as_it_was_opened,
    sixty_four_presentations_are_one_step,
    however_many_refreshes_leave_one_row,
    the_parent_gets_the_same_answer_within_the_window,
    the_parent_after_the_window_ends_the_session,
    the_grandparent_ends_the_session_even_within_the_window,
    a_wrong_client_changes_nothing,
    both_expiries_say_which_they_are,
    a_refusal_is_audited_once_however_often_it_is_met,
    an_unknown_session_leaves_no_trace,
    a_token_ahead_of_the_database_heals_it,
    a_token_ahead_is_refused_where_healing_is_off,
    a_disabled_user_is_told_so,
    late_retries_of_five_generations_are_a_pattern,
    without_rotation_only_the_idle_limit_moves,
    a_compromised_version_is_proven_by_the_row_alone,
    jobs_of_one_session_in_one_batch_see_each_other,
    an_ended_session_is_ended_once,
    a_session_goes_on_for_its_access_tokens,
    a_session_does_not_go_on_for_others,
);

async fn a_login_is_read_back_as_it_was_opened(bed: Bed) {
    let user = bed.user("ada").await;
    let (mut login, _) = crate::bed::login(&user, &bed.policy);
    login.session.chain = None;
    let (with_chain, _) = crate::bed::login(&user, &bed.policy);
    for login in [login, with_chain] {
        let session = login.session.clone();
        bed.store.open_session(login).await.unwrap();
        assert_eq!(bed.store.session(session.id).await.unwrap(), Some(session));
    }
}

async fn sixty_four_presentations_are_one_step(bed: Bed) {
    let token = bed.login().await;
    let nodes = bed.nodes().await;
    // Every node has its presentations before any of them is carried out.
    let mut held = bed.hold_writers().await;
    let calls = (0..64).map(|n| {
        let (store, request) = (Arc::clone(&nodes[n % nodes.len()]), bed.request(&token, NOW.plus(seconds(1))));
        crate::bed::started(async move { store.refresh(request).await.unwrap().outcome })
    });
    let calls = calls.collect();
    held.wait_for_waiters(nodes.len() as i64).await;
    held.run("ROLLBACK").await;
    let outcomes = all(calls).await;

    let steps = outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Rotated(_))).count();
    assert_eq!(steps, 1, "{outcomes:?}");
    let mut successors: Vec<_> =
        outcomes.iter().map(|outcome| token_of(outcome).expect("every one succeeds")).collect();
    successors.dedup();
    assert_eq!(successors.len(), 1, "every answer carries the same token");
    assert_eq!(bed.session(&token).await.chain.unwrap().generation, 1);
    bed.rotate(&successors[0], NOW.plus(seconds(2))).await;
}

async fn however_many_refreshes_leave_one_row(bed: Bed) {
    let long = std::env::var("LATCHKEY_TEST_LONG").is_ok_and(|value| value == "1");
    let count = if long { 100_000 } else { 1000 };
    let mut token = bed.login().await;
    for _ in 0..count {
        token = bed.rotate(&token, NOW.plus(seconds(1))).await;
    }
    assert_eq!(token.generation, count);
    assert_eq!(bed.count("sessions").await, 1);
    assert_eq!(bed.count("revocations").await, 0);
    assert_eq!(bed.count("audit").await, 2, "the user's creation and the login");
}

async fn the_parent_gets_the_same_answer_within_the_window(bed: Bed) {
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let idle_limit = bed.session(&first).await.idle_expires_at;
    for late in [false, false, true] {
        let at = NOW.plus(seconds(if late { 59 } else { 1 }));
        let again = bed.present(&first, at).await;
        assert_eq!(again.outcome, Outcome::RetryOfParent { successor: successor(&second), late });
    }
    let session = bed.session(&first).await;
    assert_eq!(session.idle_expires_at, idle_limit, "a retry does not extend the idle limit");
    let trail = bed.trail(AuditType::RefreshRetried).await;
    let late: Vec<_> = trail.iter().map(|record| record.event.detail["late"].as_bool().unwrap()).collect();
    assert_eq!(late, [false, true], "each kind once per generation");
    assert_eq!(trail[0].event.actor.who, "app");
    assert_eq!(trail[0].event.actor.address.as_deref(), Some("192.0.2.1"));
    assert_eq!(trail[0].event.sid, Some(first.session));
}

fn successor(token: &Token) -> latchkey::domain::session::Successor {
    latchkey::domain::session::Successor {
        session: token.session,
        generation: token.generation,
        secret: token.secret.clone(),
        key_version: token.key_version,
    }
}

async fn the_parent_after_the_window_ends_the_session(bed: Bed) {
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let replayed = bed.present(&first, NOW.plus(seconds(61))).await;
    assert_eq!(replayed.outcome, Outcome::Replayed { presented: 0, current: 1 });

    let refused = bed.present(&second, NOW.plus(seconds(62))).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::Reused)));
    let revocation = Revocation {
        what: Revoked::Session(first.session),
        expires_at: NOW.plus(seconds(61)).plus(bed.policy.access_ttl),
    };
    assert_eq!(bed.sink.told(), std::slice::from_ref(&revocation));
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations, [revocation]);
    let trail = bed.trail(AuditType::RefreshReused).await;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].event.detail, serde_json::json!({ "presented": 0, "current": 1 }));
}

async fn the_grandparent_ends_the_session_even_within_the_window(bed: Bed) {
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let third = bed.rotate(&second, NOW).await;
    assert_eq!(bed.present(&first, NOW).await.outcome, Outcome::Replayed { presented: 0, current: 2 });
    assert_eq!(bed.present(&third, NOW).await.outcome, Outcome::Refused(Refusal::Ended(EndReason::Reused)));
    assert_eq!(bed.session(&first).await.ended, Some((NOW, EndReason::Reused)));
}

async fn a_wrong_client_changes_nothing(bed: Bed) {
    let token = bed.login().await;
    let before = bed.session(&token).await;
    let mut request = bed.request(&token, NOW);
    request.presented.client_id = ClientId::new("other");
    assert_eq!(bed.store.refresh(request).await.unwrap().outcome, Outcome::Refused(Refusal::WrongClient));
    assert_eq!(bed.session(&token).await, before);
    let trail = bed.trail(AuditType::RefreshRefused).await;
    assert_eq!((trail[0].event.actor.who.as_str(), &trail[0].event.detail["cause"]), ("other", &"wrong_client".into()));
    bed.rotate(&token, NOW).await;
}

async fn both_expiries_say_which_they_are(mut bed: Bed) {
    let (idle, absolute) = (bed.policy.refresh_idle, bed.policy.refresh_absolute);
    let token = bed.login().await;
    let refused = bed.present(&token, NOW.plus(idle)).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::IdleExpired));

    let mut token = bed.login().await;
    let mut now = NOW;
    while now.plus(idle / 2) < NOW.plus(absolute) {
        now = now.plus(idle / 2);
        token = bed.rotate(&token, now).await;
    }
    let refused = bed.present(&token, NOW.plus(absolute)).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::AbsoluteExpired));

    // A client whose limit was lowered since: the lower one counts.
    let token = bed.login().await;
    bed.policy.refresh_absolute = seconds(10);
    let refused = bed.present(&token, NOW.plus(seconds(10))).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::AbsoluteExpired));
    let reasons: Vec<_> = bed.trail(AuditType::RefreshRefused).await.into_iter().map(|it| it.event.detail).collect();
    let expected = [Reason::IdleExpired, Reason::AbsoluteExpired, Reason::AbsoluteExpired];
    assert_eq!(reasons, expected.map(|reason| serde_json::json!({ "reason": reason.as_str() })));
}

async fn a_refusal_is_audited_once_however_often_it_is_met(bed: Bed) {
    let token = bed.login().await;
    for _ in 0..3 {
        bed.present(&token, NOW.plus(bed.policy.refresh_idle)).await;
    }
    assert_eq!(bed.trail(AuditType::RefreshRefused).await.len(), 1);
}

async fn an_unknown_session_leaves_no_trace(bed: Bed) {
    let user = bed.user("ada").await;
    let (_, token) = crate::bed::login(&user, &bed.policy);
    let refused = bed.present(&token, NOW).await;
    assert_eq!(refused.outcome, Outcome::Refused(Refusal::UnknownSession));
    assert!(refused.session.is_none());
    assert_eq!(bed.trail(AuditType::RefreshRefused).await, []);
}

async fn a_token_ahead_of_the_database_heals_it(bed: Bed) {
    let first = bed.login().await;
    let row = "UPDATE sessions SET generation = 0, secret_hash = (SELECT hash FROM kept)";
    let mut raw = bed.raw().await;
    raw.run("CREATE TABLE kept AS SELECT secret_hash AS hash FROM sessions").await;
    let second = bed.rotate(&first, NOW).await;
    let third = bed.rotate(&second, NOW).await;
    raw.run(row).await;

    let healed = bed.present(&third, NOW.plus(seconds(1))).await.outcome;
    let Outcome::Healed { successor, from: 0, to: 2 } = healed else { panic!("{healed:?}") };
    let fourth = bed.rotate(&successor.into(), NOW.plus(seconds(2))).await;
    assert_eq!(fourth.generation, 4);
    let trail = bed.trail(AuditType::RefreshHealed).await;
    assert_eq!(trail[0].event.detail, serde_json::json!({ "from": 0, "to": 2 }));
}

async fn a_token_ahead_is_refused_where_healing_is_off(mut bed: Bed) {
    bed.policy.refresh_heal = false;
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    bed.raw().await.run("UPDATE sessions SET generation = 0").await;
    assert_eq!(bed.present(&second, NOW).await.outcome, Outcome::Refused(Refusal::AheadOfDatabase));
    let trail = bed.trail(AuditType::RefreshRefused).await;
    assert_eq!(trail[0].event.detail["cause"], "ahead_of_database");
}

async fn a_disabled_user_is_told_so(bed: Bed) {
    let mut user = bed.user("ada").await;
    let (one, two) = (bed.login_of(&user).await, bed.login_of(&user).await);
    let other = bed.login().await;
    user.disabled = true;
    user.credential_epoch += 1;
    let mut effects = user_effects(AuditType::UserUpdated);
    effects.end_sessions = Some(EndReason::UserDisabled);
    assert_eq!(bed.store.change_user(user.clone(), effects).await.unwrap(), ChangeOutcome::Changed);

    for token in [&one, &two] {
        let refused = bed.present(token, NOW).await.outcome;
        assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::UserDisabled)));
    }
    bed.rotate(&other, NOW).await;
    let told: HashSet<_> = bed.sink.told().into_iter().map(|revocation| revocation.what).collect();
    assert_eq!(told, HashSet::from([Revoked::Session(one.session), Revoked::Session(two.session)]));
}

async fn late_retries_of_five_generations_are_a_pattern(bed: Bed) {
    let mut token = bed.login().await;
    let mut now = NOW;
    for generation in 1..=5 {
        let next = bed.rotate(&token, now).await;
        now = now.plus(seconds(20));
        let retried = bed.present(&token, now).await;
        assert!(token_of(&retried.outcome).is_some());
        assert_eq!(retried.pattern, generation == 5);
        token = next;
    }
    assert_eq!(bed.trail(AuditType::RetryPattern).await.len(), 1);
    let next = bed.rotate(&token, now).await;
    let late = bed.present(&token, now.plus(seconds(20))).await.outcome;
    assert!(matches!(late, Outcome::Replayed { .. }), "the window is short now: {late:?}");
    assert!(token_of(&bed.present(&next, now).await.outcome).is_none());
}

async fn without_rotation_only_the_idle_limit_moves(mut bed: Bed) {
    bed.policy.rotate_refresh = false;
    let token = bed.login().await;
    let now = NOW.plus(seconds(1000));
    let kept = bed.present(&token, now).await;
    assert_eq!(kept.outcome, Outcome::Kept(successor(&token)));
    let session = bed.session(&token).await;
    assert_eq!(session.chain.unwrap().generation, 0);
    assert_eq!(session.idle_expires_at, now.plus(bed.policy.refresh_idle));
}

async fn a_compromised_version_is_proven_by_the_row_alone(bed: Bed) {
    let first = bed.login().await;
    let second = bed.rotate(&first, NOW).await;
    let bed = bed.with_keys(TestKeys { current: 2, compromised: HashSet::from([1]) }).await;
    let ahead = Token { generation: 9, ..second.clone() };
    assert_eq!(bed.present(&ahead, NOW).await.outcome, Outcome::Refused(Refusal::Unproven));
    let third = bed.rotate(&second, NOW).await;
    assert_eq!((third.generation, third.key_version), (2, 2));
    let bed = bed.with_keys(keys(2)).await;
    bed.rotate(&third, NOW).await;
}

async fn jobs_of_one_session_in_one_batch_see_each_other(bed: Bed) {
    let first = bed.login().await;
    let held = bed.hold_writers().await;
    // Five presentations of the first token and one ending: they wait together, so they are decided together.
    let mut calls = Vec::new();
    for _ in 0..5 {
        let (store, request) = (Arc::clone(&bed.store), bed.request(&first, NOW));
        calls.push(crate::bed::started(async move { store.refresh(request).await.unwrap().outcome }));
    }
    let end = end_of(&first);
    let store = Arc::clone(&bed.store);
    let ending = crate::bed::started(async move { store.end_session(end).await.unwrap() });
    let mut held = held;
    held.run("ROLLBACK").await;

    let outcomes = all(calls).await;
    assert_eq!(ending.await, EndOutcome::Ended);
    assert!(matches!(outcomes[0], Outcome::Rotated(_)), "{outcomes:?}");
    assert!(outcomes[1..].iter().all(|it| matches!(it, Outcome::RetryOfParent { .. })), "{outcomes:?}");
    assert_eq!(bed.session(&first).await.ended, Some((NOW, EndReason::RevokedByClient)));
}

fn end_of(token: &Token) -> EndSession {
    end_session(token.session, EndReason::RevokedByClient)
}

async fn an_ended_session_is_ended_once(bed: Bed) {
    let token = bed.login().await;
    let mut other_client = end_of(&token);
    other_client.of_client = Some(ClientId::new("other"));
    assert_eq!(bed.store.end_session(other_client).await.unwrap(), EndOutcome::NotFound);
    assert_eq!(bed.store.end_session(end_of(&token)).await.unwrap(), EndOutcome::Ended);
    assert_eq!(bed.store.end_session(end_of(&token)).await.unwrap(), EndOutcome::EndedBefore);
    assert_eq!(bed.sink.told().len(), 1);
    assert_eq!(bed.trail(AuditType::SessionRevoked).await.len(), 1);
}

/// A renewal by an access token that is exchanged for one that lives ten minutes.
fn renewal_of(bed: &Bed, session: SessionId, now: Timestamp) -> RenewSession {
    RenewSession {
        id: session,
        client_id: ClientId::new("app"),
        policy: bed.policy.clone(),
        latest_expiry: now.plus(seconds(600)),
        now,
        address: Some("192.0.2.1".into()),
        audit: event(AuditType::TokenRenewed).about_session(session),
    }
}

async fn a_session_goes_on_for_its_access_tokens(bed: Bed) {
    let user = bed.user("ada").await;
    let renewed_after = |login: latchkey::storage::OpenSession| {
        let bed = &bed;
        async move {
            let id = login.session.id;
            bed.store.open_session(login).await.unwrap();
            match bed.store.renew_session(renewal_of(bed, id, NOW.plus(seconds(60)))).await.unwrap() {
                RenewOutcome::Renewed(session) => {
                    assert_eq!(bed.store.session(id).await.unwrap().as_ref(), Some(&*session), "as it is stored");
                    session
                }
                other => panic!("{other:?}"),
            }
        }
    };
    let (with_chain, _) = crate::bed::login(&user, &bed.policy);
    let chain = with_chain.session.chain.clone();
    let session = renewed_after(with_chain).await;
    assert_eq!(session.chain, chain, "its refresh token is untouched");
    assert_eq!(session.idle_expires_at, NOW.plus(seconds(60)).plus(bed.policy.refresh_idle));

    let (mut without, _) = crate::bed::login(&user, &bed.policy);
    without.session.chain = None;
    without.session.idle_expires_at = NOW.plus(seconds(600));
    let session = renewed_after(without).await;
    assert_eq!(session.idle_expires_at, NOW.plus(seconds(660)), "as long as its latest access token");
    assert_eq!(bed.trail(AuditType::TokenRenewed).await.len(), 2);
}

async fn a_session_does_not_go_on_for_others(bed: Bed) {
    let token = bed.login().await;
    let before = bed.session(&token).await;
    let refused = |request: RenewSession| {
        let bed = &bed;
        async move {
            match bed.store.renew_session(request).await.unwrap() {
                RenewOutcome::Refused(refusal) => refusal,
                other => panic!("{other:?}"),
            }
        }
    };
    let unknown = renewal_of(&bed, SessionId::from_bytes([9; 16]), NOW);
    assert_eq!(refused(unknown).await, Refusal::UnknownSession);
    for _ in 0..3 {
        let other = RenewSession { client_id: ClientId::new("other"), ..renewal_of(&bed, token.session, NOW) };
        assert_eq!(refused(other).await, Refusal::WrongClient);
    }
    let idle = renewal_of(&bed, token.session, before.idle_expires_at);
    assert_eq!(refused(idle).await, Refusal::IdleExpired);
    let absolute = renewal_of(&bed, token.session, before.absolute_expires_at);
    assert_eq!(refused(absolute).await, Refusal::AbsoluteExpired);
    assert_eq!(bed.session(&token).await, before, "nothing was changed");
    bed.store.end_session(end_of(&token)).await.unwrap();
    assert_eq!(refused(renewal_of(&bed, token.session, NOW)).await, Refusal::Ended(EndReason::RevokedByClient));
    assert_eq!(bed.trail(AuditType::RefreshRefused).await.len(), 4, "each kind once");
    assert!(bed.trail(AuditType::TokenRenewed).await.is_empty());
}
