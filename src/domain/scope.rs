//! Scope as RFC 6749 section 3.3 spells it, and the reserved `admin*` names.

use std::fmt;

/// Every administrative scope there is. `admin` holds all the others; a name holds itself with `:read`.
pub const ADMIN_SCOPES: [&str; 12] = [
    "admin",
    "admin:keys",
    "admin:keys:read",
    "admin:clients",
    "admin:clients:read",
    "admin:users",
    "admin:users:read",
    "admin:sessions",
    "admin:sessions:read",
    "admin:audit",
    "admin:audit:read",
    "admin:metrics",
];

/// A set of scope tokens that remembers the order they were named in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope(Vec<String>);

/// The text is not a scope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a scope token: printable ASCII without space, quote and backslash is (RFC 6749 section 3.3)")]
pub struct NotAScope(pub String);

impl Scope {
    /// Tokens separated by single spaces; repeated ones count once.
    ///
    /// # Errors
    /// A token holds a character that RFC 6749 section 3.3 does not allow.
    pub fn parse(text: &str) -> Result<Self, NotAScope> {
        let mut tokens = Vec::new();
        for token in text.split(' ').filter(|token| !token.is_empty()) {
            let legal = token.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e));
            if !legal {
                return Err(NotAScope(token.chars().take(64).collect()));
            }
            if !tokens.iter().any(|known| known == token) {
                tokens.push(token.to_owned());
            }
        }
        Ok(Self(tokens))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|known| known == token)
    }

    /// The first token of `self` that `other` lacks.
    pub fn first_outside(&self, other: &Self) -> Option<&str> {
        self.iter().find(|token| !other.contains(token))
    }

    /// The tokens of both, those of `self` first.
    pub fn union(&self, other: &Self) -> Self {
        let more = other.iter().filter(|token| !self.contains(token)).map(str::to_owned);
        Self(self.0.iter().cloned().chain(more).collect())
    }

    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|token| keep(token)).cloned().collect())
    }

    /// What a request that names no scope gets: all but the reserved `admin*` names.
    pub fn without_admin(&self) -> Self {
        self.filtered(|token| !is_admin(token))
    }

    pub fn only_admin(&self) -> Self {
        self.filtered(is_admin)
    }

    /// Whether this scope gives the administrative right `needed`: by name, through `admin`, or as the writing right
    /// that holds the reading one.
    pub fn gives(&self, needed: &str) -> bool {
        self.iter().any(|held| {
            held == needed
                || (held == "admin" && is_admin(needed))
                || (is_admin(held) && needed.strip_suffix(":read") == Some(held))
        })
    }
}

/// Whether the name is reserved for administration.
pub fn is_admin(token: &str) -> bool {
    token.starts_with("admin")
}

/// Whether the name is reserved and means nothing.
pub fn is_unknown_admin(token: &str) -> bool {
    is_admin(token) && !ADMIN_SCOPES.contains(&token)
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl serde::Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_parsed_once_per_token_and_refused_by_character() {
        assert_eq!(Scope::parse("read  write read").map(|s| s.to_string()), Ok("read write".into()));
        assert_eq!(Scope::parse("a\"b"), Err(NotAScope("a\"b".into())));
        assert!(Scope::parse("é").is_err());
    }

    #[test]
    fn admin_rights_flow_down_and_never_up_or_sideways() -> Result<(), NotAScope> {
        let all = Scope::parse("admin")?;
        let keys = Scope::parse("admin:keys")?;
        let read = Scope::parse("admin:keys:read")?;
        for needed in ADMIN_SCOPES {
            assert!(all.gives(needed), "{needed}");
        }
        assert!(keys.gives("admin:keys:read") && keys.gives("admin:keys"));
        assert!(!keys.gives("admin") && !keys.gives("admin:users") && !keys.gives("admin:users:read"));
        assert!(read.gives("admin:keys:read") && !read.gives("admin:keys"));
        assert!(!Scope::parse("read")?.gives("read:read"));
        Ok(())
    }
}
