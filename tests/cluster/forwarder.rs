//! A TCP forwarder: stands for the name or the virtual address that a database is reached by, and for a network that
//! fails.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

pub struct Forwarder {
    pub address: SocketAddr,
    lines: Arc<Lines>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Lines {
    /// Where it leads; nowhere, and whoever comes is turned away.
    target: Mutex<Option<SocketAddr>>,
    /// By the port that the target sees.
    open: Mutex<HashMap<u16, Line>>,
}

struct Line {
    frozen: watch::Sender<bool>,
    task: AbortHandle,
}

impl Forwarder {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let lines = Arc::new(Lines::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&lines)));
        Ok(Self { address, lines, accepting })
    }

    /// New connections lead there from now on.
    pub fn point_at(&self, target: Option<SocketAddr>) {
        *self.lines.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Ends every connection; both ends see it close.
    pub fn cut(&self) {
        for (_, line) in self.lines.open().drain() {
            line.task.abort();
        }
    }

    /// Moves nothing any more on every connection there is, and closes none: the other end has gone without a word.
    pub fn freeze(&self) {
        for line in self.lines.open().values() {
            line.frozen.send_replace(true);
        }
    }

    /// Ends what is frozen, so that those at this end notice.
    pub fn cut_frozen(&self) {
        for (_, line) in self.lines.open().extract_if(|_, line| *line.frozen.borrow()) {
            line.task.abort();
        }
    }

    /// Moves nothing any more on the one connection that the target sees come from this port; whether it did.
    pub fn freeze_one(&self, port: u16) -> bool {
        self.lines.open().get(&port).is_some_and(|line| !line.frozen.send_replace(true))
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Lines {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<u16, Line>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn target(&self) -> Option<SocketAddr> {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, lines: Arc<Lines>) {
    while let Ok((near, _)) = listener.accept().await {
        let Some(target) = lines.target() else { continue };
        let lines = Arc::clone(&lines);
        tokio::spawn(async move {
            // Whoever cannot be led on sees the connection close.
            let Ok(far) = TcpStream::connect(target).await else { return };
            // Led elsewhere in the meantime.
            if lines.target() != Some(target) {
                return;
            }
            let Ok(port) = far.local_addr().map(|address| address.port()) else { return };
            let (frozen, freezing) = watch::channel(false);
            let carrying = tokio::spawn(carry(near, far, freezing));
            lines.open().insert(port, Line { frozen, task: carrying.abort_handle() });
            let _ = carrying.await;
            lines.open().remove(&port);
        });
    }
}

async fn carry(mut near: TcpStream, mut far: TcpStream, mut freezing: watch::Receiver<bool>) {
    // Small messages must not wait for larger ones.
    let _ = near.set_nodelay(true).and_then(|()| far.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => return,
        _ = freezing.wait_for(|frozen| *frozen) => {}
    }
    // Both sockets stay open until the task is aborted.
    std::future::pending::<()>().await;
}
