//! Dropping the future of an operation loses nothing and sends nothing twice.

mod support;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use hybi::{
    proto::Message,
    socket::{Config, Session, WebSocket},
};
use support::{Peer, masked};
use tokio::io::AsyncReadExt;

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    // Without tokio's budget, which would be used up by a test that never yields.
    pin!(tokio::task::unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()))
}

fn script() -> (Vec<u8>, Vec<Message>) {
    let mut bytes = masked(0x81, "héllo €".as_bytes());
    bytes.extend(masked(0x02, &[1; 130]));
    bytes.extend(masked(0x89, b"ping"));
    bytes.extend(masked(0x00, b""));
    bytes.extend(masked(0x80, &[2; 10]));
    bytes.extend(masked(0x81, b""));
    let binary = [vec![1; 130], vec![2; 10]].concat();
    (bytes, vec![Message::from("héllo €"), Message::from(binary), Message::from("")])
}

/// F-07, G-01, U-02: `recv` polled once and dropped after each byte.
#[tokio::test]
async fn recv_dropped_at_every_byte_loses_no_message() {
    let (bytes, messages) = script();
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let mut received = Vec::new();
    for byte in bytes {
        peer.send_raw(&[byte]).await;
        while let Poll::Ready(message) = poll_once(socket.recv()) {
            received.push(message.unwrap().unwrap());
        }
    }
    assert_eq!(received, messages);
    assert_eq!(peer.recv().await, (0x8a, b"ping".to_vec()));
}

/// The same for a handler's socket, whose session moves on between the polls.
#[tokio::test]
async fn recv_dropped_at_every_byte_in_a_session_loses_no_message() {
    let (bytes, messages) = script();
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(Session::new(io, Config::server(), move |mut socket: WebSocket<_>| async move {
        loop {
            if let Poll::Ready(message) = poll_once(socket.recv()) {
                sender.send(message.unwrap()).unwrap();
            }
            tokio::task::yield_now().await;
        }
    }));
    for byte in bytes {
        peer.send_raw(&[byte]).await;
        tokio::task::yield_now().await;
    }
    for message in messages {
        assert_eq!(receiver.recv().await.unwrap(), Some(message));
    }
}

/// F-10: `send` dropped at each of its waits over a pipe of one byte. A message is queued whole or
/// not at all, and no frame is cut by another.
#[tokio::test]
async fn send_dropped_at_every_byte_queues_each_message_whole_or_not_at_all() {
    let (io, mut peer) = Peer::pair(1);
    let limits = hybi::proto::Limits::default().output_mark(64);
    let mut socket = WebSocket::new(io, Config::server().limits(limits));
    let mut wire = Vec::new();
    for n in 0..100u8 {
        let message = vec![n; usize::from(n)];
        // Whether it was queued or not, the future is gone after one poll.
        let _ = poll_once(socket.send(message));
        wire.push(peer.io.read_u8().await.unwrap());
    }
    let rest = tokio::spawn(async move {
        let mut rest = Vec::new();
        peer.io.read_to_end(&mut rest).await.unwrap();
        rest
    });
    socket.flush().await.unwrap();
    drop(socket);
    wire.extend(rest.await.unwrap());

    support::assert_each_sent_whole_or_not(&wire);
}

/// L-07: a `close` that was dropped has closed all the same; the next one waits on.
#[tokio::test]
async fn close_dropped_while_waiting_sends_one_close() {
    let (io, mut peer) = Peer::pair(1 << 10);
    let mut socket = WebSocket::new(io, Config::server());
    for _ in 0..3 {
        assert!(poll_once(socket.close()).is_pending());
    }
    assert_eq!(peer.recv().await, (0x88, support::close_body(1000, "")));
    peer.send_close(1000, "").await;
    let closed = tokio::spawn(async move { socket.close().await });
    assert!(peer.at_eof().await, "one Close and nothing else");
    drop(peer);
    closed.await.unwrap().unwrap();
}
