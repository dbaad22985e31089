//! The plot for the README: each operation's rate as a bar within its limit. Plain SVG that follows the reader's choice
//! of light or dark.

use std::fmt::Write as _;

use super::goals::{Goal, Held, Kind};
use super::report::{Figure, Report, Row, number};

const WIDTH: f64 = 880.0;
const TOP: f64 = 46.0;
const STEP: f64 = 30.0;
const BAR: f64 = 14.0;
/// Where bars begin, and how long one of a whole limit is.
const LEFT: f64 = 250.0;
const WHOLE: f64 = 250.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.quiet{fill:#59636e}.limit{fill:#d1d9e0}\
                     .rate{fill:#0969da}.goal{stroke:#1f2328;stroke-width:2}.panel{fill:#fff;stroke:#d0d7de}@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.quiet{fill:#9198a1}\
                     .limit{fill:#3d444d}.rate{fill:#4493f8}.goal{stroke:#f0f6fc}.panel{fill:#0d1117;stroke:#3d444d}}";

pub fn svg(report: &Report) -> String {
    let bars: Vec<_> = report.rows.iter().filter_map(bar).collect();
    let height = TOP + STEP * bars.len() as f64 + 8.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"Requests a second of each operation, within what the machine allows\">\n<style>{STYLE}</style>\n\
         <rect class=\"panel\" x=\".5\" y=\".5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <text x=\"16\" y=\"28\" class=\"quiet\">requests a second, within the limit that was measured beside them; the mark is the goal</text>\n",
        WIDTH - 1.0,
        height - 1.0,
    );
    for (index, bar) in bars.iter().enumerate() {
        draw(&mut text, TOP + STEP * index as f64, bar);
    }
    text.push_str("</svg>\n");
    text
}

struct Bar<'a> {
    row: &'a Row,
    rate: f64,
    held: &'a Held,
}

/// Of a row that has a rate and a limit: the limit that its goal names, or else the first.
fn bar(row: &Row) -> Option<Bar<'_>> {
    let Figure::Requests(measured) = &row.figure else { return None };
    let limits = || row.held.iter().filter(|held| held.kind == Kind::Limit);
    let held = limits().find(|held| held.goal.is_some()).or_else(|| limits().next())?;
    Some(Bar { row, rate: measured.rate, held })
}

fn draw(text: &mut String, y: f64, Bar { row, rate, held }: &Bar<'_>) {
    let (base, bar_y, filled) = (y + 12.0, y + 1.0, WHOLE * held.ratio.min(1.0));
    let (name, database, against) = (escaped(&row.operation), escaped(&row.database), escaped(&held.against));
    let (rate, share, limit) = (number(*rate), 100.0 * held.ratio, number(held.limit));
    let goal = match held.goal {
        Some(Goal::AtLeast(share)) => {
            let (x, top, bottom) = (LEFT + WHOLE * share, bar_y - 3.0, bar_y + BAR + 3.0);
            format!("<line class=\"goal\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{bottom}\"/>")
        }
        _ => String::new(),
    };
    let after = LEFT + WHOLE + 10.0;
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "<text x=\"16\" y=\"{base}\">{name} <tspan class=\"quiet\">{database}</tspan></text>\
         <rect class=\"limit\" x=\"{LEFT}\" y=\"{bar_y}\" width=\"{WHOLE}\" height=\"{BAR}\" rx=\"3\"/>\
         <rect class=\"rate\" x=\"{LEFT}\" y=\"{bar_y}\" width=\"{filled:.1}\" height=\"{BAR}\" rx=\"3\"/>{goal}\
         <text x=\"{after}\" y=\"{base}\">{rate} <tspan dx=\"6\" class=\"quiet\">{share:.0} % of {limit}, {against}</tspan></text>"
    );
}

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
