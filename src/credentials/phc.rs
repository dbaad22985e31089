//! argon2 (RFC 9106) as text: the PHC string `$argon2id$v=19$m=..,t=..,p=..$salt$hash`, read and written thinly by
//! ourselves, and its computation in memory that the caller brings.
//!
//! Only argon2id of version 19 is written. The other variants and version 16, which texts of before 2016 mean by having
//! no `v`, are read where other systems made them.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use zeroize::Zeroizing;

use super::ceilings::{Price, UnusableHash};

/// What every text of ours begins with. Version 19 (0x13) is the one RFC 9106 describes.
const PREFIX: &str = "$argon2id$v=19$";

/// Salts of this length are drawn; RFC 9106 section 3.1 recommends it.
pub(super) const SALT: usize = 16;

/// Outputs of this length are computed.
pub(super) const OUTPUT: usize = 32;

const NAME: &str = "argon2";

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
    fn params(self, output: usize) -> Result<Params, argon2::Error> {
        Params::new(self.memory_kib, self.iterations, self.parallelism, Some(output))
    }

    /// How many 1 KiB blocks of memory a computation takes; 0 where argon2 refuses the parameters.
    pub fn blocks(self) -> usize {
        self.params(OUTPUT).map_or(0, |params| params.block_count())
    }

    pub fn price(self) -> Price {
        let kib = u64::from(self.memory_kib);
        Price::Memory { kib, filled: kib * u64::from(self.iterations) }
    }
}

/// A hash as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Hash {
    variant: Algorithm,
    version: Version,
    pub cost: Cost,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").field("variant", &self.variant).field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Hash {
    /// One of ours, with an output that is nobody's yet.
    pub fn new(cost: Cost, salt: [u8; SALT], output: [u8; OUTPUT]) -> Self {
        let (salt, output) = (salt.to_vec(), output.to_vec());
        Self { variant: Algorithm::Argon2id, version: Version::V0x13, cost, salt, output }
    }

    /// Whether the text may be one of ours.
    pub fn is_own(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Whether a hash that was made now would be made the same way.
    pub fn is_of_today(&self, cost: Cost) -> bool {
        self.cost == cost && self.output.len() == OUTPUT
    }

    /// # Errors
    /// The text is of another family, or its parts do not mean anything.
    pub fn parse(text: &str) -> Result<Self, UnusableHash> {
        let hash = Self::read(text).ok_or(UnusableHash::Malformed(NAME))?;
        // A short output would be guessed; a long one is nobody's habit.
        if !(8..=64).contains(&hash.salt.len()) || !(16..=64).contains(&hash.output.len()) {
            return Err(UnusableHash::Malformed(NAME));
        }
        hash.cost.params(hash.output.len()).map_err(|_| UnusableHash::Parameters(NAME))?;
        Ok(hash)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('$')?.split('$').peekable();
        let variant = match parts.next()? {
            "argon2id" => Algorithm::Argon2id,
            "argon2i" => Algorithm::Argon2i,
            "argon2d" => Algorithm::Argon2d,
            _ => return None,
        };
        let version = match parts.next_if(|part| part.starts_with("v=")) {
            Some("v=19") => Version::V0x13,
            Some("v=16") | None => Version::V0x10,
            Some(_) => return None,
        };
        let cost = parse_cost(parts.next()?)?;
        let salt = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        let output = STANDARD_NO_PAD.decode(parts.next()?).ok()?;
        parts.next().is_none().then_some(Self { variant, version, cost, salt, output })
    }

    /// The text of one of ours with this output.
    pub fn encode(&self, output: &[u8]) -> String {
        let Cost { memory_kib, iterations, parallelism } = self.cost;
        format!(
            "{PREFIX}m={memory_kib},t={iterations},p={parallelism}${}${}",
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(output),
        )
    }

    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// What the password comes to, in `memory` of at least `cost.blocks()` blocks. Takes tens of milliseconds: never on
    /// an async thread.
    ///
    /// # Errors
    /// argon2 refuses the parameters.
    pub fn compute(&self, password: &[u8], memory: &mut [Block]) -> Result<Zeroizing<Vec<u8>>, argon2::Error> {
        let argon2 = Argon2::new(self.variant, self.version, self.cost.params(self.output.len())?);
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        argon2.hash_password_into_with_memory(password, &self.salt, &mut output, memory)?;
        Ok(output)
    }
}

/// `m=19456,t=2,p=1`, in this order, as every implementation writes it.
fn parse_cost(text: &str) -> Option<Cost> {
    let mut fields = text.split(',');
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
    let cost = Cost { memory_kib: field("m")?, iterations: field("t")?, parallelism: field("p")? };
    fields.next().is_none().then_some(cost)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn computed(hash: &Hash, password: &str) -> Vec<u8> {
        let mut memory = vec![Block::new(); hash.cost.blocks()];
        hash.compute(password.as_bytes(), &mut memory).unwrap().to_vec()
    }

    /// Made by the reference implementation: `echo -n password | argon2 somesalt -id -t 2 -m 8 -p 1 -l 32 -e`.
    #[test]
    fn a_parsed_text_is_written_back_the_same() {
        let text = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let hash = Hash::parse(text).unwrap();
        let output = computed(&hash, "password");
        assert_eq!(output, hash.output, "the reference implementation's own test vector");
        assert_eq!(hash.encode(&output), text);
    }

    /// From the reference implementation's `src/test.c`.
    #[test]
    fn the_other_variant_and_version_are_read_where_others_made_them() {
        for text in [
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8",
            "$argon2i$m=256,t=2,p=1$c29tZXNhbHQ$/U3YPXYsSb3q9XxHvc0MLxur+GP960kN9j7emXX8zwY",
        ] {
            let hash = Hash::parse(text).unwrap();
            assert_eq!(computed(&hash, "password"), hash.output, "{text}");
            assert!(!Hash::is_own(text));
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for text in [
            "",
            "$argon2id$v=19$",
            "$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=18$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$t=2,m=256,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1,x=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4$",
        ] {
            assert_eq!(Hash::parse(text), Err(UnusableHash::Malformed(NAME)), "{text}");
        }
        let zero = "$argon2id$v=19$m=256,t=0,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(Hash::parse(zero), Err(UnusableHash::Parameters(NAME)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,80}", tail in "[mtp=,0-9$A-Za-z/+]{0,80}") {
            let _ = Hash::parse(&text);
            let _ = Hash::parse(&format!("{PREFIX}{tail}"));
        }
    }
}
