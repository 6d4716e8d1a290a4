//! The same echo service by several libraries, each behind the same accept loop.

mod ours;
mod peers;
mod raw;

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Write},
    os::fd::AsFd,
    time::{Duration, Instant},
};

use axum::{Router, routing::any};
use bytes::Bytes;
use clap::ValueEnum;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hybi::handshake::accept_value;
use hyper::{
    body::{Body, Incoming},
    service::{Service, service_fn},
    upgrade::Upgraded,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, unix::pipe},
};
use tower_websocket::{
    BoxError, Deflate, Handler, Message, WebSocketLayer,
    handler::{handler_fn, per_message},
};

/// How long a handler of one of the slow servers is busy with each message.
pub const WORK: Duration = Duration::from_micros(10);

/// A library and the way in which it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// No WebSocket library: what a hyper upgrade costs by itself. Unmasks and writes back, without
    /// a single check, what one read brought. The limit for everybody else.
    Raw,
    /// tower-websocket as a hyper service: a closure that receives and sends.
    Ours,
    /// tower-websocket as a hyper service: a tower service for each message.
    OursPerMessage,
    /// tower-websocket in an axum `Router`.
    OursAxum,
    /// As `ours`, with the halves of the socket.
    OursSplit,
    /// As `ours`, in another task, which the handler waits for.
    OursMoved,
    /// As `ours`, with compression for clients that offer it.
    OursDeflate,
    /// axum's own `ws`, which is tungstenite: receive and send.
    AxumWs,
    /// axum's own `ws`, both halves joined by `forward`, which flushes only when nothing is left to
    /// be received.
    AxumWsForward,
    /// fastwebsockets as a hyper service.
    Fastwebsockets,
    /// tokio-websockets over a hyper upgrade: receive and send.
    TokioWebsockets,
    /// tokio-websockets over a hyper upgrade, both halves joined by `forward`.
    TokioWebsocketsForward,
    /// `raw`, busy for 10 µs with each frame.
    RawSlow,
    /// `ours`, with a handler that is busy for 10 µs with each message.
    OursSlow,
    /// `fastwebsockets`, busy for 10 µs with each message.
    FastwebsocketsSlow,
    /// `tokio-websockets`, busy for 10 µs with each message.
    TokioWebsocketsSlow,
}

impl Server {
    /// The name that the command line knows it by.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The same with something to do for each message, where there is one.
    pub fn slow(self) -> Option<Self> {
        match self {
            Self::Raw => Some(Self::RawSlow),
            Self::Ours => Some(Self::OursSlow),
            Self::Fastwebsockets => Some(Self::FastwebsocketsSlow),
            Self::TokioWebsockets => Some(Self::TokioWebsocketsSlow),
            _ => None,
        }
    }

    /// Accepts and echoes until accepting fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        match self {
            Self::Raw => {
                accept(listener, service_fn(|request| upgrade(request, |io| raw::echo(io, || ()))))
                    .await
            }
            Self::RawSlow => {
                accept(listener, service_fn(|request| upgrade(request, |io| raw::echo(io, work))))
                    .await
            }
            Self::Ours => ours(listener, handler_fn(|socket| ours::echo(socket, || ()))).await,
            Self::OursSlow => ours(listener, handler_fn(|socket| ours::echo(socket, work))).await,
            Self::OursSplit => ours(listener, handler_fn(ours::split)).await,
            Self::OursMoved => ours(listener, handler_fn(ours::moved)).await,
            Self::OursPerMessage => {
                let echo = tower::service_fn(async |message: Message| Ok::<_, Infallible>(message));
                ours(listener, per_message(echo)).await
            }
            Self::OursDeflate => {
                let handler = handler_fn(|socket| ours::echo(socket, || ()));
                let service = WebSocketLayer::new(handler).deflate(Deflate::new()).into_service();
                accept(listener, TowerToHyperService::new(service)).await
            }
            Self::OursAxum => {
                let layer = WebSocketLayer::new(handler_fn(|socket| ours::echo(socket, || ())));
                let app =
                    Router::new().route("/", any(async || StatusCode::NOT_FOUND).layer(layer));
                accept(listener, TowerToHyperService::new(app)).await
            }
            Self::AxumWs => accept(listener, peers::axum_ws(peers::axum_echo)).await,
            Self::AxumWsForward => accept(listener, peers::axum_ws(peers::axum_forward)).await,
            Self::Fastwebsockets => {
                accept(listener, service_fn(|request| peers::fastwebsockets(request, || ()))).await
            }
            Self::FastwebsocketsSlow => {
                accept(listener, service_fn(|request| peers::fastwebsockets(request, work))).await
            }
            Self::TokioWebsockets => {
                let echo = |io| peers::tokio_websockets(io, || ());
                accept(listener, service_fn(move |request| upgrade(request, echo))).await
            }
            Self::TokioWebsocketsSlow => {
                let echo = |io| peers::tokio_websockets(io, work);
                accept(listener, service_fn(move |request| upgrade(request, echo))).await
            }
            Self::TokioWebsocketsForward => {
                let echo = peers::tokio_websockets_forward;
                accept(listener, service_fn(move |request| upgrade(request, echo))).await
            }
        }
    }
}

/// Serves `server` on a current-thread runtime until standard input ends, so that it never outlives
/// whoever started it. The first line it prints is its address.
///
/// There is no other thread, with which the C library would count more instructions.
pub fn serve_until_stdin_ends(server: Server) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        let mut stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let mut ignored = Vec::new();
        tokio::select! {
            result = server.serve(listener) => match result? {},
            end = stdin.read_to_end(&mut ignored) => end.map(|_| ()),
        }
    })
}

async fn accept<S, B>(listener: TcpListener, service: S) -> io::Result<Infallible>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// tower-websocket as a hyper service.
async fn ours<H>(listener: TcpListener, handler: H) -> io::Result<Infallible>
where
    H: Handler,
{
    let service = WebSocketLayer::new(handler).into_service();
    accept(listener, TowerToHyperService::new(service)).await
}

/// Answers any request with 101 and runs `echo` on what becomes of the connection.
async fn upgrade<F, E>(
    mut request: Request<Incoming>,
    echo: impl FnOnce(Upgraded) -> F + Send + 'static,
) -> Result<Response<Empty<Bytes>>, http::Error>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let accept = accept_value(key.map_or(b"", |key| key.as_bytes()));
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(io) = upgrade.await {
            let _ = echo(io).await;
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, &accept[..])
        .body(Empty::new())
}

/// Keeps the thread busy for [`WORK`].
fn work() {
    let start = Instant::now();
    while start.elapsed() < WORK {
        std::hint::spin_loop();
    }
}
