//! `application/x-www-form-urlencoded` requests as OAuth wants them (RFC 6749 section 3.2 and appendix B): an empty
//! value counts as absent, an unknown parameter is ignored, a repeated one is refused, and so is anything that is not
//! UTF-8 under the percent signs.
//!
//! The framework's own form keeps empty values, takes the last of repeated ones, skips validators and answers in plain
//! text. Values are wiped when dropped and never quoted in an error.

use std::borrow::Cow;

use poem::http::header;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use zeroize::Zeroizing;

use super::error::refusal;
use crate::domain::error::{Code, OAuthError};
use crate::domain::secret::SecretText;

const CONTENT_TYPE: &str = "application/x-www-form-urlencoded";

/// A request that arrives as a form.
pub trait FormRequest: Sized + Send {
    /// What the OpenAPI document shows: one flat object. (Swagger UI sends a `oneOf` form as garbage.)
    type Document: Type;

    /// Whether there must be a form. Where there need not, any other body counts as none.
    const REQUIRED: bool = true;

    /// Parameters that may come more than once.
    const REPEATABLE: &'static [&'static str] = &[];

    /// # Errors
    /// A parameter is missing.
    fn read(fields: Fields) -> Result<Self, OAuthError>;
}

/// The extractor.
#[derive(Debug)]
pub struct OAuthForm<T>(pub T);

impl<'a, T: FormRequest> ApiExtractor<'a> for OAuthForm<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::Document::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(MetaRequest {
            description: None,
            content: vec![MetaMediaType { content_type: CONTENT_TYPE, schema: T::Document::schema_ref() }],
            required: T::REQUIRED,
        })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        if let Err(fault) = expect_form(request) {
            return if T::REQUIRED {
                Err(refusal(fault))
            } else {
                T::read(Fields(Vec::new())).map(Self).map_err(refusal)
            };
        }
        let bytes = body.take()?.into_bytes().await?;
        Fields::parse(&bytes, T::REPEATABLE).and_then(T::read).map(Self).map_err(refusal)
    }
}

/// The media type alone decides; parameters such as `charset` say nothing new.
fn expect_form(request: &Request) -> Result<(), OAuthError> {
    let given = request.header(header::CONTENT_TYPE).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(CONTENT_TYPE) {
        Ok(())
    } else {
        Err(OAuthError::new(Code::UnsupportedMediaType, "send the parameters as application/x-www-form-urlencoded"))
    }
}

/// The parameters of a form that have a value, each taken out by the one who reads it.
pub struct Fields(Vec<(String, Zeroizing<String>)>);

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Fields {
    /// # Errors
    /// A parameter outside of `repeatable` comes twice, or something is not percent-encoded UTF-8.
    pub fn parse(bytes: &[u8], repeatable: &[&str]) -> Result<Self, OAuthError> {
        let mut fields: Vec<(String, Zeroizing<String>)> = Vec::new();
        for pair in bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            let name = decode(name).ok_or_else(|| malformed("a parameter's name"))?;
            if value.is_empty() {
                continue;
            }
            if !repeatable.contains(&name.as_str()) && fields.iter().any(|(known, _)| *known == *name) {
                let text = format!("the parameter {} comes more than once", shown(&name));
                return Err(OAuthError::new(Code::InvalidRequest, text));
            }
            let value = decode(value).ok_or_else(|| malformed(&format!("the value of {}", shown(&name))))?;
            fields.push((name.to_string(), value));
        }
        Ok(Self(fields))
    }

    pub fn take(&mut self, name: &str) -> Option<SecretText> {
        self.take_text(name).map(SecretText::from)
    }

    /// For a parameter that is no secret.
    pub fn take_text(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(std::mem::take(&mut *self.0.remove(at).1))
    }

    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.take_text(name)).collect()
    }

    /// # Errors
    /// The parameter is missing or empty.
    pub fn require(&mut self, name: &str) -> Result<SecretText, OAuthError> {
        self.take(name).ok_or_else(|| missing(name))
    }
}

/// The parameter is missing or empty.
pub fn missing(name: &str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, format!("the parameter {name} is missing"))
}

