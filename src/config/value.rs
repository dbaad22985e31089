//! How each type of setting is read from TOML or from the text of an environment variable, and how it is shown.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::settings::DatabaseUrl;
use super::words::toml_of;
use crate::domain::secret::SecretText;
use crate::domain::units::{RateLimit, parse_duration, parse_size, show_duration, show_size};

/// A value before its type is known.
#[derive(Clone, Debug)]
pub(super) enum Raw {
    Toml(toml::Value),
    /// From the environment, where everything is text.
    Text(String),
}

/// Why a value does not read, and what to write instead.
pub(super) struct Wrong {
    pub reason: String,
    pub mend: String,
}

pub(super) fn wrong<T>(reason: impl Into<String>, mend: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { reason: reason.into(), mend: mend.into() })
}

impl Raw {
    /// The text, where it is one.
    pub(super) fn text(&self) -> Result<&str, Wrong> {
        let text = match self {
            Self::Text(text) => text.as_str(),
            Self::Toml(toml::Value::String(text)) => text.as_str(),
            Self::Toml(other) => {
                return wrong(format!("a text is wanted here, this is {}", kind(other)), "put it in quotes");
            }
        };
        if text.is_empty() { wrong("it is empty", "give a value, or leave the key out") } else { Ok(text) }
    }

    /// As it was given, for a fault about a value that is no secret.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Toml(value) => value.to_string(),
            Self::Text(text) => quote(text),
        }
    }
}

fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a text",
        toml::Value::Integer(_) | toml::Value::Float(_) => "a number",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a section",
    }
}

pub(super) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A type that a key may have.
pub(super) trait Setting: Sized {
    /// Whether a fault must not repeat the value.
    const SECRET: bool = false;

    fn read(raw: &Raw) -> Result<Self, Wrong>;

    /// As TOML, secrets masked; `None` where there is nothing to show.
    fn show(&self) -> Option<String>;
}

impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        T::read(raw).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(T::show)
    }
}

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        raw.text().map(str::to_owned)
    }

    fn show(&self) -> Option<String> {
        Some(quote(self))
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        raw.text().map(Self::from)
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string_lossy()))
    }
}

impl Setting for SecretText {
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        raw.text().map(Self::new)
    }

    fn show(&self) -> Option<String> {
        Some(quote("***"))
    }
}

impl Setting for DatabaseUrl {
    const SECRET: bool = true;

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Self::parse(raw.text()?).map_err(|reason| Wrong {
            reason: reason.into(),
            mend: "write sqlite://latchkey.db, sqlite:///var/lib/latchkey/latchkey.db or \
                   postgres://user:password@host/database"
                .into(),
        })
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.masked()))
    }
}

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let given = match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Text(text) => text.parse().ok(),
        };
        given.map_or_else(|| wrong("it is neither true nor false", "write true or false, without quotes"), Ok)
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

fn number(raw: &Raw) -> Result<u64, Wrong> {
    let given = match raw {
        Raw::Toml(toml::Value::Integer(number)) => u64::try_from(*number).ok(),
        Raw::Toml(_) => None,
        Raw::Text(text) => text.parse().ok(),
    };
    given.map_or_else(|| wrong("it is not a whole number", "write a number such as 100, without quotes"), Ok)
}

impl Setting for u64 {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        number(raw)
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for u32 {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Self::try_from(number(raw)?).or_else(|_| wrong("it is too large", format!("write at most {}", Self::MAX)))
    }

    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let mend = "write a whole number and a unit, such as 500ms, 30s, 10m, 12h or 7d";
        if let Raw::Toml(toml::Value::Integer(_)) = raw {
            return wrong("a span of time needs a unit", mend);
        }
        parse_duration(raw.text()?).map_or_else(|| wrong("it is not a span of time", mend), Ok)
    }

    fn show(&self) -> Option<String> {
        Some(quote(&show_duration(*self)))
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub u64);

impl Setting for Size {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let mend = "write a whole number and a unit, such as 512B, 64KiB, 19MiB or 1GiB";
        if let Raw::Toml(toml::Value::Integer(_)) = raw {
            return wrong("a size needs a unit", mend);
        }
        parse_size(raw.text()?).map_or_else(|| wrong("it is not a size", mend), |bytes| Ok(Self(bytes)))
    }

    fn show(&self) -> Option<String> {
        Some(quote(&show_size(self.0)))
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        raw.text()?.parse().or_else(|_| {
            wrong("it is not an address and a port", "write 127.0.0.1:8420, 0.0.0.0:8420 or [::]:8420; no host names")
        })
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl Setting for RateLimit {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        Self::parse(raw.text()?).map_or_else(
            || wrong("it is not a rate", "write requests per address and time, such as 100/s, 600/m or 5000/h"),
            Ok,
        )
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl Setting for IpNet {
    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let text = raw.text()?;
        // A single address is the range that holds only it.
        let net = text.parse::<Self>().ok().or_else(|| text.parse::<IpAddr>().ok().map(Self::from));
        match net {
            Some(net) if net == net.trunc() => Ok(net),
            Some(net) => wrong("the address has bits beyond its prefix", format!("write {}", net.trunc())),
            None => wrong("it is not a range of addresses", "write CIDRs such as 10.0.0.0/8 or 2001:db8::/32"),
        }
    }

    fn show(&self) -> Option<String> {
        Some(quote(&self.to_string()))
    }
}

impl<T: Setting> Setting for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn read(raw: &Raw) -> Result<Self, Wrong> {
        let items: Vec<Raw> = match raw {
            Raw::Toml(toml::Value::Array(items)) => items.iter().cloned().map(Raw::Toml).collect(),
            Raw::Toml(_) => return wrong("a list is wanted here", "write [\"...\", \"...\"]"),
            Raw::Text(text) if text.trim_start().starts_with('[') => toml_list(text)?,
            Raw::Text(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| Raw::Text(item.to_owned())).collect()
            }
        };
        items.iter().map(T::read).collect()
    }

    fn show(&self) -> Option<String> {
        let items: Vec<String> = self.iter().filter_map(T::show).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

fn toml_list(text: &str) -> Result<Vec<Raw>, Wrong> {
    let table = toml::from_str::<toml::Table>(&format!("list = {text}"));
    match table.ok().and_then(|mut table| table.remove("list")) {
        Some(toml::Value::Array(items)) => Ok(items.into_iter().map(Raw::Toml).collect()),
        _ => wrong("it is not a list", "write items separated by commas, or [\"...\", \"...\"]"),
    }
}

/// The tables of an array: from TOML as `[[name]]`, from the environment as a JSON array of objects.
pub(super) fn tables(name: &str, raw: &Raw) -> Result<Vec<toml::Table>, Wrong> {
    let from_json;
    let items = match raw {
        Raw::Toml(toml::Value::Array(items)) => items,
        Raw::Toml(_) => return wrong("a list of tables is wanted here", format!("begin each of them with [[{name}]]")),
        Raw::Text(text) => {
            let mend = "write a JSON array such as [{\"key\": \"value\"}]";
            let json: serde_json::Value =
                serde_json::from_str(text).or_else(|error| wrong(format!("it is not JSON: {error}"), mend))?;
            let toml::Value::Array(items) = toml_of(&json)? else { return wrong("it is not a JSON array", mend) };
            from_json = items;
            &from_json
        }
    };
    let table = |item: &toml::Value| match item {
        toml::Value::Table(table) => Ok(table.clone()),
        other => wrong(format!("a table is wanted here, this is {}", kind(other)), "write { key = \"value\" }"),
    };
    items.iter().map(table).collect()
}
