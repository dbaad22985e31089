//! A Latchkey as an operator starts it: the release binary on loopback, its log in a file, measured from outside.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::generator::Target;
use super::place::Place;
use super::process;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Server {
    child: Child,
    address: SocketAddr,
    postmaster: Option<u32>,
    /// From exec to the first answer that says it is ready.
    pub took: Duration,
}

impl Server {
    pub fn start(place: &Place) -> anyhow::Result<Self> {
        Self::start_with(place, &[])
    }

    /// With settings beside the defaults, as environment variables.
    pub fn start_with(place: &Place, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_at(place, place.address, settings)
    }

    /// One more node of the place's service, on an address of its own.
    pub fn start_node(place: &Place, address: SocketAddr) -> anyhow::Result<Self> {
        Self::start_at(place, address, &[("LATCHKEY__SERVER__ISSUER", &place.issuer())])
    }

    fn start_at(place: &Place, address: SocketAddr, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let log = File::options().append(true).create(true).open(place.path().join("latchkey.log"))?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_latchkey"));
        command.arg("serve").current_dir(place.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // What the shell around has set is not the default.
        for (name, _) in std::env::vars_os() {
            if name == "RUST_LOG" || name.to_string_lossy().starts_with("LATCHKEY") {
                command.env_remove(name);
            }
        }
        command
            .env("LATCHKEY__SERVER__LISTEN", address.to_string())
            .env("LATCHKEY__DATABASE__URL", &place.url)
            .env("LATCHKEY__KEYS__DIRECTORY", place.key_directory())
            .envs(settings.iter().copied());
        let began = Instant::now();
        let mut server = Self { child: command.spawn()?, address, postmaster: place.postmaster, took: Duration::ZERO };
        while !is_ready(address) {
            if let Some(status) = server.child.try_wait()? {
                let log = std::fs::read_to_string(place.path().join("latchkey.log")).unwrap_or_default();
                bail!("latchkey serve ended with {status}; its log:\n{log}");
            }
            if began.elapsed() > PATIENCE {
                bail!("latchkey serve is not ready after {} s", PATIENCE.as_secs());
            }
            std::thread::yield_now();
        }
        server.took = began.elapsed();
        Ok(server)
    }

    pub fn target(&self) -> Target {
        Target { address: self.address, pid: self.child.id(), database: self.postmaster }
    }

    /// Resident memory, in MiB.
    pub fn resident(&self) -> anyhow::Result<f64> {
        process::resident(self.child.id())
    }

    /// Stops it as an operator does.
    ///
    /// # Errors
    /// It did not end in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait().context("latchkey serve cannot be waited for")?;
        if !status.success() {
            bail!("latchkey serve ended with {status}");
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After an orderly end there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks on a bare socket, so that the asking costs next to nothing.
fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut socket) = TcpStream::connect(address) else { return false };
    let asked = socket.write_all(b"GET /health/ready HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 12];
    asked.is_ok() && socket.read_exact(&mut answer).is_ok() && &answer[9..] == b"200"
}
