//! What a user learns of pongs: round trips, and the pongs themselves.

mod support;
#[path = "support/user.rs"]
mod user;
#[path = "support/watcher.rs"]
mod watcher;

use std::{
    future::{Future, pending},
    time::Duration,
};

use hybi::socket::{BoxError, Config, Pongs, RoundTrip, Session, WebSocket};
use support::{Peer, masked, settle};
use tokio::{
    io::DuplexStream,
    sync::oneshot,
    time::{Instant, sleep},
};
use user::{Drive, ROLES, User, config, frame_to};
use watcher::{Pong, Watcher};

const SECOND: Duration = Duration::from_secs(1);

fn delay(n: usize) -> Duration {
    Duration::from_millis([100, 500, 40, 900][n % 4])
}

/// Receives until `until`, and gives the socket back.
async fn receive_until(user: &mut User, until: impl Future<Output = ()>) -> Result<(), BoxError> {
    tokio::select! {
        received = user.recv() => panic!("{received:?}"),
        () = until => Ok(()),
    }
}

fn assert_close_to(measured: Duration, expected: Duration) {
    let difference = measured.abs_diff(expected);
    // The timer has whole milliseconds.
    assert!(difference <= Duration::from_millis(2), "{measured:?} instead of {expected:?}");
}

/// K-06: the last one, and an average in which each new one counts an eighth.
#[tokio::test(start_paused = true)]
async fn the_round_trip_is_measured_with_each_answer_to_the_keep_alive() {
    for role in ROLES {
        for drive in Drive::ALL {
            let (io, peer) = Peer::pair(4096);
            let (pinged, mut pings) = tokio::sync::mpsc::unbounded_channel();
            let user = drive.run(io, config(role), move |mut user: User| async move {
                assert_eq!(user.round_trip(), None);
                let mut smoothed = delay(0);
                for n in 0..20 {
                    let ping: Instant = tokio::select! {
                        received = user.recv() => panic!("{received:?}"),
                        ping = pings.recv() => ping.expect("a ping"),
                    };
                    receive_until(&mut user, tokio::time::sleep_until(ping + SECOND)).await?;
                    if n > 0 {
                        smoothed = (smoothed * 7 + delay(n)) / 8;
                    }
                    let RoundTrip { last, smoothed: average, .. } =
                        user.round_trip().expect("measured");
                    assert_close_to(last, delay(n));
                    assert_close_to(average, smoothed);
                }
                Ok(())
            });
            let mut watcher = Watcher::new(peer.io, role, Pong::After(delay));
            let pings = tokio::spawn(async move {
                while let Some((at, first, _)) = watcher.next().await {
                    if first == 0x89 {
                        let _ = pinged.send(at);
                    }
                }
            });
            user.await.unwrap().unwrap_or_else(|error| panic!("{drive:?} {role:?}: {error}"));
            pings.abort();
        }
    }
}

/// K-06: everybody can ask for it.
#[tokio::test(start_paused = true)]
async fn the_round_trip_is_the_same_wherever_it_is_asked_for() {
    let (io, peer) = Peer::pair(4096);
    let (give, given) = oneshot::channel();
    let session = Session::new(io, Config::server(), |socket: WebSocket<DuplexStream>| {
        assert!(give.send(socket.split()).is_ok());
        pending()
    });
    let (sender, receiver) = given.await.unwrap();
    let control = session.control();
    assert_eq!(control.round_trip(), None);
    tokio::spawn(session);
    let mut watcher = Watcher::new(peer.io, hybi::proto::Role::Server, Pong::After(delay));
    watcher.ping().await;
    sleep(SECOND).await;
    let round_trip = control.round_trip().expect("measured");
    assert_close_to(round_trip.last, delay(0));
    assert_eq!(round_trip.last, round_trip.smoothed);
    assert_eq!(sender.round_trip(), Some(round_trip));
    assert_eq!(receiver.round_trip(), Some(round_trip));
    drop((sender, receiver));
}

/// K-05: it answers nothing of the keep-alive's.
#[tokio::test(start_paused = true)]
async fn a_pong_that_matches_no_ping_is_no_round_trip() {
    for drive in Drive::ALL {
        let (io, peer) = Peer::pair(4096);
        let user = drive.run(io, Config::server(), |mut user: User| async move {
            receive_until(&mut user, sleep(1000 * SECOND)).await?;
            assert_eq!(user.round_trip(), None);
            Ok(())
        });
        let mut watcher = Watcher::new(peer.io, hybi::proto::Role::Server, Pong::Other);
        watcher.send(masked(0x8a, b""));
        tokio::spawn(async move { while watcher.next().await.is_some() {} });
        user.await.unwrap().unwrap();
    }
}

/// A pong that comes twice, or late, behind another ping, measures nothing.
#[tokio::test(start_paused = true)]
async fn only_the_first_answer_to_a_ping_is_a_round_trip() {
    let (io, mut peer) = Peer::pair(4096);
    let session =
        Session::new(io, Config::server(), |mut socket: WebSocket<DuplexStream>| async move {
            while socket.recv().await?.is_some() {}
            Ok(())
        });
    let control = session.control();
    tokio::spawn(session);
    let (_, first) = peer.recv().await;
    sleep(Duration::from_millis(50)).await;
    peer.send_raw(&masked(0x8a, &first)).await;
    settle().await;
    let measured = control.round_trip().expect("measured");
    sleep(SECOND).await;
    peer.send_raw(&masked(0x8a, &first)).await;
    let (_, second) = peer.recv().await;
    assert_ne!(first, second);
    peer.send_raw(&masked(0x8a, &first)).await;
    settle().await;
    assert_eq!(control.round_trip(), Some(measured));
}

