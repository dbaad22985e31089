//! The request body: taken whole before any operation runs, within a size and a time. One that may be large is taken
//! by its operation, once it knows who sends it.
//!
//! poem's own `SizeLimit` answers 411 to every request without `Content-Length`, and nothing in it ends a body that
//! never ends.

use std::time::Duration;

use poem::error::ReadBodyError;
use poem::http::header;
use poem::{Body, Request, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::error::BodyTooSlow;
use crate::domain::error::{Code, OAuthError};
use crate::domain::units::show_size;

/// How much body a request may have, and how long it may take to arrive.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub size: usize,
    pub time: Duration,
}

/// How much of a body that is too large is taken in and thrown away, at the least: as much again as is allowed. A connection closed on unread bytes is reset, and
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
    let announced = announced(request);
    let Ok(received) = tokio::time::timeout(limits.time, read(body, announced, limits.size)).await else {
        return Err(BodyTooSlow(limits.time).into());
    };
    request.set_body(received?);
    Ok(())
}

fn announced(request: &Request) -> Option<u64> {
    request.header(header::CONTENT_LENGTH).and_then(|length| length.parse().ok())
}

/// A body that is still on the wire.
pub struct Pending {
    body: Body,
    announced: Option<u64>,
}

impl Pending {
    /// What the frame left alone.
    pub fn new(request: &Request, body: Body) -> Self {
        Self { body, announced: announced(request) }
    }

    /// # Errors
    /// It is larger than allowed, slower, or broken off.
    pub async fn receive(self, limits: BodyLimits) -> Result<Vec<u8>, OAuthError> {
        match tokio::time::timeout(limits.time, read(self.body, self.announced, limits.size)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(ReadBodyError::PayloadTooLarge)) => {
                let most = show_size(limits.size as u64);
                Err(OAuthError::new(
                    Code::PayloadTooLarge,
                    format!("the body is larger than {most}; send less at once"),
                ))
            }
            Ok(Err(_)) => Err(OAuthError::new(Code::InvalidRequest, "the body ended before its end")),
            Err(_) => Err(OAuthError::new(Code::InvalidRequest, BodyTooSlow(limits.time).to_string())),
        }
    }

    /// Takes in what would have been allowed and forgets it, so that the answer is not lost.
    pub async fn discard(self, size: usize) {
        discard(self.body.into_async_read(), self.announced, size as u64).await;
    }
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
    discard(wire, announced, limit).await;
    Err(ReadBodyError::PayloadTooLarge)
}

async fn discard(wire: impl AsyncRead + Unpin, announced: Option<u64>, size: u64) {
    let most = DISCARDED.max(2 * size);
    if announced.is_none_or(|length| length <= most) {
        let discarding = async { tokio::io::copy(&mut wire.take(most), &mut tokio::io::sink()).await };
        // Whether that works out changes nothing of the answer.
        let _ = tokio::time::timeout(DISCARD_TIME, discarding).await;
    }
}
