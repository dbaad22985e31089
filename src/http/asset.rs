//! Files that pages load: named by their hash, so that caches keep them for ever and a new one has a new name.

use hyper::body::Bytes;
use poem::Response;
use poem::http::{HeaderValue, header};

use crate::domain::secret::sha256;

/// One file.
#[derive(Clone, Debug)]
pub struct Asset {
    /// For example `style.0123456789abcdef.css`.
    pub name: String,
    content_type: &'static str,
    bytes: Bytes,
    /// What the file itself may load and run, where somebody opens it by itself.
    policy: Option<&'static str>,
}

impl Asset {
    pub fn new(stem: &str, extension: &str, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let hash: String = sha256(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name: format!("{stem}.{hash}.{extension}"), content_type, bytes, policy: None }
    }

    pub fn under(self, policy: &'static str) -> Self {
        Self { policy: Some(policy), ..self }
    }

    /// Under the name that its hash gives it.
    pub fn respond(&self) -> Response {
        self.answer("public, max-age=31536000, immutable")
    }

    /// Under a name that another version gave it: what there is now, and not for long.
    pub fn respond_instead(&self) -> Response {
        self.answer("no-store")
    }

    fn answer(&self, cache: &'static str) -> Response {
        let mut response = Response::builder()
            .content_type(self.content_type)
            .header(header::CACHE_CONTROL, cache)
            .body(self.bytes.clone());
        if let Some(policy) = self.policy {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
        }
        response
    }
}
