//! argon2id (RFC 9106) as text: the PHC string `$argon2id$v=19$m=..,t=..,p=..$salt$hash`, read and written thinly by
//! ourselves, and its computation in memory that the caller brings.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use crate::domain::secret::SecretText;

/// What every text of ours begins with. Version 19 (0x13) is the one RFC 9106 describes.
const PREFIX: &str = "$argon2id$v=19$";

/// Salts of this length are drawn; RFC 9106 section 3.1 recommends it.
pub(super) const SALT: usize = 16;

/// Outputs of this length are computed.
pub(super) const OUTPUT: usize = 32;

/// The most memory that a hash from outside may ask for, in KiB: 1 GiB.
const MOST_MEMORY: u32 = 1 << 20;

/// The most work that a hash from outside may ask for, in KiB times passes: 4 GiB, libsodium's "sensitive".
const MOST_WORK: u64 = 1 << 22;

/// How expensive a hash is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
}

impl Cost {
    /// # Errors
    /// argon2 knows no such parameters: memory below 8 KiB per lane, or something is zero.
    pub fn params(self, output: usize) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(output))
    }

    /// How many 1 KiB blocks of memory a computation takes; 0 where argon2 refuses the parameters.
    pub fn blocks(self) -> usize {
        self.params(OUTPUT).map_or(0, |params| params.block_count())
    }
}

/// The text is not a hash that can be checked here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    #[error("not an argon2id PHC string: $argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash> is one")]
    Malformed,
    #[error("argon2 knows no such parameters")]
    Parameters,
    #[error("checking it would take more than 1 GiB of memory, or 4 GiB times passes")]
    TooExpensive,
}

/// A hash as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    pub cost: Cost,
    pub salt: Vec<u8>,
    pub output: Vec<u8>,
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Hash {
    /// # Errors
    /// The text is of another family or version, or its parts do not mean anything.
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        let rest = text.strip_prefix(PREFIX).ok_or(UnusableHash::Malformed)?;
        let mut parts = rest.split('$');
        let (Some(cost), Some(salt), Some(output), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(UnusableHash::Malformed);
        };
        let cost = parse_cost(cost).ok_or(UnusableHash::Malformed)?;
        let salt = STANDARD_NO_PAD.decode(salt).map_err(|_| UnusableHash::Malformed)?;
        let output = STANDARD_NO_PAD.decode(output).map_err(|_| UnusableHash::Malformed)?;
        // A short output would be guessed; a long one is nobody's habit.
        if !(8..=64).contains(&salt.len()) || !(16..=64).contains(&output.len()) {
            return Err(UnusableHash::Malformed);
        }
        cost.params(output.len()).map_err(|_| UnusableHash::Parameters)?;
        Ok(Self { cost, salt, output })
    }

    pub fn encode(&self) -> String {
        let Cost { memory_kib, iterations, parallelism } = self.cost;
        format!(
            "{PREFIX}m={memory_kib},t={iterations},p={parallelism}${}${}",
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(&self.output),
        )
    }
}

/// Whether a hash that was made elsewhere can be taken in: whoever may import hashes must not be able to stop the
/// service with one that takes minutes to check.
///
/// # Errors
/// It cannot be checked here, or only at too high a price.
pub fn check_importable(text: &str) -> Result<(), UnusableHash> {
    let cost = Hash::parse(text)?.cost;
    let work = u64::from(cost.memory_kib) * u64::from(cost.iterations);
    if cost.memory_kib > MOST_MEMORY || work > MOST_WORK {
        return Err(UnusableHash::TooExpensive);
    }
    Ok(())
}

/// `m=19456,t=2,p=1`, in this order, as every implementation writes it.
fn parse_cost(text: &str) -> Option<Cost> {
    let mut fields = text.split(',');
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    let cost = Cost { memory_kib: field("m")?, iterations: field("t")?, parallelism: field("p")? };
    fields.next().is_none().then_some(cost)
}

/// Computes `length` bytes, in `memory` of at least `cost.blocks()` blocks. Takes tens of milliseconds: never on an
/// async thread.
///
/// # Errors
/// argon2 refuses the parameters.
pub(super) fn compute(
    cost: Cost,
    password: &SecretText,
    salt: &[u8],
    length: usize,
    memory: &mut [Block],
) -> Result<Zeroizing<Vec<u8>>, argon2::Error> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params(length)?);
    let mut output = Zeroizing::new(vec![0; length]);
    argon2.hash_password_into_with_memory(password.expose().as_bytes(), salt, &mut output, memory)?;
    Ok(output)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 8 -p 1 -l 32 -e`.
    #[test]
    fn a_parsed_text_is_written_back_the_same() {
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash = Hash::parse(text).unwrap();
        assert_eq!(hash.encode(), text);
        let mut memory = vec![Block::new(); hash.cost.blocks()];
        let output = compute(hash.cost, &SecretText::new("password"), &hash.salt, hash.output.len(), &mut memory);
        assert_eq!(*output.unwrap(), hash.output, "the reference implementation's own test vector");
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        for text in [
            "",
            "$argon2id$v=19$",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$t=2,m=256,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1,x=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
        ] {
            assert_eq!(Hash::parse(text), Err(UnusableHash::Malformed), "{text}");
        }
        let zero = "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(Hash::parse(zero), Err(UnusableHash::Parameters));
        let dear = zero.replace("m=256,t=0", "m=1048576,t=5");
        assert_eq!(check_importable(&dear), Err(UnusableHash::TooExpensive));
        assert_eq!(check_importable(&zero.replace("t=0", "t=3")), Ok(()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}", tail in "[mtp=,0-9$A-Za-z/+]{0,80}") {
            let _ = Hash::parse(&text);
            let _ = check_importable(&format!("{PREFIX}{tail}"));
        }
    }
}
