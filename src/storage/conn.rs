//! One connection, and statements on it: one, or several of which only the last is waited for.
//!
//! SQLite works on a thread of sqlx's own. To hand it a statement and to be told the answer wakes two threads, which is
//! more than a small statement costs itself, and most of all where every core has work. So what goes together is handed
//! over as one text. To PostgreSQL prepared statements go one by one.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{Arguments, AssertSqlSafe, Connection as _, Either, Encode, Executor as _, Type};

use super::sql::{DbError, DbResult, Dialect, Row, Sql, Value};

/// A statement, what goes into it, and what must come of it.
#[derive(Debug)]
pub(super) struct Step {
    sql: Sql,
    args: Vec<Value>,
    must_change: Option<u32>,
}

impl Step {
    pub fn new(sql: impl Into<Sql>, args: Vec<Value>) -> Self {
        Self { sql: sql.into(), args, must_change: None }
    }

    /// It fails as [`DbError::Contended`] if it changes more rows or fewer.
    pub fn changing(self, rows: u32) -> Self {
        Self { must_change: Some(rows), ..self }
    }
}

/// What a statement came to.
#[derive(Default)]
pub(super) struct Answer {
    pub rows: Vec<Row>,
    /// How many rows it has changed; of no meaning for one that changes none.
    pub changed: u64,
}

/// How a run of statements ended before its end.
#[derive(Debug)]
pub(super) struct Interrupted {
    /// How many were carried out before.
    pub done: usize,
    pub error: DbError,
}

impl From<Interrupted> for DbError {
    fn from(interrupted: Interrupted) -> Self {
        interrupted.error
    }
}

/// One connection.
pub(super) enum Conn {
    Sqlite(SqliteConnection),
    // Many times as large as the other.
    Postgres(Box<PgConn>),
}

/// A connection to a server, or to a pooler in front of it.
pub(super) struct PgConn {
    pub conn: PgConnection,
    /// See [`Server::is_pooled`](super::endpoint::Server::is_pooled).
    is_pooled: bool,
}

impl Conn {
    pub fn postgres(conn: PgConnection, is_pooled: bool) -> Self {
        Self::Postgres(Box::new(PgConn { conn, is_pooled }))
    }

    /// Whether a statement needs a transaction around it, though it is alone: it is prepared in one step and carried out
    /// in another, which a pooler would give to two connections.
    pub fn is_pooled(&self) -> bool {
        matches!(self, Self::Postgres(conn) if conn.is_pooled)
    }

    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement, and answers how many rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<u64> {
        Ok(self.one(Step::new(sql, args)).await?.changed)
    }

    /// Runs a statement, and answers its rows.
    pub async fn fetch(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> DbResult<Vec<Row>> {
        Ok(self.one(Step::new(sql, args)).await?.rows)
    }

    async fn one(&mut self, step: Step) -> DbResult<Answer> {
        if self.is_pooled() {
            let around = |text: &'static str| Step::new(text, Vec::new());
            let mut answers = self.run(vec![around("BEGIN"), step, around("COMMIT")]).await?;
            return Ok(answers.swap_remove(1));
        }
        Ok(self.run(vec![step]).await?.pop().unwrap_or_default())
    }

    /// Runs statements in their order, up to the first that fails, and answers what each came to.
    pub async fn run(&mut self, steps: Vec<Step>) -> Result<Vec<Answer>, Interrupted> {
        match self {
            Self::Sqlite(conn) => run_joined(conn, steps).await,
            Self::Postgres(conn) => run_in_turn(conn, steps).await,
        }
    }

    /// Takes leave of the database.
    pub async fn close(self) {
        // A connection that cannot take leave is gone already.
        let _ = match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Postgres(conn) => conn.conn.close().await,
        };
    }
}

/// Fails where the statement before it did not change `$1` rows: of an integer that has no counterpart SQLite cannot
/// tell the absolute value.
const CHECK: &str = "SELECT abs(iif(changes() = $1, 0, -9223372036854775807 - 1))";

