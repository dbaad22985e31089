//! Swagger UI at `/docs`: offline, for every document of the listener, under a strict content security policy.
//!
//! The framework's own page inlines 1.5 MB of script and style on every hit and would need `unsafe-inline`. Here the
//! same script and style are cut out of it once, at the first visit, and served as files that caches keep for ever,
//! named by their hash.

use std::sync::{Arc, LazyLock};

use hyper::body::Bytes;
use poem::endpoint::make_sync;
use poem::http::{Method, StatusCode, header};
use poem::{Request, Response, Route};
use poem_openapi::OpenApiService;
use serde_json::json;

use super::asset::Asset;
use super::document::Document;
use super::error::refusal;
use super::routes::{CrossOrigin, RouteTable};
use crate::domain::error::{Code, OAuthError};

/// Nothing from elsewhere, no inline script. Swagger UI sets style attributes, so styles may be inline, on this page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

const STYLE: &str = "body{margin:0}#choice{display:flex;gap:1.5rem;padding:.75rem 1.25rem;background:#1b1b1b;\
                     font:600 14px sans-serif}#choice a{color:#bbb;text-decoration:none}\
                     #choice a[aria-current]{color:#fff;border-bottom:2px solid #fff}";

/// One document, by the name that the page shows and links by (`?urls.primaryName=`), and its path.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub name: &'a str,
    /// Relative to the directory of `/docs`.
    pub url: &'a str,
}

/// What every page needs, cut out of the framework's page.
struct Assets {
    script: Asset,
    style: Asset,
    init: Asset,
    own_style: Asset,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const SHEET: &str = "text/css; charset=utf-8";

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let page = Bytes::from(OpenApiService::new((), "", "").swagger_ui_html());
    let (style, script) = cut(&page).unwrap_or_default();
    Assets {
        script: Asset::new("swagger-ui", "js", SCRIPT, script),
        style: Asset::new("swagger-ui", "css", SHEET, style),
        init: Asset::new("init", "js", SCRIPT, Bytes::from_static(include_bytes!("swagger_init.js"))),
        own_style: Asset::new("page", "css", SHEET, Bytes::from_static(STYLE.as_bytes())),
    }
});

/// The style and the script of the framework's page, without copying them.
fn cut(page: &Bytes) -> Option<(Bytes, Bytes)> {
    let text = std::str::from_utf8(page).ok()?;
    let between = |from: usize, opening: &str, closing: &str| {
        let start = from + text[from..].find(opening)? + opening.len();
        let end = start + text[start..].find(closing)?;
        Some((start, end))
    };
    let (style_start, style_end) = between(0, "<style charset=\"UTF-8\">", "</style>")?;
    let (script_start, script_end) = between(style_end, "<script charset=\"UTF-8\">", "</script>")?;
    Some((page.slice(style_start..style_end), page.slice(script_start..script_end)))
}

fn page(shown: &[Shown<'_>]) -> String {
    let documents: Vec<_> = shown.iter().map(|one| json!({ "name": one.name, "url": one.url })).collect();
    let Assets { script, style, init, own_style } = &*ASSETS;
    // The names are our own constants, and JSON of them holds no `<`.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Latchkey</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <link rel=\"stylesheet\" href=\"docs/{}\">\n<link rel=\"stylesheet\" href=\"docs/{}\">\n\
         <script src=\"docs/{}\" defer></script>\n<script src=\"docs/{}\" defer></script>\n</head>\n<body>\n\
         <nav id=\"choice\" aria-label=\"Documents\"></nav>\n<main id=\"ui\"></main>\n\
         <script type=\"application/json\" id=\"documents\">{}</script>\n</body>\n</html>\n",
        style.name,
        own_style.name,
        script.name,
        init.name,
        json!(documents),
    )
}

/// Adds `/docs` to a listener, below `prefix`.
pub fn mount(route: Route, table: &mut RouteTable, prefix: &str, shown: &'static [Shown<'static>]) -> Route {
    for path in ["/docs", "/docs/", "/docs/{file}"] {
        table.add(&format!("{prefix}{path}"), &[Method::GET], CrossOrigin::Never);
    }
    let home = format!("{prefix}/docs");
    let html = Arc::new(LazyLock::new(move || Bytes::from(page(shown))));
    let open = make_sync(move |_| {
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CACHE_CONTROL, "no-cache")
            .header(header::CONTENT_SECURITY_POLICY, POLICY)
            .header(header::REFERRER_POLICY, "no-referrer")
            .body(Bytes::clone(&html))
    });
    let home_again = make_sync(move |_| {
        Response::builder().status(StatusCode::PERMANENT_REDIRECT).header(header::LOCATION, &home).finish()
    });
    route
        .at(format!("{prefix}/docs"), poem::get(open))
        .at(format!("{prefix}/docs/"), poem::get(home_again))
        .at(format!("{prefix}/docs/:file"), poem::get(poem::endpoint::make(asset)))
}

async fn asset(request: Request) -> poem::Result<Response> {
    let wanted = request.raw_path_param("file").unwrap_or_default();
    let Assets { script, style, init, own_style } = &*ASSETS;
    let Some(found) = [script, style, init, own_style].into_iter().find(|asset| asset.name == wanted) else {
        return Err(refusal(OAuthError::new(Code::NotFound, "no such file; load /docs again")));
    };
    Ok(found.respond())
}

/// A document at its path, made when somebody first asks for it. Public: it says nothing that the repository does not
/// say.
pub fn mount_document(
    route: Route,
    table: &mut RouteTable,
    path: &str,
    make: impl FnOnce() -> Document + Send + Sync + 'static,
) -> Route {
    table.add(path, &[Method::GET], CrossOrigin::Anyone);
    let made = LazyLock::new(|| {
        let json = Bytes::from(make().json());
        (super::well_known::etag_of(&json), json)
    });
    let endpoint = make_sync(move |request: Request| {
        let (etag, json) = &*made;
        let known = request.header(header::IF_NONE_MATCH).is_some_and(|known| super::well_known::names(known, etag));
        let response = Response::builder().header(header::ETAG, etag).header(header::CACHE_CONTROL, "no-cache");
        if known {
            response.status(StatusCode::NOT_MODIFIED).finish()
        } else {
            response.content_type("application/json").body(json.clone())
        }
    });
    route.at(path, poem::get(endpoint))
}
