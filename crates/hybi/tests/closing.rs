//! How a socket ends.

mod support;

use std::{future::pending, time::Duration};

use hybi::{
    proto::{CloseCode, Limits, Message},
    socket::{BoxError, Config, Session, Timeouts, WebSocket},
};
use support::{Peer, close_body, masked};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::oneshot,
    time::Instant,
};

type Socket = WebSocket<DuplexStream>;

fn server(io: DuplexStream) -> Socket {
    WebSocket::new(io, Config::server())
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// everything queued before goes out before the Close.
#[tokio::test]
async fn close_delivers_everything_that_was_queued_before() {
    let (io, mut peer) = Peer::pair(100);
    tokio::spawn(async move {
        let mut socket = server(io);
        for n in 0..1000u32 {
            socket.feed(n.to_be_bytes().to_vec()).await.unwrap();
        }
        socket.close_with(CloseCode::new(3000).unwrap(), "all sent").await
    });
    for n in 0..1000u32 {
        assert_eq!(peer.recv().await, (0x82, n.to_be_bytes().to_vec()));
    }
    assert_eq!(peer.recv().await, (0x88, close_body(3000, "all sent")));
    peer.send_close(3000, "").await;
    assert!(peer.at_eof().await);
}

/// no Close, no flush; the peer sees the end at once.
#[tokio::test]
async fn abort_drops_the_transport_at_once() {
    let (io, mut peer) = Peer::pair(100);
    let mut socket = server(io);
    socket.feed("never written").await.unwrap();
    socket.abort();
    assert!(peer.at_eof().await);
    assert!(socket.recv().await.unwrap_err().is_disconnect());
    assert!(socket.recv().await.unwrap().is_none(), "the error is given once");
    assert!(socket.send("x").await.unwrap_err().is_closed());
}

/// in a session, the handler is dropped with the transport.
#[tokio::test]
async fn abort_of_a_session_drops_transport_and_handler() {
    let (io, mut peer) = Peer::pair(100);
    let session = Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket;
        pending().await
    });
    let control = session.control();
    let session = tokio::spawn(session);
    control.abort();
    let ended = session.await.unwrap();
    assert!(matches!(ended.handler(), hybi::socket::HandlerEnd::Dropped));
    assert!(peer.at_eof().await);
}

/// L-04, L-06: the answer has the peer's code; an empty Close is answered by an empty one.
#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    for code in [1000, 1001, 3000, 4999] {
        let (io, mut peer) = Peer::pair(100);
        let socket = tokio::spawn(async move {
            let mut socket = server(io);
            assert!(socket.recv().await.unwrap().is_none());
            socket.peer_close().unwrap().clone()
        });
        peer.send_close(code, "why").await;
        assert_eq!(peer.recv().await, (0x88, close_body(code, "")));
        assert!(peer.at_eof().await);
        drop(peer);
        let close = socket.await.unwrap();
        assert_eq!((close.status(), close.reason()), (code, "why"));
    }
    let (io, mut peer) = Peer::pair(100);
    let socket = tokio::spawn(async move {
        let mut socket = server(io);
        assert!(socket.recv().await.unwrap().is_none());
        socket.peer_close().unwrap().status()
    });
    peer.send_raw(&masked(0x88, b"")).await;
    assert_eq!(peer.recv().await, (0x88, vec![]));
    drop(peer);
    assert_eq!(socket.await.unwrap(), 1005);
}

/// L-05, F-09, E-19: the transport ends in order, at each byte of a conversation without a Close.
#[tokio::test]
async fn an_end_without_a_close_is_a_disconnect_wherever_it_comes() {
    let mut bytes = masked(0x01, b"be");
    bytes.extend(masked(0x89, b"?"));
    bytes.extend(masked(0x80, b"gun"));
    let whole = bytes.len();
    for cut in 0..=whole {
        let (io, mut peer) = Peer::pair(100);
        peer.send_raw(&bytes[..cut]).await;
        peer.io.shutdown().await.unwrap();
        let mut socket = server(io);
        if cut == whole {
            assert_eq!(socket.recv().await.unwrap(), Some(Message::from("begun")));
        }
        let error = socket.recv().await.unwrap_err();
        assert!(error.is_disconnect() && error.io().is_none(), "cut at {cut}: {error}");
        assert!(socket.peer_close().is_none());
    }
}

/// L-07: one Close, no data behind it, whatever the user does.
#[tokio::test]
async fn nothing_follows_a_close() {
    let (io, mut peer) = Peer::pair(1000);
    let mut socket = server(io);
    socket.start_close(CloseCode::GOING_AWAY, "one").unwrap();
    socket.start_close(CloseCode::NORMAL, "two").unwrap();
    assert!(socket.send("x").await.unwrap_err().is_closed());
    assert!(socket.ping("x").await.unwrap_err().is_closed());
    assert!(socket.flush().await.is_ok());
    drop(socket);
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "one")));
    assert!(peer.at_eof().await);
}

