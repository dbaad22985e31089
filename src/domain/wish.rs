//! What a request asks for (`scope`, RFC 6749 section 3.3; `resource`, RFC 8707), and what of it may be given.
//!
//! A right to administer (`admin*`) is never given unasked, and only where everyone involved holds it; a token that
//! carries one is for the issuer alone, so that no other API ever gets hold of it.

use super::client::Client;
use super::error::{Code, OAuthError};
use super::scope::{Scope, is_admin, is_unknown_admin};

/// What a request asks for, within what its client may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// `None` where the request leaves it to us.
    pub scope: Option<Scope>,
    /// Well-formed, none twice; empty where the request leaves it to us.
    pub resource: Vec<String>,
}

impl Wish {
    /// # Errors
    /// `invalid_scope` or `invalid_target`, naming what cannot be had.
    pub fn read<'r>(
        scope: Option<&str>,
        resources: impl IntoIterator<Item = &'r str>,
        client: &Client,
    ) -> Result<Self, OAuthError> {
        let scope = match scope {
            Some(text) => {
                let scope =
                    Scope::parse(text).map_err(|fault| OAuthError::new(Code::InvalidScope, fault.to_string()))?;
                within(&scope, &client.scope, "the client may not have")?;
                Some(scope).filter(|scope| !scope.is_empty())
            }
            None => None,
        };
        let mut resource: Vec<String> = Vec::new();
        for name in resources {
            if !is_absolute_uri(name) {
                return Err(target(name, "is not an absolute URI without a fragment (RFC 8707 section 2)"));
            }
            if !resource.iter().any(|known| known == name) {
                resource.push(name.to_owned());
            }
        }
        Ok(Self { scope, resource })
    }

    /// The scope of a new permission of the client: what was named, or else all of the client's but `admin*`.
    ///
    /// # Errors
    /// `invalid_scope`: nothing was named, and the client has nothing but what must be named.
    pub fn scope_for(&self, client: &Client) -> Result<Scope, OAuthError> {
        if let Some(named) = &self.scope {
            return Ok(named.clone());
        }
        client.unnamed_scope().ok_or_else(|| {
            let text = format!("admin scopes are given only by name; ask for scope={}", client.scope);
            OAuthError::new(Code::InvalidScope, text)
        })
    }

    /// The audience of a new permission with this scope.
    ///
    /// # Errors
    /// `invalid_target`: a resource that the client's audience does not have.
    pub fn audience_for(&self, scope: &Scope, client: &Client, issuer: &str) -> Result<Vec<String>, OAuthError> {
        if scope.iter().any(is_admin) {
            self.audience_within(&[issuer], "is not the issuer, whom tokens with an admin scope are for")
        } else {
            self.audience_within(&client.audience_or(issuer), "is not in the client's audience")
        }
    }

    /// What of an existing permission one access token is to carry.
    ///
    /// # Errors
    /// `invalid_scope` or `invalid_target`: more was named than the permission has.
    pub fn narrowed(&self, scope: &Scope, audience: &[String]) -> Result<(Scope, Vec<String>), OAuthError> {
        let narrowed = match &self.scope {
            Some(named) => {
                within(named, scope, "the session or token has no")?;
                named.clone()
            }
            None => scope.clone(),
        };
        let available: Vec<&str> = audience.iter().map(String::as_str).collect();
        Ok((narrowed, self.audience_within(&available, "is not in the audience of the session or token")?))
    }

    /// What this client may get of another client's permission: nothing that either of them lacks, and no right to
    /// administer.
    ///
    /// # Errors
    /// `invalid_scope` or `invalid_target`: more was named, or nothing is left.
    pub fn delegated(
        &self,
        scope: &Scope,
        audience: &[String],
        client: &Client,
        issuer: &str,
    ) -> Result<(Scope, Vec<String>), OAuthError> {
        let shared = scope.without_admin().filtered(|token| client.scope.contains(token));
        let narrowed = match &self.scope {
            Some(named) => {
                within(named, &shared, "the subject token and the client do not both have")?;
                named.clone()
            }
            None => shared,
        };
        let reachable: Vec<&str> =
            client.audience_or(issuer).into_iter().filter(|name| audience.iter().any(|held| held == name)).collect();
        if reachable.is_empty() {
            return Err(OAuthError::new(
                Code::InvalidTarget,
                "nobody is in the aud of the subject token and in the audience of this client; an operator registers \
                 whom it may call under audience",
            ));
        }
        Ok((
            narrowed,
            self.audience_within(&reachable, "is not in both the subject token's aud and the client's audience")?,
        ))
    }

    /// Adds names of RFC 8693's `audience`, which need not be URIs.
    pub fn naming(mut self, audience: &[String]) -> Self {
        for name in audience {
            if !self.resource.contains(name) {
                self.resource.push(name.clone());
            }
        }
        self
    }

    fn audience_within(&self, available: &[&str], fault: &str) -> Result<Vec<String>, OAuthError> {
        if self.resource.is_empty() {
            return Ok(available.iter().map(|name| (*name).to_owned()).collect());
        }
        match self.resource.iter().find(|name| !available.contains(&name.as_str())) {
            Some(outside) => Err(target(outside, fault)),
            None => Ok(self.resource.clone()),
        }
    }
}

