//! Promises of the layer.

use std::{future::pending, time::Duration};

use http::Request;
use tests::{client::UPGRADE, wire::masked};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_websocket::{
    Handler, Message, Sessions, WebSocket, WebSocketLayer, handler_fn, per_message,
    upgrade::Upgrade,
};

fn handshake(io: DuplexStream) -> Request<()> {
    let mut request = Request::get("/").header("host", "localhost");
    for (name, value) in UPGRADE {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    request.extensions_mut().insert(Upgrade::from_io(io));
    request
}

async fn open(handler: impl Handler, sessions: &Sessions) -> DuplexStream {
    let (io, peer) = tokio::io::duplex(1 << 16);
    let layer = WebSocketLayer::new(handler).sessions(sessions.clone());
    let response = layer.into_service().oneshot(handshake(io)).await.unwrap();
    assert_eq!(response.status(), 101);
    peer
}

/// As hyper does with the futures of a service whose client is gone.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_being_served_does_not_keep_the_socket_of_a_peer_that_is_gone() {
    let sessions = Sessions::new();
    let service = tower::service_fn(|_: Message| pending::<Result<(), std::io::Error>>());
    let mut peer = open(per_message(service), &sessions).await;
    peer.write_all(&masked(0x81, b"work")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(sessions.len(), 0);
}

/// `Drained::ended` is the number of sessions that ended, not of handshakes that were refused.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_refused_during_a_drain_is_no_session_that_ended() {
    let sessions = Sessions::new();
    let handler = ServiceBuilder::new().concurrency_limit(1).service(handler_fn(
        |mut socket: WebSocket| async move {
            while socket.recv().await?.is_some() {}
            Ok(())
        },
    ));
    let mut service = WebSocketLayer::new(handler).sessions(sessions.clone()).into_service();
    let (io, _peer) = tokio::io::duplex(1 << 16);
    let response = service.call(handshake(io)).await.unwrap();
    assert_eq!(response.status(), 101);
    let (io, _other) = tokio::io::duplex(1 << 16);
    let waiting = tokio::spawn(service.call(handshake(io)));
    tokio::task::yield_now().await;
    let drained = sessions.drain(Duration::from_secs(1)).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert_eq!((drained.ended, drained.aborted), (0, 1));
}
