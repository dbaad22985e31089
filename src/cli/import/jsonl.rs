//! JSON lines: each is the body of a user as the admin API takes it, and goes there as it stands.

use std::io::BufRead as _;

use serde_json::{Map, Value};

use super::source::{Fault, Input, Sink};

pub(super) fn read(mut input: Input, sink: &mut Sink) -> Result<(), Fault> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        if input.read_until(b'\n', &mut bytes).map_err(Fault::Read)? == 0 {
            break;
        }
        let text = match std::str::from_utf8(&bytes) {
            // Some editors begin a file with a mark.
            Ok(text) if line == 1 => text.trim_start_matches('\u{feff}').trim(),
            Ok(text) => text.trim(),
            Err(_) => {
                if !sink.refused(line, Value::Null, "the line is not UTF-8") {
                    break;
                }
                continue;
            }
        };
        if text.is_empty() {
            continue;
        }
        let goes_on = match serde_json::from_str::<Map<String, Value>>(text) {
            Ok(body) => sink.user(line, &body, Some(text.to_owned())),
            // Without what it says it met: that may be a secret.
            Err(error) => {
                sink.refused(line, Value::Null, format!("the line is no JSON object, at column {}", error.column()))
            }
        };
        if !goes_on {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::source::{read_all, told};
    use super::*;

    #[test]
    fn each_line_is_a_user_or_refused_by_itself() {
        let text = "\u{feff}{\"username\":\"ada\"}\r\n\n{\"username\":\"bob\",\"external_id\":\"2\"}\nhunter2\n[]\n\
                    {\"username\":\"ADA\"}\n{\"username\":";
        let (items, end) = read_all(text, read);
        assert!(end.is_ok());
        let told = told(&items);
        let lines: Vec<u64> = told.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [1, 3, 4, 5, 6, 7]);
        assert_eq!(told[0].1, Ok(json!({ "username": "ada" })));
        assert_eq!(told[1].1, Ok(json!({ "username": "bob", "external_id": "2" })));
        assert!(told[2..].iter().all(|(_, row)| row.is_err()), "{told:?}");
        assert!(!format!("{told:?}").contains("hunter2"));
        let (items, _) = read_all(b"{\"username\":\"\xff\"}\n{\"username\":\"x\"}".to_vec(), read);
        assert_eq!(items.len(), 2);
    }
}
