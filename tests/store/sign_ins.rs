//! Sign-ins: what a browser's secret finds, what takes its place, and what ends with it.

use std::sync::Arc;
use std::time::Duration;

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::{ClientId, SessionId, SignInId, Sub};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::domain::sign_in::{Browser, SignIn, SignInEnd, SignInLimits};
use latchkey::domain::sources::{SystemEntropy, random};
use latchkey::storage::{
    BeginOutcome, BeginSignIn, ChangeOutcome, EndOutcome, EndSignIn, EndedSignIn, Page, RenewSignIn,
    RenewSignInOutcome, SessionOfSignIn, SignInFilter, Swept,
};

use crate::bed::{Bed, NOW, all, contract, event, seconds, unique, user_effects};
use crate::browser::{end_of, sign_in};

contract!(
    a_sign_in_is_found_by_its_id_and_its_secret,
    nobody_signs_in_as_a_user_who_has_changed,
    a_use_is_written_if_it_is_the_latest,
    signing_in_again_takes_a_new_secret,
    of_two_tabs_that_sign_in_again_one_is_faster,
    another_user_in_the_same_browser_takes_the_place,
    two_users_in_two_tabs_take_the_place_once,
    what_came_from_a_sign_in_ends_with_it_but_for_the_offline,
    a_sign_in_ends_without_its_sessions_where_that_is_asked,
    any_number_of_sessions_ends_with_a_sign_in,
    actions_on_a_user_end_the_sign_ins,
    a_changed_password_spares_where_it_was_changed,
    any_number_of_sign_ins_can_be_ended,
    signing_in_against_disabling_leaves_nobody_signed_in,
    sign_ins_are_listed_newest_first,
    sign_ins_are_swept_thirty_days_after_they_are_over,
);

const LIMITS: fn() -> SignInLimits = SignInLimits::default;

fn renewal(begun: &BeginSignIn, secret_hash: [u8; 32]) -> RenewSignIn {
    RenewSignIn {
        sign_in: begun.sign_in.renewed(Browser::new("Other", "192.0.2.8"), &LIMITS(), NOW.plus(seconds(60))),
        old_secret_hash: begun.secret_hash,
        secret_hash,
        credential_epoch: begun.credential_epoch,
        known_address: None,
        audit: event(AuditType::SignInRenewed),
    }
}

async fn a_sign_in_is_found_by_its_id_and_its_secret(bed: Bed) {
    let user = bed.user("ada").await;
    let mut login = sign_in(&user);
    login.known_address = Some([7; 32]);
    let begun = bed.store.begin_sign_in(login.clone()).await.unwrap();
    assert_eq!(begun, BeginOutcome::Begun { replaced: Vec::new() });
    let expected = Some(login.sign_in.clone());
    assert_eq!(bed.store.sign_in(login.sign_in.id).await.unwrap(), expected);
    assert_eq!(bed.store.sign_in_by_secret(&login.secret_hash).await.unwrap(), expected);
    assert_eq!(bed.store.sign_in_by_secret(&[0; 32]).await.unwrap(), None);
    assert_eq!(bed.store.sign_in(SignInId::from_bytes([0; 16])).await.unwrap(), None);
    assert!(bed.store.is_known_address(&user.sub, &[7; 32], NOW).await.unwrap());
    assert_eq!(bed.trail(AuditType::SignInBegan).await.len(), 1);
}

