//! A Latchkey of the test's own: its database, its clock, its socket, and what people say to it.

pub mod assertions;
pub mod browser;
#[path = "../../support/certificates.rs"]
pub mod certificates;
pub mod databases;
pub mod forge;
pub mod log;
pub mod people;
mod reply;
pub mod victim;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use latchkey::app::{App, Sources};
use latchkey::config::{DatabaseUrl, Settings};
use latchkey::domain::meter::Meter;
use latchkey::domain::secret::SecretText;
use latchkey::domain::sources::{Clock as _, ManualClock};
use latchkey::domain::time::Timestamp;
use latchkey::http::tls::Tls;
use latchkey::http::{self, Doors};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

pub use databases::{Cluster, Database};
pub use people::Registered;
pub use reply::Reply;

pub const ADMIN_SECRET: &str = "the-administrator-secret-of-these-tests";
pub const PASSWORD: &str = "correct horse battery staple";

/// A running service. Jobs do not run: the test moves time and calls the steps it wants.
pub struct Server {
    pub app: Arc<App>,
    pub clock: Arc<ManualClock>,
    pub url: String,
    pub http: reqwest::Client,
    /// Where the settings name a certificate. Its files are not followed: the test does.
    pub tls: Option<Arc<Tls>>,
    database: Arc<Database>,
    keys: Arc<tempfile::TempDir>,
    settings: Settings,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<tokio::task::JoinHandle<()>>,
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Runs the test on SQLite, and on PostgreSQL where `LATCHKEY_TEST_POSTGRES` names a server.
pub fn on_each_database(test: impl AsyncFn(Server)) {
    on_each_database_with(|_| {}, test);
}

/// The same, with settings of the test's own.
pub fn on_each_database_with(change: impl Fn(&mut Settings), test: impl AsyncFn(Server)) {
    block_on(async {
        for database in Database::each().await {
            println!("on {}", database.name());
            test(Server::start_with(database, &change).await).await;
        }
    });
}

/// Runs the test on two nodes of one service, where `LATCHKEY_TEST_POSTGRES` names a server.
pub fn on_two_nodes(change: impl Fn(&mut Settings), test: impl AsyncFn([Server; 2])) {
    block_on(async {
        for database in Database::each().await.into_iter().filter(|it| it.file().is_none()) {
            let one = Server::start_with(database, &change).await;
            let other = one.node_beside().await;
            test([one, other]).await;
        }
    });
}

/// Settings as an operator writes them.
pub fn configured(toml: &str) -> Settings {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    latchkey::config::load(Some(file.path()), []).unwrap_or_else(|faults| panic!("{faults}")).settings
}

impl Server {
    pub async fn sqlite() -> Self {
        Self::start_with(Database::sqlite(), |_| {}).await
    }

    pub async fn on_cluster(cluster: &Cluster) -> Self {
        Self::start_with(cluster.database().await, |_| {}).await
    }

