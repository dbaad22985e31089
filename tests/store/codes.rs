//! Authorization codes: each opens one session, on whatever node, and a second use ends it.

use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::code::{Code, LIFETIME};
use latchkey::domain::ids::{ClientId, SessionId};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::domain::sign_in::SignInEnd;
use latchkey::domain::sources::{SystemEntropy, random};
use latchkey::domain::user::User;
use latchkey::storage::{EndOutcome, RedeemCodeOutcome, StoreError, Swept};

use crate::bed::{Bed, NOW, all, client, client_effects, contract, event, seconds, started, unique, user_effects};
use crate::browser::{Waiting, code, end_of};

contract!(
    a_code_is_read_back_as_written,
    a_code_opens_its_session,
    sixty_four_redeemers_open_one_session_and_end_it,
    a_replay_ends_what_the_code_has_opened,
    a_replay_finds_a_session_that_is_over,
    a_code_of_another_client_or_of_none_is_gone,
    a_changed_user_opens_nothing,
    a_code_ends_with_its_sign_in_unless_it_is_for_longer,
    signing_out_against_redeeming_leaves_no_live_session,
    changing_the_password_against_redeeming_leaves_no_live_session,
    a_code_lives_its_life_within_one_batch,
    one_bad_redemption_does_not_fail_the_others,
    codes_go_with_their_user_and_their_client,
    codes_are_recognised_for_an_hour,
);

async fn waiting(bed: &Bed) -> (User, Waiting) {
    let user = bed.user(&unique("user")).await;
    let sign_in = bed.signed_in(&user).await;
    let waiting = bed.waiting_code(&user, sign_in.id).await;
    (user, waiting)
}

async fn a_code_is_read_back_as_written(bed: Bed) {
    let user = bed.user("ada").await;
    let full = code(&user, bed.signed_in(&user).await.id);
    let bare = Code {
        redirect_uri: None,
        challenge: None,
        nonce: None,
        acr: None,
        claims: None,
        audience: Vec::new(),
        ..full.clone()
    };
    for code in [full, bare] {
        let hash = random(&SystemEntropy);
        bed.store.create_code(hash, code.clone()).await.unwrap();
        assert_eq!(bed.store.code(&hash).await.unwrap(), Some(code));
    }
    assert_eq!(bed.store.code(&[0; 32]).await.unwrap(), None);
}

async fn a_code_opens_its_session(bed: Bed) {
    let (_, waiting) = waiting(&bed).await;
    let session = waiting.redemption.session.clone();
    assert_eq!(bed.redeem_code(waiting.redemption.clone()).await, RedeemCodeOutcome::Opened);
    assert_eq!(bed.session(&waiting.first).await, session);
    let kept = bed.store.code(&waiting.redemption.hash).await.unwrap().unwrap();
    assert_eq!(kept.redeemed, Some((NOW, session.id)));
    let trail = bed.trail(AuditType::CodeRedeemed).await;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].event.sid, Some(session.id));
    let next = bed.rotate(&waiting.first, NOW.plus(seconds(1))).await;
    let rotated = bed.session(&next).await;
    assert_eq!((rotated.sign_in, rotated.offline), (session.sign_in, false), "a refresh changes neither");
}

async fn sixty_four_redeemers_open_one_session_and_end_it(bed: Bed) {
    let nodes = bed.nodes().await;
    for round in 0..5 {
        let (user, waiting) = waiting(&bed).await;
        let mut held = bed.hold_writers().await;
        let requests: Vec<_> = (0..64).map(|_| waiting.again(&bed, &user)).collect();
        let calls = requests.iter().cloned().enumerate().map(|(n, request)| {
            let store = Arc::clone(&nodes[n % nodes.len()]);
            started(async move { store.redeem_code(request).await.unwrap() })
        });
        let calls = calls.collect();
        held.run("ROLLBACK").await;
        let outcomes = all(calls).await;
        let opened: Vec<_> =
            outcomes.iter().zip(&requests).filter(|(outcome, _)| **outcome == RedeemCodeOutcome::Opened).collect();
        assert_eq!(opened.len(), 1, "{outcomes:?}");
        let sid = opened[0].1.session.id;
        let replays = outcomes.iter().filter(|outcome| **outcome == RedeemCodeOutcome::Replayed { sid }).count();
        assert_eq!(replays, 63, "{outcomes:?}");
        let session = bed.store.session(sid).await.unwrap().unwrap();
        assert_eq!(session.ended, Some((NOW, EndReason::CodeReused)));
        assert_eq!(bed.sink.told().len(), round + 1, "and is told once");
        assert_eq!(bed.count("sessions").await, round as i64 + 1);
    }
    assert_eq!(bed.trail(AuditType::CodeRedeemed).await.len(), 5);
    assert_eq!(bed.trail(AuditType::CodeReplayed).await.len(), 5, "however many replays, the trail hears of one");
}

