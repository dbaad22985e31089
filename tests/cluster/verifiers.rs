//! Verifiers of five public libraries, each with the key set of another node (`tests/verifiers` says how they are fed).

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

/// Forty seconds are two here: what every cache and cooldown is divided by.
const SCALE: &str = "20";

/// What gives a verifier its tokens.
#[derive(Clone)]
pub struct Hand(mpsc::Sender<String>);

impl Hand {
    pub fn give(&self, token: &str) {
        // One that has ended is found in the end.
        let _ = self.0.send(token.to_owned());
    }
}

struct Verifier {
    name: &'static str,
    process: Child,
    tokens: mpsc::Sender<String>,
    /// How many it verified, and why it refused the others.
    reading: JoinHandle<anyhow::Result<(usize, Vec<String>)>>,
}

pub struct Verifiers(Vec<Verifier>);

impl Verifiers {
    /// Starts those that are installed, each with the key set of the next of the nodes.
    pub fn start(tools: &Path, nodes: &[String], issuer: &str) -> anyhow::Result<Self> {
        let mut verifiers = Vec::new();
        for (name, command) in commands(tools) {
            let node = verifiers.len() % nodes.len();
            verifiers.push(Verifier::start(name, command, &nodes[node], issuer).with_context(|| name)?);
        }
        Ok(Self(verifiers))
    }

    pub fn hands(&self) -> Vec<Hand> {
        self.0.iter().map(|verifier| Hand(verifier.tokens.clone())).collect()
    }

    /// Waits for their last answers; adds what they refused to the faults, and tells what they verified.
    pub async fn finish(&mut self, faults: &mut Vec<String>) -> anyhow::Result<String> {
        let mut told = Vec::new();
        for verifier in std::mem::take(&mut self.0) {
            let name = verifier.name;
            let (verified, refused) = tokio::task::spawn_blocking(|| verifier.finish()).await??;
            ensure!(verified > 0, "{name} verified nothing");
            faults.extend(refused.into_iter().map(|why| format!("{name} refused a token: {why}")));
            told.push(format!("{name} {verified}"));
        }
        Ok(if told.is_empty() { "no real verifiers".to_owned() } else { format!("verified: {}", told.join(", ")) })
    }
}

impl Verifier {
    fn start(name: &'static str, mut command: Command, node: &str, issuer: &str) -> anyhow::Result<Self> {
        command.args(["--jwks", &format!("{node}/.well-known/jwks.json"), "--issuer", issuer, "--audience", "api"]);
        command.args(["--mode", "fast", "--scale", SCALE]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::open("/dev/null")?);
        let mut process = command.spawn()?;
        let mut input = process.stdin.take().context("no standard input")?;
        let output = BufReader::new(process.stdout.take().context("no standard output")?);
        let (tokens, given) = mpsc::channel::<String>();
        std::thread::spawn(move || {
            for (n, token) in given.into_iter().enumerate() {
                if writeln!(input, "{}", json!({ "n": n, "token": token, "expect": "valid" })).is_err() {
                    return;
                }
            }
        });
        let reading = std::thread::spawn(move || {
            let (mut verified, mut refused) = (0, Vec::new());
            for line in output.lines() {
                let answer: Value = serde_json::from_str(&line?)?;
                if answer["ok"] == true {
                    verified += 1;
                } else if answer["done"] != true {
                    refused.push(answer["error"].to_string());
                }
            }
            Ok((verified, refused))
        });
        Ok(Self { name, process, tokens, reading })
    }

    fn finish(self) -> anyhow::Result<(usize, Vec<String>)> {
        let Self { name, mut process, tokens, reading } = self;
        // Its standard input ends when nobody can give it any more tokens.
        drop(tokens);
        let outcome = reading.join().map_err(|_| anyhow::anyhow!("{name} could not be read"))?;
        let status = process.wait()?;
        ensure!(status.success(), "{name} ended with {status}");
        outcome
    }
}

fn commands(tools: &Path) -> Vec<(&'static str, Command)> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verifiers");
    let with = |program: &Path, script: std::path::PathBuf| {
        let mut command = Command::new(program);
        command.arg(script);
        command
    };
    let mut java = Command::new("java");
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx128m", "-cp"]);
    java.arg(format!("{0}/java/classes:{0}/java/lib/*", tools.display())).arg("verify.Verify");
    let all = [
        ("PyJWT", "python/venv/bin/python", with(&tools.join("python/venv/bin/python"), here.join("python/verify.py"))),
        ("jose", "node/verify.mjs", with(Path::new("node"), tools.join("node/verify.mjs"))),
        ("nimbus", "java/classes", java),
        ("go-oidc", "go-oidc/verify", Command::new(tools.join("go-oidc/verify"))),
        ("keyfunc", "go-keyfunc/verify", Command::new(tools.join("go-keyfunc/verify"))),
    ];
    let installed = all.into_iter().filter(|(_, file, _)| tools.join(file).exists());
    installed.map(|(name, _, command)| (name, command)).collect()
}
