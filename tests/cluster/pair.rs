//! PostgreSQL: a primary and a streaming standby, and the two ways that lead to them.

use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, Row as _};

use super::forwarder::Forwarder;
use super::process;

const PATIENCE: Duration = Duration::from_secs(30);

/// The nodes' database.
pub const DATABASE: &str = "latchkey";

/// Both servers' own, beside the defaults.
const SETTINGS: &[u8] = b"max_connections = 200\nwal_retrieve_retry_interval = 200ms\n";

/// Where the server's programs are, and who runs them.
#[derive(Clone)]
pub struct Programs {
    folder: PathBuf,
    user: Option<String>,
}

impl Programs {
    /// As the tests are told.
    ///
    /// # Errors
    /// They are not named.
    pub fn named() -> anyhow::Result<Self> {
        let folder = std::env::var_os("LATCHKEY_TEST_PG_BINDIR")
            .context("LATCHKEY_TEST_PG_BINDIR is not set: name the folder that holds initdb and pg_ctl")?;
        let user = std::env::var("LATCHKEY_TEST_PG_USER").ok().filter(|user| !user.is_empty());
        Ok(Self { folder: folder.into(), user })
    }

    async fn run(&self, name: &str, place: &Path, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.folder.join(name));
        if let Some(user) = &self.user {
            let program = command.get_program().to_owned();
            command = Command::new("runuser");
            command.args(["-u", user, "--"]).arg(program);
        }
        let said = place.join(format!("{name}.out"));
        let output = File::create(&said)?;
        // Into a file: a pipe would be inherited by the server, and never end.
        command.stderr(output.try_clone()?).stdout(output).stdin(Stdio::null());
        command.args(arguments).current_dir(place);
        if !finish(command).await? {
            bail!("{name} {arguments:?}:\n{}", std::fs::read_to_string(said)?);
        }
        Ok(())
    }

    /// A folder of the server's own user.
    async fn folder(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(path)?;
        if let Some(user) = &self.user {
            let mut command = Command::new("chown");
            command.arg(user).arg(path);
            ensure!(finish(command).await?, "{} cannot be given to {user}", path.display());
        }
        Ok(())
    }
}

/// Runs a command to its end, and answers whether it went well.
pub async fn finish(mut command: Command) -> anyhow::Result<bool> {
    Ok(tokio::task::spawn_blocking(move || command.status()).await??.success())
}

/// Whether a commit waits for the standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Synchronous,
    Asynchronous,
}

/// One server.
struct Server {
    programs: Programs,
    folder: PathBuf,
    address: SocketAddr,
}

impl Server {
    fn new(programs: &Programs, folder: PathBuf) -> anyhow::Result<Self> {
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        Ok(Self { programs: programs.clone(), folder, address })
    }

    fn data(&self) -> String {
        self.folder.join("data").display().to_string()
    }

