//! `/oauth2/authorize`, and the answers to clients (RFC 6749 section 4.1.2, OAuth 2.0 Form Post Response Mode).

use poem::http::{Method, StatusCode};
use poem::{Request, Response};

use super::{AUTHORIZE, Browser, see_other, with_query};
use crate::domain::authorization::checks::Unanswerable;
use crate::domain::authorization::parameters::{LARGEST_REQUEST, Parameters};
use crate::domain::client::{Client, ResponseMode};
use crate::domain::error::{Code, OAuthError};
use crate::flows::authorize::{self, Reply};
use crate::http::error::{page_refusal, refusal};
use crate::http::form::pairs;
use crate::http::pages::error::ErrorKind;
use crate::http::pages::form_post::FormPostPage;
use crate::http::pages::shown::Name;
use crate::http::pages::{FormTarget, Page as _};

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    if *request.method() == Method::POST {
        let body = request.take_body().into_bytes().await?;
        return again(browser, &pairs(&body).map_err(refusal)?);
    }
    let query = request.uri().query().unwrap_or_default();
    let parameters = Parameters::new(pairs(query.as_bytes()).map_err(refusal)?);
    let turn = authorize::begin(&browser.app.context, &browser.visitor, &parameters).await.map_err(refusal)?;
    browser.turn(turn)
}

/// A request that came by POST, perhaps from another site, comes again by GET: only then does the browser send the cookie of
/// its sign-in along.
fn again(browser: &Browser<'_>, pairs: &[(String, String)]) -> poem::Result<Response> {
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > LARGEST_REQUEST {
        return Err(unanswerable(Unanswerable::TooLarge));
    }
    let parameters: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ok(browser.to(AUTHORIZE, &parameters))
}

/// Hands an answer to its client.
pub(super) fn answered(browser: &Browser<'_>, reply: Reply) -> poem::Result<Response> {
    let Reply { client, destination, parameters } = reply;
    let parameters: Vec<(&str, &str)> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    match destination.response_mode {
        ResponseMode::Query => Ok(see_other(&with_query(&destination.redirect_uri, &parameters))),
        ResponseMode::FormPost => {
            let targets = form_targets(&destination.redirect_uri, Some(&client));
            let page = FormPostPage {
                shell: browser.shell(None),
                redirect_uri: &destination.redirect_uri,
                fields: &parameters,
                client: Name(host_of(&destination.redirect_uri)),
                form_targets: &targets,
            };
            Ok(page.rendered().map_err(refusal)?.respond(StatusCode::OK))
        }
    }
}

/// Where a form may lead whose answer sends the browser to this URI of the client. Many clients send it on from there, to
/// another origin of theirs: to one that they have registered for something else, most likely.
pub(super) fn form_targets(uri: &str, client: Option<&Client>) -> Vec<FormTarget> {
    let registered = client.into_iter().flat_map(|client| {
        client.redirect_uris.iter().chain(&client.post_logout_redirect_uris).chain(&client.client_uri)
    });
    FormTarget::along(uri, registered.map(String::as_str))
}

/// Whom a redirect URI leads to, in few words: its host, or the scheme of an application on the device.
pub(super) fn host_of(uri: &str) -> &str {
    let (scheme, rest) = uri.split_once(':').unwrap_or((uri, ""));
    let authority = rest.strip_prefix("//").and_then(|rest| rest.split(['/', '?', '#']).next());
    authority.filter(|authority| !authority.is_empty() && matches!(scheme, "http" | "https")).unwrap_or(scheme)
}

/// What is told to the person at the browser where no client can be.
pub(super) fn unanswerable(fault: Unanswerable) -> poem::Error {
    let (kind, text) = match fault {
        Unanswerable::TooLarge => {
            (ErrorKind::Malformed, format!("the authorization request has more than {LARGEST_REQUEST} bytes"))
        }
        Unanswerable::Repeated(name) => (ErrorKind::Malformed, format!("the parameter {name} comes more than once")),
        Unanswerable::ClientMissing => (ErrorKind::Malformed, "client_id is missing".into()),
        Unanswerable::ClientUnknown => {
            (ErrorKind::UntrustedClient, "client_id names no client that is registered here".into())
        }
        Unanswerable::ClientDisabled => (ErrorKind::UntrustedClient, "the client is disabled".into()),
        Unanswerable::NoCodeFlow => (
            ErrorKind::UntrustedClient,
            "the client is not registered for authorization_code; an operator adds it to its grant_types".into(),
        ),
        Unanswerable::RedirectMissing => (ErrorKind::UntrustedClient, "redirect_uri is missing".into()),
        Unanswerable::RedirectUnknown => (
            ErrorKind::UntrustedClient,
            "redirect_uri is none of the client's redirect_uris; it must be registered character by character".into(),
        ),
    };
    page_refusal(kind, OAuthError::new(Code::InvalidRequest, text))
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn people_are_told_where_they_are_sent() {
        for (uri, shown) in [
            ("https://app.example:8443/cb?x", "app.example:8443"),
            ("http://127.0.0.1:4711/cb", "127.0.0.1:4711"),
            ("com.example.app:/cb", "com.example.app"),
            ("com.example.app://cb", "com.example.app"),
        ] {
            assert_eq!(host_of(uri), shown);
        }
    }
}