async fn nobody_signs_in_as_a_user_who_has_changed(bed: Bed) {
    let mut user = bed.user("ada").await;
    let begun = sign_in(&user);
    bed.store.begin_sign_in(begun.clone()).await.unwrap();
    let checked = user.clone();
    let refused = async |epoch| {
        let mut login = sign_in(&checked);
        login.credential_epoch = epoch;
        login.known_address = Some([7; 32]);
        login.replaces = Some(begun.sign_in.id);
        let mut again = renewal(&begun, random(&SystemEntropy));
        again.credential_epoch = epoch;
        assert_eq!(bed.store.begin_sign_in(login).await.unwrap(), BeginOutcome::UserChanged);
        assert_eq!(bed.store.renew_sign_in(again).await.unwrap(), RenewSignInOutcome::UserChanged);
    };
    refused(7).await;
    user.disabled = true;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
    refused(1).await;
    assert_eq!(bed.sign_in(begun.sign_in.id).await, begun.sign_in, "and nothing was changed");
    bed.store.delete_user(&user.sub, 2, user_effects(AuditType::UserDeleted)).await.unwrap();
    refused(1).await;
    assert_eq!(bed.count("sign_ins").await, 1);
    assert_eq!(bed.count("known_addresses").await, 0);
}

async fn a_use_is_written_if_it_is_the_latest(bed: Bed) {
    let user = bed.user("ada").await;
    let begun = bed.signed_in(&user).await;
    let used_at = |at| {
        let mut used = begun.clone();
        assert!(used.touch(&LIMITS(), at));
        used
    };
    let (early, late) = (used_at(NOW.plus(seconds(60))), used_at(NOW.plus(seconds(90))));
    assert!(bed.store.touch_sign_in(&late).await.unwrap());
    assert!(!bed.store.touch_sign_in(&early).await.unwrap());
    assert!(!bed.store.touch_sign_in(&late).await.unwrap());
    assert_eq!(bed.sign_in(begun.id).await, late);
    bed.store.end_sign_in(end_of(begun.id, SignInEnd::LoggedOut)).await.unwrap();
    assert!(!bed.store.touch_sign_in(&used_at(NOW.plus(seconds(120)))).await.unwrap());
    assert_eq!(bed.sign_in(begun.id).await.last_used_at, late.last_used_at);
}

async fn signing_in_again_takes_a_new_secret(bed: Bed) {
    let user = bed.user("ada").await;
    let begun = sign_in(&user);
    bed.store.begin_sign_in(begun.clone()).await.unwrap();
    let mut again = renewal(&begun, [2; 32]);
    again.known_address = Some([7; 32]);
    assert_eq!(bed.store.renew_sign_in(again.clone()).await.unwrap(), RenewSignInOutcome::Renewed);
    assert_eq!(bed.store.sign_in_by_secret(&begun.secret_hash).await.unwrap(), None, "a cookie that was planted");
    assert_eq!(bed.store.sign_in_by_secret(&[2; 32]).await.unwrap().as_ref(), Some(&again.sign_in));
    assert_eq!((again.sign_in.id, again.sign_in.started_at), (begun.sign_in.id, NOW));
    assert!(bed.store.is_known_address(&user.sub, &[7; 32], NOW.plus(seconds(60))).await.unwrap());

    let gone = async |request| assert_eq!(bed.store.renew_sign_in(request).await.unwrap(), RenewSignInOutcome::Gone);
    gone(renewal(&begun, [3; 32])).await;
    let mut others = RenewSignIn { old_secret_hash: [2; 32], ..renewal(&begun, [3; 32]) };
    others.sign_in.sub = bed.user("bob").await.sub;
    gone(others).await;
    bed.store.end_sign_in(end_of(begun.sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
    gone(RenewSignIn { old_secret_hash: [2; 32], ..renewal(&begun, [3; 32]) }).await;
    assert_eq!(bed.trail(AuditType::SignInRenewed).await.len(), 1);
}

async fn of_two_tabs_that_sign_in_again_one_is_faster(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..20 {
        let user = bed.user(&unique("user")).await;
        let begun = sign_in(&user);
        bed.store.begin_sign_in(begun.clone()).await.unwrap();
        let secrets: Vec<[u8; 32]> = (0..4).map(|_| random(&SystemEntropy)).collect();
        let calls = secrets.iter().enumerate().map(|(n, secret)| {
            let (store, request) = (Arc::clone(&nodes[n % nodes.len()]), renewal(&begun, *secret));
            async move { store.renew_sign_in(request).await.unwrap() }
        });
        let outcomes = all(calls.collect()).await;
        let renewed: Vec<_> = outcomes.iter().map(|it| *it == RenewSignInOutcome::Renewed).collect();
        assert_eq!(renewed.iter().filter(|renewed| **renewed).count(), 1, "{outcomes:?}");
        for (secret, renewed) in secrets.iter().zip(renewed) {
            assert_eq!(bed.store.sign_in_by_secret(secret).await.unwrap().is_some(), renewed);
        }
    }
}

async fn another_user_in_the_same_browser_takes_the_place(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let hers = bed.signed_in(&ada).await;
    let (online, offline) = (bed.session_of(&ada, hers.id).await, bed.offline_session_of(&ada, hers.id).await);
    let mut his = sign_in(&bob);
    his.replaces = Some(hers.id);
    let BeginOutcome::Begun { replaced } = bed.store.begin_sign_in(his.clone()).await.unwrap() else {
        panic!("he is who he was")
    };
    let app = |id, ended| SessionOfSignIn { id, client_id: ClientId::new("app"), ended };
    assert_eq!(replaced, [app(online.session, true), app(offline.session, false)]);
    assert_eq!(bed.sign_in(hers.id).await.ended, Some((NOW, SignInEnd::Replaced)));
    assert_eq!(bed.sign_in(his.sign_in.id).await, his.sign_in);
    assert_eq!(bed.end_of(&online).await, Some(EndReason::LoggedOut));
    assert_eq!(bed.end_of(&offline).await, None);
    let trail = bed.trail(AuditType::SignInEnded).await;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].event.sub, Some(ada.sub), "it is about her");
    let detail = serde_json::json!({ "sign_in": hers.id.to_string(), "reason": "replaced" });
    assert_eq!(trail[0].event.detail, detail);
}

