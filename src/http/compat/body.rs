//! Requests as Django REST framework takes them: an object in JSON, a form or a multipart form, whose members are texts.
//!
//! What is wrong with a member is told in the framework's own words (those of its `CharField`), for programs read them.
//! As there, white space around a text does not count, a number counts as its digits, and unknown members are ignored.
//! Other than there, a member that comes twice is refused instead of taken by its last value: whatever stands in front
//! and reads the first one would see another user than the one who logs in. Values are wiped when dropped and never
//! quoted.

use std::borrow::Cow;
use std::fmt;

use poem::http::header;
use poem::web::Multipart;
use poem::{FromRequest as _, Request, RequestBody};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::answers::{Answer, Refused};
use crate::domain::secret::SecretText;

/// What is shown of a content type that is not taken, in characters.
const LONGEST_SHOWN: usize = 128;

/// The members of a request, in their order.
pub struct Body(Vec<(String, Given)>);

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// What a member holds, as far as it matters to one who wants a text.
enum Given {
    Text(Zeroizing<String>),
    Null,
    /// A truth value, a list, an object or a file.
    Other,
}

impl Body {
    /// # Errors
    /// Another content type, or no object in it.
    pub async fn read(mut request: Request) -> Result<Self, Refused> {
        let bytes = Zeroizing::new(request.take_body().into_vec().await.map_err(poem::Error::from)?);
        // Nothing is nothing, whatever it is called.
        if bytes.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let given = request.header(header::CONTENT_TYPE).unwrap_or_default();
        let media_type = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match media_type.as_str() {
            "application/json" => Self::from_json(&bytes),
            "application/x-www-form-urlencoded" => Ok(Self::from_form(&bytes)),
            "multipart/form-data" => {
                let mut body = RequestBody::new(bytes.to_vec().into());
                Self::from_parts(Multipart::from_request(&request, &mut body).await).await
            }
            _ => {
                let shown: String = given.chars().take(LONGEST_SHOWN).collect();
                Err(Answer::unsupported_media_type(&shown).into())
            }
        }
    }

    fn from_json(bytes: &[u8]) -> Result<Self, Refused> {
        let document = serde_json::from_slice(bytes)
            // A fault of syntax, told by its place: nothing of the text is in it.
            .map_err(|fault| Answer::malformed(&format!("JSON parse error - {fault}")))?;
        match document {
            Document::Object(members) => Ok(Self(members)),
            Document::Null => Err(Answer::general("No data provided").into()),
            Document::Other(kind) => {
                let text = format!("Invalid data. Expected a dictionary, but got {kind}.");
                Err(Answer::general(&text).into())
            }
        }
    }

    /// As the URL standard reads forms: what is not percent-encoded stands for itself, and what is not UTF-8 is replaced.
    fn from_form(bytes: &[u8]) -> Self {
        let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        let members = pairs.map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            let (name, value) = (&pair[..at], pair.get(at + 1..).unwrap_or_default());
            (decode(name).to_string(), Given::Text(decode(value)))
        });
        Self(members.collect())
    }

    async fn from_parts(parts: poem::Result<Multipart>) -> Result<Self, Refused> {
        // Whatever the fault, the one who reads of it has a library to blame.
        let broken = || Answer::malformed("Multipart form parse error - it has no boundary, or is cut off");
        let mut parts = parts.map_err(|_| broken())?;
        let mut members = Vec::new();
        while let Some(part) = parts.next_field().await.map_err(|_| broken())? {
            let name = part.name().unwrap_or_default().to_owned();
            let is_file = part.file_name().is_some();
            let text = Zeroizing::new(part.text().await.map_err(|_| broken())?);
            members.push((name, if is_file { Given::Other } else { Given::Text(text) }));
        }
        Ok(Self(members))
    }

    /// The texts that are asked for.
    ///
    /// # Errors
    /// What is wrong with each of them, in the order of `names`.
    pub fn texts<const N: usize>(mut self, names: [&str; N]) -> Result<[SecretText; N], Refused> {
        let mut faults = Vec::new();
        let texts = names.map(|name| {
            self.text(name).unwrap_or_else(|fault| {
                faults.push((name, fault));
                SecretText::default()
            })
        });
        if faults.is_empty() { Ok(texts) } else { Err(Answer::fields(&faults).into()) }
    }

    fn text(&mut self, name: &str) -> Result<SecretText, &'static str> {
        let mut found = self.0.iter_mut().filter(|(known, _)| known == name).map(|(_, given)| given);
        let text = match (found.next(), found.next()) {
            (None, _) => return Err("This field is required."),
            (Some(_), Some(_)) => return Err("This field may be given only once."),
            (Some(Given::Null), None) => return Err("This field may not be null."),
            (Some(Given::Other), None) => return Err("Not a valid string."),
            (Some(Given::Text(text)), None) => text.trim(),
        };
        if text.is_empty() {
            Err("This field may not be blank.")
        } else if text.contains('\0') {
            Err("Null characters are not allowed.")
        } else {
            Ok(SecretText::new(text))
        }
    }
}

