//! bcrypt: `$2b$12$<22 characters of salt><31 of hash>`, as crypt(3), PHP, Spring Security and Django keep it.
//!
//! A password is taken as its bytes and one NUL after them, and of these the first 72: what stands beyond never counted
//! where the hash was made, so it does not count here. `$2a$`, `$2b$` and `$2y$` differ in old defects that no UTF-8
//! text of up to 254 bytes brings to light; `$2x$` marks hashes that were made with one, and is refused. A NUL within
//! the password counts as any byte, as in Spring Security; PHP and Python refuse to hash one.
//!
//! Django's `bcrypt_sha256` gives bcrypt the SHA-256 of the password as 64 hexadecimal digits, so that all of it counts.

use base64::Engine as _;
use base64::alphabet::BCRYPT;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::hex;
use crate::credentials::ceilings::{Price, UnusableHash};
use crate::domain::secret::{same, sha256};

const NAME: &str = "bcrypt";

/// What bcrypt looks at, the NUL at the end included.
const LONGEST: usize = 72;

/// bcrypt's own alphabet. The last digit of a salt has bits to spare, which not every writer leaves at zero.
const DIGITS: GeneralPurpose = GeneralPurpose::new(
    &BCRYPT,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

#[derive(Clone, PartialEq, Eq)]
pub struct BcryptHash {
    /// Whether bcrypt was given the password's SHA-256.
    of_sha256: bool,
    cost: u32,
    salt: [u8; 16],
    output: [u8; 23],
}

impl BcryptHash {
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        let hash = Self::read(text).ok_or(UnusableHash::Malformed(NAME))?;
        if (4..=31).contains(&hash.cost) { Ok(hash) } else { Err(UnusableHash::Parameters(NAME)) }
    }

    pub fn of_sha256(text: &str) -> Result<Self, UnusableHash> {
        Ok(Self { of_sha256: true, ..Self::parse(text)? })
    }

    fn read(text: &str) -> Option<Self> {
        let rest = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix))?;
        let (cost, digits) = rest.split_once('$')?;
        if cost.len() != 2 || digits.len() != 53 || !digits.is_ascii() {
            return None;
        }
        let (salt, output) = digits.split_at(22);
        Some(Self {
            of_sha256: false,
            cost: cost.parse().ok()?,
            salt: DIGITS.decode(salt).ok()?.try_into().ok()?,
            output: DIGITS.decode(output).ok()?.try_into().ok()?,
        })
    }

    pub fn price(&self) -> Price {
        Price::Bcrypt { cost: self.cost }
    }

    pub fn is_of(&self, password: &[u8]) -> bool {
        let mut key = Zeroizing::new(Vec::with_capacity(password.len().max(64) + 1));
        if self.of_sha256 {
            key.extend_from_slice(Zeroizing::new(hex(&sha256(password))).as_bytes());
        } else {
            key.extend_from_slice(password);
        }
        key.push(0);
        key.truncate(LONGEST);
        same(&bcrypt::bcrypt(self.cost, self.salt, &key)[..self.output.len()], &self.output)
    }
}
