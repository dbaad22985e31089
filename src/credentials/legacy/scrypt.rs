//! scrypt (RFC 7914), as Django writes it (`scrypt$<N>$<salt>$<r>$<p>$<base64>`) and Spring Security's
//! `SCryptPasswordEncoder` (`$<log N, r, p in one hexadecimal number>$<base64>$<base64>`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use scrypt::Params;
use zeroize::Zeroizing;

use crate::credentials::ceilings::{Price, UnusableHash};
use crate::domain::secret::same;

const NAME: &str = "scrypt";

/// The longest salt that is taken. Spring Security writes 64 bytes.
const SALT_MAX: usize = 128;

#[derive(Clone, PartialEq, Eq)]
pub struct ScryptHash {
    log_n: u8,
    r: u32,
    p: u32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl ScryptHash {
    /// `N$salt$r$p$base64`; the salt is text, and its bytes are what counts.
    pub fn of_django(text: &str) -> Result<Self, UnusableHash> {
        let read = || {
            let mut parts = text.split('$');
            let n: u64 = parts.next()?.parse().ok()?;
            let salt = parts.next()?.as_bytes().to_vec();
            let (r, p) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let output = STANDARD.decode(parts.next()?).ok()?;
            let log_n = n.is_power_of_two().then(|| n.trailing_zeros())?;
            let hash = Self { log_n: u8::try_from(log_n).ok()?, r, p, salt, output };
            (hash.is_shaped() && parts.next().is_none()).then_some(hash)
        };
        read().ok_or(UnusableHash::Malformed(NAME))?.legal()
    }

    /// `$params$salt$base64`.
    pub fn of_spring(text: &str) -> Result<Self, UnusableHash> {
        let read = || {
            let mut parts = text.strip_prefix('$')?.split('$');
            let params = parts.next().filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            let params = u32::from_str_radix(params, 16).ok()?;
            let salt = STANDARD.decode(parts.next()?).ok()?;
            let output = STANDARD.decode(parts.next()?).ok()?;
            let (log_n, r, p) = (u8::try_from(params >> 16).ok()?, params >> 8 & 0xff, params & 0xff);
            let hash = Self { log_n, r, p, salt, output };
            (hash.is_shaped() && parts.next().is_none()).then_some(hash)
        };
        read().ok_or(UnusableHash::Malformed(NAME))?.legal()
    }

    /// A short output would be guessed; Django writes 64 bytes, Spring Security 32.
    fn is_shaped(&self) -> bool {
        (16..=64).contains(&self.output.len()) && (1..=SALT_MAX).contains(&self.salt.len())
    }

    fn legal(self) -> Result<Self, UnusableHash> {
        // RFC 7914 bounds r * p below 2^30; the library multiplies them before it looks.
        let product = u64::from(self.r) * u64::from(self.p);
        let is_legal = self.log_n > 0 && product < 1 << 30 && Params::new(self.log_n, self.r, self.p).is_ok();
        if is_legal { Ok(self) } else { Err(UnusableHash::Parameters(NAME)) }
    }

    /// N blocks of 128 r bytes and p more are there at once; the N are filled p times.
    pub fn price(&self) -> Price {
        let block = 128 * u64::from(self.r);
        let n = 1_u64.checked_shl(u32::from(self.log_n)).unwrap_or(u64::MAX);
        let (r, p) = (block, u64::from(self.p));
        let kib = n.saturating_add(p).saturating_mul(r).div_ceil(1024);
        let filled = n.saturating_mul(p).saturating_mul(r).div_ceil(1024);
        // r and p that are out of all proportion to N take their time with the p blocks themselves.
        Price::Memory { kib, filled: filled.max(kib) }
    }

    pub fn is_of(&self, password: &[u8]) -> bool {
        let Ok(params) = Params::new(self.log_n, self.r, self.p) else { return false };
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        scrypt::scrypt(password, &self.salt, &params, &mut output).is_ok() && same(&output, &self.output)
    }
}
