//! What the originals answer, as recorded from them under Django's own server or test client, and what is sent for it:
//!
//! * simplejwt: djangorestframework_simplejwt 5.5.1, djangorestframework 3.18.3, Django 5.2.19, PyJWT 2.15.1, with
//!   `ROTATE_REFRESH_TOKENS` and `BLACKLIST_AFTER_ROTATION`;
//! * drf-jwt: drf-jwt 1.19.2 on the same;
//! * djangorestframework-jwt 1.11.0, djangorestframework 3.9.4, Django 2.2.28, PyJWT 1.7.1.
//!
//! `$name` stands for a token in the state of that name, `<token>` for any token, `<iat>` for its `iat`, `...` at the end
//! for what Python's own libraries say.

/// A request by its content type and body, and the status and body of the answer.
pub struct Row {
    pub name: &'static str,
    pub sent: Sent,
    pub status: u16,
    pub says: &'static str,
}

pub enum Sent {
    Json(&'static str),
    Form(&'static str),
    /// Name and value; a value that begins with `@` is a file.
    Parts(&'static [(&'static str, &'static str)]),
    Raw(&'static str, &'static [u8]),
    /// A method, without a body.
    Method(&'static str),
}

use Sent::{Form, Json, Method, Parts, Raw};

macro_rules! rows {
    ($($name:literal, $sent:expr, $status:literal, $says:literal;)*) => {
        &[$(Row { name: $name, sent: $sent, status: $status, says: $says }),*]
    };
}

const JSON: &str = "application/json";

/// Refused alike by every endpoint of all three.
pub const EVERYWHERE: &[Row] = rows![
    "GET", Method("GET"), 405, r#"{"detail":"Method \"GET\" not allowed."}"#;
    "PUT", Method("PUT"), 405, r#"{"detail":"Method \"PUT\" not allowed."}"#;
    "DELETE", Method("DELETE"), 405, r#"{"detail":"Method \"DELETE\" not allowed."}"#;
    "PATCH", Method("PATCH"), 405, r#"{"detail":"Method \"PATCH\" not allowed."}"#;
    "malformed JSON", Json("{username: x"), 400, r#"{"detail":"JSON parse error - ..."#;
    "trailing text", Json(r#"{"username":"alice"} x"#), 400, r#"{"detail":"JSON parse error - ..."#;
    "white space alone", Json("  "), 400, r#"{"detail":"JSON parse error - ..."#;
    "not a number", Json(r#"{"username":NaN}"#), 400, r#"{"detail":"JSON parse error - ..."#;
    "a byte order mark", Json("\u{feff}{}"), 400, r#"{"detail":"JSON parse error - ..."#;
    "not UTF-8", Raw(JSON, b"{\"username\":\"\xff\"}"), 400, r#"{"detail":"JSON parse error - ..."#;
    "a JSON array", Json("[1]"), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#;
    "an empty array", Json("[]"), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got list."]}"#;
    "a JSON string", Json("\"x\""), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got str."]}"#;
    "a number", Json("5"), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got int."]}"#;
    "a fraction", Json("5.5"), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got float."]}"#;
    "a truth value", Json("true"), 400, r#"{"non_field_errors":["Invalid data. Expected a dictionary, but got bool."]}"#;
    "JSON null", Json("null"), 400, r#"{"non_field_errors":["No data provided"]}"#;
    "text/plain", Raw("text/plain", b"{}"), 415, r#"{"detail":"Unsupported media type \"text/plain\" in request."}"#;
    "XML", Raw("application/xml", b"<a/>"), 415, r#"{"detail":"Unsupported media type \"application/xml\" in request."}"#;
    "a profile of JSON", Raw("application/vnd.api+json", b"{}"), 415,
        r#"{"detail":"Unsupported media type \"application/vnd.api+json\" in request."}"#;
    "a quote in the type", Raw("text/\"plain", b"x"), 415,
        r#"{"detail":"Unsupported media type \"text/\"plain\" in request."}"#;
    "no type", Raw("", b"{}"), 415, r#"{"detail":"Unsupported media type \"\" in request."}"#;
];

/// What is said of one text that is called `field`, in every endpoint of all three; the other ones are right.
pub const FIELD: &[(&str, &str)] = &[
    ("null", "This field may not be null."),
    (r#""""#, "This field may not be blank."),
    (r#""  \t ""#, "This field may not be blank."),
    (r#"{"a":1}"#, "Not a valid string."),
    (r#"["a"]"#, "Not a valid string."),
    ("true", "Not a valid string."),
    ("false", "Not a valid string."),
    (r#""a\u0000b""#, "Null characters are not allowed."),
];

/// Logins that are refused or let in for who they are; `<good>` and `<wrong>` are each style's own.
pub const LOGINS: &[Row] = rows![
    "good", Json(r#"{"username":"alice","password":"$password"}"#), 200, "<good>";
    "as a form", Form("username=alice&password=$password"), 200, "<good>";
    "as a form with a charset", Raw("Application/X-WWW-Form-Urlencoded; charset=utf-8", b"username=alice&password=$password"),
        200, "<good>";
    "in parts", Parts(&[("username", "alice"), ("password", "$password")]), 200, "<good>";
    "with more members", Json(r#"{"username":"alice","password":"$password","remember":true,"x":{"y":[1,null]}}"#), 200,
        "<good>";
    "JSON with a charset", Raw("application/json; charset=utf-8", br#"{"username":"alice","password":"$password"}"#), 200,
        "<good>";
    "a name in white space", Json(r#"{"username":"  alice \n","password":"$password"}"#), 200, "<good>";
    "a name in pluses", Form("username=+alice+&password=$password"), 200, "<good>";
    "a password in white space", Json(r#"{"username":"alice","password":" $password "}"#), 200, "<good>";
    "digits without quotes", Json(r#"{"username":"num","password":1234567890}"#), 200, "<good>";
    "a fraction without quotes", Json(r#"{"username":"fraction","password":12345.75}"#), 200, "<good>";
    "wrong password", Json(r#"{"username":"alice","password":"not-it"}"#), 401, "<wrong>";
    "password in capitals", Json(r#"{"username":"alice","password":"$PASSWORD"}"#), 401, "<wrong>";
    "unknown user", Json(r#"{"username":"nobody-of-that-name","password":"$password"}"#), 401, "<wrong>";
    "inactive user", Json(r#"{"username":"inactive","password":"$password"}"#), 401, "<wrong>";
    "a number for a password", Json(r#"{"username":"nobody","password":12345}"#), 401, "<wrong>";
    "bad UTF-8 in a form", Form("username=nobody%FF&password=x"), 401, "<wrong>";
    "a bad percent in a form", Form("username=nobody%zz&password=100%"), 401, "<wrong>";
];

/// What is missing, where the name is told first; djangorestframework-jwt has it the same.
pub const MISSING_LOGINS: &[Row] = rows![
    "no body", Method("POST"), 400, r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    "empty JSON", Json(""), 400, r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    "empty text", Raw("text/plain", b""), 400,
        r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    "empty object", Json("{}"), 400, r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    "a form of others", Form("a=b"), 400, r#"{"username":["This field is required."],"password":["This field is required."]}"#;
    "no username", Json(r#"{"password":"x"}"#), 400, r#"{"username":["This field is required."]}"#;
    "no password", Json(r#"{"username":"x"}"#), 400, r#"{"password":["This field is required."]}"#;
    "a blank in a form", Form("username=&password=x"), 400, r#"{"username":["This field may not be blank."]}"#;
    "semicolons", Form("username=x;password=y"), 400, r#"{"password":["This field is required."]}"#;
    "a file for a name", Parts(&[("username", "@alice"), ("password", "x")]), 400, r#"{"username":["Not a valid string."]}"#;
];

/// drf-jwt tells the password first.
pub const MISSING_LOGINS_OF_DRF_JWT: &[Row] = rows![
    "no body", Method("POST"), 400, r#"{"password":["This field is required."],"username":["This field is required."]}"#;
    "empty object", Json("{}"), 400, r#"{"password":["This field is required."],"username":["This field is required."]}"#;
    "no username", Json(r#"{"password":"x"}"#), 400, r#"{"username":["This field is required."]}"#;
    "no password", Json(r#"{"username":"x"}"#), 400, r#"{"password":["This field is required."]}"#;
];

/// What an endpoint that takes a token says when it gets none; `<field>` is its name.
pub const MISSING_TOKENS: &[Row] = rows![
    "no body", Method("POST"), 400, r#"{"<field>":["This field is required."]}"#;
    "empty JSON", Json(""), 400, r#"{"<field>":["This field is required."]}"#;
    "empty object", Json("{}"), 400, r#"{"<field>":["This field is required."]}"#;
    "a form of others", Form("a=b"), 400, r#"{"<field>":["This field is required."]}"#;
];

pub const SIMPLEJWT_WRONG: &str = r#"{"detail":"No active account found with the given credentials"}"#;

pub const SIMPLEJWT_REFRESH: &[Row] = rows![
    "good", Json(r#"{"refresh":"$good"}"#), 200, r#"{"access":"<token>","refresh":"<token>"}"#;
    "as a form", Form("refresh=$good too"), 200, r#"{"access":"<token>","refresh":"<token>"}"#;
    "in white space", Json(r#"{"refresh":"  $good three\n"}"#), 200, r#"{"access":"<token>","refresh":"<token>"}"#;
    "rotated already", Json(r#"{"refresh":"$rotated already"}"#), 401,
        r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#;
    "blacklisted", Json(r#"{"refresh":"$blacklisted"}"#), 401,
        r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#;
    "expired", Json(r#"{"refresh":"$expired"}"#), 401, r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "an access token", Json(r#"{"refresh":"$access"}"#), 401,
        r#"{"detail":"Token has wrong type","code":"token_not_valid"}"#;
    "an expired access token", Json(r#"{"refresh":"$expired access"}"#), 401,
        r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "signature changed", Json(r#"{"refresh":"$changed"}"#), 401,
        r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "another secret", Json(r#"{"refresh":"$foreign"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "alg none", Json(r#"{"refresh":"$unsigned"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "user inactive since", Json(r#"{"refresh":"$leaver"}"#), 401,
        r#"{"detail":"No active account found for the given token."}"#;
    "garbage", Json(r#"{"refresh":"not.a.token"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "one word", Json(r#"{"refresh":"garbage"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "other letters", Json(r#"{"refresh":"é.é.é"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "a number", Json(r#"{"refresh":1}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
];

/// Without `ROTATE_REFRESH_TOKENS`, the same token over and over.
pub const SIMPLEJWT_REFRESH_WITHOUT_ROTATION: &[Row] = rows![
    "good", Json(r#"{"refresh":"$good"}"#), 200, r#"{"access":"<token>"}"#;
    "again", Json(r#"{"refresh":"$good"}"#), 200, r#"{"access":"<token>"}"#;
    "as a form", Form("refresh=$good"), 200, r#"{"access":"<token>"}"#;
    "expired", Json(r#"{"refresh":"$expired"}"#), 401, r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
];

pub const SIMPLEJWT_VERIFY: &[Row] = rows![
    "good", Json(r#"{"token":"$access"}"#), 200, "{}";
    "as a form", Form("token=$access"), 200, "{}";
    "in white space", Json(r#"{"token":" $access"}"#), 200, "{}";
    "good refresh", Json(r#"{"token":"$good"}"#), 200, "{}";
    "blacklisted", Json(r#"{"token":"$blacklisted"}"#), 400, r#"{"non_field_errors":["Token is blacklisted"]}"#;
    "expired", Json(r#"{"token":"$expired"}"#), 401, r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "expired access", Json(r#"{"token":"$expired access"}"#), 401,
        r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "signature changed", Json(r#"{"token":"$changed"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "access changed", Json(r#"{"token":"$changed access"}"#), 401,
        r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "another secret", Json(r#"{"token":"$foreign"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "alg none", Json(r#"{"token":"$unsigned"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "garbage", Json(r#"{"token":"not.a.token"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "one word", Json(r#"{"token":"garbage"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "a number", Json(r#"{"token":1}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
];

pub const SIMPLEJWT_BLACKLIST: &[Row] = rows![
    "good", Json(r#"{"refresh":"$good"}"#), 200, "{}";
    "as a form", Form("refresh=$good too"), 200, "{}";
    "blacklisted", Json(r#"{"refresh":"$blacklisted"}"#), 401,
        r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#;
    "expired", Json(r#"{"refresh":"$expired"}"#), 401, r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "an access token", Json(r#"{"refresh":"$access"}"#), 401,
        r#"{"detail":"Token has wrong type","code":"token_not_valid"}"#;
    "signature changed", Json(r#"{"refresh":"$changed"}"#), 401,
        r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "garbage", Json(r#"{"refresh":"not.a.token"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "one word", Json(r#"{"refresh":"garbage"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "a number", Json(r#"{"refresh":1}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
];

pub const SIMPLEJWT_SLIDING_REFRESH: &[Row] = rows![
    "good", Json(r#"{"token":"$sliding"}"#), 200, r#"{"token":"<token>"}"#;
    "as a form", Form("token=$sliding"), 200, r#"{"token":"<token>"}"#;
    "exp passed, refresh_exp not", Json(r#"{"token":"$expired sliding"}"#), 401,
        r#"{"detail":"Token is expired","code":"token_not_valid"}"#;
    "a refresh token", Json(r#"{"token":"$good"}"#), 401, r#"{"detail":"Token has wrong type","code":"token_not_valid"}"#;
    "signature changed", Json(r#"{"token":"$changed access"}"#), 401,
        r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "garbage", Json(r#"{"token":"not.a.token"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "one word", Json(r#"{"token":"garbage"}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
    "a number", Json(r#"{"token":1}"#), 401, r#"{"detail":"Token is invalid","code":"token_not_valid"}"#;
];

pub const DRF_WRONG: &str = r#"{"non_field_errors":["Unable to log in with provided credentials."]}"#;

/// refresh and verify have these in common. Statuses are drf-jwt's; its good ones are 201.
pub const DRF_JWT_TOKENS: &[Row] = rows![
    "good", Json(r#"{"token":"$good"}"#), 201, r#"{"pk":<iat>,"token":"<token>"}"#;
    "as a form", Form("token=$good"), 201, r#"{"pk":<iat>,"token":"<token>"}"#;
    "in parts", Parts(&[("token", "$good")]), 201, r#"{"pk":<iat>,"token":"<token>"}"#;
    "in white space", Json(r#"{"token":" $good\n"}"#), 201, r#"{"pk":<iat>,"token":"<token>"}"#;
    "expired", Json(r#"{"token":"$expired"}"#), 400, r#"{"non_field_errors":["Token has expired."]}"#;
    "signature changed", Json(r#"{"token":"$changed"}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
    "another secret", Json(r#"{"token":"$foreign"}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
    "blacklisted", Json(r#"{"token":"$blacklisted"}"#), 400, r#"{"non_field_errors":["Token is blacklisted."]}"#;
    "garbage", Json(r#"{"token":"not.a.token"}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
    "one word", Json(r#"{"token":"garbage"}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
    "other letters", Json(r#"{"token":"é.é.é"}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
    "a number", Json(r#"{"token":1}"#), 400, r#"{"non_field_errors":["Error decoding token."]}"#;
];

pub const REST_FRAMEWORK_JWT_TOKENS: &[Row] = rows![
    "good", Json(r#"{"token":"$good"}"#), 200, r#"{"token":"<token>"}"#;
    "as a form", Form("token=$good"), 200, r#"{"token":"<token>"}"#;
    "expired", Json(r#"{"token":"$expired"}"#), 400, r#"{"non_field_errors":["Signature has expired."]}"#;
    "signature changed", Json(r#"{"token":"$changed"}"#), 400, r#"{"non_field_errors":["Error decoding signature."]}"#;
    "another secret", Json(r#"{"token":"$foreign"}"#), 400, r#"{"non_field_errors":["Error decoding signature."]}"#;
    "garbage", Json(r#"{"token":"not.a.token"}"#), 400, r#"{"non_field_errors":["Error decoding signature."]}"#;
    "one word", Json(r#"{"token":"garbage"}"#), 400, r#"{"non_field_errors":["Error decoding signature."]}"#;
    "a number", Json(r#"{"token":1}"#), 400, r#"{"non_field_errors":["Error decoding signature."]}"#;
];
