//! Attacks on the code flow, each refused, on both databases: one test per attack, named after it (RFC 9700, RFC 6819).

mod browsers;
mod codes;
mod guessing;
mod input;
mod redirects;

use crate::support::browser::Page;

/// Titles of the pages that stop here.
const MALFORMED: &str = "This request can’t be completed";
const UNTRUSTED: &str = "We don’t know where this came from";
const OUT_OF_DATE: &str = "This page is out of date";

/// A person is told that this goes no further, by whichever page fits; nobody is sent anywhere, and nobody is signed in.
#[track_caller]
fn stopped(page: Page, what: &str) {
    assert!((400..500).contains(&page.status), "{what}: {page:?}");
    assert_eq!(page.location, None, "{what}");
    assert!(page.html.contains("<h1>") && !page.html.contains("<form"), "{what}: {}", page.html);
    let cookies = page.headers.get_all("set-cookie").iter();
    assert_eq!(cookies.filter(|cookie| !cookie.to_str().unwrap().contains("-visit=")).count(), 0, "{what}");
}
