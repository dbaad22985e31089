//! What clients, users and operators ask of a server.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::forge::SigningKeyAbroad;
use super::{ADMIN_SECRET, PASSWORD, Reply, Server};

/// A registered client and its secret.
#[derive(Clone, Debug)]
pub struct Registered {
    pub id: String,
    pub secret: String,
}

impl Server {
    pub async fn form(&self, path: &str, client: Option<(&str, &str)>, form: &[(&str, &str)]) -> Reply {
        let mut request = self.http.post(format!("{}{path}", self.url)).form(form);
        if let Some((id, secret)) = client {
            request = request.basic_auth(id, Some(secret));
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> Reply {
        let method = method.parse().unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if body != Value::Null {
            request = request.json(&body);
        }
        Reply::of(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::of(self.http.get(format!("{}{path}", self.url)).send().await.unwrap()).await
    }

    pub async fn get_as(&self, token: &str, path: &str) -> Reply {
        self.call_as(token, "GET", path, Value::Null).await
    }

    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Reply {
        self.call_as(token, "POST", path, body).await
    }

    pub async fn patch_as(&self, token: &str, path: &str, body: Value) -> Reply {
        self.call_as(token, "PATCH", path, body).await
    }

    /// A fresh token of the built-in administrator.
    pub async fn admin(&self) -> String {
        let form = [("grant_type", "client_credentials"), ("scope", "admin")];
        let reply = self.form("/oauth2/token", Some(("latchkey-admin", ADMIN_SECRET)), &form).await;
        reply.is(200);
        reply.access()
    }

    pub async fn admin_call(&self, method: &str, path: &str, body: Value) -> Reply {
        let token = self.admin().await;
        self.call_as(&token, method, path, body).await
    }

    pub async fn admin_get(&self, path: &str) -> Reply {
        self.admin_call("GET", path, Value::Null).await
    }

    pub async fn admin_post(&self, path: &str, body: Value) -> Reply {
        self.admin_call("POST", path, body).await
    }

    pub async fn admin_patch(&self, path: &str, body: Value) -> Reply {
        self.admin_call("PATCH", path, body).await
    }

    pub async fn admin_put(&self, path: &str, body: Value) -> Reply {
        self.admin_call("PUT", path, body).await
    }

    pub async fn admin_delete(&self, path: &str) -> Reply {
        self.admin_call("DELETE", path, Value::Null).await
    }

    /// A token of an administrator `limited-admin` with this scope alone.
    pub async fn admin_with(&self, scope: &str) -> String {
        let id = if scope == "admin:clients" { "limited-admin" } else { "other-limited-admin" };
        let body = json!({ "client_id": id, "client_name": id, "grant_types": ["client_credentials"], "scope": scope });
        let made = self.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        let secret = made.body["client_secret"].as_str().unwrap();
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let reply = self.form("/oauth2/token", Some((id, secret)), &form).await;
        reply.is(200);
        reply.access()
    }

    /// A confidential client with the password and refresh grants; `over` replaces what it names.
    pub async fn app(&self, over: Value) -> Registered {
        let mut body = json!({
            "client_id": "web",
            "client_name": "A web application",
            "grant_types": ["password", "refresh_token", "client_credentials"],
            "scope": "read write",
        });
        for (name, value) in over.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        self.user("alice").await;
        let text = |name: &str| made.body[name].as_str().unwrap_or_default().to_owned();
        Registered { id: text("client_id"), secret: text("client_secret") }
    }

    pub async fn web_app(&self) -> Registered {
        self.app(json!({})).await
    }

    pub async fn other_app(&self) -> Registered {
        self.app(json!({ "client_id": "other" })).await
    }

    /// Makes the user, unless there is one.
    pub async fn user(&self, username: &str) {
        let body = json!({ "username": username, "password": PASSWORD, "email": format!("{username}@example.com") });
        self.admin_post("/admin/v1/users", body).await.is_status_in(&[201, 409]);
    }

    pub async fn try_login(&self, client: &Registered, username: &str, password: &str) -> Reply {
        let form = [("grant_type", "password"), ("username", username), ("password", password)];
        self.token(client, &form).await
    }

    pub async fn login(&self, client: &Registered) -> Reply {
        let reply = self.login_with(client, &[]).await;
        reply.is(200);
        reply
    }

    pub async fn login_with(&self, client: &Registered, more: &[(&str, &str)]) -> Reply {
        let mut form = vec![("grant_type", "password"), ("username", "alice"), ("password", PASSWORD)];
        form.extend_from_slice(more);
        self.token(client, &form).await
    }

    /// The token endpoint, as the client.
    pub async fn token(&self, client: &Registered, form: &[(&str, &str)]) -> Reply {
        self.form("/oauth2/token", Some((&client.id, &client.secret)), form).await
    }

    pub async fn refresh(&self, client: &Registered, token: &str) -> Reply {
        self.refresh_with(client, token, &[]).await
    }

    pub async fn refresh_with(&self, client: &Registered, token: &str, more: &[(&str, &str)]) -> Reply {
        let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        form.extend_from_slice(more);
        self.token(client, &form).await
    }

    /// Exchanges an access token of Latchkey's own.
    pub async fn exchange(&self, client: &Registered, token: &str, more: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ];
        form.extend_from_slice(more);
        self.token(client, &form).await
    }

    /// Exchanges a token of another system.
    pub async fn redeem(&self, client: &Registered, token: &str, more: &[(&str, &str)]) -> Reply {
        let mut form = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ];
        form.extend_from_slice(more);
        self.token(client, &form).await
    }

    pub async fn introspect(&self, client: &Registered, token: &str) -> Reply {
        self.form("/oauth2/introspect", Some((&client.id, &client.secret)), &[("token", token)]).await
    }

    pub async fn is_active(&self, client: &Registered, token: &str) -> bool {
        let reply = self.introspect(client, token).await;
        reply.is(200);
        reply.body["active"].as_bool().unwrap()
    }

    pub async fn revoke(&self, client: &Registered, token: &str) -> Reply {
        self.form("/oauth2/revoke", Some((&client.id, &client.secret)), &[("token", token)]).await
    }

    /// What the operator sees of the session that a token answer belongs to.
    pub async fn session_of(&self, reply: &Reply) -> Value {
        let sid = claims(&reply.access())["sid"].as_str().unwrap().to_owned();
        let shown = self.admin_get(&format!("/admin/v1/sessions/{sid}")).await;
        shown.is(200);
        shown.body
    }

    pub fn sub_of(&self, reply: &Reply) -> String {
        claims(&reply.access())["sub"].as_str().unwrap().to_owned()
    }

    /// The audit trail's events of one type.
    pub async fn audit(&self, kind: &str) -> Vec<Value> {
        let reply = self.admin_get(&format!("/admin/v1/audit?type={kind}")).await;
        reply.is(200);
        reply.body["items"].as_array().unwrap().clone()
    }

    /// Brings a signing key in whose private half the test holds too.
    pub async fn import_signing_key(&self) -> SigningKeyAbroad {
        let mut key = SigningKeyAbroad::generate();
        let reply = self.admin_post("/admin/v1/keys/import", json!({ "pem": key.pem() })).await;
        reply.is(201);
        key.kid = reply.body["kid"].as_str().unwrap().to_owned();
        key
    }

    /// The claims of a token answer, with a `jti` of their own.
    pub fn claims_like(&self, reply: &Reply) -> Value {
        claims(&reply.access())
    }
}

/// The payload of a JWT, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a JWT has a payload");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The header of a JWT.
pub fn header(token: &str) -> Value {
    let header = token.split('.').next().expect("a JWT has a header");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}
