//! An answer, and what a test says of it.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// An answer over HTTP. A body that is no JSON reads as a JSON string.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Reply {
    pub async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.clone()));
        Self { status, headers, body, text }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn refresh(&self) -> String {
        self.member("refresh_token")
    }

    #[track_caller]
    pub fn access(&self) -> String {
        self.member("access_token")
    }

    #[track_caller]
    fn member(&self, name: &str) -> String {
        match self.body[name].as_str() {
            Some(text) => text.to_owned(),
            None => panic!("no {name} in {self:?}"),
        }
    }

    #[track_caller]
    pub fn is(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text);
    }

    #[track_caller]
    pub fn is_success(&self) {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text);
    }

    #[track_caller]
    pub fn is_status_in(&self, statuses: &[u16]) {
        assert!(statuses.contains(&self.status), "{}: {}", self.status, self.text);
    }

    /// An error as the RFC and the house want it: status, code, a description, JSON, not to be stored.
    #[track_caller]
    pub fn is_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.body["error"].as_str()), (status, Some(code)), "{}", self.text);
        assert!(self.body["error_description"].as_str().is_some_and(|text| text.len() > 10), "{}", self.text);
        assert!(self.header("content-type").starts_with("application/json"), "{:?}", self.headers);
        assert_eq!(self.header("cache-control"), "no-store");
    }

    /// A refused exchange, with its stable reason (RFC 8693 section 2.2.2).
    #[track_caller]
    pub fn is_refused_exchange(&self, reason: &str) {
        self.is_error(400, "invalid_request");
        assert_eq!(self.body["reason"].as_str(), Some(reason), "{}", self.text);
    }

    /// A refused refresh, with its stable reason.
    #[track_caller]
    pub fn is_refused(&self, reason: &str) {
        self.is_error(400, "invalid_grant");
        assert_eq!(self.body["reason"].as_str(), Some(reason), "{}", self.text);
    }
}
