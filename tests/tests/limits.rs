//! Every limit at its default, one past it, and at a second configured value.
//!
//! | option | tested |
//! |---|---|
//! | `HandshakeLimits`, all four | here; each fault by itself in `crates/hybi/src/handshake` |
//! | `Limits::{max_message, max_frame, max_fragments, max_send_frame}` | here; cut in all ways in `crates/hybi/src/proto/tests` |
//! | `Limits::{output_mark, read_ahead}` | `crates/hybi/tests/backpressure.rs` |
//! | `Limits::linger_bytes`, `Timeouts::violation_flush` | `crates/hybi/tests/closing.rs` |
//! | `Timeouts::{close, linger, write_stall, max_message}` | here; against every peer in `crates/hybi/tests` |
//! | `Timeouts::server_end` | `crates/hybi/tests/closing.rs`: it is a client's |
//! | `WebSocketLayer::policy_timeout`, limits of a policy | `policy_http.rs` |
//! | `WebSocketLayer`, all other options | `layer_options.rs` |
//! | `ServerConfig`, both | `layer_options.rs` |
//!
//! That the layer hands all of its limits and timeouts to its sockets is tested here by those that
//! show on the wire.

use std::{future::Future, net::SocketAddr, time::Duration};

use hyper::body::Incoming;
use tests::{
    client::Client,
    start::{self, echo, inner},
    wire::{header, masked},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tower::{Layer, service_fn};
use tower_websocket::{
    BoxError, Closed, Limits, Timeouts, WebSocket, WebSocketLayer, handler_fn,
    handshake::HandshakeLimits,
};

async fn serve(layer: WebSocketLayer) -> SocketAddr {
    start::hyper(layer.layer(service_fn(inner::<Incoming>))).await
}

// ===== the handshake =====

/// X-10, N-06: each at the limit, one past it, and configured.
#[tokio::test]
async fn the_fields_of_a_handshake_are_bounded() {
    type Field = fn(usize) -> (&'static str, String);
    let names: Field = |n| {
        let names: Vec<_> = (0..n).map(|n| format!("p{n}")).collect();
        ("Sec-WebSocket-Protocol", names.join(","))
    };
    let name_of: Field = |n| ("Sec-WebSocket-Protocol", "x".repeat(n));
    let extension_of: Field = |n| ("Sec-WebSocket-Extensions", "x".repeat(n));
    let offers: Field = |n| ("Sec-WebSocket-Extensions", vec!["x"; n].join(","));
    let parameters: Field = |n| ("Sec-WebSocket-Extensions", format!("x{}", ";a=1".repeat(n)));
    let new = HandshakeLimits::new;
    let table: [(Field, usize, usize, HandshakeLimits); 5] = [
        (names, 64, 3, new().max_subprotocols(3)),
        (name_of, 8192, 100, new().max_field(100)),
        (extension_of, 8192, 100, new().max_field(100)),
        (offers, 16, 2, new().max_extensions(2)),
        (parameters, 16, 1, new().max_extension_parameters(1)),
    ];
    let default = serve(WebSocketLayer::new(handler_fn(echo))).await;
    for (field, limit, second, limits) in table {
        let layer = WebSocketLayer::new(handler_fn(echo)).handshake_limits(limits);
        let configured = serve(layer).await;
        for (addr, limit) in [(default, limit), (configured, second)] {
            for (n, expected) in [(limit, 101), (limit + 1, 400)] {
                let (name, value) = field(n);
                let mut client = Client::connect(addr).await;
                let response = client.handshake("/", &[(name, &value)]).await;
                assert_eq!(response.status, expected, "{name}: {n} of {limit}");
            }
        }
    }
}

// ===== messages =====

/// S-01, F-05, G-05: also where it is announced and not there, and where fragments add up.
#[tokio::test]
async fn a_message_is_held_to_its_limit() {
    for (configured, limit) in [(None, 1 << 20), (Some(1000), 1000)] {
        let mut layer = WebSocketLayer::new(handler_fn(echo));
        if let Some(bytes) = configured {
            layer = layer.limits(Limits::default().max_message(bytes));
        }
        let addr = serve(layer).await;
        let mut client = Client::open(addr, "/").await;
        client.send_frame(0x82, &vec![7; limit]).await;
        let mut received = 0;
        while received < limit {
            received += client.recv().await.1.len();
        }
        client.send_raw(&header(0x82, limit + 1, true)).await;
        client.send_raw(&[0; 4]).await;
        assert_eq!(client.recv_close().await, 1009);

        let mut client = Client::open(addr, "/").await;
        client.send_frame(0x02, &vec![7; limit]).await;
        client.send_frame(0x80, b"x").await;
        assert_eq!(client.recv_close().await, 1009);
    }
}

/// S-01, F-05
#[tokio::test]
async fn a_frame_is_held_to_its_limit_and_to_the_messages_by_default() {
    let layer = WebSocketLayer::new(handler_fn(echo)).limits(Limits::default().max_frame(10));
    let addr = serve(layer).await;
    let mut client = Client::open(addr, "/").await;
    client.send_frame(0x01, b"0123456789").await;
    client.send_frame(0x80, b"0123456789").await;
    assert_eq!(client.recv_text().await, "01234567890123456789");
    client.send_raw(&header(0x82, 11, true)).await;
    client.send_raw(&[0; 4]).await;
    assert_eq!(client.recv_close().await, 1009);
}

/// G-04, S-07: empty fragments count.
#[tokio::test]
async fn the_fragments_of_a_message_are_counted() {
    let layer = || WebSocketLayer::new(handler_fn(echo));
    let table = [
        (layer(), (1 << 20) / 64),
        (layer().limits(Limits::default().max_message(100)), 1024),
        (layer().limits(Limits::default().max_fragments(3)), 3),
    ];
    for (layer, limit) in table {
        let addr = serve(layer).await;
        let message = |frames: usize| {
            let mut wire = masked(0x01, b"");
            wire.extend(masked(0x00, b"").repeat(frames - 2));
            wire.extend(masked(0x80, b"end"));
            wire
        };
        let mut client = Client::open(addr, "/").await;
        client.send_raw(&message(limit)).await;
        assert_eq!(client.recv_text().await, "end");
        client.send_raw(&message(limit + 1)).await;
        assert_eq!(client.recv_close().await, 1008, "{limit} fragments");
    }
}

/// G-07
#[tokio::test]
async fn long_messages_are_sent_in_one_frame_or_in_frames_of_the_configured_length() {
    let addr = serve(WebSocketLayer::new(handler_fn(echo))).await;
    let mut client = Client::open(addr, "/").await;
    for length in [64 * 1024, 64 * 1024 + 1, 1 << 20] {
        client.send_frame(0x82, &vec![7; length]).await;
        assert!(client.recv().await == (0x82, vec![7; length]), "{length}");
    }
    for length in [64 * 1024, 1000] {
        let limits = Limits::default().max_send_frame(length);
        let addr = serve(WebSocketLayer::new(handler_fn(echo)).limits(limits)).await;
        let mut client = Client::open(addr, "/").await;
        client.send_frame(0x82, &vec![7; length]).await;
        assert_eq!(client.recv().await, (0x82, vec![7; length]));
        client.send_frame(0x82, &vec![7; length + 1]).await;
        assert_eq!(client.recv().await, (0x02, vec![7; length]));
        assert_eq!(client.recv().await, (0x80, vec![7]));
    }
}

// ===== time =====

/// A handler that tells of each socket before `serve` has it.
fn watched<F, Fut>(serve: F) -> (impl tower_websocket::Handler, mpsc::UnboundedReceiver<Closed>)
where
    F: FnOnce(WebSocket) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (sender, receiver) = mpsc::unbounded_channel();
    let handler = handler_fn(move |socket: WebSocket| {
        let _ = sender.send(socket.closed());
        serve(socket)
    });
    (handler, receiver)
}

/// How long it takes, in milliseconds of the paused clock.
async fn millis(future: impl Future) -> u128 {
    let start = Instant::now();
    future.await;
    start.elapsed().as_millis()
}

/// L-12, S-07
#[tokio::test(start_paused = true)]
async fn a_close_that_is_not_answered_is_waited_for_as_configured() {
    for (timeouts, expected) in
        [(Timeouts::default(), 5000), (Timeouts::default().close(Duration::from_secs(2)), 2000)]
    {
        let (handler, _) = watched(async |mut socket: WebSocket| {
            socket.send("bye").await?;
            Ok(())
        });
        let addr = serve(WebSocketLayer::new(handler).timeouts(timeouts)).await;
        let mut client = Client::open(addr, "/").await;
        assert_eq!(client.recv_text().await, "bye");
        assert_eq!(client.recv_close().await, 1000);
        let waited = millis(async { assert!(client.at_eof().await) }).await;
        assert!((expected..expected + 10).contains(&waited), "{waited} ms of {expected}");
    }
}

/// L-13: both Closes are done and our side has ended; the peer's stays open.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_end_its_side_is_lingered_for_as_configured() {
    for (timeouts, expected) in
        [(Timeouts::default(), 1000), (Timeouts::default().linger(Duration::from_millis(300)), 300)]
    {
        let (handler, mut sockets) = watched(echo);
        let addr = serve(WebSocketLayer::new(handler).timeouts(timeouts)).await;
        let mut client = Client::open(addr, "/").await;
        let closed = sockets.recv().await.unwrap();
        client.send_close(1000, "").await;
        assert_eq!(client.recv_close().await, 1000);
        let waited = millis(closed).await;
        assert!((expected..expected + 10).contains(&waited), "{waited} ms of {expected}");
    }
}

