//! What is logged finds a fault and betrays no secret; what is answered betrays neither.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sqlx::{Connection as _, Executor as _};

use crate::support::assertions::keyed;
use crate::support::{Database, PASSWORD, Registered, Server, log, on_each_database};

#[test]
fn no_secret_is_logged_whatever_comes_in() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let login = server.login(&app).await;
        let next = server.refresh(&app, &login.refresh()).await;
        let mistyped = "a password with one letter too manyy";
        server.try_login(&app, "alice", mistyped).await.is(400);
        server.try_login(&app, mistyped, "x").await.is(400);
        let wrong = Registered { id: app.id.clone(), secret: "lks_a-secret-that-is-wrong-but-looks-right".into() };
        server.login_with(&wrong, &[]).await.is(401);
        let garbled = format!("{}x", next.refresh());
        server.refresh(&app, &garbled).await.is(400);
        server.introspect(&app, &format!("{}x", next.access())).await.is(200);
        server.get_as(&format!("{}y", next.access()), "/admin/v1/keys").await.is(401);
        let twice = [("grant_type", "password"), ("password", "said-twice-in-one-form"), ("password", mistyped)];
        server.form("/oauth2/token", Some((&app.id, &app.secret)), &twice).await.is(400);
        let in_path = format!("/oauth2/token?password={mistyped}");
        server.get(&in_path.replace(' ', "+")).await.is(405);
        let unread = json!({ "username": "bob", "password": "said-in-a-body-with-a-fault", "colour": 1 });
        server.admin_post("/admin/v1/users", unread).await.is(400);
        server.revoke(&app, &next.refresh()).await.is(200);
        let signs = json!({ "client_id": "signs", "token_endpoint_auth_method": "client_secret_jwt" });
        let signs = server.app(signs).await;
        let (assertion, forged) = (keyed(&signs.secret, &server.claims_of("signs")), "a.b.signature-of-a-forged-one");
        server.token_by(&assertion).await.is(200);
        server.token_by(&assertion).await.is(401);
        server.token_by(forged).await.is(401);

        let basic = STANDARD.encode(format!("{}:{}", app.id, app.secret));
        let logged = log::so_far();
        assert!(logged.contains("refused"), "the log is kept at all");
        for secret in [
            PASSWORD,
            mistyped,
            &mistyped.replace(' ', "+"),
            &app.secret,
            &wrong.secret,
            &basic,
            &garbled,
            &login.refresh(),
            &next.refresh(),
            &login.access(),
            &next.access(),
            next.access().rsplit('.').next().unwrap(),
            "said-twice-in-one-form",
            "said-in-a-body-with-a-fault",
            &signs.secret,
            &assertion,
            assertion.rsplit('.').next().unwrap(),
            forged,
        ] {
            let found = logged.lines().find(|line| line.contains(secret));
            assert!(found.is_none(), "a secret is logged: {found:?}");
        }
    });
}

#[test]
fn a_defect_is_answered_with_a_request_id_and_no_detail() {
    on_each_database(async |server: Server| {
        let app = server.web_app().await;
        let sub = server.sub_of(&server.login(&app).await);
        let spoil = "UPDATE users SET claims = 'no json at all'";
        match server.database() {
            Database::Sqlite(_) => {
                let mut connection = sqlx::SqliteConnection::connect(&server.database().url()).await.unwrap();
                connection.execute(spoil).await.unwrap();
            }
            Database::Postgres { url } => {
                sqlx::PgConnection::connect(url).await.unwrap().execute(spoil).await.unwrap();
            }
        }
        let broken = server.admin_get(&format!("/admin/v1/users/{sub}")).await;
        broken.is_error(500, "server_error");
        assert!(!broken.text.contains("claims") && !broken.text.contains("json at all"), "{}", broken.text);
        let id = broken.header("x-request-id");
        assert!(!id.is_empty());
        let logged = log::so_far();
        let line = logged.lines().find(|line| line.contains(id) && line.contains("ERROR"));
        assert!(line.is_some_and(|line| line.contains("claims")), "the log has the cause: {line:?}");
    });
}