/// The part of a scope that is still held: by name, or for a right to administer by one that holds it.
pub fn still_held(scope: &Scope, held: &Scope) -> Scope {
    scope.filtered(|token| holds(held, token))
}

/// Refuses a scope whose rights to administer the user does not hold as well.
///
/// # Errors
/// `invalid_scope`, naming the first.
pub fn user_holds(scope: &Scope, admin_scopes: &Scope) -> Result<(), OAuthError> {
    within(&scope.only_admin(), admin_scopes, "the user may not have")
}

fn holds(held: &Scope, token: &str) -> bool {
    if is_admin(token) { !is_unknown_admin(token) && held.gives(token) } else { held.contains(token) }
}

fn within(scope: &Scope, held: &Scope, fault: &str) -> Result<(), OAuthError> {
    match scope.iter().find(|token| !holds(held, token)) {
        // A scope token is printable ASCII without quotes: it can be shown as it is, but for its length.
        Some(outside) => Err(OAuthError::new(Code::InvalidScope, format!("{fault} the scope {}", shortened(outside)))),
        None => Ok(()),
    }
}

fn target(name: &str, fault: &str) -> OAuthError {
    OAuthError::new(Code::InvalidTarget, format!("resource {:?} {fault}", shortened(name)))
}

fn shortened(text: &str) -> String {
    text.chars().take(128).collect()
}

