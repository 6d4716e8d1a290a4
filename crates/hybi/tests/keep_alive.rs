//! How a socket finds out that its peer has vanished.

mod support;
#[path = "support/user.rs"]
mod user;
#[path = "support/watcher.rs"]
mod watcher;

use std::{collections::HashSet, future::pending, time::Duration};

use hybi::{
    proto::Role,
    socket::{BoxError, Config, KeepAlive, Timeouts, WebSocket},
};
use support::{Peer, masked};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use user::{Drive, ROLES, User, config, frame_to};
use watcher::{Pong, Watcher};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What the user does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Receiving,
    /// Waiting for something else.
    Busy,
}

/// Every way to use a socket in which it moves.
fn ways() -> impl Iterator<Item = (Drive, Doing)> {
    let receiving = Drive::ALL.into_iter().map(|drive| (drive, Doing::Receiving));
    receiving.chain(Drive::DRIVEN.into_iter().map(|drive| (drive, Doing::Busy)))
}

fn run(
    (drive, doing): (Drive, Doing),
    io: DuplexStream,
    config: Config,
) -> JoinHandle<Result<(), BoxError>> {
    drive.run(io, config, move |mut user: User| async move {
        match doing {
            Doing::Receiving => user.drain().await,
            Doing::Busy => {
                user.closed().await;
                user.drain().await
            }
        }
    })
}

fn watched(
    way: (Drive, Doing),
    role: Role,
    config: Config,
    pong: Pong,
) -> (JoinHandle<Result<(), BoxError>>, Watcher) {
    let (io, peer) = Peer::pair(4096);
    let user = run(way, io, config);
    (user, Watcher::new(peer.io, role, pong))
}

/// K-06: never later than the interval, and not much more often.
#[tokio::test(start_paused = true)]
async fn a_peer_is_pinged_every_fifteen_to_twenty_seconds() {
    let shorter = KeepAlive::default().interval(Duration::from_secs(8));
    for (keep_alive, from, to) in [(KeepAlive::default(), 15, 20), (shorter, 6, 8)] {
        for role in ROLES {
            for way in ways() {
                let config = config(role).keep_alive(keep_alive.clone());
                let mut last = Instant::now();
                let (user, mut watcher) = watched(way, role, config, Pong::AtOnce);
                let mut pauses = HashSet::new();
                // For an hour and more.
                for _ in 0..250 {
                    let ping = watcher.ping().await;
                    let pause = ping - last;
                    assert!(
                        // The clock of tokio's timer has whole milliseconds.
                        pause >= Duration::from_secs(from)
                            && pause <= Duration::from_secs(to) + Duration::from_millis(1),
                        "{way:?} {role:?}: {pause:?}"
                    );
                    pauses.insert(pause.as_millis());
                    last = ping;
                }
                assert!(pauses.len() > 100, "each pause is drawn anew: {pauses:?}");
                user.abort();
            }
        }
    }
}

/// A server that restarts has all its peers back at once.
#[tokio::test(start_paused = true)]
async fn sockets_that_were_opened_together_do_not_ping_together() {
    let mut firsts = HashSet::new();
    let mut sockets = Vec::new();
    for _ in 0..50 {
        let way = (Drive::Session, Doing::Receiving);
        sockets.push(watched(way, Role::Server, Config::server(), Pong::AtOnce));
    }
    let begin = Instant::now();
    for (_, watcher) in &mut sockets {
        firsts.insert((watcher.ping().await - begin).as_millis());
    }
    assert!(firsts.len() > 30, "{firsts:?}");
}

/// K-06, L-05: it is dropped without a Close, which would not reach it.
#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_dropped_after_the_timeout() {
    let other =
        KeepAlive::default().interval(Duration::from_secs(4)).timeout(Duration::from_secs(7));
    for (keep_alive, seconds) in [(KeepAlive::default(), 20), (other, 7)] {
        for role in ROLES {
            for way in ways() {
                let config = config(role).keep_alive(keep_alive.clone());
                let (user, mut watcher) = watched(way, role, config, Pong::Never);
                let ping = watcher.ping().await;
                assert_eq!(watcher.next().await, None, "{way:?} {role:?}");
                let elapsed = ping.elapsed();
                assert!(
                    elapsed >= Duration::from_secs(seconds)
                        && elapsed <= Duration::from_secs(seconds) + Duration::from_millis(2),
                    "{way:?} {role:?}: {elapsed:?}"
                );
                let error = user.await.unwrap().unwrap_err();
                let error = error.downcast_ref::<hybi::socket::Error>().unwrap();
                assert!(error.is_timeout() && error.is_disconnect(), "{way:?} {role:?}: {error:?}");
            }
        }
    }
}