async fn two_users_in_two_tabs_take_the_place_once(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..20 {
        let (ada, bob) = (bed.user(&unique("ada")).await, bed.user(&unique("bob")).await);
        let before = bed.signed_in(&ada).await;
        let session = bed.session_of(&ada, before.id).await;
        let calls = (0..4).map(|n| {
            let (store, mut login) = (Arc::clone(&nodes[n % nodes.len()]), sign_in(&bob));
            login.replaces = Some(before.id);
            async move { store.begin_sign_in(login).await.unwrap() }
        });
        let told: Vec<_> = all(calls.collect())
            .await
            .into_iter()
            .flat_map(|outcome| match outcome {
                BeginOutcome::Begun { replaced } => replaced,
                BeginOutcome::UserChanged => panic!("nobody has changed"),
            })
            .collect();
        let once = SessionOfSignIn { id: session.session, client_id: ClientId::new("app"), ended: true };
        assert_eq!(told, [once]);
    }
    assert_eq!(bed.trail(AuditType::SignInEnded).await.len(), 20);
}

async fn what_came_from_a_sign_in_ends_with_it_but_for_the_offline(bed: Bed) {
    let user = bed.user("ada").await;
    let (here, there) = (bed.signed_in(&user).await, bed.signed_in(&user).await);
    let (one, two) = (bed.session_of(&user, here.id).await, bed.session_of(&user, here.id).await);
    let offline = bed.offline_session_of(&user, here.id).await;
    let others = [bed.session_of(&user, there.id).await, bed.login_of(&user).await];

    let mut strangers = end_of(here.id, SignInEnd::LoggedOut);
    strangers.of_user = Some(Sub::new("usr_bob"));
    let nothing = |outcome| EndedSignIn { outcome, sessions: Vec::new() };
    assert_eq!(bed.store.end_sign_in(strangers).await.unwrap(), nothing(EndOutcome::NotFound));
    let unknown = end_of(SignInId::from_bytes([0; 16]), SignInEnd::LoggedOut);
    assert_eq!(bed.store.end_sign_in(unknown).await.unwrap(), nothing(EndOutcome::NotFound));

    let end = EndSignIn { of_user: Some(user.sub.clone()), ..end_of(here.id, SignInEnd::LoggedOut) };
    let mut ended = bed.store.end_sign_in(end.clone()).await.unwrap();
    ended.sessions.sort_by_key(|session| (!session.ended, session.id));
    let mut expected = [(one.session, true), (two.session, true), (offline.session, false)];
    expected.sort_by_key(|(id, ended)| (!ended, *id));
    let told: Vec<_> = ended.sessions.iter().map(|session| (session.id, session.ended)).collect();
    assert_eq!((ended.outcome, told), (EndOutcome::Ended, expected.to_vec()));
    assert_eq!(bed.sign_in(here.id).await.ended, Some((NOW, SignInEnd::LoggedOut)));
    for token in [&one, &two] {
        let refused = bed.present(token, NOW).await.outcome;
        assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::LoggedOut)));
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(token.session)));
    }
    assert_eq!(bed.sink.told().len(), 2);
    for token in others.iter().chain([&offline]) {
        bed.rotate(token, NOW).await;
    }
    assert_eq!(bed.store.end_sign_in(end).await.unwrap(), nothing(EndOutcome::EndedBefore));
    assert_eq!(bed.trail(AuditType::SignInEnded).await.len(), 1);
}

