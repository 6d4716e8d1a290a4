//! What sockets cost over hyper, the layer and TCP: live heap by a counting allocator, the server's
//! side alone where a figure is per socket, without the buffers that each thread has for all of
//! its sockets.

use std::{convert::Infallible, net::SocketAddr};

use axum::Router;
use h2::client::Builder;
use http::header::USER_AGENT;
use tests::{
    client::Client,
    h2::Connection,
    heap::{Counting, growth, live},
    start::{app, echo, start, until, until_empty},
    wire::masked,
};
use tower_websocket::{
    Bytes, Message, Sessions, WebSocket, WebSocketLayer, commit::CommitLayer, handler_fn,
    handler_fn_with_request, per_message, policy::Subprotocols,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One at a time: the counters are the whole process's.
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        idle_sockets_cost_what_they_did().await;
        idle_sockets_retain_nothing_of_their_requests().await;
        opening_and_closing_leaves_nothing().await;
        fragments_of_one_byte_on_forty_connections_cost_what_they_carry().await;
        peers_that_do_not_read_cost_the_output_mark().await;
        an_http_2_peer_without_a_window_costs_little_more().await;
    });
    println!("memory_layer: 6 passed, 0 failed");
}

async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

const FIELDS: [(&str, &str); 2] =
    [("Sec-WebSocket-Protocol", "chat.v2, chat.v1"), ("User-Agent", "a program for tests")];

/// What a socket has behind it when it is idle.
#[derive(Clone, Copy, Debug)]
enum Past {
    Nothing,
    /// A message that came in two reads was echoed.
    CutMessage,
    /// A message of 1 MiB was echoed.
    LargeMessage,
}

/// The client's side without any heap.
async fn open(addr: SocketAddr, past: Past) -> std::net::TcpStream {
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/chat", &FIELDS).await;
    assert_eq!(response.status, 101);
    match past {
        Past::Nothing => {}
        Past::CutMessage => {
            let frame = masked(0x82, &[7; 500]);
            client.send_raw(&frame[..100]).await;
            settle().await;
            client.send_raw(&frame[100..]).await;
            assert_eq!(client.recv().await, (0x82, vec![7; 500]));
        }
        Past::LargeMessage => {
            let payload = vec![7; 1 << 20];
            client.send_frame(0x82, &payload).await;
            assert_eq!(client.recv().await, (0x82, payload));
        }
    }
    client.stream.into_std().unwrap()
}

/// An idle socket costs what is recorded here, within 5 %, whatever it is and has behind it.
async fn idle_sockets_cost_what_they_did() {
    let layer = || WebSocketLayer::new(handler_fn(echo));
    for past in [Past::Nothing, Past::CutMessage, Past::LargeMessage] {
        let each = measure_after(past, "handler_fn", layer(), |it| it).await;
        assert!((1186..=1310).contains(&each), "{past:?}: {each} bytes");
    }
    let split = WebSocketLayer::new(handler_fn(async |socket: WebSocket| {
        let (sender, mut receiver) = socket.split();
        while let Some(message) = receiver.recv().await? {
            sender.send(message).await?;
        }
        Ok(())
    }));
    let each = measure_after(Past::CutMessage, "split", split, |it| it).await;
    assert!((1520..=1680).contains(&each), "{each} bytes");
}

/// hyper reads heads into 16 KiB, and whatever is kept of a head keeps all of it.
async fn idle_sockets_retain_nothing_of_their_requests() {
    measure("handler_fn", WebSocketLayer::new(handler_fn(echo)), |it| it).await;
    let large = [0; 8 * 1024];
    measure(
        "a large handler",
        WebSocketLayer::new(handler_fn(move |socket: WebSocket| {
            // It is called once and then no longer needed.
            std::hint::black_box(&large);
            echo(socket)
        })),
        |it| it,
    )
    .await;
    measure(
        "handler_fn_with_request, request dropped",
        WebSocketLayer::new(handler_fn_with_request(|socket: WebSocket, request| async move {
            drop(request);
            echo(socket).await
        })),
        |it| it,
    )
    .await;
    measure(
        "handler_fn_with_request, URI and a copied field kept",
        WebSocketLayer::new(handler_fn_with_request(|socket: WebSocket, request| async move {
            let (parts, ()) = request.into_parts();
            let (uri, headers) = (parts.uri, parts.headers);
            drop(parts.extensions);
            echo(socket).await?;
            assert_eq!((uri.path(), headers.len()), ("/chat", 1));
            Ok(())
        }))
        .copy_headers([USER_AGENT]),
        |it| it,
    )
    .await;
    measure(
        "a subprotocol",
        WebSocketLayer::new(handler_fn(|socket: WebSocket| async move {
            assert_eq!(socket.subprotocol(), Some("chat.v1"));
            echo(socket).await
        }))
        .policy(Subprotocols::from_static(["chat.v1"])),
        |it| it,
    )
    .await;
    measure(
        "per_message",
        WebSocketLayer::new(per_message(tower::service_fn(async |message: Message| {
            Ok::<_, Infallible>(message)
        }))),
        |it| it,
    )
    .await;
    measure("below a commit layer", WebSocketLayer::new(handler_fn(echo)), |router| {
        router.layer(CommitLayer::new())
    })
    .await;
}

async fn measure(what: &str, layer: WebSocketLayer, outer: impl FnOnce(Router) -> Router) {
    let each = measure_after(Past::Nothing, what, layer, outer).await;
    assert!(each > 0 && each < 4096, "{each} bytes");
}

