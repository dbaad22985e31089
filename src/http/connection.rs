//! One connection, from the moment it is accepted: the handshake, the protocol that was agreed on, its limits, its end.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderValue, header};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Sleep;

use super::server::Limits;
use super::socket::Hurried;
use super::streams::{Stall, Streams};
use super::tls::{Greeted, Tls};
use crate::domain::sources::SystemClock;

/// The longest head taken in, whatever the protocol; past it, the answer is 431.
const MAX_HEAD: usize = 64 << 10;

/// Requests at once on one HTTP/2 connection; past it, its client waits. RFC 9113 section 6.5.2 wants no fewer than 100.
const MAX_STREAMS: u32 = 128;

/// What an HTTP/2 client may send ahead of being read, in bytes: on one request, and on all of a connection.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;

/// What is held ready of an answer whose HTTP/2 client makes no room for it, in bytes.
const SEND_BUFFER: usize = 64 << 10;

/// A connection and what it stands in.
pub(super) struct Connection<E> {
    pub endpoint: Arc<E>,
    pub limits: Limits,
    pub tls: Option<Arc<Tls>>,
    pub local: LocalAddr,
    pub peer: std::net::SocketAddr,
    /// Changes when no new requests are taken any more.
    pub stop: watch::Receiver<()>,
    pub life: Life,
}

/// The right to be there: what is spawned for a connection holds one, so that none outlives the server unseen.
#[derive(Clone)]
pub(super) struct Life {
    /// One of the server's connections. Given back when the last holder is gone.
    _slot: Arc<OwnedSemaphorePermit>,
    /// Changes when nothing may go on.
    kill: watch::Receiver<()>,
}

impl Life {
    pub(super) fn new(slot: OwnedSemaphorePermit, kill: watch::Receiver<()>) -> Self {
        Self { _slot: Arc::new(slot), kill }
    }

    async fn ended(&mut self) {
        // An error says that the server is gone, which means the same.
        let _ = self.kill.changed().await;
    }
}

impl<E: Endpoint<Output = Response> + 'static> Connection<E> {
    /// Serves it to its end.
    pub(super) async fn run(mut self, stream: TcpStream) {
        let Some(tls) = self.tls.clone() else {
            return self.http1(stream, Scheme::HTTP).await;
        };
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.limits.head, tls.greet(stream)) => greeted,
            // Nothing has been asked yet that could be answered.
            _ = self.stop.changed() => return,
        };
        let peer = self.peer;
        match greeted {
            Ok(Ok(Greeted::Http1(stream))) => self.http1(stream, Scheme::HTTPS).await,
            Ok(Ok(Greeted::Http2(stream))) => self.http2(stream).await,
            Ok(Ok(Greeted::Clear)) => tracing::debug!(%peer, "plain http on a port that speaks TLS"),
            // Strangers knock as they like: none of this is a fault of ours.
            Ok(Err(error)) => tracing::debug!(%error, %peer, "no TLS handshake"),
            Err(_) => tracing::debug!(%peer, "the TLS handshake was not completed in time"),
        }
    }

    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin, scheme: Scheme) {
        let stream = Hurried::new(stream, self.limits.head, self.limits.write);
        let phase = stream.phase();
        let asker = self.asker(scheme);
        let leave = Leave { is_taken: Arc::default(), linger: self.limits.linger };
        let is_last = Arc::clone(&leave.is_taken);
        let service = service_fn(move |request| {
            let is_last = Arc::clone(&is_last);
            let answering = phase.answering();
            // On the heap at once: hyper moves what it is given several times, and this is kilobytes.
            let answer = Box::pin(asker.ask(request));
            async move {
                let mut response = answer.await;
                drop(answering);
                if is_last.load(Ordering::Relaxed) {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(hyper::Response::from(response))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.idle)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service);
        self.tend(connection, http1::Connection::graceful_shutdown, leave, None).await;
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let stream = Hurried::in_writing(stream, self.limits.write);
        // The machine's clock: one that a test moves must not cut connections off.
        let streams = Streams::new(Arc::new(SystemClock));
        let asker = self.asker(Scheme::HTTPS);
        let asked = streams.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            let exchange = asked.begin();
            join_cookies(request.headers_mut());
            let answer = asker.ask(request);
            async move { Ok::<_, Infallible>(hyper::Response::from(answer.await).map(|body| exchange.answer(body))) }
        });
        let connection = http2::Builder::new(self.life.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD as u32)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        self.tend(connection, http2::Connection::graceful_shutdown, Leave::default(), Some(streams)).await;
    }

    fn asker(&self, scheme: Scheme) -> Asker<E> {
        let remote = RemoteAddr(Addr::SocketAddr(self.peer));
        Asker { endpoint: Arc::clone(&self.endpoint), local: self.local.clone(), remote, scheme }
    }

    /// Drives the connection until it ends, by itself or by what stands against it. `wind_up` takes no more requests
    /// on it and lets those under way finish.
    async fn tend<C>(mut self, connection: C, wind_up: impl Fn(Pin<&mut C>), leave: Leave, streams: Option<Streams>)
    where
        C: Future<Output = hyper::Result<()>>,
    {
        let mut connection = pin!(connection);
        let (peer, mut is_stopping) = (self.peer, false);
        let mut lingering = pin!(None);
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %peer, "connection ended early");
                    }
                    return;
                }
                () = self.life.ended() => {
                    tracing::debug!(%peer, "connection cut off: the service stops");
                    return;
                }
                _ = self.stop.changed(), if !is_stopping => {
                    is_stopping = true;
                    leave.is_taken.store(true, Ordering::Relaxed);
                    lingering.set(Some(tokio::time::sleep(leave.linger)));
                }
                () = elapsed(lingering.as_mut()) => {
                    lingering.set(None);
                    wind_up(connection.as_mut());
                }
                stall = stalled(streams.as_ref(), &self.limits) => match (stall, &streams) {
                    (Stall::Quiet, Some(streams)) => {
                        streams.dismiss();
                        wind_up(connection.as_mut());
                    }
                    _ => {
                        tracing::debug!(%peer, "connection cut off: nothing moves on it");
                        return;
                    }
                },
            }
        }
    }
}

