//! Sockets, halves and sessions that move between tasks and threads, or end in the middle of everything.

mod support;

use std::{
    future::{Future, pending},
    io,
    pin::Pin,
    sync::{Arc, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use hybi::{
    proto::{CloseCode, Message},
    socket::{BoxError, Config, HandlerEnd, Receiver, Session, WebSocket},
};
use support::{Peer, masked, settle};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    runtime::Builder,
    sync::oneshot,
    task::{JoinHandle, yield_now},
    time::timeout,
};

type Socket = WebSocket<DuplexStream>;

/// Runs `test` on a runtime of four threads, and fails if it takes a minute.
fn on_four_threads<F>(test: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        runtime.block_on(async { tokio::spawn(test()).await.unwrap() });
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(60)).expect("neither hangs nor panics");
}

const MESSAGES: u32 = 20_000;

fn message(sender: u32, n: u32) -> Message {
    let mut bytes = vec![sender as u8; (n % 300) as usize + 5];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    Message::from(bytes)
}

/// Receives what `senders` send, each in its order, and none of it twice.
async fn assert_all_arrive(socket: &mut Socket, senders: u32) {
    let mut next = vec![0; senders as usize];
    for _ in 0..senders * MESSAGES {
        let received = socket.recv().await.unwrap().expect("not the end");
        let sender = u32::from(received.as_bytes()[4]);
        let n = &mut next[sender as usize];
        assert!(received == message(sender, *n), "the next of {sender} is {n}");
        *n += 1;
    }
}

/// Receives `count` messages in a task of its own, and gives the socket back.
async fn receive_elsewhere(mut socket: Socket, from: u32, count: u32) -> Socket {
    tokio::spawn(async move {
        for n in from..from + count {
            assert!(socket.recv().await.unwrap() == Some(message(0, n)), "message {n}");
        }
        socket
    })
    .await
    .unwrap()
}

/// L-17: a handler's socket goes to another task and comes back, again and again.
#[test]
fn a_socket_that_moves_between_tasks_receives_everything() {
    on_four_threads(|| async {
        for in_session in [true, false] {
            let (a, b) = tokio::io::duplex(10_000);
            let user = |mut socket: Socket| async move {
                let mut n = 0;
                while n < MESSAGES {
                    let here = (n % 7).min(MESSAGES - n);
                    for _ in 0..here {
                        assert!(socket.recv().await? == Some(message(0, n)), "message {n}");
                        n += 1;
                    }
                    let there = (n % 13 + 1).min(MESSAGES - n);
                    socket = receive_elsewhere(socket, n, there).await;
                    n += there;
                }
                socket.send("all of it").await?;
                socket.close().await?;
                Ok::<_, BoxError>(())
            };
            let user = if in_session {
                let session = Session::new(a, Config::server(), user).boxed();
                tokio::spawn(session.map(|ended| match ended.into_handler() {
                    HandlerEnd::Returned => {}
                    end => panic!("{end:?}"),
                }))
            } else {
                tokio::spawn(user(WebSocket::new(a, Config::server())).map(Result::unwrap))
            };
            let mut peer = WebSocket::new(b, Config::client());
            for n in 0..MESSAGES {
                peer.feed(message(0, n)).await.unwrap();
            }
            peer.flush().await.unwrap();
            assert_eq!(peer.recv().await.unwrap().unwrap().as_text(), Some("all of it"));
            assert!(peer.recv().await.unwrap().is_none());
            user.await.unwrap();
        }
    });
}

