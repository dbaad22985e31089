//! JSON answers written by serde in one pass, or handed out as they lie in memory.
//!
//! The framework's `Json` first builds a tree of values; on the hot paths that costs more than the answer itself.

use std::marker::PhantomData;

use hyper::body::Bytes;
use poem::{IntoResponse, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::Type;
use serde::Serialize;

use super::error::refusal;
use crate::domain::error::OAuthError;

/// Text in the OpenMetrics format. Documented as binary: code generators read no other text by its own media type.
#[derive(Debug)]
pub struct OpenMetrics(pub String);

impl OpenMetrics {
    const NAME: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
}

impl Payload for OpenMetrics {
    const CONTENT_TYPE: &'static str = Self::NAME;

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema::new_with_format("string", "binary")))
    }
}

impl IntoResponse for OpenMetrics {
    fn into_response(self) -> Response {
        Response::builder().content_type(Self::NAME).body(self.0)
    }
}

/// `T` as JSON.
#[derive(Debug)]
pub struct Written<T>(pub T);

impl<T: Type> Payload for Written<T> {
    const CONTENT_TYPE: &'static str = "application/json";

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: Serialize + Send> IntoResponse for Written<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => Response::builder().content_type("application/json").body(json),
            Err(error) => refusal(OAuthError::internal(error)).into_response(),
        }
    }
}

/// Bytes of JSON made beforehand, documented as `T`; `M` names the media type.
#[derive(Debug)]
pub struct Prepared<T, M>(pub Bytes, PhantomData<fn() -> (T, M)>);

impl<T, M> Prepared<T, M> {
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes, PhantomData)
    }

    /// Bytes that live in something shared: nothing is copied.
    pub fn shared(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self::new(Bytes::from_owner(owner))
    }
}

/// A media type.
pub trait MediaType {
    const NAME: &'static str;
}

/// `application/json`
#[derive(Debug)]
pub enum PlainJson {}

impl MediaType for PlainJson {
    const NAME: &'static str = "application/json";
}

/// `application/jwk-set+json` (RFC 7517 section 8.5.2). Verifiers read the body whatever it is called.
#[derive(Debug)]
pub enum JwkSetJson {}

impl MediaType for JwkSetJson {
    const NAME: &'static str = "application/jwk-set+json";
}

impl<T: Type, M: MediaType> Payload for Prepared<T, M> {
    const CONTENT_TYPE: &'static str = M::NAME;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T, M: MediaType> IntoResponse for Prepared<T, M> {
    fn into_response(self) -> Response {
        Response::builder().content_type(M::NAME).body(self.0)
    }
}
