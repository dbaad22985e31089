//! `latchkey user import`: users of another system, from a file to a running server, a thousand at a time.
//!
//! A thread reads the file as fast as the server takes users, so that the size of the file does not matter. Who is
//! there already is left alone: an import that was cut short is finished by running it again.

mod dumpdata;
mod jsonl;
mod progress;
mod sheet;
mod source;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::progress::Progress;
use self::source::{Item, Reading, Row};
use super::failure::{Failure, Result};
use super::output::note;
use super::remote::{Remote, RemoteArgs, granting, print_object};
use super::{Globals, user};
use crate::admin::users::import::{PASSWORDS_MAX, ROWS_MAX};

/// Bytes of one call, well below what the server takes.
const BATCH_BYTES: usize = 4 << 20;

/// How a file of users is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A JSON object on each line, as the admin API takes a user
    Jsonl,
    /// A header line of member names, with attributes.NAME for attributes; empty cells say nothing
    Csv,
    /// What Django's `manage.py dumpdata` writes, of any user model
    Django,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Django),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The users; - for standard input
    file: PathBuf,
    /// How the file is written [default: by its ending: .jsonl or .ndjson, .csv, .json for Django]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Say what would become of the users, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Where to write the refused ones, as JSON lines with line and reason
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,
    /// The model that users are, where a Django dump has several that could be, such as accounts.user
    #[arg(long, value_name = "APP.MODEL")]
    model: Option<String>,
    #[command(flatten)]
    remote: RemoteArgs,
}

pub(super) async fn run(import: Import, globals: &Globals) -> Result<()> {
    let Some(format) = import.format.or_else(|| Format::of(&import.file)) else {
        let shown = import.file.display();
        return Err(Failure::Unusable(format!(
            "{shown} does not say by its ending how it is written; name it with --format"
        )));
    };
    let reading = Reading::start(&import.file, format, import.model.clone())?;
    let rejects = import.rejects.as_deref().map(create).transpose()?;
    let server = Remote::connect(&import.remote, globals, user::WRITE).await?;
    let progress = Progress::new(Arc::clone(reading.consumed()), reading.length());
    let name = import.file.display().to_string();
    let mut work = Work { server, name, dry_run: import.dry_run, rejects, progress, counts: Counts::default() };
    let done = work.all(reading).await;
    work.progress.finish();
    if let Some(rejects) = &mut work.rejects {
        rejects.flush()?;
    }
    let counts = &work.counts;
    if let Err(failure) = done {
        note(format_args!(
            "{} created, {} there before, {} refused up to here",
            counts.created, counts.exists, counts.refused
        ));
        return Err(failure.hint("run it again when that is mended: who is there is left alone"));
    }
    let report = json!({
        "created": counts.created,
        "exists": counts.exists,
        "refused": counts.refused,
        "skipped": counts.skipped,
        "dry_run": import.dry_run,
    });
    print_object(&report, &import.remote)?;
    if counts.refused > 0 { Err(Failure::Told) } else { Ok(()) }
}

/// Names and reasons only, but of everybody who could not come: the owner's alone.
fn create(path: &Path) -> Result<BufWriter<File>> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened
        .map(BufWriter::new)
        .map_err(|error| Failure::Unusable(format!("{} cannot be written: {error}", path.display())))
}

#[derive(Debug, Default)]
struct Counts {
    created: u64,
    exists: u64,
    refused: u64,
    /// Objects of a dump that are no users.
    skipped: u64,
}

struct Work {
    server: Remote,
    /// The file, as refusals name it.
    name: String,
    dry_run: bool,
    rejects: Option<BufWriter<File>>,
    progress: Progress,
    counts: Counts,
}

