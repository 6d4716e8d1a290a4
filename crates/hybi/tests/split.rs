//! The halves of a socket: in tasks of their own, however they are used, dropped and put together again.

mod support;

use std::{
    future::{Future, pending, poll_fn},
    marker::PhantomData,
    pin::{Pin, pin},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use hybi::{
    proto::{CloseCode, Limits, Message, MessageKind},
    socket::{BoxError, Config, HandlerEnd, Receiver, Sender, Session, WebSocket},
};
use support::{Peer, close_body, masked, settle};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf},
    sync::oneshot,
    task::{LocalSet, spawn_local},
};

type Socket = WebSocket<DuplexStream>;

const MESSAGES: usize = 10_000;

fn message(n: usize) -> Message {
    Message::from(vec![n as u8; n % 300])
}

/// Halves of a socket that owned its transport.
fn halves(capacity: usize) -> (Sender, Receiver, Peer) {
    halves_with(capacity, Config::server())
}

fn halves_with(capacity: usize, config: Config) -> (Sender, Receiver, Peer) {
    let (io, peer) = Peer::pair(capacity);
    let (sender, receiver) = WebSocket::new(io, config).split();
    (sender, receiver, peer)
}

/// Halves that left their handler, which goes on.
async fn moved_halves(io: DuplexStream, config: Config) -> (Sender, Receiver) {
    let (give, moved) = oneshot::channel();
    tokio::spawn(Session::new(io, config, |socket: Socket| async move {
        let _ = give.send(socket.split());
        pending().await
    }));
    moved.await.expect("the handler runs")
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(tokio::task::unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()))
}

// ===== both directions at once =====

/// pushes and pulls in two tasks.
async fn push_and_pull(sender: Sender, mut receiver: Receiver) {
    let push = tokio::spawn(async move {
        for n in 0..MESSAGES {
            sender.send(message(n)).await.unwrap();
        }
        sender
    });
    let pull = tokio::spawn(async move {
        for n in 0..MESSAGES {
            assert_eq!(receiver.recv().await.unwrap(), Some(message(n)));
        }
        receiver
    });
    // Neither half goes before both are done: that would close the socket.
    let (sender, receiver) = (push.await.unwrap(), pull.await.unwrap());
    sender.flush().await.unwrap();
    let _ = sender.close().await;
    drop(receiver);
}

/// R-01, G-09
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_in_tasks_of_their_own_push_both_ways_through_a_small_pipe() {
    for capacity in [64, 4096] {
        let (a, b) = tokio::io::duplex(capacity);
        let (sender, receiver) = WebSocket::new(a, Config::server()).split();
        let a = tokio::spawn(push_and_pull(sender, receiver));
        let (sender, receiver) = WebSocket::new(b, Config::client()).split();
        let b = tokio::spawn(push_and_pull(sender, receiver));
        a.await.unwrap();
        b.await.unwrap();
    }
}

/// R-01, G-09: the same with halves of a handler's socket, moved elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn halves_of_a_handlers_socket_push_both_ways_in_tasks_of_their_own() {
    let (a, b) = tokio::io::duplex(4096);
    let (sender, receiver) = moved_halves(a, Config::server()).await;
    let a = tokio::spawn(push_and_pull(sender, receiver));
    let (sender, receiver) = moved_halves(b, Config::client()).await;
    let b = tokio::spawn(push_and_pull(sender, receiver));
    a.await.unwrap();
    b.await.unwrap();
}

/// Both halves in the handler's own task.
#[tokio::test]
async fn halves_in_one_handler_work_as_its_socket_does() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let (sender, mut receiver) = socket.split();
        while let Some(message) = receiver.recv().await? {
            sender.send(message).await?;
        }
        Ok(())
    }));
    let burst: Vec<_> = (0..100).flat_map(|_| masked(0x82, &[7; 16])).collect();
    peer.send_raw(&burst).await;
    assert_eq!(peer.read_once().await.len(), 100 * 18, "answered in one write");
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await.0, 0x88);
    drop(peer);
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Returned));
}

