//! Of two closes the first decides the code, wherever they come from.

mod support;
#[path = "support/user.rs"]
mod user;

use std::{
    future::pending,
    sync::{Arc, OnceLock},
    thread,
};

use hybi::{
    proto::CloseCode,
    socket::{Config, Control, Session, WebSocket},
};
use support::{Peer, close_body, settle};
use tokio::{io::DuplexStream, sync::oneshot};

type Socket = WebSocket<DuplexStream>;

/// Who closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closer {
    Control,
    /// The socket, or the one sender.
    User,
    /// Another sender.
    Other,
}

use Closer::{Other, User};

const CLOSERS: [Closer; 3] = [Closer::Control, User, Other];

fn first() -> CloseCode {
    CloseCode::new(4001).unwrap()
}

fn second() -> CloseCode {
    CloseCode::new(4002).unwrap()
}

async fn assert_first(peer: &mut Peer, what: impl std::fmt::Debug) {
    assert_eq!(peer.recv().await, (0x88, close_body(4001, "")), "{what:?}");
}

/// What the closers have once the session has begun.
fn cell() -> (Arc<OnceLock<Control>>, Arc<OnceLock<Control>>) {
    let cell = Arc::new(OnceLock::new());
    (Arc::clone(&cell), cell)
}

/// L-07
#[tokio::test]
async fn the_first_of_two_closes_in_the_handlers_turn_wins() {
    for a in [Closer::Control, User] {
        for b in [Closer::Control, User] {
            let (io, mut peer) = Peer::pair(1000);
            let (control, given) = cell();
            let session =
                Session::new(io, Config::server(), move |mut socket: Socket| async move {
                    let control = given.get().expect("given before the first poll");
                    for (closer, code) in [(a, first()), (b, second())] {
                        match closer {
                            Closer::Control => control.close(code.into()),
                            _ => socket.start_close(code, "")?,
                        }
                    }
                    pending().await
                });
            control.set(session.control()).unwrap();
            tokio::spawn(session);
            assert_first(&mut peer, (a, b)).await;
        }
    }
}

/// L-07: the same with halves of the handler's.
#[tokio::test]
async fn the_first_of_two_closes_of_halves_in_the_handlers_turn_wins() {
    for a in CLOSERS {
        for b in CLOSERS {
            let (io, mut peer) = Peer::pair(1000);
            let (control, given) = cell();
            let session = Session::new(io, Config::server(), move |socket: Socket| async move {
                let control = given.get().expect("given before the first poll");
                let (sender, receiver) = socket.split();
                for (closer, code) in [(a, first()), (b, second())] {
                    match closer {
                        Closer::Control => control.close(code.into()),
                        User => sender.start_close(code, "")?,
                        Other => receiver.sender().start_close(code, "")?,
                    }
                }
                pending().await
            });
            control.set(session.control()).unwrap();
            tokio::spawn(session);
            assert_first(&mut peer, (a, b)).await;
        }
    }
}

/// L-07: the same while the session waits for something else, before its first poll and later.
#[tokio::test]
async fn the_first_of_two_closes_from_elsewhere_wins() {
    for begun in [false, true] {
        // Whether somebody but the session has used the socket before.
        for used in [false, true] {
            for a in CLOSERS {
                for b in CLOSERS {
                    let (io, mut peer) = Peer::pair(1000);
                    let (give, given) = oneshot::channel();
                    let session = Session::new(io, Config::server(), |socket: Socket| {
                        assert!(give.send(socket.split()).is_ok());
                        pending()
                    });
                    let (sender, receiver) = given.await.unwrap();
                    let control = session.control();
                    let spawn = |session| drop(tokio::spawn(session));
                    let mut session = Some(session);
                    if begun {
                        session.take().map(spawn);
                        settle().await;
                        if used {
                            sender.send("used").await.unwrap();
                            assert_eq!(peer.recv().await.0, 0x81);
                            settle().await;
                        }
                    }
                    for (closer, code) in [(a, first()), (b, second())] {
                        match closer {
                            Closer::Control => control.close(code.into()),
                            User => sender.start_close(code, "").unwrap(),
                            Other => receiver.sender().start_close(code, "").unwrap(),
                        }
                    }
                    session.map(spawn);
                    assert_first(&mut peer, (begun, used, a, b)).await;
                }
            }
        }
    }
}

