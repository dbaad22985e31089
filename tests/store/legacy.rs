//! Legacy tokens: each opens one session, on whatever node, and is recognised for as long as it must be.

use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::error::Reason;
use latchkey::domain::ids::{ClientId, SessionId, Sub};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::{EndReason, Refusal};
use latchkey::domain::sources::{SystemEntropy, random};
use latchkey::domain::time::Timestamp;
use latchkey::domain::user::User;
use latchkey::storage::{
    LegacyCount, MigrationCounts, Opening, RedeemOutcome, RedeemRefusal, RedeemToken, RedeemedToken, Store, Swept,
    UserCount,
};

use crate::bed::{Bed, NOW, Token, all, contract, event, login, seconds, started, user, user_effects};

contract!(
    a_token_opens_the_session_that_is_derived_from_it,
    sixty_four_redemptions_open_one_session,
    redemptions_of_one_batch_see_each_other,
    a_retry_in_time_meets_the_session_as_it_is,
    a_late_retry_ends_the_session_and_so_does_one_after_a_refresh,
    a_token_whose_session_was_swept_is_a_replay_still,
    a_wrong_client_changes_nothing_and_learns_nothing,
    a_token_that_counts_no_more_is_recognised_but_opens_nothing,
    a_changed_user_opens_nothing_and_may_try_again,
    a_login_of_before_all_sessions_were_ended_opens_nothing,
    redemptions_against_ending_all_sessions_leave_none,
    hashes_are_kept_as_long_as_they_are_needed,
    redeemed_tokens_are_counted_by_issuer_and_user,
    asking_of_a_token_tells_what_it_has_opened_and_changes_nothing,
    one_bad_redemption_does_not_fail_the_others,
);

/// A legacy token of a user, and the refresh token that it gives.
#[derive(Clone)]
struct Legacy {
    redemption: RedeemToken,
    first: Token,
}

impl Legacy {
    fn opening(&mut self) -> &mut Opening {
        self.redemption.opening.as_mut().unwrap()
    }

    fn at(&self, now: Timestamp) -> RedeemToken {
        let mut again = self.redemption.clone();
        again.now = now;
        again.horizon = now.plus(seconds(600));
        if let Ok(opening) = &mut again.opening {
            // What a node plans does not know what has happened.
            opening.session.last_used_at = now;
        }
        again
    }

    fn lapsed(&self, now: Timestamp, reason: Reason) -> RedeemToken {
        RedeemToken { opening: Err(reason), ..self.at(now) }
    }
}

fn legacy(user: &User, bed: &Bed) -> Legacy {
    let (open, first) = login(user, &bed.policy);
    let mut session = open.session;
    session.started_at = NOW.minus(seconds(5000));
    session.auth_time = session.started_at;
    let sid = session.id;
    let redemption = RedeemToken {
        hash: random(&SystemEntropy),
        issuer: "django".into(),
        sid,
        client_id: ClientId::new("app"),
        policy: bed.policy.clone(),
        now: NOW,
        address: Some("192.0.2.1".into()),
        horizon: NOW.plus(seconds(600)),
        opening: Ok(Opening {
            logged_in_at: Some(session.started_at),
            session,
            credential_epoch: user.credential_epoch,
            keep_until: NOW.plus(seconds(100_000)),
            audit: event(AuditType::LegacyExchanged).about_user(&user.sub).about_session(sid),
        }),
    };
    Legacy { redemption, first }
}

async fn redeem(bed: &Bed, token: RedeemToken) -> RedeemOutcome {
    bed.store.redeem_token(token).await.unwrap()
}

async fn opened(bed: &Bed) -> Legacy {
    let user = bed.user(&crate::bed::unique("user")).await;
    let token = legacy(&user, bed);
    assert_eq!(redeem(bed, token.redemption.clone()).await, RedeemOutcome::Opened);
    token
}

async fn ended(bed: &Bed, sid: SessionId) -> Option<EndReason> {
    bed.store.session(sid).await.unwrap().unwrap().ended.map(|(_, reason)| reason)
}

fn is_retried(outcome: &RedeemOutcome) -> bool {
    matches!(outcome, RedeemOutcome::Retried { .. })
}

async fn a_token_opens_the_session_that_is_derived_from_it(bed: Bed) {
    let token = opened(&bed).await;
    let session = bed.store.session(token.redemption.sid).await.unwrap();
    assert_eq!(session.as_ref(), Some(&token.redemption.opening.unwrap().session));
    let trail = bed.trail(AuditType::LegacyExchanged).await;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].event.sid, Some(token.first.session));
    bed.rotate(&token.first, NOW.plus(seconds(1))).await;
}

