//! What a device is called on the account page, by its `User-Agent`. Nothing is decided by it.

/// A browser, as people know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Browser {
    Edge,
    Opera,
    SamsungInternet,
    Firefox,
    Chrome,
    Safari,
    Unknown,
}

/// What it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    IPhone,
    IPad,
    Android,
    ChromeOs,
    Windows,
    MacOs,
    Linux,
    Unknown,
}

impl Browser {
    pub fn of(user_agent: &str) -> Self {
        // Nearly all of them also claim to be Chrome or Safari, so the more particular names come first.
        let marks = [
            ("Edg/", Self::Edge),
            ("EdgA/", Self::Edge),
            ("EdgiOS/", Self::Edge),
            ("OPR/", Self::Opera),
            ("SamsungBrowser/", Self::SamsungInternet),
            ("Firefox/", Self::Firefox),
            ("FxiOS/", Self::Firefox),
            ("Chrome/", Self::Chrome),
            ("CriOS/", Self::Chrome),
            ("Safari/", Self::Safari),
        ];
        marks.into_iter().find(|(mark, _)| user_agent.contains(mark)).map_or(Self::Unknown, |(_, browser)| browser)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Edge => "Edge",
            Self::Opera => "Opera",
            Self::SamsungInternet => "Samsung Internet",
            Self::Firefox => "Firefox",
            Self::Chrome => "Chrome",
            Self::Safari => "Safari",
            Self::Unknown => "",
        }
    }
}

impl System {
    pub fn of(user_agent: &str) -> Self {
        let marks = [
            ("iPhone", Self::IPhone),
            ("iPad", Self::IPad),
            ("Android", Self::Android),
            ("CrOS", Self::ChromeOs),
            ("Windows", Self::Windows),
            ("Macintosh", Self::MacOs),
            ("Linux", Self::Linux),
        ];
        marks.into_iter().find(|(mark, _)| user_agent.contains(mark)).map_or(Self::Unknown, |(_, system)| system)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::IPhone => "iPhone",
            Self::IPad => "iPad",
            Self::Android => "Android",
            Self::ChromeOs => "ChromeOS",
            Self::Windows => "Windows",
            Self::MacOs => "macOS",
            Self::Linux => "Linux",
            Self::Unknown => "",
        }
    }

    /// Whether it fits a hand: another picture stands for it.
    pub const fn is_handheld(self) -> bool {
        matches!(self, Self::IPhone | Self::IPad | Self::Android)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_named_as_people_know_them() {
        let (like, webkit) = ("Mozilla/5.0", "AppleWebKit/537.36 (KHTML, like Gecko)");
        let table = [
            (format!("{like} (Windows NT 10.0; Win64; x64) {webkit} Chrome/140.0 Safari/537.36"), "Chrome", "Windows"),
            (format!("{like} (Windows NT 10.0) {webkit} Chrome/140.0 Safari/537.36 Edg/140.0"), "Edge", "Windows"),
            (format!("{like} (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15"), "Safari", "macOS"),
            (format!("{like} (iPhone; CPU iPhone OS 18_0 like Mac OS X) CriOS/140 Safari/604.1"), "Chrome", "iPhone"),
            (format!("{like} (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"), "Firefox", "Linux"),
            (
                format!("{like} (Linux; Android 15) {webkit} SamsungBrowser/27.0 Chrome/125 Safari"),
                "Samsung Internet",
                "Android",
            ),
            (format!("{like} (X11; CrOS x86_64 16093) {webkit} Chrome/140.0 Safari/537.36"), "Chrome", "ChromeOS"),
            ("curl/8.5.0".to_owned(), "", ""),
            (String::new(), "", ""),
        ];
        for (text, browser, system) in table {
            assert_eq!((Browser::of(&text).name(), System::of(&text).name()), (browser, system), "{text}");
        }
    }
}
