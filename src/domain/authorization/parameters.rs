//! The parameters of an authorization request as they arrive (RFC 6749 section 3.1, appendix B): an empty value counts as
//! absent, an unknown parameter is ignored, a known one may come once, but for `resource` (RFC 8707 section 2).

/// Bytes of all names and values at most. A started login carries them through every page, in its address.
pub const LARGEST_REQUEST: usize = 8 << 10;

/// What has a meaning here, be it only that it is refused.
const KNOWN: [&str; 21] = [
    "client_id",
    "redirect_uri",
    "response_type",
    "response_mode",
    "scope",
    "resource",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "max_age",
    "login_hint",
    "id_token_hint",
    "display",
    "ui_locales",
    "claims",
    "acr_values",
    "request",
    "request_uri",
    "registration",
];

/// The names and values of a request, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Takes what has a value.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first parameter that may come once and comes again.
    pub fn repeated(&self) -> Option<&'static str> {
        KNOWN.into_iter().filter(|name| *name != "resource").find(|name| self.all(name).nth(1).is_some())
    }

    /// The first parameter with a NUL in it.
    pub fn with_nul(&self) -> Option<&'static str> {
        KNOWN.into_iter().find(|name| self.all(name).any(|value| value.contains('\0')))
    }

    /// Whether one of these comes more than once.
    pub fn repeats(&self, name: &str) -> bool {
        self.all(name).nth(1).is_some()
    }

    /// Bytes of what has a meaning.
    pub fn size(&self) -> usize {
        let known = self.0.iter().filter(|(name, _)| KNOWN.contains(&name.as_str()));
        known.map(|(name, value)| name.len() + value.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn what_is_empty_is_absent_and_what_is_unknown_does_not_count() {
        let given = parameters(&[("state", ""), ("state", "a"), ("other", "1"), ("other", "2"), ("nonce", "")]);
        assert_eq!((given.get("state"), given.get("nonce")), (Some("a"), None));
        assert_eq!(given.repeated(), None);
        assert_eq!(given.size(), "statea".len());
    }

    #[test]
    fn resource_alone_may_come_again() {
        let given = parameters(&[("resource", "a"), ("resource", "b")]);
        assert_eq!(given.repeated(), None);
        assert_eq!(given.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        for name in KNOWN.into_iter().filter(|name| *name != "resource") {
            assert_eq!(parameters(&[(name, "a"), ("x", "y"), (name, "a")]).repeated(), Some(name));
        }
    }
}
