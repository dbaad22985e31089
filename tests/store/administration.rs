//! Users and clients: what is written is read back, and every change says what became of it.

use std::sync::Arc;
use std::time::Duration;

use latchkey::domain::audit::AuditType;
use latchkey::domain::client::{AuthMethod, ClientSecret, GrantType, SecretHash};
use latchkey::domain::ids::{ClientId, Sub};
use latchkey::domain::newcomers::Verdict;
use latchkey::domain::revocation::{Revocation, Revoked};
use latchkey::domain::session::{EndReason, Outcome, Refusal};
use latchkey::domain::time::Timestamp;
use latchkey::domain::user::User;
use latchkey::storage::{
    ChangeOutcome, CreateOutcome, CreateUserOutcome, ImportUsers, OpenOutcome, Position, UserName,
};

use crate::bed::{Bed, NOW, client, client_effects, contract, event, login, seconds, user, user_effects};

contract!(
    a_user_is_read_back_as_written,
    a_user_is_renamed_unless_the_name_is_taken,
    an_external_id_is_one_users_own,
    users_are_counted_by_how_their_hash_begins,
    users_come_in_many_at_a_time,
    a_login_begun_before_a_change_opens_nothing,
    deleting_a_user_ends_the_sessions,
    logging_a_user_out_ends_the_sessions_and_counts_them,
    any_number_of_sessions_can_be_ended,
    sessions_that_expired_long_ago_keep_their_reason,
    an_address_is_known_from_its_last_login,
    a_client_is_read_back_as_written,
    every_change_of_clients_grows_their_revision,
    the_last_full_admin_stays,
    a_client_never_has_the_name_of_a_user,
    deleting_a_client_ends_its_sessions_and_tokens,
    a_revocation_of_a_client_only_reaches_further,
);

async fn a_user_is_read_back_as_written(bed: Bed) {
    let user = bed.user("ada").await;
    assert_eq!(bed.store.user(&user.sub).await.unwrap(), Some(user.clone()));
    assert_eq!(bed.store.user_by_username("ada").await.unwrap(), Some(user.clone()));
    assert_eq!(bed.store.user_by_username("ADA").await.unwrap(), None);
    assert_eq!(bed.store.user(&Sub::new("usr_nobody")).await.unwrap(), None);
    let again = bed.store.create_user(user, event(AuditType::UserCreated)).await.unwrap();
    assert_eq!(again, CreateUserOutcome::Exists(UserName::Username));
    assert_eq!(bed.trail(AuditType::UserCreated).await.len(), 1, "what did not happen is not in the trail");
}

