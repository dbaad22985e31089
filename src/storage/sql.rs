//! A small dynamic layer over sqlx, so that every operation is written once for SQLite and PostgreSQL: [`Sql`] texts
//! with `$1` placeholders, [`Value`]s going in, [`Row`]s coming out.
//!
//! Every text is `'static` and prepared once per connection. Rows that go in many at a time travel as one JSON array in
//! `$1`; [`from_json!`] spells out for each database how it reads one, and all else of the text is shared.

use std::time::Duration;

use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Postgres, Row as _, Sqlite, Type};

use super::StoreError;
use crate::domain::ids::{ClientId, Jti, Kid, SessionId, SignInId, Sub};
use crate::domain::time::Timestamp;

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum DbError {
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// No connection is to be had, whatever the reason given: the server is down, starting or full, or turns us away.
    #[error("no connection: {0}")]
    Connect(#[source] sqlx::Error),
    /// Nobody tried: somebody else is at it, since the last try failed.
    #[error("no connection: the database was away a moment ago")]
    Away,
    #[error("the database server is a standby, which may lag behind; promote it, or point database.url at the primary")]
    Standby,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The rows written are not the rows decided: somebody got in between, which locks should rule out.
    #[error("a row changed between its reading and its writing")]
    Contended,
    /// A row that cannot be, or a value that no row can hold.
    #[error("{0}")]
    Row(String),
}

pub(super) type DbResult<T> = Result<T, DbError>;

impl DbError {
    /// Whether the connection is of no more use: another one may well succeed.
    pub fn breaks_connection(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
            Self::Sql(sqlx::Error::WorkerCrashed) | Self::TimedOut(_) => true,
            // Connection exceptions, an operator stopping the server, a primary that became a standby, a transaction that
            // asked nothing for too long.
            Self::Sql(sqlx::Error::Database(error)) => error.code().is_some_and(|code| {
                code.starts_with("08") || code.starts_with("57P") || code == "25006" || code == "25P03"
            }),
            _ => false,
        }
    }

    /// Whether a row was refused because another one holds the same in this column. PostgreSQL names the index, of
    /// which the column is a part; SQLite names the column in its message.
    pub fn is_unique_violation_of(&self, column: &str) -> bool {
        let Self::Sql(sqlx::Error::Database(error)) = self else { return false };
        error.is_unique_violation() && error.constraint().unwrap_or_else(|| error.message()).contains(column)
    }

    /// Whether a batch failed for a reason that one of its jobs may have brought along: a value that no row can hold, a
    /// row that somebody else changed. Timeouts and want of space are no job's fault, and trying each job alone would
    /// only multiply the wait.
    pub fn may_be_of_one_job(&self) -> bool {
        let deadlock = || match self {
            Self::Sql(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("40")),
            _ => false,
        };
        matches!(self, Self::Contended) || deadlock() || !self.may_pass()
    }

    /// Whether the same may succeed a little later: a dead connection, locks, deadlocks, timeouts, want of space.
    pub fn may_pass(&self) -> bool {
        const SQLITE_PASSING: [i32; 4] = [5, 6, 10, 13]; // BUSY, LOCKED, IOERR, FULL
        const POSTGRES_PASSING: [&str; 4] = ["40", "53", "55P03", "57014"];
        match self {
            Self::Contended | Self::Connect(_) | Self::Away | Self::Standby => true,
            _ if self.breaks_connection() => true,
            Self::Sql(sqlx::Error::Database(error)) => match error.code() {
                Some(code) if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() => {
                    // The low byte of an extended result code is the primary one.
                    code.parse::<i32>().is_ok_and(|code| SQLITE_PASSING.contains(&(code & 0xff)))
                }
                Some(code) => POSTGRES_PASSING.iter().any(|passing| code.starts_with(passing)),
                None => false,
            },
            _ => false,
        }
    }
}

impl From<DbError> for StoreError {
    fn from(error: DbError) -> Self {
        if error.may_pass() { Self::Unavailable(Box::new(error)) } else { Self::Inconsistent(error.to_string()) }
    }
}

/// Which of the two databases a connection speaks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement: one text where both databases read the same, two where they do not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    pub sqlite: &'static str,
    pub postgres: &'static str,
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Self { sqlite: text, postgres: text }
    }
}

/// A statement that reads the rows of the JSON array `$1` as the relation `j`: the text before it, its columns with
/// their types (`text`, `bigint`, `bytea`), the text after it. Bytes are written as [`Hex`]. SQLite keeps each row parsed
/// (JSONB): as text it would be parsed again for its columns.
macro_rules! from_json {
    (@sqlite $column:ident bytea) => { concat!("unhex(substr(value->>'", stringify!($column), "', 3))") };
    (@sqlite $column:ident $kind:ident) => { concat!("value->>'", stringify!($column), "'") };
    ($before:expr, [$first:ident $first_kind:ident $(, $column:ident $kind:ident)* $(,)?], $after:expr) => {
        $crate::storage::sql::Sql {
            sqlite: concat!(
                $before, "(SELECT ",
                $crate::storage::sql::from_json!(@sqlite $first $first_kind), " AS ", stringify!($first),
                $(", ", $crate::storage::sql::from_json!(@sqlite $column $kind), " AS ", stringify!($column),)*
                " FROM jsonb_each($1)) AS j", $after
            ),
            postgres: concat!(
                $before, "json_to_recordset($1::json) AS j(",
                stringify!($first), " ", stringify!($first_kind),
                $(", ", stringify!($column), " ", stringify!($kind),)*
                ")", $after
            ),
        }
    };
}
pub(super) use from_json;

/// What a placeholder stands for.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
}