async fn sixty_four_redemptions_open_one_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for round in 0..5 {
        let user = bed.user(&format!("user {round}")).await;
        let token = legacy(&user, &bed);
        let mut held = bed.hold_writers().await;
        let calls: Vec<_> = (0..64)
            .map(|n| {
                let (store, request) = (Arc::clone(&nodes[n % nodes.len()]), token.redemption.clone());
                started(async move { store.redeem_token(request).await.unwrap() })
            })
            .collect();
        held.run("ROLLBACK").await;
        let outcomes = all(calls).await;
        assert_eq!(outcomes.iter().filter(|it| **it == RedeemOutcome::Opened).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|it| is_retried(it)).count(), 63, "{outcomes:?}");
        assert_eq!(bed.count("sessions").await, round + 1);
        assert_eq!(bed.count("legacy_tokens").await, round + 1);
    }
    assert_eq!(bed.trail(AuditType::LegacyExchanged).await.len(), 5, "opened once each");
    assert_eq!(bed.trail(AuditType::RefreshRetried).await.len(), 5, "however many retries, the trail hears of one");
}

async fn redemptions_of_one_batch_see_each_other(bed: Bed) {
    let user = bed.user("ada").await;
    let token = legacy(&user, &bed);
    let mut held = bed.hold_writers().await;
    let store = Arc::clone(&bed.store);
    // Busy with this one, the writer finds all the others together.
    let first = started(async move { store.record(vec![event(AuditType::AdminDenied)]).await });
    let requests = [
        token.lapsed(NOW, Reason::CutOff),
        token.at(NOW),
        token.at(NOW.plus(seconds(1))),
        token.at(NOW.plus(seconds(61))),
        token.at(NOW.plus(seconds(62))),
    ];
    let calls = requests.map(|request| {
        let store = Arc::clone(&bed.store);
        started(async move { store.redeem_token(request).await.unwrap() })
    });
    let (store, refresh) = (Arc::clone(&bed.store), bed.request(&token.first, NOW.plus(seconds(63))));
    let refreshed = started(async move { store.refresh(refresh).await.unwrap().outcome });
    held.run("ROLLBACK").await;
    first.await.unwrap();
    let outcomes = all(calls.into()).await;
    assert_eq!(outcomes[0], RedeemOutcome::Refused(RedeemRefusal::NotRedeemed(Reason::CutOff)));
    assert_eq!(outcomes[1], RedeemOutcome::Opened);
    assert!(is_retried(&outcomes[2]), "{outcomes:?}");
    assert_eq!(outcomes[3], RedeemOutcome::Replayed);
    let over = Refusal::Ended(EndReason::Reused);
    assert_eq!(outcomes[4], RedeemOutcome::Refused(RedeemRefusal::Session(over)));
    assert_eq!(refreshed.await, latchkey::domain::session::Outcome::Refused(over));
    assert_eq!(ended(&bed, token.redemption.sid).await, Some(EndReason::Reused));
}

async fn a_retry_in_time_meets_the_session_as_it_is(bed: Bed) {
    let token = opened(&bed).await;
    for (after, late) in [(1, false), (15, false), (16, true), (60, true)] {
        let RedeemOutcome::Retried { session, late: was_late } = redeem(&bed, token.at(NOW.plus(seconds(after)))).await
        else {
            panic!("after {after} s")
        };
        assert_eq!((session.id, was_late), (token.redemption.sid, late));
        assert_eq!(session.last_used_at, NOW, "a retry uses nothing up");
        let chain = session.chain.unwrap();
        assert_eq!((chain.generation, chain.secret_hash), (0, token.first.secret.sha256()));
    }
    assert_eq!(bed.trail(AuditType::RefreshRetried).await.len(), 2, "one prompt, one late");
    assert!(bed.trail(AuditType::LegacyReplayed).await.is_empty());
    bed.rotate(&token.first, NOW.plus(seconds(60))).await;
}

