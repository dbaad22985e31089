//! CSV: a header line names members of a user; a cell is one's value, and an empty cell says nothing.

use std::io::Read as _;

use serde_json::{Map, Value};

use super::source::{Fault, Input, Sink};
use crate::cli::user::put;

/// Members whose value is text.
const TEXTS: [&str; 19] = [
    "username",
    "external_id",
    "password",
    "password_hash",
    "name",
    "given_name",
    "family_name",
    "middle_name",
    "nickname",
    "preferred_username",
    "profile",
    "picture",
    "website",
    "email",
    "gender",
    "birthdate",
    "zoneinfo",
    "locale",
    "phone_number",
];

/// Members whose value is yes or no.
const FLAGS: [&str; 3] = ["disabled", "email_verified", "phone_number_verified"];

/// Names of scopes with spaces between them.
const SCOPES: &str = "admin_scopes";

const ADDRESS: [&str; 6] = ["formatted", "street_address", "locality", "region", "postal_code", "country"];

enum Column {
    /// Text at a path.
    Text(String),
    Flag(String),
}

fn column(name: &str) -> Option<Column> {
    if FLAGS.contains(&name) {
        return Some(Column::Flag(name.to_owned()));
    }
    let is_text = TEXTS.contains(&name)
        || name == SCOPES
        || name.strip_prefix("attributes.").is_some_and(|path| path.split('.').all(|part| !part.is_empty()))
        || name.strip_prefix("address.").is_some_and(|part| ADDRESS.contains(&part));
    is_text.then(|| Column::Text(name.to_owned()))
}

pub(super) fn read(mut input: Input, sink: &mut Sink) -> Result<(), Fault> {
    // Spreadsheets begin a file with a mark.
    let mut start = Vec::new();
    (&mut input).take(3).read_to_end(&mut start).map_err(Fault::Read)?;
    if start == "\u{feff}".as_bytes() {
        start.clear();
    }
    // Ended by a line break whatever happens, so that lines can be counted from the end of each row: the library's own
    // count is off after CRLF and blank lines.
    let whole = start.as_slice().chain(input).chain(&b"\n"[..]);
    let mut sheet = csv::ReaderBuilder::new().flexible(true).terminator(csv::Terminator::Any(b'\n')).from_reader(whole);
    let columns = columns(sheet.headers().map_err(broken)?)?;

    let mut record = csv::ByteRecord::new();
    loop {
        match sheet.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => return Err(broken(error)),
        }
        if record.len() == 1 && record[0].trim_ascii().is_empty() {
            continue;
        }
        let breaks = record.iter().flatten().filter(|byte| **byte == b'\n').count() as u64;
        let line = sheet.position().line().saturating_sub(breaks + 1);
        let goes_on = match body(&columns, &record) {
            Ok(body) => sink.user(line, &body, None),
            Err(reason) => {
                let at = columns.iter().position(|column| matches!(column, Column::Text(name) if name == "username"));
                let who = at.and_then(|at| record.get(at)).and_then(|cell| std::str::from_utf8(cell).ok());
                sink.refused(line, who.map_or(Value::Null, Value::from), reason)
            }
        };
        if !goes_on {
            return Ok(());
        }
    }
}

fn broken(error: csv::Error) -> Fault {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Fault::Read(error),
        csv::ErrorKind::Utf8 { .. } => Fault::Unusable("the header line is not UTF-8".into()),
        _ => Fault::Malformed("it is no CSV".into()),
    }
}

fn columns(header: &csv::StringRecord) -> Result<Vec<Column>, Fault> {
    let mut columns = Vec::with_capacity(header.len());
    for name in header {
        let name = name.trim();
        if header.iter().filter(|other| other.trim() == name).count() > 1 {
            return Err(Fault::Unusable(format!("two columns are called {name:?}")));
        }
        columns.push(column(name).ok_or_else(|| {
            let known = [TEXTS.as_slice(), &FLAGS, &[SCOPES]].concat().join(", ");
            Fault::Unusable(format!(
                "no member of a user is called {name:?}; columns are {known}, address.{} and attributes.NAME",
                ADDRESS.join(", address.")
            ))
        })?);
    }
    if !header.iter().any(|name| name.trim() == "username") {
        return Err(Fault::Unusable("no column is called username; the first line names the columns".into()));
    }
    Ok(columns)
}

