//! Requests to log out (OpenID Connect RP-Initiated Logout 1.0 section 2): what one asks for once it has been judged. And how
//! long a client is told of a logout that does not listen (Back-Channel Logout 1.0).
//!
//! A browser is sent on to what its client has registered, character by character, and nowhere else. What fails to
//! validate is not used (section 4): the user is asked then, and stays here afterwards. Where that can only be a mistake of
//! the client's developer, it is told instead.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::authorization::parameters::{LARGEST_REQUEST, Parameters};
use super::client::Client;
use super::ids::{ClientId, SessionId, Sub};
use super::time::Timestamp;

/// What has a meaning here. `logout_hint` has none but that it is no error: whoever is signed in is shown by name.
const KNOWN: [&str; 6] =
    ["id_token_hint", "logout_hint", "client_id", "post_logout_redirect_uri", "state", "ui_locales"];

/// A request to log out. The page that asks carries it as it stands here, authenticated, and any node reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogoutRequest {
    pub client_id: Option<ClientId>,
    /// Where the browser goes afterwards: one of the client's own. `None` ends here.
    pub redirect_uri: Option<String>,
    pub state: Option<String>,
    pub ui_locales: Option<String>,
}

/// What an `id_token_hint` says, as far as it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hinted<'a> {
    Absent,
    /// It is no ID token that was issued here, or one whose key somebody else may have.
    Bad,
    /// For these clients.
    Good(&'a [String]),
}

/// Why there is only an error page to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogoutFault {
    TooLarge,
    Repeated(&'static str),
    /// `client_id` names nobody.
    ClientUnknown,
    /// `client_id` is not whom the ID token was issued to.
    OtherClient,
    /// `post_logout_redirect_uri` is none of the client's.
    RedirectUnknown,
}

/// Who asks: by `client_id`, else by the hint.
///
/// # Errors
/// The request is malformed, or contradicts itself.
pub fn client_id(parameters: &Parameters, hinted: Hinted<'_>) -> Result<Option<ClientId>, LogoutFault> {
    let known = KNOWN.iter().flat_map(|name| parameters.all(name).map(move |value| name.len() + value.len()));
    if known.sum::<usize>() > LARGEST_REQUEST {
        return Err(LogoutFault::TooLarge);
    }
    if let Some(name) = KNOWN.into_iter().find(|name| parameters.repeats(name)) {
        return Err(LogoutFault::Repeated(name));
    }
    match (parameters.get("client_id"), hinted) {
        (Some(id), Hinted::Good(audience)) if !audience.iter().any(|aud| aud == id) => Err(LogoutFault::OtherClient),
        (Some(id), _) => Ok(Some(ClientId::new(id))),
        (None, Hinted::Good([one])) => Ok(Some(ClientId::new(one.as_str()))),
        (None, _) => Ok(None),
    }
}

/// What is asked for. `client` is the registration of [`client_id`]'s answer.
///
/// # Errors
/// The client is unknown, or the redirect URI is not its own.
pub fn judge(
    parameters: &Parameters,
    hinted: Hinted<'_>,
    client: Option<&Client>,
) -> Result<LogoutRequest, LogoutFault> {
    if client.is_none() && parameters.get("client_id").is_some() {
        return Err(LogoutFault::ClientUnknown);
    }
    // A client that was switched off is owed nothing, its users are.
    let client = client.filter(|client| !client.disabled);
    let asked = parameters.get("post_logout_redirect_uri");
    let redirect_uri = match (asked, client) {
        (Some(uri), Some(client)) if hinted != Hinted::Bad => {
            if !is_its_own(client, uri) {
                return Err(LogoutFault::RedirectUnknown);
            }
            Some(uri.to_owned())
        }
        // Nobody vouches for it.
        _ => None,
    };
    Ok(LogoutRequest {
        client_id: client.map(|client| client.client_id.clone()),
        state: parameters.get("state").filter(|_| redirect_uri.is_some()).map(str::to_owned),
        redirect_uri,
        ui_locales: parameters.get("ui_locales").map(str::to_owned),
    })
}

/// Whether a browser may be sent there for the client.
pub fn is_its_own(client: &Client, uri: &str) -> bool {
    client.post_logout_redirect_uris.iter().any(|registered| registered == uri)
}

/// A client that is to hear of the end of a session (Back-Channel Logout 1.0), taken for one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutDelivery {
    pub sid: SessionId,
    pub client_id: ClientId,
    pub sub: Sub,
    pub ended_at: Timestamp,
    /// From 1.
    pub attempt: u32,
}

/// Between the first attempt and the second; each later wait is three times as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);

const LONGEST_WAIT: Duration = Duration::from_secs(20 * 60);

/// How long after the end of its session a client is tried at all.
const KEEP_TRYING: Duration = Duration::from_secs(60 * 60);

