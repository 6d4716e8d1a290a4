//! When the peer's Close is answered: at once where nothing that came before it waits for the user.

mod support;
#[path = "support/user.rs"]
mod user;

use std::{
    future::{Future, pending},
    time::Duration,
};

use hybi::{
    proto::CloseCode,
    socket::{BoxError, Config, Error, Timeouts},
};
use support::{Peer, close_body, masked, settle};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use user::{Drive, ROLES, User, close_to, config, frame_to};

/// Lets the user go on for which this waits.
type Go = oneshot::Receiver<()>;

/// Runs `body`, which waits until the peer has the answer to its Close, and then has to fail to send.
async fn is_answered_at_once<F>(
    drive: Drive,
    body: impl FnOnce(User, Go) -> F + Send + Copy + 'static,
) where
    F: Future<Output = Result<Error, BoxError>> + Send + 'static,
{
    for role in ROLES {
        let (io, mut peer) = Peer::pair(1000);
        let (go, went) = oneshot::channel();
        let user = drive.run(io, config(role), move |user: User| async move {
            let error = body(user, went).await?;
            assert!(error.is_closed() && !error.is_disconnect(), "{error:?}");
            let text = error.to_string();
            assert!(text.contains("the peer closed it with 4001"), "{text}");
            Ok(())
        });
        settle().await;
        let begin = Instant::now();
        peer.send_raw(&close_to(role, 4001)).await;
        assert_eq!(peer.recv_any().await, (0x88, close_body(4001, "")), "{drive:?} {role:?}");
        assert_eq!(begin.elapsed(), Duration::ZERO, "{drive:?} {role:?}");
        let _ = go.send(());
        user.await.unwrap().unwrap();
    }
}

async fn fails_to_send(mut user: User) -> Result<Error, BoxError> {
    let error = user.send("too late").await.unwrap_err();
    // It stays so.
    assert_eq!(user.send("too late").await.unwrap_err().to_string(), error.to_string());
    Ok(error)
}

/// L-06: the user is busy with something else and has received nothing.
#[tokio::test(start_paused = true)]
async fn a_close_is_answered_at_once_while_the_user_is_busy_elsewhere() {
    for drive in Drive::DRIVEN {
        is_answered_at_once(drive, |user, go| async move {
            go.await?;
            fails_to_send(user).await
        })
        .await;
    }
}

/// L-06: so it is where the user has received all there was, and then given up to wait for more.
#[tokio::test(start_paused = true)]
async fn a_close_is_answered_at_once_where_a_receive_was_given_up() {
    for drive in Drive::DRIVEN {
        is_answered_at_once(drive, |mut user, go| async move {
            assert!(timeout(Duration::ZERO, user.recv()).await.is_err());
            go.await?;
            fails_to_send(user).await
        })
        .await;
    }
}

/// L-06: so it is while a receive waits, the bare socket's too.
#[tokio::test(start_paused = true)]
async fn a_close_is_answered_at_once_while_a_receive_waits() {
    for drive in Drive::ALL {
        is_answered_at_once(drive, |mut user, go| async move {
            let _go = go;
            assert!(user.recv().await?.is_none());
            fails_to_send(user).await
        })
        .await;
    }
}

