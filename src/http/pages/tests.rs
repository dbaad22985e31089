//! Every page in every language, read as a browser reads it: well-formed, usable without a mouse and without eyes, and
//! deaf to what others put into names.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use html5gum::{Token, Tokenizer};

use super::assets::Pages;
use super::specimens::{Given, all};
use super::{Language, Rendered, Shell};
use crate::app::logo::{Logo, Picture};
use crate::config::PageSettings;
use crate::domain::secret::sha256;

const VOID: [&str; 5] = ["meta", "link", "img", "input", "br"];

/// What SVG closes itself.
const DRAWN: [&str; 3] = ["rect", "path", "circle"];

/// A tag with its attributes.
#[derive(Debug)]
struct Tag {
    name: String,
    attributes: BTreeMap<String, String>,
    /// The text up to its end tag.
    text: String,
}

impl Tag {
    fn get(&self, attribute: &str) -> Option<&str> {
        self.attributes.get(attribute).map(String::as_str)
    }
}

/// The page's tags in order, after holding them against each other.
fn read(page: &str, html: &str) -> Vec<Tag> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut tags: Vec<Tag> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for token in Tokenizer::new(html) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => {
                let name = text(&tag.name);
                let attributes = tag.attributes.iter().map(|(name, value)| (text(name), text(&value.value)));
                tags.push(Tag { name: name.clone(), attributes: attributes.collect(), text: String::new() });
                let closes_itself = VOID.contains(&name.as_str()) || DRAWN.contains(&name.as_str());
                assert!(!tag.self_closing || DRAWN.contains(&name.as_str()), "{page}: <{name}/>");
                if !closes_itself {
                    open.push(tags.len() - 1);
                }
            }
            Token::EndTag(tag) => {
                let at = open.pop().unwrap_or_else(|| panic!("{page}: nothing is open"));
                assert_eq!(tags[at].name, text(&tag.name), "{page}: tags cross");
            }
            Token::String(string) => {
                for at in &open {
                    tags[*at].text.push_str(&text(&string.value));
                }
            }
            Token::Doctype(doctype) => assert!(!doctype.force_quirks, "{page}"),
            Token::Comment(_) => panic!("{page}: a comment is for nobody"),
            // Taken as they are.
            Token::Error(error) if error.value == html5gum::Error::ControlCharacterInInputStream => {}
            Token::Error(error) => panic!("{page}: {:?}", error.value),
        }
    }
    assert!(open.is_empty(), "{page}: {:?} stay open", open.iter().map(|at| &tags[*at].name).collect::<Vec<_>>());
    tags
}

/// What holds for every page.
fn check(page: &str, rendered: &Rendered) -> Vec<Tag> {
    assert!(rendered.html.starts_with("<!doctype html>"), "{page}");
    let tags = read(page, &rendered.html);
    let named = |name: &str| tags.iter().filter(|tag| tag.name == name).collect::<Vec<_>>();
    for one in ["html", "title", "header", "main", "h1"] {
        assert_eq!(named(one).len(), 1, "{page}: <{one}>");
    }
    assert!(!named("h1")[0].text.trim().is_empty() && !named("title")[0].text.trim().is_empty(), "{page}");

    let ids: Vec<&str> = tags.iter().filter_map(|tag| tag.get("id")).collect();
    let known: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(ids.len(), known.len(), "{page}: an id twice");
    assert!(tags.iter().filter(|tag| tag.get("autofocus").is_some()).count() <= 1, "{page}: two take the focus");
    let labels: BTreeSet<&str> = named("label").iter().filter_map(|tag| tag.get("for")).collect();
    for tag in &tags {
        for attribute in tag.attributes.keys() {
            assert!(!attribute.starts_with("on") && attribute != "style", "{page}: {attribute} on <{}>", tag.name);
        }
        for reference in ["aria-describedby", "aria-labelledby", "for"] {
            for id in tag.get(reference).unwrap_or_default().split_whitespace() {
                assert!(known.contains(id), "{page}: {reference} names {id}, which is not there");
            }
        }
        let kind = tag.get("type").unwrap_or_default();
        if tag.name == "input" && kind != "hidden" && tag.get("aria-hidden").is_none() {
            assert!(labels.contains(tag.get("id").unwrap_or_default()), "{page}: {tag:?} has no label");
            assert!(tag.get("autocomplete").is_some(), "{page}: {tag:?}");
        }
        if tag.name == "button" {
            assert!(!tag.text.trim().is_empty() && kind == "submit", "{page}: {tag:?}");
        }
        if tag.name == "a" {
            let href = tag.get("href").unwrap_or_default();
            let safe = href.starts_with("https://") || href.starts_with("/id/") || href.starts_with("mailto:");
            assert!(safe, "{page}: a link to {href}");
        }
        if tag.name == "img" {
            assert!(tag.get("alt").is_some(), "{page}: {tag:?}");
        }
    }
    // A method that leaves passwords out of URLs.
    assert!(named("form").iter().all(|form| form.get("method") == Some("post")), "{page}");
    tags
}

