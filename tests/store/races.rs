//! Two callers, one single-use state: exactly one of them gets it, whichever node each one asks.

use std::sync::Arc;

use latchkey::domain::audit::AuditType;
use latchkey::domain::ids::{ClientId, SessionId};
use latchkey::domain::revocation::Revoked;
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::storage::{
    ChangeOutcome, CreateOutcome, CreateUserOutcome, EndOutcome, KeyCommit, OpenOutcome, RenewOutcome, RenewSession,
    Store,
};

use crate::bed::{
    Bed, NOW, all, client, client_effects, contract, end_session, event, login, seconds, token_of, unique, user,
    user_effects,
};

/// How often each race is run.
const ROUNDS: usize = 20;

contract!(
    logins_against_disabling_leave_no_live_session,
    one_plan_for_the_keys_is_committed,
    the_last_two_full_admins_cannot_both_go,
    revoking_against_refreshing_ends_the_session,
    revoking_against_re_signing_ends_the_session,
    a_session_is_ended_by_one,
    a_user_is_changed_by_one,
    a_name_is_taken_once,
    a_note_is_claimed_by_one,
    a_password_hash_is_upgraded_or_replaced,
);

/// Runs `calls` at once, each on the next node in turn.
async fn race<T, F>(nodes: &[Arc<dyn Store>], calls: Vec<impl FnOnce(Arc<dyn Store>) -> F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let calls = calls.into_iter().enumerate();
    all(calls.map(|(n, call)| call(Arc::clone(&nodes[n % nodes.len()]))).collect()).await
}

async fn logins_against_disabling_leave_no_live_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let mut user = bed.user(&unique("user")).await;
        let logins: Vec<_> = (0..4).map(|_| login(&user, &bed.policy)).collect();
        let tokens: Vec<_> = logins.iter().map(|(_, token)| token.clone()).collect();
        user.disabled = true;
        user.credential_epoch += 1;
        let mut effects = user_effects(AuditType::UserUpdated);
        effects.end_sessions = Some(EndReason::UserDisabled);
        let disabling = {
            let store = Arc::clone(&nodes[0]);
            tokio::spawn(async move { store.change_user(user, effects).await.unwrap() })
        };
        let logins = logins
            .into_iter()
            .map(|(login, _)| move |store: Arc<dyn Store>| async move { store.open_session(login).await.unwrap() });
        let opened = race(&nodes, logins.collect()).await;
        assert_eq!(disabling.await.unwrap(), ChangeOutcome::Changed);
        for (outcome, token) in opened.iter().zip(&tokens) {
            let ended = bed.store.session(token.session).await.unwrap().map(|session| session.ended.is_some());
            match outcome {
                OpenOutcome::Opened => assert_eq!(ended, Some(true), "opened before, so ended"),
                OpenOutcome::UserChanged => assert_eq!(ended, None, "too late, so not there"),
            }
        }
    }
}

async fn one_plan_for_the_keys_is_committed(bed: Bed) {
    let nodes = bed.nodes().await;
    for revision in 0..ROUNDS as i64 {
        let plans =
            (0..4).map(|_| {
                move |store: Arc<dyn Store>| async move {
                    store.commit_keys(revision, Vec::new(), Vec::new()).await.unwrap()
                }
            });
        let mut outcomes = race(&nodes, plans.collect()).await;
        outcomes.retain(|outcome| *outcome != KeyCommit::Outdated);
        assert_eq!(outcomes, [KeyCommit::Committed(revision + 1)]);
    }
}

async fn the_last_two_full_admins_cannot_both_go(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let (one, two) = (client(&unique("one"), "admin"), client(&unique("two"), "admin"));
        for admin in [&one, &two] {
            bed.store.create_client(admin.clone(), event(AuditType::ClientCreated)).await.unwrap();
        }
        let mut disabled = one.clone();
        disabled.disabled = true;
        let (first, second) = (Arc::clone(&nodes[0]), Arc::clone(nodes.last().unwrap()));
        let doomed = two.client_id.clone();
        let (change, delete) = tokio::join!(
            tokio::spawn(async move {
                first.change_client(disabled, client_effects(AuditType::ClientUpdated)).await.unwrap()
            }),
            tokio::spawn(async move {
                second.delete_client(&doomed, 1, client_effects(AuditType::ClientDeleted)).await.unwrap()
            }),
        );
        let mut outcomes = [change.unwrap(), delete.unwrap()];
        outcomes.sort_by_key(|outcome| *outcome == ChangeOutcome::LastAdmin);
        assert_eq!(outcomes, [ChangeOutcome::Changed, ChangeOutcome::LastAdmin]);
        bed.raw().await.run("DELETE FROM clients").await;
    }
}

/// An operator's ending of a session, under way.
fn ending(store: &Arc<dyn Store>, id: SessionId) -> tokio::task::JoinHandle<EndOutcome> {
    let end = end_session(id, EndReason::RevokedByAdmin);
    let store = Arc::clone(store);
    tokio::spawn(async move { store.end_session(end).await.unwrap() })
}

async fn revoking_against_refreshing_ends_the_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let token = bed.login().await;
        let ending = ending(&nodes[0], token.session);
        let refreshes = (0..4).map(|_| {
            let request = bed.request(&token, NOW);
            move |store: Arc<dyn Store>| async move { store.refresh(request).await.unwrap().outcome }
        });
        let outcomes = race(&nodes, refreshes.collect()).await;
        assert_eq!(ending.await.unwrap(), EndOutcome::Ended);
        for outcome in outcomes {
            let refused = Outcome::Refused(Refusal::Ended(EndReason::RevokedByAdmin));
            assert!(token_of(&outcome).is_some() || outcome == refused, "{outcome:?}");
        }
        assert_eq!(bed.session(&token).await.ended, Some((NOW, EndReason::RevokedByAdmin)));
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(token.session)));
    }
}

