//! A running service: the application, its listeners and its jobs, from start to an orderly end. `serve` and `demo`
//! share it.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::failure::{Failure, Result};
use crate::app::{App, Sources};
use crate::config::Settings;
use crate::http::Doors;
use crate::http::tls::Tls;
use crate::{http, jobs};

/// An application with its jobs, and with its listeners once they are opened. Stop it, or it ends without order.
pub(super) struct Service {
    pub app: Arc<App>,
    stop: watch::Sender<bool>,
    serving: Option<JoinHandle<()>>,
    jobs: JoinSet<()>,
}

impl Service {
    /// Opens the database and the keys and starts the jobs. Nothing listens yet.
    ///
    /// # Errors
    /// Those of [`App::start`].
    pub(super) async fn start(settings: Settings, sources: Sources) -> Result<Self> {
        let app = App::start(settings, sources).await?;
        let jobs = jobs::start(&app);
        Ok(Self { app, stop: watch::Sender::new(false), serving: None, jobs })
    }

    /// Serves on `public`, and the admin API on `admin` where it has a listener of its own; both over TLS where there is
    /// one, whose files are then followed, and taken up at once at SIGHUP.
    ///
    /// # Errors
    /// A listener is of no use to the runtime, or the system does not tell of signals.
    pub(super) fn listen(
        &mut self,
        public: TcpListener,
        admin: Option<TcpListener>,
        tls: Option<Arc<Tls>>,
    ) -> Result<()> {
        let (public, admin) = (adopt(public)?, admin.map(adopt).transpose()?);
        if let Some(tls) = &tls {
            self.jobs.spawn(Arc::clone(tls).follow());
            self.jobs.spawn(reload_when_told(Arc::clone(tls), signal(SignalKind::hangup())?));
        }
        let mut stop = self.stop.subscribe();
        let stopped = async move {
            // A closed channel means that the service is gone, which is a stop as well.
            let _ = stop.wait_for(|is_stopped| *is_stopped).await;
        };
        let app = Arc::clone(&self.app);
        self.serving = Some(tokio::spawn(async move {
            http::serve(app, Doors { public, admin, tls }, stopped).await;
        }));
        Ok(())
    }

    /// Takes no new requests, answers those under way, ends the jobs, and closes the database.
    ///
    /// # Errors
    /// The accept loop panicked.
    pub(super) async fn stop(mut self) -> Result<()> {
        self.stop.send_replace(true);
        let served = match self.serving.take() {
            Some(serving) => serving.await.map_err(Failure::failed),
            None => Ok(()),
        };
        self.jobs.shutdown().await;
        self.app.stop().await;
        served
    }
}

fn adopt(listener: TcpListener) -> Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

async fn reload_when_told(tls: Arc<Tls>, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        let tls = Arc::clone(&tls);
        // It reads files.
        let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
    }
}

/// Binds an address.
///
/// # Errors
/// Somebody else has it, or it is not this machine's.
pub(super) fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        Failure::because(format_args!("{key} = \"{address}\" cannot be listened on: {error}"))
            .hint(format!("end what listens there, or set {key} to another address"))
    })
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// The system refuses to tell.
pub(super) async fn told_to_stop() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!("{name}: answering what is under way, then stopping; once more stops at once");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(())
}
