//! What checking a password hash may cost at most: whoever may import hashes must not be able to stop the service with
//! one that takes minutes. Held at import, and again at every check, since an operator may have lowered it since.

use super::phc::Cost;

/// The texts that are taken, for whoever gave another one.
const KNOWN: &str = "argon2 ($argon2id$, argon2$, {argon2}), bcrypt ($2a$, $2b$, $2y$, bcrypt$, bcrypt_sha256$, \
                     {bcrypt}), PBKDF2 (pbkdf2_sha256$, pbkdf2_sha1$, {pbkdf2}, {pbkdf2@SpringSecurity_v5_8}), scrypt \
                     (scrypt$, {scrypt}, {scrypt@SpringSecurity_v5_8}) and {SSHA}, {SSHA256}, {SSHA384}, {SSHA512}";

/// How often the whole of the memory may be filled. Memory alone does not bound the time: passes and lanes do the rest.
const FILLS: u64 = 16;

/// The operator's `passwords.ceiling_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceilings {
    /// Iterations of PBKDF2.
    pub pbkdf2: u32,
    /// The logarithm that bcrypt calls its cost.
    pub bcrypt: u32,
    /// What argon2 and scrypt fill, in KiB.
    pub memory_kib: u32,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self { pbkdf2: 10_000_000, bcrypt: 16, memory_kib: 256 << 10 }
    }
}

/// The text is not a hash that can be checked here. Nothing of the text is in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnusableHash {
    #[error("no hash of a known family; these are: {KNOWN}")]
    Unknown,
    #[error("it begins like a hash of {0}, and what follows is none")]
    Malformed(&'static str),
    #[error("{0} knows no such parameters")]
    Parameters(&'static str),
    #[error("it takes {iterations} iterations of PBKDF2, and passwords.ceiling_pbkdf2 is {ceiling}")]
    Iterations { iterations: u32, ceiling: u32 },
    #[error("it is of bcrypt's cost {cost}, and passwords.ceiling_bcrypt is {ceiling}")]
    BcryptCost { cost: u32, ceiling: u32 },
    #[error("it takes {kib} KiB of memory, and passwords.ceiling_memory is {ceiling} KiB")]
    Memory { kib: u64, ceiling: u32 },
    #[error("it fills {kib} KiB of memory in all, and {FILLS} times passwords.ceiling_memory is {ceiling} KiB")]
    Work { kib: u64, ceiling: u64 },
}

/// What checking a hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Price {
    Nothing,
    Pbkdf2 {
        iterations: u32,
    },
    Bcrypt {
        cost: u32,
    },
    /// KiB at once, and KiB filled from the beginning to the end.
    Memory {
        kib: u64,
        filled: u64,
    },
}

impl Ceilings {
    /// # Errors
    /// The price is above them.
    pub(super) fn admit(&self, price: Price) -> Result<(), UnusableHash> {
        let most = u64::from(self.memory_kib) * FILLS;
        match price {
            Price::Pbkdf2 { iterations } if iterations > self.pbkdf2 => {
                Err(UnusableHash::Iterations { iterations, ceiling: self.pbkdf2 })
            }
            Price::Bcrypt { cost } if cost > self.bcrypt => {
                Err(UnusableHash::BcryptCost { cost, ceiling: self.bcrypt })
            }
            Price::Memory { kib, .. } if kib > u64::from(self.memory_kib) => {
                Err(UnusableHash::Memory { kib, ceiling: self.memory_kib })
            }
            Price::Memory { filled, .. } if filled > most => Err(UnusableHash::Work { kib: filled, ceiling: most }),
            _ => Ok(()),
        }
    }

    /// Raised, where they are lower, to what this service is itself set to make.
    pub(super) fn at_least(self, own: Cost) -> Self {
        let passes = u64::from(own.memory_kib) * u64::from(own.iterations);
        let needed = u64::from(own.memory_kib).max(passes.div_ceil(FILLS));
        Self { memory_kib: self.memory_kib.max(u32::try_from(needed).unwrap_or(u32::MAX)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_ceiling_is_the_last_that_is_taken() {
        let ceilings = Ceilings { pbkdf2: 10, bcrypt: 5, memory_kib: 100 };
        for (price, taken) in [
            (Price::Nothing, true),
            (Price::Pbkdf2 { iterations: 10 }, true),
            (Price::Pbkdf2 { iterations: 11 }, false),
            (Price::Bcrypt { cost: 5 }, true),
            (Price::Bcrypt { cost: 6 }, false),
            (Price::Memory { kib: 100, filled: 1600 }, true),
            (Price::Memory { kib: 101, filled: 101 }, false),
            (Price::Memory { kib: 1, filled: 1601 }, false),
        ] {
            assert_eq!(ceilings.admit(price).is_ok(), taken, "{price:?}");
        }
    }

    #[test]
    fn what_the_service_makes_itself_it_also_checks() {
        let low = Ceilings { memory_kib: 1024, ..Ceilings::default() };
        for own in [
            Cost { memory_kib: 1024, iterations: 1, parallelism: 1 },
            Cost { memory_kib: 4096, iterations: 2, parallelism: 1 },
            Cost { memory_kib: 100, iterations: 64_000, parallelism: 1 },
        ] {
            assert_eq!(low.at_least(own).admit(own.price()), Ok(()), "{own:?}");
        }
        let cheap = Cost { memory_kib: 8, iterations: 1, parallelism: 1 };
        assert_eq!(Ceilings::default().at_least(cheap), Ceilings::default());
    }
}
