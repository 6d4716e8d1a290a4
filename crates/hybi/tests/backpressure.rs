//! What is queued is bounded, whoever does not read, and nobody waits for nothing.

mod support;

use std::{
    future::{Future, pending, poll_fn},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{
    SinkExt, StreamExt,
    future::{join, join_all},
    stream::FuturesUnordered,
};
use hybi::{
    proto::{Limits, Message},
    socket::{BoxError, Config, Session, Timeouts, WebSocket},
};
use support::{Peer, masked};
use tokio::io::{AsyncReadExt, DuplexStream};

type Socket = WebSocket<DuplexStream>;

const MESSAGES: usize = 10_000;

fn message(n: usize) -> Message {
    Message::from(vec![n as u8; n % 300])
}

/// Both directions of one socket at once, as far as a split by a lock goes.
async fn push_and_pull(socket: Socket) -> Result<(), BoxError> {
    let (mut sink, mut stream) = StreamExt::split(socket);
    let push = async {
        for n in 0..MESSAGES {
            sink.send(message(n)).await?;
        }
        Ok::<_, BoxError>(())
    };
    let pull = async {
        for n in 0..MESSAGES {
            assert_eq!(stream.next().await.expect("not the end")?, message(n));
        }
        Ok::<_, BoxError>(())
    };
    let (pushed, pulled) = join(push, pull).await;
    pushed.and(pulled)
}

/// R-01, G-09: receiving never waits for the output queue.
#[tokio::test]
async fn two_ends_that_push_at_each_other_through_a_small_pipe_finish() {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let a = push_and_pull(WebSocket::new(a, Config::server()));
    let b = push_and_pull(WebSocket::new(b, Config::client()));
    let (a, b) = join(a, b).await;
    a.and(b).unwrap();
}

/// R-01, G-09: nobody receives before its own message is out, which is longer than the pipe.
#[tokio::test(start_paused = true)]
async fn two_bare_sockets_that_send_at_each_other_before_they_receive_finish() {
    async fn send_then_receive(mut socket: Socket) -> Message {
        socket.send(vec![1; 30_000]).await.expect("the peer goes on receiving");
        socket.recv().await.expect("no fault").expect("not the end")
    }
    let (a, b) = tokio::io::duplex(1024);
    let a = send_then_receive(WebSocket::new(a, Config::server()));
    let b = send_then_receive(WebSocket::new(b, Config::client()));
    let (a, b) = join(a, b).await;
    assert!(a == b && a == Message::from(vec![1; 30_000]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_that_push_at_each_other_through_a_small_pipe_finish() {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let a = tokio::spawn(Session::new(a, Config::server(), push_and_pull));
    let b = tokio::spawn(Session::new(b, Config::client(), push_and_pull));
    for ended in [a.await.unwrap(), b.await.unwrap()] {
        assert!(matches!(ended.handler(), hybi::socket::HandlerEnd::Returned), "{ended:?}");
        assert_eq!(ended.stats().messages_received, MESSAGES as u64);
    }
}

/// Halves in two tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_of_a_handlers_socket_work_in_two_tasks() {
    let (a, b) = tokio::io::duplex(4 * 1024);
    let (sent, all_sent) = tokio::sync::oneshot::channel();
    tokio::spawn(Session::new(a, Config::server(), |socket: Socket| async move {
        let (sender, mut receiver) = socket.split();
        let push = tokio::spawn(async move {
            for n in 0..MESSAGES {
                sender.send(message(n)).await.unwrap();
            }
            sent.send(()).unwrap();
            sender
        });
        let pull = tokio::spawn(async move { while receiver.next().await.is_some() {} });
        pull.await?;
        drop(push.await?);
        Ok(())
    }));
    let mut client = WebSocket::new(b, Config::client());
    for n in 0..MESSAGES {
        assert_eq!(client.recv().await.unwrap(), Some(message(n)));
        client.feed("noise").await.unwrap();
    }
    all_sent.await.unwrap();
    client.close().await.unwrap();
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// G-09: the mark, one past it, and a second value of it.
#[tokio::test]
async fn send_waits_above_the_output_mark_and_takes_a_message_whole_below_it() {
    for mark in [64 * 1024, 1000] {
        let (io, _peer) = Peer::pair(1);
        let config = Config::server().limits(Limits::default().output_mark(mark));
        let mut socket = WebSocket::new(io, config);
        // Below the mark: taken, whatever its size.
        assert!(poll_once(socket.feed(vec![0; mark - 4 - 1])).is_ready());
        assert!(poll_once(socket.feed(vec![0; 100_000])).is_ready());
        assert!(poll_once(socket.feed("")).is_pending());
    }
}

/// G-09: what nobody receives is read ahead up to the limit, then reading stops.
#[tokio::test]
async fn reading_stops_once_the_read_ahead_is_full() {
    for read_ahead in [64 * 1024, 4 * 1024] {
        let (io, mut peer) = Peer::pair(1024);
        let config = Config::server().limits(Limits::default().read_ahead(read_ahead));
        tokio::spawn(Session::new(io, config, |socket: Socket| async move {
            let _socket = socket;
            pending().await
        }));
        let mut written = 0;
        let frame = masked(0x82, &[0; 1000]);
        while tokio::time::timeout(Duration::from_millis(20), peer.send_raw(&frame)).await.is_ok() {
            written += frame.len();
            assert!(written < 4 * read_ahead, "the server reads without end");
        }
        assert!(written > read_ahead / 2, "{written} of {read_ahead}");
    }
}

/// Limits of nothing slow a socket down to one message at a time; they do not stop it.
#[tokio::test]
async fn a_mark_and_a_read_ahead_of_zero_still_let_one_message_pass() {
    let limits = Limits::default().output_mark(0).read_ahead(0);
    let (a, b) = tokio::io::duplex(16);
    let echo = |mut socket: Socket| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    };
    tokio::spawn(Session::new(a, Config::server().limits(limits.clone()), echo));
    let mut client = WebSocket::new(b, Config::client().limits(limits));
    for n in 0..100 {
        client.send(message(n)).await.unwrap();
        assert_eq!(client.recv().await.unwrap(), Some(message(n)));
    }
}

/// What is fed leaves in one write with the next flush.
#[tokio::test]
async fn fed_messages_leave_together() {
    let (io, mut peer) = Peer::pair(1000);
    let mut socket = WebSocket::new(io, Config::server());
    for _ in 0..10 {
        socket.feed("12345678").await.unwrap();
    }
    assert!(poll_once(peer.recv()).is_pending(), "nothing was written yet");
    socket.flush().await.unwrap();
    assert_eq!(peer.read_once().await.len(), 100);
}

/// G-09: the handler makes room in its turn, with nothing else going on that would wake the session.
#[tokio::test(start_paused = true)]
async fn reading_resumes_when_a_handler_has_taken_what_was_read_ahead() {
    let (io, mut peer) = Peer::pair(1024);
    let (resume, resumed) = tokio::sync::oneshot::channel();
    let config = Config::server().limits(Limits::default().read_ahead(4 * 1024));
    let session = tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
        resumed.await?;
        for _ in 0..40 {
            socket.recv().await?.expect("a message");
        }
        Ok(())
    }));
    let writer = tokio::spawn(async move {
        for _ in 0..40 {
            peer.send_raw(&masked(0x82, &[0; 1000])).await;
        }
        peer
    });
    // The clock only moves once nothing else does.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!writer.is_finished(), "reading stopped");
    resume.send(()).unwrap();
    let peer = tokio::time::timeout(Duration::from_secs(1), writer).await;
    drop(peer.expect("the session reads on"));
    session.await.unwrap();
}

