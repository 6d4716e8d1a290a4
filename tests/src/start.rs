//! Starts what a test talks to, and waits for what it does.

use std::{future::Future, net::SocketAddr, time::Duration};

use axum::Router;
use tower_websocket::{BoxError, Handler, Sessions, WebSocket, WebSocketLayer};

use crate::serve::{Server, ServerConfig};

/// Serves `app` on a free port until the runtime ends.
pub async fn start(app: Router) -> SocketAddr {
    start_with(app, ServerConfig::default()).await
}

/// Serves `app` within the bounds of `config`, on a free port until the runtime ends.
pub async fn start_with(app: Router, config: ServerConfig) -> SocketAddr {
    let server = Server::bind(([127, 0, 0, 1], 0).into(), app, config).await.expect("a free port");
    let addr = server.local_addr();
    tokio::spawn(server.until(std::future::pending()));
    addr
}

/// An app that hands every handshake to `handler`, in `sessions`.
pub fn app(handler: impl Handler, sessions: &Sessions) -> Router {
    let layer = WebSocketLayer::new(handler).sessions(sessions.clone());
    Router::new().fallback_service(layer.into_service())
}

/// Sends back what it receives.
pub async fn echo(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// What `future` resolves to, unless that takes so long that it never will.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("not within 20 s: {what}"),
    }
}

/// Waits until `condition` holds, while all other tasks go on.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Waits until no socket is live.
pub async fn until_empty(sessions: &Sessions) {
    until("no live socket", || sessions.is_empty()).await;
}
