//! The request body: taken whole before any operation runs, within a size and a time.
//!
//! poem's own `SizeLimit` answers 411 to every request without `Content-Length`, and nothing in it ends a body that
//! never ends.

use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Body, Request, Result};

use super::error::BodyTooSlow;

/// How much body a request may have, and how long it may take to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub size: usize,
    pub time: Duration,
}

/// Replaces the body on the wire by the whole of it in memory.
///
/// # Errors
/// It is larger than allowed (without reading it, where its length is announced), slower, or broken off.
pub async fn receive(request: &mut Request, limits: BodyLimits) -> Result<()> {
    let announced = request.header(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limits.size as u64) {
        return Err(ReadBodyError::PayloadTooLarge.into());
    }
    let body = request.take_body();
    if body.is_empty() {
        return Ok(());
    }
    let Ok(received) = tokio::time::timeout(limits.time, body.into_bytes_limit(limits.size)).await else {
        return Err(BodyTooSlow(limits.time).into());
    };
    request.set_body(Body::from(received?));
    Ok(())
}
