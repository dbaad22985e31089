//! A password hash as the database holds it: one of ours, or one that another system made.

use super::ceilings::{Ceilings, UnusableHash};
use super::legacy::Legacy;
use super::memory::MemoryPool;
use super::passwords::Typed;
use super::phc::Hash;
use crate::domain::secret::same;

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Own(Hash),
    Legacy(Legacy),
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Match {
    None,
    /// What a hash of ours is made of.
    Hashable,
    /// The text as it was typed.
    Raw,
}

impl Stored {
    /// # Errors
    /// The text means nothing here, or checking it costs more than the ceilings allow.
    pub fn read(text: &str, ceilings: &Ceilings) -> Result<Self, UnusableHash> {
        let (stored, price) = if Hash::is_own(text) {
            let hash = Hash::parse(text)?;
            let price = hash.cost.price();
            (Self::Own(hash), price)
        } else {
            let hash = Legacy::parse(text)?;
            let price = hash.price();
            (Self::Legacy(hash), price)
        };
        ceilings.admit(price).map(|()| stored)
    }

    /// Checks what was typed. Never on an async thread.
    ///
    /// Ours are made of prepared passwords, but one that looks like ours may come from elsewhere; what is surely from
    /// elsewhere was made of the bytes as they were typed. Where preparation changes nothing, there is one to try.
    ///
    /// # Errors
    /// argon2 refuses the parameters.
    pub fn check(&self, typed: &Typed, memory: &MemoryPool) -> Result<Match, argon2::Error> {
        let hashable = Some((typed.hashable(), Match::Hashable));
        let raw = typed.raw().map(|text| (text, Match::Raw));
        let candidates = match self {
            Self::Own(_) => [hashable, raw],
            Self::Legacy(_) => [raw, hashable],
        };
        for (candidate, matched) in candidates.into_iter().flatten() {
            let password = candidate.expose().as_bytes();
            let is_right = match self {
                Self::Own(hash) => {
                    let mut buffer = memory.take(hash.cost.blocks());
                    let output = hash.compute(password, &mut buffer);
                    memory.give_back(buffer);
                    same(&output?, hash.output())
                }
                Self::Legacy(hash) => hash.is_of(password, memory),
            };
            if is_right {
                return Ok(matched);
            }
        }
        Ok(Match::None)
    }
}
