//! Clients that are to hear of a logout: which sessions are noted, and that one node at a time takes what is due.

use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::ClientId;
use latchkey::domain::logout::LogoutDelivery;
use latchkey::domain::scope::Scope;
use latchkey::domain::session::EndReason;
use latchkey::domain::sign_in::{SignIn, SignInEnd};
use latchkey::domain::user::User;
use latchkey::storage::{CreateOutcome, EndOutcome, RedeemCodeOutcome, RetryLogout, RevokeConsent};

use crate::bed::{
    Bed, NOW, Token, all, client, client_effects, contract, end_session, event, seconds, unique, user_effects,
};
use crate::browser::{Waiting, end_of};

contract!(
    what_a_client_got_an_id_token_with_is_noted,
    every_end_but_the_clients_own_is_noted,
    the_sessions_of_a_deleted_client_are_not,
    any_number_of_sessions_is_noted,
    of_many_nodes_one_takes_it,
    an_attempt_that_was_overtaken_changes_nothing,
    a_client_that_does_not_listen_keeps_nobody_waiting,
);

impl Bed {
    /// The client `app`, which wants to hear.
    async fn listener(&self) {
        let mut app = client("app", "openid read");
        app.backchannel_logout_uri = Some("https://app.example/logout".into());
        assert_eq!(
            self.store.create_client(app, event(AuditType::ClientCreated)).await.unwrap(),
            CreateOutcome::Created
        );
    }

    async fn openid_code(&self, user: &User, sign_in: &SignIn) -> Waiting {
        let mut waiting = self.waiting_code(user, sign_in.id).await;
        waiting.redemption.session.scope = Scope::parse("read openid").unwrap();
        waiting
    }

    async fn openid_session(&self, user: &User, sign_in: &SignIn) -> Token {
        let waiting = self.openid_code(user, sign_in).await;
        assert_eq!(self.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Opened);
        waiting.first
    }

    async fn claim(&self, now: u64) -> Vec<LogoutDelivery> {
        let now = NOW.plus(seconds(now));
        self.store.claim_logouts(now, now.plus(seconds(100)), 32).await.unwrap()
    }

    /// The sessions that are noted now; all are taken off the list.
    async fn noted(&self) -> Vec<String> {
        let mut noted = Vec::new();
        for delivery in self.claim(0).await {
            noted.push(delivery.sid.to_string());
            assert!(self.store.settle_logout(delivery, None).await.unwrap());
        }
        noted
    }
}