/// F-10, G-06: each sender's messages arrive whole and in its order, also where several send theirs in
/// parts at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_many_senders_arrive_whole_and_each_ones_in_order() {
    const SENDERS: usize = 8;
    const EACH: u32 = 1000;
    let (sender, _receiver, peer) = halves(1000);
    let mut peer = WebSocket::new(peer.io, Config::client());
    for task in 0..SENDERS {
        let mut sender = sender.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let message = [&[task as u8][..], &n.to_be_bytes(), &[0; 700]].concat();
                match n % 4 {
                    0 => sender.send(message).await.unwrap(),
                    1 => sender.feed(message).await.unwrap(),
                    2 => {
                        let mut writer = sender.start_message(MessageKind::Binary).await.unwrap();
                        for part in message.chunks(300) {
                            writer.send_chunk(part.to_vec()).await.unwrap();
                        }
                        writer.finish().await.unwrap();
                    }
                    _ => SinkExt::send(&mut sender, message.into()).await.unwrap(),
                }
            }
            sender.flush().await.unwrap();
        });
    }
    let mut next = [0; SENDERS];
    for _ in 0..SENDERS as u32 * EACH {
        let message = peer.recv().await.unwrap().unwrap();
        let (task, rest) = message.as_bytes().split_first().unwrap();
        let next = &mut next[usize::from(*task)];
        assert_eq!(rest[..4], u32::to_be_bytes(*next));
        *next += 1;
    }
    assert_eq!(next, [EACH; SENDERS]);
}

// ===== wake-ups =====

/// Counts how often a task is polled.
struct Counted<F>(Pin<Box<F>>, Arc<AtomicUsize>);

fn counted<F: Future>(future: F) -> (Counted<F>, Arc<AtomicUsize>) {
    let polls = Arc::new(AtomicUsize::new(0));
    (Counted(Box::pin(future), Arc::clone(&polls)), polls)
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

/// One message after the other, each a round trip: each task is woken for each message, the one that
/// moves the transport twice, and none for anything else.
#[tokio::test]
async fn a_round_trip_wakes_each_task_once() {
    const TRIPS: usize = 1000;
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, mut receiver, task) = WebSocket::new(io, Config::server()).split_with_task();
    let (task, task_polls) = counted(task);
    tokio::spawn(task);
    let (asks, mut asked) = tokio::sync::mpsc::channel::<Message>(1);
    let (send, send_polls) = counted(async move {
        while let Some(message) = asked.recv().await {
            sender.send(message).await.unwrap();
        }
    });
    tokio::spawn(send);
    let (receive, receive_polls) = counted(async move {
        while let Some(message) = receiver.recv().await.unwrap() {
            asks.send(message).await.unwrap();
        }
    });
    tokio::spawn(receive);
    for _ in 0..TRIPS {
        peer.send_text("there").await;
        assert_eq!(peer.recv().await, (0x81, b"there".to_vec()));
    }
    let polls = |polls: Arc<AtomicUsize>| polls.load(Ordering::Relaxed);
    let (task, send, receive) = (polls(task_polls), polls(send_polls), polls(receive_polls));
    assert!(task <= 2 * TRIPS + 2, "{task} polls of the transport's task");
    assert!(send <= TRIPS + 2, "{send} polls of the sending task");
    assert!(receive <= TRIPS + 2, "{receive} polls of the receiving task");
}

/// A hundred tasks that wait for room: one that sends wakes one other, not all.
#[tokio::test]
async fn senders_that_wait_are_woken_one_by_one() {
    const SENDERS: usize = 100;
    const EACH: usize = 20;
    let limits = Limits::default().output_mark(1000);
    let (sender, _receiver, mut peer) = halves_with(500, Config::server().limits(limits));
    let mut counts = Vec::new();
    for _ in 0..SENDERS {
        let sender = sender.clone();
        let (send, polls) = counted(async move {
            for _ in 0..EACH {
                // Alone above the mark.
                sender.send(vec![0; 2000]).await.unwrap();
            }
        });
        counts.push(polls);
        tokio::spawn(send);
    }
    for _ in 0..SENDERS * EACH {
        assert_eq!(peer.recv().await.1.len(), 2000);
    }
    let polls: usize = counts.iter().map(|polls| polls.load(Ordering::Relaxed)).sum();
    // For its turn, for room, and to begin.
    assert!(polls <= SENDERS * (2 * EACH + 1), "{polls} polls for {} messages", SENDERS * EACH);
}

