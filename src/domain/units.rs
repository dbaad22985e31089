//! Spans of time, sizes and rates as people write them: `90s`, `64KiB`, `100/s`.

use std::num::NonZeroU32;
use std::time::Duration;

const SPANS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Reads a whole number and one unit of `ms`, `s`, `m`, `h`, `d`; `None` where the text is something else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &SPANS).map(Duration::from_millis)
}

/// The same, for spans that are counted in whole seconds.
pub fn parse_seconds(text: &str) -> Option<Duration> {
    parse_duration(text).filter(|span| span.subsec_nanos() == 0)
}

/// Writes a span in the largest unit that keeps it whole.
pub fn show_duration(span: Duration) -> String {
    show(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), &SPANS)
}

/// Reads a whole number and one unit of `B`, `KiB`, `MiB`, `GiB`, in bytes; `None` where the text is something else.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// Writes a number of bytes in the largest unit that keeps it whole.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(amount: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().rev().find(|(_, factor)| amount >= *factor && amount.is_multiple_of(*factor));
    match whole {
        Some((unit, factor)) => format!("{}{unit}", amount / factor),
        // Zero is whole in no unit: say it in the second one, `0s` or `0KiB`.
        None => format!("0{}", units[1].0),
    }
}

/// A limit on requests per client address: `burst` at once, refilled evenly over `per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub burst: NonZeroU32,
    pub per: Duration,
}

impl RateLimit {
    /// Reads `100/s`, `600/m`, `5000/h`; `None` where the text is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let (burst, unit) = text.split_once('/')?;
        let (_, millis) = SPANS.iter().find(|(name, _)| *name == unit && *name != "ms")?;
        Some(Self { burst: burst.parse().ok()?, per: Duration::from_millis(*millis) })
    }

    /// The time after which one more request is allowed.
    pub fn replenish_interval(&self) -> Duration {
        self.per / self.burst.get()
    }
}

impl std::fmt::Display for RateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = u64::try_from(self.per.as_millis()).unwrap_or(u64::MAX);
        let unit = SPANS.iter().find(|(_, factor)| *factor == millis).map_or("s", |(name, _)| name);
        write!(f, "{}/{unit}", self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("10m", 600), ("12h", 43_200), ("7d", 604_800), ("90s", 90)] {
            assert_eq!(parse_seconds(text), Some(Duration::from_secs(seconds)), "{text}");
            assert_eq!(show_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(parse_duration("1500ms"), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn what_is_no_span_is_refused() {
        let overflows = ["99999999999999999999d", "9999999999999999999d"];
        for text in ["", "s", "10", "-1s", "+1s", "1.5h", "10 m", "10M", "1w", "1é", "1500ms"].iter().chain(&overflows)
        {
            assert_eq!(parse_seconds(text), None, "{text:?}");
        }
    }
}
