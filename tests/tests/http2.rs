//! WebSockets over HTTP/2 (RFC 8441), as a client sees them that speaks it frame by frame.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, extract::Request, routing::get};
use h2::{Reason, client::Builder, ext::Protocol};
use http::{HeaderValue, Method, Response};
use tests::{
    h2::{Connection, Stream},
    start::{app, echo, soon, start, until, until_empty},
    wire::{close_body, header, masked},
};
use tokio::sync::mpsc;
use tower_websocket::{
    Bytes, Sessions, WebSocket, WebSocketLayer, handler_fn, policy::Subprotocols,
};

/// An echo below `/ws`, and an inner service that says what reached it.
async fn echo_app(sessions: &Sessions) -> Connection {
    let layer = WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone());
    let inner = async |request: Request| format!("inner service: {}", request.method());
    let router = Router::new()
        .route("/ws", axum::routing::any(inner).layer(layer))
        .route("/plain", get(async || "plain"))
        .fallback(inner);
    Connection::connect(start(router).await).await
}

/// Sends a handshake with these fields, the version among them.
async fn handshake(connection: &Connection, fields: &[(&str, &str)]) -> (Response<()>, Stream) {
    let mut request = connection.handshake("/ws");
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    soon("an answer", connection.send(request)).await.unwrap()
}

const VERSION: (&str, &str) = ("sec-websocket-version", "13");

/// E-01, E-09, E-12
#[tokio::test]
async fn a_connect_with_the_version_alone_opens_a_socket() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    assert!(connection.takes_extended_connect());
    let (response, mut stream) = handshake(&connection, &[VERSION]).await;
    assert_eq!(response.status(), 200);
    assert!(!stream.recv.is_end_stream());
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length"] {
        assert!(!response.headers().contains_key(name), "{name}");
    }
    stream.send_frame(0x81, b"hello").await;
    assert_eq!(stream.recv().await, (0x81, b"hello".to_vec()));
    assert_eq!(sessions.len(), 1);
}

/// E-17, L-06: Close, Close, END_STREAM, and no RST_STREAM, which browsers take for a failure.
#[tokio::test]
async fn after_both_closes_the_server_ends_the_stream_in_order() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let mut stream = connection.open("/ws").await;
    stream.send_frame(0x88, &close_body(1000, "bye")).await;
    assert_eq!(stream.recv_close().await, 1000);
    assert_eq!(soon("the end", stream.reset()).await, None, "END_STREAM comes first");
    stream.end();
    until_empty(&sessions).await;

    // A client may end its direction together with its Close.
    let mut stream = connection.open("/ws").await;
    stream.send_frame(0x88, &close_body(1000, "")).await;
    stream.end();
    assert_eq!(stream.recv_close().await, 1000);
    assert_eq!(soon("the end", stream.reset()).await, None);
    until_empty(&sessions).await;
    assert_eq!(connection.get("/plain").await.1, b"plain");
}

/// E-17, L-15
#[tokio::test]
async fn a_handler_that_returns_sends_close_first_and_then_ends_the_stream() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(async |_: WebSocket| ()), &sessions)).await;
    let connection = Connection::connect(addr).await;
    let mut stream = connection.open("/").await;
    assert_eq!(stream.recv_close().await, 1000);
    stream.send_frame(0x88, &close_body(1000, "")).await;
    assert_eq!(soon("the end", stream.reset()).await, None);
    stream.end();
    until_empty(&sessions).await;
}

/// E-16, F-07: frames have nothing to do with DATA frames.
#[tokio::test]
async fn frames_may_be_cut_into_data_frames_anywhere() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let mut stream = connection.open("/ws").await;
    let mut bytes = masked(0x01, "grüße ".as_bytes());
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x80, &[b'x'; 300]));
    bytes.extend(masked(0x82, b""));
    for cut in 1..bytes.len() {
        stream.send_raw(bytes[..cut].to_vec()).await;
        stream.send_raw(Bytes::new()).await;
        stream.send_raw(bytes[cut..].to_vec()).await;
        let (first, text) = stream.recv().await;
        // The pong may come before or behind the message that the ping stood in.
        let (pong, text) = match first {
            0x8a => (text, stream.recv().await.1),
            _ => (stream.recv().await.1, text),
        };
        assert_eq!(pong, b"ping");
        assert_eq!(text, ["grüße ".as_bytes(), &[b'x'; 300]].concat());
        assert_eq!(stream.recv().await, (0x82, Vec::new()));
    }
    for byte in masked(0x81, b"byte by byte") {
        stream.send_raw(vec![byte]).await;
    }
    assert_eq!(stream.recv().await, (0x81, b"byte by byte".to_vec()));
}

