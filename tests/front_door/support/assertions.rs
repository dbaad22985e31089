//! Clients that prove themselves with signed assertions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use josekit::jws::{ES256, HS256, JwsSigner, PS256, RS256};
use serde_json::{Value, json};

use super::{Reply, Server};

pub const ISSUER: &str = "http://127.0.0.1:8420";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A key of a client's own.
pub struct ClientKey {
    pub kid: &'static str,
    private: Jwk,
}

impl ClientKey {
    pub fn ec(kid: &'static str) -> Self {
        Self { kid, private: Jwk::generate_ec_key(EcCurve::P256).unwrap() }
    }

    pub fn rsa(kid: &'static str) -> Self {
        Self { kid, private: Jwk::generate_rsa_key(2048).unwrap() }
    }

    pub fn public(&self) -> Value {
        let mut jwk = serde_json::to_value(self.private.to_public_key().unwrap().as_ref()).unwrap();
        jwk["kid"] = self.kid.into();
        jwk
    }

    pub fn private(&self) -> Value {
        serde_json::to_value(self.private.as_ref()).unwrap()
    }

    pub fn sign(&self, alg: &str, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": alg, "kid": self.kid }), alg, claims)
    }

    /// Signs by `alg`, whatever the header says.
    pub fn sign_as(&self, header: &Value, alg: &str, claims: &Value) -> String {
        match alg {
            "RS256" => jws(header, claims, &RS256.signer_from_jwk(&self.private).unwrap()),
            "PS256" => jws(header, claims, &PS256.signer_from_jwk(&self.private).unwrap()),
            "ES256" => jws(header, claims, &ES256.signer_from_jwk(&self.private).unwrap()),
            other => panic!("no signer for {other}"),
        }
    }
}

pub fn key_set(keys: &[&ClientKey]) -> Value {
    json!({ "keys": keys.iter().map(|key| key.public()).collect::<Vec<_>>() })
}

/// An assertion under a secret.
pub fn keyed(secret: &str, claims: &Value) -> String {
    jws(&json!({ "alg": "HS256" }), claims, &HS256.signer_from_bytes(secret.as_bytes()).unwrap())
}

pub fn jws(header: &Value, claims: &Value, signer: &dyn JwsSigner) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).unwrap()))
}

impl Server {
    /// What a good assertion of this client says now, with a `jti` of its own.
    pub fn claims_of(&self, client_id: &str) -> Value {
        let now = self.clock_seconds();
        let jti: [u8; 16] = latchkey::domain::sources::random(&latchkey::domain::sources::SystemEntropy);
        json!({ "iss": client_id, "sub": client_id, "aud": ISSUER, "iat": now, "exp": now + 60,
                "jti": URL_SAFE_NO_PAD.encode(jti) })
    }

    /// A form with an assertion.
    pub async fn asserted(&self, path: &str, assertion: &str, form: &[(&str, &str)]) -> Reply {
        let mut all = vec![("client_assertion_type", ASSERTION_TYPE), ("client_assertion", assertion)];
        all.extend_from_slice(form);
        self.form(path, None, &all).await
    }

    /// A token in the client's own name.
    pub async fn token_by(&self, assertion: &str) -> Reply {
        self.asserted("/oauth2/token", assertion, &[("grant_type", "client_credentials")]).await
    }

    /// A client of `private_key_jwt`; `over` says where its keys are.
    pub async fn signing_app(&self, client_id: &str, over: Value) -> Reply {
        let mut body = json!({
            "client_id": client_id,
            "grant_types": ["client_credentials", "password", "refresh_token"],
            "scope": "read",
            "token_endpoint_auth_method": "private_key_jwt",
        });
        for (name, value) in over.as_object().unwrap() {
            body[name] = value.clone();
        }
        let made = self.admin_post("/admin/v1/clients", body).await;
        made.is(201);
        made
    }
}
