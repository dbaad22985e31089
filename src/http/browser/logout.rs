//! `/oauth2/logout` (OpenID Connect RP-Initiated Logout 1.0 section 2), the question that it may ask, and `/logged-out`.

use poem::http::{Method, StatusCode};
use poem::{Request, Response};

use super::authorize::form_targets;
use super::{ACCOUNT, Browser, CSRF, LOGGED_OUT, LOGOUT, TICKET, fields, see_other, stale, with_query};
use crate::domain::authorization::parameters::{LARGEST_REQUEST, Parameters};
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::SignInId;
use crate::domain::logout::{LogoutFault, LogoutRequest};
use crate::flows::logout::{self, LONGEST, Question, Turn};
use crate::flows::sign_in;
use crate::http::error::{page_refusal, refusal};
use crate::http::form::pairs;
use crate::http::pages::error::ErrorKind;
use crate::http::pages::logout::{ConfirmLogoutPage, DECISION, LOG_OUT, SignedOutPage};
use crate::http::pages::shown::Name;
use crate::http::pages::{Form, Page as _};
use crate::tokens::ticket::Purpose;

const UI_LOCALES: &str = "ui_locales";

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    if *request.method() == Method::POST {
        let body = request.take_body().into_bytes().await?;
        let given = Parameters::new(pairs(&body).map_err(refusal)?);
        return match given.get(TICKET) {
            Some(ticket) => decided(browser, ticket, &given).await,
            None => again(browser, &body),
        };
    }
    let query = request.uri().query().unwrap_or_default();
    let parameters = Parameters::new(pairs(query.as_bytes()).map_err(refusal)?);
    let turn = logout::begin(&browser.app.context, &browser.visitor, &parameters).await.map_err(refusal)?;
    shown(browser, turn)
}

/// Nobody is signed in, as far as the page knows: it says what was done and asks nothing.
pub(super) async fn signed_out(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    let ui_locales = fields(&mut request).await?.take_text(UI_LOCALES);
    let page = SignedOutPage { shell: browser.shell(ui_locales.as_deref()) };
    Ok(page.rendered().map_err(refusal)?.respond(StatusCode::OK))
}

/// A request that came by POST comes again by GET: only then does the browser send the cookie of its sign-in along.
fn again(browser: &Browser<'_>, body: &[u8]) -> poem::Result<Response> {
    if body.len() > LARGEST_REQUEST {
        return Err(unanswerable(LogoutFault::TooLarge));
    }
    let pairs = pairs(body).map_err(refusal)?;
    let parameters: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ok(browser.to(LOGOUT, &parameters))
}

/// The user has pressed one of the two buttons.
async fn decided(browser: &Browser<'_>, ticket: &str, given: &Parameters) -> poem::Result<Response> {
    let request: LogoutRequest = browser.carried_for(Purpose::Logout, ticket)?;
    let ctx = &browser.app.context;
    if given.get(DECISION) != Some(LOG_OUT) {
        return Ok(browser.to(ACCOUNT, &[]));
    }
    if let Some(sign_in) = sign_in::current(ctx, &browser.visitor).await.map_err(refusal)? {
        let csrf = given.get(CSRF).unwrap_or_default();
        if !browser.gave(csrf, Purpose::Logout, &context(sign_in.id, ticket)) {
            return Err(stale());
        }
    }
    shown(browser, logout::confirm(ctx, &browser.visitor, request).await.map_err(refusal)?)
}

fn shown(browser: &Browser<'_>, turn: Turn) -> poem::Result<Response> {
    match turn {
        Turn::Unanswerable(fault) => Err(unanswerable(fault)),
        Turn::Ask(question) => ask(browser, &question),
        Turn::SignedOut(request) => Ok(browser.left(onward(browser, &request))),
    }
}

/// To the client that is to have its user back, or to what is left here.
fn onward(browser: &Browser<'_>, request: &LogoutRequest) -> Response {
    let state = request.state.as_deref().map(|state| ("state", state));
    let ui_locales = request.ui_locales.as_deref().map(|ui_locales| (UI_LOCALES, ui_locales));
    match &request.redirect_uri {
        Some(uri) => see_other(&with_query(uri, state.as_slice())),
        None => browser.to(LOGGED_OUT, ui_locales.as_slice()),
    }
}

/// What a form's token is tied to: who was asked, and what.
fn context(sign_in: SignInId, ticket: &str) -> String {
    format!("{sign_in} {ticket}")
}

fn ask(browser: &Browser<'_>, question: &Question) -> poem::Result<Response> {
    let Question { request, client, user, sign_in } = question;
    let ticket = browser.ticket_for(Purpose::Logout, request, browser.app.context.now().plus(LONGEST))?;
    let targets = request.redirect_uri.as_deref().map(|uri| form_targets(uri, client.as_deref())).unwrap_or_default();
    browser.form(StatusCode::OK, (Purpose::Logout, &context(sign_in.id, &ticket)), |csrf| {
        let hidden = [(TICKET, ticket.as_str()), (CSRF, csrf)];
        let page = ConfirmLogoutPage {
            shell: browser.shell(request.ui_locales.as_deref()),
            form: Form { path: LOGOUT, hidden: &hidden },
            client: client.as_ref().map(|client| Name(client.shown_name())),
            username: Name(&user.username),
            form_targets: &targets,
        };
        page.rendered().map_err(refusal)
    })
}

fn unanswerable(fault: LogoutFault) -> poem::Error {
    let (kind, text) = match fault {
        LogoutFault::TooLarge => {
            (ErrorKind::Malformed, format!("the logout request has more than {LARGEST_REQUEST} bytes"))
        }
        LogoutFault::Repeated(name) => (ErrorKind::Malformed, format!("the parameter {name} comes more than once")),
        LogoutFault::ClientUnknown => {
            (ErrorKind::UntrustedClient, "client_id names no client that is registered here".into())
        }
        LogoutFault::OtherClient => {
            (ErrorKind::UntrustedClient, "id_token_hint was issued to another client than client_id".into())
        }
        LogoutFault::RedirectUnknown => (
            ErrorKind::UntrustedClient,
            "post_logout_redirect_uri is none of the client's post_logout_redirect_uris; it must be registered \
             character by character"
                .into(),
        ),
    };
    page_refusal(kind, OAuthError::new(Code::InvalidRequest, text))
}