/// K-05, K-06: whatever arrives is a sign of life.
#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_anything_is_alive() {
    // A message, part of a header, an unsolicited pong, a ping; each more seldom than pings are sent.
    let frames: [fn(Role, usize) -> Vec<u8>; 4] = [
        |role, _| frame_to(role, 0x81, b"x"),
        |role, n| vec![frame_to(role, 0x82, &[7; 5000])[n]],
        |role, _| frame_to(role, 0x8a, b"never asked"),
        |role, _| frame_to(role, 0x89, b"ping"),
    ];
    for (which, frame) in frames.into_iter().enumerate() {
        for role in ROLES {
            for way in ways() {
                if which == 0 && way.1 == Doing::Busy {
                    continue;
                }
                let config = config(role).timeouts(Timeouts::default().min_rate(0));
                let (user, mut watcher) = watched(way, role, config, Pong::Never);
                for n in 0..240 {
                    sleep(15 * SECOND).await;
                    watcher.send(frame(role, n));
                }
                let last = Instant::now();
                assert!(!user.is_finished(), "{which} {way:?} {role:?}");
                // Its silence is found out once it begins.
                watcher.rest().await;
                let elapsed = last.elapsed();
                assert!(
                    elapsed >= 20 * SECOND && elapsed <= 41 * SECOND,
                    "{which} {way:?}: {elapsed:?}"
                );
                drop(user.await);
            }
        }
    }
}

/// K-05: a pong with another payload is life as well.
#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_with_another_payload_is_alive() {
    for way in ways() {
        let (user, mut watcher) = watched(way, Role::Server, Config::server(), Pong::Other);
        for _ in 0..100 {
            watcher.ping().await;
        }
        assert!(!user.is_finished(), "{way:?}");
        user.abort();
    }
}

/// K-06: where this end does not read, the peer is not late. An hour later both go on.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_read_is_neither_pinged_nor_dropped() {
    for role in ROLES {
        for drive in Drive::ALL {
            let (io, peer) = Peer::pair(4096);
            let (go, went) = oneshot::channel();
            let user = drive.run(io, config(role), move |mut user: User| async move {
                went.await?;
                for _ in 0..100 {
                    let message = user.recv().await?.expect("a message");
                    assert_eq!(message.as_bytes(), [7; 3000]);
                }
                user.send("all taken").await?;
                user.drain().await
            });
            let mut watcher = Watcher::new(peer.io, role, Pong::AtOnce);
            for _ in 0..100 {
                watcher.send(frame_to(role, 0x82, &[7; 3000]));
            }
            let seen = timeout(HOUR, watcher.next()).await;
            assert!(seen.is_err(), "{drive:?} {role:?}: {seen:?}");
            go.send(()).unwrap();
            loop {
                let (_, first, payload) = watcher.next().await.expect("not the end");
                if first == 0x81 {
                    assert_eq!(payload, b"all taken");
                    break;
                }
            }
            // It lives on, and is watched again.
            for _ in 0..10 {
                watcher.ping().await;
            }
            assert!(!user.is_finished(), "{drive:?} {role:?}");
            user.abort();
        }
    }
}

/// K-06: the same in the middle of a message that is taken in parts.
#[tokio::test(start_paused = true)]
async fn a_peer_whose_part_is_not_taken_is_not_dropped() {
    for drive in Drive::ALL {
        let (io, peer) = Peer::pair(4096);
        let user = drive.run(io, Config::server(), move |mut user: User| async move {
            let len = match &mut user {
                User::Whole(socket) => {
                    slowly(socket.next_message().await?.expect("a message")).await?
                }
                User::Halves(_, it) => slowly(it.next_message().await?.expect("a message")).await?,
            };
            assert_eq!(len, 200_000);
            user.drain().await
        });
        let mut watcher = Watcher::new(peer.io, Role::Server, Pong::AtOnce);
        watcher.send(masked(0x82, &[7; 200_000]));
        sleep(HOUR + SECOND).await;
        for _ in 0..10 {
            watcher.ping().await;
        }
        assert!(!user.is_finished(), "{drive:?}");
        user.abort();
    }
}