async fn a_late_retry_ends_the_session_and_so_does_one_after_a_refresh(bed: Bed) {
    let late = opened(&bed).await;
    let used = opened(&bed).await;
    let next = bed.rotate(&used.first, NOW.plus(seconds(1))).await;
    for (token, at) in [(&late, NOW.plus(seconds(61))), (&used, NOW.plus(seconds(2)))] {
        assert_eq!(redeem(&bed, token.at(at)).await, RedeemOutcome::Replayed);
        assert_eq!(ended(&bed, token.redemption.sid).await, Some(EndReason::Reused));
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(token.redemption.sid)));
        for _ in 0..3 {
            let again = redeem(&bed, token.at(at.plus(seconds(1)))).await;
            let over = RedeemRefusal::Session(Refusal::Ended(EndReason::Reused));
            assert_eq!(again, RedeemOutcome::Refused(over));
        }
    }
    let thief = bed.present(&next, NOW.plus(seconds(3))).await.outcome;
    assert!(crate::bed::token_of(&thief).is_none(), "who came first must not stay in: {thief:?}");
    assert_eq!(bed.trail(AuditType::LegacyReplayed).await.len(), 2);
    assert_eq!(bed.trail(AuditType::LegacyRefused).await.len(), 2, "however often, one entry each");
}

async fn a_token_whose_session_was_swept_is_a_replay_still(bed: Bed) {
    let token = opened(&bed).await;
    bed.raw().await.run("DELETE FROM sessions").await;
    for _ in 0..3 {
        assert_eq!(redeem(&bed, token.at(NOW.plus(seconds(9000)))).await, RedeemOutcome::Replayed);
    }
    assert_eq!(bed.count("sessions").await, 0, "it opens no other");
    let trail = bed.trail(AuditType::LegacyReplayed).await;
    assert_eq!(trail.len(), 1);
    assert_eq!(trail[0].event.sid, Some(token.redemption.sid), "it tells which session that was");
}

async fn a_wrong_client_changes_nothing_and_learns_nothing(bed: Bed) {
    let token = opened(&bed).await;
    let refused = RedeemOutcome::Refused(RedeemRefusal::Session(Refusal::WrongClient));
    for at in [NOW.plus(seconds(1)), NOW.plus(seconds(9000))] {
        let mut others = token.at(at);
        others.client_id = ClientId::new("other");
        others.opening.as_mut().unwrap().session.client_id = ClientId::new("other");
        assert_eq!(redeem(&bed, others).await, refused);
    }
    assert_eq!(ended(&bed, token.redemption.sid).await, None);
    bed.raw().await.run("DELETE FROM sessions").await;
    let mut others = token.at(NOW);
    others.client_id = ClientId::new("other");
    assert_eq!(redeem(&bed, others).await, refused, "nor that there was a session once");
    assert_eq!(bed.trail(AuditType::LegacyRefused).await.len(), 1);
}

async fn a_token_that_counts_no_more_is_recognised_but_opens_nothing(bed: Bed) {
    let user = bed.user("ada").await;
    let fresh = legacy(&user, &bed);
    for reason in [Reason::CutOff, Reason::TokenInactive] {
        let outcome = redeem(&bed, fresh.lapsed(NOW, reason)).await;
        assert_eq!(outcome, RedeemOutcome::Refused(RedeemRefusal::NotRedeemed(reason)));
    }
    assert_eq!((bed.count("sessions").await, bed.count("legacy_tokens").await), (0, 0));

    let token = opened(&bed).await;
    let at = |after| token.lapsed(NOW.plus(seconds(after)), Reason::TokenInactive);
    assert!(is_retried(&redeem(&bed, at(15)).await), "a lost answer at the last moment");
    for _ in 0..2 {
        let lapsed = RedeemOutcome::Refused(RedeemRefusal::Lapsed(Reason::TokenInactive));
        assert_eq!(redeem(&bed, at(16)).await, lapsed);
    }
    assert_eq!(bed.trail(AuditType::LegacyRefused).await.len(), 1);
    assert_eq!(ended(&bed, token.redemption.sid).await, None);
    assert_eq!(redeem(&bed, at(61)).await, RedeemOutcome::Replayed, "whoever has it had it before");
    assert_eq!(ended(&bed, token.redemption.sid).await, Some(EndReason::Reused));
}

async fn a_changed_user_opens_nothing_and_may_try_again(bed: Bed) {
    let mut user = bed.user("ada").await;
    let mut token = legacy(&user, &bed);
    token.opening().credential_epoch += 1;
    assert_eq!(redeem(&bed, token.at(NOW)).await, RedeemOutcome::Refused(RedeemRefusal::UserChanged));
    token.opening().credential_epoch -= 1;
    user.disabled = true;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
    assert_eq!(redeem(&bed, token.at(NOW)).await, RedeemOutcome::Refused(RedeemRefusal::UserChanged));
    assert_eq!((bed.count("sessions").await, bed.count("legacy_tokens").await), (0, 0));
    (user.disabled, user.version) = (false, user.version + 1);
    bed.store.change_user(user, user_effects(AuditType::UserUpdated)).await.unwrap();
    assert_eq!(redeem(&bed, token.at(NOW)).await, RedeemOutcome::Opened);
}