async fn a_replay_ends_what_the_code_has_opened(bed: Bed) {
    let (user, waiting) = waiting(&bed).await;
    bed.redeem_code(waiting.redemption.clone()).await;
    let next = bed.rotate(&waiting.first, NOW.plus(seconds(1))).await;
    let sid = next.session;
    for after in [2, 3, 1800] {
        let mut again = waiting.again(&bed, &user);
        (again.now, again.address) = (NOW.plus(seconds(after)), Some("192.0.2.66".into()));
        assert_eq!(bed.redeem_code(again).await, RedeemCodeOutcome::Replayed { sid });
    }
    let refused = bed.present(&next, NOW.plus(seconds(4))).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::CodeReused)));
    let told = bed.sink.told();
    assert_eq!((told.len(), &told[0].what), (1, &Revoked::Session(sid)));
    let trail = bed.trail(AuditType::CodeReplayed).await;
    assert_eq!(trail.len(), 1);
    let event = &trail[0].event;
    assert_eq!((event.at, event.sid, event.sub.as_ref()), (NOW.plus(seconds(2)), Some(sid), Some(&user.sub)));
    assert_eq!((event.actor.who.as_str(), event.actor.address.as_deref()), ("app", Some("192.0.2.66")));
    assert_eq!(bed.count("sessions").await, 1, "it opens no other");
}

async fn a_replay_finds_a_session_that_is_over(bed: Bed) {
    let (user, waiting) = waiting(&bed).await;
    let sid = waiting.first.session;
    bed.redeem_code(waiting.redemption.clone()).await;
    let sign_in = waiting.redemption.session.sign_in.unwrap();
    bed.store.end_sign_in(end_of(sign_in, SignInEnd::LoggedOut)).await.unwrap();
    assert_eq!(bed.redeem_code(waiting.again(&bed, &user)).await, RedeemCodeOutcome::Replayed { sid });
    assert_eq!(bed.end_of(&waiting.first).await, Some(EndReason::LoggedOut), "its reason stays right");
    bed.raw().await.run("DELETE FROM sessions").await;
    assert_eq!(bed.redeem_code(waiting.again(&bed, &user)).await, RedeemCodeOutcome::Replayed { sid });
    assert_eq!(bed.trail(AuditType::CodeReplayed).await.len(), 1, "the trail hears of it all the same");
    assert_eq!(bed.count("sessions").await, 0);
}

async fn a_code_of_another_client_or_of_none_is_gone(bed: Bed) {
    let (user, waiting) = waiting(&bed).await;
    let mut unknown = waiting.again(&bed, &user);
    unknown.hash = [0; 32];
    assert_eq!(bed.redeem_code(unknown).await, RedeemCodeOutcome::Gone);
    let others = || {
        let mut request = waiting.again(&bed, &user);
        request.session.client_id = ClientId::new("other");
        request
    };
    assert_eq!(bed.redeem_code(others()).await, RedeemCodeOutcome::Gone);
    assert_eq!(bed.redeem_code(waiting.redemption.clone()).await, RedeemCodeOutcome::Opened);
    assert_eq!(bed.redeem_code(others()).await, RedeemCodeOutcome::Gone, "nor does it end what it was used for");
    assert_eq!(bed.end_of(&waiting.first).await, None);
    assert_eq!(bed.trail(AuditType::CodeReplayed).await, []);
}

async fn a_changed_user_opens_nothing(bed: Bed) {
    let (mut user, waiting) = waiting(&bed).await;
    user.credential_epoch += 1;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserPasswordChanged)).await.unwrap();
    assert_eq!(bed.redeem_code(waiting.redemption.clone()).await, RedeemCodeOutcome::UserChanged);
    let kept = bed.store.code(&waiting.redemption.hash).await.unwrap().unwrap();
    assert_eq!(kept.redeemed, None, "it was not used");
    (user.version, user.credential_epoch, user.disabled) = (2, 1, true);
    bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
    assert_eq!(bed.redeem_code(waiting.redemption.clone()).await, RedeemCodeOutcome::UserChanged);
    let mut strangers = waiting.redemption.clone();
    strangers.session.sub = bed.user("stranger").await.sub;
    assert_eq!(bed.redeem_code(strangers).await, RedeemCodeOutcome::UserChanged);
    (user.version, user.disabled) = (3, false);
    bed.store.change_user(user, user_effects(AuditType::UserUpdated)).await.unwrap();
    assert_eq!(bed.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Opened);
}