/// S-07
#[tokio::test(start_paused = true)]
async fn a_write_that_makes_no_progress_ends_the_socket() {
    for (timeouts, expected) in [
        (Timeouts::default(), 30_000),
        (Timeouts::default().write_stall(Duration::from_secs(3)), 3000),
    ] {
        let (handler, mut sockets) = watched(async |mut socket: WebSocket| {
            loop {
                socket.send(vec![0; 1 << 20]).await?;
            }
        });
        let addr = serve(WebSocketLayer::new(handler).timeouts(timeouts)).await;
        let client = Client::open(addr, "/").await;
        let waited = millis(sockets.recv().await.unwrap()).await;
        assert!((expected..expected + 100).contains(&waited), "{waited} ms of {expected}");
        drop(client);
    }
}

/// S-07: a byte now and then does not help.
#[tokio::test(start_paused = true)]
async fn a_message_has_to_arrive_in_time() {
    for (timeouts, expected) in [
        (Timeouts::default(), 30_000),
        (Timeouts::default().max_message(Duration::from_secs(7)), 7000),
    ] {
        let addr = serve(WebSocketLayer::new(handler_fn(echo)).timeouts(timeouts)).await;
        let mut client = Client::open(addr, "/").await;
        client.send_frame(0x01, b"begun").await;
        let start = Instant::now();
        loop {
            tokio::select! {
                code = client.recv_close() => break assert_eq!(code, 1008),
                () = sleep(Duration::from_secs(1)) => {}
            }
            client.send_frame(0x00, b".").await;
        }
        let waited = start.elapsed().as_millis();
        assert!((expected..expected + 10).contains(&waited), "{waited} ms of {expected}");
    }
}
