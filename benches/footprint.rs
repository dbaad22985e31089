//! What Latchkey costs to have around: time from exec to ready, resident memory when idle and after many requests.
//!
//! `cargo bench --bench footprint -- [--requests 100000] [--starts 20]`. It starts the release binary on loopback with
//! a throw-away database, as an operator would, and measures it from outside.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark times a process from outside and prints"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

const SECRET: &str = "a secret of the footprint benchmark alone";

fn main() -> anyhow::Result<()> {
    let (requests, starts) = (argument("--requests", 100_000), argument("--starts", 20));
    let folder = tempfile::tempdir()?;
    let runtime = tokio::runtime::Runtime::new()?;

    let first = runtime.block_on(start(folder.path()))?;
    println!("first start (keys are generated): {:>8.1} ms from exec to ready", first.took.as_secs_f64() * 1e3);
    first.stop()?;
    let mut times = Vec::new();
    for _ in 0..starts.max(1) {
        let server = runtime.block_on(start(folder.path()))?;
        times.push(server.took.as_secs_f64() * 1e3);
        server.stop()?;
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "start on an existing database:    {median:>8.1} ms median of {} (min {:.1}, max {:.1})",
        times.len(),
        times[0],
        times[times.len() - 1]
    );

    let server = runtime.block_on(start(folder.path()))?;
    println!("resident when idle:               {:>8.1} MiB", server.resident()?);
    let took = runtime.block_on(load(&server, requests))?;
    println!(
        "resident after {requests} requests:  {:>8.1} MiB ({:.0} requests/s by one client process, mixed)",
        server.resident()?,
        requests as f64 / took.as_secs_f64()
    );
    server.stop()
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1).and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Server {
    child: Child,
    url: String,
    took: Duration,
}

async fn start(folder: &Path) -> anyhow::Result<Server> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let bootstrap = folder.join("bootstrap.json");
    let client = json!({ "client_id": "bench", "client_name": "bench", "client_secret": SECRET, "scope": "read",
                         "grant_types": ["client_credentials", "password", "refresh_token"] });
    let user = json!({ "username": "alice", "password": SECRET });
    std::fs::write(&bootstrap, json!({ "clients": [client], "users": [user] }).to_string())?;
    let began = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_latchkey"))
        .arg("serve")
        .current_dir(folder)
        .env("LATCHKEY__SERVER__LISTEN", format!("127.0.0.1:{port}"))
        .env("LATCHKEY__DATABASE__URL", format!("sqlite://{}", folder.join("bench.db").display()))
        .env("LATCHKEY__KEYS__DIRECTORY", folder.join("keys"))
        .env("LATCHKEY__BOOTSTRAP__FILE", &bootstrap)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let url = format!("http://127.0.0.1:{port}");
    let mut server = Server { child, url, took: Duration::ZERO };
    while !ready(port) {
        if let Some(status) = server.child.try_wait()? {
            bail!("latchkey serve ended: {status}");
        }
        if began.elapsed() > Duration::from_secs(30) {
            bail!("not ready after 30 s");
        }
        std::thread::yield_now();
    }
    server.took = began.elapsed();
    Ok(server)
}

/// Asks on a bare socket, so that the asking costs next to nothing.
fn ready(port: u16) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let asked = socket.write_all(b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 12];
    asked.is_ok() && socket.read_exact(&mut answer).is_ok() && &answer[9..] == b"200"
}

impl Server {
    /// MiB, by the kernel's account.
    fn resident(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<f64>()? / 1024.0)
    }

    fn stop(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("latchkey serve ended with {status}");
        }
        Ok(())
    }
}

/// A mixed load over a few connections: renewals, introspections, key sets.
async fn load(server: &Server, requests: usize) -> anyhow::Result<Duration> {
    const CONNECTIONS: usize = 16;
    let http = reqwest::Client::builder().no_proxy().build()?;
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CONNECTIONS {
        callers.spawn(caller(http.clone(), server.url.clone(), requests / CONNECTIONS));
    }
    while let Some(caller) = callers.join_next().await {
        caller??;
    }
    Ok(began.elapsed())
}

async fn caller(http: reqwest::Client, url: String, requests: usize) -> anyhow::Result<()> {
    let post = async |path: &str, form: &[(&str, &str)]| -> anyhow::Result<serde_json::Value> {
        let request = http.post(format!("{url}{path}")).basic_auth("bench", Some(SECRET)).form(form);
        Ok(serde_json::from_str(&request.send().await?.error_for_status()?.text().await?)?)
    };
    let login = [("grant_type", "password"), ("username", "alice"), ("password", SECRET)];
    let mut token = post("/oauth2/token", &login).await?;
    for n in 0..requests {
        match n % 4 {
            0 => {
                let refresh = token["refresh_token"].as_str().context("no refresh token")?.to_owned();
                let form = [("grant_type", "refresh_token"), ("refresh_token", &refresh)];
                token = post("/oauth2/token", &form).await?;
            }
            1 | 2 => {
                let access = token["access_token"].as_str().context("no access token")?.to_owned();
                let answer = post("/oauth2/introspect", &[("token", &access)]).await?;
                if answer["active"] != true {
                    bail!("a live token is inactive: {answer}");
                }
            }
            _ => {
                http.get(format!("{url}/.well-known/jwks.json")).send().await?.error_for_status()?.bytes().await?;
            }
        }
    }
    Ok(())
}
