//! `/login`: the page that takes a username and a password, for a client's request or for the user's own account.

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};

use super::authorize::{form_targets, unanswerable};
use super::{ACCOUNT, Browser, CSRF, LOGIN, TICKET, fields};
use crate::app::App;
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};
use crate::flows::authorize::{self, Turn};
use crate::flows::sign_in::{self, Typed, Visitor};
use crate::http::error::refusal;
use crate::http::form::Fields;
use crate::http::pages::shown::Name;
use crate::http::pages::sign_in::{SignInNotice, SignInPage};
use crate::http::pages::{Form, Page as _};
use crate::tokens::ticket::Purpose;

/// In an address: whoever is signed in wants to be somebody else.
pub(super) const ANOTHER: &str = "another";

/// What somebody signs in for.
enum Goal {
    Request(Box<AuthorizationRequest>),
    /// No client has sent them.
    Account,
}

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    let mut fields = fields(&mut request).await?;
    let ticket = fields.take_text(TICKET);
    let goal = match &ticket {
        Some(ticket) => Goal::Request(browser.carried(ticket)?),
        None => Goal::Account,
    };
    if *request.method() == Method::POST {
        return typed(browser, goal, ticket.as_deref(), fields).await;
    }
    let wants_another = fields.take_text(ANOTHER).is_some();
    let visitor = if wants_another { &browser.visitor.nobody() } else { &browser.visitor };
    let is_signed_in = sign_in::current(&browser.app.context, visitor).await.map_err(refusal)?.is_some();
    match goal {
        Goal::Account if is_signed_in => Ok(browser.to(ACCOUNT, &[])),
        Goal::Account => show(browser, &Goal::Account, None, "", None),
        Goal::Request(asked) => match authorize::go_on(&browser.app.context, visitor, asked).await.map_err(refusal)? {
            Turn::SignIn { request, client } => {
                let hint = request.login_hint.clone().unwrap_or_default();
                let again = is_signed_in.then_some(SignInNotice::Again);
                show(browser, &Goal::Request(request), Some(&client), &hint, again)
            }
            turn => browser.turn(turn),
        },
    }
}

async fn typed(browser: &Browser<'_>, goal: Goal, ticket: Option<&str>, mut fields: Fields) -> poem::Result<Response> {
    let csrf = fields.take_text(CSRF).unwrap_or_default();
    let username = fields.take_text("username").unwrap_or_default();
    let password = fields.take("password").unwrap_or_default();
    if browser.gave(&csrf, Purpose::SignIn, ticket.unwrap_or_default()) {
        return enter(browser, goal, Typed { username, password }).await;
    }
    // The browser has lost its cookies, or another site has sent the form: whoever it is may type again.
    refused(browser, &goal, "", SignInNotice::Stale).await
}

async fn enter(browser: &Browser<'_>, goal: Goal, typed: Typed) -> poem::Result<Response> {
    let App { context, credentials, .. } = browser.app;
    let client_id = match &goal {
        Goal::Account => None,
        // Where nobody could be answered any more, no password is looked at, and whoever is signed in stays it.
        Goal::Request(request) => match authorize::addressee(context, request).await.map_err(refusal)? {
            Ok(client) => Some(client.client_id.clone()),
            Err(fault) => return Err(unanswerable(fault)),
        },
    };
    let entered = match sign_in::enter(context, credentials, &browser.visitor, &typed, client_id.as_ref()).await {
        Ok(entered) => entered,
        Err(error) => {
            return refused(browser, &goal, &typed.username, notice(error)?).await;
        }
    };
    let next = match goal {
        Goal::Account => browser.to(ACCOUNT, &[]),
        Goal::Request(request) => {
            let visitor = Visitor { secret: Some(entered.secret.clone()), ..browser.visitor.clone() };
            browser.turn(authorize::go_on(context, &visitor, request).await.map_err(refusal)?)?
        }
    };
    Ok(browser.entered(next, &entered))
}

async fn refused(browser: &Browser<'_>, goal: &Goal, username: &str, notice: SignInNotice) -> poem::Result<Response> {
    let Goal::Request(request) = goal else { return show(browser, goal, None, username, Some(notice)) };
    match authorize::addressee(&browser.app.context, request).await.map_err(refusal)? {
        Ok(client) => show(browser, goal, Some(&client), username, Some(notice)),
        Err(fault) => Err(unanswerable(fault)),
    }
}

/// What a person can do something about is said on the page.
fn notice(error: OAuthError) -> poem::Result<SignInNotice> {
    match error.code {
        Code::InvalidGrant => Ok(SignInNotice::Refused),
        Code::TooManyRequests => Ok(SignInNotice::Throttled(error.seconds_to_wait().unwrap_or(1))),
        Code::TemporarilyUnavailable => Ok(SignInNotice::Busy),
        _ => Err(refusal(error)),
    }
}

fn show(
    browser: &Browser<'_>,
    goal: &Goal,
    client: Option<&Client>,
    username: &str,
    notice: Option<SignInNotice>,
) -> poem::Result<Response> {
    let (ticket, ui_locales, targets) = match goal {
        Goal::Account => (None, None, Vec::new()),
        Goal::Request(request) => {
            let targets = form_targets(&request.redirect_uri, client);
            (Some(browser.ticket(request)?), request.ui_locales.as_deref(), targets)
        }
    };
    let ticket = ticket.as_deref();
    let mut response = browser.form(status_of(notice), (Purpose::SignIn, ticket.unwrap_or_default()), |csrf| {
        let carried = ticket.map(|ticket| (TICKET, ticket));
        let hidden: Vec<(&str, &str)> = carried.into_iter().chain([(CSRF, csrf)]).collect();
        let page = SignInPage {
            shell: browser.shell(ui_locales),
            form: Form { path: LOGIN, hidden: &hidden },
            client: client.map(|client| Name(client.shown_name())),
            username,
            notice,
            form_targets: &targets,
        };
        page.rendered().map_err(refusal)
    })?;
    if let Some(SignInNotice::Throttled(seconds)) = notice {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

const fn status_of(notice: Option<SignInNotice>) -> StatusCode {
    match notice {
        None | Some(SignInNotice::Again) => StatusCode::OK,
        Some(SignInNotice::Refused | SignInNotice::Stale) => StatusCode::BAD_REQUEST,
        Some(SignInNotice::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
        Some(SignInNotice::Busy) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
