//! What a client of the authorization code flow registers (RFC 7591, OpenID Connect Registration, RP-Initiated and
//! Back-Channel Logout), and what of it contradicts the rest of the client.

use std::fmt::Display;

use super::{ClientSpec, alg, clip, list, refused};
use crate::admin::field::Field;
use crate::domain::client::{Client, GrantType, ResponseMode};
use crate::domain::error::OAuthError;
use crate::domain::redirect_uri::{self, Kind};

impl ClientSpec {
    /// Merges the members of the code flow into the client, each judged by itself.
    pub(super) fn merge_code_flow(&self, client: &mut Client) -> Result<(), OAuthError> {
        let blank = Client::blank(client.client_id.clone(), client.created_at);
        self.redirect_uris
            .as_ref()
            .merge(&mut client.redirect_uris, blank.redirect_uris, |uris| redirects("redirect_uris", uris))?;
        self.post_logout_redirect_uris.as_ref().merge(
            &mut client.post_logout_redirect_uris,
            blank.post_logout_redirect_uris,
            |uris| redirects("post_logout_redirect_uris", uris),
        )?;
        self.backchannel_logout_uri.as_ref().merge(
            &mut client.backchannel_logout_uri,
            blank.backchannel_logout_uri,
            |uri| called("backchannel_logout_uri", uri),
        )?;
        self.require_pkce.as_ref().merge(&mut client.require_pkce, blank.require_pkce, |own| taken(*own))?;
        self.response_modes
            .as_ref()
            .merge(&mut client.response_modes, blank.response_modes, |names| response_modes(names))?;
        self.id_token_signed_response_alg
            .as_ref()
            .merge(&mut client.id_token_alg, blank.id_token_alg, |name| alg("id_token_signed_response_alg", name))?;
        self.userinfo_signed_response_alg.as_ref().merge(&mut client.userinfo_alg, blank.userinfo_alg, |name| {
            alg("userinfo_signed_response_alg", name).map(Some)
        })?;
        self.skip_consent.as_ref().merge(&mut client.skip_consent, blank.skip_consent, |own| taken(*own))?;
        for (member, field, place) in [
            ("client_uri", &self.client_uri, &mut client.client_uri),
            ("policy_uri", &self.policy_uri, &mut client.policy_uri),
            ("tos_uri", &self.tos_uri, &mut client.tos_uri),
        ] {
            field.as_ref().merge(place, None, |uri| page(member, uri))?;
        }
        Ok(())
    }

    /// What of the code flow no single member shows.
    pub(super) fn check_code_flow(&self, client: &Client) -> Result<(), OAuthError> {
        let has_grant = client.may_use(GrantType::AuthorizationCode);
        if has_grant && client.redirect_uris.is_empty() {
            return Err(refused(
                "the grant type authorization_code needs at least one of redirect_uris, to which codes go; name one, or \
                 drop the grant type",
            ));
        }
        if !has_grant && !client.redirect_uris.is_empty() {
            return Err(refused(
                "redirect_uris are of no use without the grant type authorization_code; add it to grant_types, or drop \
                 them (null)",
            ));
        }
        self.check_response_types(has_grant)?;
        if client.is_public() { check_public(client) } else { check_confidential(client) }
    }

    /// There is one response type, which goes without saying: it is judged and not kept.
    fn check_response_types(&self, has_grant: bool) -> Result<(), OAuthError> {
        let Field::Is(types) = &self.response_types else { return Ok(()) };
        if types.as_slice() != ["code"] {
            let named = types.iter().map(|name| clip(name)).collect::<Vec<_>>();
            return Err(refused(format!(
                "response_types {named:?} is not supported: tokens in a URL leak (RFC 9700 section 2.1.2); write \
                 [\"code\"], or leave it out"
            )));
        }
        if !has_grant {
            return Err(refused(
                "response_types [\"code\"] contradicts grant_types without authorization_code; add that, or leave \
                 response_types out",
            ));
        }
        Ok(())
    }
}

fn check_public(client: &Client) -> Result<(), OAuthError> {
    if !client.require_pkce {
        return Err(refused(
            "require_pkce false contradicts token_endpoint_auth_method \"none\": whoever catches a code of a public \
             client could redeem it (RFC 9700 section 2.1.1); drop one of the two",
        ));
    }
    if client.skip_consent && client.can_be_impersonated() {
        return Err(refused(
            "skip_consent contradicts redirect_uris on loopback or of a private-use scheme where \
             token_endpoint_auth_method is \"none\": any program on the user's machine could have tokens without \
             anybody seeing it (RFC 8252 section 8.6); drop skip_consent, or redirect to https alone",
        ));
    }
    Ok(())
}

