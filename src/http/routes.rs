//! Which paths there are and what may be done with them: for `Allow`, for `OPTIONS`, for cross-origin rules, and for
//! metrics that count by route. The framework's router tells none of that.
//!
//! Since the table has found a route anyway, it also holds the operations of an API that need no more of the request
//! than its path, its headers and its body: the framework's routers, one within the other, cost more than some of them.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;

use poem::EndpointExt as _;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem_openapi::OpenApi;
use poem_openapi::registry::{MetaApi, MetaOperation, MetaParamIn, Registry};

/// Which web pages of other origins may read a route's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossOrigin {
    Never,
    /// Pages of an origin that a client registered.
    Clients,
    /// Public documents.
    Anyone,
}

/// How errors are told to whoever calls a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// RFC 6749 section 5.2.
    #[default]
    OAuth,
    /// As Django REST framework does.
    RestFramework,
    /// To people, in HTML.
    Page,
}

/// An operation, shared with the framework's router.
type Operation = Arc<BoxEndpoint<'static>>;

/// One path.
pub struct Route {
    /// As documented, with `{name}` for what varies.
    pub pattern: String,
    /// The value of `Allow`.
    pub allow: String,
    pub cross_origin: CrossOrigin,
    /// Whether its operation takes the body itself, within a size of its own, after it knows who calls.
    pub late_body: bool,
    pub manner: Manner,
    /// Operations that can be asked without the framework's router.
    operations: Vec<(Method, Operation)>,
}

impl Route {
    fn new(pattern: &str, allow: String, cross_origin: CrossOrigin) -> Self {
        let (late_body, manner, operations) = (false, Manner::default(), Vec::new());
        Self { pattern: pattern.to_owned(), allow, cross_origin, late_body, manner, operations }
    }

    /// The operation of just this method, if it can be asked without the framework's router.
    pub fn operation(&self, method: &Method) -> Option<&Operation> {
        self.operations.iter().find(|(known, _)| known == method).map(|(_, operation)| operation)
    }
}

/// Every path that is served on one listener.
#[derive(Default)]
pub struct RouteTable {
    fixed: HashMap<String, Route>,
    /// Those with a `{name}` in them, by their segments.
    varying: Vec<(Vec<String>, Route)>,
}

impl RouteTable {
    pub fn add(&mut self, pattern: &str, methods: &[Method], cross_origin: CrossOrigin) {
        self.insert(Route::new(pattern, allow_of(methods), cross_origin));
    }

    fn insert(&mut self, route: Route) {
        if route.pattern.contains('{') {
            self.varying.push((route.pattern.split('/').map(str::to_owned).collect(), route));
        } else {
            self.fixed.insert(route.pattern.clone(), route);
        }
    }

    /// A path that stands in for another service's, whose clients know its manner.
    pub fn add_compatible(&mut self, path: &str, allow: &str) {
        let route = Route::new(path, allow.to_owned(), CrossOrigin::Clients);
        self.insert(Route { manner: Manner::RestFramework, ..route });
    }

    /// A page, or a file of one, that people open: no other origin's script reads it.
    pub fn add_page(&mut self, pattern: &str, methods: &[Method]) {
        let route = Route::new(pattern, allow_of(methods), CrossOrigin::Never);
        self.insert(Route { manner: Manner::Page, ..route });
    }

    /// Every operation of an API under `prefix`; `cross_origin` says who may read it, by its path. Answers the same API
    /// for the framework's router, which takes what asks in another way.
    pub fn add_api<T: OpenApi>(
        &mut self,
        prefix: &str,
        api: T,
        cross_origin: impl Fn(&str) -> CrossOrigin,
    ) -> Shared<T> {
        let shared = Shared::of(api);
        let mut paths: HashMap<String, Vec<MetaOperation>> = HashMap::new();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            paths.entry(path.path).or_default().extend(path.operations);
        }
        for (path, known) in paths {
            let methods: Vec<_> = known.iter().map(|operation| operation.method.clone()).collect();
            let plain = known.into_iter().filter(asks_for_headers_alone).map(|operation| operation.method);
            let operations = plain.filter_map(|method| Some((method.clone(), shared.operation(&path, &method)?)));
            let route = Route::new(&format!("{prefix}{path}"), allow_of(&methods), cross_origin(&path));
            self.insert(Route { operations: operations.collect(), ..route });
        }
        shared
    }

    /// Leaves the body of what is fixed at this path to its operation. Nothing, where nothing is there.
    pub fn leave_body(&mut self, path: &str) {
        if let Some(route) = self.fixed.get_mut(path) {
            route.late_body = true;
        }
    }

    pub fn find(&self, path: &str) -> Option<&Route> {
        self.fixed.get(path).or_else(|| {
            let matches = |pattern: &[String]| {
                let mut segments = path.split('/');
                pattern.iter().all(|wanted| {
                    let given = segments.next();
                    given.is_some_and(|given| wanted == given || (wanted.starts_with('{') && !given.is_empty()))
                }) && segments.next().is_none()
            };
            self.varying.iter().find(|(pattern, _)| matches(pattern)).map(|(_, route)| route)
        })
    }
}

