//! How long a handler may go on once its socket is over.

#[path = "support/broken.rs"]
mod broken;
mod support;

use std::{future::pending, time::Duration};

use broken::Broken;
use hybi::{
    proto::CloseCode,
    socket::{Config, Ended, HandlerEnd, Session, Timeouts, WebSocket},
};
use support::{Peer, close_body, settle};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

type Socket = WebSocket<DuplexStream>;

const HOUR: Duration = Duration::from_secs(3600);

/// Tells when it is dropped.
struct Tell(Option<oneshot::Sender<Instant>>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.take().map(|tell| tell.send(Instant::now()));
    }
}

/// A session whose handler never ends, and when that was dropped.
fn stubborn<T>(io: T, config: Config) -> (JoinHandle<Ended>, oneshot::Receiver<Instant>)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let session = Session::new(io, config, move |socket: WebSocket<T>| async move {
        let _tell = Tell(Some(tell));
        let _socket = socket;
        pending().await
    });
    (tokio::spawn(session), told)
}

fn with_grace(grace: impl Into<Option<Duration>>) -> Config {
    Config::server().timeouts(Timeouts::default().handler_grace(grace))
}

/// Each way in which a socket is over by the peer's doing.
#[derive(Clone, Copy, Debug)]
enum Over {
    Close,
    Eof,
    Reset,
}

/// L-16: its future is dropped, and the session ends.
#[tokio::test(start_paused = true)]
async fn a_handler_that_does_not_end_is_dropped_after_its_grace() {
    for (config, seconds) in [
        (Config::server(), 10),
        (with_grace(Duration::from_secs(3)), 3),
        (with_grace(Duration::ZERO), 0),
    ] {
        for over in [Over::Close, Over::Eof, Over::Reset] {
            let (io, mut peer) = Peer::pair(1000);
            let (io, broken) = Broken::new(io);
            let (session, told) = stubborn(io, config.clone());
            // As long as the socket lasts the handler may go on.
            sleep(Duration::from_secs(15)).await;
            let begin = Instant::now();
            match over {
                Over::Close => {
                    peer.send_close(1000, "").await;
                    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
                }
                Over::Eof => drop(peer),
                Over::Reset => broken.reset(),
            }
            assert_eq!((told.await.unwrap() - begin).as_secs(), seconds, "{over:?}");
            let ended = session.await.unwrap();
            assert!(matches!(ended.handler(), HandlerEnd::Dropped), "{over:?}");
            assert_eq!(ended.failure().is_none(), matches!(over, Over::Close), "{over:?}");
        }
    }
}

/// Nothing that the handler does with its socket extends it.
#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_the_errors_of_its_socket_is_dropped_as_well() {
    let (io, mut peer) = Peer::pair(1000);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            loop {
                let _ = socket.recv().await;
                let _ = socket.send("is anybody there?").await;
                let _ = socket.flush().await;
                sleep(Duration::from_millis(300)).await;
            }
        }));
    let begin = Instant::now();
    peer.send_close(1000, "").await;
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Dropped));
    assert_eq!(begin.elapsed().as_secs(), 10);
}

/// A handler has its whole grace after the Close that its session was asked for.
#[tokio::test(start_paused = true)]
async fn the_grace_begins_when_the_close_of_this_end_was_answered() {
    let (io, mut peer) = Peer::pair(1000);
    let session = Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket;
        pending().await
    });
    let control = session.control();
    let session = tokio::spawn(session);
    control.close(CloseCode::GOING_AWAY.into());
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
    sleep(Duration::from_secs(4)).await;
    let begin = Instant::now();
    peer.send_close(1001, "").await;
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Dropped));
    assert_eq!(begin.elapsed().as_secs(), 10);
}

/// It begins when the answer is written, behind everything that was sent before.
#[tokio::test(start_paused = true)]
async fn the_grace_begins_when_a_slow_peer_has_taken_everything() {
    let (io, mut peer) = Peer::pair(1000);
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            socket.send(vec![7; 60_000]).await?;
            pending().await
        }));
    peer.send_close(1000, "").await;
    let mut len = 0;
    let begin = Instant::now();
    while len < 60_000 {
        sleep(Duration::from_secs(1)).await;
        len += peer.io.read(&mut [0; 1000]).await.unwrap();
    }
    assert!(begin.elapsed().as_secs() >= 60);
    let begin = Instant::now();
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Dropped));
    assert!((9..=10).contains(&begin.elapsed().as_secs()));
}

