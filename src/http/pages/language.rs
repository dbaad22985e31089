//! Which language a page speaks: `ui_locales` of the request (OIDC Core section 3.1.2.1), else `Accept-Language`
//! (RFC 9110 section 12.5.4), else English. Tags are BCP 47.

use super::texts::{self, Texts};

/// How much of `Accept-Language` is looked at: browsers send a handful.
const MOST_RANGES: usize = 32;

/// A language that all texts are there in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    SimplifiedChinese,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::English, Self::SimplifiedChinese];

    /// The language to answer in. `ui_locales` is a list separated by spaces, most wanted first.
    pub fn choose(ui_locales: Option<&str>, accept_language: Option<&str>) -> Self {
        let wished = ui_locales.unwrap_or_default().split(' ').find_map(Self::of_tag);
        wished.or_else(|| accept_language.and_then(Self::accepted)).unwrap_or_default()
    }

    pub fn texts(self) -> &'static Texts {
        match self {
            Self::English => &texts::EN,
            Self::SimplifiedChinese => &texts::ZH,
        }
    }

    /// The language that a tag asks for. Traditional Chinese is another language to its readers, so it is not taken for
    /// the simplified one.
    fn of_tag(tag: &str) -> Option<Self> {
        let mut subtags = tag.split('-').map(str::to_ascii_lowercase);
        match subtags.next()?.as_str() {
            "en" => Some(Self::English),
            "zh" => {
                let rest: Vec<String> = subtags.collect();
                let has = |wanted: &[&str]| rest.iter().any(|subtag| wanted.contains(&subtag.as_str()));
                // A script decides over a region: zh-Hans-HK is written simplified.
                let simplified = has(&["hans"]) || !has(&["hant", "tw", "hk", "mo"]);
                simplified.then_some(Self::SimplifiedChinese)
            }
            _ => None,
        }
    }

    /// The supported language of the highest weight; of equal ones the first.
    fn accepted(header: &str) -> Option<Self> {
        let mut best: Option<(u16, Self)> = None;
        let mut refused = Vec::new();
        let mut anything = 0;
        for range in header.split(',').take(MOST_RANGES) {
            let mut parts = range.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let Some(weight) = weight(parts.next()) else { continue };
            if tag == "*" {
                anything = weight;
                continue;
            }
            let Some(language) = Self::of_tag(tag) else { continue };
            if weight == 0 {
                refused.push(language);
            } else if best.is_none_or(|(highest, _)| weight > highest) {
                best = Some((weight, language));
            }
        }
        match best {
            Some((highest, language)) if highest >= anything => Some(language),
            _ if anything > 0 => Self::ALL.into_iter().find(|language| !refused.contains(language)),
            best => best.map(|(_, language)| language),
        }
    }
}

/// `q` in thousandths; `None` where it is not one. Without one the weight is the highest.
fn weight(parameter: Option<&str>) -> Option<u16> {
    let Some(parameter) = parameter else { return Some(1000) };
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let legal = matches!(whole, "0" | "1") && fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    if !legal {
        return None;
    }
    let thousandths = format!("{whole}{fraction:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Language::{self, English, SimplifiedChinese};

    #[test]
    fn ui_locales_names_the_first_supported_language() {
        let table = [
            ("zh", SimplifiedChinese),
            ("zh-CN", SimplifiedChinese),
            ("ZH-hans", SimplifiedChinese),
            ("zh-Hans-HK", SimplifiedChinese),
            ("zh-SG", SimplifiedChinese),
            ("zh-TW", English),
            ("zh-Hant", English),
            ("zh-Hant-CN", English),
            ("zh-HK zh-CN", SimplifiedChinese),
            ("zh-TW en zh", English),
            ("fr-CA fr  zh en", SimplifiedChinese),
            ("en-GB", English),
            ("zhx", English),
            ("", English),
        ];
        for (ui_locales, language) in table {
            assert_eq!(Language::choose(Some(ui_locales), None), language, "{ui_locales}");
        }
    }

    #[test]
    fn accept_language_is_weighed() {
        let table = [
            ("zh-CN,zh;q=0.9,en;q=0.8", SimplifiedChinese),
            ("en;q=0.8, zh ; q=0.9", SimplifiedChinese),
            ("en,zh", English),
            ("zh;q=1.0,en;q=1.000", SimplifiedChinese),
            ("fr-CH, fr;q=0.9, zh;q=0.2, *;q=0.1", SimplifiedChinese),
            ("fr, *;q=0.5, zh;q=0.1", English),
            ("*, en;q=0", SimplifiedChinese),
            ("zh-TW, en;q=0.5, zh-CN;q=0.4", English),
            ("zh;q=0", English),
            ("zh;q=2", English),
            ("zh;q=0.1234", English),
            ("zh;level=1", English),
            ("*", English),
            ("", English),
        ];
        for (header, language) in table {
            assert_eq!(Language::choose(None, Some(header)), language, "{header}");
        }
    }

    #[test]
    fn what_the_application_asks_for_comes_before_what_the_browser_prefers() {
        assert_eq!(Language::choose(Some("en"), Some("zh")), English);
        assert_eq!(Language::choose(Some("fr"), Some("zh")), SimplifiedChinese);
        assert_eq!(Language::choose(None, None), English);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in ".{0,200}") {
            let _ = Language::choose(Some(&text), Some(&text));
        }
    }
}
