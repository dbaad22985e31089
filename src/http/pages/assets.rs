//! What pages load: the stylesheet, with the operator's colours as custom properties before it, and the logo. And the
//! service as its operator shows it.

use std::fmt::Write as _;
use std::sync::Arc;

use poem::http::Method;
use poem::{Request, Response, Route};

use crate::app::App;
use crate::app::logo::{Logo, Picture};
use crate::config::{PageSettings, path_of};
use crate::domain::colour::{Colour, EDGE, TEXT};
use crate::domain::error::{Code, OAuthError};
use crate::http::asset::Asset;
use crate::http::error::refusal;
use crate::http::routes::RouteTable;

/// What follows the colours.
const STYLE: &str = include_str!("style.css");

/// Text and the cards it is on, in light and dark: fixed, so that only what the operator picks has to follow.
const LIGHT: Ground = Ground { surface: Colour::WHITE, ink: Colour::rgb(0x16, 0x19, 0x22) };
const DARK: Ground = Ground { surface: Colour::rgb(0x1a, 0x1d, 0x25), ink: Colour::rgb(0xec, 0xee, 0xf4) };

/// An SVG that is opened by itself styles itself and does nothing else.
const PICTURE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";

/// Pages load their files from here, below the issuer's path.
const PATH: &str = "/pages";

struct Ground {
    surface: Colour,
    ink: Colour,
}

/// The service as its operator shows it, and the files that its pages load.
#[derive(Debug)]
pub struct Pages {
    /// What it is called.
    pub name: String,
    /// `mailto:` or `https://`.
    pub support: Option<String>,
    /// The issuer's path: before every path here.
    pub prefix: String,
    /// Whether the logo stands for the name, which is then not written beside it.
    pub has_own_logo: bool,
    style: Asset,
    logo: Asset,
}

impl Pages {
    pub fn of(app: &App) -> Self {
        Self::new(&app.settings.pages, app.logo.as_ref(), path_of(&app.settings.server.issuer))
    }

    pub fn new(settings: &PageSettings, logo: Option<&Logo>, prefix: &str) -> Self {
        let style = format!("{}{STYLE}", colours(settings));
        Self {
            name: settings.name.clone(),
            support: settings.support.clone(),
            prefix: prefix.to_owned(),
            has_own_logo: logo.is_some(),
            style: Asset::new("style", "css", "text/css; charset=utf-8", style),
            logo: logo.map_or_else(|| mark(settings), picture),
        }
    }

    /// The path of the stylesheet.
    pub fn style(&self) -> String {
        self.path_to(&self.style)
    }

    /// The path of the logo.
    pub fn logo(&self) -> String {
        self.path_to(&self.logo)
    }

    fn path_to(&self, asset: &Asset) -> String {
        format!("{}{PATH}/{}", self.prefix, asset.name)
    }

    /// The file of this name. One whose hash is another's comes from a page of another node, while nodes are replaced one
    /// by one: what there is here looks better than nothing.
    pub(super) fn file(&self, name: &str) -> Option<Response> {
        let assets = [("style.", &self.style), ("logo.", &self.logo)];
        let (_, asset) = assets.into_iter().find(|(stem, _)| name.starts_with(stem))?;
        Some(if asset.name == name { asset.respond() } else { asset.respond_instead() })
    }
}

/// Adds the files to a listener.
pub fn mount(route: Route, table: &mut RouteTable, pages: &Arc<Pages>) -> Route {
    let path = format!("{}{PATH}", pages.prefix);
    table.add_page(&format!("{path}/{{file}}"), &[Method::GET]);
    let pages = Arc::clone(pages);
    let endpoint = poem::endpoint::make_sync(move |request: Request| {
        let found = pages.file(request.raw_path_param("file").unwrap_or_default());
        found.ok_or_else(|| refusal(OAuthError::new(Code::NotFound, "no such file; load the page again")))
    });
    route.at(format!("{path}/:file"), poem::get(endpoint))
}

fn picture(logo: &Logo) -> Asset {
    let (extension, content_type) = match logo.picture {
        Picture::Svg => ("svg", "image/svg+xml"),
        Picture::Png => ("png", "image/png"),
        Picture::WebP => ("webp", "image/webp"),
    };
    Asset::new("logo", extension, content_type, logo.bytes.clone()).under(PICTURE_POLICY)
}

/// Latchkey's own mark, in the operator's colours.
fn mark(settings: &PageSettings) -> Asset {
    let (light, dark) = (settings.accent, accent_dark(settings));
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\" width=\"32\" height=\"32\"><style>.a{{fill:\
         {light}}}.b{{stroke:{}}}@media(prefers-color-scheme:dark){{.a{{fill:{dark}}}.b{{stroke:{}}}}}</style><rect \
         class=\"a\" width=\"32\" height=\"32\" rx=\"9\"/><g class=\"b\" fill=\"none\" stroke-width=\"2.5\" \
         stroke-linecap=\"round\" stroke-linejoin=\"round\"><circle cx=\"11.75\" cy=\"16\" r=\"4.25\"/><path \
         d=\"M16 16h9.25v3.75M20.75 16v2.75\"/></g></svg>",
        light.text(),
        dark.text(),
    );
    Asset::new("logo", "svg", "image/svg+xml", svg).under(PICTURE_POLICY)
}

