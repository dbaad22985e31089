//! Which web pages may read which answers (the CORS protocol of the Fetch standard).
//!
//! Public documents are open to all pages. The token and revocation endpoints answer pages of origins that a client
//! registered as `allowed_origins`: a preflight names no client, so any enabled client's origin passes it, and the
//! real answer is readable only for an origin of the client that asks. Cookies are never involved, so credentials
//! are never allowed.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{FromRequest, Request, RequestBody, Response};

use super::routes::CrossOrigin;
use crate::domain::client::Client;
use crate::domain::ids::ClientId;

/// Where the registered origins come from.
pub trait ClientList: Send + Sync {
    /// Changes whenever a client does.
    fn revision(&self) -> i64;

    /// All clients, and the revision they are of.
    fn clients(&self) -> (i64, Vec<Arc<Client>>);
}

impl ClientList for crate::replica::Replica {
    fn revision(&self) -> i64 {
        self.clients_revision()
    }

    fn clients(&self) -> (i64, Vec<Arc<Client>>) {
        Self::clients(self)
    }
}

type OriginTable = HashMap<String, Vec<ClientId>>;

/// The clients of each registered origin, made anew when a client has changed.
pub struct AllowedOrigins {
    source: Arc<dyn ClientList>,
    table: ArcSwap<(i64, OriginTable)>,
}

impl AllowedOrigins {
    pub fn new(source: Arc<dyn ClientList>) -> Self {
        let table = ArcSwap::from_pointee(table_of(&*source));
        Self { source, table }
    }

    /// Whether pages of `origin` may read answers to `client`; to any enabled client, where none is named.
    fn allows(&self, origin: &str, client: Option<&ClientId>) -> bool {
        let mut current = self.table.load_full();
        if current.0 != self.source.revision() {
            current = Arc::new(table_of(&*self.source));
            self.table.store(Arc::clone(&current));
        }
        current.1.get(origin).is_some_and(|clients| client.is_none_or(|client| clients.contains(client)))
    }
}

fn table_of(source: &dyn ClientList) -> (i64, OriginTable) {
    let (revision, clients) = source.clients();
    let mut table = OriginTable::new();
    for client in clients.iter().filter(|client| !client.disabled) {
        for origin in &client.allowed_origins {
            table.entry(origin.clone()).or_default().push(client.client_id.clone());
        }
    }
    (revision, table)
}

/// Where an operation notes which client it serves, so that the answer is opened to that client's pages alone.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<OnceLock<ClientId>>);

impl Serving {
    pub fn note(&self, client: Option<&str>) {
        if let Some(client) = client {
            // The first note counts; a second one would be a defect without consequence.
            let _ = self.0.set(ClientId::new(client));
        }
    }
}

impl<'a> FromRequest<'a> for Serving {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.data::<Self>().cloned().unwrap_or_default())
    }
}

/// What one request asks of the protocol.
pub struct Exchange {
    rule: CrossOrigin,
    origin: Option<HeaderValue>,
    serving: Serving,
}

impl Exchange {
    /// Notes what the answer will depend on.
    pub fn begin(request: &mut Request, rule: CrossOrigin) -> Self {
        let origin = request.headers().get(header::ORIGIN).cloned();
        let serving = Serving::default();
        if origin.is_some() && rule == CrossOrigin::Clients {
            request.set_data(serving.clone());
        }
        Self { rule, origin, serving }
    }

    /// Opens the answer to the page that asked, where it may read it.
    pub fn finish(&self, headers: &mut HeaderMap, allowed: &AllowedOrigins) {
        if self.rule == CrossOrigin::Clients {
            // Also on the answers to others: a cache must not give one origin's answer to another.
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(opened) = self.opened_to(allowed) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, opened);
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("ETag, Retry-After, WWW-Authenticate, X-Request-Id"),
            );
        }
    }

    fn opened_to(&self, allowed: &AllowedOrigins) -> Option<HeaderValue> {
        let origin = self.origin.as_ref()?;
        match self.rule {
            CrossOrigin::Never => None,
            CrossOrigin::Anyone => Some(HeaderValue::from_static("*")),
            CrossOrigin::Clients => {
                let known = allowed.allows(origin.to_str().ok()?, self.serving.0.get());
                known.then(|| origin.clone())
            }
        }
    }
}