/// A half sleeps while the other works.
#[tokio::test]
async fn a_half_that_waits_is_not_woken_by_what_the_other_does() {
    let (sender, mut receiver, mut peer) = halves(1 << 16);
    let (receive, polls) = counted(async move { receiver.recv().await });
    let receive = tokio::spawn(receive);
    for _ in 0..100 {
        sender.send("out").await.unwrap();
        assert_eq!(peer.recv().await.1, b"out");
    }
    assert_eq!(polls.load(Ordering::Relaxed), 1);
    peer.send_text("in").await;
    assert_eq!(receive.await.unwrap().unwrap(), Some(Message::from("in")));
    assert_eq!(polls.load(Ordering::Relaxed), 2);
}

// ===== nobody needs to be polled =====

/// K-02: pings are answered whichever half is polled, or none.
#[tokio::test]
async fn pings_are_answered_whoever_is_polled() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    let ping = async |peer: &mut Peer| {
        peer.send_raw(&masked(0x89, b"there?")).await;
        assert_eq!(peer.recv().await, (0x8a, b"there?".to_vec()));
    };
    ping(&mut peer).await;
    // Only the sender.
    sender.send("here").await.unwrap();
    assert_eq!(peer.recv().await.1, b"here");
    ping(&mut peer).await;
    // Only the receiver.
    let receiver = tokio::spawn(async move {
        let mut receiver = receiver;
        let received = receiver.recv().await;
        (receiver, received)
    });
    ping(&mut peer).await;
    peer.send_text("a message").await;
    let (receiver, received) = receiver.await.unwrap();
    assert_eq!(received.unwrap(), Some(Message::from("a message")));
    // A receiver that is gone.
    drop(receiver);
    ping(&mut peer).await;
    // A sender that is gone, too.
    drop(sender);
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
}

/// L-06, L-12: at once, or with a message before it within the close timeout; deadlines pass with nobody polled.
#[tokio::test(start_paused = true)]
async fn a_peers_close_that_nobody_receives_is_answered() {
    for (messages, seconds) in [(0, 0), (1, 5)] {
        let (sender, receiver, mut peer) = halves(1 << 16);
        let begin = tokio::time::Instant::now();
        for _ in 0..messages {
            peer.send_text("nobody takes this").await;
        }
        peer.send_close(1001, "").await;
        assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
        assert_eq!(begin.elapsed().as_secs(), seconds);
        drop((sender, receiver));
    }
}

// ===== dropping =====

