//! What a session does for a handler, and how a socket ends, over an in-memory transport.

mod support;

use std::{future::pending, time::Duration};

use hybi::{
    proto::{CloseCode, Limits, Message},
    socket::{BoxError, Config, HandlerEnd, Session, Timeouts, WebSocket},
};
use support::{Peer, close_body};
use tokio::io::DuplexStream;

type Socket = WebSocket<DuplexStream>;

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

#[tokio::test]
async fn an_echo_handler_answers_and_ends_with_the_peers_close() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session = tokio::spawn(Session::new(io, Config::server(), echo));
    peer.send_text("hello").await;
    peer.send_binary(b"\0\xff").await;
    assert_eq!(peer.recv().await, (0x81, b"hello".to_vec()));
    assert_eq!(peer.recv().await, (0x82, b"\0\xff".to_vec()));
    peer.send_close(1000, "bye").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    assert!(peer.at_eof().await);
    drop(peer);
    let ended = session.await.unwrap();
    assert!(matches!(ended.handler(), HandlerEnd::Returned));
    assert_eq!(ended.peer_close().unwrap().reason(), "bye");
    assert!(ended.failure().is_none());
    assert_eq!(ended.stats().messages_received, 2);
    assert_eq!(ended.stats().bytes_sent, 7);
}

/// F-11, L-06: what was complete before the fault or the Close is delivered, and answered first.
#[tokio::test]
async fn echoes_of_messages_before_a_violation_go_out_before_its_close() {
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), echo));
    let mut bytes = support::masked(0x81, b"one");
    bytes.extend(support::masked(0x81, b"two"));
    bytes.extend([0x83, 0x80]);
    bytes.extend(support::masked(0x81, b"never"));
    peer.send_raw(&bytes).await;
    assert_eq!(peer.recv().await, (0x81, b"one".to_vec()));
    assert_eq!(peer.recv().await, (0x81, b"two".to_vec()));
    let (first, body) = peer.recv().await;
    assert_eq!((first, &body[..2]), (0x88, &1002u16.to_be_bytes()[..]));
    assert!(peer.at_eof().await);
}

#[tokio::test]
async fn a_handler_that_returns_closes_with_1000_and_one_that_fails_with_1011() {
    for (result, code) in [(Ok(()), 1000), (Err(BoxError::from("no")), 1011)] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let session =
            tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
                socket.send("last words").await?;
                drop(socket);
                result
            }));
        assert_eq!(peer.recv().await, (0x81, b"last words".to_vec()));
        assert_eq!(peer.recv().await, (0x88, close_body(code, "")));
        peer.send_close(code, "").await;
        assert!(peer.at_eof().await);
        drop(peer);
        assert!(session.await.unwrap().failure().is_none());
    }
}

#[tokio::test]
async fn a_handler_that_panics_closes_with_1011_and_the_panic_is_reported() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket;
        panic!("handler bug");
    }));
    assert_eq!(peer.recv().await, (0x88, close_body(1011, "")));
    peer.send_close(1011, "").await;
    drop(peer);
    match session.await.unwrap().into_handler() {
        HandlerEnd::Panicked(panic) => {
            assert_eq!(*panic.downcast::<&str>().unwrap(), "handler bug");
        }
        other => panic!("{other:?}"),
    }
}

/// L-17
#[tokio::test(start_paused = true)]
async fn a_socket_dropped_by_a_handler_that_goes_on_is_closed_at_once() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        drop(socket);
        pending().await
    }));
    let close = tokio::time::timeout(Duration::from_secs(1), peer.recv()).await;
    assert_eq!(close, Ok((0x88, close_body(1000, ""))));
    session.abort();
}

#[tokio::test]
async fn a_moved_socket_is_closed_with_its_handler_unless_it_was_detached() {
    for detach in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 16);
        tokio::spawn(Session::new(io, Config::server(), move |socket: Socket| async move {
            let socket = if detach { socket.detach() } else { socket };
            tokio::spawn(echo(socket));
            Ok(())
        }));
        if detach {
            peer.send_text("still there?").await;
            assert_eq!(peer.recv().await, (0x81, b"still there?".to_vec()));
            peer.send_close(1000, "").await;
        }
        assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    }
}

#[tokio::test]
async fn pings_are_answered_while_the_handler_is_busy_elsewhere() {
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket;
        pending().await
    }));
    peer.send_text("nobody takes this").await;
    peer.send_raw(&support::masked(0x89, b"are you there")).await;
    assert_eq!(peer.recv().await, (0x8a, b"are you there".to_vec()));
}

/// L-12
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_the_close_is_dropped_after_the_close_timeout() {
    for (config, seconds) in [
        (Config::server(), 5),
        (Config::server().timeouts(Timeouts::default().close(Duration::from_secs(2))), 2),
    ] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let begin = tokio::time::Instant::now();
        let session = tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
            let error = socket.close().await.unwrap_err();
            assert!(error.is_timeout() && error.is_disconnect());
            Ok(())
        }));
        assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
        // Traffic does not extend it.
        peer.send_text("chatter").await;
        let ended = session.await.unwrap();
        assert!(ended.failure().unwrap().is_timeout());
        assert!(matches!(ended.handler(), HandlerEnd::Returned));
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn a_burst_is_answered_in_one_write() {
    let (io, mut peer) = Peer::pair(1 << 20);
    tokio::spawn(Session::new(io, Config::server(), echo));
    let mut burst = Vec::new();
    for _ in 0..100 {
        burst.extend(support::masked(0x82, &[7; 16]));
    }
    peer.send_raw(&burst).await;
    assert_eq!(peer.read_once().await.len(), 100 * 18);
}

#[tokio::test]
async fn a_socket_moved_to_another_task_works_the_same() {
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        tokio::spawn(echo(socket)).await?
    }));
    for n in 0..10 {
        let text = n.to_string();
        peer.send_text(&text).await;
        assert_eq!(peer.recv().await, (0x81, text.into_bytes()));
    }
    peer.send_close(1001, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
}

#[tokio::test]
async fn two_clients_of_our_own_talk() {
    let (a, b) = tokio::io::duplex(64);
    tokio::spawn(Session::new(a, Config::server(), echo));
    let mut client = WebSocket::new(b, Config::client());
    let long = "x".repeat(100_000);
    for text in ["", "hello", long.as_str()] {
        client.send(text).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(Message::from(text)));
    }
    client.close_with(CloseCode::new(4000).unwrap(), "done").await.unwrap();
    assert_eq!(client.peer_close().unwrap().status(), 4000);
}

#[tokio::test]
async fn a_message_over_the_limit_ends_in_1009() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let config = Config::server().limits(Limits::default().max_message(10));
    tokio::spawn(Session::new(io, config, echo));
    peer.send_text("0123456789").await;
    assert_eq!(peer.recv().await, (0x81, b"0123456789".to_vec()));
    peer.send_text("0123456789a").await;
    assert_eq!(peer.recv().await.1[..2], 1009u16.to_be_bytes());
    assert!(peer.at_eof().await);
}