/// L-06, L-07: the answer goes behind the message that was queued, and before the one that waits for room.
#[tokio::test(start_paused = true)]
async fn a_close_is_answered_at_once_while_a_send_waits() {
    for drive in Drive::ALL {
        for role in ROLES {
            let (io, mut peer) = Peer::pair(1000);
            let user = drive.run(io, config(role), |mut user: User| async move {
                user.feed(vec![1; 100_000]).await?;
                let error = user.feed(vec![2; 100]).await.unwrap_err();
                assert!(error.is_closed(), "{error:?}");
                assert!(error.to_string().contains("the peer closed it with 4001"), "{error}");
                // What is queued goes out.
                while user.recv().await?.is_some() {}
                Ok(())
            });
            settle().await;
            let begin = Instant::now();
            peer.send_raw(&close_to(role, 4001)).await;
            settle().await;
            assert_eq!(peer.recv_any().await, (0x82, vec![1; 100_000]), "{drive:?} {role:?}");
            assert_eq!(peer.recv_any().await, (0x88, close_body(4001, "")), "{drive:?} {role:?}");
            assert_eq!(begin.elapsed(), Duration::ZERO);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// L-06: messages that wait, and the answers to them, go before the answer to the Close.
#[tokio::test(start_paused = true)]
async fn messages_before_a_close_are_answered_before_it() {
    for drive in Drive::ALL {
        for role in ROLES {
            let (io, mut peer) = Peer::pair(1000);
            let user = drive.run(io, config(role), |mut user: User| async move {
                while let Some(message) = user.recv().await? {
                    // Working on one takes a while.
                    sleep(Duration::from_secs(1)).await;
                    user.send(message).await?;
                }
                Ok(())
            });
            let begin = Instant::now();
            for text in ["one", "two", "three"] {
                peer.send_raw(&frame_to(role, 0x81, text.as_bytes())).await;
            }
            peer.send_raw(&close_to(role, 4001)).await;
            for text in ["one", "two", "three"] {
                assert_eq!(peer.recv_any().await, (0x81, text.into()), "{drive:?} {role:?}");
            }
            assert_eq!(peer.recv_any().await, (0x88, close_body(4001, "")), "{drive:?} {role:?}");
            assert_eq!(begin.elapsed().as_secs(), 3);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// L-06, L-12: they are waited for as long as the Close of a peer is.
#[tokio::test(start_paused = true)]
async fn messages_that_nobody_takes_hold_a_close_back_for_the_close_timeout() {
    let shorter = Timeouts::default().close(Duration::from_secs(2));
    for (timeouts, seconds) in [(Timeouts::default(), 5), (shorter, 2)] {
        for drive in Drive::DRIVEN {
            let (io, mut peer) = Peer::pair(1000);
            let config = Config::server().timeouts(timeouts.clone());
            let user = drive.run(io, config, |user: User| async move {
                let _user = user;
                pending().await
            });
            let begin = Instant::now();
            peer.send_text("nobody takes this").await;
            peer.send_close(4001, "").await;
            assert_eq!(peer.recv().await, (0x88, close_body(4001, "")), "{drive:?}");
            assert_eq!(begin.elapsed().as_secs(), seconds, "{drive:?}");
            user.abort();
        }
    }
}

/// A handler that takes one message of two before the time is over still gets the other.
#[tokio::test(start_paused = true)]
async fn messages_stay_to_be_taken_after_the_close_was_answered() {
    for drive in Drive::DRIVEN {
        let (io, mut peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), |mut user: User| async move {
            sleep(Duration::from_secs(8)).await;
            for text in ["one", "two"] {
                assert_eq!(user.recv().await?.as_ref().and_then(|it| it.as_text()), Some(text));
            }
            assert!(user.recv().await?.is_none());
            assert!(user.send("late").await.unwrap_err().to_string().contains("4001"));
            Ok(())
        });
        let mut bytes = masked(0x81, b"one");
        bytes.extend(masked(0x81, b"two"));
        peer.send_raw(&bytes).await;
        peer.send_close(4001, "").await;
        assert_eq!(peer.recv().await, (0x88, close_body(4001, "")), "{drive:?}");
        user.await.unwrap().unwrap();
    }
}

/// L-05: a peer that closes without a code is named, too.
#[tokio::test(start_paused = true)]
async fn the_error_of_a_send_names_a_close_without_a_code() {
    let (io, mut peer) = Peer::pair(1000);
    let user = Drive::Session.run(io, Config::server(), |mut user: User| async move {
        assert!(user.recv().await?.is_none());
        let error = user.send("late").await.unwrap_err();
        assert!(error.to_string().contains("the peer closed it without a code"), "{error}");
        assert!(user.start_close(CloseCode::NORMAL).is_ok());
        Ok(())
    });
    peer.send_raw(&masked(0x88, b"")).await;
    assert_eq!(peer.recv().await, (0x88, vec![]));
    drop(peer);
    user.await.unwrap().unwrap();
}
