//! Starts what a test talks to, each on a free port of 127.0.0.1, and waits for what it does.

use std::{
    convert::Infallible,
    future::{Future, IntoFuture},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio::net::TcpListener;
use tower::Service;
use tower_websocket::{BoxError, Handler, Sessions, WebSocket, WebSocketLayer, upgrade::Upgrade};

use crate::{
    client::UPGRADE,
    serve::{Server, ServerConfig},
};

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

/// Serves an app with `axum::serve`, which knows each peer's address.
pub async fn axum(app: Router) -> SocketAddr {
    let (listener, addr) = listen().await;
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(axum::serve(listener, app).into_future());
    addr
}

/// Serves a service with hyper's own HTTP/1 connection and nothing around it.
pub async fn hyper<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    addr
}

/// A listener on a free port.
pub async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let addr = listener.local_addr().expect("bound");
    (listener, addr)
}

/// An inner service that says that it was reached, and by what.
pub async fn inner<B>(request: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = format!("inner: {} {}", request.method(), request.uri().path());
    Ok(Response::new(text.into()))
}

/// A handshake in due form that no server made, for a service that is called without one.
pub fn handmade(path: &str, upgrade: Upgrade) -> Request<()> {
    let mut request = Request::get(path).header("host", "localhost");
    for (name, value) in UPGRADE {
        request = request.header(name, value);
    }
    request.extension(upgrade).body(()).expect("a valid request")
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
