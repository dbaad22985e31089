//! The accept loop: how many connections there may be, and an orderly end. What becomes of each is
//! [`connection`](super::connection)'s.
//!
//! `poem::Server` has no timers against slow clients, sets no `TCP_NODELAY` and spins when file descriptors run out;
//! this loop serves the same endpoint through hyper. In the clear it speaks HTTP/1.1 only, as proxies in front do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use poem::web::LocalAddr;
use poem::{Addr, Endpoint, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::connection::{Connection, Life};
use super::tls::Tls;

/// How long and how many.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the first byte of a request (or from the opening of a connection) to the end of its head; and for a TLS
    /// handshake.
    pub head: Duration,
    /// How long a connection may rest between two requests. Above the 60 s that proxies and pools keep theirs, so
    /// that they are the ones to close.
    pub idle: Duration,
    /// How long an answer may wait for its reader.
    pub write: Duration,
    /// How long a quiet HTTP/1.1 connection stays open once the service stops: a request that is on its way to it is still
    /// answered, and told that it was the last. (HTTP/2 can take leave without.) Few proxies ask again by themselves where
    /// a POST meets a closed connection.
    pub linger: Duration,
    /// How long requests under way may take to finish once the service stops.
    pub drain: Duration,
    /// Connections at once, on one listener. Past it, new ones wait in the kernel's queue.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            write: Duration::from_secs(30),
            linger: Duration::from_millis(500),
            drain: Duration::from_secs(20),
            connections: affordable_connections(),
        }
    }
}

/// What the process may open, less a reserve for the database, the log and the program itself.
fn affordable_connections() -> usize {
    const RESERVE: u64 = 128;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files.saturating_sub(RESERVE).clamp(64, 8192)).unwrap_or(8192)
}

