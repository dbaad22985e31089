//! Spans of time as the admin API writes them: `30s`, `10m`, `12h`, `7d`, the spelling of the settings.

use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads `10m`; whole seconds. `None` where the text is no span.
pub fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (_, seconds) = UNITS.into_iter().find(|(letter, _)| unit.starts_with(*letter))?;
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// Writes a span in the largest unit that leaves no rest, in whole seconds: `90s`, `10m`, `7d`.
pub fn format(span: Duration) -> String {
    let seconds = span.as_secs();
    let fits = |(_, unit): &(char, u64)| seconds >= *unit && seconds.is_multiple_of(*unit);
    UNITS.into_iter().find(fits).map_or_else(|| "0s".into(), |(letter, unit)| format!("{}{letter}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_alike() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("10m", 600), ("12h", 43_200), ("7d", 604_800), ("90s", 90)] {
            assert_eq!(parse(text), Some(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format(Duration::from_secs(seconds)), text);
        }
        assert_eq!(format(Duration::from_secs(7_200)), "2h");
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in [
            "",
            "s",
            "10",
            "-1s",
            "+1s",
            "1.5h",
            "10 m",
            "10M",
            "1w",
            "1é",
            "99999999999999999999d",
            "9999999999999999999d",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
