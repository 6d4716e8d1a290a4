//! Whoever waits for a socket is woken, whatever else its task polls, and not more often than there is a
//! reason.

mod support;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt, StreamExt,
    future::{BoxFuture, join, join_all},
    stream::FuturesUnordered,
};
use hybi::{
    proto::Message,
    socket::{BoxError, Config, Ended, Receiver, Sender, Session, SplitTask, WebSocket},
};
use support::{Peer, settle};
use tokio::{io::DuplexStream, sync::oneshot, time::timeout};

type Socket = WebSocket<DuplexStream>;
type Task = SplitTask<DuplexStream>;

const MESSAGES: usize = 200;

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn echo_halves(sender: Sender, mut receiver: Receiver) -> Result<(), BoxError> {
    while let Some(message) = receiver.recv().await? {
        sender.send(message).await?;
    }
    Ok(())
}

/// Sends messages one by one and in pairs, and waits for each of their echoes.
async fn talk(peer: &mut Peer, what: &str) {
    for n in 0..MESSAGES {
        settle().await;
        peer.send_text("one").await;
        if n % 3 == 0 {
            peer.send_text("two").await;
        }
        for text in if n % 3 == 0 { &["one", "two"][..] } else { &["one"] } {
            let echo = timeout(Duration::from_secs(10), peer.recv()).await;
            assert_eq!(echo, Ok((0x81, text.as_bytes().to_vec())), "{what}: message {n}");
        }
    }
}

/// Puts halves and the task that moves them together in one task.
async fn in_one_task<F>(what: &str, user: fn(Sender, Receiver, Task) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let (io, mut peer) = Peer::pair(1 << 16);
    let (sender, receiver, task) = WebSocket::new(io, Config::server()).split_with_task();
    let user = tokio::spawn(user(sender, receiver, task));
    talk(&mut peer, what).await;
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await.0, 0x88, "{what}");
    drop(peer);
    user.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_receiver_beside_the_task_that_moves_it_receives_every_message() {
    in_one_task("join, the task first", |sender, receiver, task| async {
        join(task, echo_halves(sender, receiver)).await.1.unwrap();
    })
    .await;
    in_one_task("join, the user first", |sender, receiver, task| async {
        join(echo_halves(sender, receiver), task).await.0.unwrap();
    })
    .await;
    in_one_task("tokio::join!, the task first", |sender, receiver, task| async {
        tokio::join!(task, echo_halves(sender, receiver)).1.unwrap();
    })
    .await;
    in_one_task("tokio::join!, the user first", |sender, receiver, task| async {
        tokio::join!(echo_halves(sender, receiver), task).0.unwrap();
    })
    .await;
    in_one_task("biased select!, the user first", |sender, mut receiver, mut task| async move {
        loop {
            tokio::select! {
                biased;
                message = receiver.recv() => match message.unwrap() {
                    Some(message) => sender.send(message).await.unwrap(),
                    None => break,
                },
                () = &mut task => panic!("before the end was received"),
            }
        }
        task.await;
    })
    .await;
    in_one_task("biased select!, the task first", |sender, mut receiver, mut task| async move {
        loop {
            tokio::select! {
                biased;
                () = &mut task => panic!("before the end was received"),
                message = receiver.recv() => match message.unwrap() {
                    Some(message) => sender.send(message).await.unwrap(),
                    None => break,
                },
            }
        }
        task.await;
    })
    .await;
    in_one_task("FuturesUnordered", |sender, receiver, task| async {
        let mut set = FuturesUnordered::new();
        set.push(async { echo_halves(sender, receiver).await.unwrap() }.boxed());
        set.push(task.boxed());
        while set.next().await.is_some() {}
    })
    .await;
}

/// What the handler gives away is not its session's to poll.
#[tokio::test(start_paused = true)]
async fn a_socket_beside_its_session_in_one_task_receives_every_message() {
    for session_first in [true, false] {
        for halves in [true, false] {
            let (io, mut peer) = Peer::pair(1 << 16);
            let (give, given) = oneshot::channel();
            let session = Session::new(io, Config::server(), |socket: Socket| async move {
                let closed = socket.closed();
                assert!(give.send(socket).is_ok());
                closed.await;
                Ok(())
            });
            let user = async move {
                let socket: Socket = given.await.unwrap();
                if halves {
                    let (sender, receiver) = socket.split();
                    echo_halves(sender, receiver).await.unwrap();
                } else {
                    echo(socket).await.unwrap();
                }
            };
            tokio::spawn(async move {
                let session: BoxFuture<'_, Ended> = session.boxed();
                if session_first {
                    join(session, user).await;
                } else {
                    join(user, session).await;
                }
            });
            talk(&mut peer, "beside its session").await;
        }
    }
}

/// So is whoever waits to send, to flush, or for the end.
#[tokio::test(start_paused = true)]
async fn a_sender_beside_the_task_that_moves_it_gets_on() {
    for task_first in [true, false] {
        let (io, mut peer) = Peer::pair(100);
        let (sender, receiver, task) = WebSocket::new(io, Config::server()).split_with_task();
        let user = async move {
            let _receiver = receiver;
            for _ in 0..20 {
                sender.send(vec![7; 50_000]).await.unwrap();
                sender.send(vec![7; 50_000]).await.unwrap();
                sender.flush().await.unwrap();
            }
            sender.close().await.unwrap();
        };
        let user = tokio::spawn(async move {
            if task_first {
                join(task, user).await;
            } else {
                join(user, task).await;
            }
        });
        for n in 0..40 {
            let frame = timeout(Duration::from_secs(10), peer.recv()).await;
            assert_eq!(frame, Ok((0x82, vec![7; 50_000])), "message {n}");
        }
        assert_eq!(peer.recv().await.0, 0x88);
        peer.send_close(1000, "").await;
        drop(peer);
        user.await.unwrap();
    }
}

