//! Compression on sockets: what arrives, what may stay uncompressed, and what a peer can make it cost.

mod support;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::join;
use hybi::{
    proto::{Deflate, DeflateParameters, Limits, Message, MessageKind},
    socket::{BoxError, Config, Session, WebSocket},
};
use support::{Peer, masked, settle, within_ten_seconds};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

type Socket = WebSocket<DuplexStream>;

fn agreed(deflate: &Deflate) -> DeflateParameters {
    deflate.accept(&[deflate.offer()]).expect("our own offer")
}

fn takeover() -> DeflateParameters {
    agreed(&Deflate::new().server_context_takeover(true).client_context_takeover(true).threshold(0))
}

fn forgetful() -> DeflateParameters {
    agreed(&Deflate::new())
}

fn server(agreed: &DeflateParameters) -> Config {
    Config::server().deflate(Some(agreed.clone()))
}

fn client(agreed: &DeflateParameters) -> Config {
    Config::client().deflate(Some(agreed.clone()))
}

/// Text that compresses, a different one for each `n`.
fn text(n: usize) -> String {
    (0..n).map(|i| format!("{{\"id\":{},\"of\":{n}}},", i * i)).collect()
}

/// The payload of a message as one end compresses it.
async fn compressed(payload: impl Into<Message>) -> Vec<u8> {
    let (io, mut peer) = Peer::pair(1 << 20);
    WebSocket::new(io, server(&forgetful())).send(payload).await.expect("the pipe is long enough");
    let (first, payload) = peer.recv().await;
    assert_eq!(first & 0xf0, 0xc0);
    payload
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// D-12, D-13, R-01
#[tokio::test]
async fn messages_go_both_ways_whole_and_in_parts() {
    for agreed in [takeover(), forgetful()] {
        let (a, b) = tokio::io::duplex(4096);
        let session = tokio::spawn(Session::new(a, server(&agreed), echo));
        let mut socket = WebSocket::new(b, client(&agreed));
        assert_eq!(Config::get_deflate(&client(&agreed)), Some(&agreed));
        for n in [0, 1, 10, 200, 5000] {
            let text = text(n);
            socket.send(text.as_str()).await.unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some(&text[..]));
            let mut message = socket.start_message(MessageKind::Text).await.unwrap();
            for chunk in text.as_bytes().chunks(777) {
                message.send_chunk(chunk.to_vec()).await.unwrap();
            }
            message.finish().await.unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some(&text[..]));
        }
        socket.close().await.unwrap();
        session.await.unwrap();
    }
}

/// R-05, D-19: longer than any limit on messages.
#[tokio::test]
async fn a_compressed_message_can_be_read_in_parts() {
    let (a, b) = tokio::io::duplex(4096);
    let long = text(20_000);
    let limits = Limits::default().max_message(10_000).max_frame(100_000);
    let mut receiver = WebSocket::new(a, server(&takeover()).limits(limits));
    let mut sender = WebSocket::new(b, client(&takeover()));
    let read = async {
        for _ in 0..2 {
            let mut message = receiver.next_message().await.unwrap().expect("not the end");
            let mut bytes = Vec::new();
            while let Some(chunk) = message.chunk().await.unwrap() {
                assert!(chunk.len() <= 48 * 1024);
                bytes.extend_from_slice(&chunk);
            }
            assert!(bytes == long.as_bytes());
        }
    };
    let write = async {
        sender.send(long.as_str()).await.unwrap();
        let mut message = sender.start_message(MessageKind::Text).await.unwrap();
        message.write_all(long.as_bytes()).await.unwrap();
        message.finish().await.unwrap();
    };
    join(read, write).await;
}

/// S-06, D-21
#[tokio::test]
async fn a_message_with_a_secret_can_be_sent_uncompressed() {
    let secret = text(500);
    for agreed in [takeover(), forgetful()] {
        let (io, mut peer) = Peer::pair(1 << 20);
        let mut socket = WebSocket::new(io, server(&agreed));
        socket.send_uncompressed(secret.as_str()).await.unwrap();
        assert_eq!(peer.recv().await, (0x81, secret.clone().into_bytes()));
        socket.send(secret.as_str()).await.unwrap();
        assert_eq!(peer.recv().await.0, 0xc1);
        let message = socket.start_message(MessageKind::Text).await.unwrap();
        message.uncompressed().send_body(secret.clone()).await.unwrap();
        let (first, mut payload) = peer.recv().await;
        assert_eq!(first & 0x7f, 0x01);
        if first & 0x80 == 0 {
            let (first, rest) = peer.recv().await;
            assert_eq!(first, 0x80);
            payload.extend(rest);
        }
        assert_eq!(payload, secret.as_bytes());

        let (sender, _receiver) = socket.split();
        sender.send_uncompressed(secret.as_str()).await.unwrap();
        assert_eq!(peer.recv().await, (0x81, secret.clone().into_bytes()));
        sender.send(secret.as_str()).await.unwrap();
        assert_eq!(peer.recv().await.0, 0xc1);
    }
}

