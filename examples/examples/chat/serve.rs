//! The accept loop, and the order in which everything ends.
//!
//! `axum::serve` would be one line, but gives a client all the time in the world to send its
//! request, and does not wait for WebSockets when it stops.

use std::{future::Future, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::{sleep, timeout},
};
use tower::ServiceBuilder;
use tower_websocket::Sessions;

/// How long a client may take for the head of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long requests and sockets have to end when the server stops.
const GRACE: Duration = Duration::from_secs(8);

/// Serves until `stop` resolves; then closes every socket with 1001 and waits for the end.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    sessions: Sessions,
    stop: impl Future<Output = ()>,
) {
    let connections = GracefulShutdown::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, _)) => spawn_connection(stream, app.clone(), &connections),
            Err(error) => {
                // Most likely there are too many open files, and some will be closed.
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // Both at once: an HTTP/2 connection ends after its sockets.
    let (drained, _) = tokio::join!(sessions.drain(GRACE), timeout(GRACE, connections.shutdown()));
    tracing::info!(closed = drained.ended, aborted = drained.aborted, "stopped");
}

fn spawn_connection(stream: TcpStream, app: Router, connections: &GracefulShutdown) {
    // Messages are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    http.http2().timer(TokioTimer::new()).enable_connect_protocol();

    let requested = Arc::new(Notify::new());
    let app = {
        let requested = Arc::clone(&requested);
        ServiceBuilder::new()
            .map_request(move |request: Request<Incoming>| {
                requested.notify_one();
                request.map(Body::new)
            })
            .service(app)
    };
    let connection = http
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app))
        .into_owned();
    let connection = connections.watch(connection);

    tokio::spawn(async move {
        tokio::pin!(connection);
        // The timers of hyper run once it knows the version of HTTP; this one runs until then.
        tokio::select! {
            _ = &mut connection => return,
            () = requested.notified() => {}
            () = sleep(REQUEST_TIMEOUT) => return,
        }
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection failed");
        }
    });
}

/// Resolves at SIGTERM, and at SIGINT, which is Ctrl-C.
pub async fn terminated() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<Option<()>>();
    tokio::select! {
        () = interrupt => {}
        _ = terminate => {}
    }
}
