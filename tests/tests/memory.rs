//! What a peer can make a socket allocate: peak live heap by a counting allocator, without the one
//! read buffer and one write buffer that each thread has for all its sockets.

use std::future::pending;

use hybi::{
    proto::Limits,
    socket::{BoxError, Config, Session, WebSocket},
};
use tests::{
    heap::{Counting, growth, live},
    wire::{header, masked},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

type Socket = WebSocket<DuplexStream>;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One at a time: the counters are the whole process's.
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        warm_up().await;
        an_announced_message_costs_only_what_was_received().await;
        a_hundred_thousand_pings_to_a_peer_that_does_not_read_cost_one_pong().await;
        a_million_empty_fragments_cost_nothing_and_end_in_1008().await;
        an_idle_socket_holds_no_buffer().await;
    });
    println!("memory: 4 passed, 0 failed");
}

/// Makes the thread's buffers exist.
async fn warm_up() {
    let (io, mut peer) = tokio::io::duplex(1 << 10);
    tokio::spawn(Session::new(io, Config::server(), echo));
    // The first time in the ordinary way, the second on the plain paths.
    for _ in 0..2 {
        peer.write_all(&masked(0x81, b"hello")).await.unwrap();
        peer.read_exact(&mut [0; 7]).await.unwrap();
    }
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// F-05: a 14-byte header that announces the largest message that is allowed.
async fn an_announced_message_costs_only_what_was_received() {
    for limit in [1 << 20, 1 << 30] {
        let (io, mut peer) = tokio::io::duplex(1 << 10);
        let config = Config::server().limits(Limits::default().max_message(limit));
        let session = tokio::spawn(Session::new(io, config, echo));
        settle().await;
        let mut head = header(0x82, limit, true);
        head.extend([1, 2, 3, 4]);
        assert_eq!(head.len(), 14);
        let (peak, ()) = growth(async {
            peer.write_all(&head).await.unwrap();
            settle().await;
            peer.write_all(b"a few").await.unwrap();
            settle().await;
        })
        .await;
        println!("memory: a header that announces {limit} bytes: {peak} bytes");
        assert!(peak <= 64 * 1024, "{peak} bytes for a header");
        session.abort();
    }
}

/// K-03: only the newest ping is answered once the output backs up.
async fn a_hundred_thousand_pings_to_a_peer_that_does_not_read_cost_one_pong() {
    let (io, mut peer) = tokio::io::duplex(16 << 10);
    tokio::spawn(Session::new(io, Config::server(), echo));
    settle().await;
    let (peak, ()) = growth(async {
        let mut ping = [0; 100];
        for n in 0..100_000u32 {
            ping[..4].copy_from_slice(&n.to_be_bytes());
            peer.write_all(&masked(0x89, &ping)).await.unwrap();
        }
        settle().await;
    })
    .await;
    println!("memory: 100,000 pings that go unread: {peak} bytes");
    // The pipe's own buffers are the peer's and the kernel's.
    assert!(peak <= 64 * 1024 + 2 * (16 << 10), "{peak} bytes for pings");

    // The last pong is the newest ping's.
    let newest = 99_999u32.to_be_bytes();
    let mut pong = [0; 102];
    while pong[2..6] != newest {
        peer.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong[..2], [0x8a, 100]);
    }
}

/// G-04
async fn a_million_empty_fragments_cost_nothing_and_end_in_1008() {
    let (io, mut peer) = tokio::io::duplex(16 << 10);
    tokio::spawn(Session::new(io, Config::server(), echo));
    settle().await;
    let mut frame = masked(0x01, b"");
    let (peak, sent) = growth(async {
        for sent in 0..1_000_000 {
            if peer.write_all(&frame).await.is_err() {
                return sent;
            }
            frame[0] = 0x00;
        }
        panic!("a million fragments were taken");
    })
    .await;
    println!("memory: empty fragments without end: {peak} bytes, cut before {sent}");
    assert!(peak <= 64 * 1024 + 2 * (16 << 10), "{peak} bytes for empty fragments");
    let mut wire = Vec::new();
    let _ = peer.read_to_end(&mut wire).await;
    assert_eq!(wire[2..4], 1008u16.to_be_bytes());
}

async fn an_idle_socket_holds_no_buffer() {
    const SOCKETS: usize = 1000;
    let mut peers = Vec::with_capacity(SOCKETS);
    let mut sessions = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        let (io, peer) = tokio::io::duplex(1 << 10);
        peers.push(peer);
        sessions.push(io);
    }
    let before = live();
    for io in sessions {
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            while socket.recv().await?.is_some() {}
            pending().await
        }));
    }
    for peer in &mut peers {
        peer.write_all(&masked(0x82, &[0; 500])).await.unwrap();
    }
    settle().await;
    let each = (live() - before) / SOCKETS;
    println!("memory: an idle socket in a session: {each} bytes, the pipe's included");
    assert!(each <= 4096, "{each} bytes for an idle socket");
}