/// L-07: a close is not overtaken by one that waits.
#[tokio::test]
async fn a_close_that_waits_does_not_replace_one_that_was_started() {
    for begun in [false, true] {
        let (io, mut peer) = Peer::pair(1000);
        let (give, given) = oneshot::channel();
        let session = Session::new(io, Config::server(), |socket: Socket| {
            assert!(give.send(socket).is_ok());
            pending()
        });
        let mut socket = given.await.unwrap();
        let control = session.control();
        let mut session = Some(session);
        if begun {
            session.take().map(tokio::spawn);
            settle().await;
        }
        control.close(first().into());
        let closing = tokio::spawn(async move { socket.close_with(second(), "").await });
        settle().await;
        session.map(tokio::spawn);
        assert_first(&mut peer, begun).await;
        peer.send_close(4001, "").await;
        closing.await.unwrap().unwrap();
    }
}

/// L-07: a close that is waited for is queued by its first poll, wherever the session is.
#[tokio::test]
async fn a_close_that_waits_is_not_replaced_by_one_that_comes_later() {
    for begun in [false, true] {
        for halves in [false, true] {
            let (io, mut peer) = Peer::pair(1000);
            let (give, given) = oneshot::channel();
            let session = Session::new(io, Config::server(), |socket: Socket| {
                assert!(give.send(socket).is_ok());
                pending()
            });
            let mut socket = given.await.unwrap();
            let control = session.control();
            let mut session = Some(session);
            if begun {
                session.take().map(tokio::spawn);
                settle().await;
            }
            let closing = tokio::spawn(async move {
                if halves {
                    let (sender, _receiver) = socket.split();
                    sender.close_with(first(), "").await
                } else {
                    socket.close_with(first(), "").await
                }
            });
            // The session is polled only after both have asked: this runtime has one thread.
            tokio::task::yield_now().await;
            control.close(second().into());
            session.map(tokio::spawn);
            assert_first(&mut peer, (begun, halves)).await;
            peer.send_close(4001, "").await;
            closing.await.unwrap().unwrap();
        }
    }
}

/// L-07: also of a socket that moves only while it is used.
#[tokio::test(start_paused = true)]
async fn the_first_of_two_closes_of_a_bare_socket_wins() {
    let (io, mut peer) = Peer::pair(1000);
    let mut socket = WebSocket::new(io, Config::server());
    socket.start_close(first(), "").unwrap();
    socket.start_close(second(), "").unwrap();
    let closing = tokio::spawn(async move { socket.close_with(second(), "").await });
    assert_first(&mut peer, ()).await;
    peer.send_close(4001, "").await;
    closing.await.unwrap().unwrap();
}

/// L-07: what the handler's end says comes after what was asked for before.
#[tokio::test]
async fn a_close_that_was_asked_for_wins_over_the_end_of_the_handler() {
    let (io, mut peer) = Peer::pair(1000);
    let (control, given) = cell();
    let session = Session::new(io, Config::server(), move |_: Socket| async move {
        given.get().expect("given before the first poll").close(first().into());
        Err("it fails as well".into())
    });
    control.set(session.control()).unwrap();
    tokio::spawn(session);
    assert_first(&mut peer, "in its turn").await;

    let (io, mut peer) = Peer::pair(1000);
    let session = Session::new(io, Config::server(), |_: Socket| async { Ok(()) });
    session.control().close(first().into());
    tokio::spawn(session);
    assert_first(&mut peer, "before its turn").await;
}

/// L-07: from another thread, too, while the session is in a poll.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_of_two_closes_from_another_thread_wins_during_a_poll() {
    let (io, mut peer) = Peer::pair(1000);
    let (control, given) = cell();
    let session = Session::new(io, Config::server(), move |socket: Socket| async move {
        let _socket = socket;
        thread::scope(|scope| {
            scope.spawn(|| {
                let control = given.get().expect("given before the first poll");
                control.close(first().into());
                control.clone().close(second().into());
            });
        });
        pending().await
    });
    control.set(session.control()).unwrap();
    tokio::spawn(session);
    assert_first(&mut peer, ()).await;
}