fn pages() -> Pages {
    let settings = PageSettings { support: Some("mailto:help@example.com".into()), ..PageSettings::default() };
    Pages::new(&settings, None, "/id")
}

#[test]
fn every_page_is_well_formed_in_every_language() {
    let pages = pages();
    for language in Language::ALL {
        for (name, rendered) in all(Shell::new(&pages, language), &Given::GOOD) {
            let tags = check(&name, &rendered);
            assert_eq!(tags[0].get("lang"), Some(language.texts().tag), "{name}");
        }
    }
}

#[test]
fn programs_find_what_was_promised_to_them() {
    let pages = pages();
    let promised = [
        ("sign-in", Some("sign-in"), vec!["username", "password", "ticket", "csrf"]),
        ("consent", Some("allow"), vec!["ticket", "csrf"]),
        ("confirm-logout", Some("confirm"), vec!["ticket", "csrf"]),
        ("form-post", None, vec!["code", "state", "iss"]),
    ];
    for language in Language::ALL {
        let made: BTreeMap<_, _> = all(Shell::new(&pages, language), &Given::GOOD).into_iter().collect();
        for (name, id, fields) in &promised {
            let tags = check(name, &made[*name]);
            let first_button = tags.iter().find(|tag| tag.name == "button").unwrap();
            assert_eq!(first_button.get("id"), *id, "{name}");
            let given: BTreeSet<_> =
                tags.iter().filter(|tag| tag.name == "input").filter_map(|tag| tag.get("name")).collect();
            assert_eq!(given, fields.iter().copied().collect(), "{name}");
        }
        let tags = check("consent", &made["consent"]);
        assert!(tags.iter().any(|tag| tag.name == "button" && tag.get("id") == Some("deny")));
    }
}

#[test]
fn no_name_becomes_markup() {
    let (pages, long) = (pages(), "x".repeat(10 << 10));
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' autofocus onfocus='alert(1)",
        "</title></head><body onload=alert(1)>",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "{{ 7 * 7 }} {% raw %} &amp; &#60;b&#62;",
        "\u{202e}gnp.exe\u{2066} \u{200f}عربي",
        "line\nbreak\r\nSet-Cookie: a=b\t\u{1b}[31m",
        "<!-- --><![CDATA[<svg/onload=alert(1)>]]>",
        "https://evil.example/\" onclick=\"alert(1)",
        "",
        &long,
    ];
    for language in Language::ALL {
        let shell = Shell::new(&pages, language);
        let usual: BTreeMap<_, _> = all(shell, &Given::GOOD).into_iter().collect();
        for text in hostile {
            for (name, rendered) in all(shell, &Given::all(text)) {
                let tags = check(&name, &rendered);
                let scripts = tags.iter().filter(|tag| tag.name == "script").count();
                assert_eq!(scripts, usize::from(name == "form-post"), "{name}: {text}");
                // Only links can be missing; nothing is added.
                let count = |html: &str| read(&name, html).len();
                assert!(tags.len() <= count(&usual[&name].html), "{name}: {text}");
                let targets = rendered.headers["content-security-policy"].to_str().unwrap();
                assert!(!targets.contains("unsafe") && !targets.contains("alert"), "{name}: {targets}");
            }
        }
        // A long name leaves the buttons where they can be seen.
        for (name, rendered) in all(shell, &Given::all(&long)) {
            let shown = read(&name, &rendered.html).into_iter().find(|tag| tag.name == "main").unwrap().text;
            assert!(shown.chars().count() < 4000, "{name} shows {} characters", shown.chars().count());
        }
    }
}

