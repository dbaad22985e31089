//! The HTTP limit: a Poem endpoint that gives one recorded answer, over the product's own server loop, in a process of
//! its own. It takes the request's body and looks at nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::Context as _;
use latchkey::http::server::{Limits, serve};
use poem::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use poem::{Request, Response};
use serde::{Deserialize, Serialize};

use super::generator::Target;

/// What the benchmark calls itself with.
pub const ARGUMENT: &str = "--bare-endpoint";

/// An answer of the product's, to be given again.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recorded {
    pub status: u16,
    /// Without those that the server loop writes by itself.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// The process. Ends when it is dropped.
pub struct Bare {
    child: Child,
    address: SocketAddr,
}

impl Bare {
    pub fn start(answer: &Recorded) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("the bare endpoint has no input")?;
        let output = child.stdout.take().context("the bare endpoint has no output")?;
        let mut bare = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        writeln!(input, "{}", serde_json::to_string(answer)?)?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        bare.address = line.trim().parse().context("the bare endpoint did not start")?;
        Ok(bare)
    }

    pub fn target(&self) -> Target {
        Target { address: self.address, pid: self.child.id(), database: None }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It holds nothing, and may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does: reads the answer, tells its address, serves until it is killed.
pub fn run() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let Recorded { status, headers, body } = serde_json::from_str(&line)?;
    let status = StatusCode::from_u16(status)?;
    // Lives as long as the process: no answer copies it.
    let body: &'static str = Box::leak(body.into_boxed_str());
    let headers: HeaderMap = headers
        .into_iter()
        .map(|(name, value)| Ok((HeaderName::try_from(name)?, HeaderValue::try_from(value)?)))
        .collect::<anyhow::Result<_>>()?;
    let endpoint = poem::endpoint::make(move |mut request: Request| {
        let headers = headers.clone();
        async move {
            request.take_body().into_bytes().await?;
            let mut response = Response::builder().status(status).body(body);
            *response.headers_mut() = headers;
            Ok::<_, poem::Error>(response)
        }
    });
    // As the product makes its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        serve(listener, Arc::new(endpoint), Limits::default(), None, std::future::pending()).await;
        Ok(())
    })
}