fn malformed(what: &str) -> OAuthError {
    OAuthError::new(Code::InvalidRequest, format!("{what} is not percent-encoded UTF-8"))
}

/// A name that a stranger chose, short enough for an error.
fn shown(name: &str) -> Cow<'_, str> {
    const LONGEST: usize = 64;
    if name.len() <= LONGEST { name.into() } else { name.chars().take(LONGEST).chain("...".chars()).collect() }
}

/// All names and values, whatever comes more than once: for a request whose faults are somebody else's to tell.
///
/// # Errors
/// Something is not percent-encoded UTF-8.
pub fn pairs(bytes: &[u8]) -> Result<Vec<(String, String)>, OAuthError> {
    let each = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    each.map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = (decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default()));
        let name = name.ok_or_else(|| malformed("a parameter's name"))?;
        let value = value.ok_or_else(|| malformed(&format!("the value of {}", shown(&name))))?;
        Ok((name.to_string(), value.to_string()))
    })
    .collect()
}

fn decode(text: &[u8]) -> Option<Zeroizing<String>> {
    if !text.iter().any(|byte| matches!(byte, b'+' | b'%')) {
        return std::str::from_utf8(text).ok().map(|text| Zeroizing::new(text.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(*rest.next()?)? << 4 | hex(*rest.next()?)?,
            plain => *plain,
        });
    }
    let text = String::from_utf8(std::mem::take(&mut *bytes));
    text.map(Zeroizing::new)
        .map_err(|error| {
            // What was decoded so far may be a secret as well.
            drop(Zeroizing::new(error.into_bytes()));
        })
        .ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &[u8]) -> Result<Fields, String> {
        Fields::parse(text, &["resource"]).map_err(|error| {
            assert_eq!(error.code, Code::InvalidRequest);
            error.description.into_owned()
        })
    }

    #[test]
    fn values_are_decoded_and_empty_ones_are_absent() {
        let mut fields = parse(b"username=ada+l&password=p%C3%A4%26%3d%2B&scope=&flag&unknown=1&&scope=read").unwrap();
        assert_eq!(fields.take_text("username").as_deref(), Some("ada l"));
        assert_eq!(fields.require("password").unwrap().expose(), "pä&=+");
        assert_eq!(fields.take_text("scope").as_deref(), Some("read"));
        assert!(fields.take("flag").is_none());
        assert!(fields.require("flag").unwrap_err().description.contains("flag"));
    }

    #[test]
    fn duplicates_are_refused_by_name_and_resource_may_repeat() {
        assert_eq!(parse(b"scope=a&scope=b").unwrap_err(), "the parameter scope comes more than once");
        assert_eq!(parse(b"scope=a&sc%6fpe=a").unwrap_err(), "the parameter scope comes more than once");
        let mut fields = parse(b"resource=a&resource=b").unwrap();
        assert_eq!(fields.take_all("resource"), ["a", "b"]);
        let long = [b"x".repeat(500), b"=1&".to_vec(), b"x".repeat(500), b"=1".to_vec()].concat();
        assert!(parse(&long).unwrap_err().len() < 120);
    }

    #[test]
    fn what_is_not_percent_encoded_utf8_is_refused_without_being_quoted() {
        for value in [&b"%"[..], b"%4", b"%zz", b"%+1", b"hunter2%FF", b"\xff", b"%C3"] {
            let refusal = parse(&[b"password=", value].concat()).unwrap_err();
            assert_eq!(refusal, "the value of password is not percent-encoded UTF-8");
        }
        assert!(parse(b"%ff=1").is_err());
    }

    #[test]
    fn nothing_of_a_value_is_printed() {
        assert_eq!(format!("{:?}", parse(b"password=hunter2").unwrap()), "[\"password\"]");
    }

    proptest! {
        #[test]
        fn any_text_survives_the_way(value in "\\PC{1,40}") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let mut fields = parse(format!("v={encoded}").as_bytes()).unwrap();
            prop_assert_eq!(fields.take_text("v"), Some(value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&bytes);
        }
    }
}