#[tokio::test]
async fn a_handler_that_waits_to_send_still_answers_pings() {
    let (io, mut peer) = Peer::pair(1 << 10);
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        loop {
            socket.send(vec![0; 1000]).await?;
        }
    }));
    peer.send_raw(&masked(0x89, b"hello")).await;
    loop {
        if peer.recv().await == (0x8a, b"hello".to_vec()) {
            break;
        }
    }
}

/// A bare socket answers the pings that it finds on the way to a message before it returns that.
#[tokio::test]
async fn a_bare_socket_answers_a_ping_before_it_is_asked_for_the_next_message() {
    let (io, mut peer) = Peer::pair(1 << 10);
    let mut socket = WebSocket::new(io, Config::server());
    peer.send_raw(&[masked(0x89, b"hello"), masked(0x81, b"text")].concat()).await;
    assert_eq!(socket.recv().await.unwrap(), Some(Message::from("text")));
    assert_eq!(poll_once(peer.recv()), Poll::Ready((0x8a, b"hello".to_vec())));
}

/// G-07: a pong passes between the frames of a long message that is cut.
#[tokio::test]
async fn a_ping_during_a_long_send_is_answered_within_a_few_frames() {
    let (io, mut peer) = Peer::pair(1 << 10);
    let config = Config::server().limits(Limits::default().max_send_frame(64 * 1024));
    tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
        socket.send(vec![0; 100 << 20]).await?;
        pending().await
    }));
    assert_eq!(peer.recv().await.0, 0x02);
    peer.send_raw(&masked(0x89, b"now")).await;
    for _ in 0..4 {
        let (first, payload) = peer.recv().await;
        if first == 0x8a {
            assert_eq!(payload, b"now");
            return;
        }
        assert_eq!((first, payload.len()), (0x00, 64 * 1024));
    }
    panic!("no pong within four frames");
}

