//! HTTP, thin: operations that fill in a use case's request and render its answer.
//!
//! One `OpenApi` struct per topic holds the program and calls the use cases; [`frame`] puts around all of them what
//! holds for every request; [`error`] alone knows status codes; [`server`] is the accept loop, and [`tls`] what may lie
//! between it and HTTP. The issuer's path, where it has one, goes before every path here.

mod admin;
mod asset;
pub mod authorization;
pub mod body;
mod browser;
mod compat;
mod connection;
pub mod cors;
mod docs;
pub mod document;
pub mod error;
pub mod form;
pub mod frame;
mod health;
mod json;
mod metrics;
mod moment;
pub mod oauth;
pub mod origin;
pub mod pages;
pub mod payload;
mod rate;
mod request_id;
pub mod routes;
pub mod server;
mod socket;
mod streams;
mod test_clock;
pub mod tls;
mod well_known;

use std::sync::Arc;

use poem::endpoint::make_sync;
use poem::http::{Method, header};
use poem::{IntoEndpoint as _, Response, Route};
use poem_openapi::{OpenApi, OpenApiService};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::body::BodyLimits;
use self::cors::AllowedOrigins;
use self::docs::Shown;
use self::document::{Document, document};
use self::frame::{BODY_TIME, Frame, FrameParts};
use self::health::HealthApi;
use self::metrics::MetricsApi;
use self::oauth::OAuthApi;
use self::oauth::userinfo::UserinfoApi;
use self::pages::Pages;
use self::rate::Gate;
use self::request_id::RequestIds;
use self::routes::{CrossOrigin, RouteTable};
use self::server::Limits;
use self::test_clock::TestClockApi;
use self::tls::Tls;
use self::well_known::{METADATA_CACHE, WellKnownApi, metadata_json};
use crate::app::App;
use crate::config::path_of;
use crate::domain::error::OAuthError;
use crate::flows::metadata::SERVED;

const PUBLIC: Shown<'static> = Shown { name: "Latchkey", url: "openapi.json" };
const ADMIN: Shown<'static> = Shown { name: "Latchkey admin", url: "admin/openapi.json" };

const TEST_CLOCK_TITLE: &str = "Latchkey under a TEST CLOCK";

const PUBLIC_TEXT: &str = "Log in, renew, verify and revoke. Errors are `{\"error\",\"error_description\"}` with the \
                           codes of the RFCs; programs read `error`, and `reason` where a refresh is refused.";
const ADMIN_TEXT: &str = "Keys, clients, users, sessions and the audit trail. Calls carry an access token of Latchkey's \
                          own with an `admin` scope; the built-in client `latchkey-admin` gets one by \
                          `client_credentials`.";

type PublicApi = (OAuthApi, UserinfoApi, WellKnownApi, HealthApi);
type AdminApi = (admin::AdminApis, MetricsApi);

/// Where a service is reached.
#[derive(Debug)]
pub struct Doors {
    pub public: TcpListener,
    /// Operators' paths are served there and nowhere else, where it is there.
    pub admin: Option<TcpListener>,
    /// Both speak it alone, where it is there.
    pub tls: Option<Arc<Tls>>,
}

impl Doors {
    /// One door for all, in the clear.
    pub fn plain(public: TcpListener) -> Self {
        Self { public, admin: None, tls: None }
    }
}