/// L-08: who goes on to receive after a Close gets what the peer still sends; who closes and waits
/// does not.
#[tokio::test]
async fn messages_between_the_closes_are_received_after_start_close_and_discarded_by_close() {
    let (io, mut peer) = Peer::pair(1000);
    let mut socket = server(io);
    socket.start_close(CloseCode::NORMAL, "").unwrap();
    peer.send_text("in flight").await;
    peer.send_close(1000, "").await;
    peer.send_text("after the Close").await;
    drop(tokio::spawn(async move { while !peer.at_eof().await {} }));
    assert_eq!(socket.recv().await.unwrap(), Some(Message::from("in flight")));
    assert_eq!(socket.recv().await.unwrap(), None);

    let (io, mut peer) = Peer::pair(1000);
    let mut socket = server(io);
    peer.send_text("in flight").await;
    peer.send_close(1000, "").await;
    drop(tokio::spawn(async move { while !peer.at_eof().await {} }));
    socket.close().await.unwrap();
    assert_eq!(socket.recv().await.unwrap(), None);
}

/// L-08, G-09: behind our Close reading goes on, for the peer's, whether or not anyone receives. What is
/// kept for a user who may come back is bounded, and has no gaps.
#[tokio::test(start_paused = true)]
async fn messages_between_the_closes_that_nobody_takes_are_kept_up_to_the_read_ahead() {
    let (io, mut peer) = Peer::pair(1000);
    let (kept, all_kept) = oneshot::channel();
    let session = Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.start_close(CloseCode::NORMAL, "")?;
        socket.closed().await;
        let mut numbers = Vec::new();
        while let Some(message) = socket.recv().await? {
            numbers.push(message.as_bytes()[0]);
        }
        kept.send(numbers).expect("the test waits");
        Ok(())
    });
    let session = tokio::spawn(session);
    for n in 0..200 {
        peer.send_binary(&[n; 1000]).await;
    }
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await.0, 0x88);
    drop(peer);
    let kept = all_kept.await.unwrap();
    assert_eq!(kept, Vec::from_iter(0..kept.len() as u8), "no gaps");
    // 64 KiB, of which each message takes its payload and what it costs to keep it.
    assert!((50..=66).contains(&kept.len()), "{}", kept.len());
    let ended = session.await.unwrap();
    assert_eq!(ended.stats().messages_received, 200);
    assert!(ended.failure().is_none());
}

/// L-10: the answer to our Close ends the transport, whether or not anyone receives it.
#[tokio::test(start_paused = true)]
async fn a_session_ends_with_the_answer_to_its_close_though_its_handler_is_busy_elsewhere() {
    let (io, mut peer) = Peer::pair(1000);
    let begin = Instant::now();
    drop(tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.start_close(CloseCode::NORMAL, "")?;
        pending().await
    })));
    assert_eq!(peer.recv().await.0, 0x88);
    peer.send_close(1000, "").await;
    assert!(peer.at_eof().await);
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

/// L-09: each reports the other's code.
#[tokio::test]
async fn crossing_closes_report_the_code_of_the_other_side() {
    let (a, b) = tokio::io::duplex(1000);
    let mut a = server(a);
    let mut b = WebSocket::new(b, Config::client());
    a.start_close(CloseCode::new(3001).unwrap(), "from a").unwrap();
    b.start_close(CloseCode::new(3002).unwrap(), "from b").unwrap();
    let (ra, rb) = tokio::join!(a.recv(), b.recv());
    assert!(ra.unwrap().is_none() && rb.unwrap().is_none());
    assert_eq!(a.peer_close().unwrap().status(), 3002);
    assert_eq!(b.peer_close().unwrap().status(), 3001);
}

/// L-14: a violation's Close does not wait for the peer's.
#[tokio::test]
async fn a_violation_ends_the_transport_without_waiting_for_an_answer() {
    let (io, mut peer) = Peer::pair(1000);
    let socket = tokio::spawn(async move { server(io).recv().await });
    // Two bytes of a bad frame are enough.
    peer.send_raw(&[0x81, 0x05]).await;
    let (first, body) = peer.recv().await;
    assert_eq!((first, &body[..2]), (0x88, &1002u16.to_be_bytes()[..]));
    assert!(std::str::from_utf8(&body[2..]).unwrap().contains("mask"));
    assert!(peer.at_eof().await);
    drop(peer);
    let error = socket.await.unwrap().unwrap_err();
    assert_eq!(error.violation().unwrap().close_code(), CloseCode::PROTOCOL_ERROR);
}

