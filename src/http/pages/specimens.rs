//! One of every page, for tests and for eyes: filled with what people really see, or with what an attacker sends.

use std::time::Duration;

use super::account::{AccountNotice, AccountPage, Device, Granted};
use super::consent::ConsentPage;
use super::error::{ErrorKind, ErrorPage};
use super::form_post::FormPostPage;
use super::logout::{ConfirmLogoutPage, SignedOutPage};
use super::shown::{Detail, Name};
use super::sign_in::{SignInNotice, SignInPage};
use super::{Form, FormTarget, Page as _, Rendered, Shell};
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

/// Whatever others choose.
pub(super) struct Given<'a> {
    pub client: &'a str,
    pub username: &'a str,
    pub scope: &'a str,
    pub uri: &'a str,
    pub host: &'a str,
    pub user_agent: &'a str,
    pub address: &'a str,
    pub detail: &'a str,
    pub value: &'a str,
}

impl<'a> Given<'a> {
    /// As it is on a good day.
    pub(super) const GOOD: Given<'static> = Given {
        client: "Fieldnotes",
        username: "alice",
        scope: "notes:write",
        uri: "https://fieldnotes.example/about",
        host: "fieldnotes.example",
        user_agent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
        address: "203.0.113.9",
        detail: "redirect_uri is none of those that the client registered",
        value: "AQAAAaMYbQgAeyJjbGllbnRfaWQiOiJhIn0",
    };

    /// The same text everywhere.
    pub(super) const fn all(text: &'a str) -> Self {
        Self {
            client: text,
            username: text,
            scope: text,
            uri: text,
            host: text,
            user_agent: text,
            address: text,
            detail: text,
            value: text,
        }
    }
}

/// Every page in every state that looks different.
pub(super) fn all(shell: Shell<'_>, given: &Given<'_>) -> Vec<(String, Rendered)> {
    let hidden = [("ticket", given.value), ("csrf", given.value)];
    let form = Form { path: "/login", hidden: &hidden };
    let targets: Vec<FormTarget> = FormTarget::of(given.uri).into_iter().collect();
    let mut made = sign_ins(shell, given, form, &targets);
    made.push(("consent".to_owned(), consent(shell, given, form, &targets)));
    made.extend(accounts(shell, given, form));
    made.extend(logouts(shell, given, form, &targets));
    made.extend(errors(shell, given));
    let fields = [("code", given.value), ("state", given.value), ("iss", given.value)];
    let (redirect_uri, client) = (given.uri, Name(given.client));
    let page = FormPostPage { shell, redirect_uri, fields: &fields, client, form_targets: &targets };
    made.push(("form-post".to_owned(), page.rendered().unwrap()));
    made
}

fn sign_ins(shell: Shell<'_>, given: &Given<'_>, form: Form<'_>, targets: &[FormTarget]) -> Vec<(String, Rendered)> {
    let states = [
        ("sign-in", None, ""),
        ("sign-in-refused", Some(SignInNotice::Refused), given.username),
        ("sign-in-throttled", Some(SignInNotice::Throttled(28)), given.username),
        ("sign-in-busy", Some(SignInNotice::Busy), ""),
        ("sign-in-stale", Some(SignInNotice::Stale), ""),
        ("sign-in-again", Some(SignInNotice::Again), given.username),
    ];
    let page = |(name, notice, username): (&str, _, _)| {
        let client = Some(Name(given.client));
        let page = SignInPage { shell, form, client, username, notice, form_targets: targets };
        (name.to_owned(), page.rendered().unwrap())
    };
    states.into_iter().map(page).collect()
}

fn consent(shell: Shell<'_>, given: &Given<'_>, form: Form<'_>, targets: &[FormTarget]) -> Rendered {
    let page = ConsentPage {
        shell,
        form: Form { path: "/consent", ..form },
        client: Name(given.client),
        client_uri: Some(given.uri),
        policy_uri: Some(given.uri),
        tos_uri: Some(given.uri),
        scopes: vec!["openid", "profile", "email", "address", "phone", "offline_access", given.scope],
        username: Name(given.username),
        another_account: "/login?ticket=AQ&another=1",
        destination: Name(given.host),
        form_targets: targets,
    };
    page.rendered().unwrap()
}

fn accounts(shell: Shell<'_>, given: &Given<'_>, form: Form<'_>) -> Vec<(String, Rendered)> {
    let ago = |seconds| NOW.minus(Duration::from_secs(seconds));
    let device = |user_agent, seconds, is_this| Device {
        id: given.value,
        user_agent,
        address: Name(given.address),
        started_at: ago(seconds * 9),
        last_used_at: ago(seconds),
        is_this,
    };
    let desktop = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36";
    let granted = |client, scopes, days: u64| Granted {
        client_id: given.value,
        client: Name(client),
        scopes,
        granted_at: ago(days * 86_400),
    };
    let applications = [
        granted(given.client, vec!["openid", "profile", given.scope], 12),
        granted("Ledger", vec!["openid", "email", "offline_access"], 200),
    ];
    let page = |applications: &[Granted<'_>], notice| {
        let page = AccountPage {
            shell,
            form: Form { path: "/account", ..form },
            username: given.username,
            devices: vec![device(desktop, 40, true), device(given.user_agent, 7200, false)],
            applications: applications.to_vec(),
            notice,
            now: NOW,
        };
        page.rendered().unwrap()
    };
    let mut made = vec![
        ("account".to_owned(), page(&applications, None)),
        ("account-empty".to_owned(), page(&[], Some(AccountNotice::AccessRemoved))),
    ];
    let notices = [
        AccountNotice::PasswordChanged,
        AccountNotice::PasswordWrong,
        AccountNotice::PasswordUnusable,
        AccountNotice::DeviceEnded,
        AccountNotice::Throttled(120),
        AccountNotice::Busy,
        AccountNotice::Stale,
    ];
    made.extend(notices.map(|notice| (format!("account-{notice:?}"), page(&applications, Some(notice)))));
    made
}

fn logouts(shell: Shell<'_>, given: &Given<'_>, form: Form<'_>, targets: &[FormTarget]) -> Vec<(String, Rendered)> {
    let confirm = |client| {
        let form = Form { path: "/oauth2/logout", ..form };
        ConfirmLogoutPage { shell, form, client, username: Name(given.username), form_targets: targets }.rendered()
    };
    vec![
        ("confirm-logout".to_owned(), confirm(Some(Name(given.client))).unwrap()),
        ("confirm-logout-own".to_owned(), confirm(None).unwrap()),
        ("signed-out".to_owned(), SignedOutPage { shell }.rendered().unwrap()),
    ]
}

fn errors(shell: Shell<'_>, given: &Given<'_>) -> Vec<(String, Rendered)> {
    let page = |kind: ErrorKind| {
        let retry_after = matches!(kind, ErrorKind::Throttled).then_some(150);
        let detail = (kind != ErrorKind::Defect).then_some(("invalid_request", Detail(given.detail)));
        let page = ErrorPage { shell, kind, detail, retry_after, request_id: "mB1hT0qv5dKxLw2Z" };
        (format!("error-{kind:?}"), page.rendered().unwrap())
    };
    ErrorKind::ALL.into_iter().map(page).collect()
}