/// many send from their threads while the session polls, and the peer sends as much.
#[test]
fn halves_on_other_threads_lose_nothing() {
    const SENDERS: u32 = 3;
    async fn use_halves(socket: Socket) -> Result<(), BoxError> {
        let (sender, mut receiver) = socket.split();
        let senders: Vec<JoinHandle<Result<(), BoxError>>> = (0..SENDERS)
            .map(|id| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    for n in 0..MESSAGES {
                        match n % 3 {
                            0 => sender.send(message(id, n)).await?,
                            _ => sender.feed(message(id, n)).await?,
                        }
                        if n % 1000 == 0 {
                            sender.flush().await?;
                        }
                        if n % 100 == 0 {
                            yield_now().await;
                        }
                    }
                    Ok(sender.flush().await?)
                })
            })
            .collect();
        // In turns in this task and in others.
        let mut next = 0;
        while next < MESSAGES {
            let count = (next % 50 + 1).min(MESSAGES - next);
            let receive = move |mut receiver: Receiver, from: u32| async move {
                for n in from..from + count {
                    assert!(receiver.recv().await.unwrap() == Some(message(0, n)), "message {n}");
                }
                receiver
            };
            receiver = if next % 2 == 0 {
                receive(receiver, next).await
            } else {
                tokio::spawn(receive(receiver, next)).await?
            };
            next += count;
        }
        for sender in senders {
            sender.await??;
        }
        let mut socket: Socket = WebSocket::reunite(sender, receiver)?;
        socket.send("whole again").await?;
        assert_eq!(socket.recv().await?, Some(Message::from("so it is")));
        socket.close().await?;
        Ok(())
    }
    on_four_threads(|| async {
        for way in ["session", "bare", "detached"] {
            let (a, b) = tokio::io::duplex(10_000);
            let user = match way {
                "bare" => tokio::spawn(
                    use_halves(WebSocket::new(a, Config::server())).map(Result::unwrap),
                ),
                _ => {
                    let session =
                        Session::new(a, Config::server(), move |socket: Socket| async move {
                            if way == "detached" {
                                tokio::spawn(use_halves(socket.detach()).map(Result::unwrap));
                                return Ok(());
                            }
                            use_halves(socket).await
                        });
                    tokio::spawn(session.boxed().map(|ended| {
                        assert!(ended.failure().is_none(), "{ended:?}");
                        assert!(matches!(ended.handler(), HandlerEnd::Returned), "{ended:?}");
                    }))
                }
            };
            let (sender, receiver) = WebSocket::new(b, Config::client()).split();
            let send = tokio::spawn(async move {
                for n in 0..MESSAGES {
                    sender.send(message(0, n)).await.unwrap();
                }
                sender
            });
            // The receiver alone, as a socket, would be driven by nobody but its task.
            let receive = tokio::spawn(async move {
                let mut receiver = receiver;
                let mut next = [0; SENDERS as usize];
                for _ in 0..SENDERS * MESSAGES {
                    let received = receiver.recv().await.unwrap().expect("not the end");
                    let from = usize::from(received.as_bytes()[4]);
                    assert!(
                        received == message(from as u32, next[from]),
                        "{way}: {from}, {}",
                        next[from]
                    );
                    next[from] += 1;
                }
                receiver
            });
            let mut socket: Socket =
                WebSocket::reunite(send.await.unwrap(), receive.await.unwrap()).unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some("whole again"));
            socket.send("so it is").await.unwrap();
            assert!(socket.recv().await.unwrap().is_none());
            user.await.unwrap();
        }
    });
}

/// A bare socket is used by whoever has it.
#[test]
fn a_bare_socket_that_moves_between_tasks_sends_everything() {
    on_four_threads(|| async {
        let (a, b) = tokio::io::duplex(10_000);
        let mut socket = WebSocket::new(a, Config::server());
        let peer = tokio::spawn(async move {
            let mut peer = WebSocket::new(b, Config::client());
            assert_all_arrive(&mut peer, 1).await;
            peer.close().await.unwrap();
        });
        for n in 0..MESSAGES {
            socket = if n % 10 == 0 {
                tokio::spawn(async move {
                    socket.send(message(0, n)).await.unwrap();
                    socket
                })
                .await
                .unwrap()
            } else {
                socket.feed(message(0, n)).await.unwrap();
                socket
            };
        }
        socket.flush().await.unwrap();
        assert!(socket.recv().await.unwrap().is_none());
        peer.await.unwrap();
    });
}

/// What the user of a session does when it is dropped.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Receives,
    ReceivesParts,
    Sends,
    SendsParts,
    Flushes,
    Closes,
    Waits,
}

