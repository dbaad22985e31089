//! The OpenAPI documents: what the framework generates, completed by what it cannot say.
//!
//! It can give a media type no named examples, knows one host-less token URL at compile time, and would print a key of
//! OpenAPI 3.1 in a document of 3.0. All of that is mended here.

use std::collections::HashSet;

use poem_openapi::{OpenApi, OpenApiService, Tags};
use serde_json::{Map, Value, json};

use super::authorization::TOKEN_PATH;
use super::routes::Shared;
use crate::domain::client::GrantType;

/// The chapters of the documents.
#[derive(Tags)]
pub enum Topic {
    /// Get, renew, check and revoke tokens.
    Tokens,
    /// Who the user is that logged in: OpenID Connect.
    OpenId,
    /// What verifiers and clients read to find their way: public keys and metadata.
    Discovery,
    /// Health and metrics, for whoever runs the service.
    Monitoring,
    /// **A test clock is in force.** Time is moved here, for tests of what happens in days.
    TestClock,
    /// Signing keys and the keys of refresh tokens: see them with their timeline, rotate, import.
    Keys,
    /// Registered clients and their secrets.
    Clients,
    /// Users, their passwords and rights.
    Users,
    /// Logins that are still alive, and how they ended: of clients and in browsers; and what users have allowed clients.
    Sessions,
    /// Who did what, and from where.
    Audit,
}

/// One document, to be written in either of its forms.
#[derive(Clone, Debug)]
pub struct Document(pub(super) Value);

impl Document {
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(&self.0).unwrap_or_default() + "\n"
    }

    pub fn yaml(&self) -> String {
        yaml(&self.0)
    }
}

/// The document of `T`. `server` is the URL that its paths follow: the issuer, or a path on a listener whose URL
/// nobody told us.
pub fn document<T: OpenApi>(title: &str, description: &str, server: &str) -> Document {
    let service = OpenApiService::new(Shared::<T>::described(), title, env!("CARGO_PKG_VERSION"))
        .description(description)
        .license("MIT OR Apache-2.0")
        .server(if server.is_empty() { "/" } else { server });
    // What the framework wrote is JSON.
    let mut document: Value = serde_json::from_str(&service.spec()).unwrap_or_default();
    if let Some(members) = document.as_object_mut() {
        members.remove("webhooks");
    }
    name_token_url(&mut document, server);
    name_grants(&mut document);
    each_operation(&mut document, complete);
    drop_empty_chapters(&mut document);
    Document(document)
}

fn name_token_url(document: &mut Value, server: &str) {
    let schemes = document.pointer_mut("/components/securitySchemes").and_then(Value::as_object_mut);
    let flows =
        schemes.into_iter().flat_map(Map::values_mut).filter_map(|scheme| scheme.get_mut("flows")?.as_object_mut());
    for flow in flows.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        for name in ["tokenUrl", "refreshUrl"] {
            flow.insert(name.into(), format!("{server}{TOKEN_PATH}").into());
        }
    }
}

/// What a code generator is to call the grants: it would make a name of every colon of a URN.
fn name_grants(document: &mut Value) {
    if let Some(Value::Object(schema)) = document.pointer_mut("/components/schemas/GrantTypeName") {
        let names = GrantType::ALL.map(|grant| match grant {
            GrantType::AuthorizationCode => "AUTHORIZATION_CODE",
            GrantType::Password => "PASSWORD",
            GrantType::RefreshToken => "REFRESH_TOKEN",
            GrantType::ClientCredentials => "CLIENT_CREDENTIALS",
            GrantType::TokenExchange => "TOKEN_EXCHANGE",
        });
        schema.insert("x-enum-varnames".into(), json!(names));
    }
}

fn each_operation(document: &mut Value, change: fn(&str, &mut Value)) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    for operation in paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
        for operation in operation.values_mut() {
            let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
            change(&id, operation);
        }
    }
}

/// The framework names every chapter that it knows of, whether anything is in it or not.
fn drop_empty_chapters(document: &mut Value) {
    let mut used = HashSet::new();
    for operation in document["paths"].as_object().into_iter().flatten().filter_map(|(_, path)| path.as_object()) {
        let tags = operation.values().filter_map(|operation| operation["tags"].as_array()).flatten();
        used.extend(tags.filter_map(|tag| tag.as_str().map(str::to_owned)));
    }
    if let Some(chapters) = document.get_mut("tags").and_then(Value::as_array_mut) {
        chapters.retain(|chapter| chapter["name"].as_str().is_some_and(|name| used.contains(name)));
    }
}

/// Adds the examples and how the form is written.
fn complete(id: &str, operation: &mut Value) {
    const FORM: &str = "/requestBody/content/application~1x-www-form-urlencoded";
    if let Some(examples) = request_examples(id)
        && let Some(Value::Object(body)) = operation.pointer_mut(FORM)
    {
        body.insert("examples".into(), examples);
    }
    if id == "token"
        && let Some(Value::Object(body)) = operation.pointer_mut(FORM)
    {
        // The default of every array in a form, which code generators follow only where it is written down.
        let each = json!({ "style": "form", "explode": true });
        body.insert("encoding".into(), json!({ "resource": each, "audience": each }));
    }
    let answers = operation.get_mut("responses").and_then(Value::as_object_mut);
    for (status, answer) in answers.into_iter().flatten() {
        // Required by OpenAPI, and left empty by the framework's own payloads.
        if answer["description"] == "" {
            answer["description"] = "As asked".into();
        }
        if let (Some(example), Some(Value::Object(content))) =
            (error_example(id, status), answer.pointer_mut("/content/application~1json"))
        {
            content.insert("example".into(), example);
        }
    }
}

