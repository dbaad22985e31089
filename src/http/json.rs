//! JSON in and out. Bodies are shown in the document as one type and read by another, and only after the caller is
//! authorised.

use std::fmt;
use std::marker::PhantomData;

use poem::http::header;
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::payload::Payload;
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::admin;
use crate::domain::error::{Code, OAuthError};

const JSON: &str = "application/json";

/// `T` as JSON, called by its registered name: the framework's own adds a `charset`, which RFC 8259 does not know.
#[derive(Debug)]
pub struct Answer<T>(pub T);

impl<T: Type> Payload for Answer<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        Response::builder().content_type(JSON).body(self.0.to_json_string())
    }
}

impl<T: ToJSON> ApiResponse for Answer<T> {
    fn meta() -> MetaResponses {
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        let response = MetaResponse {
            description: "What was asked for, as it is now",
            status: Some(200),
            status_range: None,
            content,
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![response] }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

/// A body that the document shows as `D`. Reading it waits for [`JsonBody::read`], so that who may not call an
/// operation learns nothing from how it takes bodies.
pub struct JsonBody<D> {
    bytes: Zeroizing<Vec<u8>>,
    is_json: bool,
    document: PhantomData<fn() -> D>,
}

impl<D: Type> JsonBody<D> {
    /// The body as one JSON object without unknown or repeated members. Where it may be left out, nothing is `{}`.
    ///
    /// # Errors
    /// [`Code::UnsupportedMediaType`], or [`Code::InvalidRequest`] with the place and the reason.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, OAuthError> {
        if self.bytes.is_empty() && !D::IS_REQUIRED {
            return admin::body(b"{}");
        }
        if !self.is_json {
            return Err(OAuthError::new(Code::UnsupportedMediaType, "send the body as application/json"));
        }
        admin::body(&self.bytes)
    }
}

impl<D> fmt::Debug for JsonBody<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonBody").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl<'a, D: Type> ApiExtractor<'a> for JsonBody<D> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        D::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: JSON, schema: D::schema_ref() }],
            required: D::IS_REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let media_type = request.header(header::CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
        let is_json = is_json(media_type.trim());
        let bytes = Zeroizing::new(body.take()?.into_vec().await?);
        Ok(Self { bytes, is_json, document: PhantomData })
    }
}

/// `application/json`, and what is JSON by another name: `application/merge-patch+json` (RFC 7396).
pub(super) fn is_json(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    lower == JSON || (lower.starts_with("application/") && lower.ends_with("+json"))
}

/// Holds a documented body against the type that reads it.
#[cfg(test)]
pub mod agreement {
    use std::collections::BTreeSet;

    use poem_openapi::types::{Example, ToJSON};
    use serde_json::{Map, Value};

    use super::*;

    /// What `D` documents is what `T` reads, `undocumented` excepted, and the example of `D` is read by `T`.
    pub fn check<D: Type + Example + ToJSON, T: DeserializeOwned>(undocumented: &[&str]) {
        let mut registry = Registry::new();
        let schema = registry.create_fake_schema::<D>();
        let documented: BTreeSet<String> = schema.properties.iter().map(|(name, _)| (*name).to_owned()).collect();
        let read: BTreeSet<String> =
            members::<T>().into_iter().filter(|name| !undocumented.contains(&name.as_str())).collect();
        assert_eq!(documented, read, "{}", D::name());

        let example = D::example().to_json().unwrap_or_default();
        let text = example.to_string();
        assert!(admin::body::<T>(text.as_bytes()).is_ok(), "{}: {text}", D::name());
    }

    /// The members that a derived reader names when it meets an unknown one.
    fn members<T: DeserializeOwned>() -> Vec<String> {
        let mut odd = Map::new();
        odd.insert("?".into(), Value::Null);
        let error = admin::body::<T>(Value::Object(odd).to_string().as_bytes()).err().expect("no member is called ?");
        let text = error.description.split_once("expected").expect("it names those there are").1.to_owned();
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_by_several_names() {
        for (media_type, taken) in [
            ("application/json", true),
            ("Application/JSON", true),
            ("application/merge-patch+json", true),
            ("text/json", false),
            ("application/x-www-form-urlencoded", false),
            ("", false),
        ] {
            assert_eq!(is_json(media_type), taken, "{media_type}");
        }
    }
}
