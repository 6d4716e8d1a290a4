//! What hostile peers do, over hyper and TCP: none of it stops the server, or lasts.

use std::time::Duration;

use axum::{Router, routing::get};
use bytes::Bytes;
use h2::Reason;
use tests::{
    client::Client,
    h2::Connection,
    start::{app, echo, soon, start, until, until_empty},
    wire::{header, masked},
};
use tokio::io::AsyncWriteExt;
use tower_websocket::{Sessions, Timeouts, WebSocket, WebSocketLayer, handler_fn};

/// An echo whose sockets meet their deadlines soon.
async fn impatient(sessions: &Sessions, timeouts: Timeouts) -> std::net::SocketAddr {
    let layer = WebSocketLayer::new(handler_fn(echo)).timeouts(timeouts).sessions(sessions.clone());
    start(Router::new().fallback_service(layer.into_service())).await
}

async fn is_alive(addr: std::net::SocketAddr) {
    let mut client = Client::open(addr, "/").await;
    client.send_text("alive?").await;
    assert_eq!(soon("an echo", client.recv_text()).await, "alive?");
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
}

/// S-07: CVE-2020-35896 and the like.
#[tokio::test]
async fn a_peer_that_does_not_read_is_dropped_after_the_stall_timeout() {
    let sessions = Sessions::new();
    let timeouts = Timeouts::default().write_stall(Duration::from_millis(100));
    let addr = impatient(&sessions, timeouts).await;
    let mut client = Client::open(addr, "/").await;
    let burst = masked(0x82, &[0; 60_000]);
    let write = async { while client.stream.write_all(&burst).await.is_ok() {} };
    soon("the end of the connection", write).await;
    until_empty(&sessions).await;
    is_alive(addr).await;
}

/// F-04, F-05: CVE-2020-13935, CVE-2025-1695, RUSTSEC-2022-0035 and the like.
#[tokio::test]
async fn huge_lengths_are_refused_by_their_headers() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    for (length, code) in [
        (u64::MAX, 1002),
        (1 << 63, 1002),
        ((1 << 63) - 1, 1009),
        (u64::MAX - 13, 1002),
        ((1 << 32) + 5, 1009),
        ((1 << 20) + 1, 1009),
    ] {
        let mut client = Client::open(addr, "/").await;
        let mut frame = vec![0x82, 0xff];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        client.send_raw(&frame).await;
        assert_eq!(soon("a Close", client.recv_close()).await, code, "{length}");
        assert!(soon("the end", client.at_eof()).await);
    }
    until_empty(&sessions).await;
}

/// S-07: what was announced has to come.
#[tokio::test]
async fn announced_messages_that_do_not_come_end_in_1008() {
    let sessions = Sessions::new();
    let timeouts = Timeouts::default().max_message(Duration::from_millis(50));
    let addr = impatient(&sessions, timeouts).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut client = Client::open(addr, "/").await;
        let mut head = header(0x82, 1 << 20, true);
        head.extend([0; 4]);
        client.send_raw(&head).await;
        clients.push(client);
    }
    for mut client in clients {
        assert_eq!(soon("a Close", client.recv_close()).await, 1008);
    }
    until_empty(&sessions).await;
}

/// K-03: a flood that is answered does not keep others waiting, nor ends.
#[tokio::test]
async fn floods_of_pings_and_pongs_leave_others_alone() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    for first in [0x89, 0x8a] {
        let mut flooder = Client::open(addr, "/").await;
        let burst = masked(first, &[0; 100]).repeat(1000);
        for _ in 0..50 {
            flooder.send_raw(&burst).await;
            while let Ok(1..) = flooder.stream.try_read(&mut [0; 64 * 1024]) {}
        }
        is_alive(addr).await;
        drop(flooder);
        until_empty(&sessions).await;
    }
}

/// CVE-2022-41940 and the like: resets at every stage.
#[tokio::test]
async fn a_storm_of_resets_leaves_nothing() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    for n in 0..300 {
        let mut client = Client::connect(addr).await;
        client.stream.set_zero_linger().unwrap();
        match n % 6 {
            0 => {}
            1 => client.send_raw(b"GET / HTTP/1.1\r\nHost: x").await,
            2 => {
                let head = format!(
                    "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n\r\n",
                    tests::client::KEY
                );
                client.send_raw(head.as_bytes()).await;
            }
            _ => {
                assert_eq!(client.handshake("/", &[]).await.status, 101);
                match n % 3 {
                    0 => client.send_text("an echo that nobody waits for").await,
                    1 => client.send_raw(&masked(0x81, &[b'x'; 1000])[..500]).await,
                    _ => client.send_close(1000, "").await,
                }
            }
        }
        drop(client);
    }
    is_alive(addr).await;
    until_empty(&sessions).await;
}

