//! A line that tells how far an import is, where a person looks.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::sources::{Clock as _, SystemClock};

/// How often the line changes at most.
const PACE: Duration = Duration::from_millis(200);

const WIDTH: usize = 24;

pub(super) struct Progress {
    is_watched: bool,
    is_shown: bool,
    began: Duration,
    shown: Duration,
    /// Bytes of the file that were read.
    consumed: Arc<AtomicU64>,
    /// How long the file is, where that is known.
    length: Option<u64>,
}

impl Progress {
    pub fn new(consumed: Arc<AtomicU64>, length: Option<u64>) -> Self {
        let began = SystemClock.uptime();
        Self { is_watched: stderr().is_terminal(), is_shown: false, began, shown: Duration::ZERO, consumed, length }
    }

    pub fn show(&mut self, users: u64) {
        let now = SystemClock.uptime();
        if !self.is_watched || now < self.shown + PACE {
            return;
        }
        (self.is_shown, self.shown) = (true, now);
        let part = self.length.map(|length| (self.consumed.load(Ordering::Relaxed), length));
        // Where standard error is closed, there is nobody to tell.
        let _ = write!(stderr().lock(), "\r\x1b[K{}", line(users, now.saturating_sub(self.began), part));
    }

    /// Makes room for a line of another kind.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }

    pub fn finish(&mut self) {
        self.clear();
    }
}

fn line(users: u64, took: Duration, part: Option<(u64, u64)>) -> String {
    let rate = u128::from(users) * 1000 / took.as_millis().max(1);
    let Some((read, length)) = part.filter(|(_, length)| *length > 0) else {
        return format!("{users} users, {rate}/s");
    };
    let percent = (read.min(length) * 100 / length).min(100);
    let filled = usize::try_from(percent).unwrap_or(0) * WIDTH / 100;
    let left = u128::from(length.saturating_sub(read)) * took.as_millis() / u128::from(read.max(1)) / 1000;
    let bar = format!("{}{}", "=".repeat(filled), " ".repeat(WIDTH - filled));
    format!("[{bar}] {percent}%, {users} users, {rate}/s, {}:{:02} left", left / 60, left % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_how_far_it_is() {
        let half = line(5000, Duration::from_secs(2), Some((50, 100)));
        assert_eq!(half, "[============            ] 50%, 5000 users, 2500/s, 0:02 left");
        assert_eq!(line(5000, Duration::from_secs(2), None), "5000 users, 2500/s");
        assert!(line(0, Duration::ZERO, Some((0, 100))).starts_with("[    "));
        assert!(line(9, Duration::from_secs(1), Some((120, 100))).contains("100%"));
        assert_eq!(line(9, Duration::from_secs(1), Some((0, 0))), "9 users, 9/s");
    }
}