async fn a_user_is_renamed_unless_the_name_is_taken(bed: Bed) {
    bed.user("ada").await;
    let mut user = bed.user("bob").await;
    user.username_key = "ada".into();
    let change = |user| bed.store.change_user(user, user_effects(AuditType::UserUpdated));
    assert_eq!(change(user.clone()).await.unwrap(), ChangeOutcome::Exists(UserName::Username));
    user.username_key = "eve".into();
    user.password_hash = None;
    assert_eq!(change(user.clone()).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(change(user.clone()).await.unwrap(), ChangeOutcome::Conflict);
    user.version += 1;
    assert_eq!(bed.store.user_by_username("eve").await.unwrap(), Some(user.clone()));
    user.sub = Sub::new("usr_nobody");
    assert_eq!(change(user).await.unwrap(), ChangeOutcome::NotFound);
    assert_eq!(bed.trail(AuditType::UserUpdated).await.len(), 1);
}

async fn an_external_id_is_one_users_own(bed: Bed) {
    let create = |user| bed.store.create_user(user, event(AuditType::UserCreated));
    let with_id = |name, id: Option<&str>| {
        let mut user = user(name);
        user.external_id = id.map(str::to_owned);
        user
    };
    let mut ada = with_id("ada", Some("42"));
    for (user, outcome) in [
        (ada.clone(), CreateUserOutcome::Created),
        (with_id("bob", Some("42")), CreateUserOutcome::Exists(UserName::ExternalId)),
        (with_id("ada", Some("42")), CreateUserOutcome::Exists(UserName::Username)),
        (with_id("ada", Some("43")), CreateUserOutcome::Exists(UserName::Username)),
        (with_id("bob", None), CreateUserOutcome::Created),
        (with_id("eve", None), CreateUserOutcome::Created),
    ] {
        assert_eq!(create(user.clone()).await.unwrap(), outcome, "{user:?} {:?}", user.external_id);
    }
    let found = |id: &'static str| bed.store.user_by_external_id(id);
    assert_eq!(found("42").await.unwrap(), Some(ada.clone()));
    assert_eq!(found("4").await.unwrap(), None);
    assert_eq!(found("4\0").await.unwrap(), None);

    let change = |user| bed.store.change_user(user, user_effects(AuditType::UserUpdated));
    let mut bob = bed.store.user_by_username("bob").await.unwrap().unwrap();
    bob.external_id = Some("42".into());
    assert_eq!(change(bob.clone()).await.unwrap(), ChangeOutcome::Exists(UserName::ExternalId));
    ada.external_id = None;
    ada.attributes.clear();
    assert_eq!(change(ada.clone()).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(change(bob.clone()).await.unwrap(), ChangeOutcome::Changed);
    ada.version += 1;
    bob.version += 1;
    assert_eq!(found("42").await.unwrap(), Some(bob));
    assert_eq!(bed.store.user(&ada.sub).await.unwrap(), Some(ada));
}

async fn users_are_counted_by_how_their_hash_begins(bed: Bed) {
    let hashes = [
        ("argon2id", "$argon2id$v=19$m=1,t=1,p=1$x$y"),
        ("argon2id", "$argon2id$v=19$m=2,t=1,p=1$x$y"),
        ("2y", "$2y$10$x"),
        ("pbkdf2_sha256", "pbkdf2_sha256$1$x$y"),
        ("bcrypt", "{bcrypt}$2a$10$x"),
        ("pbkdf2@SpringSecurity_v5_8", "{pbkdf2@SpringSecurity_v5_8}00"),
        ("SSHA", "{SSHA}AAAA"),
    ];
    let mut wanted = std::collections::BTreeMap::from([(None, 1)]);
    for (n, (scheme, hash)) in hashes.into_iter().enumerate() {
        let user = User { password_hash: Some(hash.into()), ..user(&format!("user{n}")) };
        bed.store.create_user(user, event(AuditType::UserCreated)).await.unwrap();
        *wanted.entry(Some(scheme.to_owned())).or_insert(0) += 1;
    }
    let without = User { password_hash: None, ..user("without") };
    bed.store.create_user(without.clone(), event(AuditType::UserCreated)).await.unwrap();
    let counted = async || bed.store.password_schemes().await.unwrap().into_iter().collect();
    assert_eq!(wanted, counted().await);
    let example = async |scheme| bed.store.password_hash_of_scheme(scheme).await.unwrap();
    assert_eq!(example("SSHA").await.as_deref(), Some("{SSHA}AAAA"));
    assert_eq!(example("SSH").await, None);
    bed.store.upgrade_password_hash(&without.sub, 1, "$argon2id$v=19$x").await.unwrap();
    wanted.remove(&None);
    wanted.insert(Some("argon2id".into()), 3);
    assert_eq!(wanted, counted().await);
}

async fn a_login_begun_before_a_change_opens_nothing(bed: Bed) {
    let mut user = bed.user("ada").await;
    let (before, _) = login(&user, &bed.policy);
    user.credential_epoch += 1;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserPasswordChanged)).await.unwrap();
    assert_eq!(bed.store.open_session(before.clone()).await.unwrap(), OpenOutcome::UserChanged);
    assert_eq!(bed.store.session(before.session.id).await.unwrap(), None);
    assert_eq!(bed.trail(AuditType::LoginSucceeded).await, []);
    bed.login_of(&user).await;

    user.version += 1;
    user.disabled = true;
    bed.store.change_user(user.clone(), user_effects(AuditType::UserUpdated)).await.unwrap();
    let (disabled, _) = login(&user, &bed.policy);
    assert_eq!(bed.store.open_session(disabled).await.unwrap(), OpenOutcome::UserChanged);
}

async fn deleting_a_user_ends_the_sessions(bed: Bed) {
    let user = bed.user("ada").await;
    let (mut known, _) = login(&user, &bed.policy);
    known.known_address = Some([7; 32]);
    bed.store.open_session(known).await.unwrap();
    let token = bed.login_of(&user).await;
    let delete = |version| bed.store.delete_user(&user.sub, version, user_effects(AuditType::UserDeleted));
    assert_eq!(delete(9).await.unwrap(), ChangeOutcome::Conflict);
    assert_eq!(delete(1).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(delete(1).await.unwrap(), ChangeOutcome::NotFound);
    let refused = bed.present(&token, NOW).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::UserDeleted)));
    assert_eq!(bed.store.user(&user.sub).await.unwrap(), None);
    assert_eq!(bed.count("known_addresses").await, 0);
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations.len(), 2);
    let (late, _) = login(&user, &bed.policy);
    assert_eq!(bed.store.open_session(late).await.unwrap(), OpenOutcome::UserChanged);
}

