//! JSON for people: lists as tables, objects as lines.

use serde_json::Value;

use super::output::Style;

/// Where a column's text comes from: a member, or several joined by a dot.
pub type Column = (&'static str, &'static str);

/// Lays items out under headings, columns as wide as they need.
pub fn list(columns: &[Column], items: &[Value], style: Style) -> String {
    let cells = |item: &Value| columns.iter().map(|(_, path)| cell(at(item, path))).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        longest.max(columns[column].0.chars().count())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let lay = |row: &[&str]| {
        let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let mut lines = vec![style.bold(&lay(&headings))];
    lines.extend(rows.iter().map(|row| lay(&row.iter().map(String::as_str).collect::<Vec<_>>())));
    lines.join("\n")
}

/// Lays an object out, one member a line; lists of objects are indented below their name.
pub fn object(value: &Value, style: Style) -> String {
    let mut lines = Vec::new();
    members(value, 0, style, &mut lines);
    lines.join("\n")
}

fn members(value: &Value, depth: usize, style: Style, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    let Value::Object(map) = value else {
        lines.push(format!("{indent}{}", cell(Some(value))));
        return;
    };
    let width = map.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, value) in map {
        match value {
            Value::Null => {}
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                lines.push(format!("{indent}{}", style.bold(name)));
                members(value, depth + 1, style, lines);
            }
            Value::Array(items) if items.iter().any(needs_a_line) => {
                lines.push(format!("{indent}{}", style.bold(name)));
                for item in items {
                    lines.push(format!("{indent}  {}", one_line(item)));
                }
            }
            _ => lines.push(format!("{indent}{}  {}", style.bold(&format!("{name:<width$}")), cell(Some(value)))),
        }
    }
}

/// Objects and sentences.
fn needs_a_line(item: &Value) -> bool {
    item.is_object() || item.as_str().is_some_and(|text| text.contains(' '))
}

/// The members of an object on one line.
pub fn one_line(item: &Value) -> String {
    let Value::Object(map) = item else { return cell(Some(item)) };
    let shown = map.iter().filter(|(_, value)| !value.is_null());
    shown.map(|(name, value)| format!("{name}={}", cell(Some(value)))).collect::<Vec<_>>().join("  ")
}

fn at<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(item, |value, name| value.get(name))
}

/// A value as text. Control characters are shown, not sent to the terminal: a name could hold an escape sequence.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::from("-"),
        Some(Value::String(text)) if text.is_empty() => String::from("-"),
        Some(Value::Array(items)) if items.is_empty() => String::from("-"),
        Some(Value::String(text)) => text.chars().map(visible).collect(),
        Some(Value::Array(items)) if !items.iter().any(Value::is_object) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(" ")
        }
        Some(Value::Object(_)) => value.map(one_line).unwrap_or_default(),
        Some(other) => other.to_string(),
    }
}

fn visible(c: char) -> char {
    if c.is_control() { '\u{fffd}' } else { c }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAIN: Style = Style::PLAIN;

    #[test]
    fn lists_line_up_and_show_no_control_characters() {
        let items = [json!({"a": "x", "b": {"c": 1}}), json!({"a": "long\u{1b}[31m", "b": {"c": [1, 2]}}), json!({})];
        let text = list(&[("A", "a"), ("B.C", "b.c")], &items, PLAIN);
        assert_eq!(text, "A          B.C\nx          1\nlong\u{fffd}[31m  1 2\n-          -");
    }

    #[test]
    fn objects_are_lines() {
        let value = json!({"sid": "s", "none": null, "timeline": [{"at": "t", "type": "login"}], "in": {"k": true}});
        let text = object(&value, PLAIN);
        assert_eq!(text, "sid       s\ntimeline\n  at=t  type=login\nin\n  k  true");
    }
}
