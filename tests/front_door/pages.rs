//! Pages and what they stand on: files that caches keep, errors that people can read, tickets that any node continues.

use latchkey::domain::time::Timestamp;
use latchkey::http::pages::Pages;
use latchkey::tokens::ticket::{Purpose, TicketFault};

use serde_json::json;

use crate::authorize::{ALICE, CALLBACK, app, request};
use crate::support::browser::{Browser, Page};
use crate::support::{Server, block_on, on_each_database};

impl Server {
    async fn page(&self, path: &str, language: &str) -> (reqwest::header::HeaderMap, u16, String) {
        let request = self.http.get(format!("{}{path}", self.url)).header("accept-language", language);
        let response = request.send().await.unwrap();
        (response.headers().clone(), response.status().as_u16(), response.text().await.unwrap())
    }
}

#[test]
fn the_stylesheet_and_the_logo_are_kept_for_ever_under_their_names() {
    block_on(async {
        let server = Server::sqlite().await;
        let accent = server.app.settings.pages.accent.to_string();
        let pages = Pages::of(&server.app);
        for (path, kind) in [(pages.style(), "text/css; charset=utf-8"), (pages.logo(), "image/svg+xml")] {
            assert!(path.starts_with("/pages/"), "{path}");
            let (headers, status, body) = server.page(&path, "en").await;
            assert_eq!((status, &headers["content-type"]), (200, &kind.parse().unwrap()), "{path}: {body}");
            assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable", "{path}");
            assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
            assert!(body.contains(&accent), "{path} lacks the operator's colour");
        }
    });
}

#[test]
fn people_are_told_errors_in_their_language() {
    block_on(async {
        let server = Server::sqlite().await;
        let (headers, status, body) = server.page("/pages/nothing.css", "zh-CN,zh;q=0.9").await;
        assert_eq!((status, &headers["content-type"]), (404, &"text/html; charset=utf-8".parse().unwrap()));
        assert!(body.contains("<html lang=\"zh-Hans\">") && body.contains("页面不存在"), "{body}");
        assert!(body.contains(headers["x-request-id"].to_str().unwrap()), "{body}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(
            (&headers["x-frame-options"], &headers["cache-control"]),
            (&"DENY".parse().unwrap(), &"no-store".parse().unwrap())
        );

        let (headers, status, body) = server.page("/pages/<script>alert(1)", "fr").await;
        assert_eq!((status, &headers["content-type"]), (404, &"text/html; charset=utf-8".parse().unwrap()));
        assert!(body.contains("Page not found") && !body.contains("alert"), "{body}");

        let posted = server.http.post(format!("{}/pages/style.css", server.url)).send().await.unwrap();
        assert_eq!(
            (posted.status().as_u16(), &posted.headers()["allow"]),
            (405, &"GET, HEAD, OPTIONS".parse().unwrap())
        );
    });
}

#[test]
fn a_ticket_is_continued_after_a_restart_and_on_another_node() {
    on_each_database(async |server: Server| {
        let now = Timestamp::from_seconds(server.clock_seconds());
        let end = Timestamp::from_seconds(server.clock_seconds() + 60);
        let ticket = server.app.context.tickets.issue(Purpose::Authorization, &"started", end).unwrap();
        let form = server.app.context.tickets.csrf("visit", Purpose::SignIn, &ticket);
        let continued = |server: &Server| {
            let tickets = &server.app.context.tickets;
            assert_eq!(tickets.read::<String>(Purpose::Authorization, &ticket, now).as_deref(), Ok("started"));
            assert!(tickets.csrf_holds(&form, "visit", Purpose::SignIn, &ticket));
        };
        let server = server.restart().await;
        continued(&server);
        if server.database().file().is_none() {
            continued(&server.another_node().await);
        }
        let stranger = Server::sqlite().await;
        let read = stranger.app.context.tickets.read::<String>(Purpose::Authorization, &ticket, now);
        assert_eq!(read, Err(TicketFault::Forged));
    });
}

/// Chromium holds the redirects of a callback against the `form-action` of the page before it, and stands still otherwise.
#[test]
fn every_page_before_an_answer_names_where_its_client_may_send_the_browser_on_to() {
    block_on(async {
        let server = Server::sqlite().await;
        let registered = json!({
            "redirect_uris": [CALLBACK, "https://other.example/cb"], "client_uri": "https://www.app.example/about",
            "post_logout_redirect_uris": ["https://app.example/", "https://home.example/"],
        });
        app(&server, registered).await;
        let browser = Browser::new(&server);
        let policy = |page: &Page| page.headers["content-security-policy"].to_str().unwrap().to_owned();
        let expected = "form-action 'self' https://app.example https://other.example https://home.example \
                        https://www.app.example;";
        let login = browser.open(&request(&[("response_mode", "form_post")])).await.is(200);
        let consent = browser.submit(&login, &ALICE).await.is(200);
        let answer = browser.submit(&consent, &[("decision", "allow")]).await.is(200);
        let logout = "/oauth2/logout?client_id=web&post_logout_redirect_uri=https://app.example/";
        let asked = browser.open(logout).await.is(200);
        for page in [login, consent, answer, asked] {
            assert!(policy(&page).contains(expected), "{}", policy(&page));
        }
    });
}