fn request_examples(id: &str) -> Option<Value> {
    match id {
        "token" => Some(json!({
            "authorization_code": { "summary": "Exchange a code", "value": {
                "grant_type": "authorization_code", "code": "vJ0...", "redirect_uri": "https://app.example.com/callback",
                "code_verifier": "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" } },
            "password": { "summary": "Log a user in", "value": {
                "grant_type": "password", "username": "ada", "password": "correct horse battery staple",
                "scope": "read write" } },
            "refresh_token": { "summary": "Renew", "value": {
                "grant_type": "refresh_token", "refresh_token": "lkr_AQ..." } },
            "client_credentials": { "summary": "Act in the client's own name", "value": {
                "grant_type": "client_credentials", "scope": "read" } },
            "urn:ietf:params:oauth:grant-type:token-exchange": { "summary": "Exchange an access token for its successor", "value": {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": "eyJhbGciOiJFUzI1NiIs...",
                "subject_token_type": "urn:ietf:params:oauth:token-type:access_token" } },
            "public_client": { "summary": "Log a user in from a public client", "value": {
                "grant_type": "password", "username": "ada", "password": "correct horse battery staple",
                "client_id": "app" } },
        })),
        "introspect" | "revoke" => Some(json!({
            "access_token": { "summary": "An access token", "value": { "token": "eyJhbGciOiJFUzI1NiIs..." } },
            "refresh_token": { "summary": "A refresh token", "value": { "token": "lkr_AQ..." } },
        })),
        _ => None,
    }
}

/// What each error looks like, so that nobody has to guess from the schema.
fn error_example(id: &str, status: &str) -> Option<Value> {
    let is_for_clients = matches!(id, "token" | "introspect" | "revoke");
    let is_userinfo = matches!(id, "userinfo" | "userinfoPost");
    let (error, description) = match (status, is_for_clients) {
        ("400", true) if id == "token" => {
            return Some(json!({
                "error": "invalid_grant",
                "error_description": "the session was not used for longer than its idle limit; log in again",
                "reason": "idle_expired",
            }));
        }
        ("400", _) if is_userinfo => ("invalid_request", "an access token in the URL ends up in logs"),
        ("400", _) => ("invalid_request", "the parameter token is missing"),
        ("401", true) => ("invalid_client", "the client is unknown or its secret is wrong"),
        ("401", false) => ("invalid_token", "the access token is missing, expired or revoked"),
        ("403", _) if is_userinfo => ("insufficient_scope", "this needs the scope openid"),
        ("403", _) => ("insufficient_scope", "this needs another admin scope"),
        ("404", _) => ("not_found", "no such thing"),
        ("409", _) => ("conflict", "it exists already"),
        ("413", _) => ("payload_too_large", "the body is too large"),
        ("415", _) => ("unsupported_media_type", "send the parameters as application/x-www-form-urlencoded"),
        ("429", _) => ("temporarily_unavailable", "too many failed attempts; wait"),
        ("503", _) => ("temporarily_unavailable", "the database does not answer; try again"),
        ("500", _) => {
            return Some(json!({
                "error": "server_error",
                "error_description": "something went wrong here; the request id finds it in the log",
                "request_id": "4bq0C9m1x_Zy8n2K",
            }));
        }
        _ => return None,
    };
    Some(json!({ "error": error, "error_description": description }))
}

/// YAML in block style. Strings are quoted as in JSON, which YAML reads alike.
fn yaml(value: &Value) -> String {
    let mut text = String::new();
    write_yaml(value, 0, &mut text);
    text
}

fn write_yaml(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                text.push_str(&format!("{indent}{}:", key(name)));
                write_nested(member, depth, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                text.push_str(&format!("{indent}-"));
                write_nested(item, depth, text);
            }
        }
        // Empty collections, strings, numbers, booleans and null read the same in both.
        flat => text.push_str(&format!("{indent}{flat}\n")),
    }
}

fn write_nested(value: &Value, depth: usize, text: &mut String) {
    let nests = value.as_object().is_some_and(|members| !members.is_empty())
        || value.as_array().is_some_and(|items| !items.is_empty());
    if nests {
        text.push('\n');
        write_yaml(value, depth + 1, text);
    } else {
        text.push_str(&format!(" {value}\n"));
    }
}

/// Plain where no reader could take it for anything but a string.
fn key(name: &str) -> String {
    let plain = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./{}$".contains(&byte))
        && !matches!(name, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_is_in_blocks_with_quoted_strings() {
        let value = json!({
            "openapi": "3.0.0", "list": [1, "a: b", {"x": [], "200": {"z": null}}], "/a/{b}": {}, "on": true,
        });
        let expected = "openapi: \"3.0.0\"\nlist:\n  - 1\n  - \"a: b\"\n  -\n    x: []\n    \"200\":\n      z: null\n\
                        /a/{b}: {}\n\"on\": true\n";
        assert_eq!(yaml(&value), expected);
    }
}
