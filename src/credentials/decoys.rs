//! What the passwords of unknown users are checked against, so that the time of an answer names nobody.
//!
//! While users of another system have not all moved, a wrong password costs most of them what that system's hash costs,
//! which may be many times our own. So unknown names are shared out over the kinds of hashes that users have, in the
//! same proportion, each name always to the same kind: somebody who measures learns what kind a user of that name would
//! have, and not whether there is one. As users move, names move with them.

use arc_swap::ArcSwap;

use super::phc::Hash;
use super::stored::Stored;
use crate::domain::secret::{Secret32, keyed_hash};

/// Users whose hashes are of another system's make.
pub(super) struct Kind {
    pub users: u64,
    /// The hash of one of them, for its parameters.
    pub example: Stored,
}

#[derive(Default)]
struct Population {
    kinds: Vec<Kind>,
    /// Users with any hash.
    users: u64,
}

pub(super) struct Decoys {
    own: Hash,
    population: ArcSwap<Population>,
}

impl Decoys {
    pub fn new(own: Hash) -> Self {
        Self { own, population: ArcSwap::default() }
    }

    /// One of ours, whatever others there are.
    pub fn own(&self) -> &Hash {
        &self.own
    }

    pub fn learn(&self, kinds: Vec<Kind>, users: u64) {
        self.population.store(Population { kinds, users }.into());
    }

    /// What the user of this name would have, if there were one. `key` is the same on every node and after a restart.
    pub fn of(&self, key: &Secret32, name: &str) -> Stored {
        let population = self.population.load();
        let [a, b, c, d, e, f, g, h, ..] = keyed_hash(key, &[b"decoy", name.as_bytes()]);
        let mut at = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % population.users.max(1);
        for kind in &population.kinds {
            if at < kind.users {
                return kind.example.clone();
            }
            at -= kind.users;
        }
        Stored::Own(self.own.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::ceilings::Ceilings;
    use super::super::phc::{Cost, OUTPUT, SALT};
    use super::*;

    #[test]
    fn unknown_names_have_the_hashes_that_users_have() {
        let cost = Cost { memory_kib: 64, iterations: 1, parallelism: 1 };
        let decoys = Decoys::new(Hash::new(cost, [1; SALT], [2; OUTPUT]));
        let key = Secret32::new([7; 32]);
        let is_own = |n: u32| matches!(decoys.of(&key, &format!("user{n}")), Stored::Own(_));
        assert!((0..100).all(is_own), "nobody has come from elsewhere");

        let example = Stored::read("{SSHA}AAAAAAAAAAAAAAAAAAAAAAAAAAABAgME", &Ceilings::default()).ok().unwrap();
        let learn = |users| decoys.learn(vec![Kind { users, example: example.clone() }], 1000);
        learn(750);
        let before: Vec<bool> = (0..1000).map(is_own).collect();
        let own = before.iter().filter(|own| **own).count();
        assert!((200..300).contains(&own), "{own} of 1000 where it should be some 250");
        assert_eq!(before, (0..1000).map(is_own).collect::<Vec<_>>(), "a name keeps its kind");
        learn(250);
        assert!(before.iter().zip(0..).all(|(own, n)| !own || is_own(n)), "who has moved does not move back");
        learn(0);
        assert!((0..100).all(is_own));
    }
}