async fn logging_a_user_out_ends_the_sessions_and_counts_them(bed: Bed) {
    let user = bed.user("ada").await;
    let tokens = [bed.login_of(&user).await, bed.login_of(&user).await];
    let log_out = || bed.store.end_user_sessions(&user.sub, user_effects(AuditType::UserLoggedOut));
    assert_eq!(log_out().await.unwrap(), 2);
    assert_eq!(log_out().await.unwrap(), 0);
    for token in tokens {
        assert_eq!(bed.session(&token).await.ended, Some((NOW, EndReason::RevokedByAdmin)));
    }
}

/// Whoever has a password can open sessions without end; that must not keep it from being changed.
async fn any_number_of_sessions_can_be_ended(bed: Bed) {
    const MANY: usize = 5_200;
    let mut user = bed.user("ada").await;
    for _ in 0..MANY / 400 {
        let mut logins = tokio::task::JoinSet::new();
        for _ in 0..400 {
            let (store, (login, _)) = (Arc::clone(&bed.store), login(&user, &bed.policy));
            logins.spawn(async move { store.open_session(login).await.unwrap() });
        }
        assert!(logins.join_all().await.iter().all(|outcome| *outcome == OpenOutcome::Opened));
    }
    user.credential_epoch += 1;
    let mut effects = user_effects(AuditType::UserPasswordChanged);
    effects.end_sessions = Some(EndReason::PasswordChanged);
    assert_eq!(bed.store.change_user(user.clone(), effects).await.unwrap(), ChangeOutcome::Changed);
    let mut raw = bed.raw().await;
    assert_eq!(raw.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 0);
    assert_eq!(raw.number("SELECT count(*) FROM revocations").await, MANY as i64, "and the access tokens of them all");
    assert_eq!(bed.trail(AuditType::UserPasswordChanged).await.len(), 1);
}

async fn sessions_that_expired_long_ago_keep_their_reason(bed: Bed) {
    let user = bed.user("ada").await;
    let token = bed.login_of(&user).await;
    let limit = NOW.plus(bed.policy.refresh_idle);
    let end_at = |now: Timestamp| {
        let mut effects = user_effects(AuditType::UserLoggedOut);
        (effects.now, effects.horizon) = (now, now.plus(seconds(600)));
        bed.store.end_user_sessions(&user.sub, effects)
    };
    assert_eq!(end_at(limit.plus(seconds(600))).await.unwrap(), 0);
    assert_eq!(bed.session(&token).await.ended, None);
    // A token made in its last moment may still be live.
    assert_eq!(end_at(limit.plus(seconds(599))).await.unwrap(), 1);
}

async fn an_address_is_known_from_its_last_login(bed: Bed) {
    let user = bed.user("ada").await;
    let login_at = |at| {
        let (mut login, _) = login(&user, &bed.policy);
        login.known_address = Some([7; 32]);
        login.session.started_at = at;
        bed.store.open_session(login)
    };
    let later = NOW.plus(seconds(60));
    for at in [NOW, later, NOW] {
        login_at(at).await.unwrap();
    }
    let known = |address, since| {
        let (store, sub) = (&bed.store, &user.sub);
        async move { store.is_known_address(sub, &address, since).await.unwrap() }
    };
    assert!(known([7; 32], later).await);
    assert!(!known([7; 32], later.plus(Duration::from_millis(1))).await);
    assert!(!known([8; 32], NOW).await);
    assert_eq!(bed.count("known_addresses").await, 1);
}