fn accent_dark(settings: &PageSettings) -> Colour {
    // The same colour, as light as dark surroundings want it.
    settings.accent_dark.unwrap_or_else(|| settings.accent.readable_on(DARK.surface, TEXT))
}

/// The custom properties of both schemes.
fn colours(settings: &PageSettings) -> String {
    let light = properties(&LIGHT, settings.accent, settings.background);
    let dark = properties(&DARK, accent_dark(settings), settings.background_dark);
    format!(":root{{{light}}}\n@media(prefers-color-scheme:dark){{:root{{{dark}}}}}\n")
}

fn properties(ground: &Ground, accent: Colour, background: Colour) -> String {
    let text = accent.text();
    // What is pointed at moves away from its text, so that the text stays readable.
    let away = if text == Colour::WHITE { Colour::BLACK } else { Colour::WHITE };
    let on_background = if ground.ink.contrast(background) >= TEXT { ground.ink } else { background.text() };
    let pairs = [
        ("background", background),
        ("on-background", on_background),
        ("quiet-on-background", on_background.mixed(background, 0.35).readable_on(background, TEXT)),
        ("surface", ground.surface),
        ("ink", ground.ink),
        ("accent", accent),
        ("on-accent", text),
        ("accent-pressed", accent.mixed(away, 0.14)),
        ("accent-edge", accent.readable_on(ground.surface, EDGE)),
        ("accent-text", accent.readable_on(ground.surface, TEXT)),
        ("accent-soft", ground.surface.mixed(accent, 0.1)),
        ("focus-on-background", accent.readable_on(background, EDGE)),
    ];
    let mut properties = String::new();
    for (name, colour) in pairs {
        // Writing to a String does not fail.
        let _ = write!(properties, "--{name}:{colour};");
    }
    properties
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property(properties: &str, name: &str) -> Colour {
        let (_, rest) = properties.split_once(&format!("--{name}:")).unwrap();
        Colour::parse(&rest[..7]).unwrap()
    }

    proptest! {
        /// Whatever an operator picks, texts and edges keep the contrast that WCAG 2.2 AA asks for.
        #[test]
        fn every_pick_stays_readable(accent in any::<(u8, u8, u8)>(), background in any::<(u8, u8, u8)>()) {
            let (accent, background) =
                (Colour::rgb(accent.0, accent.1, accent.2), Colour::rgb(background.0, background.1, background.2));
            for ground in [&LIGHT, &DARK] {
                let made = properties(ground, accent, background);
                let of = |name| property(&made, name);
                for (front, back, wanted) in [
                    ("ink", "surface", TEXT),
                    ("on-background", "background", TEXT),
                    ("quiet-on-background", "background", TEXT),
                    ("on-accent", "accent", TEXT),
                    ("on-accent", "accent-pressed", TEXT),
                    ("accent-text", "surface", TEXT),
                    ("accent-edge", "surface", EDGE),
                    ("focus-on-background", "background", EDGE),
                    ("ink", "accent-soft", TEXT),
                ] {
                    let contrast = of(front).contrast(of(back));
                    prop_assert!(contrast >= wanted, "{} on {}: {}", front, back, contrast);
                }
            }
        }
    }

    #[test]
    fn files_are_named_by_what_is_in_them() {
        let pages = Pages::new(&PageSettings::default(), None, "/id");
        let other = PageSettings { accent: Colour::parse("#a02").unwrap(), ..PageSettings::default() };
        let other = Pages::new(&other, None, "/id");
        assert!(pages.style().starts_with("/id/pages/style.") && pages.style().ends_with(".css"));
        assert_ne!(pages.style(), other.style());
        assert_ne!(pages.logo(), other.logo());
        let cached = |pages: &Pages, path: &str| {
            let response = pages.file(path.rsplit('/').next().unwrap())?;
            Some(response.header("cache-control")?.to_owned())
        };
        assert_eq!(cached(&pages, &pages.style()).as_deref(), Some("public, max-age=31536000, immutable"));
        assert_eq!(cached(&pages, &other.style()).as_deref(), Some("no-store"));
        assert_eq!(cached(&pages, "/pages/other.css"), None);
    }

    #[test]
    fn an_operators_picture_cannot_run_anything() {
        let logo = Logo { bytes: b"<svg onload='alert(1)'/>".to_vec(), picture: Picture::Svg };
        let pages = Pages::new(&PageSettings::default(), Some(&logo), "");
        let response = pages.file(pages.logo().rsplit('/').next().unwrap()).unwrap();
        assert_eq!(response.content_type(), Some("image/svg+xml"));
        assert!(response.header("content-security-policy").unwrap().ends_with("; sandbox"));
    }
}
