//! Three nodes of one service, as an operator starts them: one issuer, one database, one master key.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use serde_json::json;

use super::pair::last_lines;
use super::process;

pub const NODES: usize = 3;
pub const USERS: usize = 24;
pub const PASSWORD: &str = "the password of a cluster alone";
/// Logs users in, and renews their sessions.
pub const WEB: (&str, &str) = ("web", "the-secret-of-the-web-application-alone");
/// Asks whether tokens are active.
pub const API: (&str, &str) = ("api", "the-secret-of-the-resource-server-alone");
/// The same, with tokens of the other algorithm.
pub const API_RS256: (&str, &str) = ("api-rs256", "the-secret-of-the-other-resource-server");
pub const ADMIN: (&str, &str) = ("latchkey-admin", "the-secret-of-the-administrator-alone");

const PATIENCE: Duration = Duration::from_secs(60);

pub fn username(user: usize) -> String {
    format!("user-{user}")
}

pub struct Nodes {
    folder: tempfile::TempDir,
    database: String,
    addresses: [SocketAddr; NODES],
    running: [Option<Child>; NODES],
    /// Another version, where nodes are of two.
    beside: Option<PathBuf>,
    /// Which of them run that one, or would.
    runs_beside: [bool; NODES],
    settings: Vec<(&'static str, String)>,
    clocks: Clocks,
}

impl Nodes {
    /// Starts all of them at once on an empty database. The first runs `beside`, where there is such a program.
    pub async fn start(
        database: String,
        settings: &[(&'static str, &str)],
        beside: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("latchkey-nodes.").tempdir()?;
        std::fs::write(folder.path().join("bootstrap.json"), bootstrap())?;
        let clocks = Clocks::make(folder.path()).await?;
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let addresses = [free_address()?, free_address()?, free_address()?];
        let mut nodes = Self {
            folder,
            database,
            addresses,
            running: [None, None, None],
            beside: beside.map(Path::to_owned),
            runs_beside: [true, false, false],
            settings,
            clocks,
        };
        for node in 0..NODES {
            nodes.spawn(node)?;
        }
        nodes.until_ready().await?;
        Ok(nodes)
    }

    pub fn urls(&self) -> [String; NODES] {
        self.addresses.map(|address| format!("http://{address}"))
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.addresses[0])
    }

    fn log(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{node}.log"))
    }

    pub fn spawn(&mut self, node: usize) -> anyhow::Result<()> {
        let log = File::options().append(true).create(true).open(self.log(node))?;
        let mut command = Command::new(self.program(node));
        command.arg("serve").current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // What the shell around has set is not the default.
        for (name, _) in std::env::vars_os() {
            if name == "RUST_LOG" || name.to_string_lossy().starts_with("LATCHKEY") {
                command.env_remove(name);
            }
        }
        command
            .env("LATCHKEY__SERVER__LISTEN", self.addresses[node].to_string())
            .env("LATCHKEY__SERVER__ISSUER", self.issuer())
            .env("LATCHKEY__DATABASE__URL", &self.database)
            .env("LATCHKEY__KEYS__DIRECTORY", self.folder.path().join("keys"))
            .env("LATCHKEY__BOOTSTRAP__FILE", self.folder.path().join("bootstrap.json"))
            .env("LATCHKEY__BOOTSTRAP__ADMIN_SECRET", ADMIN.1)
            // Logins are there to open sessions, not to warm the machine.
            .env("LATCHKEY__PASSWORDS__MEMORY", "8MiB")
            .env("LATCHKEY__PASSWORDS__ITERATIONS", "1")
            .envs(self.settings.iter().map(|(name, value)| (*name, value.as_str())));
        self.clocks.impose(node, &mut command);
        self.running[node] = Some(command.spawn()?);
        Ok(())
    }

    fn program(&self, node: usize) -> &Path {
        match &self.beside {
            Some(program) if self.runs_beside[node] => program,
            _ => Path::new(env!("CARGO_BIN_EXE_latchkey")),
        }
    }

    /// What a node runs from its next start on.
    pub fn change_version(&mut self, node: usize) {
        self.runs_beside[node] = !self.runs_beside[node];
    }

    /// Waits until each of them can issue tokens.
    pub async fn until_ready(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?;
        for node in 0..NODES {
            let url = format!("http://{}/health/ready", self.addresses[node]);
            while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                let child = self.running[node].as_mut().context("a node is not running")?;
                if let Some(status) = child.try_wait()? {
                    bail!("node {node} ended with {status}; its log:\n{}", last_lines(&self.log(node)));
                }
                ensure!(began.elapsed() < PATIENCE, "node {node} is not ready:\n{}", last_lines(&self.log(node)));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    pub fn signal(&self, node: usize, which: Signal) {
        if let Some(child) = &self.running[node] {
            process::signal(child.id(), which);
        }
    }

    pub fn kill(&mut self, node: usize) -> anyhow::Result<()> {
        let mut child = self.running[node].take().context("a node is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops it as an operator does.
    pub async fn stop(&mut self, node: usize) -> anyhow::Result<()> {
        self.signal(node, Signal::TERM);
        let mut child = self.running[node].take().context("a node is not running")?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        ensure!(status.success(), "node {node} ended with {status}; its log:\n{}", last_lines(&self.log(node)));
        Ok(())
    }

    /// Moves the wall clock of a node.
    pub fn set_clock(&self, node: usize, seconds: i64) -> anyhow::Result<()> {
        self.clocks.set(node, seconds)
    }

    /// The ends of their logs.
    pub fn logs(&self) -> String {
        (0..NODES).map(|node| format!("node {node}:\n{}\n", last_lines(&self.log(node)))).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in self.running.iter_mut().flatten() {
            // One that has ended by itself cannot be ended again.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn bootstrap() -> String {
    let client = |(id, secret): (&str, &str), alg: &str, grants: &[&str]| {
        json!({ "client_id": id, "client_name": id, "client_secret": secret, "scope": "read", "audience": ["api"],
                "token_endpoint_auth_method": "client_secret_basic", "grant_types": grants,
                "access_token_signed_response_alg": alg })
    };
    let own = ["client_credentials"];
    let clients = [
        client(WEB, "ES256", &["password", "refresh_token"]),
        client(API, "ES256", &own),
        client(API_RS256, "RS256", &own),
    ];
    let users = (0..USERS).map(|user| json!({ "username": username(user), "password": PASSWORD }));
    json!({ "clients": clients, "users": users.collect::<Vec<_>>() }).to_string()
}

/// A library that moves the wall clock of whoever loads it, and a file for each node that says how far.
struct Clocks {
    library: PathBuf,
    folder: PathBuf,
}

impl Clocks {
    async fn make(folder: &Path) -> anyhow::Result<Self> {
        let library = folder.join("moved_time.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library);
        cc.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moving-in/moved_time.c"));
        ensure!(super::pair::finish(cc).await?, "the library that moves clocks was not compiled");
        let clocks = Self { library, folder: folder.to_owned() };
        for node in 0..NODES {
            clocks.set(node, 0)?;
        }
        Ok(clocks)
    }

    fn file(&self, node: usize) -> PathBuf {
        self.folder.join(format!("clock-{node}"))
    }

    fn impose(&self, node: usize, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("MOVED_TIME", self.file(node));
    }

    /// In place, since the node has the file mapped.
    fn set(&self, node: usize, seconds: i64) -> anyhow::Result<()> {
        use std::os::unix::fs::FileExt as _;
        let file = File::options().write(true).create(true).truncate(false).open(self.file(node))?;
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
