//! What a client body may say (RFC 7591 names), and what it makes of a client. One reading serves creation, patch and
//! `bootstrap.file`, so that the three never disagree.

mod code_flow;

use serde::Deserialize;
use serde_json::Value;

use super::keys;
use super::origins::browser_origin;
use crate::admin::field::{Field, Object};
use crate::admin::lifetimes::{self, LifetimesSpec};
use crate::credentials::secrets::{LONGEST_CHOSEN, SHORTEST_CHOSEN};
use crate::domain::client::{AuthMethod, Client, GrantType};
use crate::domain::client_keys::ClientKeys;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, SUB_PREFIX};
use crate::domain::key::Alg;
use crate::domain::policy::{Lifetimes, TokenPolicy};
use crate::domain::scope::{ADMIN_SCOPES, Scope, is_unknown_admin};
use crate::domain::secret::SecretText;

const ID_MAX: usize = 255;
const NAME_MAX: usize = 255;
/// Entries in a list, and bytes in one of them, at most.
const LIST_MAX: usize = 100;
const ENTRY_MAX: usize = 2_048;

/// The members of a client body. Values are judged by [`ClientSpec::applied_to`].
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSpec {
    pub client_id: Field<String>,
    pub client_secret: Field<Secret>,
    pub client_name: Field<String>,
    pub grant_types: Field<Vec<String>>,
    pub scope: Field<String>,
    pub token_endpoint_auth_method: Field<String>,
    pub token_endpoint_auth_signing_alg: Field<String>,
    pub jwks: Field<Value>,
    pub jwks_uri: Field<String>,
    pub access_token_signed_response_alg: Field<String>,
    pub audience: Field<Vec<String>>,
    pub resource_identifiers: Field<Vec<String>>,
    pub allowed_origins: Field<Vec<String>>,
    pub lifetimes: Field<Object<LifetimesSpec>>,
    pub rotate_refresh: Field<bool>,
    pub disabled: Field<bool>,
    pub redirect_uris: Field<Vec<String>>,
    pub post_logout_redirect_uris: Field<Vec<String>>,
    pub backchannel_logout_uri: Field<String>,
    pub require_pkce: Field<bool>,
    pub response_types: Field<Vec<String>>,
    pub response_modes: Field<Vec<String>>,
    pub id_token_signed_response_alg: Field<String>,
    pub userinfo_signed_response_alg: Field<String>,
    pub skip_consent: Field<bool>,
    pub client_uri: Field<String>,
    pub policy_uri: Field<String>,
    pub tos_uri: Field<String>,
}

/// A secret as a body has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub SecretText);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(SecretText::new(text)))
    }
}

/// What a client is judged against.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    pub issuer: &'a str,
    /// The operator's `tokens.*`, which the client's own lifetimes may not contradict.
    pub policy: &'a TokenPolicy,
}

impl ClientSpec {
    /// The client that `base` becomes through this body. Its id and secrets stay what they are in `base`.
    ///
    /// # Errors
    /// [`Code::InvalidClientMetadata`], naming the member, the value and the mend.
    pub fn applied_to(&self, base: &Client, bounds: Bounds<'_>) -> Result<Client, OAuthError> {
        let mut client = base.clone();
        self.client_name.as_ref().merge(&mut client.client_name, String::new(), |name| display_name(name))?;
        self.grant_types.as_ref().merge(&mut client.grant_types, Vec::new(), |names| grant_types(names))?;
        self.scope.as_ref().merge(&mut client.scope, Scope::default(), |text| scope("scope", text))?;
        self.token_endpoint_auth_method.as_ref().merge(
            &mut client.auth_method,
            AuthMethod::ClientSecretBasic,
            |name| auth_method(name),
        )?;
        self.merge_keys(&mut client.keys)?;
        self.access_token_signed_response_alg
            .as_ref()
            .merge(&mut client.access_token_alg, Alg::ES256, |name| alg("access_token_signed_response_alg", name))?;
        self.audience
            .as_ref()
            .merge(&mut client.audience, Vec::new(), |names| list("audience", names, resource_name))?;
        self.resource_identifiers.as_ref().merge(&mut client.resource_identifiers, Vec::new(), |names| {
            list("resource_identifiers", names, resource_name)
        })?;
        self.allowed_origins
            .as_ref()
            .merge(&mut client.allowed_origins, Vec::new(), |names| list("allowed_origins", names, browser_origin))?;
        match &self.lifetimes {
            Field::Absent => {}
            Field::Null => client.lifetimes = Lifetimes::default(),
            Field::Is(Object(spec)) => client.lifetimes = spec.applied_to(&client.lifetimes)?,
        }
        self.rotate_refresh.as_ref().merge(&mut client.rotate_refresh, None, |own| Ok::<_, OAuthError>(Some(*own)))?;
        self.disabled.as_ref().merge(&mut client.disabled, false, |own| Ok::<_, OAuthError>(*own))?;
        self.merge_code_flow(&mut client)?;
        self.check(&client, bounds)?;
        Ok(client)
    }