impl<F> Executor<F> for Life
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        let mut life = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                () = life.ended() => {}
            }
        });
    }
}

/// How a connection comes to its end when the service stops.
#[derive(Default)]
struct Leave {
    /// Whether the next answer is the last.
    is_taken: Arc<AtomicBool>,
    linger: Duration,
}

/// Never returns where there is nothing to wait for.
async fn elapsed(sleep: Pin<&mut Option<Sleep>>) {
    match sleep.as_pin_mut() {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

/// What the requests of a connection are answered with.
struct Asker<E> {
    endpoint: Arc<E>,
    local: LocalAddr,
    remote: RemoteAddr,
    scheme: Scheme,
}

impl<E: Endpoint<Output = Response> + 'static> Asker<E> {
    fn ask(&self, request: hyper::Request<Incoming>) -> impl Future<Output = Response> + Send + use<E> {
        let endpoint = Arc::clone(&self.endpoint);
        let request = Request::from((request, self.local.clone(), self.remote.clone(), self.scheme.clone()));
        async move { endpoint.get_response(request).await }
    }
}

/// HTTP/1.1 has its timers in hyper and in its stream.
async fn stalled(streams: Option<&Streams>, limits: &Limits) -> Stall {
    match streams {
        Some(streams) => streams.stall(limits).await,
        None => std::future::pending().await,
    }
}

/// RFC 9113 section 8.2.3: a client may split its cookies over several fields, and whoever reads them expects one.
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for field in [second].into_iter().chain(fields) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(field.as_bytes());
    }
    // Of legal values nothing illegal comes.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_of_several_fields_become_one() {
        let joined = |fields: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::COOKIE, HeaderValue::from_static(field));
            }
            join_cookies(&mut headers);
            headers.get_all(header::COOKIE).iter().map(|field| field.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(joined(&[]), [""; 0]);
        assert_eq!(joined(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(joined(&["a=1", "b=2", "c=3; d=4"]), ["a=1; b=2; c=3; d=4"]);
    }
}
