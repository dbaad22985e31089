//! Where users come from: a file that a thread of its own reads ahead, row by row, in whatever format.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::{Map, Value};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Format, dumpdata, jsonl, sheet};
use crate::cli::failure::{Failure, Result};
use crate::credentials::precis::username_key;

/// How many items travel at once, and how many such lots may wait: the file is read ahead, and no further.
const LOT: usize = 256;
const LOTS: usize = 16;

/// One user of the file.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    /// Where the row begins.
    pub line: u64,
    /// The username, where there is one.
    pub who: Value,
    /// JSON without line breaks.
    pub body: String,
    pub has_password: bool,
    pub admin_scopes: Vec<String>,
}

/// What a file holds.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    Row(Row),
    /// Something that no server needs to be asked about.
    Refused {
        line: u64,
        who: Value,
        reason: String,
    },
    /// Something that is no user.
    Skipped,
}

/// Counts what was read.
pub(super) struct Counted<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The file, as the reader of its format takes it.
pub(super) type Input = BufReader<Counted<Box<dyn Read + Send>>>;

/// A file that is being read.
pub(super) struct Reading {
    items: Receiver<Vec<Item>>,
    thread: JoinHandle<Result<()>>,
    consumed: Arc<AtomicU64>,
    length: Option<u64>,
}

impl Reading {
    /// # Errors
    /// The file cannot be opened.
    pub fn start(path: &Path, format: Format, model: Option<String>) -> Result<Self> {
        let unusable = |error: io::Error| Failure::Unusable(format!("{} cannot be read: {error}", path.display()));
        let (file, length): (Box<dyn Read + Send>, _) = if path == Path::new("-") {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(unusable)?;
            let metadata = file.metadata().map_err(unusable)?;
            if metadata.is_dir() {
                return Err(Failure::Unusable(format!("{} is a directory", path.display())));
            }
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        };
        let consumed = Arc::new(AtomicU64::new(0));
        let input = BufReader::with_capacity(1 << 18, Counted { inner: file, bytes: Arc::clone(&consumed) });
        let (sender, items) = channel(LOTS);
        let name = path.display().to_string();
        let thread = std::thread::spawn(move || {
            let mut sink = Sink { sender, lot: Vec::with_capacity(LOT), seen: Seen::default(), is_wanted: true };
            let read = match format {
                Format::Jsonl => jsonl::read(input, &mut sink),
                Format::Csv => sheet::read(input, &mut sink),
                Format::Django => dumpdata::read(input, model.as_deref(), &mut sink),
            };
            sink.flush();
            read.map_err(|fault| match fault {
                Fault::Read(error) => Failure::because(format_args!("{name} cannot be read on: {error}")),
                Fault::Malformed(why) => Failure::because(format_args!("{name} is broken: {why}")),
                Fault::Unusable(why) => Failure::Unusable(format!("{name}: {why}")),
            })
        });
        Ok(Self { items, thread, consumed, length })
    }

    /// The next items, in the order of the file; `None` at its end.
    pub async fn next(&mut self) -> Option<Vec<Item>> {
        self.items.recv().await
    }

    /// How the reading ended.
    ///
    /// # Errors
    /// The file could not be read to its end.
    pub fn end(self) -> Result<()> {
        drop(self.items);
        self.thread.join().unwrap_or_else(|_| Err(Failure::because("the reader of the file panicked")))
    }

    pub fn consumed(&self) -> &Arc<AtomicU64> {
        &self.consumed
    }

    pub fn length(&self) -> Option<u64> {
        self.length
    }
}

/// Why a file cannot be read any further.
pub(super) enum Fault {
    Read(io::Error),
    /// From some place on it is not what it began as.
    Malformed(String),
    /// It is no such file at all.
    Unusable(String),
}

/// Where readers put what they find.
pub(super) struct Sink {
    sender: Sender<Vec<Item>>,
    lot: Vec<Item>,
    seen: Seen,
    is_wanted: bool,
}

impl Sink {
    /// A user, as the admin API takes one; `text` where the file has it as JSON already. Answers whether more is wanted.
    pub fn user(&mut self, line: u64, body: &Map<String, Value>, text: Option<String>) -> bool {
        let who = body.get("username").cloned().unwrap_or_default();
        if let Some(reason) = self.seen.again(line, body) {
            return self.refused(line, who, reason);
        }
        let has_password = body.get("password").is_some_and(|password| !password.is_null());
        let admin_scopes = match body.get("admin_scopes") {
            Some(Value::Array(scopes)) => scopes.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(scopes)) => scopes.split_whitespace().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let body = text.unwrap_or_else(|| serde_json::to_string(body).unwrap_or_default());
        self.put(Item::Row(Row { line, who, body, has_password, admin_scopes }))
    }