fn check_confidential(client: &Client) -> Result<(), OAuthError> {
    let lists =
        [("redirect_uris", &client.redirect_uris), ("post_logout_redirect_uris", &client.post_logout_redirect_uris)];
    for (member, uris) in lists {
        if let Some(uri) = uris.iter().find(|uri| redirect_uri::kind_of(uri) == Ok(Kind::PrivateUse)) {
            return Err(unfit(
                member,
                uri,
                "a private-use scheme is an app's, and an app on a user's machine keeps no secret; use https, or \
                 token_endpoint_auth_method \"none\"",
            ));
        }
    }
    Ok(())
}

fn redirects(member: &str, uris: &[String]) -> Result<Vec<String>, OAuthError> {
    list(member, uris, |uri| redirect_uri::kind_of(uri).err())
}

/// A URI that Latchkey calls.
fn called(member: &str, uri: &str) -> Result<Option<String>, OAuthError> {
    redirect_uri::server_kind(uri).map_err(|why| unfit(member, uri, why))?;
    Ok(Some(uri.to_owned()))
}

/// A page that users are shown a link to.
fn page(member: &str, uri: &str) -> Result<Option<String>, OAuthError> {
    let whole = uri.split_once('#').map_or(uri, |(whole, _)| whole);
    redirect_uri::server_kind(whole).map_err(|why| unfit(member, uri, why))?;
    if !uri.starts_with("https:") {
        return Err(unfit(member, uri, "users everywhere follow it; use https"));
    }
    Ok(Some(uri.to_owned()))
}