    fn merge_keys(&self, place: &mut ClientKeys) -> Result<(), OAuthError> {
        let alg = self.token_endpoint_auth_signing_alg.as_ref();
        alg.merge(&mut place.signing_alg, None, |name| keys::signing_alg(name).map(Some))?;
        self.jwks.as_ref().merge(&mut place.jwks, None, |set| keys::jwks(set).map(Some))?;
        self.jwks_uri.as_ref().merge(&mut place.jwks_uri, None, |uri| keys::jwks_uri(uri).map(Some))
    }

    /// What no single member shows.
    fn check(&self, client: &Client, bounds: Bounds<'_>) -> Result<(), OAuthError> {
        if client.is_public() && client.may_use(GrantType::ClientCredentials) {
            return Err(refused(
                "token_endpoint_auth_method \"none\" contradicts the grant type client_credentials: a public client \
                 has nothing to prove itself with; drop one of the two",
            ));
        }
        if !client.auth_method.has_secret() && self.client_secret.is_present() {
            return Err(refused(format!(
                "client_secret contradicts token_endpoint_auth_method {:?}: such a client has no secret; drop one of the two",
                client.auth_method.as_str()
            )));
        }
        keys::check(client)?;
        if client.resource_identifiers.iter().any(|name| name == bounds.issuer) {
            return Err(refused(format!(
                "resource_identifiers may not contain the issuer {:?}: tokens that name it are meant for Latchkey \
                 itself; drop it",
                bounds.issuer
            )));
        }
        // A client sees the tokens that name its id as audience: as above.
        if client.client_id.as_str() == bounds.issuer {
            return Err(refused(format!(
                "client_id may not be the issuer {:?}: tokens that name it are meant for Latchkey itself; choose another",
                bounds.issuer
            )));
        }
        self.check_code_flow(client)?;
        lifetimes::check(client, bounds.policy)
    }

