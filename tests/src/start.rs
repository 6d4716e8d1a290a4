//! Servers for one test, each on a free port of 127.0.0.1, and the handler that most tests serve.

use std::{
    convert::Infallible,
    future::IntoFuture,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
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
use tower_websocket::{BoxError, Sessions, WebSocket};

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

/// Sends back what comes.
pub async fn echo(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Returns once no socket is live.
pub async fn emptied(sessions: &Sessions) {
    let start = Instant::now();
    while !sessions.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "{} sockets are live", sessions.len());
        tokio::task::yield_now().await;
    }
}