/// After an accept that failed for want of file descriptors or memory: long enough not to spin, short enough that
/// nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `endpoint` on `listener`, over TLS where there is one, until `shutdown` resolves; then takes no new
/// connections, lets requests under way finish for [`Limits::drain`], and closes what is left.
pub async fn serve<E>(
    listener: TcpListener,
    endpoint: Arc<E>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    shutdown: impl Future<Output = ()>,
) where
    E: Endpoint<Output = Response> + 'static,
{
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, kill) = (watch::Sender::new(()), watch::Sender::new(()));
    let server = Server { endpoint, limits, tls, slots, stop, kill };
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &server.slots) => match accepted {
                Ok((stream, peer, slot)) => server.take(stream, peer, slot),
                Err(error) if is_the_strangers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // Close the door first: whoever comes now is refused at once and tries the next node.
    drop(listener);
    server.drain().await;
}

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, std::net::SocketAddr, OwnedSemaphorePermit)> {
    let slot = slots.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

/// The connection broke before it was accepted: nothing of ours is wrong.
fn is_the_strangers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

struct Server<E> {
    endpoint: Arc<E>,
    limits: Limits,
    tls: Option<Arc<Tls>>,
    /// What is taken of them are the connections.
    slots: Arc<Semaphore>,
    /// Changes when no more requests are taken.
    stop: watch::Sender<()>,
    /// Dropped to end what outlives the drain.
    kill: watch::Sender<()>,
}

impl<E: Endpoint<Output = Response> + 'static> Server<E> {
    fn take(&self, stream: TcpStream, peer: std::net::SocketAddr, slot: OwnedSemaphorePermit) {
        // Answers are small and written whole: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
        let connection = Connection {
            endpoint: Arc::clone(&self.endpoint),
            limits: self.limits,
            tls: self.tls.clone(),
            local: LocalAddr(stream.local_addr().map_or_else(|_| Addr::custom("tcp", ""), Addr::SocketAddr)),
            peer,
            stop: self.stop.subscribe(),
            life: Life::new(slot, self.kill.subscribe()),
        };
        // Handshakes and whatever else takes time go on beside the loop.
        tokio::spawn(connection.run(stream));
    }

    async fn drain(self) {
        let Self { limits, kill, stop, slots, .. } = self;
        let open = limits.connections.saturating_sub(slots.available_permits());
        if open > 0 {
            tracing::info!(connections = open, "finishing requests under way");
        }
        stop.send_replace(());
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(limits.drain, slots.acquire_many(all)).await.is_err() {
            tracing::warn!("requests still under way were cut off");
            drop(kill);
            // Their tasks end at once; what they hold must be gone before the caller closes the database.
            drop(slots.acquire_many(all).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use poem::Request;
    use poem::endpoint::make;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::super::body::{BodyLimits, receive};
    use super::*;

    const SHORT: Duration = Duration::from_millis(150);
    const NEVER: Duration = Duration::from_secs(600);

    fn limits() -> Limits {
        Limits { head: NEVER, idle: NEVER, write: NEVER, linger: Duration::ZERO, drain: NEVER, connections: 16 }
    }

    struct Running {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        ended: JoinHandle<()>,
    }

    async fn run(limits: Limits) -> Running {
        run_with(limits, NEVER).await
    }

    async fn run_with(limits: Limits, body_time: Duration) -> Running {
        let endpoint = make(move |mut request: Request| async move {
            receive(&mut request, BodyLimits { size: 1024, time: body_time }).await?;
            if request.uri().path() == "/stuck" {
                std::future::pending::<()>().await;
            }
            let large = if request.uri().path() == "/large" { 64 << 20 } else { 2 };
            Ok::<_, poem::Error>(Response::builder().body(vec![b'k'; large]))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let ended = tokio::spawn(serve(listener, Arc::new(endpoint), limits, None, async {
            let _ = stopped.await;
        }));
        Running { address, stop, ended }
    }

    /// Sends `text` and reads until the server closes.
    async fn until_closed(server: &Running, text: &str) -> String {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset is a close as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_silent_connection_and_half_a_head_are_closed() {
        let server = run(Limits { head: SHORT, ..limits() }).await;
        assert_eq!(until_closed(&server, "").await, "");
        assert_eq!(until_closed(&server, "GET / HTTP/1.1\r\nHost: x\r\n").await, "");
    }

    #[tokio::test]
    async fn a_head_that_dribbles_is_closed() {
        let server = run(Limits { head: SHORT, ..limits() }).await;
        let (mut read, mut write) = TcpStream::connect(server.address).await.unwrap().into_split();
        let dribble = tokio::spawn(async move {
            while write.write_all(b"x").await.is_ok() {
                tokio::time::sleep(SHORT / 10).await;
            }
        });
        let mut answer = Vec::new();
        let _ = read.read_to_end(&mut answer).await;
        assert_eq!(answer, b"");
        dribble.await.unwrap();
    }

    #[tokio::test]
    async fn a_second_head_that_dribbles_is_closed_and_a_quiet_connection_is_not() {
        let server = run(Limits { head: SHORT, ..limits() }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut answer = vec![0; 4096];
        // Longer than the limit of a head in all, and idle for longer than it: welcome.
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            let got = stream.read(&mut answer).await.unwrap();
            assert!(answer[..got].starts_with(b"HTTP/1.1 200"));
            tokio::time::sleep(SHORT * 2).await;
        }
        stream.write_all(b"GET / HT").await.unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
    }

    #[tokio::test]
    async fn half_a_body_is_answered_and_closed() {
        let server = run_with(limits(), SHORT).await;
        let answer = until_closed(&server, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc").await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    #[tokio::test]
    async fn a_body_too_large_is_refused_with_and_without_a_length() {
        let server = run(limits()).await;
        let announced = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n";
        assert!(until_closed(&server, announced).await.starts_with("HTTP/1.1 413"));
        let chunked = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n{}\r\n0\r\n\r\n",
            "x".repeat(2000)
        );
        assert!(until_closed(&server, &chunked).await.starts_with("HTTP/1.1 413"));
    }

    #[tokio::test]
    async fn an_idle_connection_is_closed_and_an_answer_not_taken_as_well() {
        let server = run(Limits { idle: SHORT, write: SHORT, ..limits() }).await;
        let answer = until_closed(&server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        // Nothing is read, so the server's side fills up; it gives up, and stopping has nothing to wait for.
        stream.readable().await.unwrap();
        let Running { stop, ended, .. } = server;
        stop.send(()).unwrap();
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn stopping_lets_a_request_finish_but_not_for_ever() {
        let server = run(limits()).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na").await.unwrap();
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        assert!(idle.read(&mut answer).await.unwrap() > 0);
        server.stop.send(()).unwrap();
        // The idle one ends at once, which also tells that stopping has begun.
        assert_eq!(idle.read(&mut answer).await.unwrap(), 0);
        stream.write_all(b"b").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        server.ended.await.unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());

        let server = run(Limits { drain: SHORT, ..limits() }).await;
        let mut stuck = TcpStream::connect(server.address).await.unwrap();
        stuck.write_all(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        server.stop.send(()).unwrap();
        server.ended.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_that_crosses_the_stop_is_answered_as_the_last() {
        const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        let server = run(Limits { linger: NEVER, ..limits() }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut answer = vec![0; 4096];
        stream.write_all(REQUEST).await.unwrap();
        let got = stream.read(&mut answer).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer[..got]).contains("connection: close"));
        server.stop.send(()).unwrap();
        while TcpStream::connect(server.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(tokio::time::timeout(SHORT, stream.readable()).await.is_err(), "it was closed");
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        server.ended.await.unwrap();
    }

    #[tokio::test]
    async fn connections_past_the_limit_wait_their_turn() {
        let server = run(Limits { connections: 1, ..limits() }).await;
        let mut first = TcpStream::connect(server.address).await.unwrap();
        first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = vec![0; 4096];
        assert!(first.read(&mut answer).await.unwrap() > 0);
        let mut second = TcpStream::connect(server.address).await.unwrap();
        second.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(tokio::time::timeout(SHORT, second.read(&mut answer)).await.is_err());
        drop(first);
        assert!(second.read(&mut answer).await.unwrap() > 0);
    }
}