/// L-17
#[tokio::test]
async fn the_last_half_closes_the_socket_behind_what_was_sent_in_whatever_order_they_go() {
    for order in 0..4 {
        for moved in [false, true] {
            let (io, mut peer) = Peer::pair(16);
            let (sender, receiver) = if moved {
                moved_halves(io, Config::server()).await
            } else {
                WebSocket::new(io, Config::server()).split()
            };
            let clone = sender.clone();
            sender.send("a message longer than the pipe").await.unwrap();
            match order {
                0 => {
                    drop((sender, clone));
                    settle().await;
                    drop(receiver);
                }
                1 => {
                    drop(receiver);
                    settle().await;
                    drop((sender, clone));
                }
                2 => {
                    drop(clone);
                    drop(receiver);
                    drop(sender);
                }
                _ => {
                    drop(sender);
                    drop(receiver);
                    settle().await;
                    clone.send("one more").await.unwrap();
                    drop(clone);
                }
            }
            assert_eq!(peer.recv().await.1, b"a message longer than the pipe");
            if order == 3 {
                assert_eq!(peer.recv().await.1, b"one more");
            }
            assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
            peer.send_close(1000, "").await;
            assert!(peer.at_eof().await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_its_receiver_a_socket_goes_on_sending_and_discards_what_arrives() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    let begin = tokio::time::Instant::now();
    peer.send_text("before").await;
    settle().await;
    drop(receiver);
    // Many times what is read ahead.
    for _ in 0..100 {
        peer.send_binary(&[0; 10_000]).await;
    }
    sender.send("still here").await.unwrap();
    assert_eq!(peer.recv().await, (0x81, b"still here".to_vec()));
    // L-04: the peer's Close is answered, at once.
    peer.send_close(3000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(3000, "")));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert!(peer.at_eof().await);
    assert!(sender.send("too late").await.unwrap_err().is_closed());
}

/// L-04: a Close that is there already when the receiver goes.
#[tokio::test(start_paused = true)]
async fn a_receiver_that_goes_leaves_no_close_unanswered() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    let begin = tokio::time::Instant::now();
    peer.send_text("never taken").await;
    peer.send_close(3000, "").await;
    settle().await;
    drop(receiver);
    assert_eq!(peer.recv().await, (0x88, close_body(3000, "")));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    drop(sender);
}

/// L-14: a violation is answered without a receiver.
#[tokio::test]
async fn without_its_receiver_a_socket_still_answers_violations() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    drop(receiver);
    peer.send_raw(&[0x83, 0x80, 0, 0, 0, 0]).await;
    assert_eq!(peer.recv().await.1[..2], 1002u16.to_be_bytes());
    drop(peer);
    sender.closed().await;
}

#[tokio::test]
async fn without_any_sender_a_socket_goes_on_receiving() {
    let (sender, mut receiver, mut peer) = halves(1 << 16);
    drop(sender);
    for text in ["one", "two"] {
        peer.send_text(text).await;
        assert_eq!(receiver.recv().await.unwrap(), Some(Message::from(text)));
    }
    // The receiver can make another.
    receiver.sender().send("an answer").await.unwrap();
    assert_eq!(peer.recv().await, (0x81, b"an answer".to_vec()));
    assert!(poll_once(peer.recv()).is_pending(), "nothing is closed");
}

#[tokio::test]
async fn halves_end_with_their_handler_unless_the_socket_was_detached() {
    for detach in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (give, moved) = oneshot::channel();
        tokio::spawn(Session::new(io, Config::server(), move |socket: Socket| async move {
            let socket = if detach { socket.detach() } else { socket };
            let _ = give.send(socket.split());
            Ok(())
        }));
        let (sender, mut receiver) = moved.await.unwrap();
        if detach {
            settle().await;
            sender.send("still here").await.unwrap();
            assert_eq!(peer.recv().await, (0x81, b"still here".to_vec()));
            peer.send_text("me too").await;
            assert!(receiver.recv().await.unwrap().is_some());
            drop(receiver);
            drop(sender);
        }
        assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    }
}

/// The task that moves the transport is dropped, as by a runtime that ends.
#[tokio::test]
async fn halves_whose_task_is_dropped_see_a_disconnect() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, mut receiver, task) = WebSocket::new(io, Config::server()).split_with_task();
    let closed = sender.closed();
    let task = tokio::spawn(task);
    let receive = tokio::spawn(async move { receiver.recv().await });
    settle().await;
    task.abort();
    assert!(receive.await.unwrap().unwrap_err().is_disconnect());
    closed.await;
    assert!(sender.send("x").await.is_err());
    assert!(peer.at_eof().await);
}

// ===== closing =====