    pub async fn start_with(database: Database, change: impl Fn(&mut Settings)) -> Self {
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(1_800_000_000)));
        clock.advance(Duration::from_secs(1));
        let keys = Arc::new(tempfile::tempdir().unwrap());
        let mut settings = Settings::default();
        settings.database.url = DatabaseUrl::parse(&database.url()).unwrap();
        settings.keys.directory = keys.path().to_owned();
        settings.bootstrap.admin_secret = Some(SecretText::new(ADMIN_SECRET));
        settings.passwords.memory_kib = 8 << 10;
        settings.passwords.iterations = 1;
        change(&mut settings);
        Self::run(Arc::new(database), keys, settings, clock, None).await
    }

    /// A service on somebody else's database and keys, that meets its end through `meter`.
    pub async fn victim(mut settings: Settings, database: &str, keys: &str, meter: Arc<dyn Meter>) -> Self {
        settings.database.url = DatabaseUrl::parse(database).unwrap();
        settings.keys.directory = keys.into();
        let clock = Arc::new(ManualClock::starting_at(Timestamp::from_seconds(1_800_000_001)));
        // The folders here are nobody's: what counts is in the settings.
        let (database, keys) = (Arc::new(Database::sqlite()), Arc::new(tempfile::tempdir().unwrap()));
        Self::run(database, keys, settings, clock, Some(meter)).await
    }

    /// Another node of the same service, with a clock of its own that began with the same time. Not on SQLite, which has one.
    pub async fn another_node(&self) -> Self {
        let clock = Arc::new(ManualClock::starting_at(self.clock.now()));
        clock.advance(Duration::from_secs(1));
        self.node_under(clock).await
    }

    /// Another node under the same clock.
    pub async fn node_beside(&self) -> Self {
        self.node_under(Arc::clone(&self.clock)).await
    }

    async fn node_under(&self, clock: Arc<ManualClock>) -> Self {
        let (database, keys) = (Arc::clone(&self.database), Arc::clone(&self.keys));
        Self::run(database, keys, self.settings.clone(), clock, None).await
    }

    async fn run(
        database: Arc<Database>,
        keys: Arc<tempfile::TempDir>,
        mut settings: Settings,
        clock: Arc<ManualClock>,
        meter: Option<Arc<dyn Meter>>,
    ) -> Self {
        log::keep();
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        settings.server.listen = listener.local_addr().unwrap();
        let tls = Tls::open(&settings.server.tls).unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        if settings.server.issuer == Settings::default().server.issuer {
            settings.server.issuer = format!("{scheme}://127.0.0.1:8420");
        }
        let url = format!("{scheme}://{}", settings.server.listen);
        let mut sources = Sources { clock: Arc::clone(&clock) as _, ..Sources::default() };
        if let Some(meter) = meter {
            sources.meter = Some(meter);
        }
        let app = App::start(settings.clone(), sources).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let doors = Doors { tls: tls.clone(), ..Doors::plain(listener) };
        let serving = tokio::spawn(http::serve(Arc::clone(&app), doors, async {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { app, clock, url, http, tls, database, keys, settings, stop: Some(stop), serving: Some(serving) }
    }

    /// Stops the service and starts it again on the same database, keys and clock.
    pub async fn restart(self) -> Self {
        self.restart_after(|_| {}).await
    }

    /// The same, with something done to the database file in between.
    pub async fn restart_after(mut self, meanwhile: impl FnOnce(&Database)) -> Self {
        if self.stop.is_some() {
            self.halt().await;
        }
        meanwhile(&self.database);
        let (database, keys, clock) = (Arc::clone(&self.database), Arc::clone(&self.keys), Arc::clone(&self.clock));
        Self::run(database, keys, self.settings.clone(), clock, None).await
    }

    /// The same, with other settings.
    pub async fn restart_with(mut self, change: impl Fn(&mut Settings)) -> Self {
        change(&mut self.settings);
        self.restart().await
    }

    /// Rotates the master key, as an operator does with the service stopped, and starts it on the new one alone.
    pub async fn rotate_master_key(mut self) -> Self {
        self.halt().await;
        let rotated = latchkey::app::rotate_master(self.settings.clone()).await.unwrap();
        std::fs::remove_file(rotated.previous.unwrap()).unwrap();
        self.restart().await
    }

    /// What a start on the same database and keys says that must not succeed. The service must be stopped.
    pub async fn start_error(&self) -> String {
        let sources = Sources { clock: Arc::clone(&self.clock) as _, ..Sources::default() };
        match App::start(self.settings.clone(), sources).await {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    }

    /// Drains and closes; the database file is then whole.
    pub async fn halt(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
        self.app.stop().await;
    }

    pub fn database(&self) -> &Database {
        &self.database
    }

    /// The time of the test, Unix seconds.
    pub fn clock_seconds(&self) -> i64 {
        self.clock.now().seconds()
    }

    pub fn keys_directory(&self) -> &std::path::Path {
        self.keys.path()
    }

    /// One turn of the key job.
    pub async fn tick_keys(&self) {
        latchkey::jobs::move_keys(Arc::clone(&self.app)).await.unwrap();
    }

    /// Many of the same at once.
    pub async fn at_once<T>(&self, many: usize, one: impl AsyncFn(&Self) -> T) -> Vec<T> {
        let mut running: Vec<_> = (0..many).map(|_| Box::pin(one(self))).collect();
        let mut answers: Vec<Option<T>> = (0..many).map(|_| None).collect();
        std::future::poll_fn(|cx| {
            let mut waiting = false;
            for (future, answer) in running.iter_mut().zip(&mut answers) {
                if answer.is_none() {
                    match future.as_mut().poll(cx) {
                        std::task::Poll::Ready(value) => *answer = Some(value),
                        std::task::Poll::Pending => waiting = true,
                    }
                }
            }
            if waiting { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        answers.into_iter().flatten().collect()
    }
}