async fn a_sign_in_ends_without_its_sessions_where_that_is_asked(bed: Bed) {
    let user = bed.user("ada").await;
    let begun = bed.signed_in(&user).await;
    let token = bed.session_of(&user, begun.id).await;
    let end = EndSignIn { end_sessions: false, ..end_of(begun.id, SignInEnd::LoggedOut) };
    let ended = bed.store.end_sign_in(end).await.unwrap();
    let told = SessionOfSignIn { id: token.session, client_id: ClientId::new("app"), ended: false };
    assert_eq!(ended, EndedSignIn { outcome: EndOutcome::Ended, sessions: vec![told] });
    bed.rotate(&token, NOW).await;
}

async fn any_number_of_sessions_ends_with_a_sign_in(bed: Bed) {
    let user = bed.user("ada").await;
    let begun = bed.signed_in(&user).await;
    bed.many_sessions(&user, begun.id).await;
    let ended = bed.store.end_sign_in(end_of(begun.id, SignInEnd::LoggedOut)).await.unwrap();
    assert_eq!((ended.outcome, ended.sessions.len()), (EndOutcome::Ended, 5200));
    assert!(ended.sessions.iter().all(|session| session.ended));
    assert_eq!(bed.live("sessions").await, 0);
    assert_eq!(bed.count("revocations").await, 5200);

    bed.raw().await.run("DELETE FROM sessions").await;
    let begun = bed.signed_in(&user).await;
    bed.many_sessions(&user, begun.id).await;
    let login = BeginSignIn { replaces: Some(begun.id), ..sign_in(&bed.user("bob").await) };
    let BeginOutcome::Begun { replaced } = bed.store.begin_sign_in(login).await.unwrap() else {
        panic!("nobody has changed")
    };
    assert_eq!((replaced.len(), bed.live("sessions").await), (5200, 0));
}