/// The next pong, while the socket moves.
async fn next_pong(user: &mut User, pongs: &mut Pongs) -> Option<Vec<u8>> {
    tokio::select! {
        received = user.recv() => panic!("{received:?}"),
        pong = pongs.recv() => pong.map(|pong| pong.to_vec()),
    }
}

/// K-02, K-05: those that answer the user, and those that nobody asked for.
#[tokio::test(start_paused = true)]
async fn pongs_that_are_not_the_keep_alives_are_observed() {
    for role in ROLES {
        for drive in Drive::ALL {
            let (io, peer) = Peer::pair(4096);
            let user = drive.run(io, config(role), |mut user: User| async move {
                let mut pongs = user.pongs();
                for ping in [&b"one"[..], b"", b"three"] {
                    user.ping(ping).await?;
                    assert_eq!(next_pong(&mut user, &mut pongs).await.as_deref(), Some(ping));
                    // Pings of the keep-alive and their answers come between them.
                    receive_until(&mut user, sleep(60 * SECOND)).await?;
                }
                user.send("now").await?;
                assert_eq!(
                    next_pong(&mut user, &mut pongs).await.as_deref(),
                    Some(&b"unsolicited"[..])
                );
                // Nothing of it is given twice.
                let mut again = std::pin::pin!(pongs.recv());
                tokio::select! {
                    received = user.recv() => panic!("{received:?}"),
                    pong = &mut again => panic!("{pong:?}"),
                    () = sleep(100 * SECOND) => {}
                }
                assert!(user.round_trip().is_some());
                Ok(())
            });
            let mut watcher = Watcher::new(peer.io, role, Pong::AtOnce);
            while let Some((_, first, _)) = watcher.next().await {
                if first == 0x81 {
                    watcher.send(frame_to(role, 0x8a, b"unsolicited"));
                }
            }
            user.await.unwrap().unwrap_or_else(|error| panic!("{drive:?} {role:?}: {error}"));
        }
    }
}

/// K-03: a flood of them costs no memory.
#[tokio::test(start_paused = true)]
async fn of_pongs_that_were_not_taken_the_newest_is_left() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(1 << 16);
        let (looked, look) = oneshot::channel();
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            let mut pongs = user.pongs();
            looked.send(()).unwrap();
            assert!(user.recv().await?.is_some());
            assert_eq!(pongs.recv().await.as_deref(), Some(&b"99"[..]));
            let mut other = user.pongs();
            assert_eq!(next_pong(&mut user, &mut other).await.as_deref(), Some(&b"100"[..]));
            assert_eq!(pongs.recv().await.as_deref(), Some(&b"100"[..]));
            Ok(())
        });
        look.await.unwrap();
        for n in 0..100 {
            peer.send_raw(&masked(0x8a, n.to_string().as_bytes())).await;
        }
        peer.send_text("all of them").await;
        sleep(SECOND).await;
        peer.send_raw(&masked(0x8a, b"100")).await;
        user.await.unwrap().unwrap();
        drop(peer);
    }
}

/// The end is no pong, however it comes.
#[tokio::test(start_paused = true)]
async fn the_pongs_end_with_the_transport() {
    for drive in Drive::ALL {
        for how in ["close", "eof", "abort"] {
            let (io, mut peer) = Peer::pair(4096);
            let (looked, look) = oneshot::channel();
            let user = drive.run(io, Config::server(), move |mut user: User| async move {
                let mut pongs = user.pongs();
                looked.send(()).unwrap();
                if how == "abort" {
                    user.abort();
                } else {
                    let _ = user.recv().await;
                }
                for _ in 0..3 {
                    assert_eq!(pongs.recv().await, None, "{drive:?} {how}");
                }
                // Who comes later sees the same.
                assert_eq!(user.pongs().recv().await, None, "{drive:?} {how}");
                Ok(())
            });
            look.await.unwrap();
            if how == "close" {
                peer.send_close(1000, "").await;
                assert_eq!(peer.recv().await.0, 0x88);
            }
            if how != "abort" {
                drop(peer);
            }
            user.await.unwrap().unwrap();
        }
    }
}

/// A pong that came right before the end is given before it.
#[tokio::test(start_paused = true)]
async fn the_last_pong_is_given_before_the_end() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(4096);
        let (looked, look) = oneshot::channel();
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            let mut pongs = user.pongs();
            looked.send(()).unwrap();
            assert!(user.recv().await?.is_none());
            user.closed().await;
            assert_eq!(pongs.recv().await.as_deref(), Some(&b"last"[..]), "{drive:?}");
            assert_eq!(pongs.recv().await, None, "{drive:?}");
            Ok(())
        });
        look.await.unwrap();
        peer.send_raw(&masked(0x8a, b"last")).await;
        peer.send_close(1000, "").await;
        assert_eq!(peer.recv().await.0, 0x88);
        drop(peer);
        user.await.unwrap().unwrap();
    }
}