    /// The `client_id` that the body gives, judged.
    ///
    /// # Errors
    /// [`Code::InvalidClientMetadata`]: empty, too long, not printable ASCII, or shaped like a user's `sub`.
    pub fn given_id(&self) -> Result<Option<ClientId>, OAuthError> {
        let Field::Is(id) = &self.client_id else { return Ok(None) };
        if id.is_empty() || id.len() > ID_MAX || !id.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
            let why = format!("client_id must be 1 to {ID_MAX} characters of printable ASCII (RFC 6749 appendix A.1)");
            return Err(refused(why));
        }
        if id.starts_with(SUB_PREFIX) {
            return Err(refused(format!(
                "client_id {id:?} begins with {SUB_PREFIX:?}, as every user's sub does: the two must never be equal; \
                 choose another"
            )));
        }
        Ok(Some(ClientId::new(id.clone())))
    }

    /// The `client_secret` that the body gives, judged.
    ///
    /// # Errors
    /// [`Code::InvalidClientMetadata`]: too short, too long or not printable ASCII.
    pub fn given_secret(&self) -> Result<Option<&SecretText>, OAuthError> {
        match &self.client_secret {
            Field::Absent | Field::Null => Ok(None),
            Field::Is(Secret(secret)) => chosen_secret(secret).map(Some),
        }
    }

    /// Whether the body has the member, of those that [`ClientSpec::changed`] names.
    pub fn has(&self, member: &str) -> bool {
        match member {
            "client_name" => self.client_name.is_present(),
            "grant_types" => self.grant_types.is_present(),
            "scope" => self.scope.is_present(),
            "token_endpoint_auth_method" => self.token_endpoint_auth_method.is_present(),
            "token_endpoint_auth_signing_alg" => self.token_endpoint_auth_signing_alg.is_present(),
            "jwks" => self.jwks.is_present(),
            "jwks_uri" => self.jwks_uri.is_present(),
            "access_token_signed_response_alg" => self.access_token_signed_response_alg.is_present(),
            "audience" => self.audience.is_present(),
            "resource_identifiers" => self.resource_identifiers.is_present(),
            "allowed_origins" => self.allowed_origins.is_present(),
            "lifetimes" => self.lifetimes.is_present(),
            "rotate_refresh" => self.rotate_refresh.is_present(),
            "disabled" => self.disabled.is_present(),
            "redirect_uris" => self.redirect_uris.is_present(),
            "post_logout_redirect_uris" => self.post_logout_redirect_uris.is_present(),
            "backchannel_logout_uri" => self.backchannel_logout_uri.is_present(),
            "require_pkce" => self.require_pkce.is_present(),
            "response_modes" => self.response_modes.is_present(),
            "id_token_signed_response_alg" => self.id_token_signed_response_alg.is_present(),
            "userinfo_signed_response_alg" => self.userinfo_signed_response_alg.is_present(),
            "skip_consent" => self.skip_consent.is_present(),
            "client_uri" => self.client_uri.is_present(),
            "policy_uri" => self.policy_uri.is_present(),
            "tos_uri" => self.tos_uri.is_present(),
            _ => false,
        }
    }

    /// The names of the members that differ, for the audit trail and for `bootstrap.file`.
    pub fn changed(base: &Client, next: &Client) -> Vec<&'static str> {
        let pairs = [
            ("client_name", base.client_name != next.client_name),
            ("grant_types", base.grant_types != next.grant_types),
            ("scope", base.scope != next.scope),
            ("token_endpoint_auth_method", base.auth_method != next.auth_method),
            ("token_endpoint_auth_signing_alg", base.keys.signing_alg != next.keys.signing_alg),
            ("jwks", base.keys.jwks != next.keys.jwks),
            ("jwks_uri", base.keys.jwks_uri != next.keys.jwks_uri),
            ("access_token_signed_response_alg", base.access_token_alg != next.access_token_alg),
            ("audience", base.audience != next.audience),
            ("resource_identifiers", base.resource_identifiers != next.resource_identifiers),
            ("allowed_origins", base.allowed_origins != next.allowed_origins),
            ("lifetimes", base.lifetimes != next.lifetimes),
            ("rotate_refresh", base.rotate_refresh != next.rotate_refresh),
            ("disabled", base.disabled != next.disabled),
            ("redirect_uris", base.redirect_uris != next.redirect_uris),
            ("post_logout_redirect_uris", base.post_logout_redirect_uris != next.post_logout_redirect_uris),
            ("backchannel_logout_uri", base.backchannel_logout_uri != next.backchannel_logout_uri),
            ("require_pkce", base.require_pkce != next.require_pkce),
            ("response_modes", base.response_modes != next.response_modes),
            ("id_token_signed_response_alg", base.id_token_alg != next.id_token_alg),
            ("userinfo_signed_response_alg", base.userinfo_alg != next.userinfo_alg),
            ("skip_consent", base.skip_consent != next.skip_consent),
            ("client_uri", base.client_uri != next.client_uri),
            ("policy_uri", base.policy_uri != next.policy_uri),
            ("tos_uri", base.tos_uri != next.tos_uri),
        ];
        pairs.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// A secret that a person chose: long enough that guessing it is hopeless even without a throttle.
///
/// # Errors
/// [`Code::InvalidClientMetadata`] where it is too short, too long or not printable ASCII (RFC 6749 appendix A.2).
pub fn chosen_secret(secret: &SecretText) -> Result<&SecretText, OAuthError> {
    let text = secret.expose();
    if !(SHORTEST_CHOSEN..=LONGEST_CHOSEN).contains(&text.len()) || !text.bytes().all(|b| (0x20..=0x7e).contains(&b)) {
        return Err(refused(format!(
            "client_secret must be {SHORTEST_CHOSEN} to {LONGEST_CHOSEN} characters of printable ASCII; leave it out and one \
             is drawn"
        )));
    }
    Ok(secret)
}