fn decode(text: &[u8]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let digits = text.get(at + 1).and_then(|high| Some((hex(*high)?, hex(*text.get(at + 2)?)?)));
        match (byte, digits) {
            (b'%', Some((high, low))) => {
                bytes.push(high << 4 | low);
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (plain, _) => bytes.push(*plain),
        }
        at += 1;
    }
    Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The whole of a JSON text.
enum Document {
    Object(Vec<(String, Given)>),
    Null,
    /// By Python's name of its type.
    Other(&'static str),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Document, E> {
        Ok(Document::Other("bool"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Document, E> {
        Ok(Document::Other("int"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Document, E> {
        Ok(Document::Other("int"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Document, E> {
        Ok(Document::Other("float"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Document, E> {
        Ok(Document::Other("str"))
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Document::Other("list"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Document, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_entry()? {
            all.push(member);
        }
        Ok(Document::Object(all))
    }
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl GivenVisitor {
    fn text<E>(text: impl Into<Cow<'static, str>>) -> Result<Given, E> {
        Ok(Given::Text(Zeroizing::new(text.into().into_owned())))
    }
}

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Given, E> {
        Ok(Given::Other)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Given, E> {
        Self::text(number.to_string())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Given, E> {
        Self::text(number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Given, E> {
        Self::text(format!("{number:?}"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Given, E> {
        Self::text(text.to_owned())
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Given, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Given::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Given, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Given::Other)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(body: Body) -> Option<String> {
        let [text] = body.texts(["a"]).ok()?;
        Some(text.expose().to_owned())
    }

    fn json(text: &str) -> Body {
        Body::from_json(text.as_bytes()).unwrap_or(Body(Vec::new()))
    }

    #[test]
    fn texts_are_trimmed_and_numbers_are_their_digits() {
        for (given, expected) in [
            (r#"" x y ""#, Some("x y")),
            (r#""\u00e9\n""#, Some("\u{e9}")),
            ("0", Some("0")),
            ("-7", Some("-7")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("1.50", Some("1.5")),
            ("null", None),
            ("[]", None),
            ("{}", None),
            ("false", None),
            (r#""""#, None),
            (r#""\u0000""#, None),
        ] {
            assert_eq!(text(json(&format!("{{\"b\":1,\"a\":{given}}}"))).as_deref(), expected, "{given}");
        }
        assert_eq!(text(json(r#"{"a":"1","a":"1"}"#)), None, "whichever of them was meant");
        assert_eq!(text(json(r#"{"a":"1","b":"1","b":[2]}"#)).as_deref(), Some("1"), "nobody reads b");
    }

    #[test]
    fn forms_are_read_as_browsers_write_them_and_worse() {
        for (form, expected) in [
            ("a=x+y", Some("x y")),
            ("b=1&a=p%C3%A4%26%3d%2B&", Some("p\u{e4}&=+")),
            ("a=100%", Some("100%")),
            ("a=%4", Some("%4")),
            ("a=%zz%41", Some("%zzA")),
            ("%61=x", Some("x")),
            ("a=x=y", Some("x=y")),
            ("a=%FF", Some("\u{fffd}")),
            ("a", None),
            ("a=", None),
            ("a=+", None),
            ("a=1&a=1", None),
            ("", None),
        ] {
            assert_eq!(text(Body::from_form(form.as_bytes())).as_deref(), expected, "{form}");
        }
    }

    #[test]
    fn nothing_of_a_value_is_printed_or_told() {
        assert_eq!(format!("{:?}", json(r#"{"password":"hunter2"}"#)), "[\"password\"]");
        for text in [r#"{"password":"hunter2"#, r#"{"password":"hunter2"} hunter2"#, r#"{"password":hunter2}"#] {
            let Err(Refused::Said(answer)) = Body::from_json(text.as_bytes()) else { panic!("{text}") };
            assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
            let response = poem::Response::from(answer);
            assert_eq!(response.status(), 400);
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_both_ways(value in "\\PC{1,40}") {
            let expected = Some(value.trim()).filter(|text| !text.is_empty()).map(str::to_owned);
            let document = serde_json::json!({ "a": value }).to_string();
            prop_assert_eq!(text(json(&document)), expected.clone());
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(text(Body::from_form(format!("a={encoded}").as_bytes())), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Body::from_form(&bytes);
            let _ = Body::from_json(&bytes);
        }
    }
}
