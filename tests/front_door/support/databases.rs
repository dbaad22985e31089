//! Databases of the test's own: a file, a database on the given PostgreSQL, or a whole PostgreSQL to stop and start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

pub enum Database {
    Sqlite(tempfile::TempDir),
    Postgres { url: String },
}

impl Database {
    pub fn sqlite() -> Self {
        Self::Sqlite(tempfile::tempdir().unwrap())
    }

    /// SQLite, and PostgreSQL where there is one.
    pub async fn each() -> Vec<Self> {
        let mut all = vec![Self::sqlite()];
        match std::env::var("LATCHKEY_TEST_POSTGRES") {
            Ok(server) => all.push(Self::postgres(&server).await),
            Err(_) => println!("skipped: PostgreSQL (LATCHKEY_TEST_POSTGRES is not set)"),
        }
        all
    }

    /// A new database on that server; `server` names a superuser's.
    pub async fn postgres(server: &str) -> Self {
        let unique: [u8; 8] = latchkey::domain::sources::random(&latchkey::domain::sources::SystemEntropy);
        let name = format!("front_door_{:016x}", u64::from_be_bytes(unique));
        let mut connection = PgConnection::connect(server).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        let (base, _) = server.rsplit_once('/').unwrap();
        Self::Postgres { url: format!("{base}/{name}") }
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(_) => format!("sqlite://{}", self.file().unwrap().display()),
            Self::Postgres { url } => url.clone(),
        }
    }

    /// The database file, where it is one.
    pub fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Sqlite(folder) => Some(folder.path().join("latchkey.db")),
            Self::Postgres { .. } => None,
        }
    }

    /// Everything the database holds, as bytes: the files of SQLite, or a dump.
    pub fn dump(&self) -> Vec<u8> {
        match self {
            Self::Sqlite(folder) => {
                let mut all = Vec::new();
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    all.extend(std::fs::read(entry.unwrap().path()).unwrap());
                }
                all
            }
            Self::Postgres { url } => {
                let dump = tool("pg_dump").arg("--inserts").arg(url).output().unwrap();
                assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
                dump.stdout
            }
        }
    }

    /// Keeps a copy of what the database holds now. The service must be stopped.
    pub fn copy(&self) -> Copy {
        match self {
            Self::Sqlite(_) => Copy::File(std::fs::read(self.file().unwrap()).unwrap()),
            Self::Postgres { .. } => Copy::Script(self.dump()),
        }
    }

    /// Puts an older copy back. The service must be stopped.
    pub fn restore(&self, copy: &Copy) {
        match (self, copy) {
            (Self::Sqlite(_), Copy::File(bytes)) => {
                let file = self.file().unwrap();
                for ending in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
                }
                std::fs::write(file, bytes).unwrap();
            }
            (Self::Postgres { url }, Copy::Script(script)) => {
                psql(url, b"DROP SCHEMA public CASCADE; CREATE SCHEMA public;");
                psql(url, script);
            }
            _ => panic!("a copy of another kind of database"),
        }
    }
}

pub enum Copy {
    File(Vec<u8>),
    Script(Vec<u8>),
}

fn psql(url: &str, script: &[u8]) {
    use std::io::Write as _;
    let mut child = tool("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", url])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script).unwrap();
    assert!(child.wait().unwrap().success());
}

fn tool(name: &str) -> Command {
    match std::env::var("LATCHKEY_TEST_PG_BINDIR") {
        Ok(folder) => Command::new(Path::new(&folder).join(name)),
        Err(_) => Command::new(name),
    }
}

/// A PostgreSQL server of the test's own, to stop and to start again.
pub struct Cluster {
    folder: tempfile::TempDir,
    port: u16,
}

impl Cluster {
    /// `None`, said aloud, where the server binaries are not named.
    pub fn start() -> Option<Self> {
        if std::env::var("LATCHKEY_TEST_PG_BINDIR").is_err() {
            println!("skipped: PostgreSQL of its own (LATCHKEY_TEST_PG_BINDIR is not set)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, port };
        if let Some(user) = pg_user() {
            assert!(Command::new("chown").arg(user).arg(cluster.folder.path()).status().unwrap().success());
        }
        cluster.run("initdb", &["-D", &cluster.data(), "-U", "postgres", "-A", "trust"]);
        cluster.start_again();
        Some(cluster)
    }

    pub async fn database(&self) -> Database {
        Database::postgres(&format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)).await
    }

    pub fn stop(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    pub fn start_again(&self) {
        let options = format!("-p {} -h 127.0.0.1 -k {}", self.port, self.folder.path().display());
        let log = format!("{}/log", self.folder.path().display());
        self.run("pg_ctl", &["-D", &self.data(), "-o", &options, "-l", &log, "-w", "start"]);
    }

    /// The server answers, and takes no changes.
    pub fn start_as_standby(&self) {
        let signal = self.folder.path().join("data/standby.signal");
        std::fs::write(&signal, "").unwrap();
        if let Some(user) = pg_user() {
            assert!(Command::new("chown").arg(user).arg(&signal).status().unwrap().success());
        }
        self.start_again();
    }

    pub fn promote(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-w", "promote"]);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn run(&self, name: &str, args: &[&str]) {
        let program = tool(name);
        let mut command = match pg_user() {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", &user, "--"]).arg(program.get_program());
                command
            }
            None => program,
        };
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status().unwrap();
        assert!(status.success(), "{name} {args:?}: {status}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let running = self.folder.path().join("data/postmaster.pid").exists();
        if running && !std::thread::panicking() {
            self.stop();
        } else if running {
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.stop()));
        }
    }
}

/// The account that runs the server binaries, where the test runs as root.
fn pg_user() -> Option<String> {
    std::env::var("LATCHKEY_TEST_PG_USER").ok().filter(|user| !user.is_empty())
}
