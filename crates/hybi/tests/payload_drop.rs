//! A payload may own anything, also the socket's halves. Wherever it is dropped it may use them.

mod support;

use std::{
    future::{Future, pending, poll_fn},
    pin::Pin,
    sync::mpsc,
    time::Duration,
};

use futures_util::SinkExt;
use hybi::{
    proto::{Bytes, CloseCode, Message, MessageKind},
    socket::{BoxError, Config, Receiver, Sender, Session, WebSocket},
};
use support::Peer;
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    runtime::Builder,
    time::timeout,
};

type Socket = WebSocket<DuplexStream>;
type Action = Box<dyn FnOnce() + Send + Sync>;

/// A payload that does something when it is dropped.
struct Payload {
    bytes: Vec<u8>,
    action: Option<Action>,
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        if let Some(action) = self.action.take() {
            action();
        }
    }
}

/// What its drop does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Drops {
    Receiver,
    Everything,
    Closes,
    Aborts,
    Looks,
}

/// How it is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Sends {
    Send,
    Feed,
    Sink,
    Chunk,
    /// After the end.
    TooLate,
}

/// Whose the socket is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    InTurn,
    /// A handler's halves, in another task.
    Moved,
    /// Those of a socket that has no handler.
    Bare,
}

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
    is_done.recv_timeout(Duration::from_secs(20)).expect("neither hangs nor panics");
}

/// Sends such a payload, and something behind it.
async fn send_it(
    (sends, drops): (Sends, Drops),
    len: usize,
    mut sender: Sender,
    receiver: Receiver,
) -> Result<(), BoxError> {
    let other = sender.clone();
    let action: Action = match drops {
        Drops::Receiver => Box::new(move || drop(receiver)),
        Drops::Everything => Box::new(move || drop((other, receiver))),
        Drops::Closes => Box::new(move || {
            let _receiver = receiver;
            other.start_close(CloseCode::NORMAL, "").expect("a code that may be sent");
        }),
        Drops::Aborts => Box::new(move || {
            let _receiver = receiver;
            other.abort();
        }),
        Drops::Looks => Box::new(move || {
            let _ = (receiver.sender().closing(), receiver.pongs(), other.round_trip());
        }),
    };
    let payload = Bytes::from_owner(Payload { bytes: vec![7; len], action: Some(action) });
    // What they give depends on what the drop did.
    match sends {
        Sends::Send => drop(sender.send(payload).await),
        Sends::Feed => drop(sender.feed(payload).await),
        Sends::Sink => {
            let sink = &mut sender;
            if poll_fn(|cx| sink.poll_ready_unpin(cx)).await.is_ok() {
                drop(sink.start_send_unpin(Message::from(payload)));
            }
        }
        Sends::Chunk => {
            if let Ok(mut message) = sender.start_message(MessageKind::Binary).await {
                drop(message.send_chunk(payload).await);
                drop(message.finish().await);
            }
        }
        Sends::TooLate => {
            sender.start_close(CloseCode::NORMAL, "")?;
            assert!(sender.send(payload).await.is_err());
        }
    }
    drop(sender.flush().await);
    drop(sender.send("behind it").await);
    drop(sender.flush().await);
    drop(sender.start_close(CloseCode::NORMAL, ""));
    Ok(())
}

async fn sends_it(place: Place, how: (Sends, Drops), len: usize) {
    let (io, mut peer) = Peer::pair(1000);
    let user: Pin<Box<dyn Future<Output = ()> + Send>> = match place {
        Place::Bare => Box::pin(async move {
            let (sender, receiver) = WebSocket::new(io, Config::server()).split();
            send_it(how, len, sender, receiver).await.unwrap();
        }),
        _ => Box::pin(async move {
            let ended = Session::new(io, Config::server(), move |socket: Socket| async move {
                let (sender, receiver) = socket.split();
                if place == Place::Moved {
                    tokio::spawn(send_it(how, len, sender, receiver)).await??;
                } else {
                    send_it(how, len, sender, receiver).await?;
                }
                Ok(())
            })
            .await;
            let handler = ended.into_handler();
            assert!(matches!(handler, hybi::socket::HandlerEnd::Returned), "{handler:?}");
        }),
    };
    let user = tokio::spawn(user);
    // The peer reads all, answers the Close where there is one, and goes.
    let mut wire = Vec::new();
    let mut read = [0; 1000];
    loop {
        let end = [0x88, 2, 3, 232];
        match peer.io.read(&mut read).await {
            Ok(0) | Err(_) => break,
            Ok(n) => wire.extend(&read[..n]),
        }
        if wire.ends_with(&end) {
            break;
        }
    }
    // A short part is copied and dropped before it is sent.
    let too_early = how == (Sends::Chunk, Drops::Closes);
    if how.1 != Drops::Aborts && how.0 != Sends::TooLate && !too_early {
        let payload = wire.iter().filter(|byte| **byte == 7).count();
        assert!(payload >= len, "{place:?} {how:?}: {payload} of {len}");
    }
    drop(peer);
    timeout(Duration::from_secs(10), user).await.expect("it ends").unwrap();
}

