//! The same echo service by several libraries, each behind the same accept loop.

use std::{
    convert::Infallible,
    future::{Future, ready},
    io::{self, Write},
};

use axum::{
    Router,
    extract::ws::{Message as AxumMessage, WebSocket as AxumSocket, WebSocketUpgrade},
    routing::any,
};
use bytes::Bytes;
use clap::ValueEnum;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
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
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_websockets::ServerBuilder;
use tower_websocket::{
    BoxError, Message, WebSocket, WebSocketLayer,
    handler::{handler_fn, per_message},
};

/// A library and the way in which it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// No WebSocket library: what a hyper upgrade costs by itself. Unmasks in place and writes
    /// back, without a single check, what one read brought. The limit for everybody else.
    Raw,
    /// tower-websocket as a hyper service: a closure that receives and sends.
    Ours,
    /// tower-websocket as a hyper service: a tower service for each message.
    OursPerMessage,
    /// tower-websocket in an axum `Router`.
    OursAxum,
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
}

impl Server {
    /// The name that the command line knows it by.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Accepts and echoes until accepting fails.
    pub async fn serve(self, listener: TcpListener) -> io::Result<Infallible> {
        match self {
            Self::Raw => accept(listener, service_fn(|request| upgrade(request, raw_echo))).await,
            Self::Ours => {
                let service = WebSocketLayer::new(handler_fn(our_echo)).into_service();
                accept(listener, TowerToHyperService::new(service)).await
            }
            Self::OursPerMessage => {
                let echo = tower::service_fn(async |message: Message| Ok::<_, Infallible>(message));
                let service = WebSocketLayer::new(per_message(echo)).into_service();
                accept(listener, TowerToHyperService::new(service)).await
            }
            Self::OursAxum => {
                let layer = WebSocketLayer::new(handler_fn(our_echo));
                let app =
                    Router::new().route("/", any(async || StatusCode::NOT_FOUND).layer(layer));
                accept(listener, TowerToHyperService::new(app)).await
            }
            Self::AxumWs => accept(listener, axum_ws(axum_echo)).await,
            Self::AxumWsForward => accept(listener, axum_ws(axum_forward)).await,
            Self::Fastwebsockets => accept(listener, service_fn(fastwebsockets_service)).await,
            Self::TokioWebsockets => {
                accept(listener, service_fn(|request| upgrade(request, tokio_websockets_echo)))
                    .await
            }
            Self::TokioWebsocketsForward => {
                accept(listener, service_fn(|request| upgrade(request, tokio_websockets_forward)))
                    .await
            }
        }
    }
}

/// Serves `server` on a current-thread runtime until standard input ends, so that it never outlives
/// whoever started it. The first line it prints is its address.
pub fn serve_until_stdin_ends(server: Server) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        writeln!(io::stdout(), "{}", listener.local_addr()?)?;
        let (ended, end) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = ended.send(());
        });
        tokio::select! {
            result = server.serve(listener) => match result? {},
            _ = end => Ok(()),
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

// ===== tower-websocket =====

async fn our_echo(mut socket: WebSocket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

// ===== axum =====

fn axum_ws<F>(echo: fn(AxumSocket) -> F) -> TowerToHyperService<Router>
where
    F: Future<Output = Result<(), axum::Error>> + Send + 'static,
{
    let upgrade = move |upgrade: WebSocketUpgrade| async move {
        upgrade.on_upgrade(move |socket| async move {
            let _ = echo(socket).await;
        })
    };
    TowerToHyperService::new(Router::new().route("/", any(upgrade)))
}

async fn axum_echo(mut socket: AxumSocket) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await.transpose()? {
        if matches!(message, AxumMessage::Text(_) | AxumMessage::Binary(_)) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn axum_forward(socket: AxumSocket) -> Result<(), axum::Error> {
    let (sink, stream) = socket.split();
    stream
        .try_filter(|message| {
            ready(matches!(message, AxumMessage::Text(_) | AxumMessage::Binary(_)))
        })
        .forward(sink)
        .await
}

// ===== fastwebsockets =====

async fn fastwebsockets_service(
    mut request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgrade) = fastwebsockets::upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        // Puts fragmented messages together, as everybody else does.
        let mut socket = FragmentCollector::new(upgrade.await?);
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
                OpCode::Close => return Ok::<_, WebSocketError>(()),
                _ => {}
            }
        }
    });
    Ok(response)
}

// ===== tokio-websockets =====

async fn tokio_websockets_echo(io: Upgraded) -> Result<(), tokio_websockets::Error> {
    let mut socket = ServerBuilder::new().serve(TokioIo::new(io));
    while let Some(message) = socket.next().await.transpose()? {
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn tokio_websockets_forward(io: Upgraded) -> Result<(), tokio_websockets::Error> {
    let (sink, stream) = ServerBuilder::new().serve(TokioIo::new(io)).split();
    stream.try_filter(|message| ready(message.is_text() || message.is_binary())).forward(sink).await
}

// ===== a bare upgrade =====

/// Answers any request with 101 and runs `echo` on what becomes of the connection.
async fn upgrade<F, E>(
    mut request: Request<Incoming>,
    echo: fn(Upgraded) -> F,
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

async fn raw_echo(io: Upgraded) -> io::Result<()> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(io)
        .map_err(|_| io::ErrorKind::Unsupported)?;
    let mut io = parts.io.into_inner();
    // A frame of 64 KiB fits, and no zeroing is paid for.
    let mut input = Vec::with_capacity(96 * 1024);
    let mut reply = Vec::with_capacity(96 * 1024);
    input.extend_from_slice(&parts.read_buf);
    loop {
        let used = unmask_frames(&mut input, &mut reply);
        input.drain(..used);
        if !reply.is_empty() {
            io.write_all(&reply).await?;
            reply.clear();
        }
        if io.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}

/// Echoes each whole frame of `input` into `reply`. Returns where the next one begins.
fn unmask_frames(input: &mut [u8], reply: &mut Vec<u8>) -> usize {
    let mut at = 0;
    loop {
        let Some(&[first, second]) = input.get(at..at + 2) else { return at };
        let extra = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some(extended) = input.get(at + 2..at + 2 + extra) else { return at };
        let len = match extended {
            [] => usize::from(second & 0x7f),
            bytes => bytes.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)),
        };
        let payload = at + 2 + extra + 4;
        let Some(frame) = input.get_mut(at..payload + len) else { return at };
        let (header, body) = frame.split_at_mut(2 + extra + 4);
        let key: [u8; 8] = std::array::from_fn(|i| header[2 + extra + i % 4]);
        let (words, rest) = body.as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(key)).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(key) {
            *byte ^= key;
        }
        reply.extend_from_slice(&[first, second & 0x7f]);
        reply.extend_from_slice(&header[2..2 + extra]);
        reply.extend_from_slice(body);
        at = payload + len;
    }
}