async fn actions_on_a_user_end_the_sign_ins(bed: Bed) {
    let ends = [
        (EndReason::PasswordChanged, SignInEnd::PasswordChanged),
        (EndReason::UserDisabled, SignInEnd::UserDisabled),
        (EndReason::RevokedByAdmin, SignInEnd::RevokedByAdmin),
    ];
    for (reason, end) in ends {
        let user = bed.user(&unique("user")).await;
        let begun = bed.signed_in(&user).await;
        bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
        assert_eq!(bed.sign_in_end(begun.id).await, None, "a change that ends nothing");
        let mut effects = user_effects(AuditType::UserUpdated);
        effects.end_sessions = Some(reason);
        let changed = latchkey::domain::user::User { version: 2, ..user };
        assert_eq!(bed.store.change_user(changed, effects).await.unwrap(), ChangeOutcome::Changed);
        assert_eq!(bed.sign_in_end(begun.id).await, Some(end));
    }
    let (user, other) = (bed.user("ada").await, bed.user("bob").await);
    let (begun, others) = (bed.signed_in(&user).await, bed.signed_in(&other).await);
    bed.store.end_user_sessions(&user.sub, user_effects(AuditType::UserLoggedOut)).await.unwrap();
    assert_eq!(bed.sign_in(begun.id).await.ended, Some((NOW, SignInEnd::RevokedByAdmin)));
    let begun = bed.signed_in(&user).await;
    let mut effects = user_effects(AuditType::UserDeleted);
    effects.except = Some(begun.id);
    bed.store.delete_user(&user.sub, 1, effects).await.unwrap();
    assert_eq!(bed.sign_in_end(begun.id).await, Some(SignInEnd::UserDeleted), "a deleted user stays nowhere");
    assert_eq!(bed.sign_in_end(others.id).await, None);
}