use Meanwhile::*;

/// L-17: the peer sees the end without a Close, and everybody else an error, at once.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_in_the_middle_of_anything_ends_it() {
    for meanwhile in [Receives, ReceivesParts, Sends, SendsParts, Flushes, Closes, Waits] {
        for by_task in [false, true] {
            for turns in 0..6 {
                let (io, mut peer) = Peer::pair(100);
                let (give, given) = oneshot::channel();
                let session = Session::new(io, Config::server(), |socket: Socket| async move {
                    assert!(give.send(socket.split()).is_ok());
                    pending().await
                });
                let session = tokio::spawn(session);
                let (sender, mut receiver) = given.await.unwrap();
                let closed = (sender.closing(), receiver.closed());
                let mut bytes = masked(0x81, b"whole");
                bytes.extend(&masked(0x82, &[7; 1000])[..80]);
                peer.send_raw(&bytes).await;
                let user = tokio::spawn(async move {
                    // A session that was dropped before it was polled has received nothing.
                    let first = receiver.recv().await;
                    let error = match meanwhile {
                        _ if first.is_err() => first.map(drop),
                        Receives => receiver.recv().await.map(drop),
                        ReceivesParts => match receiver.next_message().await {
                            Err(error) => Err(error),
                            Ok(message) => {
                                let mut message = message.expect("it has begun");
                                loop {
                                    match message.chunk().await {
                                        Ok(chunk) => assert!(chunk.is_some(), "it is not whole"),
                                        Err(error) => break Err(error),
                                    }
                                }
                            }
                        },
                        Sends => loop {
                            if let Err(error) = sender.send(vec![0; 40_000]).await {
                                break Err(error);
                            }
                        },
                        SendsParts => {
                            match sender.start_message(hybi::proto::MessageKind::Binary).await {
                                Err(error) => Err(error),
                                Ok(mut message) => loop {
                                    if let Err(error) = message.send_chunk(vec![0; 40_000]).await {
                                        break Err(error);
                                    }
                                },
                            }
                        }
                        Flushes => {
                            let _ = sender.feed(vec![0; 40_000]).await;
                            sender.flush().await
                        }
                        Closes => sender.close().await,
                        Waits => {
                            sender.closed().await;
                            sender.flush().await.and(sender.send("late").await)
                        }
                    };
                    let error = error.expect_err("it ends");
                    assert!(error.is_disconnect() || error.is_closed(), "{meanwhile:?} {error:?}");
                    // Both are one socket again, which is over.
                    let mut socket: Socket = WebSocket::reunite(sender, receiver).unwrap();
                    drop(socket.recv().await);
                    assert!(socket.recv().await.unwrap().is_none());
                    assert!(socket.send("late").await.is_err());
                    assert!(socket.peer_close().is_none());
                });
                for _ in 0..turns {
                    yield_now().await;
                }
                if by_task {
                    session.abort();
                    assert!(session.await.unwrap_err().is_cancelled());
                } else {
                    settle().await;
                    session.abort();
                }
                let what = format!("{meanwhile:?} {by_task} {turns}");
                timeout(Duration::from_secs(1), user).await.expect(&what).expect(&what);
                timeout(Duration::from_secs(1), closed.0).await.expect(&what);
                timeout(Duration::from_secs(1), closed.1).await.expect(&what);
                while !peer.read_once().await.is_empty() {}
            }
        }
    }
}

/// A session that was never polled.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_dropped_before_its_first_poll_ends_its_socket() {
    let (io, mut peer) = Peer::pair(100);
    let (give, given) = oneshot::channel();
    let session = Session::new(io, Config::server(), |socket: Socket| {
        assert!(give.send(socket).is_ok());
        pending()
    });
    let mut socket = given.await.unwrap();
    let control = session.control();
    let waiting = tokio::spawn(async move {
        let received = socket.recv().await;
        (socket, received)
    });
    settle().await;
    drop(session);
    let (mut socket, received) = waiting.await.unwrap();
    assert!(received.unwrap_err().is_disconnect());
    assert!(socket.send("late").await.unwrap_err().is_closed());
    control.abort();
    assert!(peer.at_eof().await);
}