async fn a_client_is_read_back_as_written(bed: Bed) {
    let mut full = client("full", "read admin:keys");
    full.auth_method = AuthMethod::None;
    full.grant_types = GrantType::ALL.to_vec();
    full.audience = vec!["https://api.example".into()];
    full.lifetimes.refresh_retry_window = Some(3600);
    full.rotate_refresh = Some(false);
    full.secrets = vec![
        ClientSecret { hash: SecretHash::Sha256([9; 32]), created_at: NOW, expires_at: None },
        ClientSecret { hash: SecretHash::Argon2id("$argon2id$x".into()), created_at: NOW, expires_at: Some(NOW) },
    ];
    for client in [full, client("plain", "")] {
        let created = bed.store.create_client(client.clone(), event(AuditType::ClientCreated)).await.unwrap();
        assert_eq!(created, CreateOutcome::Created);
        assert_eq!(bed.store.client(&client.client_id).await.unwrap(), Some(client));
    }
    assert_eq!(bed.store.client(&ClientId::new("nobody")).await.unwrap(), None);
}

async fn every_change_of_clients_grows_their_revision(bed: Bed) {
    let (start, none) = bed.store.clients().await.unwrap();
    assert_eq!(none, []);
    let mut it = client("app", "read");
    bed.store.create_client(it.clone(), event(AuditType::ClientCreated)).await.unwrap();
    let taken = bed.store.create_client(it.clone(), event(AuditType::ClientCreated)).await.unwrap();
    assert_eq!(taken, CreateOutcome::Exists);
    assert_eq!(bed.store.clients().await.unwrap(), (start + 1, vec![it.clone()]));

    it.client_name = "renamed".into();
    let change = |client| bed.store.change_client(client, client_effects(AuditType::ClientUpdated));
    assert_eq!(change(it.clone()).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(change(it.clone()).await.unwrap(), ChangeOutcome::Conflict);
    it.version += 1;
    assert_eq!(bed.store.clients().await.unwrap(), (start + 2, vec![it.clone()]));
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().clients_revision, start + 2);

    let delete = |version| bed.store.delete_client(&it.client_id, version, client_effects(AuditType::ClientDeleted));
    assert_eq!(delete(1).await.unwrap(), ChangeOutcome::Conflict);
    assert_eq!(delete(2).await.unwrap(), ChangeOutcome::Changed);
    assert_eq!(delete(2).await.unwrap(), ChangeOutcome::NotFound);
    assert_eq!(bed.store.clients().await.unwrap(), (start + 3, vec![]));
}

async fn the_last_full_admin_stays(bed: Bed) {
    let admin = client("root", "admin");
    bed.store.create_client(admin.clone(), event(AuditType::ClientCreated)).await.unwrap();
    bed.store.create_client(client("app", "read"), event(AuditType::ClientCreated)).await.unwrap();
    let revision = bed.store.clients().await.unwrap().0;
    let mut disabled = admin.clone();
    disabled.disabled = true;
    let mut lesser = admin.clone();
    lesser.scope = latchkey::domain::scope::Scope::parse("admin:keys").unwrap();
    for doomed in [disabled, lesser] {
        let outcome = bed.store.change_client(doomed, client_effects(AuditType::ClientUpdated)).await.unwrap();
        assert_eq!(outcome, ChangeOutcome::LastAdmin);
    }
    let outcome = bed.store.delete_client(&admin.client_id, 1, client_effects(AuditType::ClientDeleted)).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::LastAdmin);
    assert_eq!(bed.store.clients().await.unwrap().0, revision, "nothing was written");
    assert_eq!(bed.store.client(&admin.client_id).await.unwrap(), Some(admin.clone()));
    assert_eq!(bed.trail(AuditType::ClientUpdated).await, []);

    bed.store.create_client(client("second", "admin"), event(AuditType::ClientCreated)).await.unwrap();
    let outcome = bed.store.delete_client(&admin.client_id, 1, client_effects(AuditType::ClientDeleted)).await.unwrap();
    assert_eq!(outcome, ChangeOutcome::Changed);
}

async fn a_client_never_has_the_name_of_a_user(bed: Bed) {
    let user = bed.user("ada").await;
    let impostor = client(user.sub.as_str(), "read");
    assert!(bed.store.create_client(impostor, event(AuditType::ClientCreated)).await.is_err());
    let mut odd = crate::bed::user("odd");
    odd.sub = Sub::new("app");
    assert!(bed.store.create_user(odd, event(AuditType::UserCreated)).await.is_err());
    assert!(bed.store.create_user(crate::bed::user("fine"), event(AuditType::UserCreated)).await.is_ok());
    assert_eq!(bed.store.user(&user.sub).await.unwrap().map(|it| it.username), Some(user_name()));
}

fn user_name() -> String {
    user("ada").username
}

