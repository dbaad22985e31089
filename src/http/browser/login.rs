//! `/login`: the page that takes a username and a password.

use poem::http::{Method, StatusCode};
use poem::{Request, Response};

use super::authorize::unanswerable;
use super::{Browser, CSRF, LOGIN, TICKET, fields};
use crate::app::App;
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::client::Client;
use crate::domain::error::{Code, OAuthError};
use crate::flows::authorize::{self, Turn};
use crate::flows::sign_in::{self, Typed, Visitor};
use crate::http::error::refusal;
use crate::http::pages::shown::Name;
use crate::http::pages::sign_in::{SignInNotice, SignInPage};
use crate::http::pages::{Form, FormTarget, Page as _};
use crate::tokens::ticket::Purpose;

/// In an address: whoever is signed in wants to be somebody else.
pub(super) const ANOTHER: &str = "another";

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    let mut fields = fields(&mut request).await?;
    let ticket = fields.require(TICKET).map_err(refusal)?;
    let asked = browser.carried(ticket.expose())?;
    if *request.method() == Method::POST {
        let csrf = fields.take_text(CSRF).unwrap_or_default();
        let username = fields.take_text("username").unwrap_or_default();
        let password = fields.take("password").unwrap_or_default();
        let typed = Typed { username, password };
        if browser.gave(&csrf, Purpose::SignIn, ticket.expose()) {
            return enter(browser, asked, typed).await;
        }
        // The browser has lost its cookies, or another site has sent the form: whoever it is may type again.
        return refused(browser, &asked, "", SignInNotice::Stale).await;
    }
    let wants_another = fields.take_text(ANOTHER).is_some();
    let visitor = if wants_another { &browser.visitor.nobody() } else { &browser.visitor };
    match authorize::go_on(&browser.app.context, visitor, asked).await.map_err(refusal)? {
        Turn::SignIn { request, client } => {
            let hint = request.login_hint.clone().unwrap_or_default();
            let again =
                !wants_another && sign_in::current(&browser.app.context, visitor).await.map_err(refusal)?.is_some();
            show(browser, &request, &client, &hint, again.then_some(SignInNotice::Again))
        }
        turn => browser.turn(turn),
    }
}

async fn enter(browser: &Browser<'_>, request: Box<AuthorizationRequest>, typed: Typed) -> poem::Result<Response> {
    let App { context, credentials, .. } = browser.app;
    let client_id = request.client_id.clone();
    let entered = match sign_in::enter(context, credentials, &browser.visitor, &typed, Some(&client_id)).await {
        Ok(entered) => entered,
        Err(error) => {
            return refused(browser, &request, &typed.username, notice(error)?).await;
        }
    };
    let visitor = Visitor { secret: Some(entered.secret.clone()), ..browser.visitor.clone() };
    let turn = authorize::go_on(context, &visitor, request).await.map_err(refusal)?;
    Ok(browser.entered(browser.turn(turn)?, &entered))
}

async fn refused(
    browser: &Browser<'_>,
    request: &AuthorizationRequest,
    username: &str,
    notice: SignInNotice,
) -> poem::Result<Response> {
    match authorize::addressee(&browser.app.context, request).await.map_err(refusal)? {
        Ok(client) => show(browser, request, &client, username, Some(notice)),
        Err(fault) => Err(unanswerable(fault)),
    }
}

/// What a person can do something about is said on the page.
fn notice(error: OAuthError) -> poem::Result<SignInNotice> {
    let seconds = error.retry_after.map_or(1, |span| span.as_secs().max(1));
    match error.code {
        Code::InvalidGrant => Ok(SignInNotice::Refused),
        Code::TooManyRequests => Ok(SignInNotice::Throttled(seconds)),
        Code::TemporarilyUnavailable => Ok(SignInNotice::Busy),
        _ => Err(refusal(error)),
    }
}

fn show(
    browser: &Browser<'_>,
    request: &AuthorizationRequest,
    client: &Client,
    username: &str,
    notice: Option<SignInNotice>,
) -> poem::Result<Response> {
    let ticket = browser.ticket(request)?;
    let targets: Vec<FormTarget> = FormTarget::of(&request.redirect_uri).into_iter().collect();
    browser.form(status_of(notice), (Purpose::SignIn, &ticket), |csrf| {
        let hidden = [(TICKET, ticket.as_str()), (CSRF, csrf)];
        let page = SignInPage {
            shell: browser.shell(request.ui_locales.as_deref()),
            form: Form { path: LOGIN, hidden: &hidden },
            client: Some(Name(client.shown_name())),
            username,
            notice,
            form_targets: &targets,
        };
        page.rendered().map_err(refusal)
    })
}

const fn status_of(notice: Option<SignInNotice>) -> StatusCode {
    match notice {
        None | Some(SignInNotice::Again) => StatusCode::OK,
        Some(SignInNotice::Refused | SignInNotice::Stale) => StatusCode::BAD_REQUEST,
        Some(SignInNotice::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
        Some(SignInNotice::Busy) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