fn response_modes(names: &[String]) -> Result<Vec<ResponseMode>, OAuthError> {
    let known = || ResponseMode::ALL.map(ResponseMode::as_str).join(", ");
    let mut modes = Vec::new();
    for name in names {
        let mode = ResponseMode::parse(name).ok_or_else(|| {
            refused(format!("response_modes: {:?} is not supported; these are: {}", clip(name), known()))
        })?;
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    if modes.is_empty() {
        return Err(refused(format!("response_modes may not be empty; name some of {}, or leave it out", known())));
    }
    Ok(modes)
}

fn unfit(member: &str, uri: &str, why: impl Display) -> OAuthError {
    refused(format!("{member}: {:?} is refused: {why}", clip(uri)))
}

const fn taken(own: bool) -> Result<bool, OAuthError> {
    Ok(own)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::admin::clients::spec::tests::apply;
    use crate::domain::client::AuthMethod;
    use crate::domain::key::Alg;

    const WEB: &str = "https://app.example.com/callback";

    /// The body of a client of the code flow with these members.
    fn body(members: Value) -> Value {
        let mut body = json!({"grant_types": ["authorization_code"], "redirect_uris": [WEB]});
        let Value::Object(members) = members else { panic!("members are an object") };
        body.as_object_mut().unwrap().extend(members);
        body
    }

    #[test]
    fn what_is_registered_is_kept_and_null_is_the_default() {
        let all = json!({
            "redirect_uris": [WEB, "http://127.0.0.1/callback", WEB], "post_logout_redirect_uris": ["https://app.example.com/"],
            "backchannel_logout_uri": "http://localhost:3000/logout", "require_pkce": false, "response_modes": ["form_post"],
            "id_token_signed_response_alg": "ES256", "userinfo_signed_response_alg": "RS256", "skip_consent": true,
            "client_uri": "https://app.example.com", "policy_uri": "https://app.example.com/about#privacy",
            "tos_uri": "https://app.example.com/terms", "response_types": ["code"],
        });
        let client = apply(body(all.clone()), None).unwrap();
        assert_eq!(client.redirect_uris, [WEB, "http://127.0.0.1/callback"]);
        assert_eq!((client.response_modes.as_slice(), client.require_pkce), (&[ResponseMode::FormPost][..], false));
        assert_eq!((client.id_token_alg, client.userinfo_alg), (Alg::ES256, Some(Alg::RS256)));
        assert_eq!(client.policy_uri.as_deref(), Some("https://app.example.com/about#privacy"));

        let nothing = all.as_object().unwrap().keys().map(|member| (member.clone(), Value::Null));
        let mut reset: Value = nothing.collect::<serde_json::Map<_, _>>().into();
        reset["grant_types"] = Value::Null;
        let blank = Client::blank(client.client_id.clone(), client.created_at);
        assert_eq!(apply(reset, Some(&client)).unwrap(), blank);
        assert_eq!(apply(json!({"client_name": ""}), Some(&client)).unwrap(), client, "what is left out stays");
    }

    #[test]
    fn members_that_contradict_each_other_are_refused_with_the_mend() {
        let none = "none";
        for (members, named) in [
            (json!({"redirect_uris": []}), "needs at least one of redirect_uris"),
            (json!({"redirect_uris": null}), "needs at least one of redirect_uris"),
            (json!({"grant_types": ["password"]}), "add it to grant_types"),
            (json!({"grant_types": null}), "add it to grant_types"),
            (json!({"redirect_uris": ["https://*.example.com/"]}), "wildcards"),
            (json!({"redirect_uris": ["com.example.app:/callback"]}), "token_endpoint_auth_method \"none\""),
            (json!({"post_logout_redirect_uris": ["com.example.app:/"]}), "post_logout_redirect_uris"),
            (json!({"post_logout_redirect_uris": ["http://app.example.com/"]}), "use https"),
            (json!({"require_pkce": false, "token_endpoint_auth_method": none}), "require_pkce"),
            (
                json!({"skip_consent": true, "token_endpoint_auth_method": none, "redirect_uris": ["http://[::1]/cb"]}),
                "skip_consent",
            ),
            (
                json!({"skip_consent": true, "token_endpoint_auth_method": none, "redirect_uris": [WEB, "a.b:/cb"]}),
                "skip_consent",
            ),
            (json!({"backchannel_logout_uri": "https://app.example.com/#out"}), "fragment"),
            (json!({"backchannel_logout_uri": "http://app.example.com/out"}), "use https"),
            (json!({"backchannel_logout_uri": "com.example.app:/out"}), "backchannel_logout_uri"),
            (json!({"client_uri": "http://localhost/"}), "client_uri"),
            (json!({"policy_uri": "javascript:alert(1)"}), "policy_uri"),
            (json!({"tos_uri": "https://user@app.example.com/"}), "tos_uri"),
            (json!({"tos_uri": ""}), "tos_uri"),
            (json!({"response_types": ["code", "token"]}), "leave it out"),
            (json!({"response_types": []}), "leave it out"),
            (json!({"response_types": ["code"], "grant_types": [], "redirect_uris": []}), "response_types"),
            (json!({"response_modes": ["fragment"]}), "\"fragment\""),
            (json!({"response_modes": []}), "empty"),
            (json!({"id_token_signed_response_alg": "none"}), "id_token_signed_response_alg \"none\""),
            (json!({"userinfo_signed_response_alg": "HS256"}), "userinfo_signed_response_alg \"HS256\""),
        ] {
            let error = apply(body(members.clone()), None).expect_err(&members.to_string());
            assert!(error.description.contains(named), "{members}: {}", error.description);
        }
    }

    #[test]
    fn a_public_client_may_do_what_is_safe() {
        let native =
            json!({"token_endpoint_auth_method": "none", "redirect_uris": ["com.example.app:/cb", "http://[::1]/"]});
        let client = apply(body(native), None).unwrap();
        assert!(client.is_public() && client.require_pkce);
        let spa = apply(body(json!({"token_endpoint_auth_method": "none", "skip_consent": true})), None).unwrap();
        assert!(spa.skip_consent);
        // What was registered before counts as much as what the body says.
        let mut confidential = client.clone();
        confidential.redirect_uris = vec![WEB.into()];
        confidential.auth_method = AuthMethod::ClientSecretBasic;
        confidential.require_pkce = false;
        let error = apply(json!({"token_endpoint_auth_method": "none"}), Some(&confidential)).unwrap_err();
        assert!(error.description.contains("require_pkce"), "{}", error.description);
        let error = apply(json!({"token_endpoint_auth_method": "client_secret_post"}), Some(&client)).unwrap_err();
        assert!(error.description.contains("com.example.app:/cb"), "{}", error.description);
    }
}
