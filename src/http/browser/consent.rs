//! `/consent`: the page that asks whether an application may use the account.

use poem::http::{Method, StatusCode};
use poem::{Request, Response};

use super::authorize::{form_targets, host_of};
use super::login::ANOTHER;
use super::{Browser, CONSENT, CSRF, LOGIN, TICKET, fields, stale, with_query};
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::client::Client;
use crate::domain::ids::SignInId;
use crate::domain::scope::Scope;
use crate::domain::user::User;
use crate::flows::authorize::{self, Turn};
use crate::flows::sign_in;
use crate::http::error::refusal;
use crate::http::pages::consent::{ALLOW, ConsentPage, DECISION};
use crate::http::pages::shown::Name;
use crate::http::pages::{Form, Page as _};
use crate::tokens::ticket::Purpose;

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    let mut fields = fields(&mut request).await?;
    let ticket = fields.require(TICKET).map_err(refusal)?;
    let asked = browser.carried(ticket.expose())?;
    let ctx = &browser.app.context;
    // A page that was made for one user is answered by nobody else.
    let sign_in = sign_in::current(ctx, &browser.visitor).await.map_err(refusal)?.map(|sign_in| sign_in.id);
    if *request.method() == Method::POST {
        let csrf = fields.take_text(CSRF).unwrap_or_default();
        let of_user = sign_in.is_some_and(|id| browser.gave(&csrf, Purpose::Consent, &context(id, ticket.expose())));
        if !of_user {
            return Err(stale());
        }
        let turn = if fields.take_text(DECISION).as_deref() == Some(ALLOW) {
            authorize::allow(ctx, &browser.visitor, asked).await
        } else {
            authorize::deny(ctx, &asked).await
        };
        return browser.turn(turn.map_err(refusal)?);
    }
    match (authorize::go_on(ctx, &browser.visitor, asked).await.map_err(refusal)?, sign_in) {
        (Turn::Consent { request, client, user }, Some(id)) => show(browser, &request, &client, &user, id),
        (turn, _) => browser.turn(turn),
    }
}

/// What a form's token is tied to: who was asked, and what.
fn context(sign_in: SignInId, ticket: &str) -> String {
    format!("{sign_in} {ticket}")
}

fn show(
    browser: &Browser<'_>,
    request: &AuthorizationRequest,
    client: &Client,
    user: &User,
    sign_in: SignInId,
) -> poem::Result<Response> {
    let ticket = browser.ticket(request)?;
    let targets = form_targets(&request.redirect_uri, Some(client));
    let another = with_query(LOGIN, &[(TICKET, &ticket), (ANOTHER, "1")]);
    let asked = request.asked(client);
    browser.form(StatusCode::OK, (Purpose::Consent, &context(sign_in, &ticket)), |csrf| {
        let hidden = [(TICKET, ticket.as_str()), (CSRF, csrf)];
        let page = ConsentPage {
            shell: browser.shell(request.ui_locales.as_deref()),
            form: Form { path: CONSENT, hidden: &hidden },
            client: Name(client.shown_name()),
            client_uri: client.client_uri.as_deref(),
            policy_uri: client.policy_uri.as_deref(),
            tos_uri: client.tos_uri.as_deref(),
            scopes: Scope::iter(&asked).collect(),
            username: Name(&user.username),
            another_account: &another,
            destination: Name(host_of(&request.redirect_uri)),
            form_targets: &targets,
        };
        page.rendered().map_err(refusal)
    })
}
