//! Texts with holes: `{name}` stands for a value, `{{` and `}}` for a brace.

use std::fmt;

/// A text that was read once and is filled in many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The name between the braces.
    Hole(String),
}

/// The text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    #[error("the brace at character {0} is never closed")]
    Unclosed(usize),
    #[error("the brace at character {0} closes nothing")]
    Unopened(usize),
    #[error("the braces at character {0} name nothing")]
    Empty(usize),
}

impl Template {
    /// # Errors
    /// A brace without its other half, or nothing between the two.
    pub fn parse(text: &str) -> Result<Self, TemplateFault> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars().enumerate().map(|(index, c)| (index + 1, c)).peekable();
        while let Some((at, c)) = characters.next() {
            match c {
                '{' | '}' if characters.next_if(|(_, next)| *next == c).is_some() => plain.push(c),
                '}' => return Err(TemplateFault::Unopened(at)),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match characters.next() {
                            Some((_, '}')) => break,
                            Some((_, '{')) | None => return Err(TemplateFault::Unclosed(at)),
                            Some((_, c)) => name.push(c),
                        }
                    }
                    if name.is_empty() {
                        return Err(TemplateFault::Empty(at));
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Hole(name));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// What is between the braces, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Hole(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// What is between the braces, where that is all there is.
    pub fn only_hole(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Hole(name)] => Some(name),
            _ => None,
        }
    }

    /// The text with every hole filled; `None` where one of them has no value.
    pub fn fill(&self, value_of: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Hole(name) => text.push_str(&value_of(name)?),
            }
        }
        Some(text)
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(plain) => f.write_str(&plain.replace('{', "{{").replace('}', "}}"))?,
                Part::Hole(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(text: &str) -> Option<String> {
        Template::parse(text).unwrap().fill(|name| (name != "missing").then(|| format!("<{name}>")))
    }

    #[test]
    fn holes_are_filled_and_braces_escaped() {
        for (text, expected) in [
            ("", Some("")),
            ("plain", Some("plain")),
            ("{a} {b.c}", Some("<a> <b.c>")),
            ("{{a}}", Some("{a}")),
            ("{{{a}}}", Some("{<a>}")),
            ("é{a}é", Some("é<a>é")),
            ("{a}{missing}", None),
        ] {
            assert_eq!(filled(text).as_deref(), expected, "{text}");
        }
        assert_eq!(Template::parse("{a}-{{-{b}").unwrap().names().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn half_a_brace_is_told_by_its_place() {
        for (text, fault) in [
            ("é{a", TemplateFault::Unclosed(2)),
            ("{a{b}", TemplateFault::Unclosed(1)),
            ("a}", TemplateFault::Unopened(2)),
            ("{}", TemplateFault::Empty(1)),
            ("{{}", TemplateFault::Unopened(3)),
        ] {
            assert_eq!(Template::parse(text), Err(fault), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(text in "[ab{}é]{0,12}") {
            if let Ok(template) = Template::parse(&text) {
                prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
            }
        }

        /// Whatever the values hold, none of it is read as a template again.
        #[test]
        fn values_are_put_in_as_they_are(value in ".{0,20}") {
            let filled = Template::parse("<{a}>").unwrap().fill(|_| Some(value.clone()));
            prop_assert_eq!(filled, Some(format!("<{value}>")));
        }
    }
}
