//! Throw-away PostgreSQL databases: one per test, dropped with it.
//!
//! `LATCHKEY_TEST_POSTGRES` names a server and a superuser (`postgres://superuser@127.0.0.1:5432/postgres`). Without it
//! the tests that need one say that they were skipped.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// A database of this test alone.
pub struct PgDatabase {
    admin: String,
    name: String,
}

impl PgDatabase {
    /// `None`, with a word on standard error, where no server was named.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not run")]
    pub async fn create() -> Option<Self> {
        let Ok(admin) = std::env::var("LATCHKEY_TEST_POSTGRES") else {
            eprintln!("skipped: PostgreSQL (LATCHKEY_TEST_POSTGRES is not set)");
            return None;
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("latchkey_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut conn = PgConnection::connect(&admin).await.expect("LATCHKEY_TEST_POSTGRES names a running server");
        conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await.unwrap();
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        conn.close().await.unwrap();
        Some(Self { admin, name })
    }

    pub fn url(&self) -> String {
        let (server, _) = self.admin.rsplit_once('/').expect("the URL names a database");
        format!("{server}/{}", self.name)
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }

    /// Cuts every connection to it, as a restarted server does.
    pub async fn cut_connections(&self) {
        let mut conn = PgConnection::connect(&self.admin).await.unwrap();
        sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
            .bind(&self.name)
            .execute(&mut conn)
            .await
            .unwrap();
    }

    /// Cuts every connection to it and admits no other, as a stopped server does.
    pub async fn stop(&self) {
        let mut conn = PgConnection::connect(&self.admin).await.unwrap();
        conn.execute(AssertSqlSafe(format!("ALTER DATABASE {} ALLOW_CONNECTIONS false", self.name))).await.unwrap();
        self.cut_connections().await;
    }

    pub async fn start(&self) {
        let mut conn = PgConnection::connect(&self.admin).await.unwrap();
        conn.execute(AssertSqlSafe(format!("ALTER DATABASE {} ALLOW_CONNECTIONS true", self.name))).await.unwrap();
    }
}

impl Drop for PgDatabase {
    fn drop(&mut self) {
        let (admin, drop) = (self.admin.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // A test's own runtime cannot be waited for from within it.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut conn) = PgConnection::connect(&admin).await {
                    let _ = conn.execute(AssertSqlSafe(drop)).await;
                }
            });
        });
        let _ = dropping.join();
    }
}