async fn revoking_against_re_signing_ends_the_session(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let token = bed.login().await;
        let ending = ending(&nodes[0], token.session);
        let renewals = (0..4).map(|_| {
            let renewal = RenewSession {
                id: token.session,
                client_id: ClientId::new("app"),
                policy: bed.policy.clone(),
                latest_expiry: NOW.plus(seconds(600)),
                now: NOW,
                address: None,
                audit: event(AuditType::TokenRenewed),
            };
            move |store: Arc<dyn Store>| async move { store.renew_session(renewal).await.unwrap() }
        });
        let outcomes = race(&nodes, renewals.collect()).await;
        assert_eq!(ending.await.unwrap(), EndOutcome::Ended);
        for outcome in outcomes {
            match outcome {
                RenewOutcome::Renewed(session) => assert_eq!(session.ended, None, "before it was ended"),
                RenewOutcome::Refused(refusal) => assert_eq!(refusal, Refusal::Ended(EndReason::RevokedByAdmin)),
            }
        }
        assert_eq!(bed.session(&token).await.ended, Some((NOW, EndReason::RevokedByAdmin)), "and it stays ended");
        assert!(bed.sink.told().iter().any(|it| it.what == Revoked::Session(token.session)));
    }
}

async fn a_session_is_ended_by_one(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let token = bed.login().await;
        let endings = (0..6).map(|_| {
            let end = end_session(token.session, EndReason::RevokedByClient);
            move |store: Arc<dyn Store>| async move { store.end_session(end).await.unwrap() }
        });
        let outcomes = race(&nodes, endings.collect()).await;
        assert_eq!(outcomes.iter().filter(|it| **it == EndOutcome::Ended).count(), 1, "{outcomes:?}");
        assert!(!outcomes.contains(&EndOutcome::NotFound));
    }
}

async fn a_user_is_changed_by_one(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let before = bed.user(&unique("user")).await;
        let changes = (0..4).map(|n| {
            let mut user = before.clone();
            user.username = format!("number {n}");
            move |store: Arc<dyn Store>| async move {
                store.change_user(user, user_effects(AuditType::UserUpdated)).await.unwrap()
            }
        });
        let outcomes = race(&nodes, changes.collect()).await;
        assert_eq!(outcomes.iter().filter(|it| **it == ChangeOutcome::Changed).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(|it| **it == ChangeOutcome::Conflict).count(), 3, "{outcomes:?}");
        let winner = outcomes.iter().position(|it| *it == ChangeOutcome::Changed).unwrap();
        let after = bed.store.user(&before.sub).await.unwrap().unwrap();
        assert_eq!((after.username, after.version), (format!("number {winner}"), before.version + 1));
    }
}

async fn a_name_is_taken_once(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let name = unique("name");
        let users =
            (0..4).map(|_| {
                let user = user(&name);
                move |store: Arc<dyn Store>| async move {
                    store.create_user(user, event(AuditType::UserCreated)).await.unwrap()
                }
            });
        let users = race(&nodes, users.collect()).await;
        let clients = (0..4).map(|_| {
            let client = client(&name, "read");
            move |store: Arc<dyn Store>| async move {
                store.create_client(client, event(AuditType::ClientCreated)).await.unwrap()
            }
        });
        let clients = race(&nodes, clients.collect()).await;
        assert_eq!(users.iter().filter(|it| **it == CreateUserOutcome::Created).count(), 1, "{users:?}");
        assert_eq!(clients.iter().filter(|it| **it == CreateOutcome::Created).count(), 1, "{clients:?}");
    }
}

async fn a_note_is_claimed_by_one(bed: Bed) {
    let nodes = bed.nodes().await;
    for round in 0..ROUNDS {
        let claims = (0..4).map(|n| {
            move |store: Arc<dyn Store>| async move {
                store.claim_note(&format!("note {round}"), &format!("value {n}")).await.unwrap()
            }
        });
        let mut answers = race(&nodes, claims.collect()).await;
        answers.dedup();
        assert_eq!(answers.len(), 1);
        assert_eq!(bed.store.note(&format!("note {round}")).await.unwrap().as_ref(), answers.first());
    }
}

async fn a_password_hash_is_upgraded_or_replaced(bed: Bed) {
    let nodes = bed.nodes().await;
    for _ in 0..ROUNDS {
        let user = bed.user(&unique("user")).await;
        let mut reset = user.clone();
        reset.password_hash = Some("reset".into());
        reset.credential_epoch += 1;
        let (first, second, sub) = (Arc::clone(&nodes[0]), Arc::clone(nodes.last().unwrap()), user.sub.clone());
        let (upgraded, changed) = tokio::join!(
            tokio::spawn(async move { first.upgrade_password_hash(&sub, 1, "upgraded").await.unwrap() }),
            tokio::spawn(async move {
                second.change_user(reset, user_effects(AuditType::UserPasswordChanged)).await.unwrap()
            }),
        );
        let hash = bed.store.user(&user.sub).await.unwrap().unwrap().password_hash;
        match (upgraded.unwrap(), changed.unwrap()) {
            (true, ChangeOutcome::Conflict) => assert_eq!(hash.as_deref(), Some("upgraded")),
            (false, ChangeOutcome::Changed) => assert_eq!(hash.as_deref(), Some("reset")),
            other => panic!("{other:?}"),
        }
    }
}
