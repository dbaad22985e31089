//! Memory for argon2, used again: a fresh 19 MiB costs a third of a hash in page faults alone.
//!
//! No buffer waits for its next use as it was left: after a computation of one pass its first blocks would let
//! passwords be guessed without the memory that makes guessing dear. While hashes queue, the next one fills it from end
//! to end at once; where none does, it is wiped. Buffers that nobody needed for [`IDLE`] go back to the system.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::Block;
use zeroize::Zeroize as _;

use crate::domain::sources::Clock;

/// How long an unused buffer waits.
const IDLE: Duration = Duration::from_secs(10);

struct Waiting {
    memory: Vec<Block>,
    is_wiped: bool,
    /// Uptime at which it was given back.
    since: Duration,
}

/// Buffers of one size, the latest used on top.
pub(super) struct MemoryPool {
    waiting: Mutex<Vec<Waiting>>,
    /// Computations that wait for their turn.
    expected: AtomicUsize,
    /// Blocks of a buffer: what the current settings need.
    blocks: usize,
    clock: Arc<dyn Clock>,
}

impl MemoryPool {
    pub fn new(blocks: usize, clock: Arc<dyn Clock>) -> Self {
        Self { waiting: Mutex::default(), expected: AtomicUsize::new(0), blocks, clock }
    }

    /// Announces a computation that will take a buffer when its turn comes, which is when the answer is dropped.
    pub fn expect(self: &Arc<Self>) -> Expected {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(Arc::clone(self))
    }

    /// A buffer of at least `blocks` blocks. What a hash of former, larger settings needs is made for it alone.
    pub fn take(&self, blocks: usize) -> Vec<Block> {
        if blocks > self.blocks {
            return vec![Block::new(); blocks];
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        waiting.map_or_else(|| vec![Block::new(); self.blocks], |waiting| waiting.memory)
    }

    /// Keeps the buffer for the next use.
    pub fn give_back(&self, mut memory: Vec<Block>) {
        if memory.len() != self.blocks {
            memory.iter_mut().for_each(Block::zeroize);
            return;
        }
        let is_wiped = self.expected.load(Ordering::Relaxed) == 0;
        if is_wiped {
            wipe(&mut memory);
        }
        let since = self.clock.uptime();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(Waiting { memory, is_wiped, since });
        waiting.retain(|buffer| since.saturating_sub(buffer.since) < IDLE);
    }

    /// Gives back to the system what has been waiting for [`IDLE`], and wipes what was expected to be used and was not.
    pub fn release_idle(&self) {
        let now = self.clock.uptime();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|buffer| now.saturating_sub(buffer.since) < IDLE);
        for buffer in waiting.iter_mut().filter(|buffer| !buffer.is_wiped) {
            wipe(&mut buffer.memory);
            buffer.is_wiped = true;
        }
        if waiting.is_empty() {
            waiting.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.waiting.lock().unwrap().len()
    }
}

/// What lives on is not left out by the compiler, so that this may be as fast as memory is.
fn wipe(memory: &mut [Block]) {
    memory.fill(Block::new());
}

/// See [`MemoryPool::expect`].
pub(super) struct Expected(Arc<MemoryPool>);

impl Drop for Expected {
    fn drop(&mut self) {
        self.0.expected.fetch_sub(1, Ordering::Relaxed);
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
    fn a_buffer_that_is_expected_to_be_filled_again_is_wiped_only_if_it_is_not() {
        let pool = Arc::new(MemoryPool::new(4, Arc::new(ManualClock::starting_at(Timestamp::from_seconds(0)))));
        let used = || {
            let mut buffer = pool.take(4);
            buffer[2].as_mut()[7] = 42;
            buffer
        };
        let word = || pool.waiting.lock().unwrap()[0].memory[2].as_ref()[7];
        let next = pool.expect();
        pool.give_back(used());
        assert_eq!(word(), 42, "the next one fills it from end to end");
        pool.release_idle();
        assert_eq!(word(), 0, "none did");
        drop(next);
        pool.give_back(used());
        assert_eq!(word(), 0, "nobody is expected");
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