#[test]
fn a_payload_may_use_the_halves_of_its_own_socket_when_it_is_dropped() {
    on_two_threads(|| async {
        for place in [Place::InTurn, Place::Moved, Place::Bare] {
            for drops in
                [Drops::Receiver, Drops::Everything, Drops::Closes, Drops::Aborts, Drops::Looks]
            {
                for sends in [Sends::Send, Sends::Feed, Sends::Sink, Sends::Chunk, Sends::TooLate] {
                    // Short ones are copied, and long ones kept until they are written.
                    for len in [10, 5_000, 100_000] {
                        sends_it(place, (sends, drops), len).await;
                    }
                }
            }
        }
    });
}

/// A received message, which somebody keeps, is the same: it shares no lock with its socket.
#[test]
fn what_is_queued_may_use_the_halves_when_the_session_is_dropped() {
    on_two_threads(|| async {
        for len in [10, 5_000, 100_000] {
            let (io, _peer) = Peer::pair(100);
            let (sender, receiver, task) = WebSocket::new(io, Config::server()).split_with_task();
            let other = sender.clone();
            let action: Action = Box::new(move || {
                other.start_close(CloseCode::NORMAL, "").expect("a code that may be sent");
                drop((other, receiver));
            });
            let payload = Bytes::from_owner(Payload { bytes: vec![7; len], action: Some(action) });
            let task = tokio::spawn(task);
            sender.send(vec![0; 50_000]).await.unwrap();
            sender.send(payload).await.unwrap();
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            sender.closed().await;
            assert!(sender.send("late").await.is_err());
            drop(sender);
        }
        // In the handler's own future, which is dropped with its session.
        let (io, _peer) = Peer::pair(100);
        let session =
            tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
                let (sender, receiver) = socket.split();
                let other = sender.clone();
                let action: Action = Box::new(move || drop((other.abort(), receiver)));
                let payload =
                    Bytes::from_owner(Payload { bytes: vec![7; 100_000], action: Some(action) });
                sender.send(payload).await?;
                pending().await
            }));
        support::settle().await;
        session.abort();
        assert!(session.await.unwrap_err().is_cancelled());
    });
}

/// A sink that was found ready may send in the middle of another's message.
#[test]
fn what_waits_behind_a_message_in_parts_may_use_the_halves_when_it_is_dropped() {
    on_two_threads(|| async {
        for (in_turn, finishes) in [(false, false), (false, true), (true, false), (true, true)] {
            let send = move |socket: Socket| async move {
                let (mut sender, receiver) = socket.split();
                let other = sender.clone();
                let sink = &mut sender;
                poll_fn(|cx| sink.poll_ready_unpin(cx)).await?;
                let mut message = sink.start_message(MessageKind::Binary).await?;
                message.send_chunk(vec![0; 20_000]).await?;
                let action: Action = Box::new(move || {
                    other.start_close(CloseCode::NORMAL, "").expect("a code that may be sent");
                    drop((other, receiver));
                });
                let payload =
                    Bytes::from_owner(Payload { bytes: vec![7; 10], action: Some(action) });
                sink.start_send_unpin(Message::from(payload))?;
                if finishes {
                    message.finish().await?;
                } else {
                    drop(message);
                }
                sender.closed().await;
                Ok::<_, BoxError>(())
            };
            let (io, mut peer) = Peer::pair(100_000);
            let user = tokio::spawn(async move {
                if in_turn {
                    Session::new(io, Config::server(), send).await;
                } else {
                    send(WebSocket::new(io, Config::server())).await.unwrap();
                }
            });
            assert_eq!(peer.recv().await.0, 0x02);
            if finishes {
                assert_eq!(peer.recv().await.0, 0x80);
                assert_eq!(peer.recv().await, (0x82, vec![7; 10]));
            }
            assert_eq!(peer.recv().await.0, 0x88);
            drop(peer);
            timeout(Duration::from_secs(10), user).await.expect("it ends").unwrap();
        }
    });
}
