//! PBKDF2 (RFC 8018) with HMAC, as Django writes it (`pbkdf2_sha256$600000$<salt>$<base64>`) and Spring Security's
//! `Pbkdf2PasswordEncoder` (salt and hash in one, in hexadecimal; the parameters are only in its code).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::unhex;
use crate::credentials::ceilings::{Price, UnusableHash};
use crate::domain::secret::same;

const NAME: &str = "PBKDF2";

/// The longest salt that is taken. Django writes 22 characters.
const SALT_MAX: usize = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    Sha1,
    Sha256,
}

/// What Spring Security's defaults were in some version.
#[derive(Clone, Copy)]
pub struct Spring {
    digest: Digest,
    iterations: u32,
    salt: usize,
}

/// `{pbkdf2}`: `Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_5`.
pub(super) const SPRING_5_5: Spring = Spring { digest: Digest::Sha1, iterations: 185_000, salt: 8 };

/// `{pbkdf2@SpringSecurity_v5_8}`: `Pbkdf2PasswordEncoder.defaultsForSpringSecurity_v5_8`.
pub(super) const SPRING_5_8: Spring = Spring { digest: Digest::Sha256, iterations: 310_000, salt: 16 };

/// Both of them write 256 bits.
const SPRING_OUTPUT: usize = 32;

#[derive(Clone, PartialEq, Eq)]
pub struct Pbkdf2Hash {
    digest: Digest,
    iterations: u32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Pbkdf2Hash {
    /// `iterations$salt$base64`; the salt is text, and its bytes are what counts.
    pub fn of_django(text: &str, digest: Digest) -> Result<Self, UnusableHash> {
        let read = || {
            let mut parts = text.split('$');
            let (iterations, salt, output) = (parts.next()?, parts.next()?, parts.next()?);
            let salt = salt.as_bytes().to_vec();
            let hash =
                Self { digest, iterations: iterations.parse().ok()?, salt, output: STANDARD.decode(output).ok()? };
            let whole = match digest {
                Digest::Sha1 => 20,
                Digest::Sha256 => 32,
            };
            let fits = hash.output.len() == whole && (1..=SALT_MAX).contains(&hash.salt.len());
            (fits && parts.next().is_none()).then_some(hash)
        };
        let hash = read().ok_or(UnusableHash::Malformed(NAME))?;
        if hash.iterations == 0 { Err(UnusableHash::Parameters(NAME)) } else { Ok(hash) }
    }

    /// Salt and hash in one, in hexadecimal.
    pub fn of_spring(text: &str, made: Spring) -> Result<Self, UnusableHash> {
        let mut salt = unhex(text).ok_or(UnusableHash::Malformed(NAME))?;
        if salt.len() != made.salt + SPRING_OUTPUT {
            return Err(UnusableHash::Malformed(NAME));
        }
        let output = salt.split_off(made.salt);
        Ok(Self { digest: made.digest, iterations: made.iterations, salt, output })
    }

    pub fn price(&self) -> Price {
        Price::Pbkdf2 { iterations: self.iterations }
    }

    pub fn is_of(&self, password: &[u8]) -> bool {
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        match self.digest {
            Digest::Sha1 => pbkdf2::pbkdf2_hmac::<Sha1>(password, &self.salt, self.iterations, &mut output),
            Digest::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(password, &self.salt, self.iterations, &mut output),
        }
        same(&output, &self.output)
    }
}
