//! A `block_on` inside of a handler: it cannot wait for the handler's own socket, and is told so at once.

mod support;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, LazyLock, mpsc},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, SinkExt, StreamExt, future::join_all, stream::FuturesUnordered};
use hybi::{
    proto::MessageKind,
    socket::{BoxError, Config, Error, HandlerEnd, Session, WebSocket},
};
use support::Peer;
use tokio::{
    io::DuplexStream,
    runtime::{Builder, Handle},
    task::{block_in_place, spawn_blocking},
};

type Socket = WebSocket<DuplexStream>;

/// Runs `test` on a runtime of two threads, and fails if it takes ten seconds.
fn on_two_threads<F>(test: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async { tokio::spawn(test()).await.unwrap() });
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("neither hangs nor panics");
}

/// Waits for `future` inside of a task.
fn nested<F: Future>(future: F) -> F::Output {
    block_in_place(|| Handle::current().block_on(future))
}

fn assert_blocked<T>(result: Result<T, Error>) {
    let error = result.err().expect("it cannot succeed");
    assert!(error.is_blocked() && !error.is_closed() && !error.is_disconnect(), "{error:?}");
    assert!(error.to_string().contains("spawn_blocking"), "{error}");
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

/// Lets a handler block in vain, and then talks to it.
fn blocks_in_vain<F>(handler: impl FnOnce(Socket) -> F + Send + 'static)
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    on_two_threads(|| async {
        let (io, mut peer) = Peer::pair(100);
        let session = tokio::spawn(Session::new(io, Config::server(), handler));
        loop {
            let (first, payload) = peer.recv().await;
            if payload == b"unharmed" {
                break;
            }
            assert!(matches!(first, 0x81 | 0x82 | 0x02 | 0x00 | 0x80), "{first:x} {payload:?}");
        }
        peer.send_text("ping").await;
        assert_eq!(peer.recv().await.1, b"ping");
        peer.send_close(1000, "").await;
        assert_eq!(peer.recv().await.0, 0x88);
        drop(peer);
        assert!(session.await.unwrap().failure().is_none());
    });
}

#[test]
fn a_receive_in_a_nested_block_on_fails_at_once() {
    blocks_in_vain(|mut socket| async move {
        assert_blocked(nested(socket.recv()));
        assert_blocked(nested(async { socket.next().await.unwrap() }));
        assert_blocked(nested(socket.next_message()).map(drop));
        socket.send("unharmed").await?;
        echo(socket).await
    });
}

#[test]
fn a_send_or_flush_in_a_nested_block_on_fails_at_once() {
    blocks_in_vain(|mut socket| async move {
        // What fits into the queue does not wait.
        nested(socket.send(vec![0; 70_000]))?;
        assert_blocked(nested(socket.send("no room")));
        assert_blocked(nested(socket.flush()));
        assert_blocked(nested(SinkExt::flush(&mut socket)));
        socket.send("unharmed").await?;
        echo(socket).await
    });
}

#[test]
fn a_message_in_parts_in_a_nested_block_on_fails_at_once() {
    on_two_threads(|| async {
        let (io, mut peer) = Peer::pair(100);
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            let mut message = socket.start_message(MessageKind::Binary).await?;
            let error = nested(async {
                loop {
                    if let Err(error) = message.send_chunk(vec![0; 10_000]).await {
                        break error;
                    }
                }
            });
            assert_blocked::<()>(Err(error));
            Ok(())
        }));
        // A message is given up with a Close.
        while peer.recv().await.0 != 0x88 {}
    });
}

#[test]
fn halves_in_a_nested_block_on_fail_at_once() {
    blocks_in_vain(|socket| async move {
        let (sender, mut receiver) = socket.split();
        assert_blocked(nested(receiver.recv()));
        nested(sender.send(vec![0; 70_000]))?;
        assert_blocked(nested(sender.send("no room")));
        assert_blocked(nested(sender.flush()));
        // Many at once, with wakers of their own.
        let flushes = (0..100).map(|_| sender.flush());
        nested(join_all(flushes)).into_iter().for_each(assert_blocked);
        sender.send("unharmed").await?;
        echo(WebSocket::reunite(sender, receiver)?).await
    });
}