    pub fn refused(&mut self, line: u64, who: Value, reason: impl Into<String>) -> bool {
        self.put(Item::Refused { line, who, reason: reason.into() })
    }

    pub fn skipped(&mut self) -> bool {
        self.put(Item::Skipped)
    }

    fn put(&mut self, item: Item) -> bool {
        self.lot.push(item);
        if self.lot.len() >= LOT {
            self.flush();
        }
        self.is_wanted
    }

    fn flush(&mut self) {
        if !self.lot.is_empty() {
            // Nobody takes it where the import has failed.
            self.is_wanted &= self.sender.blocking_send(std::mem::take(&mut self.lot)).is_ok();
        }
    }
}

/// Who was in the file before. A server that finds a name taken cannot tell a second `Ada` of the same file from the
/// first one of an earlier run, and would leave the second out as if she were there.
#[derive(Default)]
struct Seen {
    /// Keyed per run; 64 bits are enough to tell a hundred million names apart.
    hasher: RandomState,
    usernames: HashMap<u64, u64>,
    external_ids: HashMap<u64, u64>,
}

impl Seen {
    fn again(&mut self, line: u64, body: &Map<String, Value>) -> Option<String> {
        // What is no username is the server's to refuse.
        let key = body.get("username").and_then(Value::as_str).and_then(|name| username_key(name).ok());
        let id = body.get("external_id").and_then(Value::as_str);
        let username = key.map(|key| self.hasher.hash_one(key));
        let external_id = id.map(|id| self.hasher.hash_one(id));
        if let Some(first) = username.and_then(|hash| self.usernames.get(&hash)) {
            return Some(format!("the username, as usernames are compared, is also that of line {first}"));
        }
        if let Some(first) = external_id.and_then(|hash| self.external_ids.get(&hash)) {
            return Some(format!("the external_id is also that of line {first}"));
        }
        self.usernames.extend(username.map(|hash| (hash, line)));
        self.external_ids.extend(external_id.map(|hash| (hash, line)));
        None
    }
}

/// What a reader makes of a text.
#[cfg(test)]
pub(super) fn read_all(
    text: impl Into<Vec<u8>>,
    read: impl FnOnce(Input, &mut Sink) -> std::result::Result<(), Fault>,
) -> (Vec<Item>, std::result::Result<(), Fault>) {
    let text = io::Cursor::new(text.into());
    let inner: Box<dyn Read + Send> = Box::new(text);
    let input = BufReader::new(Counted { inner, bytes: Arc::default() });
    let (sender, mut items) = channel(1000);
    let mut sink = Sink { sender, lot: Vec::new(), seen: Seen::default(), is_wanted: true };
    let end = read(input, &mut sink);
    sink.flush();
    drop(sink);
    let mut all = Vec::new();
    while let Ok(lot) = items.try_recv() {
        all.extend(lot);
    }
    (all, end)
}

/// Line and body, or line and reason, of each item.
#[cfg(test)]
pub(super) fn told(items: &[Item]) -> Vec<(u64, std::result::Result<Value, String>)> {
    let tell = |item: &Item| match item {
        Item::Row(row) => (row.line, Ok(serde_json::from_str(&row.body).unwrap())),
        Item::Refused { line, reason, .. } => (*line, Err(reason.clone())),
        Item::Skipped => (0, Err("skipped".into())),
    };
    items.iter().map(tell).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nobody_comes_twice_in_a_file() {
        let mut seen = Seen::default();
        let mut again = |line, body: Value| seen.again(line, body.as_object().unwrap());
        assert_eq!(again(1, json!({ "username": "Ada", "external_id": "1" })), None);
        assert!(again(2, json!({ "username": "ada" })).unwrap().ends_with("line 1"));
        assert!(again(3, json!({ "username": "bob", "external_id": "1" })).unwrap().contains("external_id"));
        assert_eq!(again(4, json!({ "username": "bob", "external_id": "2" })), None, "a refused row takes no name");
        assert_eq!(again(5, json!({ "username": "not a name" })), None);
        assert_eq!(again(6, json!({ "username": "not a name" })), None);
    }
}
