//! Memory for argon2, used again: a fresh 19 MiB costs a third of a hash in page faults alone.
//!
//! Every buffer is wiped before it waits for its next use: after a computation of one pass its first blocks would let
//! passwords be guessed without the memory that makes guessing dear. Buffers that nobody needed for [`IDLE`] go back
//! to the system.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use zeroize::Zeroize as _;

use crate::domain::sources::Clock;

/// How long an unused buffer waits.
const IDLE: Duration = Duration::from_secs(10);

struct Waiting {
    memory: Vec<Block>,
    /// Uptime at which it was given back.
    since: Duration,
}

/// Wiped buffers of one size, the latest used on top.
pub(super) struct MemoryPool {
    waiting: Mutex<Vec<Waiting>>,
    /// Blocks of a buffer: what the current settings need.
    blocks: usize,
    clock: Arc<dyn Clock>,
}

impl MemoryPool {
    pub fn new(blocks: usize, clock: Arc<dyn Clock>) -> Self {
        Self { waiting: Mutex::default(), blocks, clock }
    }

    /// A buffer of at least `blocks` blocks. What a hash of former, larger settings needs is made for it alone.
    pub fn take(&self, blocks: usize) -> Vec<Block> {
        if blocks > self.blocks {
            return vec![Block::new(); blocks];
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        waiting.map_or_else(|| vec![Block::new(); self.blocks], |waiting| waiting.memory)
    }

    /// Wipes the buffer and keeps it for the next use.
    pub fn give_back(&self, mut memory: Vec<Block>) {
        if memory.len() == self.blocks {
            // What lives on is not left out by the compiler, so that this may be as fast as memory is.
            memory.fill(Block::new());
        } else {
            memory.iter_mut().for_each(Block::zeroize);
        }
        let since = self.clock.uptime();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() == self.blocks {
            waiting.push(Waiting { memory, since });
        }
        waiting.retain(|buffer| since.saturating_sub(buffer.since) < IDLE);
    }

    /// Gives back to the system what has been waiting for [`IDLE`].
    pub fn release_idle(&self) {
        let now = self.clock.uptime();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|buffer| now.saturating_sub(buffer.since) < IDLE);
        if waiting.is_empty() {
            waiting.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::ManualClock;
    use crate::domain::time::Timestamp;

    #[test]
    fn buffers_come_back_wiped_and_leave_when_idle() {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0)));
        let pool = MemoryPool::new(4, clock.clone());
        let mut one = pool.take(4);
        let two = pool.take(3);
        one[2].as_mut()[7] = 42;
        pool.give_back(one);
        assert_eq!(pool.count(), 1);
        let again = pool.take(4);
        assert!(again.iter().all(|block| block.as_ref().iter().all(|word| *word == 0)), "wiped");

        pool.give_back(again);
        clock.advance(Duration::from_secs(9));
        pool.give_back(two);
        assert_eq!(pool.count(), 2);
        clock.advance(Duration::from_secs(1));
        pool.release_idle();
        assert_eq!(pool.count(), 1, "the other one was used a second ago");
        clock.advance(Duration::from_secs(9));
        pool.release_idle();
        assert_eq!(pool.count(), 0);
    }

    #[test]
    fn a_larger_buffer_is_not_kept() {
        let pool = MemoryPool::new(4, Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0))));
        let large = pool.take(9);
        assert_eq!(large.len(), 9);
        pool.give_back(large);
        assert_eq!(pool.count(), 0);
    }
}
