//! A look at a database from outside, for `latchkey doctor`: it changes nothing and takes no lock.

use super::OpenError;
use super::conn::Conn;
use super::endpoint::{BadUrl, Endpoint};
use super::nodes::now;
use super::open::unreachable;
use super::schema::{self, Schema};
use super::sql::{DbResult, Dialect, args};
use crate::domain::time::Timestamp;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the next start or `latchkey migrate` will make of it.
    pub schema: Schema,
    /// The database server's wall clock; `None` where it is this machine's.
    pub clock: Option<Timestamp>,
}

/// Looks at the database that the URL names, which must exist.
///
/// # Errors
/// The URL is of no use, or the database does not answer.
pub async fn inspect(url: &str) -> Result<Inspection, OpenError> {
    let endpoint = Endpoint::parse(url).map_err(|BadUrl(fault)| OpenError::Url(fault))?;
    let mut conn = endpoint.reader().await.map_err(|error| unreachable(&endpoint, error))?;
    let inspection = look(&mut conn).await.map_err(|error| unreachable(&endpoint, error));
    conn.close().await;
    inspection
}

async fn look(conn: &mut Conn) -> DbResult<Inspection> {
    let clock = match conn.dialect() {
        Dialect::Sqlite => None,
        Dialect::Postgres => Some(server_clock(conn).await?),
    };
    Ok(Inspection { schema: schema::read(conn).await?, clock })
}

async fn server_clock(conn: &mut Conn) -> DbResult<Timestamp> {
    const TEXT: &str = concat!("SELECT ", now!(), " AS now");
    conn.fetch(TEXT, args![]).await?.first().map_or(Ok(Timestamp::MIN), |row| row.time("now"))
}