/// S-06: nothing is compressed and no compressed message taken unless it was agreed on.
#[tokio::test]
async fn without_an_agreement_there_is_no_compression() {
    let (io, mut peer) = Peer::pair(1 << 20);
    tokio::spawn(Session::new(io, Config::server(), echo));
    peer.send_text(&text(500)).await;
    assert_eq!(peer.recv().await.0, 0x81);
    peer.send_raw(&masked(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\x00")).await;
    let (first, body) = peer.recv().await;
    assert_eq!((first, &body[..2]), (0x88, &1002_u16.to_be_bytes()[..]));
}

/// D-14, D-19, D-20, L-14
#[tokio::test]
async fn a_peers_faults_end_in_a_close_that_names_them() {
    let bomb = compressed(vec![0; 2 << 20]).await;
    for (wire, code) in [
        (masked(0xc2, &bomb), 1009_u16),
        (masked(0xc2, b"\x06"), 1007),
        (masked(0xc1, b"\xf2\x48\xcd"), 1007),
        (masked(0xc1, &compressed(vec![0xff; 2000]).await), 1007),
        ([masked(0x41, b"\xf2"), masked(0xc0, b"\x48")].concat(), 1002),
    ] {
        for in_session in [true, false] {
            let (io, mut peer) = Peer::pair(1 << 20);
            if in_session {
                tokio::spawn(Session::new(io, server(&forgetful()), echo));
            } else {
                tokio::spawn(echo(WebSocket::new(io, server(&forgetful()))));
            }
            peer.send_raw(&wire).await;
            let (first, body) = peer.recv().await;
            assert_eq!((first, &body[..2]), (0x88, &code.to_be_bytes()[..]));
            assert!(peer.at_eof().await);
        }
    }
}

/// K-01, D-23: control frames pass between the frames of a compressed message, in both directions.
#[tokio::test]
async fn pings_behind_compressed_messages_are_answered_though_nobody_receives() {
    let (io, mut peer) = Peer::pair(1 << 20);
    let payload = compressed(vec![0; 30_000]).await;
    let mut wire = masked(0xc2, &payload);
    wire.extend(masked(0x89, b"one"));
    wire.extend(masked(0x42, &payload[..10]));
    wire.extend(masked(0x89, b"two"));
    tokio::spawn(Session::new(io, server(&forgetful()), |socket: Socket| async {
        let _socket = socket;
        std::future::pending().await
    }));
    peer.send_raw(&wire).await;
    assert_eq!(peer.recv().await, (0x8a, b"one".to_vec()));
    assert_eq!(peer.recv().await, (0x8a, b"two".to_vec()));
}

/// R-01, G-09: receiving never waits for the output queue.
#[tokio::test]
async fn two_ends_that_push_at_each_other_through_a_small_pipe_finish() {
    async fn push_and_pull(mut socket: Socket) {
        for n in 0..300 {
            let text = text(n * 7 % 2000);
            socket.feed(text.as_str()).await.unwrap();
            socket.flush().await.unwrap();
        }
        for n in 0..300 {
            let received = socket.recv().await.unwrap().expect("not the end");
            assert!(received.as_text() == Some(&text(n * 7 % 2000)));
        }
    }
    let limits = || Limits::default().read_ahead(100 << 20);
    for agreed in [takeover(), forgetful()] {
        let (a, b) = tokio::io::duplex(1024);
        let a = WebSocket::new(a, server(&agreed).limits(limits()));
        let b = WebSocket::new(b, client(&agreed).limits(limits()));
        join(push_and_pull(a), push_and_pull(b)).await;
    }
}

/// A transport that always has these frames to read, and takes whatever it is given.
struct Flood {
    frames: Vec<u8>,
    reads: std::sync::Arc<std::sync::atomic::AtomicUsize>,
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        buffer.put_slice(&self.frames);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// S-07: 20 KiB of the wire are 20 MiB to inflate; that is many turns, not one.
#[test]
fn inflating_is_done_in_turns() {
    within_ten_seconds(|| async {
        let one = masked(0xc2, &compressed(vec![0; 1 << 20]).await);
        for in_session in [true, false] {
            let reads = std::sync::Arc::default();
            let flood = Flood { frames: one.repeat(20), reads: std::sync::Arc::clone(&reads) };
            let config = server(&forgetful());
            let task = if in_session {
                let session =
                    Session::new(flood, config, |mut socket: WebSocket<Flood>| async move {
                        while socket.recv().await?.is_some() {}
                        Ok(())
                    });
                tokio::spawn(async { drop(session.await) })
            } else {
                tokio::spawn(async {
                    let mut socket = WebSocket::new(flood, config);
                    while socket.recv().await.unwrap().is_some() {}
                })
            };
            let mut turns = 0;
            while reads.load(std::sync::atomic::Ordering::Relaxed) < 2 {
                turns += 1;
                tokio::task::yield_now().await;
            }
            assert!(turns >= 160, "{turns} turns for 20 MiB, in a session: {in_session}");
            task.abort();
            settle().await;
        }
    });
}

/// D-22, L-07: what arrives for nobody is not inflated, and does not keep the Close from being seen.
#[tokio::test]
async fn compressed_messages_that_nobody_wants_are_passed_over() {
    let (io, mut peer) = Peer::pair(1 << 20);
    let mut socket = WebSocket::new(io, server(&takeover()));
    let payload = compressed(vec![0; 1 << 20]).await;
    let peer = async {
        assert_eq!(peer.recv().await.0, 0x88);
        for _ in 0..20 {
            peer.send_raw(&masked(0xc2, &payload)).await;
            // Nor does what would not inflate any more matter.
            peer.send_raw(&masked(0xc1, b"\xf2\x00\x11")).await;
        }
        peer.send_close(1000, "").await;
        assert!(peer.at_eof().await);
    };
    let (closed, ()) = join(socket.close(), peer).await;
    closed.unwrap();
    assert_eq!(socket.peer_close().unwrap().status(), 1000);
}

/// an empty message that waits for its decision stays before the next.
#[tokio::test]
async fn messages_keep_their_order_without_any_read_ahead() {
    let (io, _peer) = Peer::pair(1 << 12);
    let config = server(&takeover()).limits(Limits::default().read_ahead(0));
    let early = [masked(0xc1, b""), masked(0x81, b"last")].concat();
    let mut socket = WebSocket::with_early_data(io, &early, config);
    for text in ["", "last"] {
        assert_eq!(socket.recv().await.unwrap(), Some(text.into()));
    }
}
