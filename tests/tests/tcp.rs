//! What the layer does with a TCP stream that it is given, and with a server that gives it none.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::any};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tests::{
    client::Client,
    start::{self, echo, soon},
};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    time::{Instant, sleep},
};
use tower_websocket::{WebSocket, WebSocketLayer, handler_fn};

/// How long three replies take that are sent a moment apart: the median of many times.
async fn three_replies(nodelay: Option<bool>) -> Duration {
    let handler = handler_fn(|mut socket: WebSocket| async move {
        while let Some(message) = socket.recv().await? {
            for _ in 0..3 {
                socket.send(message.clone()).await?;
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    });
    let mut layer = WebSocketLayer::new(handler);
    if let Some(nodelay) = nodelay {
        layer = layer.tcp_nodelay(nodelay);
    }
    let addr = start::axum(Router::new().route_service("/", layer.into_service())).await;
    let mut client = Client::open(addr, "/").await;
    let mut all = Vec::new();
    for _ in 0..41 {
        let begun = Instant::now();
        client.send_text("x").await;
        for _ in 0..3 {
            client.recv_text().await;
        }
        all.push(begun.elapsed());
    }
    all.sort();
    all[all.len() / 2]
}

/// The client's acknowledgement may come 40 ms late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_do_not_wait_for_the_acknowledgement_of_the_one_before() {
    assert!(three_replies(None).await < Duration::from_millis(30));
    let late = three_replies(Some(false)).await;
    if cfg!(target_os = "linux") {
        assert!(late >= Duration::from_millis(30), "the option does nothing: {late:?}");
    }
}

/// A 101 that leads nowhere.
#[tokio::test]
async fn a_server_that_drops_upgraded_connections_is_named() {
    for automatic in [false, true] {
        let (sender, mut errors) = mpsc::unbounded_channel();
        let sender = Mutex::new(sender);
        let layer = WebSocketLayer::new(handler_fn(echo)).on_upgrade_error(move |error| {
            let told = (error.is_missing(), error.is_timeout(), error.to_string());
            sender.lock().unwrap().send(told).unwrap();
        });
        let app = Router::new().route("/", any(async || "page")).layer(layer);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let service = Arc::new(TowerToHyperService::new(app));
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let io = TokioIo::new(stream);
            if automatic {
                let builder = auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(io, service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(io, service).await;
            }
        });
        let mut client = Client::connect(addr).await;
        assert_eq!(client.handshake("/", &[]).await.status, 101);
        assert!(client.at_eof().await);
        let (missing, timeout, text) = soon("the error", errors.recv()).await.unwrap();
        assert!(missing && !timeout, "{text}");
        assert!(text.contains("with_upgrades"), "{text}");
    }
}