/// R-15, L-08: what the peer sends between the Closes is the receiver's.
#[tokio::test]
async fn a_sender_closes_while_the_receiver_goes_on_to_the_peers_close() {
    let (sender, mut receiver, mut peer) = halves(1 << 16);
    let receive = tokio::spawn(async move {
        let mut received = Vec::new();
        while let Some(message) = receiver.recv().await.unwrap() {
            received.push(message);
        }
        (received, receiver)
    });
    sender.send("last").await.unwrap();
    let closer = sender.clone();
    let code = CloseCode::new(3000).unwrap();
    let close = tokio::spawn(async move { closer.close_with(code, "done").await });
    assert_eq!(peer.recv().await, (0x81, b"last".to_vec()));
    assert_eq!(peer.recv().await, (0x88, close_body(3000, "done")));
    assert!(sender.send("too late").await.unwrap_err().is_closed());
    peer.send_text("in flight").await;
    peer.send_close(3001, "bye").await;
    close.await.unwrap().unwrap();
    let (received, receiver) = receive.await.unwrap();
    assert_eq!(received, [Message::from("in flight")]);
    for peer_close in [sender.peer_close(), receiver.peer_close()] {
        let peer_close = peer_close.unwrap();
        assert_eq!((peer_close.status(), peer_close.reason()), (3001, "bye"));
    }
    assert!(peer.at_eof().await);
    drop(peer);
    sender.closed().await;
}

/// L-10: nobody receives.
#[tokio::test(start_paused = true)]
async fn a_sender_closes_though_the_receiver_is_not_polled() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    let begin = tokio::time::Instant::now();
    let close = tokio::spawn(async move { sender.close().await });
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    for _ in 0..100 {
        peer.send_binary(&[0; 10_000]).await;
    }
    peer.send_close(1000, "").await;
    close.await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    drop(receiver);
}

#[tokio::test]
async fn a_close_of_the_peer_that_the_receiver_found_ends_sending() {
    let (sender, mut receiver, mut peer) = halves(1 << 16);
    let (closing, closed) = (receiver.closing(), receiver.closed());
    peer.send_close(1001, "").await;
    assert_eq!(receiver.recv().await.unwrap(), None);
    assert_eq!(receiver.peer_close().unwrap().status(), 1001);
    closing.await;
    assert!(sender.send("x").await.unwrap_err().is_closed());
    assert!(sender.ping("x").await.unwrap_err().is_closed());
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
    drop(peer);
    closed.await;
    sender.close().await.unwrap();
    assert_eq!(receiver.recv().await.unwrap(), None);
}

///
#[tokio::test]
async fn an_abort_ends_both_halves_and_whoever_waits() {
    let (sender, mut receiver, mut peer) = halves(16);
    let receive = tokio::spawn(async move { receiver.recv().await });
    sender.send(vec![0; 100_000]).await.unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let sender = sender.clone();
            tokio::spawn(async move { sender.send("never").await })
        })
        .collect();
    let flusher = sender.clone();
    let flush = tokio::spawn(async move { flusher.flush().await });
    let closer = sender.clone();
    settle().await;
    sender.abort();
    let close = tokio::spawn(async move { closer.close().await });
    assert!(receive.await.unwrap().unwrap_err().is_disconnect());
    for waiting in waiting {
        assert!(waiting.await.unwrap().is_err());
    }
    assert!(flush.await.unwrap().is_err());
    assert!(close.await.unwrap().unwrap_err().is_disconnect());
    while !peer.at_eof().await {}
}

#[tokio::test]
async fn a_close_that_may_not_be_sent_is_refused_before_anything_happens() {
    let (sender, _receiver, mut peer) = halves(1 << 16);
    let code = CloseCode::MANDATORY_EXTENSION;
    assert!(sender.start_close(code, "").unwrap_err().is_unsendable());
    assert!(sender.start_close_frame(code.into()).unwrap_err().is_unsendable());
    assert!(
        sender.close_with(CloseCode::NORMAL, &"x".repeat(124)).await.unwrap_err().is_unsendable()
    );
    assert!(sender.ping(vec![0; 126]).await.unwrap_err().is_unsendable());
    sender.send("open").await.unwrap();
    assert_eq!(peer.recv().await.1, b"open");
    sender.start_close(CloseCode::GOING_AWAY, "one").unwrap();
    sender.start_close(CloseCode::NORMAL, "two").unwrap();
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "one")));
}

// ===== taking turns =====

