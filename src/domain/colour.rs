//! Colours that an operator picks, and the ones that follow so that text stays readable: WCAG 2.2, success criteria
//! 1.4.3 (text, 4.5 to 1) and 1.4.11 (edges, 3 to 1).

use std::fmt;

/// What text needs against what is behind it.
pub const TEXT: f64 = 4.5;

/// What the edge of something to press needs.
pub const EDGE: f64 = 3.0;

/// An opaque sRGB colour: red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour([u8; 3]);

impl Colour {
    pub const BLACK: Self = Self([0; 3]);
    pub const WHITE: Self = Self([255; 3]);

    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self([red, green, blue])
    }

    /// Reads `#rgb` or `#rrggbb`; `None` where the text is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Option<Vec<u8>> = text
            .strip_prefix('#')?
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|value| u8::try_from(value).ok()))
            .collect();
        match digits?.as_slice() {
            [r, g, b] => Some(Self([r * 17, g * 17, b * 17])),
            [r, r_, g, g_, b, b_] => Some(Self([r * 16 + r_, g * 16 + g_, b * 16 + b_])),
            _ => None,
        }
    }

    /// From 1 (the same) to 21 (black and white).
    pub fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// Black or white, whichever reads better on this colour. One of them always has 4.5 to 1.
    pub fn text(self) -> Self {
        if self.contrast(Self::WHITE) >= self.contrast(Self::BLACK) { Self::WHITE } else { Self::BLACK }
    }

    /// The nearest to this colour that has the contrast `wanted`, at most [`TEXT`], against `behind`.
    pub fn readable_on(self, behind: Self, wanted: f64) -> Self {
        let end = behind.text();
        let steps = (0..=20).map(|step| self.mixed(end, f64::from(step) / 20.0));
        steps.into_iter().find(|colour| colour.contrast(behind) >= wanted).unwrap_or(end)
    }

    /// This colour with a share of another, from 0 to 1.
    pub fn mixed(self, other: Self, share: f64) -> Self {
        let mut mixed = [0; 3];
        for (at, channel) in mixed.iter_mut().enumerate() {
            let (own, others) = (f64::from(self.0[at]), f64::from(other.0[at]));
            *channel = byte(own + (others - own) * share);
        }
        Self(mixed)
    }

    /// The relative luminance that WCAG 2.2 defines, from 0 to 1.
    fn luminance(self) -> f64 {
        let [red, green, blue] = self.0.map(|channel| {
            let value = f64::from(channel) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [red, green, blue] = self.0;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

fn byte(value: f64) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colours_are_read_as_css_writes_them() {
        assert_eq!(Colour::parse("#3451D1"), Some(Colour::rgb(0x34, 0x51, 0xd1)));
        assert_eq!(Colour::parse("#fa0").map(|colour| colour.to_string()).as_deref(), Some("#ffaa00"));
        for wrong in ["", "#", "fff", "#ff", "#ffff", "#fffffff", "#ggg", "red", "#fff;", "#ｆff", "#+1+1+1"] {
            assert_eq!(Colour::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn contrast_is_what_wcag_says() {
        assert!((Colour::WHITE.contrast(Colour::BLACK) - 21.0).abs() < 1e-9);
        let grey = Colour::rgb(0x76, 0x76, 0x76);
        assert!((grey.contrast(Colour::WHITE) - 4.54).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn text_is_readable_on_every_colour(own in any::<[u8; 3]>(), behind in any::<[u8; 3]>()) {
            let (own, behind) = (Colour(own), Colour(behind));
            prop_assert!(behind.text().contrast(behind) >= TEXT);
            for wanted in [TEXT, EDGE] {
                let shown = own.readable_on(behind, wanted);
                prop_assert!(shown.contrast(behind) >= wanted);
                prop_assert!(own.contrast(behind) < wanted || shown == own);
            }
        }
    }
}
