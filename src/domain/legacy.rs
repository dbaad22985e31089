//! Tokens of another system, which Latchkey takes once each: what an operator says of the system that issued them.

/// An algorithm that a foreign token may be signed with (RFC 7518 section 3.1). Configuration names it, never the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyAlg {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
}

/// What kind of key an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFamily {
    /// A secret that both sides hold.
    Secret,
    Rsa,
    /// An elliptic curve, by its size.
    Ec(u16),
}

impl LegacyAlg {
    pub const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
    ];

    /// The `alg` of a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    pub const fn family(self) -> KeyFamily {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => KeyFamily::Secret,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyFamily::Rsa,
            Self::Es256 => KeyFamily::Ec(256),
            Self::Es384 => KeyFamily::Ec(384),
            Self::Es512 => KeyFamily::Ec(521),
        }
    }

    /// The shortest secret that does not weaken the hash, in bytes (RFC 7518 section 3.2); none where it takes no secret.
    pub const fn wanted_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            _ => None,
        }
    }
}

/// How the claim that names the user finds them here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserBy {
    #[default]
    ExternalId,
    Username,
    Sub,
}

impl UserBy {
    pub const ALL: [Self; 3] = [Self::ExternalId, Self::Username, Self::Sub];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::Username => "username",
            Self::Sub => "sub",
        }
    }
}

/// How a secret is spelled where it is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretEncoding {
    /// Its bytes are the secret.
    #[default]
    Text,
    /// As Java's libraries have it.
    Base64,
}

impl SecretEncoding {
    pub const ALL: [Self; 2] = [Self::Text, Self::Base64];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Base64 => "base64",
        }
    }
}