/// E-16, M-02: masking is required although HTTP/2 does not need what it is for.
#[tokio::test]
async fn an_unmasked_frame_ends_its_stream_with_1002_and_no_other() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let mut other = connection.open("/ws").await;
    let mut stream = connection.open("/ws").await;
    stream.send_raw([&header(0x81, 5, false), &b"hello"[..]].concat()).await;
    assert_eq!(stream.recv_close().await, 1002);
    assert_eq!(soon("the end", stream.reset()).await, None);
    stream.end();
    other.send_frame(0x81, b"unharmed").await;
    assert_eq!(other.recv().await, (0x81, b"unharmed".to_vec()));
    until("one socket less", || sessions.len() == 1).await;
}

/// E-10, E-13, O-02
#[tokio::test]
async fn a_refused_handshake_is_answered_in_full_and_the_connection_goes_on() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let (response, mut stream) =
        handshake(&connection, &[VERSION, ("origin", "https://evil.example")]).await;
    assert_eq!(response.status(), 403);
    assert!(!response.headers().contains_key("connection"));
    assert!(!soon("the end", stream.rest()).await.is_empty(), "a reason");
    assert!(sessions.is_empty());
    assert_eq!(connection.get("/plain").await.1, b"plain");

    let origin = connection.handshake("/ws").uri().authority().unwrap().to_string();
    let fields = [VERSION, ("origin", &*format!("http://{origin}"))];
    assert_eq!(handshake(&connection, &fields).await.0.status(), 200);
    let fields = [VERSION, ("origin", &*format!("https://{origin}"))];
    assert_eq!(handshake(&connection, &fields).await.0.status(), 403, "the scheme is known");
}

/// E-11
#[tokio::test]
async fn a_wrong_version_is_answered_with_400_and_the_right_one() {
    let connection = echo_app(&Sessions::new()).await;
    for fields in [&[("sec-websocket-version", "12")][..], &[]] {
        let (response, mut stream) = handshake(&connection, fields).await;
        assert_eq!(response.status(), 400, "{fields:?}");
        stream.rest().await;
    }
    let (response, _) = handshake(&connection, &[("sec-websocket-version", "12")]).await;
    assert_eq!(response.headers()["sec-websocket-version"], "13");
}

/// E-08
#[tokio::test]
async fn a_host_field_that_contradicts_the_authority_is_refused() {
    let connection = echo_app(&Sessions::new()).await;
    let (response, _) = handshake(&connection, &[VERSION, ("host", "other.example")]).await;
    assert_eq!(response.status(), 400);
    let same = connection.handshake("/ws").uri().authority().unwrap().to_string();
    let (response, _) = handshake(&connection, &[VERSION, ("host", &same)]).await;
    assert_eq!(response.status(), 200);
}

/// E-07, R-09
#[tokio::test]
async fn other_protocols_and_plain_connect_reach_the_inner_service() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let mut request = connection.handshake("/ws");
    request.extensions_mut().insert(Protocol::from_static("connect-udp"));
    request.headers_mut().insert(VERSION.0, HeaderValue::from_static(VERSION.1));
    let (response, _stream) = connection.send(request).await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(sessions.is_empty());

    let mut request = connection.request(Method::CONNECT, "");
    *request.uri_mut() = "example.com:443".parse().unwrap();
    let (response, _stream) = connection.send(request).await.unwrap();
    assert_eq!(response.status(), 200, "what the inner service says");

    let (response, body) = connection.get("/ws").await;
    assert_eq!((response.status().as_u16(), &*body), (200, &b"inner service: GET"[..]));
    assert!(sessions.is_empty());
}

/// E-10, N-09
#[tokio::test]
async fn the_subprotocol_is_chosen_as_over_http_1() {
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        let chosen = socket.subprotocol().unwrap_or("none").to_owned();
        socket.send(chosen).await?;
        Ok(())
    });
    let layer = WebSocketLayer::new(handler)
        .policy(Subprotocols::from_static(["chat.v2", "chat.v1"]))
        .sessions(sessions.clone());
    let router = Router::new().fallback_service(layer.into_service());
    let connection = Connection::connect(start(router).await).await;
    let offer = ("sec-websocket-protocol", "other, chat.v1, chat.v2");
    let (response, mut stream) = handshake(&connection, &[VERSION, offer]).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v2");
    assert_eq!(stream.recv().await, (0x81, b"chat.v2".to_vec()));
}

///
#[tokio::test]
async fn one_connection_carries_many_sockets_and_plain_requests_at_once() {
    let sessions = Sessions::new();
    let connection = echo_app(&sessions).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(connection.open("/ws").await);
    }
    assert_eq!(sessions.len(), 20);
    for round in 0..5 {
        for (n, stream) in streams.iter_mut().enumerate() {
            stream.send_frame(0x81, format!("{round} {n}").as_bytes()).await;
        }
        assert_eq!(connection.get("/plain").await.1, b"plain");
        for (n, stream) in streams.iter_mut().enumerate() {
            assert_eq!(stream.recv().await, (0x81, format!("{round} {n}").into_bytes()));
        }
    }
    // Half of them are reset, the others go on.
    for stream in streams.iter_mut().step_by(2) {
        stream.send.send_reset(Reason::CANCEL);
    }
    until("ten sockets less", || sessions.len() == 10).await;
    for stream in streams.iter_mut().skip(1).step_by(2) {
        stream.send_frame(0x81, b"still here").await;
        assert_eq!(stream.recv().await, (0x81, b"still here".to_vec()));
    }
    assert_eq!(connection.get("/plain").await.1, b"plain");
}