#[test]
fn a_close_in_a_nested_block_on_fails_at_once() {
    on_two_threads(|| async {
        let (io, mut peer) = Peer::pair(100);
        let session = Session::new(io, Config::server(), |mut socket: Socket| async move {
            assert_blocked(nested(socket.close()));
            Ok(())
        });
        let session = tokio::spawn(session);
        assert_eq!(peer.recv().await.0, 0x88);
        peer.send_close(1000, "").await;
        drop(peer);
        assert!(session.await.unwrap().failure().is_none());
    });
}

/// What only looks like it: futures with wakers of their own, in a handler that yields.
#[tokio::test(start_paused = true)]
async fn a_handler_with_many_futures_is_not_blocked() {
    for count in [1, 40, 1_000] {
        let (io, mut peer) = Peer::pair(100);
        let session =
            tokio::spawn(Session::new(io, Config::server(), move |socket: Socket| async move {
                let (sender, mut receiver) = socket.split();
                sender.send(vec![7; 70_000]).await?;
                let flushes = join_all((0..count).map(|_| sender.flush())).await;
                flushes.into_iter().collect::<Result<(), _>>()?;
                sender.send(vec![7; 70_000]).await?;
                let pings = join_all((0..count).map(|n| sender.ping(n.to_string()))).await;
                pings.into_iter().collect::<Result<(), _>>()?;
                sender.send(vec![7; 70_000]).await?;
                let mut set: FuturesUnordered<_> = (0..count).map(|_| sender.send("x")).collect();
                while let Some(sent) = set.next().await {
                    sent?;
                }
                // One that is polled over and over, because others are ready all the time.
                let mut set = FuturesUnordered::new();
                set.push(async { receiver.recv().await.map(drop) }.boxed());
                for _ in 0..count {
                    set.push(tokio::task::yield_now().map(Ok).boxed());
                }
                while let Some(done) = set.next().await {
                    done?;
                }
                Ok(())
            }));
        let mut texts = 0;
        while texts < count {
            let (first, _) = peer.recv().await;
            texts += usize::from(first == 0x81);
        }
        peer.send_text("the end").await;
        loop {
            if peer.recv().await.0 == 0x88 {
                break;
            }
        }
        peer.send_close(1000, "").await;
        drop(peer);
        let ended = session.await.unwrap();
        assert!(matches!(ended.handler(), HandlerEnd::Returned), "{count}: {ended:?}");
    }
}

/// Nor is one that selects in selects, for a long time.
#[tokio::test(start_paused = true)]
async fn a_handler_with_nested_selects_is_not_blocked() {
    let (io, mut peer) = Peer::pair(1000);
    let config = Config::server().keep_alive(None);
    tokio::spawn(Session::new(io, config, |mut socket: Socket| async move {
        let mut set = FuturesUnordered::new();
        set.push(async {
            let mut ticks = tokio::time::interval(Duration::from_millis(1));
            loop {
                let message = tokio::select! {
                    message = async {
                        tokio::select! {
                            biased;
                            message = socket.recv() => message,
                            () = std::future::pending() => unreachable!(),
                        }
                    } => message?,
                    _ = ticks.tick() => continue,
                };
                let Some(message) = message else { return Ok::<_, BoxError>(()) };
                socket.send(message).await?;
            }
        });
        set.next().await.expect("one")
    }));
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(10)).await;
        peer.send_text("still there").await;
        assert_eq!(peer.recv().await, (0x81, b"still there".to_vec()));
    }
}

/// A handler may look for a message without waiting, as often as it does other things with its socket.
#[tokio::test(start_paused = true)]
async fn a_handler_that_looks_for_messages_between_sends_is_not_blocked() {
    let (io, mut peer) = Peer::pair(1 << 20);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            // All in one turn.
            for _ in 0..10_000 {
                assert!(socket.recv().now_or_never().is_none(), "neither a message nor a failure");
                socket.feed("x").await?;
            }
            Ok(())
        }));
    for _ in 0..10_000 {
        assert_eq!(peer.recv().await.0, 0x81);
    }
    assert_eq!(peer.recv().await.0, 0x88);
    peer.send_close(1000, "").await;
    drop(peer);
    assert!(session.await.unwrap().failure().is_none());
}

