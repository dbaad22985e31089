//! `/test/clock`: what integrators move time with. There only with `serve --test-clock`.

use std::sync::Arc;

use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::document::Topic;
use super::error::{OpenFailure, TestClockFailure};
use super::json::{Answer, JsonBody};
use super::moment::Moment;
use crate::admin::test_clock::{self, Reading, TestClock};
use crate::app::App;
use crate::domain::error::{Code, OAuthError};
use crate::domain::units::show_duration;

/// The operations.
pub struct TestClockApi {
    pub app: Arc<App>,
}

/// A move of the test clock: one of the two members.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none, example)]
struct TestClockMove {
    /// How far: a whole number of `ms`, `s`, `m`, `h` or `d`.
    advance: Option<String>,
    /// Or until when, in RFC 3339.
    to: Option<String>,
}

impl Example for TestClockMove {
    fn example() -> Self {
        Self { advance: Some("10m".into()), to: None }
    }
}

/// What the test clock shows.
#[derive(Debug, Object)]
#[oai(example)]
struct TestClockReading {
    /// The service's time.
    now: Moment,
    /// How far that is ahead of the machine's clock.
    ahead: String,
}

impl Example for TestClockReading {
    fn example() -> Self {
        Self { now: Moment::example("2026-11-25T18:40:00Z"), ahead: "10m".into() }
    }
}

impl From<Reading> for TestClockReading {
    fn from(reading: Reading) -> Self {
        Self { now: reading.now.into(), ahead: show_duration(reading.ahead) }
    }
}

#[OpenApi(prefix_path = "/test", tag = "Topic::TestClock")]
impl TestClockApi {
    /// Read the test clock
    #[oai(path = "/clock", method = "get", operation_id = "readTestClock")]
    async fn read(&self) -> Result<Answer<TestClockReading>, OpenFailure> {
        Ok(Answer(self.clock()?.read().into()))
    }

    /// Move the test clock
    ///
    /// Forward alone. The answer comes when keys have moved along and everything that expired has: the next request
    /// meets the service as it would be then.
    #[oai(path = "/clock", method = "post", operation_id = "moveTestClock")]
    async fn advance(&self, body: JsonBody<TestClockMove>) -> Result<Answer<TestClockReading>, TestClockFailure> {
        let order: test_clock::Move = body.read()?;
        Ok(Answer(self.clock()?.advance(&self.app.context, &order).await?.into()))
    }
}

impl TestClockApi {
    fn clock(&self) -> Result<&TestClock, OAuthError> {
        let missing = || OAuthError::new(Code::NotFound, "there is no test clock; start with serve --test-clock");
        self.app.test_clock.as_ref().ok_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::json::agreement;

    #[test]
    fn the_document_shows_what_is_read() {
        agreement::check::<TestClockMove, test_clock::Move>(&[]);
    }
}
