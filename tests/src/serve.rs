//! An accept loop as this project recommends it: a deadline from accept to the first answer, a
//! bounded head, `TCP_NODELAY`, HTTP/1.1 and cleartext HTTP/2 with extended CONNECT on one port.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// How many bytes of an HTTP/2 stream may wait to be read.
const STREAM_WINDOW: u32 = 64 * 1024;

/// What bounds a connection before it is a WebSocket.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// From accept to the first answer; later requests of the connection have it for their heads.
    pub handshake_timeout: Duration,
    /// The largest head, in bytes.
    pub max_head: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self { handshake_timeout: Duration::from_secs(10), max_head: 64 * 1024 }
    }
}

/// A bound listener and what it serves.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    app: Router,
    config: ServerConfig,
}

impl Server {
    /// Binds to `addr`.
    pub async fn bind(addr: SocketAddr, app: Router, config: ServerConfig) -> io::Result<Self> {
        let listener = TcpListener::bind(addr).await?;
        Ok(Self { addr: listener.local_addr()?, listener, app, config })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` resolves; then stops accepting and lets requests in progress finish for
    /// a second.
    pub async fn until(self, stop: impl Future<Output = ()>) {
        let graceful = GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream, &graceful),
                // Out of file descriptors, most likely: give some time to free one.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        drop(self.listener);
        let _ = tokio::time::timeout(Duration::from_secs(1), graceful.shutdown()).await;
    }

    fn serve(&self, stream: TcpStream, graceful: &GracefulShutdown) {
        let _ = stream.set_nodelay(true);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.config.handshake_timeout)
            .max_buf_size(self.config.max_head);
        // h2 ends a connection once small frames that nobody reads cost it half of the connection's
        // window, at up to 250 bytes each. One socket whose handler does not receive must run out of
        // its own window before, or it takes all others of the connection along.
        builder
            .http2()
            .timer(TokioTimer::new())
            .enable_connect_protocol()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(128 * STREAM_WINDOW);

        // The version is read before any of hyper's timers runs, and policies take time of their
        // own: one deadline covers all of it.
        let answered = Arc::new(AtomicBool::new(false));
        let app = self.app.clone();
        let service = {
            let answered = Arc::clone(&answered);
            tower::service_fn(move |request: Request<Incoming>| {
                let response = app.clone().oneshot(request.map(Body::new));
                let answered = Arc::clone(&answered);
                async move {
                    let response = response.await;
                    answered.store(true, Ordering::Relaxed);
                    response
                }
            })
        };
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        let connection = graceful.watch(connection);
        let deadline = tokio::time::Instant::now() + self.config.handshake_timeout;
        tokio::spawn(async move {
            tokio::pin!(connection);
            let early = tokio::time::timeout_at(deadline, &mut connection).await;
            if early.is_err() && answered.load(Ordering::Relaxed) {
                let _ = connection.await;
            }
        });
    }
}

/// Resolves at SIGTERM, or at an interrupt from the keyboard.
pub async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("a signal handler");
        let mut interrupt = signal(SignalKind::interrupt()).expect("a signal handler");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    #[cfg(not(unix))]
    {
        let _ = tokio::signal::ctrl_c().await;
    }
}
