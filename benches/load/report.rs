//! What was found: a table for people, the same as JSON.

use serde_json::{Map, Value, json};

use super::about::About;
use super::goals::{Goal, Held};
use super::measured::Measured;

/// One line of the table, and what it is held against below it.
pub struct Row {
    pub operation: String,
    pub database: String,
    pub figure: Figure,
    pub held: Vec<Held>,
}

pub enum Figure {
    /// Requests in a closed loop.
    Requests(Measured),
    /// Requests at a steady pace: only their latencies say anything.
    Paced(Measured),
    Milliseconds(f64),
    Mebibytes(f64),
    Bytes(f64),
}

#[derive(Default)]
pub struct Report {
    pub about: About,
    /// The limits of the machine, as they were measured in this run: a second.
    pub limits: Vec<(String, f64)>,
    pub rows: Vec<Row>,
}

/// Columns of the table before what a row is held against.
const FIGURES: usize = 118;

impl Report {
    pub fn print(&self) {
        println!();
        for (name, value) in &self.about {
            println!("{name:<12} {value}");
        }
        println!("\nlimits of this machine, in this run");
        for (name, rate) in &self.limits {
            println!("  {name:<52} {:>10} /s", number(*rate));
        }
        let heads = ["rate", "p50 ms", "p99", "p99.9", "server us", "client us", "db us"];
        let [rate, p50, p99, p999, server, client, database] = heads;
        println!(
            "\n{:<42} {:<10} {rate:>11} {p50:>8} {p99:>8} {p999:>8} {server:>9} {client:>9} {database:>5}  {:<34} {:>9} \
             {:>6}  goal",
            "operation", "database", "held against", "at", "ratio"
        );
        for row in &self.rows {
            let mut lines = row.held.iter().map(held);
            let first = format!("{:<42} {:<10} {}", row.operation, row.database, figure(&row.figure));
            println!("{first:<FIGURES$}  {}", lines.next().unwrap_or_default());
            for line in lines {
                println!("{:<FIGURES$}  {line}", "");
            }
        }
        let (met, missed) = self.tally();
        println!("\n{met} goals met, {missed} missed");
    }

    /// Goals met and missed.
    pub fn tally(&self) -> (usize, usize) {
        let verdicts = || self.rows.iter().flat_map(|row| &row.held).filter_map(Held::is_met);
        (verdicts().filter(|met| *met).count(), verdicts().filter(|met| !met).count())
    }

    pub fn json(&self) -> Value {
        let about: Map<_, _> = self.about.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let limits: Map<_, _> = self.limits.iter().map(|(name, rate)| (name.clone(), json!(rate))).collect();
        let rows: Vec<_> = self.rows.iter().map(row_json).collect();
        json!({ "about": about, "limits_per_second": limits, "rows": rows })
    }
}

fn figure(figure: &Figure) -> String {
    match figure {
        Figure::Requests(measured) => {
            let Measured { server_us, client_us, database_us, .. } = measured;
            let database = database_us.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
            format!("{} {server_us:>9.1} {client_us:>9.1} {database:>5}", pace(measured))
        }
        Figure::Paced(measured) => pace(measured),
        Figure::Milliseconds(value) => format!("{value:>8.1} ms"),
        Figure::Mebibytes(value) => format!("{value:>7.1} MiB"),
        Figure::Bytes(value) => format!("{value:>9.0} B"),
    }
}

fn pace(Measured { rate, latency, .. }: &Measured) -> String {
    format!("{:>9}/s {:>8.2} {:>8.2} {:>8.2}", number(*rate), latency.p50, latency.p99, latency.p999)
}

fn held(held: &Held) -> String {
    let goal = match (held.goal, held.is_met()) {
        (Some(goal), Some(met)) => format!("{} {}", wanted(goal), if met { "met" } else { "MISSED" }),
        _ => "-".to_owned(),
    };
    format!("{:<34} {:>9} {:>6.2}  {goal}", held.against, number(held.limit), held.ratio)
}

fn wanted(goal: Goal) -> String {
    match goal {
        Goal::AtLeast(share) => format!(">= {share}"),
        Goal::AtMost(share) => format!("<= {share}"),
    }
}

/// With thousands apart, and a fraction where it is small.
pub fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn row_json(row: &Row) -> Value {
    let held: Vec<_> = row
        .held
        .iter()
        .map(|held| {
            json!({ "against": held.against, "at": held.limit, "ratio": held.ratio, "goal": held.goal.map(wanted),
                    "met": held.is_met() })
        })
        .collect();
    let figure = match &row.figure {
        Figure::Requests(measured) | Figure::Paced(measured) => json!({
            "rate": measured.rate,
            "p50_ms": measured.latency.p50,
            "p99_ms": measured.latency.p99,
            "p99_9_ms": measured.latency.p999,
            "longest_ms": measured.latency.longest,
            "server_cpu_us": measured.server_us,
            "client_cpu_us": measured.client_us,
            "database_cpu_us": measured.database_us,
            "client_share": measured.client_share,
        }),
        Figure::Milliseconds(value) => json!({ "milliseconds": value }),
        Figure::Mebibytes(value) => json!({ "mebibytes": value }),
        Figure::Bytes(value) => json!({ "bytes": value }),
    };
    json!({ "operation": row.operation, "database": row.database, "figure": figure, "held": held })
}
