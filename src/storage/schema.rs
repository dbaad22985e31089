//! Which migrations a database has had, against those that this program knows.
//!
//! While nodes are upgraded one by one, two adjacent versions serve one database: the newer one migrates it, the older one
//! goes on. So a migration adds what older programs do not look at. What they need is taken away a version later, by a
//! migration that leaves its own number as the note `oldest_program`: a program that does not know that one is refused.

use std::collections::BTreeSet;

use sqlx::migrate::{MigrateError, Migrator};

use super::conn::Conn;
use super::sql::{DbResult, Dialect, Sql, args};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What a database is to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schema {
    /// It lacks so many migrations; none, where it is this program's.
    Known { due: usize },
    /// A newer program has migrated it, and this one may serve it all the same. `migration` is its newest.
    Newer { migration: i64 },
    /// A newer program has changed what this one needs.
    TooNew { migration: i64 },
}

pub(super) async fn read(conn: &mut Conn) -> DbResult<Schema> {
    const OLDEST: &str = "SELECT value FROM notes WHERE name = 'oldest_program'";
    let known: BTreeSet<i64> = migrator(conn.dialect()).iter().map(|migration| migration.version).collect();
    let applied = applied(conn).await?;
    let Some(migration) = applied.difference(&known).max().copied() else {
        return Ok(Schema::Known { due: known.difference(&applied).count() });
    };
    let rows = conn.fetch(OLDEST, args![]).await?;
    let oldest = rows.first().map(|row| row.parsed("value", |text| text.parse::<i64>().ok())).transpose()?;
    let suits = oldest.is_none_or(|oldest| known.last().is_some_and(|newest| oldest <= *newest));
    Ok(if suits { Schema::Newer { migration } } else { Schema::TooNew { migration } })
}

/// Runs what is due. Several nodes that start at once take turns.
pub(super) async fn migrate(conn: &mut Conn) -> Result<(), MigrateError> {
    let migrator = migrator(conn.dialect());
    match conn {
        Conn::Sqlite(conn) => migrator.run(conn).await,
        Conn::Postgres(conn) => migrator.run(&mut conn.conn).await,
    }
}

fn migrator(dialect: Dialect) -> &'static Migrator {
    match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
    }
}

async fn applied(conn: &mut Conn) -> DbResult<BTreeSet<i64>> {
    const IS_MIGRATED: Sql = Sql {
        sqlite: "SELECT name AS found FROM sqlite_master WHERE name = '_sqlx_migrations'",
        postgres: "SELECT relname::text AS found FROM pg_class \
                   WHERE relname = '_sqlx_migrations' AND relnamespace = current_schema()::regnamespace",
    };
    if conn.fetch(IS_MIGRATED, args![]).await?.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = conn.fetch("SELECT version FROM _sqlx_migrations WHERE success", args![]).await?;
    rows.iter().map(|row| row.get("version")).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// The folders as they are now and the migrations as they were embedded, so that a new file that the compiler did
    /// not notice is noticed here.
    #[test]
    fn both_databases_have_the_same_migrations() -> std::io::Result<()> {
        let named = |folder: &str| -> std::io::Result<Vec<String>> {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let mut names = std::fs::read_dir(folder)?
                .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
                .collect::<Result<Vec<_>, _>>()?;
            names.sort();
            Ok(names)
        };
        let embedded = |migrator: &Migrator| -> Vec<String> {
            migrator.iter().map(|it| format!("{:04}_{}.sql", it.version, it.description.replace(' ', "_"))).collect()
        };
        assert_eq!(named("sqlite")?, named("postgres")?);
        assert_eq!(named("sqlite")?, embedded(&SQLITE));
        assert_eq!(named("postgres")?, embedded(&POSTGRES));
        Ok(())
    }
}