/// A peer that takes nothing is dropped after the write-stall timeout, whatever it sends.
#[tokio::test(start_paused = true)]
async fn a_stalled_write_drops_the_connection() {
    for (config, seconds) in [
        (Config::server(), 30),
        (Config::server().timeouts(Timeouts::default().write_stall(Duration::from_secs(3))), 3),
    ] {
        let (io, _peer) = Peer::pair(16);
        let begin = tokio::time::Instant::now();
        let session = Session::new(io, config, |mut socket: Socket| async move {
            loop {
                socket.send(vec![0; 1000]).await?;
            }
        });
        let ended = session.await;
        assert!(ended.failure().unwrap().is_timeout());
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

/// A write stalls while the peer takes nothing. One that takes little, for longer than the timeout in
/// all, is waited for.
#[tokio::test(start_paused = true)]
async fn a_write_that_makes_progress_is_not_stalled() {
    let (io, mut peer) = Peer::pair(1000);
    let timeouts = Timeouts::default().write_stall(Duration::from_secs(3));
    let mut socket = WebSocket::new(io, Config::server().timeouts(timeouts));
    let sending = tokio::spawn(async move { socket.send(vec![0; 10_000 - 4]).await });
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(peer.io.read_exact(&mut [0; 1000]).await.expect("not dropped"), 1000);
    }
    sending.await.unwrap().unwrap();
}

// ===== handlers that must answer without delay =====

async fn answers_at_once<F>(handler: impl FnOnce(Socket) -> F)
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), handler));
    for text in ["a", "b", "c"] {
        peer.send_text(text).await;
        let frame = tokio::time::timeout(Duration::from_secs(5), peer.recv()).await;
        assert_eq!(frame.expect("an answer"), (0x81, text.as_bytes().to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_sleeps_after_send_answers_before_it_sleeps() {
    answers_at_once(|mut socket| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_selects_answers_at_once() {
    answers_at_once(|mut socket| async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        loop {
            tokio::select! {
                message = socket.recv() => match message? {
                    Some(message) => socket.send(message).await?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn both_halves_in_one_task_answer_at_once() {
    answers_at_once(|socket| async move {
        let (sink, stream) = socket.split();
        stream.forward(sink).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_socket_inside_futures_unordered_answers_at_once() {
    answers_at_once(|socket| async move {
        let mut all = FuturesUnordered::new();
        all.push(tokio::spawn(pending::<()>()));
        let echo = async move {
            let mut socket = socket;
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok::<_, BoxError>(())
        };
        let idle = async { while all.next().await.is_some() {} };
        let (echo, ()) = join(async { join_all([echo]).await.pop().expect("one") }, idle).await;
        echo
    })
    .await;
}

#[tokio::test]
async fn a_handler_that_suspends_in_the_middle_of_a_batch_answers_what_it_has() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let (resume, resumed) = tokio::sync::oneshot::channel();
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        let first = socket.recv().await?.expect("one");
        socket.send(first).await?;
        resumed.await?;
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    }));
    peer.send_raw(&[masked(0x81, b"1"), masked(0x81, b"2"), masked(0x81, b"3")].concat()).await;
    assert_eq!(peer.recv().await.1, b"1");
    resume.send(()).unwrap();
    assert_eq!(peer.recv().await.1, b"2");
    assert_eq!(peer.recv().await.1, b"3");
}

#[tokio::test]
async fn flush_waits_until_everything_is_written() {
    let (io, mut peer) = Peer::pair(8);
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        socket.send("0123456789").await?;
        socket.flush().await?;
        // Busy from here on: nothing that was not written by now would ever be.
        poll_fn(|_| Poll::<Result<(), BoxError>>::Pending).await
    }));
    assert_eq!(peer.recv().await, (0x81, b"0123456789".to_vec()));
}
