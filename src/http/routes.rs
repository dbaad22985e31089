//! Which paths there are and what may be done with them: for `Allow`, for `OPTIONS`, for cross-origin rules, and for
//! metrics that count by route. The router itself tells none of that.

use std::collections::HashMap;

use poem::http::Method;
use poem_openapi::OpenApi;

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

/// One path.
#[derive(Debug)]
pub struct Route {
    /// As documented, with `{name}` for what varies.
    pub pattern: String,
    /// The value of `Allow`.
    pub allow: String,
    pub cross_origin: CrossOrigin,
    /// Whether its operation takes the body itself, within a size of its own, after it knows who calls.
    pub late_body: bool,
    pub manner: Manner,
}

/// Every path that is served on one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    fixed: HashMap<String, Route>,
    /// Those with a `{name}` in them, by their segments.
    varying: Vec<(Vec<String>, Route)>,
}

impl RouteTable {
    pub fn add(&mut self, pattern: &str, methods: &[Method], cross_origin: CrossOrigin) {
        let (allow, late_body, manner) = (allow_of(methods), false, Manner::OAuth);
        self.insert(Route { pattern: pattern.to_owned(), allow, cross_origin, late_body, manner });
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
        let route = Route {
            pattern: path.to_owned(),
            allow: allow.to_owned(),
            cross_origin: CrossOrigin::Clients,
            late_body: false,
            manner: Manner::RestFramework,
        };
        self.insert(route);
    }

    /// A page, or a file of one, that people open: no other origin's script reads it.
    pub fn add_page(&mut self, pattern: &str, methods: &[Method]) {
        self.insert(Route {
            pattern: pattern.to_owned(),
            allow: allow_of(methods),
            cross_origin: CrossOrigin::Never,
            late_body: false,
            manner: Manner::Page,
        });
    }

    /// Every operation of an API under `prefix`; `cross_origin` says who may read it, by its path.
    pub fn add_api<T: OpenApi>(&mut self, prefix: &str, cross_origin: impl Fn(&str) -> CrossOrigin) {
        let mut methods: HashMap<String, Vec<Method>> = HashMap::new();
        for path in T::meta().into_iter().flat_map(|api| api.paths) {
            let known = methods.entry(path.path).or_default();
            known.extend(path.operations.into_iter().map(|operation| operation.method));
        }
        for (path, methods) in methods {
            self.add(&format!("{prefix}{path}"), &methods, cross_origin(&path));
        }
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
}
