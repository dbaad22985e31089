//! Password hashes that other systems made, as they stored them: read, and checked the way the original checks them. A
//! file per family; argon2 is read in [`super::phc`], beside our own.
//!
//! | stored | made by |
//! |---|---|
//! | `$argon2i$..`, `$argon2d$..`, `argon2$argon2id$..`, `{argon2}$argon2id$..`, `{argon2@SpringSecurity_v5_8}$..` | libargon2 and its callers, Django, Spring Security |
//! | `$2a$..`, `$2b$..`, `$2y$..`, `bcrypt$$2b$..`, `bcrypt_sha256$$2b$..`, `{bcrypt}$2a$..`, `{CRYPT}$2y$..` | PHP and whatever calls crypt(3), Django, Spring Security, directories |
//! | `pbkdf2_sha256$..`, `pbkdf2_sha1$..`, `{pbkdf2}..`, `{pbkdf2@SpringSecurity_v5_8}..` | Django, Spring Security |
//! | `scrypt$..`, `{scrypt}$..`, `{scrypt@SpringSecurity_v5_8}$..` | Django, Spring Security |
//! | `{SSHA}..`, `{SSHA256}..`, `{SSHA384}..`, `{SSHA512}..`, `{ldap}{SSHA}..` | OpenLDAP and other directories, Spring Security |
//!
//! None of them is ever written here: a login that succeeds replaces it by argon2id.

mod bcrypt;
mod pbkdf2;
mod scrypt;
mod ssha;

use self::bcrypt::BcryptHash;
use self::pbkdf2::Pbkdf2Hash;
use self::scrypt::ScryptHash;
use self::ssha::SshaHash;
use super::ceilings::{Price, UnusableHash};
use super::memory::MemoryPool;
use super::phc;
use crate::domain::secret::same;

/// A hash that another system made.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Legacy {
    Argon2(phc::Hash),
    Bcrypt(BcryptHash),
    Pbkdf2(Pbkdf2Hash),
    Scrypt(ScryptHash),
    Ssha(SshaHash),
}

impl Legacy {
    /// Reads a stored text, whatever checking it costs.
    ///
    /// # Errors
    /// It is of no family that is known here, or means nothing.
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        match text.strip_prefix('{').map(|rest| rest.split_once('}')) {
            Some(Some((id, rest))) => Self::by_id(&id.to_ascii_lowercase(), rest),
            Some(None) => Err(UnusableHash::Unknown),
            None if text.starts_with('$') => Self::modular(text),
            None => Self::django(text),
        }
    }

    /// `{id}` before the hash: Spring Security's `DelegatingPasswordEncoder`, and directories (RFC 2307), which take the
    /// name of a scheme in any case.
    fn by_id(id: &str, rest: &str) -> Result<Self, UnusableHash> {
        match id {
            "bcrypt" => BcryptHash::parse(rest).map(Self::Bcrypt),
            // What Spring Security named after its version differs in the parameters, and these are in the text.
            "argon2" | "argon2@springsecurity_v5_8" => phc::Hash::parse(rest).map(Self::Argon2),
            "scrypt" | "scrypt@springsecurity_v5_8" => ScryptHash::of_spring(rest).map(Self::Scrypt),
            "pbkdf2" => Pbkdf2Hash::of_spring(rest, pbkdf2::SPRING_5_5).map(Self::Pbkdf2),
            "pbkdf2@springsecurity_v5_8" => Pbkdf2Hash::of_spring(rest, pbkdf2::SPRING_5_8).map(Self::Pbkdf2),
            // Directories keep under this name what crypt(3) made.
            "crypt" => Self::modular(rest),
            // Spring Security's LdapShaPasswordEncoder.
            "ldap" => {
                let inner = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                let (id, rest) = inner.ok_or(UnusableHash::Unknown)?;
                SshaHash::parse(&id.to_ascii_lowercase(), rest).map(Self::Ssha)
            }
            id => SshaHash::parse(id, rest).map(Self::Ssha),
        }
    }

    /// `$id$` before the hash: crypt(3) and the PHC string format.
    fn modular(text: &str) -> Result<Self, UnusableHash> {
        if text.starts_with("$argon2") {
            phc::Hash::parse(text).map(Self::Argon2)
        } else if text.starts_with("$2") {
            BcryptHash::parse(text).map(Self::Bcrypt)
        } else {
            Err(UnusableHash::Unknown)
        }
    }

    /// `algorithm$` before the hash: Django. Where it stores a modular text, that keeps its own first dollar.
    fn django(text: &str) -> Result<Self, UnusableHash> {
        let (algorithm, rest) = text.split_once('$').ok_or(UnusableHash::Unknown)?;
        match algorithm {
            "argon2" => phc::Hash::parse(&format!("${rest}")).map(Self::Argon2),
            "bcrypt" => BcryptHash::parse(rest).map(Self::Bcrypt),
            "bcrypt_sha256" => BcryptHash::of_sha256(rest).map(Self::Bcrypt),
            "pbkdf2_sha256" => Pbkdf2Hash::of_django(rest, pbkdf2::Digest::Sha256).map(Self::Pbkdf2),
            "pbkdf2_sha1" => Pbkdf2Hash::of_django(rest, pbkdf2::Digest::Sha1).map(Self::Pbkdf2),
            "scrypt" => ScryptHash::of_django(rest).map(Self::Scrypt),
            _ => Err(UnusableHash::Unknown),
        }
    }

    /// What one check costs.
    pub fn price(&self) -> Price {
        match self {
            Self::Argon2(hash) => hash.cost.price(),
            Self::Bcrypt(hash) => hash.price(),
            Self::Pbkdf2(hash) => hash.price(),
            Self::Scrypt(hash) => hash.price(),
            Self::Ssha(_) => Price::Nothing,
        }
    }

    /// Whether the hash was made of this password. Takes from a microsecond to seconds: never on an async thread.
    pub fn is_of(&self, password: &[u8], memory: &MemoryPool) -> bool {
        match self {
            Self::Argon2(hash) => {
                let mut buffer = memory.take(hash.cost.blocks());
                let output = hash.compute(password, &mut buffer);
                memory.give_back(buffer);
                output.is_ok_and(|output| same(&output, hash.output()))
            }
            Self::Bcrypt(hash) => hash.is_of(password),
            Self::Pbkdf2(hash) => hash.is_of(password),
            Self::Scrypt(hash) => hash.is_of(password),
            Self::Ssha(hash) => hash.is_of(password),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.as_bytes().chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
