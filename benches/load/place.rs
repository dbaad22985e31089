//! Where a service lives while it is measured: its database, its keys, its clients and its user.
//!
//! Everything is the default but the port, the places of files, and what a benchmark cannot do without: two clients,
//! one for each algorithm, with secrets as Latchkey draws them, and a user.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, ensure};
use latchkey::app::{App, Sources};
use latchkey::config::{DatabaseUrl, Settings};
use latchkey::credentials::secrets;
use latchkey::domain::audit::{Actor, AuditType};
use latchkey::domain::client::{Client, ClientSecret};
use latchkey::domain::ids::ClientId;
use latchkey::domain::key::Alg;
use latchkey::domain::sources::SystemEntropy;
use latchkey::keys::Snapshot;
use latchkey::storage::{ChangeOutcome, ClientEffects};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;

use super::goals::Store;
use super::process;

/// The user.
pub const USERNAME: &str = "alice";
pub const PASSWORD: &str = "the password of a benchmark alone";

pub struct Place {
    folder: TempDir,
    pub store: Store,
    /// Fixed for all starts, so that the issuer stays.
    pub address: SocketAddr,
    pub url: String,
    /// A superuser's URL of the server that the database is dropped on.
    admin: Option<String>,
    /// PostgreSQL's first process, where it runs on this machine.
    pub postmaster: Option<u32>,
    pub clients: Clients,
    /// The keys of the service, opened: what signs, and what refresh tokens are made with.
    pub keys: Arc<Snapshot>,
}

/// The clients, by what their access tokens are signed with.
pub struct Clients {
    pub es256: Registered,
    pub rs256: Registered,
}

#[derive(Clone)]
pub struct Registered {
    pub id: &'static str,
    pub secret: String,
}

impl Clients {
    pub fn of(&self, alg: Alg) -> &Registered {
        match alg {
            Alg::ES256 => &self.es256,
            Alg::RS256 => &self.rs256,
        }
    }
}

/// Below the build's folder: a disk as the service would have, where `/tmp` may be memory.
pub fn folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// On loopback, with a port that nobody listens on.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Place {
    /// On a SQLite file of its own.
    pub async fn sqlite() -> anyhow::Result<Self> {
        let folder = folder()?;
        let url = format!("sqlite://{}", folder.path().join("bench.db").display());
        Self::settle(folder, url, None).await
    }

    /// On a database of its own, on the server that a superuser's URL names.
    pub async fn postgres(admin: &str) -> anyhow::Result<Self> {
        let url = create_database(admin, "load").await?;
        let postmaster = postmaster(admin).await?;
        let mut place = Self::settle(folder()?, url, Some(admin.to_owned())).await?;
        place.postmaster = postmaster;
        Ok(place)
    }

    async fn settle(folder: TempDir, url: String, admin: Option<String>) -> anyhow::Result<Self> {
        let store = if admin.is_some() { Store::Postgres } else { Store::Sqlite };
        let address = free_address()?;
        let app = App::start(settings(folder.path(), &url, address)?, Sources::default()).await?;
        let furnished = furnish(&app).await;
        let keys = app.context.replica.keys();
        app.stop().await;
        Ok(Self { folder, store, address, url, admin, postmaster: None, clients: furnished?, keys })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn key_directory(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(admin) = &self.admin {
            drop_database(admin, &self.url);
        }
    }
}

fn settings(folder: &Path, url: &str, address: SocketAddr) -> anyhow::Result<Settings> {
    let client = |id: &str, alg: &str| {
        json!({ "client_id": id, "client_name": id, "scope": "openid profile read",
                "client_secret": "replaced before the first request is made",
                "access_token_signed_response_alg": alg,
                "token_endpoint_auth_method": "client_secret_basic",
                "grant_types": ["client_credentials", "password", "refresh_token"] })
    };
    let user = json!({ "username": USERNAME, "password": PASSWORD });
    let file = folder.join("bootstrap.json");
    let clients = [client("bench-es256", "ES256"), client("bench-rs256", "RS256")];
    std::fs::write(&file, json!({ "clients": clients, "users": [user] }).to_string())?;
    let mut settings = Settings::default();
    settings.server.listen = address;
    settings.server.issuer = format!("http://{address}");
    settings.database.url = DatabaseUrl::parse(url).map_err(anyhow::Error::msg)?;
    settings.keys.directory = folder.join("keys");
    settings.bootstrap.file = Some(file);
    Ok(settings)
}

/// Gives the clients secrets as Latchkey draws them.
async fn furnish(app: &App) -> anyhow::Result<Clients> {
    let mut registered = Vec::new();
    for id in ["bench-es256", "bench-rs256"] {
        let context = &app.context;
        let client = context.store.client(&ClientId::new(id)).await?.context("the client was not made")?;
        let secret = secrets::draw(&SystemEntropy);
        let drawn = ClientSecret { hash: secrets::hash_drawn(&secret), created_at: context.now(), expires_at: None };
        let effects = ClientEffects {
            revoke_tokens_before: None,
            now: context.now(),
            horizon: context.horizon(),
            audit: context.audit(AuditType::ClientSecretRotated, Actor::system()).about_client(&client.client_id),
        };
        let next = Client { secrets: vec![drawn], updated_at: context.now(), ..client };
        ensure!(context.store.change_client(next, effects).await? == ChangeOutcome::Changed, "{id} was not changed");
        registered.push(Registered { id, secret: secret.expose().to_owned() });
    }
    let mut registered = registered.into_iter();
    let mut next = || registered.next().context("a client is missing");
    Ok(Clients { es256: next()?, rs256: next()? })
}

/// The parent of the server's processes; `None` where they are on another machine.
async fn postmaster(admin: &str) -> anyhow::Result<Option<u32>> {
    let mut conn = PgConnection::connect(admin).await.context("PostgreSQL does not answer")?;
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut conn).await?;
    let parent = process::parent_of(u32::try_from(pid)?, "postgres").ok();
    conn.close().await?;
    Ok(parent)
}

/// A new database, and its URL.
pub async fn create_database(admin: &str, what: &str) -> anyhow::Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("latchkey_bench_{what}_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let (server, _) = admin.rsplit_once('/').context("the URL of PostgreSQL names no database")?;
    let mut conn = PgConnection::connect(admin).await.context("PostgreSQL does not answer")?;
    conn.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
    conn.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await?;
    conn.close().await?;
    Ok(format!("{server}/{name}"))
}

/// Drops a database of [`create_database`].
pub fn drop_database(admin: &str, url: &str) {
    let name = url.rsplit('/').next().unwrap_or_default();
    let (admin, drop) = (admin.to_owned(), format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    // The caller's own runtime cannot be waited for from within it.
    let dropping = std::thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            if let Ok(mut conn) = PgConnection::connect(&admin).await {
                // Left behind, it is seen in the server's list.
                let _ = conn.execute(AssertSqlSafe(drop)).await;
            }
        });
    });
    let _ = dropping.join();
}