async fn a_code_ends_with_its_sign_in_unless_it_is_for_longer(bed: Bed) {
    let user = bed.user("ada").await;
    for (reason, offline, outcome) in [
        (SignInEnd::LoggedOut, false, RedeemCodeOutcome::SignInEnded),
        (SignInEnd::LoggedOut, true, RedeemCodeOutcome::Opened),
        (SignInEnd::Replaced, true, RedeemCodeOutcome::Opened),
        (SignInEnd::RevokedByAdmin, true, RedeemCodeOutcome::SignInEnded),
    ] {
        let sign_in = bed.signed_in(&user).await;
        let mut waiting = bed.waiting_code(&user, sign_in.id).await;
        waiting.redemption.session.offline = offline;
        bed.store.end_sign_in(end_of(sign_in.id, reason)).await.unwrap();
        assert_eq!(bed.redeem_code(waiting.redemption).await, outcome, "{reason:?} {offline}");
    }
    let sign_in = bed.signed_in(&user).await;
    let waiting = bed.waiting_code(&user, sign_in.id).await.offline();
    bed.raw().await.run("DELETE FROM sign_ins").await;
    assert_eq!(bed.redeem_code(waiting.redemption).await, RedeemCodeOutcome::SignInEnded, "nobody knows why it went");

    let sign_in = bed.signed_in(&user).await;
    let waiting = bed.waiting_code(&user, sign_in.id).await.offline();
    bed.store.end_user_sessions(&user.sub, user_effects(AuditType::UserLoggedOut)).await.unwrap();
    assert_eq!(bed.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Gone, "all were ended");
}

