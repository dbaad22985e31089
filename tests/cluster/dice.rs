//! Chance that can be had again: SplitMix64, the same for every run of a seed.

use std::time::Duration;

pub struct Dice {
    seed: u64,
    state: u64,
}

impl Dice {
    /// Somebody's own, so that what the others do changes nothing for them.
    pub fn of(seed: u64, whose: u64) -> Self {
        let mut both = Self { seed, state: seed ^ whose.wrapping_mul(0xd6e8_feb8_6659_fd93) };
        both.state = both.roll();
        both
    }

    /// No chance at all: rounds, whose seeds follow each other, take turns.
    pub fn is_even(&self) -> bool {
        self.seed.is_multiple_of(2)
    }

    fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + Duration::from_micros(self.roll() % ((most - least).as_micros() as u64 + 1))
    }
}