/// Serves until `shutdown` resolves and requests under way are answered.
pub async fn serve(app: Arc<App>, doors: Doors, shutdown: impl Future<Output = ()>) {
    let limits = Limits::default();
    let Doors { public: listener, admin: admin_listener, tls } = doors;
    if let Some(tls) = &tls {
        tls.watch(&app.metrics);
    }
    let Some(admin_listener) = admin_listener else {
        let all = Site::new(&app).shared();
        return server::serve(listener, Arc::new(all), limits, tls, shutdown).await;
    };
    let (public, admin) = (Site::new(&app).public(), Site::new(&app).admin());
    let stop = watch::Sender::new(());
    let stopped = || {
        let mut stop = stop.subscribe();
        async move {
            // An error says that the sender is gone, which means the same.
            let _ = stop.changed().await;
        }
    };
    let (public_stop, admin_stop) = (stopped(), stopped());
    tokio::join!(
        server::serve(listener, Arc::new(public), limits, tls.clone(), public_stop),
        server::serve(admin_listener, Arc::new(admin), limits, tls, admin_stop),
        async {
            shutdown.await;
            stop.send_replace(());
        },
    );
}

/// What keeps the paths of `[[compat]]` from working as the clients in the database are; none, where all is well.
///
/// # Errors
/// The database does not answer.
pub async fn compat_faults(app: &App) -> Result<Vec<String>, OAuthError> {
    compat::faults(app).await
}

/// The documents that `openapi/` holds, by file stem.
pub fn documents(issuer: &str) -> [(&'static str, Document); 2] {
    [("public", public_document(issuer)), ("admin", admin_document(issuer))]
}

fn public_document(server: &str) -> Document {
    document::<PublicApi>("Latchkey", PUBLIC_TEXT, server)
}

/// The document of what `app` serves to everyone.
fn shown_document(app: &App) -> Document {
    let issuer = &app.settings.server.issuer;
    let document = if app.test_clock.is_some() {
        document::<(PublicApi, TestClockApi)>(TEST_CLOCK_TITLE, PUBLIC_TEXT, issuer)
    } else {
        public_document(issuer)
    };
    compat::describe(document, issuer, &app.settings.compat)
}

fn admin_document(server: &str) -> Document {
    document::<AdminApi>("Latchkey admin", ADMIN_TEXT, server)
}

/// What one listener serves, while it is put together.
struct Site<'a> {
    app: &'a Arc<App>,
    /// The issuer's path: empty, or `/` and more, without a slash at its end.
    prefix: &'a str,
    route: Route,
    table: RouteTable,
    pages: Arc<Pages>,
}

impl<'a> Site<'a> {
    fn new(app: &'a Arc<App>) -> Self {
        let prefix = path_of(&app.settings.server.issuer);
        let pages = Arc::new(Pages::of(app));
        Self { app, prefix, route: Route::new(), table: RouteTable::default(), pages }
    }

    /// Everything on one listener.
    fn shared(self) -> Frame<Route> {
        let api = admin_api(self.app, false);
        let app = Arc::clone(self.app);
        let admin = move || admin_document(&app.settings.server.issuer);
        self.everyones(api).document(ADMIN, admin).docs(&[PUBLIC, ADMIN]).framed()
    }

    /// What everyone may reach, where operators have a listener of their own.
    fn public(self) -> Frame<Route> {
        self.everyones(()).docs(&[PUBLIC]).framed()
    }