/// G-09: the mark, one past it, and a second value of it.
#[tokio::test]
async fn a_sender_waits_above_the_output_mark_and_takes_a_message_whole_below_it() {
    for mark in [64 * 1024, 1000] {
        let limits = Limits::default().output_mark(mark);
        let (sender, _receiver, _peer) = halves_with(1, Config::server().limits(limits));
        assert!(poll_once(sender.feed(vec![0; mark - 4 - 1])).is_ready());
        assert!(poll_once(sender.feed(vec![0; 100_000])).is_ready());
        assert!(poll_once(sender.feed("")).is_pending());
    }
}

/// Whoever gives up its turn gives it to the next.
#[tokio::test]
async fn a_send_that_is_dropped_while_it_waits_lets_the_next_one_have_its_turn() {
    let limits = Limits::default().output_mark(50);
    let (sender, _receiver, mut peer) = halves_with(10, Config::server().limits(limits));
    sender.send(vec![1; 100]).await.unwrap();
    let spawn = |n: u8| {
        let sender = sender.clone();
        tokio::spawn(async move { sender.send(vec![n; 100]).await })
    };
    // The first has its turn and waits for room, the others wait for theirs.
    let tasks = [spawn(2), spawn(3), spawn(4), spawn(5)];
    settle().await;
    tasks[0].abort();
    tasks[2].abort();
    settle().await;
    for n in [1, 3, 5] {
        assert_eq!(peer.recv().await.1, [n; 100]);
    }
    let [_, three, _, five] = tasks;
    three.await.unwrap().unwrap();
    five.await.unwrap().unwrap();
    assert!(poll_once(peer.recv()).is_pending());
}

/// F-10: `send` dropped at each of its waits over a pipe of one byte.
#[tokio::test]
async fn a_send_dropped_at_every_byte_queues_each_message_whole_or_not_at_all() {
    let limits = Limits::default().output_mark(64);
    let (sender, receiver, mut peer) = halves_with(1, Config::server().limits(limits));
    let mut wire = Vec::new();
    for n in 0..100u8 {
        let _ = poll_once(sender.send(vec![n; usize::from(n)]));
        let _ = poll_once(sender.flush());
        wire.push(peer.io.read_u8().await.unwrap());
    }
    drop((sender, receiver));
    let close = [&[0x88, 2][..], &close_body(1000, "")].concat();
    while !wire.ends_with(&close) {
        wire.push(peer.io.read_u8().await.unwrap());
    }
    support::assert_each_sent_whole_or_not(&wire[..wire.len() - close.len()]);
}

/// F-07, U-02: `recv` polled once and dropped after each byte.
#[tokio::test]
async fn recv_dropped_at_every_byte_loses_no_message() {
    let (_sender, mut receiver, mut peer) = halves(1 << 16);
    let bytes =
        [masked(0x81, "héllo €".as_bytes()), masked(0x02, b"a"), masked(0x80, b"b")].concat();
    let mut received = Vec::new();
    for byte in bytes {
        peer.send_raw(&[byte]).await;
        settle().await;
        while let Poll::Ready(message) = poll_once(receiver.recv()) {
            received.push(message.unwrap().unwrap());
        }
    }
    assert_eq!(received, [Message::from("héllo €"), Message::from(b"ab".to_vec())]);
}

/// L-07: a `close` that was dropped has closed all the same; the next one waits on.
#[tokio::test]
async fn a_close_dropped_while_it_waits_sends_one_close() {
    let (sender, _receiver, mut peer) = halves(1 << 10);
    for _ in 0..3 {
        assert!(poll_once(sender.close()).is_pending());
    }
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    peer.send_close(1000, "").await;
    sender.close().await.unwrap();
    assert!(peer.at_eof().await, "one Close and nothing else");
}