/// A scope that may be registered.
///
/// # Errors
/// [`Code::InvalidClientMetadata`]: not a scope, or an unknown reserved name.
pub fn scope(member: &str, text: &str) -> Result<Scope, OAuthError> {
    let scope = Scope::parse(text).map_err(|error| refused(format!("{member}: {error}")))?;
    if let Some(token) = scope.iter().find(|token| is_unknown_admin(token)) {
        let known = ADMIN_SCOPES.join(", ");
        return Err(refused(format!(
            "{member}: {token:?} means nothing, and names that begin with \"admin\" are reserved; these are: {known}"
        )));
    }
    Ok(scope)
}

fn refused(description: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(Code::InvalidClientMetadata, description)
}

fn display_name(name: &str) -> Result<String, OAuthError> {
    if name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(refused(format!("client_name must be at most {NAME_MAX} characters and no control characters")));
    }
    Ok(name.to_owned())
}

fn grant_types(names: &[String]) -> Result<Vec<GrantType>, OAuthError> {
    let mut grants = Vec::new();
    for name in names {
        let grant = GrantType::parse(name).ok_or_else(|| {
            let known = GrantType::ALL.map(GrantType::as_str).join(", ");
            refused(format!("grant_types: {:?} is not supported; these are: {known}", clip(name)))
        })?;
        if !grants.contains(&grant) {
            grants.push(grant);
        }
    }
    Ok(grants)
}

fn auth_method(name: &str) -> Result<AuthMethod, OAuthError> {
    AuthMethod::parse(name).ok_or_else(|| {
        let known = AuthMethod::ALL.map(AuthMethod::as_str).join(", ");
        refused(format!("token_endpoint_auth_method {:?} is not supported; these are: {known}", clip(name)))
    })
}

fn alg(member: &str, name: &str) -> Result<Alg, OAuthError> {
    Alg::parse(name).ok_or_else(|| {
        let known = Alg::ALL.map(Alg::as_str).join(", ");
        refused(format!("{member} {:?} is not supported; these are: {known}", clip(name)))
    })
}

/// Judges every entry of a list; repeated entries count once.
fn list(
    member: &str,
    entries: &[String],
    fault: impl Fn(&str) -> Option<&'static str>,
) -> Result<Vec<String>, OAuthError> {
    if entries.len() > LIST_MAX {
        return Err(refused(format!("{member} has {} entries; at most {LIST_MAX} are kept", entries.len())));
    }
    let mut kept: Vec<String> = Vec::new();
    for entry in entries {
        let why = if entry.len() > ENTRY_MAX { Some("it is too long") } else { fault(entry) };
        if let Some(why) = why {
            return Err(refused(format!("{member}: {:?} is refused: {why}", clip(entry))));
        }
        if !kept.contains(entry) {
            kept.push(entry.clone());
        }
    }
    Ok(kept)
}

/// Why the text cannot be an `aud`: RFC 7519 takes plain names and URIs, RFC 8707 no fragment.
fn resource_name(text: &str) -> Option<&'static str> {
    if text.is_empty() || !text.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        return Some("give a plain name or an absolute URI, in ASCII without spaces");
    }
    if text.contains('#') {
        return Some("a resource has no fragment (RFC 8707 section 2); drop what follows the #");
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme)?;
    let mut letters = scheme.bytes();
    let is_scheme = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (!is_scheme).then_some("a name with a colon must be an absolute URI (RFC 7519 section 2)")
}

