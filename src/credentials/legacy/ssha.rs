//! What directories keep (RFC 2307 and OpenLDAP's `slapd-sha2`): `{SSHA}` before the base64 of a hash of password and
//! salt, and the salt after it. One hash, which costs a guesser nothing: the reason to let users log in soon.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::credentials::ceilings::UnusableHash;
use crate::domain::secret::same;

const NAME: &str = "SSHA";

/// The longest salt that is taken. OpenLDAP writes 4 to 16 bytes.
const SALT_MAX: usize = 64;

/// Some writers leave the padding out.
const DIGITS: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Ssha,
    Ssha256,
    Ssha384,
    Ssha512,
}

#[derive(Clone, PartialEq, Eq)]
pub struct SshaHash {
    scheme: Scheme,
    output: Vec<u8>,
    salt: Vec<u8>,
}

impl SshaHash {
    /// `scheme` is what stands in braces, in small letters.
    pub fn parse(scheme: &str, text: &str) -> Result<Self, UnusableHash> {
        let (scheme, length) = match scheme {
            "ssha" => (Scheme::Ssha, 20),
            "ssha256" => (Scheme::Ssha256, 32),
            "ssha384" => (Scheme::Ssha384, 48),
            "ssha512" => (Scheme::Ssha512, 64),
            _ => return Err(UnusableHash::Unknown),
        };
        let mut output = DIGITS.decode(text).map_err(|_| UnusableHash::Malformed(NAME))?;
        if !(length + 1..=length + SALT_MAX).contains(&output.len()) {
            return Err(UnusableHash::Malformed(NAME));
        }
        let salt = output.split_off(length);
        Ok(Self { scheme, output, salt })
    }

    pub fn is_of(&self, password: &[u8]) -> bool {
        match self.scheme {
            Scheme::Ssha => same(&Sha1::new().chain_update(password).chain_update(&self.salt).finalize(), &self.output),
            Scheme::Ssha256 => {
                same(&Sha256::new().chain_update(password).chain_update(&self.salt).finalize(), &self.output)
            }
            Scheme::Ssha384 => {
                same(&Sha384::new().chain_update(password).chain_update(&self.salt).finalize(), &self.output)
            }
            Scheme::Ssha512 => {
                same(&Sha512::new().chain_update(password).chain_update(&self.salt).finalize(), &self.output)
            }
        }
    }
}
