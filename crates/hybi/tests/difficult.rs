//! What holds when a peer, a transport, a runtime or a user is difficult.

mod support;

use std::{
    future::{pending, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use hybi::{
    proto::{CloseCode, Limits, Message},
    socket::{BoxError, Config, Ended, HandlerEnd, Session, WebSocket},
};
use support::{Peer, close_body, masked, settle, within_ten_seconds};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

type Socket = WebSocket<DuplexStream>;

/// A session whose handler waits in `send`, since its peer does not read.
async fn stuck_sender() -> (tokio::task::JoinHandle<Ended>, Peer) {
    let (io, peer) = Peer::pair(1024);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            loop {
                socket.send(vec![0; 10_000]).await?;
            }
        }));
    settle().await;
    (session, peer)
}

/// B-05, L-06: one poll of the session comes to an end although the handler can do nothing.
#[test]
fn a_peer_that_does_not_read_and_closes_does_not_occupy_the_thread() {
    within_ten_seconds(|| async {
        let (session, mut peer) = stuck_sender().await;
        peer.send_close(1000, "").await;
        // Another task of the same thread has its turn.
        settle().await;
        session.abort();
    });
}

/// The same for a peer that only ends its side.
#[test]
fn a_peer_that_does_not_read_and_ends_its_side_does_not_occupy_the_thread() {
    within_ten_seconds(|| async {
        let (session, mut peer) = stuck_sender().await;
        peer.io.shutdown().await.unwrap();
        settle().await;
        session.abort();
    });
}

/// A proxy: the handler of one session drives a second session in its own task, whose handler has
/// the sockets of both.
#[test]
fn a_session_inside_a_handler_reaches_the_socket_of_the_outer_session() {
    within_ten_seconds(|| async {
        let (outer_io, mut outer) = Peer::pair(1024);
        let (inner_io, mut inner) = Peer::pair(1024);
        tokio::spawn(Session::new(outer_io, Config::server(), |mut front: Socket| async move {
            Session::new(inner_io, Config::server(), move |mut back: Socket| async move {
                while let Some(message) = front.recv().await? {
                    back.send(message).await?;
                }
                Ok(())
            })
            .await;
            Ok(())
        }));
        outer.send_text("through").await;
        assert_eq!(inner.recv().await, (0x81, b"through".to_vec()));
    });
}

/// `abort` drops the transport at once, whatever is queued: the peer sees 1006.
#[tokio::test]
async fn an_aborted_socket_writes_nothing_more() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            socket.send("queued").await?;
            socket.abort();
            Ok(())
        }));
    session.await.unwrap();
    assert!(peer.at_eof().await, "neither a message nor a Close goes out");
}

#[tokio::test]
async fn nothing_can_be_sent_on_an_aborted_socket() {
    let (io, _peer) = Peer::pair(1 << 16);
    let (result, sent) = tokio::sync::oneshot::channel();
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.abort();
        let _ = result.send(socket.send("late").await.is_err());
        Ok(())
    }));
    assert!(sent.await.unwrap());
}

/// Only `Control::abort` is said to drop the handler; a handler that aborts its own socket has
/// still to clean up.
#[tokio::test]
async fn a_handler_that_aborts_its_socket_runs_on() {
    let (io, _peer) = Peer::pair(1 << 16);
    let cleaned_up = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cleaned_up);
    Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.abort();
        tokio::task::yield_now().await;
        flag.store(true, Ordering::Relaxed);
        Ok(())
    })
    .await;
    assert!(cleaned_up.load(Ordering::Relaxed));
}

/// S-07: the assembly timeout is one message's, not that of all that follow each other closely.
#[tokio::test(start_paused = true)]
async fn messages_that_overlap_reads_each_have_the_whole_time() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let config = Config::server().keep_alive(None);
    let session = tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
        while socket.recv().await?.is_some() {}
        Ok(())
    }));
    // Each write ends one message and begins the next, every ten seconds.
    let frame = masked(0x82, &[0; 100]);
    let (head, tail) = frame.split_at(50);
    peer.send_raw(head).await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        peer.send_raw(&[tail, head].concat()).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.send_raw(tail).await;
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    drop(peer);
    assert!(session.await.unwrap().failure().is_none());
}

/// What has arrived is taken before the peer is blamed for being slow: it is the user who was.
#[tokio::test(start_paused = true)]
async fn a_message_that_arrived_in_time_is_received_by_a_user_who_comes_back_late() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut socket = WebSocket::new(io, Config::server());
    let frame = masked(0x82, &[7; 100]);
    peer.send_raw(&frame[..50]).await;
    assert!(socket.recv().now_or_never().is_none());
    peer.send_raw(&frame[50..]).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(socket.recv().await.unwrap(), Some(Message::from(vec![7; 100])));
}

