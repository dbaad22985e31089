//! Behind PgBouncer in its mode `transaction`: what a connection was told is not there at its next transaction.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use latchkey::config::DatabaseUrl;

use crate::support::{Database, Server, block_on};

/// A PgBouncer of the test's own. It refuses to run as root.
struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// In front of the server that the URL names, whose database it passes on under the same name.
    async fn start(program: &str, database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (server, _) = database.strip_prefix("postgres://postgres@").unwrap().split_once('/').unwrap();
        let (host, server_port) = server.split_once(':').unwrap();
        let settings = folder.path().join("pgbouncer.ini");
        // Fewer connections than are wanted at once, so that they go from hand to hand.
        let text = format!(
            "[databases]\n* = host={host} port={server_port} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n"
        );
        std::fs::write(&settings, text).unwrap();
        let mut command = match std::env::var("LATCHKEY_TEST_PG_USER").ok().filter(|user| !user.is_empty()) {
            Some(user) => {
                assert!(Command::new("chown").args(["-R", &user]).arg(folder.path()).status().unwrap().success());
                let mut command = Command::new("setpriv");
                command.args([&format!("--reuid={user}"), "--regid=nogroup", "--clear-groups", program]);
                command
            }
            None => Command::new(program),
        };
        let child = command.arg("-q").arg(&settings).stdin(Stdio::null()).spawn().unwrap();
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Self { child, port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn everything_goes_through_a_pooler_but_migrations() {
    let (Ok(postgres), Ok(pgbouncer)) =
        (std::env::var("LATCHKEY_TEST_POSTGRES"), std::env::var("LATCHKEY_TEST_PGBOUNCER"))
    else {
        println!("skipped: PgBouncer (LATCHKEY_TEST_PGBOUNCER or LATCHKEY_TEST_POSTGRES is not set)");
        return;
    };
    block_on(async {
        let database = Database::postgres(&postgres).await;
        let url = database.url();
        let pooler = Pooler::start(&pgbouncer, &url).await;
        let name = url.rsplit_once('/').unwrap().1;
        let pooled = format!("postgres://postgres@127.0.0.1:{}/{name}?pooler=transaction", pooler.port);
        let pooled = DatabaseUrl::parse(&pooled).unwrap();

        let mut fresh = latchkey::config::Settings::default();
        fresh.database.url = pooled.clone();
        let refused = latchkey::storage::migrate(fresh.database.url.expose()).await.unwrap_err().to_string();
        assert!(refused.contains("none runs through a pooler; run `latchkey migrate`"), "{refused}");
        latchkey::storage::migrate(&url).await.unwrap();

        let server = Server::start_with(database, |settings| settings.database.url = pooled.clone()).await;
        let app = server.web_app().await;
        let logins = server.at_once(12, async |server| server.login(&app).await).await;
        server
            .at_once(1, async |_| {
                for login in &logins {
                    assert!(server.is_active(&app, &login.access()).await);
                }
            })
            .await;
        let next = std::sync::atomic::AtomicUsize::new(0);
        let renewed = server
            .at_once(12, async |server| {
                let login = &logins[next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)];
                let mut newest = server.refresh(&app, &login.refresh()).await;
                newest.is(200);
                for _ in 0..10 {
                    newest = server.refresh(&app, &newest.refresh()).await;
                    newest.is(200);
                }
                newest
            })
            .await;
        server.revoke(&app, &renewed[0].refresh()).await.is(200);
        assert!(!server.is_active(&app, &renewed[0].access()).await);
        server.tick_keys().await;
        let other = server.another_node().await;
        assert!(!other.is_active(&app, &renewed[0].access()).await, "it polls");
        assert!(other.is_active(&app, &renewed[1].access()).await);
    });
}
