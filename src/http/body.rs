//! The request body: taken whole before any operation runs, within a size and a time.
//!
//! poem's own `SizeLimit` answers 411 to every request without `Content-Length`, and nothing in it ends a body that
//! never ends.

use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Body, Request, Result};
use tokio::io::AsyncReadExt as _;

use super::error::BodyTooSlow;

/// How much body a request may have, and how long it may take to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub size: usize,
    pub time: Duration,
}

/// How much of a body that is too large is taken in and thrown away. A connection closed on unread bytes is reset, and
/// with it the answer that says what was wrong.
const DISCARDED: u64 = 1 << 20;

/// How long that may take: a client that waits for the answer before it sends is not kept waiting.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Replaces the body on the wire by the whole of it in memory.
///
/// # Errors
/// It is larger than allowed, slower, or broken off.
pub async fn receive(request: &mut Request, limits: BodyLimits) -> Result<()> {
    let body = request.take_body();
    if body.is_empty() {
        return Ok(());
    }
    let announced = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
    let Ok(received) = tokio::time::timeout(limits.time, read(body, announced, limits.size)).await else {
        return Err(BodyTooSlow(limits.time).into());
    };
    request.set_body(received?);
    Ok(())
}

async fn read(body: Body, announced: Option<u64>, size: usize) -> Result<Vec<u8>, ReadBodyError> {
    let mut wire = body.into_async_read();
    let limit = size as u64;
    let mut bytes = Vec::with_capacity(usize::try_from(announced.unwrap_or(0).min(limit)).unwrap_or(size));
    if announced.is_none_or(|length| length <= limit) {
        (&mut wire).take(limit + 1).read_to_end(&mut bytes).await.map_err(ReadBodyError::Io)?;
        if bytes.len() <= size {
            return Ok(bytes);
        }
    }
    if announced.is_none_or(|length| length <= DISCARDED) {
        let discarding = async { tokio::io::copy(&mut wire.take(DISCARDED), &mut tokio::io::sink()).await };
        // Whether that works out changes nothing of the answer.
        let _ = tokio::time::timeout(DISCARD_TIME, discarding).await;
    }
    Err(ReadBodyError::PayloadTooLarge)
}