async fn signing_out_against_redeeming_leaves_no_live_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..20 {
        let user = bed.user(&unique("user")).await;
        let sign_in = bed.signed_in(&user).await.id;
        let mut requests = Vec::new();
        for _ in 0..4 {
            requests.push(bed.waiting_code(&user, sign_in).await.redemption);
        }
        let ending = {
            let (store, end) = (Arc::clone(&nodes[0]), end_of(sign_in, SignInEnd::LoggedOut));
            tokio::spawn(async move { store.end_sign_in(end).await.unwrap() })
        };
        let calls = requests.iter().cloned().enumerate().map(|(n, request)| {
            let store = Arc::clone(&nodes[(n + 1) % nodes.len()]);
            async move { store.redeem_code(request).await.unwrap() }
        });
        let outcomes = all(calls.collect()).await;
        let ended = ending.await.unwrap();
        assert_eq!(ended.outcome, EndOutcome::Ended);
        for (outcome, request) in outcomes.iter().zip(&requests) {
            let id = request.session.id;
            let session = bed.store.session(id).await.unwrap();
            let told = ended.sessions.iter().any(|session| session.id == id && session.ended);
            match outcome {
                RedeemCodeOutcome::Opened => assert!(told && session.unwrap().ended.is_some(), "opened, so ended"),
                RedeemCodeOutcome::SignInEnded => assert!(!told && session.is_none(), "too late, so not there"),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn changing_the_password_against_redeeming_leaves_no_live_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..20 {
        let (mut user, waiting) = waiting(&bed).await;
        user.credential_epoch += 1;
        let mut effects = user_effects(AuditType::UserPasswordChanged);
        effects.end_sessions = Some(EndReason::PasswordChanged);
        let (first, second) = (Arc::clone(&nodes[0]), Arc::clone(nodes.last().unwrap()));
        let request = waiting.redemption.clone();
        let (changed, redeemed) = tokio::join!(
            tokio::spawn(async move { first.change_user(user, effects).await.unwrap() }),
            tokio::spawn(async move { second.redeem_code(request).await.unwrap() }),
        );
        changed.unwrap();
        let session = bed.store.session(waiting.first.session).await.unwrap();
        match redeemed.unwrap() {
            RedeemCodeOutcome::Opened => assert!(session.unwrap().ended.is_some()),
            RedeemCodeOutcome::Gone => assert!(session.is_none()),
            other => panic!("{other:?}"),
        }
    }
}

async fn a_code_lives_its_life_within_one_batch(bed: Bed) {
    let (user, waiting) = waiting(&bed).await;
    let sign_in = waiting.redemption.session.sign_in.unwrap();
    let mut held = bed.hold_writers().await;
    // Busy with this one, the writer finds all the others together, where one session's writer is the only one.
    let store = Arc::clone(&bed.store);
    let first = started(async move { store.record(vec![event(AuditType::AdminDenied)]).await });
    let (mut one, mut two) = (waiting.redemption.clone(), waiting.again(&bed, &user));
    // Of the writer that has the entry.
    for request in [&mut one, &mut two] {
        let mut id = *request.session.id.as_bytes();
        id[0] = 0;
        request.session.id = SessionId::from_bytes(id);
        request.hash = [5; 32];
    }
    let sid = one.session.id;
    let token = crate::bed::Token { session: sid, ..waiting.first.clone() };
    let (store, created) = (Arc::clone(&bed.store), code(&user, sign_in));
    let creation = started(async move { store.create_code([5; 32], created).await });
    let store = Arc::clone(&bed.store);
    let redeemed = started(async move { store.redeem_code(one).await.unwrap() });
    let (store, refresh) = (Arc::clone(&bed.store), bed.request(&token, NOW));
    let rotated = started(async move { store.refresh(refresh).await.unwrap().outcome });
    let store = Arc::clone(&bed.store);
    let replayed = started(async move { store.redeem_code(two).await.unwrap() });
    let (store, refresh) = (Arc::clone(&bed.store), bed.request(&token, NOW));
    let refused = started(async move { store.refresh(refresh).await.unwrap().outcome });
    held.run("ROLLBACK").await;
    first.await.unwrap();
    creation.await.unwrap();
    assert_eq!(redeemed.await, RedeemCodeOutcome::Opened);
    let rotated = rotated.await;
    assert!(matches!(rotated, Outcome::Rotated(_)), "{rotated:?}");
    assert_eq!(replayed.await, RedeemCodeOutcome::Replayed { sid });
    assert_eq!(refused.await, Outcome::Refused(Refusal::Ended(EndReason::CodeReused)));
    assert_eq!(bed.end_of(&token).await, Some(EndReason::CodeReused));
    assert_eq!(bed.trail(AuditType::CodeReplayed).await.len(), 1);
}

async fn one_bad_redemption_does_not_fail_the_others(bed: Bed) {
    let (user, good) = waiting(&bed).await;
    let sign_in = good.redemption.session.sign_in.unwrap();
    let mut bad = bed.waiting_code(&user, sign_in).await.redemption;
    bad.session.id = good.redemption.session.id;
    let mut held = bed.hold_writers().await;
    let calls = [good.redemption.clone(), bad.clone()].map(|request| {
        let store = Arc::clone(&bed.store);
        started(async move { store.redeem_code(request).await })
    });
    held.run("ROLLBACK").await;
    let outcomes = all(calls.into()).await;
    assert!(matches!(outcomes[0], Ok(RedeemCodeOutcome::Opened)), "{outcomes:?}");
    assert!(matches!(outcomes[1], Err(StoreError::Inconsistent(_))), "the same session again: {outcomes:?}");
    let kept = bed.store.code(&bad.hash).await.unwrap().unwrap();
    assert_eq!(kept.redeemed, None, "neither without the other");
}

async fn codes_go_with_their_user_and_their_client(bed: Bed) {
    let (user, of_user) = waiting(&bed).await;
    let (other, used) = waiting(&bed).await;
    bed.redeem_code(used.redemption.clone()).await;
    bed.store.delete_user(&user.sub, 1, user_effects(AuditType::UserDeleted)).await.unwrap();
    assert_eq!(bed.store.code(&of_user.redemption.hash).await.unwrap(), None);
    assert_eq!(bed.redeem_code(of_user.redemption).await, RedeemCodeOutcome::Gone);

    let of_client = bed.waiting_code(&other, used.redemption.session.sign_in.unwrap()).await;
    bed.store.create_client(client("app", "read"), event(AuditType::ClientCreated)).await.unwrap();
    let app = ClientId::new("app");
    bed.store.delete_client(&app, 1, client_effects(AuditType::ClientDeleted)).await.unwrap();
    assert_eq!(bed.redeem_code(of_client.redemption).await, RedeemCodeOutcome::Gone);
    let sid = used.first.session;
    let again = used.again(&bed, &other);
    assert_eq!(bed.redeem_code(again).await, RedeemCodeOutcome::Replayed { sid }, "a used one is recognised");
}

async fn codes_are_recognised_for_an_hour(bed: Bed) {
    let (user, used) = waiting(&bed).await;
    bed.redeem_code(used.redemption.clone()).await;
    bed.waiting_code(&user, used.redemption.session.sign_in.unwrap()).await;
    let hour = NOW.plus(LIFETIME).plus(seconds(3600));
    assert_eq!(bed.sweep(hour, 100).await.codes, 0);
    let sid = used.first.session;
    assert_eq!(bed.redeem_code(used.again(&bed, &user)).await, RedeemCodeOutcome::Replayed { sid });
    let swept = bed.sweep(hour.plus(seconds(1)), 100).await;
    assert_eq!(swept, Swept { codes: 2, revocations: 1, ..Swept::default() });
    assert_eq!(bed.redeem_code(used.again(&bed, &user)).await, RedeemCodeOutcome::Gone);
}