#[tokio::test(start_paused = true)]
async fn without_a_grace_a_handler_goes_on_for_as_long_as_it_likes() {
    let (io, mut peer) = Peer::pair(1000);
    let (mut session, _told) = stubborn(io, with_grace(None));
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    drop(peer);
    assert!(timeout(HOUR, &mut session).await.is_err());
    session.abort();
}

/// `closing` resolves at once, so that a handler can end by itself.
#[tokio::test(start_paused = true)]
async fn a_handler_is_told_at_once_and_left_alone_within_its_grace() {
    for over in [Over::Close, Over::Eof, Over::Reset] {
        let (io, mut peer) = Peer::pair(1000);
        let (io, broken) = Broken::new(io);
        let (told, tell) = oneshot::channel();
        let session = Session::new(io, Config::server(), |socket: WebSocket<_>| async move {
            socket.closing().await;
            told.send(Instant::now()).expect("the test waits");
            sleep(Duration::from_millis(9_900)).await;
            Ok(())
        });
        let session = tokio::spawn(session);
        sleep(Duration::from_secs(1)).await;
        let begin = Instant::now();
        match over {
            Over::Close => peer.send_close(1000, "").await,
            Over::Eof => drop(peer),
            Over::Reset => broken.reset(),
        }
        assert_eq!(tell.await.unwrap(), begin, "{over:?}");
        assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Returned), "{over:?}");
        assert_eq!(begin.elapsed().as_millis(), 9_900, "{over:?}");
    }
}

/// The user of a detached socket is somebody else.
#[tokio::test(start_paused = true)]
async fn the_handler_of_a_detached_socket_is_left_alone() {
    let (io, mut peer) = Peer::pair(1000);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async move {
        let _socket = socket.detach();
        sleep(HOUR).await;
        Ok(())
    }));
    settle().await;
    peer.send_close(1000, "").await;
    drop(peer);
    let begin = Instant::now();
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Returned));
    assert_eq!(begin.elapsed(), HOUR);
}

/// Where the socket was moved to another task without being detached, the handler is the one that is dropped,
/// and the task goes on.
#[tokio::test(start_paused = true)]
async fn the_task_that_has_a_socket_outlives_a_handler_that_was_dropped() {
    let (io, mut peer) = Peer::pair(1000);
    let (end, ended) = oneshot::channel();
    let session =
        tokio::spawn(Session::new(io, Config::server(), |mut socket: Socket| async move {
            tokio::spawn(async move {
                let received = socket.recv().await;
                sleep(HOUR).await;
                let _ = end.send((received, socket.send("late").await));
            });
            pending().await
        }));
    peer.send_close(4001, "").await;
    assert!(matches!(session.await.unwrap().handler(), HandlerEnd::Dropped));
    let (received, sent) = ended.await.unwrap();
    assert!(received.unwrap().is_none());
    assert!(sent.unwrap_err().to_string().contains("4001"));
}

struct PanicsAtItsEnd;

impl Drop for PanicsAtItsEnd {
    fn drop(&mut self) {
        panic!("in the destructor");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_future_that_is_dropped_is_reported() {
    // The handler has dropped its socket, which ends with 1000.
    let (io, mut peer) = Peer::pair(1000);
    let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| {
        drop(socket);
        async {
            let _guard = PanicsAtItsEnd;
            pending().await
        }
    }));
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    peer.send_close(1000, "").await;
    match session.await.unwrap().into_handler() {
        HandlerEnd::Panicked(panic) => {
            assert_eq!(*panic.downcast::<&str>().unwrap(), "in the destructor");
        }
        end => panic!("{end:?}"),
    }
}

/// A grace that passes at the same time as the wait for the peer's end keeps that from nothing.
#[tokio::test(start_paused = true)]
async fn a_grace_as_long_as_the_linger_does_not_replace_it() {
    let (io, mut peer) = Peer::pair(1000);
    let (session, told) = stubborn(io, with_grace(Duration::from_secs(1)));
    let begin = Instant::now();
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    assert!(peer.at_eof().await);
    // The peer does not end its side.
    assert_eq!((told.await.unwrap() - begin).as_secs(), 1);
    let ended = timeout(HOUR, session).await.expect("nobody waits longer for the peer");
    assert!(ended.unwrap().failure().is_none());
    assert!(begin.elapsed().as_secs() <= 2);
}