/// The Close of a violation has a second to be written, then the transport is dropped.
#[tokio::test(start_paused = true)]
async fn a_violations_close_is_flushed_for_a_bounded_time() {
    for (timeouts, millis) in [
        (Timeouts::default(), 1000),
        (Timeouts::default().violation_flush(Duration::from_millis(300)), 300),
    ] {
        let (io, mut peer) = Peer::pair(2);
        let begin = Instant::now();
        let socket = tokio::spawn(async move {
            WebSocket::new(io, Config::server().timeouts(timeouts)).recv().await
        });
        peer.send_raw(&[0x81, 0x05]).await;
        assert!(socket.await.unwrap().unwrap_err().violation().is_some());
        assert_eq!(begin.elapsed().as_millis(), millis);
    }
}

/// L-13: after the last byte was written the transport is read on, within time and size.
#[tokio::test(start_paused = true)]
async fn the_transport_is_read_on_after_the_close_within_bounds() {
    // The time, at its default and at another value.
    for (timeouts, millis) in
        [(Timeouts::default(), 1000), (Timeouts::default().linger(Duration::from_millis(200)), 200)]
    {
        let (io, mut peer) = Peer::pair(1000);
        let begin = Instant::now();
        let config = Config::server().timeouts(timeouts);
        let socket = tokio::spawn(async move { WebSocket::new(io, config).recv().await });
        peer.send_close(1000, "").await;
        assert!(socket.await.unwrap().unwrap().is_none());
        assert_eq!(begin.elapsed().as_millis(), millis);
    }
    // The size, at its default and at another value.
    for (limits, bytes) in
        [(Limits::default(), 256 * 1024), (Limits::default().linger_bytes(5000), 5000)]
    {
        let (io, mut peer) = Peer::pair(1000);
        let socket = tokio::spawn(async move {
            WebSocket::new(io, Config::server().limits(limits)).recv().await
        });
        peer.send_close(1000, "").await;
        let mut sent = 0;
        while peer.io.write_all(&[0; 100]).await.is_ok() {
            sent += 100;
        }
        assert!((bytes..=bytes + 2000).contains(&sent), "{sent} of {bytes}");
        assert!(socket.await.unwrap().unwrap().is_none());
    }
}

/// L-17: a socket that is dropped ends its transport, without a Close.
#[tokio::test]
async fn a_dropped_socket_drops_its_transport() {
    let (io, mut peer) = Peer::pair(1000);
    drop(server(io));
    assert!(peer.at_eof().await);
}

/// L-18, F-10: no Close in the middle of a frame that cannot be finished.
#[tokio::test(start_paused = true)]
async fn a_close_never_cuts_a_frame() {
    let (io, mut peer) = Peer::pair(64);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            socket.send(vec![7; 1000]).await?;
            socket.start_close(CloseCode::NORMAL, "")?;
            socket.closed().await;
            Ok(())
        }));
    assert!(session.await.unwrap().failure().unwrap().is_timeout());
    let mut wire = Vec::new();
    peer.io.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire[..4], [0x82, 126, 3, 232]);
    assert!(wire[4..].iter().all(|byte| *byte == 7), "a Close inside the frame");
}

/// L-15, G-04: a message that falls below the minimum rate, or beyond a time that was set.
#[tokio::test(start_paused = true)]
async fn a_message_that_takes_too_long_ends_in_1008() {
    for (timeouts, seconds) in
        [(Timeouts::default(), 30), (Timeouts::default().max_message(Duration::from_secs(7)), 7)]
    {
        let (io, mut peer) = Peer::pair(1000);
        let config = Config::server().timeouts(timeouts).keep_alive(None);
        tokio::spawn(Session::new(io, config, echo));
        // A message that is complete in time leaves no deadline behind.
        peer.send_raw(&masked(0x01, b"a")).await;
        tokio::time::sleep(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
        peer.send_raw(&masked(0x80, b"b")).await;
        assert_eq!(peer.recv().await, (0x81, b"ab".to_vec()));

        let begin = Instant::now();
        peer.send_raw(&masked(0x01, b"a")).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        peer.send_raw(&masked(0x00, b"more")).await;
        assert_eq!(peer.recv().await.1[..2], 1008u16.to_be_bytes());
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

/// A handler that is busy elsewhere does not keep the peer's Close waiting for ever.
#[tokio::test(start_paused = true)]
async fn a_close_waits_for_a_busy_handler_no_longer_than_the_close_timeout() {
    let (io, mut peer) = Peer::pair(1000);
    tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket;
        pending().await
    }));
    let begin = Instant::now();
    peer.send_text("nobody takes this").await;
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    assert_eq!(begin.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn closing_and_closed_tell_who_has_no_hand_free_to_receive() {
    let (io, mut peer) = Peer::pair(1000);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let closed = socket.closed();
        socket.closing().await;
        drop(socket);
        closed.await;
        Ok(())
    }));
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    drop(peer);
    assert!(session.await.unwrap().failure().is_none());
}

