//! Modules of requests that are refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::{Run, module};

#[test]
fn oidcc_response_type_missing() {
    module("oidcc-response-type-missing", async |run| {
        let page = run.visit(&run.request(&[("response_type", "")])).await;
        let error = run.error(&page);
        assert!(["unsupported_response_type", "invalid_request"].contains(&error.as_str()), "{error}");
    });
}

#[test]
fn oidcc_ensure_registered_redirect_uri() {
    module("oidcc-ensure-registered-redirect-uri", async |run| {
        let unregistered = run.plan.callback() + "/unregistered";
        let page = run.visit(&run.request(&[("redirect_uri", &unregistered)])).await;
        let page = page.shows_error(400, "We don’t know where this came from");
        assert!(page.html.contains("redirect_uri"), "{}", page.html);
    });
}

/// An unsigned request object.
fn object(run: &Run<'_>, redirect_uri: &str) -> String {
    let mut said = json!({
        "iss": run.client("client").id, "aud": run.plan.issuer(), "client_id": run.client("client").id,
        "response_type": "code", "scope": "openid", "redirect_uri": redirect_uri, "state": "inside", "nonce": "inside",
    });
    if run.form_post {
        said["response_mode"] = json!("form_post");
    }
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.", encode(json!({ "alg": "none" }).to_string()), encode(said.to_string()))
}

#[test]
fn oidcc_unsigned_request_object_supported_correctly_or_rejected_as_unsupported() {
    module("oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported", async |run| {
        let request = object(&run, &run.plan.callback());
        // The suite says the mode inside the object alone.
        let outside = [("request", request.as_str()), ("response_mode", ""), ("nonce", "")];
        let page = run.visit(&run.request(&outside)).await;
        assert_eq!(run.error(&page), "request_not_supported");
        let metadata = run.server.get("/.well-known/openid-configuration").await.body;
        assert_eq!(metadata["request_parameter_supported"], false);
        assert!(metadata.get("request_object_signing_alg_values_supported").is_none(), "{metadata}");
    });
}

#[test]
fn oidcc_ensure_request_object_with_redirect_uri() {
    module("oidcc-ensure-request-object-with-redirect-uri", async |run| {
        let request = object(&run, &run.plan.callback());
        let outside = run.plan.callback() + "/unregistered";
        let page = run.visit(&run.request(&[("request", &request), ("redirect_uri", &outside)])).await;
        page.shows_error(400, "We don’t know where this came from");
    });
}
