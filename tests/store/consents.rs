//! Consents: what a user has allowed a client grows, and is taken back whole.

use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::consent::Consent;
use latchkey::domain::ids::{ClientId, Sub};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::scope::Scope;
use latchkey::domain::session::EndReason;
use latchkey::domain::time::Timestamp;
use latchkey::domain::user::User;
use latchkey::storage::{ChangeOutcome, GrantConsent, RedeemCodeOutcome, RevokeConsent};

use crate::bed::{Bed, NOW, all, client, client_effects, contract, event, seconds, unique, user_effects};

contract!(
    a_consent_only_grows,
    consents_given_at_once_are_all_kept,
    only_who_is_there_consents_and_only_to_what_is_there,
    consents_are_listed_latest_first,
    revoking_ends_what_the_client_got_by_it,
    revoking_against_redeeming_leaves_no_live_session,
    any_number_of_sessions_ends_with_a_consent,
    consents_go_with_their_user,
    consents_go_with_their_client_however_many,
);

fn grant(user: &User, client_id: &str, scope: &str, now: Timestamp) -> GrantConsent {
    GrantConsent {
        sub: user.sub.clone(),
        client_id: ClientId::new(client_id),
        scope: Scope::parse(scope).unwrap(),
        now,
        audit: event(AuditType::ConsentGranted),
    }
}

fn revocation(user: &User, client_id: &str) -> RevokeConsent {
    RevokeConsent {
        sub: user.sub.clone(),
        client_id: ClientId::new(client_id),
        now: NOW,
        horizon: NOW.plus(seconds(600)),
        audit: event(AuditType::ConsentRevoked),
    }
}

async fn with_client(bed: &Bed, name: &str) {
    bed.store.create_client(client(name, "read"), event(AuditType::ClientCreated)).await.unwrap();
}

fn consent(user: &User, client_id: &str, scope: &str, granted_at: Timestamp) -> Consent {
    let (sub, client_id) = (user.sub.clone(), ClientId::new(client_id));
    Consent { sub, client_id, scope: Scope::parse(scope).unwrap(), granted_at }
}

async fn a_consent_only_grows(bed: Bed) {
    let user = bed.user("ada").await;
    with_client(&bed, "app").await;
    let app = ClientId::new("app");
    assert_eq!(bed.store.consent(&user.sub, &app).await.unwrap(), None);
    for (after, asked, allowed) in
        [(0, "openid email", "openid email"), (9, "phone openid", "openid email phone"), (9, "", "openid email phone")]
    {
        let at = NOW.plus(seconds(after));
        let expected = Some(consent(&user, "app", allowed, at));
        assert_eq!(bed.store.grant_consent(grant(&user, "app", asked, at)).await.unwrap(), expected);
        assert_eq!(bed.store.consent(&user.sub, &app).await.unwrap(), expected);
    }
    assert_eq!(bed.trail(AuditType::ConsentGranted).await.len(), 3);
}

async fn consents_given_at_once_are_all_kept(bed: Bed) {
    let nodes = bed.nodes().await;
    with_client(&bed, "app").await;
    for _ in 0..10 {
        let user = bed.user(&unique("user")).await;
        let calls = (0..8).map(|n| {
            let (store, grant) =
                (Arc::clone(&nodes[n % nodes.len()]), grant(&user, "app", &format!("openid s{n}"), NOW));
            async move { store.grant_consent(grant).await.unwrap() }
        });
        all(calls.collect()).await;
        let kept = bed.store.consent(&user.sub, &ClientId::new("app")).await.unwrap().unwrap();
        let mut scope: Vec<_> = kept.scope.iter().collect();
        scope.sort_unstable();
        assert_eq!(scope, ["openid", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
    }
}

async fn only_who_is_there_consents_and_only_to_what_is_there(bed: Bed) {
    let mut user = bed.user("ada").await;
    with_client(&bed, "app").await;
    let refused = async |user: &User, client_id| {
        assert_eq!(bed.store.grant_consent(grant(user, client_id, "openid", NOW)).await.unwrap(), None);
    };
    refused(&user, "nobody").await;
    refused(&User { sub: Sub::new("usr_nobody"), ..user.clone() }, "app").await;
    user.disabled = true;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
    refused(&user, "app").await;
    assert_eq!((bed.count("consents").await, bed.trail(AuditType::ConsentGranted).await.len()), (0, 0));
}

async fn consents_are_listed_latest_first(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    for (name, user, after) in [("a", &ada, 1), ("b", &ada, 3), ("c", &bob, 2), ("d", &ada, 2)] {
        with_client(&bed, name).await;
        bed.store.grant_consent(grant(user, name, "openid", NOW.plus(seconds(after)))).await.unwrap();
    }
    let listed = bed.store.consents_of(&ada.sub).await.unwrap();
    let listed: Vec<_> = listed.iter().map(|consent| consent.client_id.as_str()).collect();
    assert_eq!(listed, ["b", "d", "a"]);
    assert_eq!(bed.store.consents_of(&Sub::new("usr_nobody")).await.unwrap(), []);
}

async fn revoking_ends_what_the_client_got_by_it(bed: Bed) {
    let (user, other) = (bed.user("ada").await, bed.user("bob").await);
    let (sign_in, others) = (bed.signed_in(&user).await.id, bed.signed_in(&other).await.id);
    for name in ["app", "second"] {
        with_client(&bed, name).await;
        bed.store.grant_consent(grant(&user, name, "openid", NOW)).await.unwrap();
    }
    let lost = [bed.session_of(&user, sign_in).await, bed.offline_session_of(&user, sign_in).await];
    let kept = [bed.login_of(&user).await, bed.session_of(&other, others).await];
    let waiting = bed.waiting_code(&user, sign_in).await;

    assert_eq!(bed.store.revoke_consent(revocation(&other, "app")).await.unwrap(), None, "he gave none");
    assert_eq!(bed.store.revoke_consent(revocation(&user, "app")).await.unwrap(), Some(2));
    for token in &lost {
        assert_eq!(bed.end_of(token).await, Some(EndReason::ConsentRevoked));
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(token.session)));
    }
    for token in &kept {
        bed.rotate(token, NOW).await;
    }
    assert_eq!(bed.redeem_code(waiting.redemption).await, RedeemCodeOutcome::Gone, "nor does a code come after it");
    assert_eq!(bed.sign_in_end(sign_in).await, None, "the user stays signed in");
    let left = bed.store.consents_of(&user.sub).await.unwrap();
    assert_eq!(left, [consent(&user, "second", "openid", NOW)]);
    assert_eq!(bed.store.revoke_consent(revocation(&user, "app")).await.unwrap(), None);
    assert_eq!(bed.trail(AuditType::ConsentRevoked).await.len(), 1);
}