/// As much of a refused value as an answer repeats.
fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::time::Timestamp;

    pub fn apply(body: Value, base: Option<&Client>) -> Result<Client, OAuthError> {
        let spec: ClientSpec = serde_json::from_value(body).expect("a body of the right shape");
        let blank = Client::blank(ClientId::new("web"), Timestamp::from_seconds(1));
        let policy = TokenPolicy::default();
        spec.applied_to(base.unwrap_or(&blank), Bounds { issuer: "https://id.example.com", policy: &policy })
    }

    /// The key of RFC 7515 appendix A.3.
    fn a_key_set() -> Value {
        json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                         "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]})
    }

    #[test]
    fn a_client_signs_with_keys_of_its_own() {
        let method = json!("private_key_jwt");
        let signs = json!({"token_endpoint_auth_method": method, "jwks": a_key_set()});
        let first = apply(signs, None).unwrap();
        assert_eq!(first.keys.jwks.as_ref().map(|jwks| jwks.keys.len()), Some(1));
        let moved = json!({"jwks": null, "jwks_uri": "https://app.example.com/jwks",
                           "token_endpoint_auth_signing_alg": "PS256"});
        let second = apply(moved, Some(&first)).unwrap();
        assert_eq!((second.keys.jwks.is_none(), second.keys.jwks_uri.is_some()), (true, true));
        assert_eq!(ClientSpec::changed(&first, &second), ["token_endpoint_auth_signing_alg", "jwks", "jwks_uri"]);
        assert!(apply(json!({"jwks_uri": null}), Some(&second)).is_err(), "its last key");
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name_and_null_is_the_default() {
        let first = apply(
            json!({"client_name": "Web", "grant_types": ["password", "refresh_token", "password"], "scope": "read",
                   "audience": ["https://api.example.com"], "lifetimes": {"access_ttl": "5m", "refresh_idle": "1d"}}),
            None,
        )
        .unwrap();
        assert_eq!(first.grant_types, [GrantType::Password, GrantType::RefreshToken]);
        let second =
            apply(json!({"client_name": null, "lifetimes": {"access_ttl": null}, "disabled": true}), Some(&first));
        let second = second.unwrap();
        assert_eq!(second.client_name, "");
        assert_eq!(second.scope, first.scope);
        assert_eq!(second.audience, first.audience);
        assert_eq!(second.lifetimes, Lifetimes { refresh_idle: Some(86_400), ..Lifetimes::default() });
        assert_eq!(ClientSpec::changed(&first, &second), ["client_name", "lifetimes", "disabled"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (body, named) in [
            (json!({"grant_types": ["implicit"]}), "implicit"),
            (json!({"token_endpoint_auth_method": "tls_client_auth"}), "tls_client_auth"),
            (json!({"token_endpoint_auth_method": "private_key_jwt"}), "give jwks"),
            (
                json!({"token_endpoint_auth_method": "none", "grant_types": ["client_credentials"]}),
                "client_credentials",
            ),
            (json!({"token_endpoint_auth_method": "none", "client_secret": "x".repeat(40)}), "client_secret"),
            (json!({"access_token_signed_response_alg": "HS256"}), "HS256"),
            (json!({"scope": "read \"quoted\""}), "scope"),
            (json!({"scope": "read admin:everything"}), "admin:everything"),
            (json!({"scope": "administrator"}), "administrator"),
            (json!({"audience": ["two words"]}), "two words"),
            (json!({"audience": ["1:x"]}), "1:x"),
            (json!({"resource_identifiers": ["https://api.example.com/#top"]}), "#top"),
            (json!({"resource_identifiers": ["https://id.example.com"]}), "issuer"),
            (json!({"allowed_origins": ["https://*.example.com"]}), "https://*.example.com"),
            (json!({"jwks": {}}), "jwks is refused"),
            (json!({"jwks_uri": "http://app.example.com/jwks"}), "loopback"),
            (json!({"token_endpoint_auth_signing_alg": "none"}), "none"),
            (json!({"token_endpoint_auth_signing_alg": "ES256"}), "client_secret_basic"),
            (
                json!({"token_endpoint_auth_method": "client_secret_jwt", "token_endpoint_auth_signing_alg": "RS256"}),
                "client_secret_jwt",
            ),
            (
                json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks",
                       "token_endpoint_auth_signing_alg": "HS256"}),
                "HS256",
            ),
            (
                json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://app.example.com/jwks",
                       "client_secret": "x".repeat(40)}),
                "such a client has no secret",
            ),
            (json!({"jwks_uri": "https://app.example.com/jwks", "jwks": a_key_set()}), "contradict each other"),
            (
                json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": a_key_set(),
                       "token_endpoint_auth_signing_alg": "PS256"}),
                "no key of jwks",
            ),
            (json!({"client_name": "a\u{7}b"}), "client_name"),
        ] {
            let error = apply(body.clone(), None).expect_err(&body.to_string());
            assert_eq!(error.code, Code::InvalidClientMetadata, "{body}");
            assert!(error.description.contains(named), "{body}: {}", error.description);
        }
    }

    #[test]
    fn every_scope_token_but_unknown_admin_names_is_taken() {
        let client = apply(json!({"scope": "openid profile offline_access a:b admin:keys:read"}), None).unwrap();
        assert!(client.scope.contains("openid") && client.scope.contains("admin:keys:read"));
        let names = json!({"audience": ["urn:api:orders", "orders", "https://api.example.com/v1"]});
        assert_eq!(apply(names, None).unwrap().audience.len(), 3);
    }

    #[test]
    fn a_given_id_never_looks_like_a_user() {
        for (id, taken) in [("web", true), ("a b", true), ("", false), ("usr_abc", false), ("é", false), ("a\n", false)]
        {
            let spec = ClientSpec { client_id: Field::Is(id.into()), ..ClientSpec::default() };
            assert_eq!(spec.given_id().is_ok(), taken, "{id:?}");
        }
        let long = ClientSpec { client_id: Field::Is("x".repeat(256)), ..ClientSpec::default() };
        assert!(long.given_id().is_err());
        assert_eq!(ClientSpec::default().given_id().unwrap(), None);
    }

    #[test]
    fn no_client_has_the_name_of_the_issuer() {
        let policy = TokenPolicy::default();
        let named = Client::blank(ClientId::new("https://id.example.com"), Timestamp::from_seconds(1));
        let bounds = Bounds { issuer: "https://id.example.com", policy: &policy };
        let error = ClientSpec::default().applied_to(&named, bounds).unwrap_err();
        assert!(error.code == Code::InvalidClientMetadata && error.description.contains("issuer"));
    }

    #[test]
    fn a_chosen_secret_has_32_bytes_and_is_never_printed() {
        for (secret, taken) in [("x".repeat(31), false), ("x".repeat(32), true), ("é".repeat(32), false)] {
            let spec: ClientSpec = serde_json::from_value(json!({"client_secret": secret})).unwrap();
            assert_eq!(spec.given_secret().is_ok(), taken, "{secret:?}");
            assert!(!format!("{spec:?}").contains(&secret));
        }
    }

    #[test]
    fn every_member_that_can_differ_can_be_asked_for() {
        let all = r#"{"client_name":"x","grant_types":["authorization_code"],"scope":"a",
            "token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"PS256",
            "jwks_uri":"https://a.example/jwks",
            "access_token_signed_response_alg":"RS256","audience":["a"],"resource_identifiers":["b"],
            "allowed_origins":["https://a.example"],"lifetimes":{"access_ttl":"1m"},"rotate_refresh":false,
            "disabled":true,"redirect_uris":["https://a.example/"],"post_logout_redirect_uris":["https://a.example/"],
            "backchannel_logout_uri":"https://a.example/","require_pkce":false,"response_modes":["query"],
            "id_token_signed_response_alg":"ES256","userinfo_signed_response_alg":"ES256","skip_consent":true,
            "client_uri":"https://a.example/","policy_uri":"https://a.example/","tos_uri":"https://a.example/"}"#;
        let spec: ClientSpec = serde_json::from_str(all).unwrap();
        let base = Client::blank(ClientId::new("web"), Timestamp::from_seconds(1));
        let next = apply(serde_json::from_str(all).unwrap(), None).unwrap();
        let changed = ClientSpec::changed(&base, &next);
        assert_eq!(changed.len(), 24);
        assert!(changed.iter().all(|member| spec.has(member) && !ClientSpec::default().has(member)));
    }

    #[test]
    fn unknown_members_are_refused() {
        let error = serde_json::from_value::<ClientSpec>(json!({"client_nmae": "x"})).expect_err("unknown");
        assert!(error.to_string().contains("client_nmae"));
    }
}
