//! The keep-alive, the grace of handlers and the deadlines of a socket's life, as the layer and the client set
//! them. What each does in detail is tested in `hybi`.

use std::time::Duration;

use axum::Router;
use tests::{
    client::Client,
    dial::client_with,
    start::{self, app, echo, soon, until_empty},
};
use tower::ServiceBuilder;
use tower_websocket::{
    KeepAlive, Sessions, Timeouts, WebSocket, WebSocketLayer, client::ClientOptions, handler_fn,
};

const SHORT: Duration = Duration::from_millis(100);

fn often() -> KeepAlive {
    KeepAlive::default().interval(SHORT).timeout(Duration::from_secs(20))
}

/// K-06
#[tokio::test]
async fn a_layer_pings_as_it_was_told_to() {
    let layer = WebSocketLayer::new(handler_fn(echo)).keep_alive(often());
    let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
    let mut client = Client::open(addr, "/").await;
    for _ in 0..3 {
        let (first, payload) = soon("a ping", client.try_recv_any()).await.unwrap();
        assert_eq!(first, 0x89);
        client.send_frame(0x8a, &payload).await;
    }

    let layer = WebSocketLayer::new(handler_fn(echo)).keep_alive(often()).keep_alive(None);
    let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
    let mut client = Client::open(addr, "/").await;
    assert!(tokio::time::timeout(3 * SHORT, client.try_recv_any()).await.is_err());
}

/// K-06
#[tokio::test]
async fn a_layer_drops_a_client_that_is_silent_and_frees_its_place() {
    let sessions = Sessions::new();
    let handler = ServiceBuilder::new().concurrency_limit(1).service(handler_fn(echo));
    let layer = WebSocketLayer::new(handler)
        .keep_alive(KeepAlive::default().interval(SHORT).timeout(SHORT))
        .sessions(sessions.clone());
    let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
    let silent = Client::open(addr, "/").await;
    until_empty(&sessions).await;
    let mut next = Client::open(addr, "/").await;
    next.send_text("there is room").await;
    assert_eq!(next.recv_text().await, "there is room");
    drop(silent);
}

/// K-06: the client's own, which a server's program does not see.
#[tokio::test]
async fn a_client_pings_as_it_was_told_to_and_knows_the_round_trip() {
    let sessions = Sessions::new();
    let addr = start::start(app(handler_fn(echo), &sessions)).await;
    let uri: http::Uri = format!("ws://{addr}/").parse().unwrap();
    for (options, pings) in [
        (ClientOptions::new().keep_alive(often()), true),
        (ClientOptions::new().keep_alive(None), false),
    ] {
        let mut socket = client_with(options).connect(uri.clone()).await.unwrap().into_body();
        assert_eq!(socket.round_trip(), None);
        let received = tokio::time::timeout(5 * SHORT, socket.recv()).await;
        assert!(received.is_err(), "there are no messages");
        assert_eq!(socket.round_trip().is_some(), pings);
        socket.close().await.unwrap();
    }
}

/// L-15: a handler that awaits something else holds its place no longer than the grace lasts.
#[tokio::test]
async fn a_handler_that_does_not_receive_ends_after_its_clients_have_left() {
    let sessions = Sessions::new();
    let handler = ServiceBuilder::new().concurrency_limit(2).service(handler_fn(
        async |socket: WebSocket| {
            let _socket = socket;
            std::future::pending::<Result<(), _>>().await
        },
    ));
    let layer = WebSocketLayer::new(handler)
        .timeouts(Timeouts::default().handler_grace(SHORT))
        .sessions(sessions.clone());
    let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
    for round in 0..3 {
        let mut one = Client::open(addr, "/").await;
        let two = Client::open(addr, "/").await;
        assert_eq!(Client::connect(addr).await.handshake("/", &[]).await.status, 503, "{round}");
        one.send_close(1000, "").await;
        assert_eq!(one.recv_close().await, 1000, "at once");
        drop(two);
        until_empty(&sessions).await;
    }
}

#[tokio::test]
async fn a_socket_lives_no_longer_and_is_idle_no_longer_than_allowed() {
    for (timeouts, code) in
        [(Timeouts::default().max_lifetime(SHORT), 1001), (Timeouts::default().idle(SHORT), 1000)]
    {
        let layer = WebSocketLayer::new(handler_fn(echo)).timeouts(timeouts);
        let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
        let mut client = Client::open(addr, "/").await;
        assert_eq!(soon("a Close", client.recv_close()).await, code);
    }
}