    async fn pg_ctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let data = self.data();
        let all: Vec<&str> = ["-s", "-w", "-D", &data].into_iter().chain(arguments.iter().copied()).collect();
        self.programs.run("pg_ctl", &self.folder, &all).await
    }

    async fn start(&self) -> anyhow::Result<()> {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={}",
            self.address.port(),
            self.folder.display()
        );
        let log = self.folder.join("log").display().to_string();
        self.pg_ctl(&["-o", &options, "-l", &log, "start"]).await
    }

    async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options = PgConnectOptions::new().host("127.0.0.1").port(self.address.port());
        Ok(options.username("postgres").database(database).disable_statement_logging().connect().await?)
    }

    /// Its first process and its piece of shared memory, while it runs.
    fn running(&self) -> Option<(u32, String)> {
        let file = std::fs::read_to_string(self.pid_file()).ok()?;
        let mut lines = file.lines();
        let postmaster = lines.next()?.parse().ok()?;
        let memory = lines.nth(5)?.split_whitespace().nth(1)?;
        Some((postmaster, memory.to_owned()))
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("data/postmaster.pid")
    }

    fn kill(&self) -> anyhow::Result<()> {
        let (postmaster, memory) = self.running().context("the server does not run")?;
        process::kill_family(postmaster)?;
        // Nobody will start it again, who would find both and clear them away.
        std::fs::remove_file(self.pid_file())?;
        Command::new("ipcrm").args(["-m", &memory]).stderr(Stdio::null()).status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some((postmaster, _)) = self.running() else { return };
        let began = Instant::now();
        process::signal(postmaster, Signal::QUIT);
        while self.pid_file().exists() && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

pub struct Pair {
    primary: Server,
    standby: Option<Server>,
    /// The way of the nodes.
    pub door: Forwarder,
    /// The way of the standby to the primary.
    pub link: Forwarder,
    /// Goes last: the servers live in it.
    folder: tempfile::TempDir,
}

impl Pair {
    pub async fn start(programs: &Programs, mode: Mode) -> anyhow::Result<Self> {
        // Short: the path of a Unix socket may have 107 bytes.
        let folder = tempfile::Builder::new().prefix("latchkey-pair.").tempdir()?;
        programs.folder(folder.path()).await?;
        let primary = Server::new(programs, folder.path().join("a"))?;
        programs.folder(&primary.folder).await?;
        let data = primary.data();
        let initdb = ["-D", &data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        programs.run("initdb", &primary.folder, &initdb).await?;
        let mut file = File::options().append(true).open(primary.folder.join("data/postgresql.conf"))?;
        file.write_all(SETTINGS)?;
        primary.start().await?;
        let mut conn = primary.connect("postgres").await?;
        conn.execute(AssertSqlSafe(format!("CREATE DATABASE {DATABASE}"))).await?;

        let (door, link) = (Forwarder::start().await?, Forwarder::start().await?);
        door.point_at(Some(primary.address));
        link.point_at(Some(primary.address));
        let standby = Server::new(programs, folder.path().join("b"))?;
        programs.folder(&standby.folder).await?;
        let (data, port) = (standby.data(), link.address.port().to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        let how = ["-D", &data, "-R", "-X", "stream", "-C", "-S", "standby", "-c", "fast", "--no-sync"];
        let arguments: Vec<&str> = from.into_iter().chain(how).collect();
        programs.run("pg_basebackup", &standby.folder, &arguments).await?;
        standby.start().await?;
        if mode == Mode::Synchronous {
            // The standby's copy of the settings knows nothing of this, so it will not wait for another.
            conn.execute("ALTER SYSTEM SET synchronous_standby_names = '*'").await?;
            conn.execute("SELECT pg_reload_conf()").await?;
        }
        let pair = Self { primary, standby: Some(standby), door, link, folder };
        pair.until_streaming(mode).await?;
        Ok(pair)
    }

    async fn until_streaming(&self, mode: Mode) -> anyhow::Result<()> {
        let began = Instant::now();
        let state = match mode {
            Mode::Synchronous => "sync",
            Mode::Asynchronous => "async",
        };
        let mut conn = self.primary.connect("postgres").await?;
        loop {
            const STATES: &str = "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = $1";
            if sqlx::query(STATES).bind(state).fetch_optional(&mut conn).await?.is_some() {
                return Ok(());
            }
            ensure!(began.elapsed() < PATIENCE, "the standby does not follow:\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the nodes are told.
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/{DATABASE}", self.door.address)
    }

    /// A superuser's connection to the database that the nodes use, beside their way to it.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        self.primary.connect(DATABASE).await
    }

    /// How many audit events of a type there are.
    pub async fn audited(&self, what: &str) -> anyhow::Result<i64> {
        const COUNT: &str = "SELECT count(*) FROM audit WHERE type = $1";
        Ok(sqlx::query_scalar(COUNT).bind(what).fetch_one(&mut self.connect().await?).await?)
    }

    /// Stops the primary in a way of `pg_ctl`, and starts it again.
    pub async fn restart(&self, how: &str) -> anyhow::Result<()> {
        self.primary.pg_ctl(&["-m", how, "restart"]).await
    }

    /// The primary and all its processes are gone at once, and so are the connections to it.
    pub fn kill_primary(&self) -> anyhow::Result<()> {
        self.primary.kill()
    }

    /// Makes the standby the primary, and answers how long ago the last commit was that it has, at the most.
    pub async fn promote(&mut self) -> anyhow::Result<Duration> {
        let standby = self.standby.take().context("there is no standby any more")?;
        standby.pg_ctl(&["promote"]).await?;
        const AGE: &str =
            "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS age";
        let asked = Instant::now();
        let row = standby.connect("postgres").await?.fetch_one(AGE).await?;
        let age: f64 = row.try_get("age")?;
        self.door.point_at(Some(standby.address));
        self.primary = standby;
        Ok(asked.elapsed() + Duration::from_secs_f64(age.max(0.0)))
    }

    /// The ends of both logs.
    pub fn logs(&self) -> String {
        ["a", "b"].map(|which| last_lines(&self.folder.path().join(which).join("log"))).join("\n")
    }
}

pub fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].iter();
    last.map(|line| line.chars().take(300).collect::<String>()).collect::<Vec<_>>().join("\n")
}
