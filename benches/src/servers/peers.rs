//! Other libraries, each written as its users would.

use std::future::{Future, ready};

use axum::{
    Router,
    extract::ws::{Message as AxumMessage, WebSocket as AxumSocket, WebSocketUpgrade},
    routing::any,
};
use bytes::Bytes;
use fastwebsockets::{FragmentCollector, OpCode, WebSocketError};
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Incoming, upgrade::Upgraded};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tokio_websockets::ServerBuilder;

// ===== axum =====

pub(super) fn axum_ws<F>(echo: fn(AxumSocket) -> F) -> TowerToHyperService<Router>
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

pub(super) async fn axum_echo(mut socket: AxumSocket) -> Result<(), axum::Error> {
    while let Some(message) = socket.recv().await.transpose()? {
        if matches!(message, AxumMessage::Text(_) | AxumMessage::Binary(_)) {
            socket.send(message).await?;
        }
    }
    Ok(())
}

pub(super) async fn axum_forward(socket: AxumSocket) -> Result<(), axum::Error> {
    let (sink, stream) = socket.split();
    stream
        .try_filter(|message| {
            ready(matches!(message, AxumMessage::Text(_) | AxumMessage::Binary(_)))
        })
        .forward(sink)
        .await
}

// ===== fastwebsockets =====

pub(super) async fn fastwebsockets(
    mut request: Request<Incoming>,
    work: impl Fn() + Send + 'static,
) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgrade) = fastwebsockets::upgrade::upgrade(&mut request)?;
    tokio::spawn(async move {
        // Puts fragmented messages together, as everybody else does.
        let mut socket = FragmentCollector::new(upgrade.await?);
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Text | OpCode::Binary => {
                    work();
                    socket.write_frame(frame).await?;
                }
                OpCode::Close => return Ok::<_, WebSocketError>(()),
                _ => {}
            }
        }
    });
    Ok(response)
}

// ===== tokio-websockets =====

pub(super) async fn tokio_websockets(
    io: Upgraded,
    work: impl Fn(),
) -> Result<(), tokio_websockets::Error> {
    let mut socket = ServerBuilder::new().serve(TokioIo::new(io));
    while let Some(message) = socket.next().await.transpose()? {
        if message.is_text() || message.is_binary() {
            work();
            socket.send(message).await?;
        }
    }
    Ok(())
}

pub(super) async fn tokio_websockets_forward(io: Upgraded) -> Result<(), tokio_websockets::Error> {
    let (sink, stream) = ServerBuilder::new().serve(TokioIo::new(io)).split();
    stream.try_filter(|message| ready(message.is_text() || message.is_binary())).forward(sink).await
}