/// A write stalls when the peer takes nothing, not when the user asks for nothing.
#[tokio::test(start_paused = true)]
async fn a_user_who_comes_back_late_is_not_a_stalled_write() {
    let (io, mut peer) = Peer::pair(1024);
    let mut socket = WebSocket::new(io, Config::server());
    assert!(socket.send(vec![0; 1500]).now_or_never().is_none());
    // The peer reads all that there is, and then has nothing to read for a while.
    assert_eq!(peer.read_once().await.len(), 1024);
    peer.send_text("and now?").await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(socket.recv().await.unwrap(), Some(Message::from("and now?")));
}

/// The peer's Close is there; nobody looked.
#[tokio::test(start_paused = true)]
async fn a_close_that_arrived_in_time_is_found_by_a_user_who_comes_back_late() {
    let (io, mut peer) = Peer::pair(1024);
    let mut socket = WebSocket::new(io, Config::server());
    socket.start_close(CloseCode::NORMAL, "").unwrap();
    assert!(socket.recv().now_or_never().is_none());
    peer.send_close(1000, "").await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(socket.recv().await.unwrap(), None);
    assert!(socket.peer_close().is_some());
}

/// A transport like TLS or `BufWriter`: what is written leaves when `poll_flush` is done.
struct Buffered {
    io: DuplexStream,
    held: Vec<u8>,
    flushes: Arc<AtomicBool>,
    waker: Option<Waker>,
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.flushes.load(Ordering::Relaxed) {
            this.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while !this.held.is_empty() {
            let written = Pin::new(&mut this.io).poll_write(cx, &this.held);
            let n = std::task::ready!(written)?;
            this.held.drain(..n);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

fn buffered() -> (Buffered, Peer, Arc<AtomicBool>) {
    let (io, peer) = Peer::pair(1 << 16);
    let flushes = Arc::new(AtomicBool::new(false));
    (Buffered { io, held: Vec::new(), flushes: Arc::clone(&flushes), waker: None }, peer, flushes)
}

/// `flush` is cancel safe: a second one goes on where the first was dropped.
#[tokio::test]
async fn a_flush_after_a_dropped_one_flushes_the_transport() {
    let (io, mut peer, flushes) = buffered();
    let mut socket = WebSocket::new(io, Config::server());
    assert!(socket.send("hello").now_or_never().is_none(), "the transport does not flush");
    flushes.store(true, Ordering::Relaxed);
    socket.flush().await.unwrap();
    let arrived = peer.recv().now_or_never();
    assert_eq!(arrived, Some((0x81, b"hello".to_vec())));
}

/// "Writes everything that is queued", through the transport's own buffer too.
#[tokio::test]
async fn a_flush_in_a_session_waits_for_the_transports_own() {
    let (io, _peer, _flushes) = buffered();
    let (result, flushed) = tokio::sync::oneshot::channel();
    let session = tokio::spawn(Session::new(
        io,
        Config::server(),
        |mut socket: WebSocket<Buffered>| async move {
            socket.send("hello").await?;
            let _ = result.send(socket.flush().await.is_ok());
            pending().await
        },
    ));
    settle().await;
    assert!(flushed.now_or_never().is_none(), "nothing has left the transport");
    session.abort();
}

/// After `start_close`, `recv` goes on to give what the peer sends until its own Close.
#[tokio::test(start_paused = true)]
async fn messages_on_their_way_at_a_close_are_received_without_a_gap() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let (result, received) = tokio::sync::oneshot::channel();
    let config = Config::server().limits(Limits::default().read_ahead(1000));
    tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
        socket.start_close(CloseCode::GOING_AWAY, "")?;
        let mut got = Vec::new();
        while let Some(message) = socket.recv().await? {
            got.push(message.as_bytes()[0]);
            // Each takes some work.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let _ = result.send(got);
        Ok(())
    }));
    // In flight before the peer could have seen our Close.
    for batch in 0..2 {
        let frames: Vec<_> = (0..10).flat_map(|n| masked(0x82, &[batch * 10 + n; 200])).collect();
        peer.send_raw(&frames).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    peer.send_close(1001, "").await;
    let got = received.await.unwrap();
    let without_gap: Vec<_> = (0..got.len() as u8).collect();
    assert_eq!(got, without_gap);
}

/// `Ended::failure`: `None` when the connection ended with both Closes.
#[tokio::test(start_paused = true)]
async fn a_close_that_could_not_be_answered_is_a_failure() {
    let (io, mut peer) = Peer::pair(64);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            socket.send(vec![0; 10_000]).await?;
            while socket.recv().await?.is_some() {}
            Ok(())
        }));
    settle().await;
    // It never reads: neither the message nor our Close arrives.
    peer.send_close(1000, "").await;
    let ended = session.await.unwrap();
    assert!(ended.failure().is_some(), "10,000 bytes and our Close were not written");
}