async fn revoking_against_redeeming_leaves_no_live_session(bed: Bed) {
    let nodes = bed.nodes().await;
    with_client(&bed, "app").await;
    for _ in 0..20 {
        let user = bed.user(&unique("user")).await;
        let sign_in = bed.signed_in(&user).await.id;
        bed.store.grant_consent(grant(&user, "app", "openid", NOW)).await.unwrap();
        let mut requests = Vec::new();
        for _ in 0..4 {
            requests.push(bed.waiting_code(&user, sign_in).await.redemption);
        }
        let revoking = {
            let (store, revocation) = (Arc::clone(&nodes[0]), revocation(&user, "app"));
            tokio::spawn(async move { store.revoke_consent(revocation).await.unwrap() })
        };
        let calls = requests.iter().cloned().enumerate().map(|(n, request)| {
            let store = Arc::clone(&nodes[(n + 1) % nodes.len()]);
            async move { store.redeem_code(request).await.unwrap() }
        });
        let outcomes = all(calls.collect()).await;
        let opened = outcomes.iter().filter(|outcome| **outcome == RedeemCodeOutcome::Opened).count();
        assert_eq!(revoking.await.unwrap(), Some(opened as u64));
        for (outcome, request) in outcomes.iter().zip(&requests) {
            let session = bed.store.session(request.session.id).await.unwrap();
            match outcome {
                RedeemCodeOutcome::Opened => assert!(session.unwrap().ended.is_some(), "opened, so ended"),
                RedeemCodeOutcome::Gone => assert!(session.is_none(), "too late, so not there"),
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn any_number_of_sessions_ends_with_a_consent(bed: Bed) {
    let user = bed.user("ada").await;
    let sign_in = bed.signed_in(&user).await.id;
    with_client(&bed, "app").await;
    bed.store.grant_consent(grant(&user, "app", "openid", NOW)).await.unwrap();
    bed.many_sessions(&user, sign_in).await;
    assert_eq!(bed.store.revoke_consent(revocation(&user, "app")).await.unwrap(), Some(5200));
    assert_eq!(bed.live("sessions").await, 0);
    assert_eq!(bed.trail(AuditType::ConsentRevoked).await.len(), 1);
}

async fn consents_go_with_their_user(bed: Bed) {
    let (ada, bob) = (bed.user("ada").await, bed.user("bob").await);
    with_client(&bed, "app").await;
    for user in [&ada, &bob] {
        bed.store.grant_consent(grant(user, "app", "openid", NOW)).await.unwrap();
    }
    bed.store.delete_user(&ada.sub, 1, user_effects(AuditType::UserDeleted)).await.unwrap();
    assert_eq!(bed.store.consents_of(&ada.sub).await.unwrap(), []);
    assert_eq!(bed.store.consents_of(&bob.sub).await.unwrap().len(), 1);
}

async fn consents_go_with_their_client_however_many(bed: Bed) {
    let user = bed.user("ada").await;
    for name in ["app", "second"] {
        with_client(&bed, name).await;
        bed.store.grant_consent(grant(&user, name, "openid", NOW)).await.unwrap();
    }
    bed.many(
        "INSERT INTO users (sub, username, username_key, claims, admin_scopes, disabled, created_at, updated_at, \
         version, credential_epoch) \
         SELECT 'usr_' || CAST(i AS TEXT), '', CAST(i AS TEXT), '{}', '', 0, 0, 0, 1, 1",
    )
    .await;
    bed.many(
        "INSERT INTO consents (sub, client_id, scope, granted_at) \
         SELECT 'usr_' || CAST(i AS TEXT), 'app', 'openid', 0",
    )
    .await;
    let app = ClientId::new("app");
    let delete = |version| bed.store.delete_client(&app, version, client_effects(AuditType::ClientDeleted));
    assert_eq!(delete(9).await.unwrap(), ChangeOutcome::Conflict);
    assert_eq!(bed.count("consents").await, 5202, "a change that was refused forgets nothing");
    assert_eq!(delete(1).await.unwrap(), ChangeOutcome::Changed);
    let left = bed.store.consents_of(&user.sub).await.unwrap();
    assert_eq!((bed.count("consents").await, left), (1, vec![consent(&user, "second", "openid", NOW)]));
}