async fn slowly<S: hybi::socket::MessageSource>(
    mut reader: hybi::socket::MessageReader<S>,
) -> Result<usize, BoxError> {
    let mut len = reader.chunk().await?.expect("a part").len();
    sleep(HOUR).await;
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await?;
    len += rest.len();
    Ok(len)
}

/// K-06: a receive that is given up may leave a message in the middle, of which no more is read then. The
/// answer to a ping that was sent before is behind it.
#[tokio::test(start_paused = true)]
async fn a_peer_that_is_not_read_any_more_is_not_dropped_for_a_ping_before() {
    for drive in Drive::DRIVEN {
        let (io, peer) = Peer::pair(4096);
        let (go, went) = oneshot::channel();
        let config = Config::server().timeouts(Timeouts::default().min_rate(0));
        let user = drive.run(io, config, move |mut user: User| async move {
            tokio::select! {
                received = user.recv() => panic!("{received:?}"),
                went = went => went?,
            }
            sleep(HOUR).await;
            assert_eq!(user.recv().await?.map(|it| it.len()), Some(200_000));
            user.drain().await
        });
        let mut watcher = Watcher::new(peer.io, Role::Server, Pong::Never);
        let frame = masked(0x82, &[7; 200_000]);
        watcher.send(frame[..100_000].to_vec());
        watcher.ping().await;
        go.send(()).unwrap();
        support::settle().await;
        watcher.send(frame[100_000..].to_vec());
        sleep(HOUR + SECOND).await;
        assert!(!user.is_finished(), "{drive:?}");
        watcher.ping().await;
        user.abort();
    }
}

/// A socket that moves only while it is used comes back to a peer that has answered.
#[tokio::test(start_paused = true)]
async fn a_bare_socket_that_was_not_used_for_an_hour_lives_on() {
    let (io, peer) = Peer::pair(4096);
    let mut socket = WebSocket::new(io, Config::server());
    let mut watcher = Watcher::new(peer.io, Role::Server, Pong::AtOnce);
    for _ in 0..3 {
        let received = timeout(25 * SECOND, socket.recv()).await;
        assert!(received.is_err(), "{received:?}");
        watcher.ping().await;
        sleep(HOUR).await;
    }
    watcher.send(masked(0x81, b"still there"));
    assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some("still there"));
}

/// A ping that the peer's slowness holds back is not one that it has left unanswered.
#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_dropped() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(1000);
        let user = drive.run(io, Config::server(), |mut user: User| async move {
            user.feed(vec![7; 200_000]).await?;
            user.drain().await
        });
        let mut read = 0;
        let begin = Instant::now();
        while read < 200_000 {
            sleep(SECOND).await;
            read += peer.io.read(&mut [0; 1000]).await.unwrap();
        }
        assert!(begin.elapsed() >= 190 * SECOND && !user.is_finished(), "{drive:?}");
        user.abort();
    }
}

/// Without it nothing is sent, and nobody is dropped.
#[tokio::test(start_paused = true)]
async fn a_socket_without_a_keep_alive_sends_no_ping() {
    for role in ROLES {
        for way in ways() {
            let (user, mut watcher) =
                watched(way, role, config(role).keep_alive(None), Pong::Never);
            assert!(timeout(24 * HOUR, watcher.next()).await.is_err(), "{way:?} {role:?}");
            assert!(!user.is_finished());
            user.abort();
        }
    }
}

/// L-07: nothing follows a Close, and its answer has a deadline of its own.
#[tokio::test(start_paused = true)]
async fn a_socket_that_closes_sends_no_ping() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(4096);
        let config = Config::server().timeouts(Timeouts::default().close(HOUR));
        let user = drive.run(io, config, |mut user: User| async move {
            let _ = user.close().await;
            pending().await
        });
        assert_eq!(peer.recv().await.0, 0x88);
        assert!(timeout(HOUR - SECOND, peer.io.read_u8()).await.is_err(), "{drive:?}");
        user.abort();
    }
}

/// Without time between pings they would take all the time there is.
#[tokio::test(start_paused = true)]
async fn a_keep_alive_without_an_interval_leaves_time_for_others() {
    let keep_alive = KeepAlive::default().interval(Duration::ZERO).timeout(Duration::ZERO);
    assert!(
        keep_alive.get_interval() > Duration::ZERO && keep_alive.get_timeout() > Duration::ZERO
    );
    let (io, _peer) = Peer::pair(3);
    let config = Config::server().keep_alive(keep_alive);
    let user = run((Drive::Bare, Doing::Receiving), io, config);
    let _ = timeout(HOUR, user).await.expect("it is given up");
}