async fn what_a_client_got_an_id_token_with_is_noted(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    let told = bed.openid_session(&user, &sign_in).await;
    bed.session_of(&user, sign_in.id).await;
    bed.login_of(&user).await;
    let mut offline = bed.openid_code(&user, &sign_in).await.offline();
    offline.redemption.session.scope = Scope::parse("openid offline_access").unwrap();
    bed.redeem_code(offline.redemption).await;
    assert!(bed.claim(0).await.is_empty());
    bed.store.end_sign_in(end_of(sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
    let found = bed.claim(0).await;
    let expected = LogoutDelivery {
        sid: told.session,
        client_id: ClientId::new("app"),
        sub: user.sub.clone(),
        ended_at: NOW,
        attempt: 1,
    };
    assert_eq!(found, [expected], "not without openid, not of the password grant, not what goes on");
    assert!(bed.claim(99).await.is_empty(), "somebody has it under way");
    let audit = event(AuditType::LogoutDelivered).about_user(&user.sub);
    assert!(bed.store.settle_logout(found[0].clone(), Some(audit)).await.unwrap());
    assert!(bed.claim(1000).await.is_empty());
    assert_eq!(bed.trail(AuditType::LogoutDelivered).await.len(), 1);
}

async fn every_end_but_the_clients_own_is_noted(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    let session = async || bed.openid_session(&user, &sign_in).await;
    let end = async |token: &Token, reason| bed.store.end_session(end_session(token.session, reason)).await.unwrap();

    let token = session().await;
    assert_eq!(end(&token, EndReason::RevokedByAdmin).await, EndOutcome::Ended);
    assert_eq!(end(&token, EndReason::RevokedByAdmin).await, EndOutcome::EndedBefore);
    assert_eq!(bed.noted().await, [token.session.to_string()]);
    assert!(bed.noted().await.is_empty());

    let token = session().await;
    assert_eq!(end(&token, EndReason::RevokedByClient).await, EndOutcome::Ended);
    assert!(bed.noted().await.is_empty(), "it knows");

    let waiting = bed.openid_code(&user, &sign_in).await;
    bed.redeem_code(waiting.redemption.clone()).await;
    bed.redeem_code(waiting.again(&bed, &user)).await;
    bed.redeem_code(waiting.again(&bed, &user)).await;
    assert_eq!(bed.noted().await, [waiting.first.session.to_string()]);

    let token = session().await;
    let next = bed.rotate(&token, NOW).await;
    bed.rotate(&next, NOW.plus(seconds(1000))).await;
    bed.present(&token, NOW.plus(seconds(2000))).await;
    assert_eq!(bed.end_of(&token).await, Some(EndReason::Reused));
    let noted = bed.claim(2000).await;
    assert_eq!(noted.len(), 1, "{noted:?}");
    bed.store.settle_logout(noted[0].clone(), None).await.unwrap();

    let token = session().await;
    let grant = latchkey::storage::GrantConsent {
        sub: user.sub.clone(),
        client_id: ClientId::new("app"),
        scope: Scope::parse("openid").unwrap(),
        now: NOW,
        audit: event(AuditType::ConsentGranted),
    };
    bed.store.grant_consent(grant).await.unwrap();
    let (sub, client_id) = (user.sub.clone(), ClientId::new("app"));
    let audit = event(AuditType::ConsentRevoked);
    let revocation = RevokeConsent { sub, client_id, now: NOW, horizon: NOW.plus(seconds(600)), audit };
    bed.store.revoke_consent(revocation).await.unwrap();
    assert_eq!(bed.noted().await, [token.session.to_string()]);

    let token = session().await;
    let mut effects = user_effects(AuditType::UserUpdated);
    effects.end_sessions = Some(EndReason::UserDisabled);
    bed.store.end_user_sessions(&user.sub, effects).await.unwrap();
    assert_eq!(bed.noted().await, [token.session.to_string()]);
}

async fn the_sessions_of_a_deleted_client_are_not(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    let token = bed.openid_session(&user, &sign_in).await;
    bed.store.delete_client(&ClientId::new("app"), 1, client_effects(AuditType::ClientDeleted)).await.unwrap();
    assert_eq!(bed.end_of(&token).await, Some(EndReason::ClientDeleted));
    assert!(bed.noted().await.is_empty());
}

async fn any_number_of_sessions_is_noted(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    bed.many_sessions(&user, sign_in.id).await;
    bed.raw().await.run("UPDATE sessions SET scope = 'openid'").await;
    bed.store.end_sign_in(end_of(sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
    assert_eq!(bed.count("logout_deliveries").await, 5200);
}

async fn of_many_nodes_one_takes_it(bed: Bed) {
    bed.listener().await;
    let nodes = bed.nodes().await;
    for _ in 0..10 {
        let user = bed.user(&unique("user")).await;
        let sign_in = bed.signed_in(&user).await;
        for _ in 0..5 {
            bed.openid_session(&user, &sign_in).await;
        }
        bed.store.end_sign_in(end_of(sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
        let claims = (0..8).map(|n| {
            let store = Arc::clone(&nodes[n % nodes.len()]);
            async move { store.claim_logouts(NOW, NOW.plus(seconds(100)), 2).await.unwrap() }
        });
        let mut taken: Vec<_> = all(claims.collect()).await.into_iter().flatten().collect();
        assert!(taken.iter().all(|delivery| delivery.attempt == 1), "{taken:?}");
        taken.extend(bed.claim(0).await);
        let count = taken.len();
        taken.sort_by_key(|delivery| delivery.sid);
        taken.dedup_by_key(|delivery| delivery.sid);
        assert_eq!((count, taken.len()), (5, 5), "each was taken by one");
        for delivery in taken {
            assert!(bed.store.settle_logout(delivery, None).await.unwrap());
        }
    }
}

async fn an_attempt_that_was_overtaken_changes_nothing(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    bed.openid_session(&user, &sign_in).await;
    bed.store.end_sign_in(end_of(sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
    let slow = bed.claim(0).await.remove(0);
    let next = bed.claim(100).await.remove(0);
    assert_eq!((slow.attempt, next.attempt), (1, 2));
    let audit = || Some(event(AuditType::LogoutDelivered));
    let later = NOW.plus(seconds(5000));
    let retry = RetryLogout { now: NOW, due_at: later, others_due_at: later };
    assert!(!bed.store.retry_logout(slow.clone(), retry).await.unwrap());
    assert!(!bed.store.settle_logout(slow, audit()).await.unwrap());
    assert!(bed.trail(AuditType::LogoutDelivered).await.is_empty());
    assert!(bed.store.settle_logout(next, audit()).await.unwrap());
    assert_eq!(bed.count("logout_deliveries").await, 0);
}

async fn a_client_that_does_not_listen_keeps_nobody_waiting(bed: Bed) {
    bed.listener().await;
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await;
    for _ in 0..3 {
        bed.openid_session(&user, &sign_in).await;
    }
    bed.store.end_sign_in(end_of(sign_in.id, SignInEnd::LoggedOut)).await.unwrap();
    bed.raw()
        .await
        .run("UPDATE logout_deliveries SET client_id = 'other' WHERE sid = (SELECT max(sid) FROM logout_deliveries)")
        .await;
    let first = bed.store.claim_logouts(NOW, NOW.plus(seconds(100)), 1).await.unwrap().remove(0);
    assert_eq!(first.client_id, ClientId::new("app"), "the lowest sid");
    let retry = RetryLogout { now: NOW, due_at: NOW.plus(seconds(9)), others_due_at: NOW.plus(seconds(5)) };
    assert!(bed.store.retry_logout(first.clone(), retry).await.unwrap());
    let now = bed.claim(0).await;
    assert_eq!(now.len(), 1);
    assert_eq!(now[0].client_id, ClientId::new("other"));
    assert_eq!((bed.claim(4).await.len(), bed.claim(5).await.len()), (0, 1));
    let again = bed.claim(9).await;
    assert_eq!((again.len(), again[0].sid, again[0].attempt), (1, first.sid, 2));
}