/// Of the statements in a text, those that are steps, and those that check the step before them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Step,
    Check,
}

async fn run_joined(conn: &mut SqliteConnection, steps: Vec<Step>) -> Result<Vec<Answer>, Interrupted> {
    let joined = Joined::of(steps).map_err(|error| Interrupted { done: 0, error })?;
    let results = conn.fetch_many(sqlx::query_with(joined.text, joined.args));
    gather(results, &joined.parts, Row::Sqlite, |done| done.rows_affected()).await
}

async fn run_in_turn(conn: &mut PgConn, steps: Vec<Step>) -> Result<Vec<Answer>, Interrupted> {
    let PgConn { conn, is_pooled } = conn;
    let mut answers = Vec::with_capacity(steps.len());
    for Step { sql, args, must_change } in steps {
        let done = answers.len();
        let failed = |error| Interrupted { done, error };
        let mut arguments = PgArguments::default();
        add_all(&mut arguments, args).map_err(failed)?;
        let results = match *is_pooled {
            // In one message.
            true if sql.postgres.starts_with("BEGIN") => conn.fetch_many(sqlx::raw_sql(sql.postgres)),
            pooled => conn.fetch_many(sqlx::query_with(sql.postgres, arguments).persistent(!pooled)),
        };
        let answer = gather(results, &[Part::Step], Row::Postgres, |done| done.rows_affected()).await;
        let answer = answer.map_err(|interrupted| failed(interrupted.error))?.pop().unwrap_or_default();
        if must_change.is_some_and(|rows| u64::from(rows) != answer.changed) {
            return Err(failed(DbError::Contended));
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// Takes the results of the statements as they come.
async fn gather<D, R>(
    mut results: BoxStream<'_, Result<Either<D, R>, sqlx::Error>>,
    parts: &[Part],
    row: impl Fn(R) -> Row,
    changed: impl Fn(&D) -> u64,
) -> Result<Vec<Answer>, Interrupted> {
    let mut answers = Vec::with_capacity(parts.len());
    let mut rows = Vec::new();
    let mut parts = parts.iter();
    let mut part = parts.next();
    loop {
        match results.try_next().await {
            Ok(Some(Either::Right(it))) => rows.push(row(it)),
            Ok(Some(Either::Left(done))) => {
                let rows = std::mem::take(&mut rows);
                if part != Some(&Part::Check) {
                    answers.push(Answer { rows, changed: changed(&done) });
                }
                part = parts.next();
            }
            Ok(None) if part.is_none() => return Ok(answers),
            Ok(None) => {
                return Err(Interrupted { done: answers.len(), error: sqlx::Error::WorkerCrashed.into() });
            }
            Err(_) if part == Some(&Part::Check) => {
                return Err(Interrupted { done: answers.len() - 1, error: DbError::Contended });
            }
            Err(error) => return Err(Interrupted { done: answers.len(), error: error.into() }),
        }
    }
}

/// Statements in one text.
struct Joined {
    text: AssertSqlSafe<String>,
    args: SqliteArguments,
    parts: Vec<Part>,
}

impl Joined {
    fn of(steps: Vec<Step>) -> DbResult<Self> {
        let mut args = SqliteArguments::default();
        let mut parts = Vec::with_capacity(steps.len() + 1);
        let mut text = String::new();
        for step in steps {
            append(&mut text, step.sql.sqlite, args.len());
            add_all(&mut args, step.args)?;
            parts.push(Part::Step);
            if let Some(rows) = step.must_change {
                append(&mut text, CHECK, args.len());
                add_all(&mut args, vec![rows.into()])?;
                parts.push(Part::Check);
            }
        }
        // Made of texts of this program alone.
        Ok(Self { text: AssertSqlSafe(text), args, parts })
    }
}

/// Appends a statement whose placeholders count on from those before it.
fn append(text: &mut String, statement: &str, before: usize) {
    let mut rest = statement;
    while let Some(at) = rest.find('$') {
        let (head, tail) = rest.split_at(at + 1);
        text.push_str(head);
        let digits = tail.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = tail.split_at(digits);
        if let Ok(number) = number.parse::<usize>() {
            text.push_str(&(number + before).to_string());
        }
        rest = tail;
    }
    text.push_str(rest);
    text.push(';');
}

fn add_all<A: Arguments>(arguments: &mut A, values: Vec<Value>) -> DbResult<()>
where
    Option<i64>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    Option<String>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
    Option<Vec<u8>>: for<'q> Encode<'q, A::Database> + Type<A::Database>,
{
    arguments.reserve(values.len(), 0);
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Blob(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sql::args;
    use super::*;

    async fn conn() -> Conn {
        let mut conn = Conn::Sqlite(SqliteConnection::connect("sqlite::memory:").await.unwrap());
        conn.execute("CREATE TABLE t (n INTEGER UNIQUE, name TEXT)", args![]).await.unwrap();
        conn
    }

    fn insert(n: i64, name: &str) -> Step {
        Step::new("INSERT INTO t (name, n) VALUES ($2, $1)", args![n, name])
    }

    async fn rows(conn: &mut Conn) -> Vec<(i64, String)> {
        let rows = conn.fetch("SELECT n, name FROM t ORDER BY n", args![]).await.unwrap();
        rows.iter().map(|row| (row.get("n").unwrap(), row.get("name").unwrap())).collect()
    }

    #[tokio::test]
    async fn joined_statements_answer_each_for_itself() {
        let mut conn = conn().await;
        let read = |n: i64| Step::new("SELECT name, '$' AS sign FROM t WHERE n = $1", args![n]);
        let update = Step::new("UPDATE t SET name = $1 WHERE n > $2", args!["c", 0_i64]).changing(2);
        let steps = vec![insert(1, "a"), insert(2, "b"), read(2), update, read(1)];
        let answers = conn.run(steps).await.unwrap();
        assert_eq!(answers.iter().map(|answer| answer.rows.len()).collect::<Vec<_>>(), [0, 0, 1, 0, 1]);
        assert_eq!((answers[0].changed, answers[3].changed), (1, 2));
        let name = |answer: &Answer| answer.rows[0].get::<String>("name").unwrap();
        assert_eq!((name(&answers[2]), name(&answers[4])), ("b".into(), "c".into()));
        assert_eq!(answers[2].rows[0].get::<String>("sign").unwrap(), "$");
        assert_eq!(rows(&mut conn).await, [(1, "c".into()), (2, "c".into())]);
    }

    #[tokio::test]
    async fn what_follows_a_failure_is_left_undone() {
        let mut conn = conn().await;
        let steps = vec![insert(1, "a"), insert(2, "b"), insert(1, "again"), insert(3, "c")];
        let Interrupted { done, error } = conn.run(steps).await.err().unwrap();
        assert_eq!(done, 2);
        assert!(error.is_unique_violation_of("n"), "{error}");
        assert_eq!(rows(&mut conn).await.len(), 2);
    }

    #[tokio::test]
    async fn another_number_of_changed_rows_is_a_failure_of_that_statement() {
        for (n, changed) in [(1_i64, 1), (7, 0)] {
            let mut conn = conn().await;
            let update = Step::new("UPDATE t SET name = 'c' WHERE n = $1", args![n]);
            let steps = |update| vec![insert(1, "a"), update, insert(2, "b")];
            let wrong = conn.run(steps(update.changing(1 - changed))).await.err().unwrap();
            assert_eq!(wrong.done, 1);
            assert!(matches!(wrong.error, DbError::Contended), "{}", wrong.error);
            assert_eq!(rows(&mut conn).await.len(), 1, "nothing came after it");
        }
    }
}