/// `Control::close` is what a drain uses: the handler goes on to receive until the peer's Close.
#[tokio::test]
async fn a_session_that_is_asked_to_close_finishes_what_is_in_flight() {
    let (io, mut peer) = Peer::pair(1000);
    let (seen, mut saw) = tokio::sync::mpsc::unbounded_channel();
    let session = Session::new(io, Config::server(), |mut socket: Socket| async move {
        while let Some(message) = socket.recv().await? {
            seen.send(message)?;
        }
        seen.send(Message::from("the end"))?;
        Ok(())
    });
    let control = session.control();
    tokio::spawn(session);
    control.close(CloseCode::GOING_AWAY.into());
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
    peer.send_text("in flight").await;
    peer.send_close(1001, "").await;
    assert_eq!(saw.recv().await.unwrap(), Message::from("in flight"));
    assert_eq!(saw.recv().await.unwrap(), Message::from("the end"));
}

/// L-07: whoever waits to send is told at once that nothing may follow a Close from elsewhere, in
/// whatever task it waits.
#[tokio::test(start_paused = true)]
async fn a_send_that_waits_ends_when_its_session_is_asked_to_close() {
    let (io, _peer) = Peer::pair(16);
    let begin = Instant::now();
    let (failed, failure) = oneshot::channel();
    let session = Session::new(io, Config::server(), move |mut socket: Socket| async move {
        let sending = tokio::spawn(async move {
            loop {
                if let Err(error) = socket.send(vec![0; 1000]).await {
                    break error;
                }
            }
        });
        let error = sending.await?;
        failed.send((error.is_closed(), begin.elapsed())).expect("the test waits");
        Ok(())
    });
    let control = session.control();
    drop(tokio::spawn(session));
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    control.close(CloseCode::NORMAL.into());
    assert_eq!(failure.await.unwrap(), (true, Duration::ZERO));
}

/// L-03: 1010 is a client's code; a reason has 123 bytes.
#[tokio::test]
async fn a_close_that_may_not_be_sent_is_refused_before_anything_happens() {
    let (io, mut peer) = Peer::pair(1000);
    let mut socket = server(io);
    let error = socket.close_with(CloseCode::MANDATORY_EXTENSION, "").await.unwrap_err();
    assert!(error.is_unsendable() && !error.is_closed() && !error.is_disconnect());
    let error = socket.close_with(CloseCode::NORMAL, &"x".repeat(124)).await.unwrap_err();
    assert!(error.is_unsendable());
    assert!(socket.ping(vec![0; 126]).await.unwrap_err().is_unsendable());
    socket.send("still open").await.unwrap();
    assert_eq!(peer.recv().await, (0x81, b"still open".to_vec()));
}

/// L-04: an empty Close is sent on request, as when the peer's is passed on.
#[tokio::test]
async fn a_close_is_passed_on_as_it_was() {
    for (code, body) in [(None, vec![]), (Some(4001), close_body(4001, "why"))] {
        let (front, mut client) = Peer::pair(100);
        let (back, mut other) = Peer::pair(100);
        tokio::spawn(async move {
            let (mut front, mut back) = (server(front), server(back));
            assert!(front.recv().await.unwrap().is_none());
            back.start_close_frame(front.peer_close().unwrap().clone()).unwrap();
            back.flush().await
        });
        match code {
            None => client.send_raw(&masked(0x88, b"")).await,
            Some(code) => client.send_close(code, "why").await,
        }
        drop(client);
        assert_eq!(other.recv().await, (0x88, body));
    }
    let (io, _peer) = Peer::pair(100);
    let frame = CloseCode::MANDATORY_EXTENSION.into();
    assert!(server(io).start_close_frame(frame).unwrap_err().is_unsendable());
}

/// L-11: a client lets the server end the transport, for a bounded time.
#[tokio::test(start_paused = true)]
async fn a_client_waits_for_the_servers_end_for_a_bounded_time() {
    for (timeouts, seconds) in
        [(Timeouts::default(), 2), (Timeouts::default().server_end(Duration::from_secs(4)), 4)]
    {
        let (io, mut peer) = Peer::pair(1000);
        let config = Config::client().timeouts(timeouts);
        let begin = Instant::now();
        let client = tokio::spawn(async move { WebSocket::new(io, config).close().await });
        peer.send_raw(&[0x88, 2, 3, 232]).await;
        client.await.unwrap().unwrap();
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}
