//! The headers of every page: what it may load and where it may lead (CSP Level 3), who may frame it, what it tells
//! others.

use std::fmt::Write as _;

use poem::http::{HeaderMap, HeaderName, HeaderValue, header};

/// Where a form may lead beside this service, as a source of `form-action`: the origin of a redirect URI, or its scheme
/// where it has no origin.
///
/// Chromium and WebKit hold the whole chain of redirects after a form against `form-action`, also those of the client. The
/// pages before an answer name where the browser will be sent: the redirect URI, and where the client sends it on to, as
/// far as that is known. Anywhere else the browser stands still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormTarget(String);

/// How many a policy names at most, so that proxies take the header.
const MOST_TARGETS: usize = 16;

impl FormTarget {
    /// Of where the browser is sent, and of where it may be sent on to from there. What would open the page to every
    /// origin is only taken from the former.
    pub fn along<'a>(uri: &str, onward: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        let mut targets: Vec<Self> = Self::of(uri).into_iter().collect();
        for target in onward.into_iter().filter_map(Self::of) {
            let is_wide = matches!(target.as_str(), "http:" | "https:");
            if !is_wide && !targets.contains(&target) && targets.len() < MOST_TARGETS {
                targets.push(target);
            }
        }
        targets
    }

    /// Of a URI that was validated. `None` of a text that is none, which then leads nowhere.
    pub fn of(uri: &str) -> Option<Self> {
        let (scheme, rest) = uri.split_once(':')?;
        let scheme = scheme.to_ascii_lowercase();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !scheme.starts_with(|c: char| c.is_ascii_alphabetic()) || !scheme.chars().all(legal) {
            return None;
        }
        if !matches!(scheme.as_str(), "http" | "https") {
            return Some(Self(format!("{scheme}:")));
        }
        let authority = rest.strip_prefix("//")?.split(['/', '?', '#', '\\']).next()?;
        if authority.starts_with('[') {
            // A source has no way to write an IPv6 address; without its scheme, loopback clients were locked out.
            return Some(Self(format!("{scheme}:")));
        }
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let host_legal = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
        let port_legal = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
        let authority = authority.to_ascii_lowercase();
        (host_legal && port_legal).then(|| Self(format!("{scheme}://{authority}")))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What differs from page to page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub form_targets: &'a [FormTarget],
    pub script: Option<&'a str>,
    pub keeps_opener: bool,
}

impl Policy<'_> {
    pub(super) fn headers(self) -> HeaderMap {
        // An application that signs its user in within a popup loses it where the popup cuts the tie.
        let opener = if self.keeps_opener { "unsafe-none" } else { "same-origin" };
        let fixed = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::X_FRAME_OPTIONS, "DENY"),
            // URLs here carry tickets, which are nobody else's. Under `no-referrer` a form's `Origin` would be `null`.
            (header::REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), opener),
            (header::VARY, "Accept-Language"),
        ];
        let mut headers: HeaderMap =
            fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        // Every part is ASCII without control characters.
        if let Ok(policy) = HeaderValue::try_from(self.content_security_policy()) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        headers
    }

    fn content_security_policy(self) -> String {
        let mut policy = "default-src 'none'; style-src 'self'; img-src 'self'; ".to_owned();
        // Writing to a String does not fail.
        if let Some(script) = self.script {
            let _ = write!(policy, "script-src {script}; ");
        }
        policy.push_str("form-action 'self'");
        for target in self.form_targets {
            let _ = write!(policy, " {}", target.as_str());
        }
        policy.push_str("; frame-ancestors 'none'; base-uri 'none'");
        policy
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_the_origin_or_the_scheme() {
        let table = [
            ("https://app.example/cb?x=1", Some("https://app.example")),
            ("https://app.example:8443/cb", Some("https://app.example:8443")),
            ("HTTPS://App.Example", Some("https://app.example")),
            ("http://127.0.0.1:51004/cb", Some("http://127.0.0.1:51004")),
            ("http://[::1]:51004/cb", Some("http:")),
            ("com.example.app:/cb", Some("com.example.app:")),
            ("com.example.app://cb", Some("com.example.app:")),
            ("https://user@app.example/", None),
            ("https:///cb", None),
            ("https://app.example:/", None),
            ("https://app.example;script-src *", None),
            ("https://app.example 'unsafe-inline'", None),
            ("app.example", None),
            ("1a:b", None),
            ("", None),
        ];
        for (uri, target) in table {
            assert_eq!(FormTarget::of(uri).as_ref().map(FormTarget::as_str), target, "{uri}");
        }
    }

    #[test]
    fn the_way_on_is_named_once_and_never_opens_a_page_to_all() {
        let named = |uri, onward: &[&str]| {
            let targets = FormTarget::along(uri, onward.iter().copied());
            targets.iter().map(|target| target.as_str().to_owned()).collect::<Vec<_>>()
        };
        let onward =
            ["https://app.example/b", "https://www.app.example/", "http://[::1]/cb", "com.example.app:/cb", "x y"];
        let all = ["https://app.example", "https://www.app.example", "com.example.app:"];
        assert_eq!(named("https://app.example/a", &onward), all);
        assert_eq!(named("http://[::1]:4711/cb", &[]), ["http:"]);
        let many: Vec<String> = (0..100).map(|n| format!("https://{n}.app.example/")).collect();
        let targets = FormTarget::along("https://app.example/", many.iter().map(String::as_str));
        assert_eq!(targets.len(), MOST_TARGETS);
        assert_eq!(targets[0].as_str(), "https://app.example");
    }

    #[test]
    fn a_policy_allows_what_its_page_needs_and_no_more() {
        let targets = [FormTarget::of("https://app.example/cb").unwrap(), FormTarget::of("com.example.app:/").unwrap()];
        let headers = Policy { form_targets: &targets, script: None, keeps_opener: true }.headers();
        assert_eq!(
            headers["content-security-policy"],
            "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self' https://app.example \
             com.example.app:; frame-ancestors 'none'; base-uri 'none'"
        );
        assert_eq!(headers["cross-origin-opener-policy"], "unsafe-none");
        assert_eq!(headers["x-frame-options"], "DENY");
        assert_eq!(headers["cache-control"], "no-store");
        let headers = Policy { form_targets: &[], script: Some("'sha256-x'"), keeps_opener: false }.headers();
        assert!(
            headers["content-security-policy"]
                .to_str()
                .unwrap()
                .contains("; script-src 'sha256-x'; form-action 'self';")
        );
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
    }

    proptest! {
        /// Whatever the URI, a target adds no directive, no keyword and no second source.
        #[test]
        fn no_uri_breaks_out_of_its_directive(uri in "(https://|http://|x:|)?[ -~é]{0,40}") {
            if let Some(target) = FormTarget::of(&uri) {
                let text = target.as_str();
                prop_assert!(!text.contains([' ', ';', ',', '\'', '"', '*', '\n']), "{}", text);
                prop_assert!(text.is_ascii());
            }
        }
    }
}
