//! How the configured paths are shown in the served document. The documents in `openapi/` do not have them: where they
//! are, and whether they are, is every operator's own.

use serde_json::{Map, Value, json};

use super::{Operation, served};
use crate::config::{CompatSettings, CompatStyle, path_of};
use crate::http::document::Document;

/// The chapter that they are shown in.
const CHAPTER: &str = "Compatibility";

const CHAPTER_TEXT: &str = "Paths in the manner of another package, for clients that know them from there. New clients \
                            use `/oauth2/token`.";

/// The document with the paths of every `[[compat]]`.
pub fn describe(Document(mut value): Document, issuer: &str, all: &[CompatSettings]) -> Document {
    if all.is_empty() {
        return Document(value);
    }
    if let Some(chapters) = value.get_mut("tags").and_then(Value::as_array_mut) {
        chapters.push(json!({ "name": CHAPTER, "description": CHAPTER_TEXT }));
    }
    if let Some(paths) = value.get_mut("paths").and_then(Value::as_object_mut) {
        for (index, settings) in all.iter().enumerate() {
            for (operation, path) in served(settings) {
                paths.insert(path.to_owned(), item(index, settings, operation, issuer));
            }
        }
    }
    Document(value)
}

fn item(index: usize, settings: &CompatSettings, operation: Operation, issuer: &str) -> Value {
    let schema = request_schema(settings, operation);
    let content: Map<String, Value> = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
        .into_iter()
        .map(|kind| (kind.to_owned(), json!({ "schema": schema })))
        .collect();
    let mut item = json!({ "post": {
        "tags": [CHAPTER],
        "operationId": format!("compat_{index}_{}", operation.as_str()),
        "summary": summary(operation),
        "description": format!("As {} has it, in the name of the client `{}`.", settings.style, settings.client_id),
        "requestBody": { "required": true, "content": content },
        "responses": responses(settings, operation),
    }});
    // Other than everything else, these paths do not begin with the issuer's.
    let prefix = path_of(issuer);
    if !prefix.is_empty() {
        let origin = issuer.trim_end_matches('/').strip_suffix(prefix).unwrap_or(issuer);
        item["servers"] = json!([{ "url": origin }]);
    }
    item
}

const fn summary(operation: Operation) -> &'static str {
    match operation {
        Operation::Obtain => "Log in",
        Operation::Refresh => "Renew",
        Operation::Verify => "Ask whether a token counts",
        Operation::Blacklist => "Log out",
        Operation::SlidingObtain => "Log in, for one token that slides",
        Operation::SlidingRefresh => "Renew a token that slides",
    }
}

fn request_schema(settings: &CompatSettings, operation: Operation) -> Value {
    let names: Vec<&str> = match (operation, settings.style) {
        (Operation::Obtain | Operation::SlidingObtain, _) => vec![settings.username_field.as_str(), "password"],
        (Operation::Refresh, CompatStyle::SimpleJwt) | (Operation::Blacklist, _) => vec!["refresh"],
        (Operation::Refresh | Operation::Verify | Operation::SlidingRefresh, _) => vec!["token"],
    };
    let properties: Map<String, Value> = names.iter().map(|name| ((*name).to_owned(), text())).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

fn responses(settings: &CompatSettings, operation: Operation) -> Value {
    let answer = |description: &str, example: Value| {
        json!({ "description": description, "content": { "application/json": {
            "schema": { "type": "object" }, "example": example } } })
    };
    let detail = |text: &str| json!({ "detail": text });
    let simple = settings.style == CompatStyle::SimpleJwt;
    let good = if settings.style == CompatStyle::DrfJwt { "201" } else { "200" };
    let mut responses = Map::new();
    let mut say = |status: &str, answer: Value| responses.insert(status.to_owned(), answer);
    say(good, answer("As asked", good_example(settings, operation)));
    let faults = if simple {
        json!({ "refresh": ["This field is required."] })
    } else {
        json!({ "non_field_errors": ["Unable to log in with provided credentials."] })
    };
    say("400", answer("The request is refused", faults));
    if simple {
        let example = json!({ "detail": "Token is invalid", "code": "token_not_valid" });
        say("401", answer("The login or the token is refused", example));
    }
    say("403", answer("The client of this path cannot be used", detail("the client of this path is disabled")));
    say("415", answer("Another content type is expected", detail("Unsupported media type \"text/plain\" in request.")));
    let wait = detail("Request was throttled. Expected available in 25 seconds.");
    say("429", answer("Too many failures or requests; wait", wait));
    say("503", answer("Try again", detail("Service temporarily unavailable, try again later.")));
    Value::Object(responses)
}

fn good_example(settings: &CompatSettings, operation: Operation) -> Value {
    const TOKEN: &str = "eyJhbGciOiJFUzI1NiIs...";
    let pair = settings.style == CompatStyle::SimpleJwt;
    match operation {
        Operation::Obtain | Operation::SlidingObtain => match &settings.response {
            Some(response) => response.clone(),
            None if pair && operation == Operation::Obtain => json!({ "refresh": "lkr_AQ...", "access": TOKEN }),
            None => json!({ "token": TOKEN }),
        },
        Operation::Refresh if pair => json!({ "access": TOKEN, "refresh": "lkr_AQ..." }),
        Operation::SlidingRefresh => json!({ "token": TOKEN }),
        Operation::Verify | Operation::Blacklist if pair => json!({}),
        Operation::Refresh | Operation::Verify | Operation::Blacklist => {
            settings.response.clone().unwrap_or_else(|| json!({ "token": TOKEN }))
        }
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}