async fn a_login_of_before_all_sessions_were_ended_opens_nothing(bed: Bed) {
    let user = bed.user("ada").await;
    let login_at = |at: Option<Timestamp>| {
        let mut token = legacy(&user, &bed);
        token.opening().logged_in_at = at;
        token.redemption
    };
    assert_eq!(redeem(&bed, login_at(None)).await, RedeemOutcome::Opened, "nobody has ended anything yet");
    bed.store.end_user_sessions(&user.sub, user_effects(AuditType::UserLoggedOut)).await.unwrap();
    let logged_out = RedeemOutcome::Refused(RedeemRefusal::LoggedOut);
    for (at, expected) in [
        (Some(NOW.minus(seconds(1))), &logged_out),
        (Some(NOW), &logged_out),
        (None, &logged_out),
        (Some(NOW.plus(seconds(1))), &RedeemOutcome::Opened),
    ] {
        assert_eq!(&redeem(&bed, login_at(at)).await, expected, "{at:?}");
    }
    // A change of the password ends sessions too; a change of anything else does not.
    let mut changed = bed.store.user(&user.sub).await.unwrap().unwrap();
    changed.username = "ADA".into();
    let mut effects = user_effects(AuditType::UserUpdated);
    effects.now = NOW.plus(seconds(100));
    bed.store.change_user(changed.clone(), effects.clone()).await.unwrap();
    assert_eq!(redeem(&bed, login_at(Some(NOW.plus(seconds(50))))).await, RedeemOutcome::Opened);
    changed.version += 1;
    effects.end_sessions = Some(EndReason::PasswordChanged);
    bed.store.change_user(changed, effects).await.unwrap();
    assert_eq!(redeem(&bed, login_at(Some(NOW.plus(seconds(50))))).await, logged_out);
}