/// The same as `close` tells it, when the transport fails instead.
#[tokio::test(start_paused = true)]
async fn a_close_reports_that_what_was_sent_before_it_did_not_go_out() {
    let (io, mut peer) = Peer::pair(64);
    let mut socket = WebSocket::new(io, Config::server());
    assert!(socket.send(vec![0; 10_000]).now_or_never().is_none());
    peer.send_close(1000, "").await;
    let close = tokio::spawn(async move { socket.close().await.map(|()| socket) });
    settle().await;
    drop(peer);
    assert!(close.await.unwrap().is_err(), "everything that was sent before goes out first");
}

/// And to a handler.
#[tokio::test(start_paused = true)]
async fn a_close_in_a_session_reports_that_what_was_sent_before_it_did_not_go_out() {
    let (io, mut peer) = Peer::pair(64);
    let (result, closed) = tokio::sync::oneshot::channel();
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.send(vec![0; 10_000]).await?;
        let _ = result.send(socket.close().await.is_ok());
        Ok(())
    }));
    settle().await;
    // It never reads.
    peer.send_close(1000, "").await;
    assert!(!closed.await.unwrap(), "10,000 bytes and our Close were not written");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in a destructor");
    }
}

/// A destructor of the handler's is part of the handler.
#[tokio::test]
async fn a_handler_that_panics_when_it_is_dropped_closes_with_1011() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| {
        let bomb = Bomb;
        poll_fn(move |_| {
            let _ = (&bomb, &socket);
            Poll::Ready(Ok::<(), BoxError>(()))
        })
    }));
    assert_eq!(peer.recv().await, (0x88, close_body(1011, "")));
    peer.send_close(1011, "").await;
    drop(peer);
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Panicked(_)));
}

/// A socket in another task is not forgotten when its session is.
#[tokio::test]
async fn a_moved_socket_ends_when_its_session_is_dropped() {
    let (io, _peer) = Peer::pair(1 << 16);
    let (give, moved) = tokio::sync::oneshot::channel();
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let _ = give.send(socket.detach());
        Ok(())
    }));
    let mut socket = moved.await.unwrap();
    let closed = socket.closed();
    let receiver = tokio::spawn(async move { socket.recv().await });
    settle().await;
    session.abort();
    assert!(receiver.await.unwrap().unwrap_err().is_disconnect());
    closed.await;
}

/// What a peer sends cannot make the server panic, whatever its runtime was built with: a session
/// needs the clock, and says so before it has read anything.
#[test]
fn a_runtime_without_timers_is_refused_at_the_first_poll() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    runtime.block_on(async {
        let (io, _peer) = Peer::pair(1 << 16);
        let session = Session::new(io, Config::server(), |_socket: Socket| pending());
        assert!(tokio::spawn(session).await.unwrap_err().is_panic());
    });
}

/// Two tasks share a socket by a lock per poll, as `StreamExt::split` does.
#[tokio::test(start_paused = true)]
async fn an_abort_wakes_whoever_receives() {
    let (io, _peer) = Peer::pair(1 << 16);
    let socket = Arc::new(std::sync::Mutex::new(WebSocket::new(io, Config::server())));
    let shared = Arc::clone(&socket);
    let receiver = tokio::spawn(poll_fn(move |cx| shared.lock().unwrap().poll_recv(cx)));
    settle().await;
    socket.lock().unwrap().abort();
    let received = tokio::time::timeout(Duration::from_secs(60), receiver).await;
    assert!(received.expect("it is woken").unwrap().is_err());
}

/// A `flush` tells of no failure while there is none, whatever the peer asks for meanwhile.
#[test]
fn a_flush_from_another_task_does_not_fail_on_a_connection_that_works() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build().unwrap();
    let error = runtime.block_on(async {
        let (io, mut peer) = Peer::pair(8);
        let (give, moved) = tokio::sync::oneshot::channel();
        tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
            let _ = give.send(socket);
            pending().await
        }));
        let mut socket = moved.await.unwrap();
        let flusher = tokio::spawn(async move {
            loop {
                if let Err(error) = socket.flush().await {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        });
        let ping = masked(0x89, b"0123456789");
        let pinger = tokio::spawn(async move {
            loop {
                peer.send_raw(&ping).await;
                assert_eq!(peer.recv().await.0, 0x8a);
            }
        });
        let error = tokio::time::timeout(Duration::from_secs(5), flusher).await;
        pinger.abort();
        error.ok().map(Result::unwrap)
    });
    assert!(error.is_none(), "{error:?}");
}