impl Work {
    async fn all(&mut self, mut reading: Reading) -> Result<()> {
        let mut batch = Batch::default();
        while let Some(items) = reading.next().await {
            for item in items {
                match item {
                    Item::Row(row) => {
                        if !batch.has_room_for(&row) {
                            self.send(std::mem::take(&mut batch)).await?;
                        }
                        batch.push(row);
                    }
                    Item::Refused { line, who, reason } => self.refuse(line, &who, &reason)?,
                    Item::Skipped => self.counts.skipped += 1,
                }
            }
        }
        // What was read before the file turned out to be broken is good.
        let read = reading.end();
        self.send(batch).await?;
        read
    }

    async fn send(&mut self, batch: Batch) -> Result<()> {
        if batch.rows.is_empty() {
            return Ok(());
        }
        let scope = granting(user::WRITE, batch.admin_scopes.iter().map(String::as_str));
        let query: &[(&str, &str)] = if self.dry_run { &[("dry_run", "true")] } else { &[] };
        let report = self.server.send_lines(&["users", "import"], query, batch.text, [&scope, user::WRITE]).await?;
        let outcomes = report.get("rows").and_then(Value::as_array).filter(|rows| rows.len() == batch.rows.len());
        let Some(outcomes) = outcomes else {
            return Err(Failure::because("the server did not answer for every user that it was sent"));
        };
        for ((line, who), outcome) in batch.rows.iter().zip(outcomes) {
            match outcome["outcome"].as_str() {
                Some("created") => self.counts.created += 1,
                Some("exists") => self.counts.exists += 1,
                _ => {
                    let reason = outcome["error_description"].as_str().unwrap_or("refused without a reason");
                    self.refuse(*line, who, reason)?;
                }
            }
        }
        let Counts { created, exists, refused, .. } = self.counts;
        self.progress.show(created + exists + refused);
        Ok(())
    }

    fn refuse(&mut self, line: u64, who: &Value, reason: &str) -> Result<()> {
        self.counts.refused += 1;
        self.progress.clear();
        let shown = who.as_str().map(|name| format!("{name:?}: ")).unwrap_or_default();
        note(format_args!("{}:{line}: {shown}{reason}", self.name));
        if let Some(rejects) = &mut self.rejects {
            writeln!(rejects, "{}", json!({ "line": line, "username": who, "reason": reason }))?;
        }
        Ok(())
    }
}

/// Users that go out together.
#[derive(Default)]
struct Batch {
    text: String,
    /// Line and username.
    rows: Vec<(u64, Value)>,
    passwords: usize,
    admin_scopes: Vec<String>,
}

impl Batch {
    fn has_room_for(&self, row: &Row) -> bool {
        self.rows.len() < ROWS_MAX
            && self.text.len() + row.body.len() < BATCH_BYTES
            && self.passwords + usize::from(row.has_password) <= PASSWORDS_MAX
    }

    fn push(&mut self, row: Row) {
        self.text.push_str(&row.body);
        self.text.push('\n');
        self.rows.push((row.line, row.who));
        self.passwords += usize::from(row.has_password);
        self.admin_scopes.extend(row.admin_scopes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_room_for_what_the_server_takes() {
        let row = |bytes: usize, has_password| Row {
            line: 1,
            who: Value::Null,
            body: "x".repeat(bytes),
            has_password,
            admin_scopes: Vec::new(),
        };
        let filled = |row: &dyn Fn() -> Row| {
            let mut batch = Batch::default();
            while batch.has_room_for(&row()) {
                batch.push(row());
            }
            batch.rows.len()
        };
        assert_eq!(filled(&|| row(10, false)), ROWS_MAX);
        assert_eq!(filled(&|| row(10, true)), PASSWORDS_MAX);
        assert_eq!(filled(&|| row(1 << 20, false)), 3);
    }

    #[test]
    fn the_ending_tells_the_format() {
        for (name, format) in [
            ("a.jsonl", Some(Format::Jsonl)),
            ("a.NDJSON", Some(Format::Jsonl)),
            ("a.b.csv", Some(Format::Csv)),
            ("a.json", Some(Format::Django)),
            ("a.json.gz", None),
            ("-", None),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }
}
