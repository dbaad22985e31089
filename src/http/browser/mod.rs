//! What a browser is shown on its way to a code and back out: the authorization endpoint and its pages (RFC 6749 section
//! 3.1, OpenID Connect Core section 3.1.2), the logout endpoint (RP-Initiated Logout 1.0), and the user's own account.
//!
//! Every handler reads what the browser brings, asks the use case what comes next, and shows it. A started request goes
//! from page to page as a ticket, in addresses and forms. A form counts only from the browser that was given it: it
//! carries a token made of the visit, a cookie that no other site can read or set.

mod account;
mod authorize;
mod consent;
mod login;
mod logout;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use poem::http::{Method, StatusCode, header};
use poem::{Endpoint, EndpointExt as _, FromRequest as _, Request, Response, Route};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::authorize::answered;
use super::error::{page_refusal, refusal};
use super::form::Fields;
use super::pages::cookies::{Cookie, Cookies};
use super::pages::error::ErrorKind;
use super::pages::{Language, Pages, Rendered, Shell};
use super::routes::RouteTable;
use crate::app::App;
use crate::domain::authorization::AuthorizationRequest;
use crate::domain::error::{Code, OAuthError};
use crate::domain::origin::Origin;
use crate::domain::secret::Secret32;
use crate::domain::sources::random;
use crate::domain::time::Timestamp;
use crate::flows::authorize::{LONGEST, Turn};
use crate::flows::sign_in::{Entered, Visitor};
use crate::tokens::ticket::{Purpose, TicketFault};

const AUTHORIZE: &str = "/oauth2/authorize";
const LOGIN: &str = "/login";
const CONSENT: &str = "/consent";
const LOGOUT: &str = "/oauth2/logout";
const LOGGED_OUT: &str = "/logged-out";
const ACCOUNT: &str = "/account";

/// The fields that forms carry unseen.
const TICKET: &str = "ticket";
const CSRF: &str = "csrf";

const BOTH: &[Method] = &[Method::GET, Method::POST];

/// Adds the pages to a listener.
pub fn mount(mut route: Route, table: &mut RouteTable, app: &Arc<App>, pages: &Arc<Pages>) -> Route {
    let prefix = &pages.prefix;
    let mut add = |path: &str, methods: &'static [Method], handler: Handler| {
        let path = format!("{prefix}{path}");
        table.add_page(&path, methods);
        let served = Served { app: Arc::clone(app), pages: Arc::clone(pages), methods, handler };
        route = std::mem::take(&mut route).at(path, served.boxed());
    };
    add(AUTHORIZE, BOTH, |browser, request| Box::pin(authorize::serve(browser, request)));
    add(LOGIN, BOTH, |browser, request| Box::pin(login::serve(browser, request)));
    add(CONSENT, BOTH, |browser, request| Box::pin(consent::serve(browser, request)));
    add(LOGOUT, BOTH, |browser, request| Box::pin(logout::serve(browser, request)));
    add(LOGGED_OUT, &[Method::GET], |browser, request| Box::pin(logout::signed_out(browser, request)));
    add(ACCOUNT, BOTH, |browser, request| Box::pin(account::serve(browser, request)));
    route
}

type Answer<'a> = std::pin::Pin<Box<dyn Future<Output = poem::Result<Response>> + Send + 'a>>;
type Handler = for<'a> fn(&'a Browser<'a>, Request) -> Answer<'a>;

/// A page with what it works with.
struct Served {
    app: Arc<App>,
    pages: Arc<Pages>,
    methods: &'static [Method],
    handler: Handler,
}

impl Endpoint for Served {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let browser = Browser::of(&self.app, &self.pages, &request).await?;
        // A page may be asked for without its body; the framework takes that away.
        if *request.method() == Method::HEAD || self.methods.contains(request.method()) {
            (self.handler)(&browser, request).await
        } else {
            Err(poem::error::MethodNotAllowedError.into())
        }
    }
}

/// A browser, and what it is answered with.
struct Browser<'a> {
    app: &'a App,
    pages: &'a Pages,
    cookies: Cookies,
    visitor: Visitor,
    visit: Option<Secret32>,
    /// What its settings prefer.
    accept_language: Option<String>,
}

impl<'a> Browser<'a> {
    async fn of(app: &'a App, pages: &'a Pages, request: &Request) -> poem::Result<Self> {
        let cookies = Cookies::of_issuer(&app.context.issuer);
        let origin = Origin::from_request_without_body(request).await?;
        let user_agent = request.header(header::USER_AGENT).unwrap_or_default().to_owned();
        Ok(Self {
            app,
            pages,
            cookies,
            visitor: Visitor { secret: cookies.read(Cookie::SignIn, request.headers()), user_agent, origin },
            visit: cookies.read(Cookie::Visit, request.headers()),
            accept_language: request.header(header::ACCEPT_LANGUAGE).map(str::to_owned),
        })
    }

