//! The error of a send says why the socket is closed.

#[path = "support/broken.rs"]
mod broken;
mod support;
#[path = "support/user.rs"]
mod user;

use std::{error::Error as _, io, time::Duration};

use broken::Broken;
use hybi::{
    proto::{CloseCode, Violation},
    socket::{Config, Error, KeepAlive, Timeouts},
};
use support::{Peer, close_body, settle};
use tokio::io::DuplexStream;
use user::{Drive, User};

type Io = Broken<DuplexStream>;

/// What a send says when it is tried again and again after `end`: at once, and once the user has received the
/// end.
async fn errors_of_sends(
    drive: Drive,
    config: Config,
    end: impl AsyncFnOnce(&mut Peer, &broken::Breaker) + 'static,
    received: bool,
) -> Error {
    let (io, mut peer) = Peer::pair(1000);
    let (io, breaker) = Broken::new(io);
    let (told, tell) = tokio::sync::oneshot::channel();
    let user = drive.run(io, config, move |mut user: User<Io>| async move {
        let error = if received {
            while let Ok(Some(_)) = user.recv().await {}
            user.send("late").await.unwrap_err()
        } else {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if let Err(error) = user.send("late").await {
                    break error;
                }
            }
        };
        told.send(error).expect("the test waits");
        Ok(())
    });
    settle().await;
    end(&mut peer, &breaker).await;
    let error = tell.await.unwrap();
    drop(peer);
    drop(user.await);
    error
}

fn source<E: std::error::Error + 'static>(error: &Error) -> Option<&E> {
    error.source().and_then(|source| source.downcast_ref())
}

/// L-07
#[tokio::test(start_paused = true)]
async fn the_error_names_the_peers_code() {
    for drive in Drive::ALL {
        for received in [false, true] {
            let end = async |peer: &mut Peer, _: &_| peer.send_close(4001, "why").await;
            let error = errors_of_sends(drive, Config::server(), end, received).await;
            assert!(error.is_closed(), "{drive:?} {error:?}");
            assert!(
                error.to_string().contains("the peer closed it with 4001"),
                "{drive:?} {error}"
            );
            assert!(error.source().is_none());
        }
    }
}

/// L-07
#[tokio::test(start_paused = true)]
async fn the_error_says_that_this_end_closed() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            user.start_close(CloseCode::NORMAL)?;
            let before = user.send("late").await.unwrap_err();
            assert!(user.recv().await?.is_none());
            let after = user.send("late").await.unwrap_err();
            for error in [before, after] {
                assert!(error.is_closed() && error.source().is_none(), "{drive:?} {error:?}");
                assert!(error.to_string().contains("this end closed it"), "{drive:?} {error}");
            }
            Ok(())
        });
        assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
        // The peer's code is another matter.
        peer.send_close(4001, "").await;
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// L-14
#[tokio::test(start_paused = true)]
async fn the_error_has_the_violation_as_its_source() {
    for drive in Drive::ALL {
        for received in [false, true] {
            let end = async |peer: &mut Peer, _: &_| peer.send_raw(&[0x83, 0x80, 0, 0, 0, 0]).await;
            let error = errors_of_sends(drive, Config::server(), end, received).await;
            assert!(error.is_closed(), "{drive:?} {error:?}");
            let cause: &Error = source(&error).expect("the failure");
            assert!(cause.violation().is_some(), "{drive:?} {cause:?}");
            assert!(source::<Violation>(cause).is_some());
        }
    }
}

/// The failure itself where nobody was told of it before, and else its consequence, with the failure as its
/// source.
fn cause(error: &Error) -> &Error {
    if error.is_closed() { source(error).expect("the failure") } else { error }
}

/// L-05
#[tokio::test(start_paused = true)]
async fn the_error_has_the_failure_of_the_transport() {
    for drive in Drive::ALL {
        for received in [false, true] {
            let end = async |_: &mut Peer, breaker: &broken::Breaker| breaker.reset();
            let error = errors_of_sends(drive, Config::server(), end, received).await;
            assert_eq!(error.is_closed(), received, "{drive:?} {error:?}");
            let kind = cause(&error).io().map(io::Error::kind);
            assert_eq!(kind, Some(io::ErrorKind::ConnectionReset), "{drive:?} {error:?}");
        }
    }
}

/// L-05: the peer's side ended without a Close, and the socket with it.
#[tokio::test(start_paused = true)]
async fn the_error_says_that_the_peer_is_gone() {
    for drive in Drive::ALL {
        let (io, peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            assert!(user.recv().await.unwrap_err().is_disconnect());
            user.closed().await;
            let error = user.send("late").await.unwrap_err();
            assert!(error.is_closed() && cause(&error).is_disconnect(), "{drive:?} {error:?}");
            Ok(())
        });
        drop(peer);
        user.await.unwrap().unwrap();
    }
}

/// K-06: a peer that was silent for too long.
#[tokio::test(start_paused = true)]
async fn the_error_says_that_the_peer_did_not_answer_a_ping() {
    for drive in Drive::ALL {
        let config = Config::server().keep_alive(KeepAlive::default());
        let error = errors_of_sends(drive, config, async |_: &mut Peer, _: &_| {}, true).await;
        assert!(error.is_closed() && cause(&error).is_timeout(), "{drive:?} {error:?}");
        assert!(cause(&error).to_string().contains("ping"), "{drive:?} {error:?}");
    }
}

/// A peer that took nothing for too long, told to whoever has not heard of it.
#[tokio::test(start_paused = true)]
async fn the_error_says_that_the_peer_took_nothing() {
    for drive in Drive::ALL {
        let (io, _peer) = Peer::pair(100);
        let config =
            Config::server().timeouts(Timeouts::default().write_stall(Duration::from_secs(3)));
        let user = drive.run(io, config, move |mut user: User| async move {
            let error = loop {
                if let Err(error) = user.send(vec![0; 50_000]).await {
                    break error;
                }
            };
            assert!(error.is_timeout() && error.is_disconnect(), "{drive:?} {error:?}");
            assert!(user.recv().await.unwrap_err().is_timeout());
            let error = user.send("late").await.unwrap_err();
            assert!(error.is_closed() && cause(&error).is_timeout(), "{drive:?} {error:?}");
            Ok(())
        });
        user.await.unwrap().unwrap();
    }
}

/// L-12: a peer that did not answer our Close. It is this end that has closed the socket.
#[tokio::test(start_paused = true)]
async fn the_error_says_that_this_end_closed_whatever_became_of_it() {
    for drive in Drive::ALL {
        let (io, _peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            assert!(user.close().await.unwrap_err().is_timeout());
            let _ = user.recv().await;
            let error = user.send("late").await.unwrap_err();
            assert!(error.is_closed(), "{drive:?} {error:?}");
            assert!(error.to_string().contains("this end closed it"), "{drive:?} {error}");
            Ok(())
        });
        user.await.unwrap().unwrap();
    }
}

///
#[tokio::test(start_paused = true)]
async fn the_error_says_that_this_end_aborted() {
    for drive in Drive::ALL {
        let (io, _peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            user.abort();
            user.closed().await;
            let error = user.send("late").await.unwrap_err();
            assert!(error.is_disconnect() || cause(&error).is_disconnect(), "{drive:?} {error:?}");
            assert!(cause(&error).to_string().contains("aborted"), "{drive:?} {error:?}");
            Ok(())
        });
        user.await.unwrap().unwrap();
    }
}
