//! `/account`: what users see and end of their own.

use poem::http::{Method, StatusCode, header};
use poem::{Request, Response};

use super::{ACCOUNT, Browser, CSRF, LOGGED_OUT, LOGIN, fields};
use crate::domain::client::Client;
use crate::domain::consent::Consent;
use crate::domain::error::{Code, OAuthError};
use crate::domain::ids::{ClientId, SignInId};
use crate::domain::scope::Scope;
use crate::domain::sign_in::SignIn;
use crate::flows::account::{self, Overview, PasswordChange};
use crate::flows::sign_in::{self, Entered};
use crate::http::error::refusal;
use crate::http::form::Fields;
use crate::http::pages::account::{
    ACTION, AccountNotice, AccountPage, CHANGE_PASSWORD, CLIENT, CURRENT_PASSWORD, Device, END_DEVICE, Granted,
    LOG_OUT, LOG_OUT_ALL, NEW_PASSWORD, REVOKE, SIGN_IN,
};
use crate::http::pages::shown::Name;
use crate::http::pages::{Form, Page as _};
use crate::tokens::ticket::Purpose;

/// What came of a form.
enum Done {
    /// The user is still signed in, perhaps by another secret.
    Stays(Option<AccountNotice>, Option<Box<Entered>>),
    Left,
}

pub(super) async fn serve(browser: &Browser<'_>, mut request: Request) -> poem::Result<Response> {
    let signed_in = sign_in::current(&browser.app.context, &browser.visitor).await.map_err(refusal)?;
    let Some(sign_in) = signed_in else { return Ok(browser.to(LOGIN, &[])) };
    if *request.method() != Method::POST {
        return show(browser, &sign_in, None).await;
    }
    let mut fields = fields(&mut request).await?;
    let csrf = fields.take_text(CSRF).unwrap_or_default();
    if !browser.gave(&csrf, Purpose::Account, &sign_in.id.to_string()) {
        return show(browser, &sign_in, Some(AccountNotice::Stale)).await;
    }
    match carry_out(browser, &sign_in, fields).await? {
        Done::Left => Ok(browser.left(browser.to(LOGGED_OUT, &[]))),
        Done::Stays(notice, None) => show(browser, &sign_in, notice).await,
        Done::Stays(notice, Some(entered)) => {
            let page = show(browser, &entered.sign_in, notice).await?;
            Ok(browser.entered(page, &entered))
        }
    }
}

async fn carry_out(browser: &Browser<'_>, sign_in: &SignIn, mut fields: Fields) -> poem::Result<Done> {
    let (ctx, visitor) = (&browser.app.context, &browser.visitor);
    let stays = |notice| Done::Stays(Some(notice), None);
    let done = match fields.take_text(ACTION).as_deref() {
        Some(END_DEVICE) => match fields.take_text(SIGN_IN).unwrap_or_default().parse::<SignInId>() {
            Ok(id) if id == sign_in.id => account::end_device(ctx, visitor, sign_in, id).await.map(|()| Done::Left),
            Ok(id) => account::end_device(ctx, visitor, sign_in, id).await.map(|()| stays(AccountNotice::DeviceEnded)),
            Err(_) => Ok(Done::Stays(None, None)),
        },
        Some(REVOKE) => {
            let client_id = ClientId::new(fields.take_text(CLIENT).unwrap_or_default());
            let revoked = account::revoke(ctx, visitor, sign_in, &client_id).await;
            revoked.map(|()| stays(AccountNotice::AccessRemoved))
        }
        Some(CHANGE_PASSWORD) => return change_password(browser, sign_in, fields).await,
        Some(LOG_OUT) => account::end_device(ctx, visitor, sign_in, sign_in.id).await.map(|()| Done::Left),
        Some(LOG_OUT_ALL) => account::log_out_everywhere(ctx, visitor, sign_in).await.map(|()| Done::Left),
        _ => Ok(Done::Stays(None, None)),
    };
    done.map_err(refusal)
}

async fn change_password(browser: &Browser<'_>, sign_in: &SignIn, mut fields: Fields) -> poem::Result<Done> {
    let (ctx, credentials) = (&browser.app.context, &browser.app.credentials);
    let current = fields.take(CURRENT_PASSWORD).unwrap_or_default();
    let new = fields.take(NEW_PASSWORD).unwrap_or_default();
    let changed = account::change_password(ctx, credentials, &browser.visitor, sign_in, (&current, &new)).await;
    match changed {
        Ok(PasswordChange::Changed(entered)) => Ok(Done::Stays(Some(AccountNotice::PasswordChanged), entered)),
        Ok(PasswordChange::Unusable) => Ok(Done::Stays(Some(AccountNotice::PasswordUnusable), None)),
        Err(error) => notice(error).map(|notice| Done::Stays(Some(notice), None)),
    }
}

/// What a person can do something about is said on the page.
fn notice(error: OAuthError) -> poem::Result<AccountNotice> {
    match error.code {
        Code::InvalidGrant => Ok(AccountNotice::PasswordWrong),
        Code::TooManyRequests => Ok(AccountNotice::Throttled(error.seconds_to_wait().unwrap_or(1))),
        Code::TemporarilyUnavailable => Ok(AccountNotice::Busy),
        _ => Err(refusal(error)),
    }
}

async fn show(browser: &Browser<'_>, sign_in: &SignIn, notice: Option<AccountNotice>) -> poem::Result<Response> {
    let ctx = &browser.app.context;
    let Some(overview) = account::overview(ctx, sign_in).await.map_err(refusal)? else {
        return Ok(browser.left(browser.to(LOGGED_OUT, &[])));
    };
    let Overview { user, devices, granted } = &overview;
    let ids: Vec<String> = devices.iter().map(|device| device.id.to_string()).collect();
    let mut response = browser.form(status_of(notice), (Purpose::Account, &sign_in.id.to_string()), |csrf| {
        let page = AccountPage {
            shell: browser.shell(None),
            form: Form { path: ACCOUNT, hidden: &[(CSRF, csrf)] },
            username: &user.username,
            devices: devices.iter().zip(&ids).map(|(it, id)| device(it, id, it.id == sign_in.id)).collect(),
            applications: granted.iter().map(|(consent, client)| application(consent, client)).collect(),
            notice,
            now: ctx.now(),
        };
        page.rendered().map_err(refusal)
    })?;
    if let Some(AccountNotice::Throttled(seconds)) = notice {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    Ok(response)
}

fn application<'a>(consent: &'a Consent, client: &'a Client) -> Granted<'a> {
    Granted {
        client_id: client.client_id.as_str(),
        client: Name(client.shown_name()),
        scopes: Scope::iter(&consent.scope).collect(),
        granted_at: consent.granted_at,
    }
}

fn device<'a>(sign_in: &'a SignIn, id: &'a str, is_this: bool) -> Device<'a> {
    Device {
        id,
        user_agent: &sign_in.browser.user_agent,
        address: Name(&sign_in.browser.address),
        started_at: sign_in.started_at,
        last_used_at: sign_in.last_used_at,
        is_this,
    }
}

const fn status_of(notice: Option<AccountNotice>) -> StatusCode {
    use AccountNotice as Notice;
    match notice {
        None | Some(Notice::PasswordChanged | Notice::DeviceEnded | Notice::AccessRemoved) => StatusCode::OK,
        Some(Notice::PasswordWrong | Notice::PasswordUnusable | Notice::Stale) => StatusCode::BAD_REQUEST,
        Some(Notice::Throttled(_)) => StatusCode::TOO_MANY_REQUESTS,
        Some(Notice::Busy) => StatusCode::SERVICE_UNAVAILABLE,
    }
}