    fn shell(&self, ui_locales: Option<&str>) -> Shell<'a> {
        Shell::new(self.pages, Language::choose(ui_locales, self.accept_language.as_deref()))
    }

    /// The visit that forms are tied to: the browser's, or a new one that its page must set.
    fn visit(&self) -> (Secret32, bool) {
        match &self.visit {
            Some(visit) => (visit.clone(), false),
            None => (Secret32::new(random(&*self.app.context.entropy)), true),
        }
    }

    /// A page with a form, which `make` makes of the token that the form is to carry.
    fn form(
        &self,
        status: StatusCode,
        (purpose, context): (Purpose, &str),
        make: impl FnOnce(&str) -> poem::Result<Rendered>,
    ) -> poem::Result<Response> {
        let (visit, is_new) = self.visit();
        let token = self.app.context.tickets.csrf(&text_of(&visit), purpose, context);
        let mut response = make(&token)?.respond(status);
        if is_new {
            response.headers_mut().append(header::SET_COOKIE, self.cookies.set(Cookie::Visit, &visit, None));
        }
        Ok(response)
    }

    /// Whether a form came from a page that this browser was given for this.
    fn gave(&self, token: &str, purpose: Purpose, context: &str) -> bool {
        self.visit
            .as_ref()
            .is_some_and(|visit| self.app.context.tickets.csrf_holds(token, &text_of(visit), purpose, context))
    }

    /// The text of a ticket that carries the request on.
    fn ticket(&self, request: &AuthorizationRequest) -> poem::Result<String> {
        self.ticket_for(Purpose::Authorization, request, request.started_at.plus(LONGEST))
    }

    fn ticket_for<T: Serialize>(&self, purpose: Purpose, payload: &T, ends_at: Timestamp) -> poem::Result<String> {
        let ticket = self.app.context.tickets.issue(purpose, payload, ends_at);
        ticket.map_err(|error| refusal(OAuthError::internal(error)))
    }

    /// The request that a ticket carries.
    fn carried(&self, ticket: &str) -> poem::Result<Box<AuthorizationRequest>> {
        self.carried_for(Purpose::Authorization, ticket).map(Box::new)
    }

    fn carried_for<T: DeserializeOwned>(&self, purpose: Purpose, ticket: &str) -> poem::Result<T> {
        let ctx = &self.app.context;
        ctx.tickets.read(purpose, ticket, ctx.now()).map_err(|fault| {
            let error = OAuthError::new(Code::InvalidRequest, format!("the ticket of the request: {fault}"));
            match fault {
                TicketFault::Expired | TicketFault::Unreadable => page_refusal(ErrorKind::Expired, error),
                TicketFault::Malformed | TicketFault::Forged => page_refusal(ErrorKind::Malformed, error),
            }
        })
    }

    /// Sends the browser to a page of ours.
    fn to(&self, path: &str, parameters: &[(&str, &str)]) -> Response {
        see_other(&with_query(&format!("{}{path}", self.pages.prefix), parameters))
    }

    /// What comes next, for a browser that came by a request or by a form.
    fn turn(&self, turn: Turn) -> poem::Result<Response> {
        match turn {
            Turn::Unanswerable(fault) => Err(authorize::unanswerable(fault)),
            Turn::Reply(reply) => answered(self, reply),
            Turn::SignIn { request, .. } => Ok(self.to(LOGIN, &[(TICKET, &self.ticket(&request)?)])),
            Turn::Consent { request, .. } => Ok(self.to(CONSENT, &[(TICKET, &self.ticket(&request)?)])),
        }
    }

    /// Gives the browser the secret of its sign-in.
    fn entered(&self, mut response: Response, entered: &Entered) -> Response {
        let keep = entered.sign_in.absolute_expires_at.since(self.app.context.now());
        let cookie = self.cookies.set(Cookie::SignIn, &entered.secret, Some(keep));
        response.headers_mut().append(header::SET_COOKIE, cookie);
        response
    }

    /// Takes the secret of its sign-in from the browser.
    fn left(&self, mut response: Response) -> Response {
        response.headers_mut().append(header::SET_COOKIE, self.cookies.clear(Cookie::SignIn));
        response
    }
}

/// What a visit is in the tokens of forms.
fn text_of(visit: &Secret32) -> String {
    URL_SAFE_NO_PAD.encode(visit.expose())
}

/// The fields of a form of ours, or of an address.
async fn fields(request: &mut Request) -> poem::Result<Fields> {
    let bytes = if *request.method() == Method::POST {
        request.take_body().into_bytes().await?
    } else {
        request.uri().query().unwrap_or_default().as_bytes().to_vec().into()
    };
    Fields::parse(&bytes, &[]).map_err(refusal)
}

/// A form without the page that it belongs to.
fn stale() -> poem::Error {
    let text =
        "the form was not given to this browser, or its cookie is gone; go back to the application and begin again";
    page_refusal(ErrorKind::StaleForm, OAuthError::new(Code::InvalidRequest, text))
}

/// `303`: whatever the method was, the next one is a GET.
fn see_other(location: &str) -> Response {
    Response::builder().status(StatusCode::SEE_OTHER).header(header::LOCATION, location).finish()
}

/// Adds parameters to an address that may have some.
fn with_query(address: &str, parameters: &[(&str, &str)]) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    let separator = if query.is_empty() {
        ""
    } else if address.contains('?') {
        "&"
    } else {
        "?"
    };
    format!("{address}{separator}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_added_to_what_is_there() {
        assert_eq!(with_query("https://a.example/cb", &[("code", "x y&")]), "https://a.example/cb?code=x+y%26");
        assert_eq!(with_query("https://a.example/cb?a=1", &[("code", "x")]), "https://a.example/cb?a=1&code=x");
        assert_eq!(with_query("com.example.app:/cb", &[("state", "\u{e9}")]), "com.example.app:/cb?state=%C3%A9");
        assert_eq!(with_query("/login", &[]), "/login");
    }
}