/// A handler whose parts have wakers of their own, or share its task's.
#[tokio::test(start_paused = true)]
async fn every_part_of_a_handler_gets_on() {
    for way in ["join", "FuturesUnordered", "join_all"] {
        let (io, mut peer) = Peer::pair(100);
        let config = Config::server().keep_alive(None);
        tokio::spawn(Session::new(io, config, move |socket: Socket| async move {
            let (sender, receiver) = socket.split();
            let ticks = sender.clone();
            let echo = echo_halves(sender, receiver);
            let tick = async move {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    ticks.ping(&b"tick"[..]).await?;
                    ticks.flush().await?;
                }
            };
            match way {
                "join" => {
                    let (echo, tick): (_, Result<(), BoxError>) = join(echo, tick).await;
                    echo.and(tick)
                }
                "join_all" => join_all([echo.boxed(), tick.boxed()]).await.into_iter().collect(),
                _ => {
                    let mut set: FuturesUnordered<_> =
                        [echo.boxed(), tick.boxed()].into_iter().collect();
                    set.next().await.expect("one of them")
                }
            }
        }));
        for n in 0..50 {
            let text = "x".repeat(n * 10);
            peer.send_text(&text).await;
            assert_eq!(peer.recv().await, (0x81, text.into_bytes()), "{way}");
            assert_eq!(peer.recv().await, (0x89, b"tick".to_vec()), "{way}");
        }
    }
}

/// Counts the polls of a future.
async fn counted<F: Future>(count: Arc<AtomicUsize>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|cx| {
        count.fetch_add(1, Ordering::Relaxed);
        future.as_mut().poll(cx)
    })
    .await
}

/// Talks to a handler that runs `user`, and gives how often a part was polled that it counts.
async fn polls_of_handler<F>(
    user: impl FnOnce(Socket, Arc<AtomicUsize>) -> F + Send + 'static,
) -> usize
where
    F: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let polls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polls);
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), move |socket: Socket| user(socket, count)));
    for _ in 0..10 {
        peer.send_text("first").await;
        peer.recv().await;
    }
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    for _ in 0..1000 {
        peer.send_text("x").await;
        assert_eq!(peer.recv().await.1, b"x");
    }
    settle().await;
    polls.load(Ordering::Relaxed) - before
}

/// One poll for each message, with whatever waker the socket is polled.
#[tokio::test(start_paused = true)]
async fn a_handler_is_polled_once_for_each_message() {
    let polls = polls_of_handler(|socket, count| counted(count, echo(socket))).await;
    assert_eq!(polls, 1000, "as it is");
    let polls = polls_of_handler(|socket, count| async move {
        let mut set = FuturesUnordered::new();
        set.push(counted(count, echo(socket)));
        set.next().await.expect("it is one")
    });
    assert_eq!(polls.await, 1000, "FuturesUnordered");
    let polls = polls_of_handler(|socket, count| async move {
        let (sender, receiver) = socket.split();
        let mut set = FuturesUnordered::new();
        set.push(counted(count, echo_halves(sender, receiver)));
        set.next().await.expect("it is one")
    });
    assert_eq!(polls.await, 1000, "halves in FuturesUnordered");
    let polls = polls_of_handler(|socket, count| async move {
        let mut set = FuturesUnordered::new();
        set.push(std::future::pending().boxed());
        set.push(counted(count, echo(socket)).boxed());
        set.next().await.expect("it is one")
    });
    assert_eq!(polls.await, 1000, "FuturesUnordered of two");
}

/// A receive that was polled in vain with another waker is no reason to keep that one.
#[tokio::test(start_paused = true)]
async fn a_receive_that_was_only_tried_does_not_keep_the_next_from_being_woken() {
    let (io, mut peer) = Peer::pair(1 << 16);
    tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
        loop {
            let message = match socket.recv().now_or_never() {
                Some(message) => message?,
                None => socket.recv().await?,
            };
            let Some(message) = message else { return Ok(()) };
            let message: Message = message;
            socket.send(message).await?;
            assert!(socket.flush().now_or_never().is_none());
        }
    }));
    talk(&mut peer, "tried").await;
}

/// Parts that wait for different things, none of which comes.
#[tokio::test(start_paused = true)]
async fn parts_that_wait_are_left_alone() {
    let polls = Arc::new(AtomicUsize::new(0));
    let (io, mut peer) = Peer::pair(100);
    let count = Arc::clone(&polls);
    let config = Config::server().keep_alive(None);
    tokio::spawn(Session::new(io, config, move |socket: Socket| async move {
        let (sender, mut receiver) = socket.split();
        sender.send(vec![7; 100_000]).await?;
        let mut set = FuturesUnordered::new();
        let flush = async { sender.flush().await.map_err(BoxError::from) };
        set.push(counted(Arc::clone(&count), flush).boxed());
        let recv = async { Ok(receiver.recv().await.map(drop)?) };
        set.push(counted(Arc::clone(&count), recv).boxed());
        let more = async { sender.send("more").await.map_err(BoxError::from) };
        set.push(counted(count, more).boxed());
        while let Some(done) = set.next().await {
            done?;
        }
        Ok(())
    }));
    settle().await;
    settle().await;
    let before = polls.load(Ordering::Relaxed);
    assert!(before < 20, "{before} polls");
    settle().await;
    assert_eq!(polls.load(Ordering::Relaxed), before, "nothing has happened");
    assert_eq!(peer.recv().await, (0x82, vec![7; 100_000]));
    assert_eq!(peer.recv().await, (0x81, b"more".to_vec()));
}