    /// What everyone may reach and its document, beside the operations of `others`.
    fn everyones<T: OpenApi + 'static>(self, others: T) -> Self {
        let app = Arc::clone(self.app);
        let api = public_api(&app);
        let site = if app.test_clock.is_some() {
            self.api((api, TestClockApi { app: Arc::clone(&app) }, others))
        } else {
            self.api((api, others))
        };
        site.inserted_metadata().compatible().pages().document(PUBLIC, move || shown_document(&app))
    }

    /// What operators reach on their own listener: the token endpoint as well, for nothing works without a token. Its
    /// URL is theirs to know, so the document names paths alone.
    fn admin(self) -> Frame<Route> {
        let prefix = self.prefix.to_owned();
        let tokens = OAuthApi { app: Arc::clone(self.app) };
        let api = (tokens, HealthApi::new(Arc::clone(self.app)), admin_api(self.app, true));
        self.api(api).document(ADMIN, move || admin_document(&prefix)).docs(&[ADMIN]).framed()
    }

    fn api<T: OpenApi + 'static>(mut self, api: T) -> Self {
        let api = self.table.add_api(self.prefix, api, cross_origin);
        self.table.leave_body(&format!("{}{}", self.prefix, admin::IMPORT_PATH));
        // The service's title and version are seen in documents alone, which are made elsewhere.
        let service = OpenApiService::new(api, "", "");
        let at = if self.prefix.is_empty() { "/" } else { self.prefix };
        self.route = self.route.nest(at, service.into_endpoint());
        self
    }

    /// RFC 8414 section 3.1: the well-known name goes between the host and the issuer's path, the one of OpenID too
    /// (section 5).
    fn inserted_metadata(mut self) -> Self {
        let openid = SERVED.authorization.then_some("openid-configuration");
        let names = ["oauth-authorization-server"].into_iter().chain(openid);
        for name in names.filter(|_| !self.prefix.is_empty()) {
            let path = format!("/.well-known/{name}{}", self.prefix);
            let metadata = metadata_json(self.app);
            let endpoint = make_sync(move |_| {
                Response::builder()
                    .content_type("application/json")
                    .header(header::CACHE_CONTROL, METADATA_CACHE)
                    .body(metadata.clone())
            });
            self.table.add(&path, &[Method::GET], CrossOrigin::Anyone);
            self.route = self.route.at(path, poem::get(endpoint));
        }
        self
    }

    /// The paths of `[[compat]]`, for those who reach the token endpoint from anywhere.
    fn compatible(mut self) -> Self {
        self.route = compat::mount(self.route, &mut self.table, self.app);
        self
    }

    /// What people meet in a browser.
    fn pages(mut self) -> Self {
        self.route = pages::mount(self.route, &mut self.table, &self.pages);
        self.route = browser::mount(self.route, &mut self.table, self.app, &self.pages);
        self
    }

    fn document(mut self, shown: Shown<'_>, document: impl FnOnce() -> Document + Send + Sync + 'static) -> Self {
        let path = format!("{}/{}", self.prefix, shown.url);
        self.route = docs::mount_document(self.route, &mut self.table, &path, document);
        self
    }

    fn docs(mut self, shown: &'static [Shown<'static>]) -> Self {
        self.route = docs::mount(self.route, &mut self.table, self.prefix, shown);
        self
    }

    fn framed(self) -> Frame<Route> {
        let server = &self.app.settings.server;
        let context = &self.app.context;
        let parts = FrameParts {
            routes: self.table,
            trusted_proxies: server.trusted_proxies.clone(),
            body: BodyLimits { size: server.max_body, time: BODY_TIME },
            gate: server.rate_limit.as_ref().and_then(Gate::new),
            origins: AllowedOrigins::new(Arc::clone(&context.replica) as _),
            ids: RequestIds::new(context.entropy.as_ref()),
            clock: Arc::clone(&context.clock),
            metrics: Arc::clone(&self.app.metrics),
            pages: self.pages,
            test_clock: self.app.test_clock.is_some(),
        };
        Frame::new(self.route, parts)
    }
}

fn public_api(app: &Arc<App>) -> PublicApi {
    let shared = || Arc::clone(app);
    (OAuthApi { app: shared() }, UserinfoApi { app: shared() }, WellKnownApi::new(shared()), HealthApi::new(shared()))
}

/// `open_metrics` where only operators reach the listener.
fn admin_api(app: &Arc<App>, open_metrics: bool) -> AdminApi {
    (admin::apis(app), MetricsApi { app: Arc::clone(app), open: open_metrics })
}

/// Which answers pages of other origins may read.
fn cross_origin(path: &str) -> CrossOrigin {
    match path {
        "/oauth2/token" | "/oauth2/revoke" | "/oauth2/userinfo" => CrossOrigin::Clients,
        path if path.starts_with("/.well-known/") => CrossOrigin::Anyone,
        _ => CrossOrigin::Never,
    }
}

#[cfg(test)]
mod tests;