/// The answer to OPTIONS: what may be done here, and to a preflight whether that page may do it.
pub fn options(request: &mut Request, allow: &str, rule: CrossOrigin, allowed: &AllowedOrigins) -> Response {
    let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let exchange = Exchange::begin(request, rule);
    let mut response = Response::builder().status(StatusCode::NO_CONTENT).header(header::ALLOW, allow).finish();
    let headers = response.headers_mut();
    exchange.finish(headers, allowed);
    if is_preflight && headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        let methods = if rule == CrossOrigin::Anyone { "GET, HEAD" } else { "GET, POST" };
        let mut say = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        say(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-None-Match");
        say(header::ACCESS_CONTROL_MAX_AGE, "600");
    }
    response
}

/// Whether the request only asks what may be done.
pub fn is_options(request: &Request) -> bool {
    request.method() == Method::OPTIONS
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::domain::time::Timestamp;

    struct Fixed(Mutex<(i64, Vec<Arc<Client>>)>);

    impl ClientList for Fixed {
        fn revision(&self) -> i64 {
            self.0.lock().unwrap().0
        }

        fn clients(&self) -> (i64, Vec<Arc<Client>>) {
            self.0.lock().unwrap().clone()
        }
    }

    fn client(id: &str, origin: &str, disabled: bool) -> Arc<Client> {
        let blank = Client::blank(ClientId::new(id), Timestamp::from_seconds(0));
        Arc::new(Client { allowed_origins: vec![origin.into()], disabled, ..blank })
    }

    fn registry() -> (Arc<Fixed>, AllowedOrigins) {
        let clients = vec![
            client("spa", "https://app.example", false),
            client("other", "https://other.example", false),
            client("gone", "https://gone.example", true),
        ];
        let source = Arc::new(Fixed(Mutex::new((1, clients))));
        (Arc::clone(&source), AllowedOrigins::new(source))
    }

    fn opened(rule: CrossOrigin, origin: &'static str, client: Option<&str>) -> Option<String> {
        let (_, allowed) = registry();
        let mut request = Request::builder().header("origin", origin).finish();
        let exchange = Exchange::begin(&mut request, rule);
        exchange.serving.note(client);
        let mut headers = HeaderMap::new();
        exchange.finish(&mut headers, &allowed);
        assert_eq!(headers.contains_key("vary"), rule == CrossOrigin::Clients);
        assert!(!headers.contains_key("access-control-allow-credentials"));
        headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_answer_is_opened_to_the_pages_of_its_own_client() {
        let page = "https://app.example";
        assert_eq!(opened(CrossOrigin::Clients, page, Some("spa")).as_deref(), Some(page));
        assert_eq!(opened(CrossOrigin::Clients, page, None).as_deref(), Some(page));
        assert_eq!(opened(CrossOrigin::Clients, page, Some("other")), None);
        assert_eq!(opened(CrossOrigin::Clients, "https://evil.example", None), None);
        assert_eq!(opened(CrossOrigin::Clients, "https://gone.example", Some("gone")), None);
        assert_eq!(opened(CrossOrigin::Clients, "null", None), None);
        assert_eq!(opened(CrossOrigin::Anyone, "https://evil.example", None).as_deref(), Some("*"));
        assert_eq!(opened(CrossOrigin::Never, page, None), None);
    }

    #[test]
    fn a_changed_client_counts_at_once() {
        let (source, allowed) = registry();
        assert!(!allowed.allows("https://new.example", None));
        *source.0.lock().unwrap() = (2, vec![client("new", "https://new.example", false)]);
        assert!(allowed.allows("https://new.example", None));
        assert!(!allowed.allows("https://app.example", None));
    }

    #[test]
    fn a_preflight_is_answered_for_registered_origins_alone() {
        let (_, allowed) = registry();
        let ask = |origin: &'static str| {
            let request = Request::builder().method(Method::OPTIONS).header("origin", origin);
            let mut request = request.header("access-control-request-method", "POST").finish();
            options(&mut request, "OPTIONS, POST", CrossOrigin::Clients, &allowed)
        };
        let yes = ask("https://app.example");
        assert_eq!(yes.status(), 204);
        assert_eq!(yes.header("access-control-allow-origin"), Some("https://app.example"));
        assert_eq!(yes.header("access-control-allow-methods"), Some("GET, POST"));
        let no = ask("https://evil.example");
        assert_eq!((no.status().as_u16(), no.header("access-control-allow-origin")), (204, None));
        assert_eq!(no.header("allow"), Some("OPTIONS, POST"));
    }
}
