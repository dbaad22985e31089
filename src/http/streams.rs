//! What an HTTP/2 connection has under way (RFC 9113), and when it has stood still for too long.
//!
//! One connection carries many requests, so neither hyper's timer for heads nor the bytes that pass tell a quiet
//! connection from one that is kept from moving on purpose: by a head that never ends, or by a window that never opens.
//! What tells is whether there are requests, and whether their answers are taken.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};

use super::server::Limits;
use crate::domain::sources::Clock;

/// The requests of one connection.
#[derive(Clone)]
pub struct Streams {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

/// Moments are those of [`Clock::uptime`].
#[derive(Debug)]
struct State {
    /// By number: since when the reader has owed us the next piece of the answer; `None` while we owe the answer.
    under_way: BTreeMap<u64, Option<Duration>>,
    /// How many there have been.
    count: u64,
    /// Since when there has been none.
    quiet_since: Duration,
    /// When the connection was told that it ends.
    dismissed: Option<Duration>,
}

/// Why a connection has no more time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// It asks for nothing: time to say so, and to let what may be on its way come through.
    Quiet,
    /// It never asked for anything, takes no answer, or stays although it was told that the connection ends.
    Stuck,
}

impl Streams {
    /// Of a connection that is opened now. Time is told by `clock`, but waited for in the runtime's own.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let quiet_since = clock.uptime();
        let state = State { under_way: BTreeMap::new(), count: 0, quiet_since, dismissed: None };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head is complete.
    pub fn begin(&self) -> Exchange {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        state.under_way.insert(number, None);
        Exchange { streams: self.clone(), number }
    }

    /// The connection was told that it ends: what it does not finish in time is cut off.
    pub fn dismiss(&self) {
        self.state().dismissed = Some(self.clock.uptime());
    }

    /// Waits until the connection has stood still for too long.
    pub async fn stall(&self, limits: &Limits) -> Stall {
        // Requests come and go meanwhile, so the clock is looked at again before long.
        let pace = limits.head.min(limits.idle).min(limits.write);
        loop {
            let pause = match self.due(limits) {
                Some((Duration::ZERO, stall)) => return stall,
                Some((left, _)) => left.min(pace),
                None => pace,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// How much time the connection has left if nothing moves; `None` while we are the ones to move.
    fn due(&self, limits: &Limits) -> Option<(Duration, Stall)> {
        let state = self.state();
        let owed_since = state.under_way.values().flatten().min();
        let (since, limit, stall) = match (owed_since, state.dismissed, state.count) {
            (Some(since), ..) => (*since, limits.write, Stall::Stuck),
            (None, ..) if !state.under_way.is_empty() => return None,
            (None, Some(at), _) => (at.max(state.quiet_since), limits.write, Stall::Stuck),
            (None, None, 0) => (state.quiet_since, limits.head, Stall::Stuck),
            (None, None, _) => (state.quiet_since, limits.idle, Stall::Quiet),
        };
        Some(((since + limit).saturating_sub(self.clock.uptime()), stall))
    }
}

/// One request until the last of its answer is handed over, or nobody wants it any more.
pub struct Exchange {
    streams: Streams,
    number: u64,
}

impl Exchange {
    /// From here on it is the reader's turn.
    pub fn answer<B>(self, body: B) -> Answer<B> {
        self.moved();
        Answer { body, rest: Bytes::new(), exchange: self }
    }

    fn moved(&self) {
        self.streams.state().under_way.insert(self.number, Some(self.streams.clock.uptime()));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.streams.state();
        state.under_way.remove(&self.number);
        if state.under_way.is_empty() {
            state.quiet_since = self.streams.clock.uptime();
        }
    }
}

/// The most that is handed over at once: what is beyond the reader's window is then still ours to watch. HTTP/2 cuts it
/// as small as that anyway (RFC 9113 section 6.5.2, `SETTINGS_MAX_FRAME_SIZE`).
const PIECE: usize = 16 << 10;

/// The body of an answer, which notes each piece that its reader has made room for.
pub struct Answer<B> {
    body: B,
    /// What has come of the body and is not handed over.
    rest: Bytes,
    exchange: Exchange,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.exchange.moved();
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Asked before the first piece alone, to announce the length.
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::sources::ManualClock;
    use crate::domain::time::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);

    fn opened() -> (Streams, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(1_800_000_000)));
        (Streams::new(Arc::clone(&clock) as _), clock)
    }

    /// What it comes to if nothing moves any more, and in how many seconds.
    fn comes_to(streams: &Streams) -> Option<(Stall, u64)> {
        let limits = Limits { head: 10 * SECOND, idle: 75 * SECOND, write: 30 * SECOND, ..Limits::default() };
        streams.due(&limits).map(|(left, stall)| (stall, left.as_secs()))
    }

    #[test]
    fn who_never_asks_is_cut_off_and_who_has_asked_may_rest() {
        let (streams, clock) = opened();
        clock.advance(3 * SECOND);
        assert_eq!(comes_to(&streams), Some((Stall::Stuck, 7)));
        drop(streams.begin());
        assert_eq!(comes_to(&streams), Some((Stall::Quiet, 75)));
        clock.advance(80 * SECOND);
        assert_eq!(comes_to(&streams), Some((Stall::Quiet, 0)));
        streams.dismiss();
        assert_eq!(comes_to(&streams), Some((Stall::Stuck, 30)));
    }

    #[test]
    fn our_own_time_does_not_count_and_the_readers_does() {
        let (streams, clock) = opened();
        let exchange = streams.begin();
        clock.advance(1000 * SECOND);
        assert_eq!(comes_to(&streams), None, "an answer that we owe");
        let answer = exchange.answer(());
        clock.advance(SECOND);
        // Another that goes on does not make up for it, and a piece that is taken does.
        let other = streams.begin();
        assert_eq!(comes_to(&streams), Some((Stall::Stuck, 29)));
        answer.exchange.moved();
        assert_eq!(comes_to(&streams), Some((Stall::Stuck, 30)));
        drop(answer);
        assert_eq!(comes_to(&streams), None);
        drop(other);
        assert_eq!(comes_to(&streams), Some((Stall::Quiet, 75)));
    }
}