/// E-16, S-01
#[tokio::test]
async fn the_largest_message_goes_both_ways_through_small_windows() {
    let connection = echo_app(&Sessions::new()).await;
    let mut stream = connection.open("/ws").await;
    let payload: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    stream.send_frame(0x82, &payload).await;
    let mut received = Vec::new();
    let mut first = 0;
    while first & 0x80 == 0 {
        let (byte, part) = soon("a frame", stream.recv()).await;
        first = byte;
        received.extend(part);
    }
    assert!(received == payload);
}

/// E-15, E-17, E-18, E-19, L-05: also with a code that says that nothing is wrong.
#[tokio::test]
async fn a_reset_stream_is_a_lost_peer() {
    let sessions = Sessions::new();
    let (told, mut received) = mpsc::unbounded_channel();
    let handler = handler_fn(move |mut socket: WebSocket| async move {
        let _ = told.send(socket.recv().await.map(|_| ()).map_err(|it| it.is_disconnect()));
    });
    let connection = Connection::connect(start(app(handler, &sessions)).await).await;
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let mut stream = connection.open("/").await;
        stream.send.send_reset(reason);
        assert_eq!(soon("the end", received.recv()).await, Some(Err(true)), "{reason}");
        until_empty(&sessions).await;
    }
    // Trailers are no part of a WebSocket.
    let mut stream = connection.open("/").await;
    stream.send.send_trailers(http::HeaderMap::new()).unwrap();
    assert_eq!(soon("the end", received.recv()).await, Some(Err(true)));
    until_empty(&sessions).await;
    // Nor is END_STREAM a Close.
    let mut stream = connection.open("/").await;
    stream.end();
    assert_eq!(soon("the end", received.recv()).await, Some(Err(true)));
    assert_eq!(soon("the end", stream.reset()).await, None);
    until_empty(&sessions).await;
}

/// S-07: hyper takes whatever it is given, so that only what we give it is bounded.
#[tokio::test]
async fn a_peer_that_opens_no_window_holds_the_handler_back() {
    let sessions = Sessions::new();
    let taken = Arc::new(AtomicUsize::new(0));
    let handler = handler_fn({
        let taken = Arc::clone(&taken);
        |mut socket: WebSocket| async move {
            let payload = Bytes::from(vec![0; 16 * 1024]);
            while socket.send(payload.clone()).await.is_ok() {
                taken.fetch_add(payload.len(), Ordering::Relaxed);
            }
        }
    });
    let addr = start(app(handler, &sessions).route("/plain", get(async || "plain"))).await;
    let mut closed = Builder::new();
    closed.initial_window_size(0);
    let connection = Connection::connect_with(addr, &closed).await;
    let _stream = connection.open("/").await;
    // Requests that need no window show that the server goes on meanwhile.
    let mut last = 0;
    for _ in 0..200 {
        let (response, _) = connection.head("/plain").await;
        assert_eq!(response.status(), 200);
        last = taken.load(Ordering::Relaxed);
    }
    println!("{last} bytes were taken for a peer without a window");
    assert!(last <= 512 * 1024, "{last} bytes");
    for _ in 0..200 {
        connection.head("/plain").await;
    }
    assert_eq!(taken.load(Ordering::Relaxed), last, "no more is taken");
}

/// E-20, R-23: flow control stops the peer of a stuck handler before h2 takes its small frames for an attack
/// and ends the whole connection.
#[tokio::test]
async fn small_frames_for_a_handler_that_does_not_receive_leave_other_streams_alone() {
    let sessions = Sessions::new();
    let handler = handler_fn(|socket: WebSocket| async move {
        std::future::pending::<()>().await;
        drop(socket);
    });
    let layer = WebSocketLayer::new(handler).sessions(sessions.clone());
    let router = Router::new()
        .route("/plain", get(async || "plain"))
        .route_service("/stuck", layer.into_service())
        .route_service("/ws", WebSocketLayer::new(handler_fn(echo)).into_service());
    let connection = Connection::connect(start(router).await).await;
    let mut other = connection.open("/ws").await;
    let mut stuck = connection.open("/stuck").await;
    let frame = masked(0x82, b"");
    let (mut sent, mut waits) = (0, 0);
    while waits < 20 {
        stuck.send.reserve_capacity(frame.len());
        if stuck.send.capacity() >= frame.len() {
            stuck.send_raw(frame.clone()).await;
            sent += 1;
            waits = 0;
        } else {
            // A window that opens comes before the answer.
            assert_eq!(connection.get("/plain").await.1, b"plain");
            waits += 1;
        }
    }
    println!("{sent} frames were sent to a handler that does not receive");
    other.send_frame(0x81, b"unharmed").await;
    assert_eq!(soon("an echo", other.recv()).await, (0x81, b"unharmed".to_vec()));
}