/// A socket that was split for a while, and then answers messages as any other.
#[tokio::test(start_paused = true)]
async fn a_socket_that_was_split_closes_when_it_is_told_to() {
    for served in [false, true] {
        let (io, mut peer) = Peer::pair(1 << 16);
        let session = Session::new(io, Config::server(), move |socket: Socket| async move {
            let (sender, receiver) = socket.split();
            let mut socket = Socket::reunite(sender, receiver)?;
            if served {
                return socket.serve(async |message: Message| Ok(Some(message))).await;
            }
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        });
        let control = session.control();
        let session = tokio::spawn(session);
        for _ in 0..10 {
            peer.send_text("x").await;
            assert_eq!(peer.recv().await.1, b"x");
            settle().await;
        }
        control.close(CloseCode::GOING_AWAY.into());
        let frame = timeout(Duration::from_secs(1), peer.recv()).await;
        assert_eq!(frame, Ok((0x88, 1001u16.to_be_bytes().to_vec())), "served: {served}");
        peer.send_close(1001, "").await;
        drop(peer);
        assert!(session.await.unwrap().failure().is_none());
    }
}

/// A transport that panics once it is told to.
struct Panicking<T> {
    io: T,
    when: oneshot::Receiver<()>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Panicking<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(self.when.poll_unpin(cx).is_pending(), "as it was told to");
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Panicking<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The session has lost what it knew in the panic, and with it who waits.
#[tokio::test(start_paused = true)]
async fn halves_learn_of_a_transport_that_panics() {
    let (io, _peer) = Peer::pair(100);
    let (now, when) = oneshot::channel();
    let (sender, mut receiver) = WebSocket::new(Panicking { io, when }, Config::server()).split();
    let receiving = tokio::spawn(async move { receiver.recv().await });
    sender.feed(vec![7; 100_000]).await.unwrap();
    let flush = sender.clone();
    let flushing = tokio::spawn(async move { flush.flush().await });
    settle().await;
    now.send(()).unwrap();
    let received = timeout(Duration::from_secs(1), receiving).await.expect("it is told").unwrap();
    assert!(received.is_err_and(|error| error.is_disconnect()));
    let flushed = timeout(Duration::from_secs(1), flushing).await.expect("it is told").unwrap();
    assert!(flushed.is_err(), "nobody knows what was written");
    assert!(sender.send("more").await.is_err());
}

/// What was asked of a socket before it was split holds for its halves.
#[tokio::test(start_paused = true)]
async fn a_socket_that_was_closed_before_it_is_split_sends_nothing_more() {
    let (io, mut peer) = Peer::pair(100);
    let mut socket = WebSocket::new(io, Config::server());
    socket.start_close(CloseCode::GOING_AWAY, "").unwrap();
    let (sender, _receiver) = socket.split();
    assert!(sender.send("more").await.is_err_and(|error| error.is_closed()));
    assert_eq!(peer.recv().await.0, 0x88);
}

/// As one that a program has made for its own loop of events.
#[test]
fn the_waker_of_a_session_may_use_its_socket() {
    struct Using(std::sync::Mutex<Option<hybi::socket::Sender>>);

    impl Wake for Using {
        fn wake(self: Arc<Self>) {
            let sender = self.0.lock().unwrap().take();
            sender.into_iter().for_each(|sender| sender.abort());
        }
    }

    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        let (io, _peer) = Peer::pair(100);
        let (sender, _receiver, mut task) = WebSocket::new(io, Config::server()).split_with_task();
        let waker = Waker::from(Arc::new(Using(std::sync::Mutex::new(Some(sender.clone())))));
        let mut context = Context::from_waker(&waker);
        assert!(task.poll_unpin(&mut context).is_pending());
        assert!(sender.send("hello").now_or_never().is_some_and(|sent| sent.is_ok()));
        assert!(task.poll_unpin(&mut context).is_ready(), "it was aborted");
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("neither hangs nor panics");
}
