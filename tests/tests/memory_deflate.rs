//! What compression costs a socket: live heap by a counting allocator, without the buffers and contexts that
//! each thread has for all its sockets.

use std::{future::pending, io::Write as _};

use hybi::{
    proto::{Deflate, DeflateParameters},
    socket::{BoxError, Config, Session, WebSocket},
};
use tests::{
    heap::{Counting, growth, live},
    wire::masked,
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
        an_idle_socket_holds_next_to_nothing_without_context_takeover().await;
        a_bomb_costs_less_than_two_mebibytes_and_ends_in_1009().await;
        context_takeover_costs_what_the_documentation_says().await;
    });
    println!("memory_deflate: 3 passed, 0 failed");
}

fn agreed(deflate: &Deflate) -> DeflateParameters {
    deflate.accept(&[deflate.offer()]).expect("our own offer")
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

/// What a client compresses, of data that does not get longer by it and fills every window.
async fn compressed(payload: &[u8]) -> Vec<u8> {
    let (io, mut peer) = tokio::io::duplex(1 << 20);
    let config = Config::server().deflate(Some(agreed(&Deflate::new())));
    WebSocket::new(io, config).send(payload).await.unwrap();
    let mut wire = Vec::new();
    peer.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire[0], 0xc2);
    let header = match wire[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    wire.split_off(header)
}

/// Makes the thread's buffers and contexts exist.
async fn warm_up() {
    let payload = compressed(&[0; 5000]).await;
    let (io, mut peer) = tokio::io::duplex(1 << 10);
    let config = Config::server().deflate(Some(agreed(&Deflate::new())));
    let session = tokio::spawn(Session::new(io, config, echo));
    peer.write_all(&masked(0xc2, &payload)).await.unwrap();
    peer.read_exact(&mut [0; 10]).await.unwrap();
    session.abort();
    settle().await;
}

/// Live heap of one idle socket that received and sent a message, the pipe's included.
async fn idle(config: &Config, payload: &[u8], first: u8) -> usize {
    const SOCKETS: usize = 20;
    let mut peers = Vec::with_capacity(SOCKETS);
    let mut sessions = Vec::with_capacity(SOCKETS);
    let mut tasks = Vec::with_capacity(SOCKETS + 1);
    let pipe = 256 << 10;
    for _ in 0..=SOCKETS {
        let (mut io, mut peer) = tokio::io::duplex(pipe);
        // The pipe's buffers grow to what goes through.
        io.write_all(&vec![0; pipe]).await.unwrap();
        peer.read_exact(&mut vec![0; pipe]).await.unwrap();
        peer.write_all(&vec![0; pipe]).await.unwrap();
        io.read_exact(&mut vec![0; pipe]).await.unwrap();
        peers.push(peer);
        sessions.push(io);
    }
    // What the sockets before took with them.
    warm_up().await;
    let wire = masked(first, payload);
    let mut reply = vec![0; 1 << 20];
    let config = std::sync::Arc::new(config.clone());
    let mut before = 0;
    for (i, (io, peer)) in sessions.into_iter().zip(&mut peers).enumerate() {
        if i == 1 {
            // The first one took the thread's context with it.
            before = live();
        }
        let config = std::sync::Arc::clone(&config);
        tasks.push(tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
            let message = socket.recv().await?.expect("a message");
            socket.send(message).await?;
            pending().await
        })));
        peer.write_all(&wire).await.unwrap();
        settle().await;
        assert!(peer.read(&mut reply).await.unwrap() > 4);
        settle().await;
    }
    let each = (live() - before) / SOCKETS;
    for task in tasks {
        task.abort();
    }
    settle().await;
    each
}

/// Text that compresses somewhat.
fn text(len: usize) -> Vec<u8> {
    let mut text = Vec::new();
    let mut state = 1_u32;
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        write!(text, "{{\"id\":{},\"price\":{}}},", state >> 8, state >> 20).unwrap();
    }
    text.truncate(len);
    text
}

/// D-22
async fn an_idle_socket_holds_next_to_nothing_without_context_takeover() {
    let text = text(100_000);
    let without = idle(&Config::server(), &text, 0x82).await;
    let config = Config::server().deflate(Some(agreed(&Deflate::new())));
    let with = idle(&config, &compressed(&text).await, 0xc2).await;
    println!("memory: an idle socket: {without} bytes, with compression {with}");
    assert!((813..=899).contains(&without), "{without} bytes without compression");
    assert!((1231..=1361).contains(&with), "{with} bytes with compression");
}

/// D-19
async fn a_bomb_costs_less_than_two_mebibytes_and_ends_in_1009() {
    let bomb = compressed(&vec![0; 100 << 20]).await;
    for fragments in [1, 50] {
        let (io, mut peer) = tokio::io::duplex(4 << 10);
        let config = Config::server().deflate(Some(agreed(&Deflate::new())));
        tokio::spawn(Session::new(io, config, echo));
        settle().await;
        let chunks: Vec<_> = bomb.chunks(bomb.len().div_ceil(fragments)).collect();
        let mut wire = Vec::new();
        for (i, chunk) in chunks.iter().enumerate() {
            let fin = if i + 1 == chunks.len() { 0x80 } else { 0 };
            wire.extend(masked(fin | if i == 0 { 0x42 } else { 0 }, chunk));
        }
        let (peak, sent) = growth(async {
            for (i, piece) in wire.chunks(1000).enumerate() {
                if peer.write_all(piece).await.is_err() {
                    return i * 1000;
                }
                settle().await;
            }
            wire.len()
        })
        .await;
        println!("memory: a bomb in {fragments} frames: {peak} bytes, cut before {sent}");
        assert!(peak < 2 << 20, "{peak} bytes for a bomb");
        let mut reply = Vec::new();
        let _ = peer.read_to_end(&mut reply).await;
        assert_eq!((reply[0], &reply[2..4]), (0x88, &1009_u16.to_be_bytes()[..]));
    }
}

/// D-22: the figures that the guide and `Deflate` give.
async fn context_takeover_costs_what_the_documentation_says() {
    let text = text(100_000);
    let payload = compressed(&text).await;
    let without = idle(&Config::server(), &text, 0x82).await;
    let kib = |config: &Config, wire: &[u8], first| {
        let (config, wire) = (config.clone(), wire.to_vec());
        async move { (idle(&config, &wire, first).await.saturating_sub(without)) / 1024 }
    };
    for bits in [9, 10, 11, 12, 13, 14, 15] {
        let deflate = Deflate::new()
            .server_max_window_bits(bits)
            .client_max_window_bits(bits)
            .threshold(1024);
        let config = |deflate: Deflate| Config::server().deflate(Some(agreed(&deflate)));
        // Sent compressed, received plain; and the other way round.
        let sends = config(deflate.clone().server_context_takeover(true));
        let sends = kib(&sends, &text, 0x82).await;
        let receives = deflate.client_context_takeover(true).threshold(usize::MAX);
        let receives = kib(&config(receives), &payload, 0xc2).await;
        println!(
            "memory: {bits} bits with context takeover: sends {sends} KiB, receives {receives} KiB"
        );
        let window = (1_usize << bits) / 1024;
        assert!(sends.abs_diff(243 + 4 * window) <= 4, "{sends} KiB to send with {bits} bits");
        assert!(receives <= 1 + window, "{receives} KiB to receive with {bits} bits");
    }
}