/// Others go on sending, and it waits for none of theirs.
#[tokio::test]
async fn a_flush_waits_for_what_was_queued_before_and_not_for_what_others_send_meanwhile() {
    let limits = Limits::default().output_mark(10_000);
    let (sender, _receiver, mut peer) = halves_with(100, Config::server().limits(limits));
    for _ in 0..4 {
        let sender = sender.clone();
        tokio::spawn(async move { while sender.send(vec![0; 996]).await.is_ok() {} });
    }
    settle().await;
    let flush = tokio::spawn(async move { sender.flush().await });
    settle().await;
    // All that can be queued and in the pipe, with the one who had its turn already.
    for _ in 0..12 {
        assert_eq!(peer.recv().await.1.len(), 996);
        settle().await;
    }
    assert!(flush.is_finished());
    flush.await.unwrap().unwrap();
    // And everybody goes on.
    for _ in 0..100 {
        assert_eq!(peer.recv().await.1.len(), 996);
    }
}

/// A flush that nobody waits for any more does not stop anybody for longer.
#[tokio::test]
async fn a_flush_that_was_dropped_holds_others_back_no_longer_than_it_would_have_taken() {
    let (sender, _receiver, mut peer) = halves(10);
    sender.send(vec![0; 100]).await.unwrap();
    assert!(poll_once(sender.flush()).is_pending());
    let next = tokio::spawn(async move { sender.send("next").await });
    assert_eq!(peer.recv().await.1.len(), 100);
    assert_eq!(peer.recv().await.1, b"next");
    next.await.unwrap().unwrap();
}

#[tokio::test]
async fn fed_messages_leave_together() {
    let (sender, _receiver, mut peer) = halves(1000);
    settle().await;
    for _ in 0..5 {
        sender.feed("12345678").await.unwrap();
    }
    settle().await;
    assert!(poll_once(peer.recv()).is_pending(), "nothing was written yet");
    let other = sender.clone();
    for _ in 0..5 {
        other.feed("12345678").await.unwrap();
    }
    sender.flush().await.unwrap();
    assert_eq!(peer.read_once().await.len(), 100);
    // The next `send` takes what was fed with it, too.
    sender.feed("12345678").await.unwrap();
    other.send("12345678").await.unwrap();
    settle().await;
    assert_eq!(peer.read_once().await.len(), 20);
}

/// More than the mark is fed: what makes room is written.
#[tokio::test]
async fn feeding_without_end_does_not_wait_for_itself() {
    let (sender, _receiver, mut peer) = halves(1000);
    tokio::spawn(async move { while sender.feed(vec![0; 10_000]).await.is_ok() {} });
    for _ in 0..100 {
        assert_eq!(peer.recv().await.1.len(), 10_000);
    }
}

// ===== as stream and sink =====

#[tokio::test]
async fn halves_are_a_stream_and_a_sink() {
    let (sender, receiver, mut peer) = halves(64);
    tokio::spawn(receiver.forward(sender));
    let (mut read, mut write) = tokio::io::split(peer.io);
    let written = tokio::spawn(async move {
        let bytes: Vec<_> = (0..200).flat_map(|n: u8| masked(0x82, &[n; 100])).collect();
        tokio::io::AsyncWriteExt::write_all(&mut write, &bytes).await.unwrap();
        write
    });
    let mut echoed = vec![0; 200 * 102];
    read.read_exact(&mut echoed).await.unwrap();
    for (n, frame) in echoed.chunks(102).enumerate() {
        assert_eq!((frame[0], &frame[2..]), (0x82, &[n as u8; 100][..]));
    }
    peer = Peer { io: read.unsplit(written.await.unwrap()) };
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
}

/// A sink that waited, or was found ready, and is then left alone.
#[tokio::test]
async fn a_sink_that_is_not_used_keeps_nobody_from_sending() {
    let limits = Limits::default().output_mark(100);
    let (sender, _receiver, mut peer) = halves_with(10, Config::server().limits(limits));
    let mut idle = sender.clone();
    poll_fn(|cx| idle.poll_ready_unpin(cx)).await.unwrap();
    sender.send(vec![1; 100]).await.unwrap();
    assert!(poll_once(poll_fn(|cx| idle.poll_ready_unpin(cx))).is_pending());
    let send = tokio::spawn(async move { sender.send("next").await });
    assert_eq!(peer.recv().await.1.len(), 100);
    assert_eq!(peer.recv().await.1, b"next");
    send.await.unwrap().unwrap();
    // Once found ready, it may go past the mark by one.
    poll_fn(|cx| idle.poll_ready_unpin(cx)).await.unwrap();
    idle.start_send_unpin(vec![2; 200].into()).unwrap();
    let flush = tokio::spawn(async move { idle.flush().await });
    assert_eq!(peer.recv().await.1, [2; 200]);
    flush.await.unwrap().unwrap();
}