/// S-07, CVE-2023-43669: a head that never ends is not read for ever.
#[tokio::test]
async fn heads_that_are_too_long_are_refused() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let endless = b"X-Padding: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    let mut client = Client::connect(addr).await;
    client.send_raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n").await;
    let write = async {
        let mut written = 0;
        while client.stream.write_all(&endless.repeat(100)).await.is_ok() {
            written += 100 * endless.len();
            assert!(written < 64 << 20, "without end");
        }
    };
    soon("an end to it", write).await;
    // As many fields as hide the handshake's own from a parser with a limit.
    let mut client = Client::connect(addr).await;
    let mut head = String::from("GET / HTTP/1.1\r\nHost: localhost\r\n");
    for n in 0..2000 {
        head.push_str(&format!("X-{n}: y\r\n"));
    }
    for (name, value) in tests::client::UPGRADE {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    client.send_raw(format!("{head}\r\n").as_bytes()).await;
    assert_eq!(soon("an answer", client.response()).await.status, 431);
    is_alive(addr).await;
    until_empty(&sessions).await;
}

/// GHSA-5v72-xg48-5rpm, CVE-2020-7662: names that are special elsewhere, and quotes without end.
#[tokio::test]
async fn strange_offers_neither_stop_the_server_nor_take_time() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let quotes = format!("a; b=\"{}", "\\\"".repeat(2000));
    let spaces = format!("a{}b", " ".repeat(4000));
    for (name, value, status) in [
        ("Sec-WebSocket-Extensions", "constructor", 101),
        ("Sec-WebSocket-Extensions", "__proto__; toString=1", 101),
        ("Sec-WebSocket-Extensions", &*quotes, 400),
        ("Sec-WebSocket-Extensions", &*spaces, 400),
        ("Sec-WebSocket-Protocol", "constructor, __proto__", 101),
        ("Sec-WebSocket-Protocol", &*spaces, 400),
    ] {
        let mut client = Client::connect(addr).await;
        let response = soon("an answer", client.handshake("/", &[(name, value)])).await;
        assert_eq!(response.status, status, "{name}: {}", &value[..value.len().min(40)]);
        assert_eq!(response.field("sec-websocket-extensions"), None);
        assert_eq!(response.field("sec-websocket-protocol"), None);
    }
    is_alive(addr).await;
    until_empty(&sessions).await;
}

/// RUSTSEC-2026-0258, CVE-2023-44487: floods of a stream that nobody reads, and of resets. h2 ends the
/// connection; other connections and what is left of this one's sockets are the server's business.
#[tokio::test]
async fn http_2_floods_end_their_own_connection_at_most() {
    let sessions = Sessions::new();
    let handler = handler_fn(|socket: WebSocket| async move {
        socket.closing().await;
    });
    let addr = start(app(handler, &sessions).route("/plain", get(async || "plain"))).await;
    let bystander = Connection::connect(addr).await;
    let _socket = bystander.open("/").await;
    assert_eq!(sessions.len(), 1);

    let empty = Connection::connect(addr).await;
    let mut stream = empty.open("/").await;
    for _ in 0..100_000 {
        if stream.send.send_data(Bytes::new(), false).is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop((stream, empty));

    let resets = Connection::connect(addr).await;
    for _ in 0..1000 {
        let mut request = resets.handshake("/");
        request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
        let Ok((_, mut stream)) = resets.send(request).await else { break };
        stream.send.send_reset(Reason::CANCEL);
    }
    drop(resets);

    until("all sockets but the bystander's to end", || sessions.len() == 1).await;
    assert_eq!(bystander.get("/plain").await.1, b"plain");
}

/// A violation of one stream is that stream's alone.
#[tokio::test]
async fn violations_over_http_2_spare_the_other_streams() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let connection = Connection::connect(addr).await;
    let mut good = connection.open("/").await;
    for bad in [&b"\xc1\x80abcd"[..], b"\x81\x81abcd\x9e", b"\x83\x80abcd", b"\x80\x80abcd"] {
        let mut stream = connection.open("/").await;
        stream.send_raw(Bytes::copy_from_slice(bad)).await;
        let code = soon("a Close", stream.recv_close()).await;
        assert!(code == 1002 || code == 1007, "{code}");
        assert_eq!(soon("the end", stream.reset()).await, None);
        stream.end();
    }
    good.send_frame(0x81, b"unharmed").await;
    assert_eq!(good.recv().await, (0x81, b"unharmed".to_vec()));
    until("one socket", || sessions.len() == 1).await;
}