#[test]
fn the_only_script_is_the_one_that_the_policy_names() {
    let pages = pages();
    for (name, rendered) in all(Shell::new(&pages, Language::English), &Given::GOOD) {
        let policy = rendered.headers["content-security-policy"].to_str().unwrap().to_owned();
        let tags = check(&name, &rendered);
        let scripts: Vec<_> = tags.iter().filter(|tag| tag.name == "script").collect();
        assert_eq!(policy.contains("script-src"), scripts.len() == 1, "{name}");
        for script in scripts {
            let hash = STANDARD.encode(sha256(script.text.as_bytes()));
            assert!(policy.contains(&format!("script-src 'sha256-{hash}';")), "{name}: {policy}");
        }
        let leads_on = matches!(name.split('-').next(), Some("sign" | "consent" | "form" | "confirm"));
        let leads_on = leads_on && name != "signed-out";
        assert_eq!(policy.contains("form-action 'self' https://fieldnotes.example;"), leads_on, "{name}: {policy}");
    }
}

#[test]
fn names_from_right_to_left_are_set_apart() {
    let (pages, name) = (pages(), "\u{202e}evil");
    for (page, rendered) in all(Shell::new(&pages, Language::English), &Given::all(name)) {
        let tags = check(&page, &rendered);
        let apart = |tag: &Tag| matches!(tag.name.as_str(), "bdi" | "code" | "input" | "button" | "a");
        let inside: usize = tags.iter().filter(|tag| apart(tag)).map(|tag| tag.text.matches(name).count()).sum();
        let everywhere = tags.iter().find(|tag| tag.name == "html").unwrap().text.matches(name).count();
        assert!(inside >= everywhere, "{page}: {everywhere} shown, {inside} set apart");
    }
}

#[test]
fn a_logo_of_the_operators_own_stands_for_the_name() {
    let logo = Logo { bytes: b"<svg/>".to_vec(), picture: Picture::Svg };
    let settings = PageSettings { name: "Fjord & Söhne".into(), ..PageSettings::default() };
    let pages = Pages::new(&settings, Some(&logo), "/id");
    for (name, rendered) in all(Shell::new(&pages, Language::English), &Given::GOOD) {
        let tags = check(&name, &rendered);
        let image = tags.iter().find(|tag| tag.name == "img").unwrap();
        assert_eq!(image.get("alt"), Some("Fjord & Söhne"), "{name}");
        let header = tags.iter().find(|tag| tag.name == "header").unwrap();
        assert_eq!(header.text.trim(), "", "{name}");
    }
}

/// `cargo test --lib pages_are_written -- --ignored` leaves them in `target/pages`, for whoever changes how they look.
#[tokio::test]
#[ignore = "writes files for people to look at"]
async fn pages_are_written() {
    let place = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
    std::fs::create_dir_all(place.join("pages")).unwrap();
    let settings = PageSettings { support: Some("mailto:help@example.com".into()), ..PageSettings::default() };
    let pages = Pages::new(&settings, None, ".");
    for path in [pages.style(), pages.logo()] {
        let file = pages.file(path.rsplit('/').next().unwrap()).unwrap();
        std::fs::write(place.join(path), file.into_body().into_bytes().await.unwrap()).unwrap();
    }
    for language in Language::ALL {
        for (name, rendered) in all(Shell::new(&pages, language), &Given::GOOD) {
            std::fs::write(place.join(format!("{name}.{}.html", language.texts().tag)), rendered.html).unwrap();
        }
    }
}
