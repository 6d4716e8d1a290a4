//! An echo without any web framework: hyper, and the layer around a service of requests.
//!
//! ```text
//! cargo run -p examples --example echo_hyper -- --port 3001
//! ```
//!
//! `ws://127.0.0.1:3001/echo` sends back what it receives, over HTTP/1.1 and, for clients that can
//! (RFC 8441), over cleartext HTTP/2. Every other request goes to an ordinary service.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Incoming},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::sleep,
};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_websocket::{
    BoxError, Bytes, WebSocket, WebSocketLayer, handler_fn,
    policy::{AllowHosts, Paths, Policy},
};

/// How long a client may take for the head of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();

    // Handshakes elsewhere pass to the service inside. The layer turns pages of other sites away, and the list of
    // hosts those that reach this machine under a name of their own (DNS rebinding).
    let policy = Paths::new().exact("/echo").and(AllowHosts::loopback());
    let service = ServiceBuilder::new()
        .layer(WebSocketLayer::new(handler_fn(echo)).policy(policy))
        .service(service_fn(hello));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, parse_args()?)).await?;
    println!("listening on http://{}", listener.local_addr()?);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, service.clone()));
            }
            Err(error) => {
                // Most likely there are too many open files, and some will be closed.
                tracing::warn!(%error, "cannot accept");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn echo(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Any other service of requests. Like every one behind the layer it must not accept what it does not
/// serve: over HTTP/2, a 200 would tell a client that it has got its WebSocket.
async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = "There is a WebSocket at /echo.\n";
    let mut response = Response::new(Full::from(text));
    if request.method() != Method::GET || request.uri().path() != "/" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}

/// Serves one connection, which may carry many requests and sockets.
async fn serve<S, B>(stream: TcpStream, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let _ = stream.set_nodelay(true);

    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    // Without `enable_connect_protocol` there are no WebSockets over HTTP/2.
    http.http2().timer(TokioTimer::new()).enable_connect_protocol();

    let requested = Arc::new(Notify::new());
    let notifier = Arc::clone(&requested);
    let service = service.map_request(move |request| {
        notifier.notify_one();
        request
    });
    let connection = http
        .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    // The timers of hyper run once it knows the version of HTTP; this one runs until then.
    let result = tokio::select! {
        result = &mut connection => result,
        () = requested.notified() => connection.await,
        () = sleep(REQUEST_TIMEOUT) => return,
    };
    if let Err(error) = result {
        tracing::debug!(error, "connection failed");
    }
}

fn parse_args() -> Result<u16, BoxError> {
    let usage = "usage: echo_hyper [--port PORT]";
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next(), args.next()) {
        (None, ..) => Ok(3001),
        (Some("--port"), Some(port), None) => Ok(port.parse().map_err(|_| usage)?),
        _ => Err(usage.into()),
    }
}