/// A socket that moves by itself, or in another task, does not need the handler.
#[test]
fn a_socket_that_is_not_the_handlers_own_works_in_a_nested_block_on() {
    on_two_threads(|| async {
        for split in [false, true] {
            let (front, mut client) = Peer::pair(100);
            let (back, upstream) = tokio::io::duplex(100);
            tokio::spawn(Session::new(upstream, Config::server(), echo));
            tokio::spawn(Session::new(
                front,
                Config::server(),
                move |mut front: Socket| async move {
                    let mut back = WebSocket::new(back, Config::client());
                    if split {
                        let (sender, receiver) = back.split();
                        back = WebSocket::reunite(sender, receiver)?;
                    }
                    while let Some(message) = front.recv().await? {
                        let answer = nested(async {
                            back.send(message).await?;
                            back.flush().await?;
                            back.recv().await
                        });
                        front.send(answer?.expect("an answer")).await?;
                    }
                    nested(back.close())?;
                    Ok(())
                },
            ));
            for n in 0..100 {
                let text = "x".repeat(n * 10);
                client.send_text(&text).await;
                assert_eq!(client.recv().await, (0x81, text.into_bytes()));
            }
            client.send_close(1000, "").await;
            assert_eq!(client.recv().await.0, 0x88);
        }
    });
}

/// As the error says.
#[test]
fn spawn_blocking_and_block_on_work() {
    on_two_threads(|| async {
        let (io, mut peer) = Peer::pair(100);
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            spawn_blocking(move || {
                Handle::current().block_on(async {
                    while let Some(message) = socket.recv().await? {
                        socket.send(message).await?;
                        socket.flush().await?;
                    }
                    Ok(())
                })
            })
            .await?
        }));
        for n in 0..100 {
            let text = "x".repeat(n * 10);
            peer.send_text(&text).await;
            assert_eq!(peer.recv().await, (0x81, text.into_bytes()));
        }
        peer.send_close(1000, "").await;
        assert_eq!(peer.recv().await.0, 0x88);
    });
}

/// A bare socket in a task of its own.
#[test]
fn a_bare_socket_works_in_a_nested_block_on() {
    on_two_threads(|| async {
        let (io, mut peer) = Peer::pair(100);
        let mut socket = WebSocket::new(io, Config::server());
        let task = tokio::spawn(async move {
            let message = nested(socket.recv()).unwrap().expect("a message");
            nested(socket.send(message)).unwrap();
            let mut polls = 0;
            let received = nested(poll_fn(|cx| {
                polls += 1;
                match socket.poll_recv(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(received) => Poll::Ready(received),
                }
            }));
            assert!(received.unwrap().is_none() && polls < 10, "{polls} polls");
        });
        peer.send_text("hello").await;
        assert_eq!(peer.recv().await, (0x81, b"hello".to_vec()));
        peer.send_close(1000, "").await;
        assert_eq!(peer.recv().await.0, 0x88);
        drop(peer);
        task.await.unwrap();
    });
}

/// A `block_on` that has one waker for all its calls, as some have one for each thread.
fn block_with_one_waker<F: Future>(future: F) -> F::Output {
    struct Ignore;
    impl Wake for Ignore {
        fn wake(self: Arc<Self>) {}
    }
    static WAKER: LazyLock<Waker> = LazyLock::new(|| Waker::from(Arc::new(Ignore)));
    let mut future = pin!(future);
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&WAKER)) {
            return output;
        }
    }
    panic!("it waits for ever");
}

/// Also if the handler has waited in due form since.
#[tokio::test(start_paused = true)]
async fn a_second_nested_block_on_fails_as_the_first() {
    let (io, mut peer) = Peer::pair(100);
    let handler = |mut socket: Socket| async move {
        for _ in 0..3 {
            assert_blocked(block_with_one_waker(socket.recv()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        echo(socket).await
    };
    let session = tokio::spawn(Session::new(io, Config::server(), handler));
    tokio::time::sleep(Duration::from_secs(1)).await;
    peer.send_text("ping").await;
    assert_eq!(peer.recv().await.1, b"ping");
    drop(peer);
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Failed(_)));
}