fn body(columns: &[Column], record: &csv::ByteRecord) -> Result<Map<String, Value>, String> {
    if record.len() != columns.len() {
        return Err(format!("the row has {} cells, and the header line {}", record.len(), columns.len()));
    }
    let mut body = Map::new();
    for (column, cell) in columns.iter().zip(record) {
        let (Column::Text(name) | Column::Flag(name)) = column;
        let cell = std::str::from_utf8(cell).map_err(|_| format!("{name} is not UTF-8"))?;
        let cell = cell.trim_end_matches('\r');
        if cell.is_empty() {
            continue;
        }
        let value = match column {
            Column::Text(_) => Value::from(cell),
            Column::Flag(_) => match cell.to_ascii_lowercase().as_str() {
                // As databases write them.
                "true" | "t" | "1" | "yes" => Value::Bool(true),
                "false" | "f" | "0" | "no" => Value::Bool(false),
                _ => return Err(format!("{name} is neither true nor false")),
            },
        };
        put(&mut body, name, value);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::source::{read_all, told};
    use super::*;
    use crate::admin::field::body as read_body;
    use crate::admin::users::spec::UserSpec;

    #[test]
    fn a_row_is_a_user() {
        let text = "\u{feff}username, external_id,disabled,email,attributes.plan.name,attributes.tenant,address.country\r\n\
                    ada,1,t,ada@example.com,gold,007,NO\r\n\
                    bob,2,,,,,\r\n\
                    \"eve\nline\",3,maybe,,,,\r\n\
                    kim,4\r\n\
                    \r\n\
                    \n\
                    zoe,5,FALSE,\"a \"\"quoted\"\" one\",,,\r\n";
        let (items, end) = read_all(text, read);
        assert!(end.is_ok());
        let told = told(&items);
        assert_eq!(
            told[0],
            (
                2,
                Ok(json!({ "username": "ada", "external_id": "1", "disabled": true,
            "email": "ada@example.com", "attributes": { "plan": { "name": "gold" }, "tenant": "007" },
            "address": { "country": "NO" } }))
            )
        );
        assert_eq!(told[1], (3, Ok(json!({ "username": "bob", "external_id": "2" }))));
        assert_eq!(told[2], (4, Err("disabled is neither true nor false".into())));
        assert_eq!(told[3], (6, Err("the row has 2 cells, and the header line 7".into())));
        let zoe = json!({ "username": "zoe", "external_id": "5", "disabled": false, "email": "a \"quoted\" one" });
        assert_eq!(told[4], (9, Ok(zoe)));
        let (items, _) = read_all(b"username,name\nada,\xff\nbob,x\n".to_vec(), read);
        assert!(matches!(&items[..], [super::super::source::Item::Refused { line: 2, .. }, _]), "{items:?}");
    }

    #[test]
    fn a_sheet_that_is_none_is_told_what_one_is() {
        for (text, word) in [
            ("", "username"),
            ("ada,1\n", "\"ada\""),
            ("username,usernmae\n", "\"usernmae\""),
            ("username,email,email\n", "two columns"),
            ("external_id\n", "no column is called username"),
            ("username,attributes.\n", "attributes.NAME"),
            ("username,attributes.a..b\n", "attributes.NAME"),
        ] {
            match read_all(text, read).1 {
                Err(Fault::Unusable(why)) => assert!(why.contains(word), "{text:?}: {why}"),
                _ => panic!("{text:?} was taken"),
            }
        }
    }

    /// What can be a column is a member of a body, and all members but objects can be columns.
    #[test]
    fn columns_are_the_members_of_a_user() {
        let text = |name: &str| json!({ name: "x" });
        let nested = ADDRESS.iter().map(|part| json!({ "address": { *part: "x" } }));
        let bodies: Vec<Value> = TEXTS
            .iter()
            .map(|name| text(name))
            .chain(FLAGS.iter().map(|name| json!({ *name: true })))
            .chain([json!({ SCOPES: "admin" })])
            .chain(nested)
            .collect();
        for body in bodies {
            assert!(read_body::<UserSpec>(body.to_string().as_bytes()).is_ok(), "{body}");
        }
        let told = read_body::<UserSpec>(b"{\"?\":1}").unwrap_err().description.into_owned();
        for member in told.split('`').skip(3).step_by(2).filter(|name| !matches!(*name, "attributes" | "address")) {
            assert!(column(member).is_some(), "{member}");
        }
    }
}