async fn a_changed_password_spares_where_it_was_changed(bed: Bed) {
    let mut user = bed.user("ada").await;
    let (here, there) = (bed.signed_in(&user).await, bed.signed_in(&user).await);
    let kept = [bed.session_of(&user, here.id).await, bed.offline_session_of(&user, here.id).await];
    let lost = [
        bed.session_of(&user, there.id).await,
        bed.offline_session_of(&user, there.id).await,
        bed.login_of(&user).await,
    ];
    user.credential_epoch += 1;
    let mut effects = user_effects(AuditType::UserPasswordChanged);
    (effects.end_sessions, effects.except) = (Some(EndReason::PasswordChanged), Some(here.id));
    assert_eq!(bed.store.change_user(user.clone(), effects).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(bed.sign_in_end(here.id).await, None);
    assert_eq!(bed.sign_in_end(there.id).await, Some(SignInEnd::PasswordChanged));
    for token in &lost {
        assert_eq!(bed.end_of(token).await, Some(EndReason::PasswordChanged));
    }
    for token in &kept {
        bed.rotate(token, NOW).await;
    }
    let told: Vec<_> = bed.sink.told().into_iter().map(|it| it.what).collect();
    let expected = |id: SessionId| told.contains(&Revoked::Session(id));
    assert!(lost.iter().all(|token| expected(token.session)) && told.len() == 3, "{told:?}");
    bed.session_of(&user, here.id).await;
}

async fn any_number_of_sign_ins_can_be_ended(bed: Bed) {
    let user = bed.user("ada").await;
    let here = bed.signed_in(&user).await;
    let token = bed.session_of(&user, here.id).await;
    bed.many_sign_ins(&user).await;
    let mut effects = user_effects(AuditType::UserPasswordChanged);
    (effects.end_sessions, effects.except) = (Some(EndReason::PasswordChanged), Some(here.id));
    assert_eq!(bed.store.change_user(user.clone(), effects).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(bed.live("sign_ins").await, 1);
    assert_eq!(bed.sign_in_end(here.id).await, None);
    assert_eq!(bed.end_of(&token).await, None);
}

async fn signing_in_against_disabling_leaves_nobody_signed_in(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..20 {
        let mut user = bed.user(&unique("user")).await;
        let logins: Vec<_> = (0..4).map(|_| sign_in(&user)).collect();
        user.disabled = true;
        let mut effects = user_effects(AuditType::UserUpdated);
        effects.end_sessions = Some(EndReason::UserDisabled);
        let disabling = {
            let store = Arc::clone(&nodes[0]);
            tokio::spawn(async move { store.change_user(user, effects).await.unwrap() })
        };
        let calls = logins.iter().cloned().enumerate().map(|(n, login)| {
            let store = Arc::clone(&nodes[(n + 1) % nodes.len()]);
            async move { store.begin_sign_in(login).await.unwrap() }
        });
        let outcomes = all(calls.collect()).await;
        assert_eq!(disabling.await.unwrap(), ChangeOutcome::Changed);
        for (outcome, login) in outcomes.iter().zip(&logins) {
            let found = bed.store.sign_in(login.sign_in.id).await.unwrap();
            match outcome {
                BeginOutcome::Begun { .. } => assert!(found.unwrap().ended.is_some(), "begun before, so ended"),
                BeginOutcome::UserChanged => assert_eq!(found, None, "too late, so not there"),
            }
        }
    }
}

async fn sign_ins_are_listed_newest_first(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    let mut expected: Vec<SignIn> = Vec::new();
    for n in 0..9 {
        let mut login = sign_in(if n % 3 == 0 { &ada } else { &bob });
        // Three at a time began in the same millisecond; they last an hour longer each.
        login.sign_in.started_at = NOW.plus(seconds(n / 3));
        login.sign_in.idle_expires_at = NOW.plus(seconds(n * 3600));
        expected.push(login.sign_in.clone());
        bed.store.begin_sign_in(login).await.unwrap();
    }
    expected.sort_by_key(|it| std::cmp::Reverse((it.started_at, it.id.to_string())));
    let listed = async |filter: SignInFilter| {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let listed = bed.store.sign_ins(filter.clone(), Page { after, limit: 2 }).await.unwrap();
            found.extend(listed.items);
            after = listed.next;
            if after.is_none() {
                return found;
            }
        }
    };
    for sub in [None, Some(&ada.sub), Some(&bob.sub)] {
        for live_at in [None, Some(NOW), Some(NOW.plus(seconds(4 * 3600))), Some(NOW.plus(seconds(99 * 3600)))] {
            let is_listed =
                |it: &&SignIn| sub.is_none_or(|sub| it.sub == *sub) && live_at.is_none_or(|at| at < it.idle_expires_at);
            let filter = SignInFilter { sub: sub.cloned(), live_at };
            let expected: Vec<_> = expected.iter().filter(is_listed).cloned().collect();
            assert_eq!(listed(filter).await, expected, "{sub:?} {live_at:?}");
        }
    }
    bed.store.end_user_sessions(&ada.sub, user_effects(AuditType::UserLoggedOut)).await.unwrap();
    let of_ada = |live_at| SignInFilter { sub: Some(ada.sub.clone()), live_at };
    assert_eq!(listed(of_ada(Some(NOW))).await, []);
    assert_eq!(listed(of_ada(None)).await.len(), 3, "ended ones are listed until they are swept");
    let garbled = Page { after: Some("garbled".into()), limit: 10 };
    assert!(bed.store.sign_ins(SignInFilter::default(), garbled).await.unwrap().items.is_empty());
}

async fn sign_ins_are_swept_thirty_days_after_they_are_over(bed: Bed) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let user = bed.user("ada").await;
    let (expired, ended) = (bed.signed_in(&user).await, bed.signed_in(&user).await);
    bed.store.end_sign_in(end_of(ended.id, SignInEnd::LoggedOut)).await.unwrap();
    let sweep = async |at| bed.sweep(at, 100).await;
    let one = Swept { sign_ins: 1, ..Swept::default() };
    assert_eq!(sweep(NOW.plus(30 * DAY)).await, Swept::default());
    assert_eq!(sweep(NOW.plus(30 * DAY).plus(seconds(1))).await, one);
    assert_eq!(bed.store.sign_in(ended.id).await.unwrap(), None);
    assert_eq!(sweep(NOW.plus(44 * DAY)).await, Swept::default());
    assert_eq!(sweep(NOW.plus(44 * DAY).plus(seconds(1))).await, one);
    assert_eq!(bed.store.sign_in(expired.id).await.unwrap(), None);
}
