//! A place in the network that answers as the test says, and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What every request is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// A whole HTTP answer.
    Text(String),
    /// Nothing, for ever.
    Silence,
    /// The beginning of one, and then nothing.
    Stalled(String),
    /// The same as the first, one for each permit.
    Held(Arc<Semaphore>, String),
}

impl Reply {
    pub(crate) fn json(headers: &str, body: &str) -> Self {
        Self::with("200 OK", &format!("content-type: application/json\r\n{headers}"), body)
    }

    pub(crate) fn with(status: &str, headers: &str, body: &str) -> Self {
        Self::Text(answer(status, headers, body))
    }
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

pub(crate) struct Site {
    pub port: u16,
    reply: Arc<Mutex<Reply>>,
    hits: Arc<AtomicUsize>,
    /// The latest request, head and body.
    heard: Arc<Mutex<String>>,
}

impl Site {
    pub(crate) async fn open(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let site = Self { port, reply: Arc::new(Mutex::new(reply)), hits: Arc::default(), heard: Arc::default() };
        let (reply, hits, heard) = (Arc::clone(&site.reply), Arc::clone(&site.hits), Arc::clone(&site.heard));
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (reply, hits, heard) = (Arc::clone(&reply), Arc::clone(&hits), Arc::clone(&heard));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !is_whole(&request) {
                        let mut chunk = [0; 4096];
                        match socket.read(&mut chunk).await {
                            Ok(length) if length > 0 => request.extend_from_slice(&chunk[..length]),
                            _ => return,
                        }
                    }
                    *heard.lock().unwrap() = String::from_utf8_lossy(&request).into_owned();
                    hits.fetch_add(1, Ordering::SeqCst);
                    let reply = reply.lock().unwrap().clone();
                    let text = match reply {
                        Reply::Text(text) => text,
                        Reply::Stalled(text) => {
                            socket.write_all(text.as_bytes()).await.unwrap();
                            return std::future::pending().await;
                        }
                        Reply::Silence => return std::future::pending().await,
                        Reply::Held(gate, text) => {
                            gate.acquire().await.unwrap().forget();
                            text
                        }
                    };
                    // A caller that has read enough hangs up.
                    let _ = socket.write_all(text.as_bytes()).await;
                });
            }
        });
        site
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/jwks.json", self.port)
    }

    pub(crate) fn says(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    pub(crate) fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
}