async fn measure_after(
    past: Past,
    what: &str,
    layer: WebSocketLayer,
    outer: impl FnOnce(Router) -> Router,
) -> usize {
    const SOCKETS: usize = 200;
    let sessions = Sessions::new();
    let layer = layer.sessions(sessions.clone());
    let router = Router::new().route_service("/chat", layer.into_service());
    let addr = start(outer(router)).await;
    // Maps and pools grow to their size.
    let mut streams = Vec::with_capacity(SOCKETS);
    for _ in 0..2 {
        for _ in 0..SOCKETS {
            streams.push(open(addr, past).await);
        }
        streams.clear();
        until_empty(&sessions).await;
        settle().await;
    }
    let before = live();
    for _ in 0..SOCKETS {
        streams.push(open(addr, past).await);
    }
    until("all sockets", || sessions.len() == SOCKETS).await;
    settle().await;
    let each = live().saturating_sub(before) / SOCKETS;
    println!("memory_layer: an idle socket, {what}, {past:?}: {each} bytes");
    drop(streams);
    until_empty(&sessions).await;
    each
}

async fn opening_and_closing_leaves_nothing() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let (mut before, mut descriptors) = (0, 0);
    for cycles in [50, 200] {
        before = live();
        descriptors = open_descriptors();
        for n in 0..cycles {
            let mut client = Client::open(addr, "/").await;
            client.send_text("hello").await;
            assert_eq!(client.recv_text().await, "hello");
            match n % 3 {
                0 => {
                    client.send_close(1000, "").await;
                    assert_eq!(client.recv_close().await, 1000);
                    assert!(client.at_eof().await);
                }
                1 => client.stream.set_zero_linger().unwrap(),
                _ => client.send_raw(b"\xff").await,
            }
            drop(client);
            until_empty(&sessions).await;
        }
        settle().await;
    }
    let growth = live() as isize - before as isize;
    println!("memory_layer: growth after 200 sockets: {growth} bytes");
    assert!(growth <= 0, "{growth} bytes");
    assert_eq!(open_descriptors(), descriptors);
}

/// Of this process; where the system does not tell, always as many.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// G-04: the attack is the bookkeeping of each fragment.
async fn fragments_of_one_byte_on_forty_connections_cost_what_they_carry() {
    const CONNECTIONS: usize = 40;
    const FRAGMENTS: usize = 16_000;
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let mut clients = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        clients.push(Client::open(addr, "/").await);
    }
    let first = masked(0x02, b"x");
    let more = masked(0x00, b"x").repeat(100);
    settle().await;
    let (peak, ()) = growth(async {
        for client in &mut clients {
            client.send_raw(&first).await;
            for _ in 0..FRAGMENTS / 100 {
                client.send_raw(&more).await;
            }
            // A pong tells that all before was read.
            client.send_frame(0x89, b"").await;
            assert_eq!(client.recv().await.0, 0x8a);
        }
    })
    .await;
    let each = peak / CONNECTIONS;
    println!("memory_layer: {FRAGMENTS} fragments of one byte: {each} bytes each");
    assert!(each <= 3 * FRAGMENTS, "{each} bytes");
    drop(clients);
    until_empty(&sessions).await;
}

/// S-07, K-03
async fn peers_that_do_not_read_cost_the_output_mark() {
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        while let Some(message) = socket.recv().await? {
            if message.as_text() == Some("push") {
                let payload = Bytes::from(vec![0; 16 * 1024]);
                while socket.send(payload.clone()).await.is_ok() {}
            }
            socket.send(message).await?;
        }
        Ok(())
    });
    let addr = start(app(handler, &sessions)).await;
    for (what, frame) in [
        ("echoed messages", masked(0x82, &[0; 4096])),
        ("pings", masked(0x89, &[0; 125])),
        ("a push", masked(0x81, b"push")),
    ] {
        let client = Client::open(addr, "/").await;
        let burst = frame.repeat((64 << 10) / frame.len());
        settle().await;
        let (peak, sent) = growth(async {
            // The kernel's buffers take some MiB, then nothing goes on.
            let mut sent = 0;
            let mut idle = 0;
            while idle < 1000 && sent < 32 << 20 {
                match client.stream.try_write(&burst[sent % frame.len()..]) {
                    Ok(n) => (sent, idle) = (sent + n, 0),
                    Err(_) => idle += 1,
                }
                tokio::task::yield_now().await;
            }
            sent
        })
        .await;
        println!("memory_layer: {what} unread, {} KiB sent: {peak} bytes", sent >> 10);
        assert!(peak <= 320 * 1024, "{peak} bytes");
        drop(client);
        until_empty(&sessions).await;
    }
}

/// S-07: hyper and h2 queue what they are given, the client's half of the heap included.
async fn an_http_2_peer_without_a_window_costs_little_more() {
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        let payload = Bytes::from(vec![0; 16 * 1024]);
        while socket.send(payload.clone()).await.is_ok() {}
    });
    let addr = start(app(handler, &sessions)).await;
    let mut builder = Builder::new();
    builder.initial_window_size(0);
    let connection = Connection::connect_with(addr, &builder).await;
    let mut streams = Vec::with_capacity(10);
    settle().await;
    let (peak, ()) = growth(async {
        for _ in 0..10 {
            streams.push(connection.open("/").await);
        }
        settle().await;
    })
    .await;
    let each = peak / streams.len();
    println!("memory_layer: a push to an HTTP/2 stream without a window: {each} bytes");
    assert!(each <= 384 * 1024, "{each} bytes");
}