impl Value {
    /// Whether no row can ever equal it: PostgreSQL refuses a text with NUL, so none is ever stored.
    pub fn finds_nothing(&self) -> bool {
        matches!(self, Self::Text(Some(text)) if !is_storable(text))
    }
}

/// The arguments of a statement, in the order of its placeholders.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::storage::sql::Value::from($value)),*] };
}
pub(super) use args;

macro_rules! value_from {
    ($($from:ty => $variant:ident($value:ident) $as:expr;)*) => {
        $(
            impl From<$from> for Value {
                fn from($value: $from) -> Self {
                    Self::$variant(Some($as))
                }
            }

            impl From<Option<$from>> for Value {
                fn from(value: Option<$from>) -> Self {
                    Self::$variant(value.map(|$value| $as))
                }
            }
        )*
    };
}

value_from! {
    i64 => Int(n) n;
    u8 => Int(n) n.into();
    u32 => Int(n) n.into();
    bool => Int(yes) yes.into();
    Timestamp => Int(at) at.millis();
    Duration => Int(span) millis(span);
    String => Text(text) text;
    &str => Text(text) text.to_owned();
    &Sub => Text(id) id.as_str().to_owned();
    &ClientId => Text(id) id.as_str().to_owned();
    &Kid => Text(id) id.as_str().to_owned();
    &Jti => Text(id) id.as_str().to_owned();
    SessionId => Text(id) id.to_string();
    SignInId => Text(id) id.to_string();
    &[u8; 32] => Blob(bytes) bytes.to_vec();
    Vec<u8> => Blob(bytes) bytes;
}

/// A span as it is stored. Spans beyond 292 million years are stored as that.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Bytes within a JSON row, spelled as PostgreSQL's `bytea` reads them; [`from_json!`] undoes it on SQLite.
pub(super) struct Hex<'a>(pub &'a [u8]);

impl Serialize for Hex<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(2 + 2 * self.0.len());
        text.push_str("\\x");
        for byte in self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

/// Rows on their way into one statement, as a JSON array.
#[derive(Debug, Default)]
pub(super) struct JsonRows {
    text: Vec<u8>,
    count: u32,
}

impl JsonRows {
    pub fn of<T: Serialize>(rows: impl IntoIterator<Item = T>) -> DbResult<Self> {
        let mut json = Self::default();
        for row in rows {
            json.push(&row)?;
        }
        Ok(json)
    }

    /// # Errors
    /// The row has no spelling in JSON.
    pub fn push(&mut self, row: &impl Serialize) -> DbResult<()> {
        self.text.push(if self.count == 0 { b'[' } else { b',' });
        serde_json::to_writer(&mut self.text, row).map_err(|error| DbError::Row(error.to_string()))?;
        self.count += 1;
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn len(&self) -> u32 {
        self.count
    }
}

impl From<JsonRows> for Value {
    fn from(mut rows: JsonRows) -> Self {
        if rows.count == 0 {
            rows.text.push(b'[');
        }
        rows.text.push(b']');
        // serde_json writes nothing but UTF-8.
        Self::Text(Some(String::from_utf8(rows.text).unwrap_or_default()))
    }
}

/// Whether a text can be stored at all: PostgreSQL refuses one with NUL.
pub(super) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}

/// A row that came back.
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A column, by its name.
    ///
    /// # Errors
    /// There is none of that name, or it holds something else.
    pub fn get<'r, T>(&'r self, column: &str) -> DbResult<T>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Self::Sqlite(row) => row.try_get(column)?,
            Self::Postgres(row) => row.try_get(column)?,
        })
    }

    pub fn flag(&self, column: &str) -> DbResult<bool> {
        Ok(self.get::<i64>(column)? != 0)
    }

    pub fn time(&self, column: &str) -> DbResult<Timestamp> {
        self.get(column).map(Timestamp::from_millis)
    }

    pub fn time_if_any(&self, column: &str) -> DbResult<Option<Timestamp>> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_millis))
    }

    pub fn span(&self, column: &str) -> DbResult<Duration> {
        Ok(Duration::from_millis(self.small(column)?))
    }

    pub fn hash(&self, column: &str) -> DbResult<[u8; 32]> {
        self.hash_if_any(column)?.ok_or_else(|| DbError::Row(format!("{column} is missing")))
    }

    pub fn hash_if_any(&self, column: &str) -> DbResult<Option<[u8; 32]>> {
        let Some(bytes) = self.get::<Option<&[u8]>>(column)? else { return Ok(None) };
        let wrong = || DbError::Row(format!("{column} has {} bytes instead of 32", bytes.len()));
        bytes.try_into().map(Some).map_err(|_| wrong())
    }

    /// A whole number that fits a smaller type.
    pub fn small<T: TryFrom<i64>>(&self, column: &str) -> DbResult<T> {
        let value: i64 = self.get(column)?;
        T::try_from(value).map_err(|_| DbError::Row(format!("{column} = {value}, which is out of range")))
    }

    /// A column as what its text says.
    pub fn parsed<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> DbResult<T> {
        self.parsed_if_any(column, parse)?.ok_or_else(|| DbError::Row(format!("{column} is missing")))
    }

    pub fn parsed_if_any<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> DbResult<Option<T>> {
        let Some(text) = self.get::<Option<&str>>(column)? else { return Ok(None) };
        let meaningless = || DbError::Row(format!("{column} = {text:?}, which means nothing"));
        parse(text).map(Some).ok_or_else(meaningless)
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> DbResult<T> {
        let text: &str = self.get(column)?;
        serde_json::from_str(text).map_err(|error| DbError::Row(format!("{column} is not its JSON: {error}")))
    }
}
