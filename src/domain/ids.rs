//! Names of things: `client_id`, `sub`, `kid`, `jti`, `sid`, sign-ins. Generated ones carry 128 random bits or more.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::sources::{Clock, Entropy, random};
use super::time::Timestamp;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id! {
    /// RFC 6749 section 2.2. Never begins with [`SUB_PREFIX`], so it never equals a `sub`.
    ClientId
}
text_id! {
    /// A user's stable subject identifier, generated, beginning with [`SUB_PREFIX`].
    Sub
}
text_id! {
    /// A signing key's RFC 7638 thumbprint.
    Kid
}
text_id! {
    /// An access token's identifier: 48 bits of milliseconds, then 80 random bits, so that it tells when it was made.
    Jti
}

/// What every `sub` begins with and no `client_id` may.
pub const SUB_PREFIX: &str = "usr_";

/// The `client_id` of the built-in administrator.
pub const BUILT_IN_ADMIN: &str = "latchkey-admin";

impl Sub {
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(format!("{SUB_PREFIX}{}", URL_SAFE_NO_PAD.encode(random::<16>(entropy))))
    }
}

impl ClientId {
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(format!("cli_{}", URL_SAFE_NO_PAD.encode(random::<16>(entropy))))
    }
}

impl Jti {
    pub fn generate(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let millis = u64::try_from(clock.now().millis()).unwrap_or(0).to_be_bytes();
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis[2..]);
        bytes[6..].copy_from_slice(&random::<10>(entropy));
        Self(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// When it was made; `None` where it was not made by [`Jti::generate`].
    pub fn minted_at(&self) -> Option<Timestamp> {
        let bytes: [u8; 16] = URL_SAFE_NO_PAD.decode(&self.0).ok()?.try_into().ok()?;
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&bytes[..6]);
        Some(Timestamp::from_millis(i64::from_be_bytes(millis)))
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub fn generate(entropy: &dyn Entropy) -> Self {
                Self(random(entropy))
            }

            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        #[doc = concat!("The text is not a ", $what, " id.")]
        #[derive(Debug, PartialEq, Eq, thiserror::Error)]
        #[error("not a {} id: 22 characters of base64url are one", $what)]
        pub struct $error;

        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| $error)?;
                bytes.try_into().map(Self).map_err(|_| $error)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id! {
    /// A session's identifier, `sid` in its access tokens: 16 random bytes, shown in base64url.
    SessionId, "session", NotASessionId
}
bytes_id! {
    /// A sign-in's public name, no secret: 16 random bytes, shown in base64url.
    SignInId, "sign-in", NotASignInId
}
bytes_id! {
    /// One run of the program that serves a database: 16 random bytes, shown in base64url.
    NodeId, "node", NotANodeId
}