// ===== putting together again =====

#[tokio::test]
async fn halves_of_one_socket_reunite() {
    for moved in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let config = Config::server().subprotocol(Some("chat".into()));
        let (sender, mut receiver) =
            if moved { moved_halves(io, config).await } else { WebSocket::new(io, config).split() };
        sender.send("from a half").await.unwrap();
        peer.send_text("to a half").await;
        assert!(receiver.recv().await.unwrap().is_some());
        assert_eq!((sender.subprotocol(), receiver.subprotocol()), (Some("chat"), Some("chat")));
        let mut socket = Socket::reunite(sender, receiver).unwrap();
        assert_eq!(socket.subprotocol(), Some("chat"));
        socket.send("from the whole").await.unwrap();
        socket.flush().await.unwrap();
        peer.send_text("to the whole").await;
        assert_eq!(socket.recv().await.unwrap(), Some(Message::from("to the whole")));
        assert_eq!(peer.recv().await.1, b"from a half");
        assert_eq!(peer.recv().await.1, b"from the whole");
        // And once more.
        let (sender, receiver) = socket.split();
        let socket = Socket::reunite(sender, receiver).unwrap();
        drop(socket);
        assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    }
}

#[tokio::test]
async fn halves_that_are_not_all_of_one_socket_are_given_back() {
    let (sender, receiver, mut peer) = halves(1 << 16);
    let (other_sender, other_receiver, _other_peer) = halves(1 << 16);
    let error = Socket::reunite(sender, other_receiver).unwrap_err();
    assert!(error.to_string().contains("different"), "{error}");
    let (sender, other_receiver) = (error.sender, error.receiver);
    drop((other_sender, other_receiver));

    let clone = sender.clone();
    let error = Socket::reunite(sender, receiver).unwrap_err();
    assert!(error.to_string().contains("clones"), "{error}");
    drop(clone);
    let socket = Socket::reunite(error.sender, error.receiver).unwrap();
    assert!(poll_once(peer.recv()).is_pending(), "nothing was closed on the way");
    drop(socket);
}

// ===== transports that stay on their thread =====

/// Not `Send`.
struct Local(DuplexStream, PhantomData<Rc<()>>);

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_transport_that_is_not_send_is_split_with_its_task() {
    let set = LocalSet::new();
    set.run_until(async {
        let (a, b) = tokio::io::duplex(100);
        // One in a session, one without.
        let session = Session::new(Local(a, PhantomData), Config::server(), |socket| async move {
            let (sender, mut receiver, task) = socket.split_with_task();
            task.await;
            while let Some(message) = receiver.recv().await? {
                sender.send(message).await?;
            }
            Ok::<_, BoxError>(())
        });
        spawn_local(session);
        let socket = WebSocket::new(Local(b, PhantomData), Config::client());
        let (sender, mut receiver, task) = socket.split_with_task();
        spawn_local(task);
        sender.send("hello").await.unwrap();
        assert_eq!(receiver.recv().await.unwrap(), Some(Message::from("hello")));
        sender.close().await.unwrap();
    })
    .await;
}

#[test]
#[should_panic(expected = "reactor")]
fn a_socket_without_a_session_is_not_split_outside_of_a_runtime() {
    let (io, _peer) = Peer::pair(1);
    drop(WebSocket::new(io, Config::server()).split());
}

#[test]
fn halves_can_be_sent_shared_and_kept_in_one_collection() {
    fn check<T: Send + Sync + Unpin + std::fmt::Debug + 'static>() {}
    check::<Sender>();
    check::<Receiver>();
    check::<hybi::socket::ReuniteError>();
}