async fn redemptions_against_ending_all_sessions_leave_none(bed: Bed) {
    let nodes = bed.nodes().await;
    for round in 0..20 {
        let user = bed.user(&format!("user {round}")).await;
        let tokens: Vec<_> = (0..4).map(|_| legacy(&user, &bed)).collect();
        let ending = {
            let (store, sub) = (Arc::clone(&nodes[0]), user.sub.clone());
            tokio::spawn(
                async move { store.end_user_sessions(&sub, user_effects(AuditType::UserLoggedOut)).await.unwrap() },
            )
        };
        let calls = tokens.iter().enumerate().map(|(n, token)| {
            let (store, request): (Arc<dyn Store>, _) = (Arc::clone(&nodes[n % nodes.len()]), token.redemption.clone());
            async move { store.redeem_token(request).await.unwrap() }
        });
        let outcomes = all(calls.collect()).await;
        ending.await.unwrap();
        for (outcome, token) in outcomes.iter().zip(&tokens) {
            let session = bed.store.session(token.redemption.sid).await.unwrap();
            match outcome {
                RedeemOutcome::Opened => assert!(session.unwrap().ended.is_some(), "opened before, so ended"),
                RedeemOutcome::Refused(RedeemRefusal::LoggedOut) => assert!(session.is_none(), "too late"),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn hashes_are_kept_as_long_as_they_are_needed(bed: Bed) {
    let token = opened(&bed).await;
    let last = NOW.plus(seconds(100_000)).minus(std::time::Duration::from_millis(1));
    assert_eq!(bed.sweep(last, 100).await, Swept::default());
    let swept = bed.sweep(NOW.plus(seconds(100_000)), 100).await;
    assert_eq!(swept, Swept { legacy_tokens: 1, ..Swept::default() });
    assert_eq!(ended(&bed, token.redemption.sid).await, None, "the session goes on");
}

async fn redeemed_tokens_are_counted_by_issuer_and_user(bed: Bed) {
    assert_eq!(bed.store.migration_counts().await.unwrap(), MigrationCounts::default());
    let add = async |name: &str, hash: Option<&str>| {
        let user = User { password_hash: hash.map(str::to_owned), ..user(name) };
        bed.store.create_user(user.clone(), event(AuditType::UserCreated)).await.unwrap();
        user
    };
    let (ada, bob) = (add("ada", Some("pbkdf2_sha256$1$a$b")).await, add("bob", None).await);
    let own = add("own", Some("$argon2id$v=19$m=1,t=1,p=1$a$b")).await;
    add("left", Some("{SSHA}abc")).await;
    add("left too", Some("pbkdf2_sha256$1$c$d")).await;
    for (user, issuer, at) in [(&ada, "django", 0), (&ada, "django", 5), (&bob, "node", 7), (&own, "django", 1)] {
        let mut token = legacy(user, &bed);
        token.redemption.issuer = issuer.into();
        assert_eq!(redeem(&bed, token.at(NOW.plus(seconds(at)))).await, RedeemOutcome::Opened);
    }
    let count = |issuer: &str, tokens, users, latest| LegacyCount {
        issuer: issuer.into(),
        tokens,
        users,
        latest: NOW.plus(seconds(latest)),
    };
    let kind =
        |scheme: Option<&str>, users, moved| UserCount { password_scheme: scheme.map(str::to_owned), users, moved };
    let mut counts = bed.store.migration_counts().await.unwrap();
    counts.users.sort_by(|one, other| one.password_scheme.cmp(&other.password_scheme));
    let kinds = vec![
        kind(None, 1, 1),
        kind(Some("SSHA"), 1, 0),
        kind(Some("argon2id"), 1, 1),
        kind(Some("pbkdf2_sha256"), 2, 1),
    ];
    let issuers = vec![count("django", 3, 2, 5), count("node", 1, 1, 7)];
    assert_eq!(counts, MigrationCounts { users: kinds.clone(), issuers });

    let moved_at = format!("SELECT moved_at FROM users WHERE sub = '{}'", ada.sub);
    assert_eq!(bed.raw().await.number(&moved_at).await, NOW.millis(), "when it was first");
    bed.sweep(NOW.plus(seconds(100_000)), 100).await;
    let mut counts = bed.store.migration_counts().await.unwrap();
    counts.users.sort_by(|one, other| one.password_scheme.cmp(&other.password_scheme));
    assert_eq!(counts, MigrationCounts { users: kinds, issuers: Vec::new() }, "who has moved has moved");
}

async fn asking_of_a_token_tells_what_it_has_opened_and_changes_nothing(bed: Bed) {
    let user = bed.user("ada").await;
    let token = legacy(&user, &bed);
    let RedeemToken { hash, sid, client_id, .. } = token.redemption.clone();
    assert_eq!(bed.store.redeemed_token(&hash).await.unwrap(), None);
    assert_eq!(redeem(&bed, token.redemption.clone()).await, RedeemOutcome::Opened);
    let trail = bed.count("audit").await;
    let redeemed = RedeemedToken { client_id, sid, redeemed_at: NOW };
    for _ in 0..2 {
        assert_eq!(bed.store.redeemed_token(&hash).await.unwrap().as_ref(), Some(&redeemed));
    }
    assert_eq!(bed.store.redeemed_token(&random(&SystemEntropy)).await.unwrap(), None, "another one");
    assert_eq!(bed.count("audit").await, trail);
    assert!(is_retried(&redeem(&bed, token.at(NOW.plus(seconds(60)))).await), "it is as it was");

    assert_eq!(bed.store.sessions_ended_at(&user.sub).await.unwrap(), None);
    let mut effects = user_effects(AuditType::UserLoggedOut);
    effects.now = NOW.plus(seconds(5));
    bed.store.end_user_sessions(&user.sub, effects).await.unwrap();
    assert_eq!(bed.store.sessions_ended_at(&user.sub).await.unwrap(), Some(NOW.plus(seconds(5))));
    assert_eq!(bed.store.sessions_ended_at(&Sub::new("usr_nobody")).await.unwrap(), None);
}

async fn one_bad_redemption_does_not_fail_the_others(bed: Bed) {
    let user = bed.user("ada").await;
    let (good, mut bad) = (legacy(&user, &bed), legacy(&user, &bed));
    // Another token that claims the same session: nothing derives so, and the row is refused.
    bad.redemption.sid = good.redemption.sid;
    bad.opening().session.id = good.redemption.sid;
    let mut held = bed.hold_writers().await;
    let store = Arc::clone(&bed.store);
    let first = started(async move { store.record(vec![event(AuditType::AdminDenied)]).await });
    let calls = [good.clone(), bad].map(|token| {
        let store = Arc::clone(&bed.store);
        started(async move { store.redeem_token(token.redemption).await })
    });
    held.run("ROLLBACK").await;
    first.await.unwrap();
    let outcomes = all(calls.into()).await;
    assert!(matches!(outcomes[0], Ok(RedeemOutcome::Opened)), "{outcomes:?}");
    assert!(outcomes[1].is_err(), "{outcomes:?}");
    assert_eq!((bed.count("sessions").await, bed.count("legacy_tokens").await), (1, 1), "neither without the other");
}
