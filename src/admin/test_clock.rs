//! The clock of `serve --test-clock`: time that integrators move, to see in seconds what happens in days.
//!
//! How far it is ahead is kept in the database, so that a restart does not take time back; and a database that has
//! been under such a clock is told apart from every other one, so that neither is ever served as the other.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Mutex;

use super::keys;
use crate::context::Context;
use crate::domain::error::{Code, OAuthError};
use crate::domain::sources::{AdvancedClock, Clock as _};
use crate::domain::time::Timestamp;
use crate::domain::units::{parse_duration, show_duration};
use crate::storage::{Store, StoreError};

/// Milliseconds ahead, in a database under a test clock; absent in every other one.
const NOTE: &str = "test_clock";

/// One step forward at the most: ten years.
const LONGEST_STEP: Duration = Duration::from_secs(3_653 * 24 * 60 * 60);

/// How far ahead it can get: tokens need a calendar that has not ended.
const FURTHEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Moving a key through all its states takes fewer turns.
const TURNS: usize = 8;

/// A clock that is moved through here alone, one move at a time.
#[derive(Debug)]
pub struct TestClock {
    clock: Arc<AdvancedClock>,
    moving: Mutex<()>,
}

/// What it shows.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    pub now: Timestamp,
    /// How far it is ahead of the machine's clock.
    pub ahead: Duration,
}

/// The body of a move: exactly one of the two.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Move {
    /// A span, such as `90s` or `10m`.
    pub advance: Option<String>,
    /// A moment that is still to come, in RFC 3339.
    pub to: Option<String>,
}

/// Whether the database and the clock go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// It holds a real service: its time must not be moved.
    Real,
    /// It has been under a test clock: its times are not true.
    Test,
}

/// Judges whether a service may start on the database, and puts the clock where the database left it.
///
/// # Errors
/// The database does not answer.
pub async fn admit(store: &dyn Store, clock: Option<&AdvancedClock>) -> Result<Admission, StoreError> {
    let kept = store.note(NOTE).await?;
    Ok(match (clock, kept) {
        (None, None) => Admission::Admitted,
        (None, Some(_)) => Admission::Test,
        (Some(clock), Some(ahead)) => {
            let ahead = ahead.parse().map_err(|_| StoreError::Inconsistent(format!("the note {NOTE} is {ahead:?}")))?;
            clock.advance(Duration::from_millis(ahead));
            Admission::Admitted
        }
        // The first start makes keys: where there are none, nothing has been here before.
        (Some(_), None) if store.keys().await?.signing.is_empty() => {
            store.claim_note(NOTE, "0").await?;
            Admission::Admitted
        }
        (Some(_), None) => Admission::Real,
    })
}

impl TestClock {
    pub fn new(clock: Arc<AdvancedClock>) -> Self {
        Self { clock, moving: Mutex::default() }
    }

    pub fn read(&self) -> Reading {
        Reading { now: self.clock.now(), ahead: self.clock.ahead() }
    }

    /// Moves time forward, then lets happen what became due: keys move along, and memory is read again.
    ///
    /// # Errors
    /// [`Code::InvalidRequest`]: the order names no step forward. The database does not answer.
    pub async fn advance(&self, ctx: &Context, order: &Move) -> Result<Reading, OAuthError> {
        let _one_at_a_time = self.moving.lock().await;
        let Reading { now, ahead } = self.read();
        let span = step(order, now)?;
        let later = ahead.saturating_add(span);
        if span > LONGEST_STEP || later > FURTHEST {
            let text = "one step is 3653d at the most, and a test clock gets 36500d ahead at the most; begin anew with \
                        another database";
            return Err(refused(text));
        }
        // Kept first: after a crash time may have jumped, but it never goes back.
        ctx.store.set_note(NOTE, &later.as_millis().to_string()).await?;
        self.clock.advance(span);
        for _ in 0..TURNS {
            let before = ctx.replica.keys().revision();
            keys::tick(ctx).await?;
            if ctx.replica.keys().revision() == before {
                break;
            }
        }
        ctx.replica.catch_up().await?;
        tracing::warn!(by = show_duration(span), now = %self.read().now.rfc3339(), "the test clock was moved");
        Ok(self.read())
    }
}

/// The span that an order asks for.
fn step(order: &Move, now: Timestamp) -> Result<Duration, OAuthError> {
    match (&order.advance, &order.to) {
        (Some(text), None) => parse_duration(text)
            .ok_or_else(|| refused(format!("advance is {:?}; write a span such as 90s, 10m, 8h or 30d", clip(text)))),
        (None, Some(text)) => {
            let to = Timestamp::parse_rfc3339(text).ok_or_else(|| {
                refused(format!("to is {:?}; write a moment of RFC 3339 such as {}", clip(text), now.rfc3339()))
            })?;
            if to < now {
                let text =
                    format!("to is {}, and it is {} already: time goes forward alone", clip(text), now.rfc3339());
                return Err(refused(text));
            }
            Ok(to.since(now))
        }
        _ => Err(refused("give either advance, such as {\"advance\":\"10m\"}, or to, a moment of RFC 3339")),
    }
}

fn refused(text: impl Into<std::borrow::Cow<'static, str>>) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, text)
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step_of(advance: Option<&str>, to: Option<&str>) -> Result<Duration, String> {
        let order = Move { advance: advance.map(Into::into), to: to.map(Into::into) };
        step(&order, Timestamp::from_seconds(1_800_000_000)).map_err(|error| error.description.into_owned())
    }

    #[test]
    fn a_step_goes_forward() {
        assert_eq!(step_of(Some("10m"), None), Ok(Duration::from_secs(600)));
        assert_eq!(step_of(Some("0s"), None), Ok(Duration::ZERO));
        assert_eq!(step_of(None, Some("2027-01-15T08:00:01Z")), Ok(Duration::from_secs(1)));
        for (advance, to) in [
            (None, None),
            (Some("10m"), Some("2030-01-01T00:00:00Z")),
            (Some("-10m"), None),
            (Some("soon"), None),
            (None, Some("tomorrow")),
            (None, Some("2020-01-01T00:00:00Z")),
        ] {
            assert!(step_of(advance, to).is_err(), "{advance:?} {to:?}");
        }
    }
}