/// Beside a body.
fn asks_for_headers_alone(operation: &MetaOperation) -> bool {
    operation.params.iter().all(|param| matches!(param.in_type, MetaParamIn::Header))
}

/// An API whose operations are shared, or left out.
pub struct Shared<T> {
    operations: HashMap<String, HashMap<Method, Operation>>,
    api: PhantomData<fn() -> T>,
}

impl<T: OpenApi> Shared<T> {
    fn of(api: T) -> Self {
        let mut endpoints = HashMap::new();
        api.add_routes(&mut endpoints);
        let shared = |methods: HashMap<Method, BoxEndpoint<'static>>| {
            methods.into_iter().map(|(method, operation)| (method, Arc::new(operation))).collect()
        };
        let operations = endpoints.into_iter().map(|(path, methods)| (path, shared(methods))).collect();
        Self { operations, api: PhantomData }
    }

    /// The API as it is described, without the program that would carry it out.
    pub fn described() -> Self {
        Self { operations: HashMap::new(), api: PhantomData }
    }

    fn operation(&self, path: &str, method: &Method) -> Option<Operation> {
        self.operations.get(path)?.get(method).map(Arc::clone)
    }
}

impl<T: OpenApi> OpenApi for Shared<T> {
    fn meta() -> Vec<MetaApi> {
        T::meta()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        for (path, methods) in self.operations {
            let known = routes.entry(path).or_default();
            known.extend(methods.into_iter().map(|(method, operation)| (method, operation.boxed())));
        }
    }
}

/// What reads also answers HEAD, and everything answers OPTIONS.
fn allow_of(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use poem::{Endpoint as _, Request};
    use poem_openapi::param::{Header, Path, Query};
    use poem_openapi::payload::PlainText;

    use super::*;

    #[test]
    fn paths_are_found_by_their_pattern() {
        let mut table = RouteTable::default();
        table.add("/a", &[Method::GET, Method::POST], CrossOrigin::Anyone);
        table.add("/a/{id}", &[Method::DELETE], CrossOrigin::Never);
        table.add("/a/{id}/b", &[Method::PUT], CrossOrigin::Never);
        let pattern = |path| table.find(path).map(|route| route.pattern.as_str());
        assert_eq!(pattern("/a"), Some("/a"));
        assert_eq!(pattern("/a/7"), Some("/a/{id}"));
        assert_eq!(pattern("/a/7/b"), Some("/a/{id}/b"));
        for unknown in ["/", "/a/", "/a/7/c", "/a/7/b/c", "a", ""] {
            assert_eq!(pattern(unknown), None, "{unknown}");
        }
        assert_eq!(table.find("/a").map(|route| route.allow.as_str()), Some("GET, HEAD, OPTIONS, POST"));
        assert_eq!(table.find("/a/7").map(|route| route.allow.as_str()), Some("DELETE, OPTIONS"));
    }

    struct Api;

    #[OpenApi]
    impl Api {
        #[oai(path = "/plain", method = "get")]
        async fn plain(&self, _version: Header<Option<String>>) -> PlainText<&'static str> {
            PlainText("plain")
        }

        #[oai(path = "/plain", method = "put")]
        async fn asking(&self, _page: Query<Option<u32>>) {}

        #[oai(path = "/things/:id", method = "get")]
        async fn thing(&self, _id: Path<String>) {}
    }

    #[tokio::test]
    async fn what_asks_for_no_more_than_headers_and_a_body_needs_no_router() {
        let mut table = RouteTable::default();
        let shared = table.add_api("/base", Api, |_| CrossOrigin::Never);
        let route = table.find("/base/plain").unwrap();
        let operation = route.operation(&Method::GET).unwrap();
        let answer = operation.call(Request::default()).await.unwrap();
        assert_eq!(answer.into_body().into_string().await.unwrap(), "plain");
        for method in [Method::PUT, Method::HEAD, Method::OPTIONS] {
            assert!(route.operation(&method).is_none(), "{method}");
        }
        assert_eq!(route.allow, "GET, HEAD, OPTIONS, PUT");
        assert!(table.find("/base/things/7").unwrap().operation(&Method::GET).is_none());

        let mut routes = HashMap::new();
        shared.add_routes(&mut routes);
        assert_eq!((routes.len(), routes["/plain"].len()), (2, 2), "the router has them all");
    }
}