/// RFC 3986 section 4.3, as far as it matters for a name that is then compared as text.
fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else {
        return false;
    };
    let scheme_is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    scheme_is_one && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::client::AuthMethod;
    use crate::domain::ids::ClientId;
    use crate::domain::scope::ADMIN_SCOPES;
    use crate::domain::time::Timestamp;

    const ISSUER: &str = "https://id.example";

    fn scope(text: &str) -> Scope {
        Scope::parse(text).unwrap()
    }

    fn client(scope: Scope, audience: &[&str]) -> Client {
        let audience = audience.iter().map(|name| (*name).to_owned()).collect();
        let blank = Client::blank(ClientId::new("c"), Timestamp::from_seconds(0));
        Client { auth_method: AuthMethod::None, scope, audience, ..blank }
    }

    fn wish(client: &Client, scope: Option<&str>, resource: &[&str]) -> Result<Wish, OAuthError> {
        Wish::read(scope, resource.iter().copied(), client)
    }

    /// The scope a request gets, or the code and the text it is refused with.
    fn granted(client: &Client, asked: Option<&str>) -> Result<String, (Code, String)> {
        let refused = |error: OAuthError| (error.code, error.description.into_owned());
        let scope = wish(client, asked, &[]).and_then(|wish| wish.scope_for(client)).map_err(refused)?;
        Ok(scope.to_string())
    }

    #[test]
    fn a_scope_is_the_clients_or_what_was_named_of_it() {
        let app = client(scope("read admin write"), &[]);
        assert_eq!(granted(&app, None).as_deref(), Ok("read write"));
        assert_eq!(granted(&app, Some(" ")).as_deref(), Ok("read write"), "naming nothing is not naming");
        assert_eq!(granted(&app, Some("write")).as_deref(), Ok("write"));
        assert_eq!(granted(&app, Some("read admin")).as_deref(), Ok("read admin"));
        assert_eq!(granted(&app, Some("admin:keys:read")).as_deref(), Ok("admin:keys:read"), "admin holds the others");
        for unknown in ["delete", "admin:nonsense", "read delete"] {
            let (code, text) = granted(&app, Some(unknown)).unwrap_err();
            assert_eq!(code, Code::InvalidScope);
            assert!(text.contains(unknown.trim_start_matches("read ")), "{text}");
        }
        assert_eq!(granted(&app, Some("a\"b")).unwrap_err().0, Code::InvalidScope);
        let (code, text) = granted(&client(scope("admin"), &[]), None).unwrap_err();
        assert_eq!(code, Code::InvalidScope);
        assert!(text.contains("scope=admin"), "{text}");
        assert_eq!(granted(&client(Scope::default(), &[]), None).as_deref(), Ok(""));
    }

    #[test]
    fn an_audience_is_narrowed_by_resource_and_never_widened() {
        let app = client(scope("read admin"), &["https://api.example", "https://b.example/x"]);
        let audience = |asked: Option<&str>, resource: &[&str]| {
            let wish = wish(&app, asked, resource)?;
            wish.audience_for(&wish.scope_for(&app)?, &app, ISSUER)
        };
        assert_eq!(audience(None, &[]).unwrap(), ["https://api.example", "https://b.example/x"]);
        assert_eq!(audience(None, &["https://b.example/x", "https://b.example/x"]).unwrap(), ["https://b.example/x"]);
        assert_eq!(audience(Some("read admin"), &[]).unwrap(), [ISSUER], "administration is for the issuer alone");
        assert_eq!(audience(Some("admin"), &[ISSUER]).unwrap(), [ISSUER]);
        for (asked, resource) in [
            (None, ISSUER),
            (None, "https://api.example/"),
            (Some("admin"), "https://api.example"),
            (None, "https://api.example#part"),
            (None, "/relative"),
            (None, "api"),
            (None, "1https://api.example"),
            (None, "https:"),
        ] {
            let error = audience(asked, &[resource]).unwrap_err();
            assert_eq!(error.code, Code::InvalidTarget, "{resource}");
            assert!(error.description.contains(resource), "{}", error.description);
        }
        let default = client(scope("read"), &[]);
        let all = wish(&default, None, &[]).unwrap().audience_for(&scope("read"), &default, ISSUER);
        assert_eq!(all.unwrap(), [ISSUER]);
    }

    #[test]
    fn a_refresh_narrows_and_never_widens() {
        let app = client(scope("read write admin"), &[]);
        let audience = [ISSUER.to_owned()];
        let narrowed = |asked: Option<&str>| wish(&app, asked, &[]).unwrap().narrowed(&scope("read write"), &audience);
        assert_eq!(narrowed(None).unwrap().0, scope("read write"));
        assert_eq!(narrowed(Some("write")).unwrap().0, scope("write"));
        assert_eq!(narrowed(Some("read admin")).unwrap_err().code, Code::InvalidScope);
        let elsewhere = wish(&app, None, &["https://api.example"]).unwrap().narrowed(&scope("read"), &audience);
        assert_eq!(elsewhere.unwrap_err().code, Code::InvalidTarget);
    }

    #[test]
    fn a_user_gives_only_the_administration_that_it_holds() {
        assert!(user_holds(&scope("read write"), &Scope::default()).is_ok());
        assert!(user_holds(&scope("read admin:users:read"), &scope("admin:users")).is_ok());
        let error = user_holds(&scope("read admin"), &scope("admin:users")).unwrap_err();
        assert_eq!(error.code, Code::InvalidScope);
        assert_eq!(still_held(&scope("read admin:keys write"), &scope("write admin")), scope("admin:keys write"));
    }

    fn scopes() -> impl Strategy<Value = Scope> {
        let names = ["read", "write", "openid", "admin:nonsense"].into_iter().chain(ADMIN_SCOPES).collect::<Vec<_>>();
        prop::collection::vec(prop::sample::select(names), 0..6).prop_map(|names| scope(&names.join(" ")))
    }

    proptest! {
        /// Whatever is asked: nothing the client lacks, and no right to administer that was not named.
        #[test]
        fn nothing_is_given_that_the_client_lacks(held in scopes(), asked in prop::option::of(scopes())) {
            let app = client(held.clone(), &["https://api.example"]);
            let text = asked.as_ref().map(ToString::to_string);
            let Ok(wish) = wish(&app, text.as_deref(), &[]) else { return Ok(()) };
            let Ok(given) = wish.scope_for(&app) else { return Ok(()) };
            for token in given.iter() {
                prop_assert!(held.contains(token) || (is_admin(token) && held.gives(token)));
                prop_assert!(!is_admin(token) || asked.as_ref().is_some_and(|asked| asked.contains(token)));
                prop_assert!(!is_unknown_admin(token));
            }
            let audience = wish.audience_for(&given, &app, ISSUER).unwrap();
            prop_assert_eq!(given.iter().any(is_admin), audience == [ISSUER]);
        }

        #[test]
        fn a_narrowed_scope_is_a_part(held in scopes(), session in scopes(), asked in prop::option::of(scopes())) {
            let app = client(held, &[]);
            let text = asked.map(|scope| scope.to_string());
            let Ok(wish) = wish(&app, text.as_deref(), &[]) else { return Ok(()) };
            if let Ok((narrowed, _)) = wish.narrowed(&session, &[]) {
                prop_assert!(narrowed.iter().all(|token| session.contains(token) || session.gives(token)));
            }
        }
    }
}