async fn deleting_a_client_ends_its_sessions_and_tokens(bed: Bed) {
    let token = bed.login().await;
    bed.store.create_client(client("app", "read"), event(AuditType::ClientCreated)).await.unwrap();
    let mut effects = client_effects(AuditType::ClientDeleted);
    effects.revoke_tokens_before = Some(NOW);
    let horizon = effects.horizon;
    let app = ClientId::new("app");
    assert_eq!(bed.store.delete_client(&app, 1, effects).await.unwrap(), ChangeOutcome::Changed);
    let refused = bed.present(&token, NOW).await.outcome;
    assert_eq!(refused, Outcome::Refused(Refusal::Ended(EndReason::ClientDeleted)));
    let expected = [
        Revocation { what: Revoked::Session(token.session), expires_at: horizon },
        Revocation { what: Revoked::Client { client_id: app, minted_before: NOW }, expires_at: horizon },
    ];
    assert_eq!(bed.sink.told(), expected);
    let mut known = bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations;
    known.sort_by_key(|it| matches!(it.what, Revoked::Client { .. }));
    assert_eq!(known, expected);
}

async fn a_revocation_of_a_client_only_reaches_further(bed: Bed) {
    let mut it = client("app", "read");
    bed.store.create_client(it.clone(), event(AuditType::ClientCreated)).await.unwrap();
    for (before, horizon) in [(100, 700), (50, 900), (70, 800)] {
        let mut effects = client_effects(AuditType::ClientUpdated);
        effects.revoke_tokens_before = Some(NOW.plus(seconds(before)));
        effects.horizon = NOW.plus(seconds(horizon));
        assert_eq!(bed.store.change_client(it.clone(), effects).await.unwrap(), ChangeOutcome::Changed);
        it.version += 1;
    }
    let what = Revoked::Client { client_id: it.client_id, minted_before: NOW.plus(seconds(100)) };
    let expected = Revocation { what, expires_at: NOW.plus(seconds(900)) };
    assert_eq!(bed.store.catch_up(Position::default(), NOW).await.unwrap().revocations, [expected]);
    assert_eq!(
        bed.store.catch_up(Position::default(), NOW.plus(seconds(900))).await.unwrap().revocations,
        [],
        "it has expired"
    );
}

async fn users_come_in_many_at_a_time(bed: Bed) {
    let with_id = |name: &str, id: Option<&str>| User { external_id: id.map(str::to_owned), ..user(name) };
    let ada = with_id("ada", Some("1"));
    bed.store.create_user(ada.clone(), event(AuditType::UserCreated)).await.unwrap();
    let (bob, eve) = (with_id("bob", Some("2")), with_id("eve", None));
    let mut chief = with_id("chief", None);
    chief.admin_scopes = latchkey::domain::scope::Scope::parse("admin").unwrap();
    let users = vec![
        bob.clone(),
        with_id("ada", None),
        with_id("ada", Some("9")),
        eve.clone(),
        with_id("renamed", Some("1")),
        chief.clone(),
    ];
    let job = ImportUsers {
        users: users.clone(),
        audit: event(AuditType::UsersImported),
        granted: vec![event(AuditType::UserCreated).about_user(&chief.sub)],
    };
    let same = Verdict::Exists(ada.sub.clone());
    let wanted =
        [Verdict::New, same.clone(), Verdict::Taken(ada.sub.clone()), Verdict::New, same.clone(), Verdict::New];
    assert_eq!(bed.store.rehearse_import(&users).await.unwrap(), wanted);
    assert_eq!(bed.count("users").await, 1);
    assert_eq!(bed.store.import_users(job.clone()).await.unwrap(), wanted);
    for user in [&ada, &bob, &eve, &chief] {
        assert_eq!(bed.store.user(&user.sub).await.unwrap().as_ref(), Some(user));
    }
    let again = bed.store.import_users(job).await.unwrap();
    let is = |user: &User| Verdict::Exists(user.sub.clone());
    let still = Verdict::Taken(ada.sub.clone());
    assert_eq!(again, [is(&bob), same.clone(), still, is(&eve), same, is(&chief)]);
    assert_eq!(bed.count("users").await, 4);
    let trail = bed.trail(AuditType::UsersImported).await;
    assert_eq!(trail.len(), 1, "what wrote nothing is not in the trail");
    let counts = serde_json::json!({ "created": 3, "exists": 2, "taken": 1 });
    assert_eq!(trail[0].event.detail, counts);
    assert_eq!(bed.trail(AuditType::UserCreated).await.len(), 2);
}