impl LogoutDelivery {
    /// When to try again after this attempt has failed; `None` gives up.
    pub fn next_attempt(&self, now: Timestamp) -> Option<Timestamp> {
        let factor = 3_u32.saturating_pow(self.attempt.saturating_sub(1));
        let at = now.plus(FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT));
        (at <= self.ended_at.plus(KEEP_TRYING)).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "https://app.example/out";

    fn client() -> Client {
        let mut client = Client::blank(ClientId::new("web"), Timestamp::from_seconds(1));
        client.post_logout_redirect_uris = vec![OUT.into(), "https://app.example/out?a=1".into()];
        client
    }

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn judged(pairs: &[(&str, &str)], hinted: Hinted<'_>) -> Result<LogoutRequest, LogoutFault> {
        let (parameters, client) = (parameters(pairs), client());
        let named = client_id(&parameters, hinted)?;
        judge(&parameters, hinted, Some(&client).filter(|client| named.as_ref() == Some(&client.client_id)))
    }

    #[test]
    fn a_browser_goes_to_what_is_registered_and_nowhere_else() {
        let audience = ["web".to_owned()];
        let good = Hinted::Good(&audience);
        let to = |uri: &str, hinted| judged(&[("post_logout_redirect_uri", uri), ("state", "s")], hinted);
        let sent = to(OUT, good).unwrap();
        assert_eq!((sent.redirect_uri.as_deref(), sent.state.as_deref()), (Some(OUT), Some("s")));
        assert!(to("https://app.example/out?a=1", good).unwrap().redirect_uri.is_some());
        for trick in [
            "https://app.example/out/",
            "https://app.example/out?",
            "https://app.example/out?b=1",
            "https://app.example/out#x",
            "https://APP.example/out",
            "https://app.example./out",
            "https://app.example/%6fut",
            "https://app.example/a/../out",
            "https://app.example@evil.example/out",
            "https://app.example/out\u{0}",
            " https://app.example/out",
            "//app.example/out",
            "/out",
            "javascript:alert(1)",
        ] {
            assert_eq!(to(trick, good), Err(LogoutFault::RedirectUnknown), "{trick}");
        }
        for hinted in [Hinted::Absent, Hinted::Bad] {
            let kept = to(OUT, hinted).unwrap();
            assert_eq!((kept.redirect_uri, kept.state), (None, None), "{hinted:?}: nobody vouches for it");
        }
        let named = [("client_id", "web"), ("post_logout_redirect_uri", OUT)];
        assert!(judged(&named, Hinted::Absent).unwrap().redirect_uri.is_some());
        assert!(judged(&named, Hinted::Bad).unwrap().redirect_uri.is_none());
    }

    #[test]
    fn what_can_only_be_a_mistake_is_told() {
        let (ours, others) = (["web".to_owned()], ["other".to_owned()]);
        assert_eq!(judged(&[("client_id", "web")], Hinted::Good(&others)), Err(LogoutFault::OtherClient));
        assert_eq!(judged(&[("client_id", "gone")], Hinted::Absent), Err(LogoutFault::ClientUnknown));
        assert_eq!(judged(&[("state", "a"), ("state", "b")], Hinted::Good(&ours)), Err(LogoutFault::Repeated("state")));
        let long = "x".repeat(LARGEST_REQUEST);
        assert_eq!(judged(&[("state", &long)], Hinted::Absent), Err(LogoutFault::TooLarge));
        assert_eq!(judged(&[("other", &long)], Hinted::Absent), Ok(LogoutRequest::default()));
    }

    #[test]
    fn a_client_that_is_gone_or_off_gets_nobody_back() {
        let audience = ["web".to_owned()];
        let asked = parameters(&[("post_logout_redirect_uri", OUT)]);
        let off = Client { disabled: true, ..client() };
        for client in [None, Some(&off)] {
            let kept = judge(&asked, Hinted::Good(&audience), client).unwrap();
            assert_eq!(kept, LogoutRequest::default());
        }
    }

    #[test]
    fn a_client_that_does_not_listen_is_told_for_an_hour() {
        let ended_at = Timestamp::from_seconds(1_000);
        let (sub, client_id) = (Sub::new("usr_1"), ClientId::new("web"));
        let mut delivery = LogoutDelivery { sid: SessionId::from_bytes([1; 16]), client_id, sub, ended_at, attempt: 1 };
        let mut waits = vec![0];
        let mut now = ended_at;
        while let Some(at) = delivery.next_attempt(now) {
            waits.push(at.since(ended_at).as_secs());
            (now, delivery.attempt) = (at, delivery.attempt + 1);
        }
        assert_eq!(waits, [0, 5, 20, 65, 200, 605, 1805, 3005]);
        // However late the first attempt was: it was one.
        delivery.attempt = 1;
        assert_eq!(delivery.next_attempt(ended_at.plus(KEEP_TRYING)), None);
        delivery.attempt = u32::MAX;
        assert_eq!(delivery.next_attempt(ended_at), Some(ended_at.plus(LONGEST_WAIT)));
    }
}
