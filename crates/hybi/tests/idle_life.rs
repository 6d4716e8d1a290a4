//! How long a socket may be idle, and how long it may live at most. What an idle socket costs.

mod support;
#[path = "support/user.rs"]
mod user;
#[path = "support/watcher.rs"]
mod watcher;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hybi::{
    proto::Role,
    socket::{BoxError, Config, Session, Timeouts, WebSocket},
};
use support::{Peer, close_body, masked};
use tokio::{
    io::DuplexStream,
    task::JoinHandle,
    time::{Instant, sleep},
};
use user::{Drive, ROLES, User, config, frame_to};
use watcher::{Pong, Watcher};

type Socket = WebSocket<DuplexStream>;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Receiving,
    Busy,
}

/// Every way to use a socket in which it moves.
fn ways() -> impl Iterator<Item = (Drive, Doing)> {
    let receiving = Drive::ALL.into_iter().map(|drive| (drive, Doing::Receiving));
    receiving.chain(Drive::DRIVEN.into_iter().map(|drive| (drive, Doing::Busy)))
}

/// A socket with these timeouts, and its peer, which answers pings.
fn watched(
    (drive, doing): (Drive, Doing),
    role: Role,
    timeouts: Timeouts,
) -> (JoinHandle<Result<(), BoxError>>, Watcher) {
    let (io, peer) = Peer::pair(4096);
    let user = drive.run(io, config(role).timeouts(timeouts), move |mut user: User| async move {
        if doing == Doing::Busy {
            user.closed().await;
        }
        user.drain().await
    });
    (user, Watcher::new(peer.io, role, Pong::AtOnce))
}

/// Waits for a Close with `code`, answers it, and gives when it came.
async fn closed_with(watcher: &mut Watcher, role: Role, code: u16) -> Instant {
    loop {
        let (at, first, payload) = watcher.next().await.expect("a Close before the end");
        if first != 0x89 && first != 0x8a {
            assert_eq!((first, payload), (0x88, close_body(code, "")));
            watcher.send(frame_to(role, 0x88, &close_body(code, "")));
            return at;
        }
    }
}

fn assert_idle_for(idle: Duration, seconds: u64, what: impl std::fmt::Debug) {
    let longest = Duration::from_secs(seconds).mul_f32(1.25) + Duration::from_millis(10);
    assert!(idle >= Duration::from_secs(seconds) && idle <= longest, "{what:?}: {idle:?}");
}

/// L-15: with 1000, between the time that is set and a quarter more. Pings and pongs do not count.
#[tokio::test(start_paused = true)]
async fn an_idle_socket_is_closed_with_1000() {
    for seconds in [100, 3000] {
        for role in ROLES {
            for way in ways() {
                let timeouts = Timeouts::default().idle(Duration::from_secs(seconds));
                let begin = Instant::now();
                let (user, mut watcher) = watched(way, role, timeouts);
                // The peer has a keep-alive of its own.
                for n in 0..(seconds / 10 - 1) {
                    sleep(10 * SECOND).await;
                    watcher.send(frame_to(role, if n % 2 == 0 { 0x89 } else { 0x8a }, b"ping"));
                }
                let idle = closed_with(&mut watcher, role, 1000).await - begin;
                assert_idle_for(idle, seconds, (way, role));
                drop(watcher);
                user.await.unwrap().unwrap();
            }
        }
    }
}

/// Messages count in either direction.
#[tokio::test(start_paused = true)]
async fn a_socket_with_messages_is_not_idle() {
    for drive in Drive::ALL {
        for sends in [false, true] {
            let (io, peer) = Peer::pair(4096);
            let config = Config::server().timeouts(Timeouts::default().idle(100 * SECOND));
            let user = drive.run(io, config, move |mut user: User| async move {
                for n in 0..50 {
                    let mut pause = pin!(sleep(95 * SECOND));
                    let mut received = 0;
                    loop {
                        tokio::select! {
                            message = user.recv() => received += usize::from(message?.is_some()),
                            () = &mut pause => break,
                        }
                    }
                    assert!(sends || n == 0 || received == 1);
                    if sends {
                        user.send("x").await?;
                    }
                }
                user.drain().await
            });
            let mut watcher = Watcher::new(peer.io, Role::Server, Pong::AtOnce);
            let mut last = Instant::now();
            for _ in 0..50 {
                if sends {
                    loop {
                        let (at, first, _) = watcher.next().await.expect("not the end");
                        if first == 0x81 {
                            last = at;
                            break;
                        }
                    }
                } else {
                    watcher.send(masked(0x81, b"x"));
                    last = Instant::now();
                    sleep(95 * SECOND).await;
                }
            }
            let idle = closed_with(&mut watcher, Role::Server, 1000).await - last;
            assert_idle_for(idle, 100, (drive, sends));
            drop(watcher);
            user.await.unwrap().unwrap();
        }
    }
}

/// A long message that arrives or leaves in parts is no idleness.
#[tokio::test(start_paused = true)]
async fn a_socket_with_a_message_under_way_is_not_idle() {
    for drive in Drive::ALL {
        let (io, peer) = Peer::pair(4096);
        let config = Config::server().timeouts(Timeouts::default().idle(10 * SECOND));
        let user = drive.run(io, config, move |mut user: User| async move {
            assert_eq!(user.read_in_parts().await?.map(|it| it.len()), Some(100_000));
            user.drain().await
        });
        let mut watcher = Watcher::new(peer.io, Role::Server, Pong::Never);
        for chunk in masked(0x82, &[7; 100_000]).chunks(2000) {
            watcher.send(chunk.to_vec());
            sleep(SECOND).await;
        }
        let last = Instant::now();
        let idle = closed_with(&mut watcher, Role::Server, 1000).await - last + SECOND;
        assert_idle_for(idle, 10, drive);
        drop(watcher);
        user.await.unwrap().unwrap();
    }
}

/// L-15: with 1001, whatever goes on.
#[tokio::test(start_paused = true)]
async fn a_socket_that_has_lived_long_enough_is_closed_with_1001() {
    for (seconds, talks) in [(100, false), (3600, true)] {
        for role in ROLES {
            for way in ways() {
                if talks && way.1 == Doing::Busy {
                    continue;
                }
                let timeouts = Timeouts::default()
                    .max_lifetime(Duration::from_secs(seconds))
                    .idle(Duration::from_secs(seconds));
                let begin = Instant::now();
                let (user, mut watcher) = watched(way, role, timeouts);
                while talks && begin.elapsed() + 20 * SECOND < Duration::from_secs(seconds) {
                    sleep(10 * SECOND).await;
                    watcher.send(frame_to(role, 0x81, b"x"));
                }
                let at = closed_with(&mut watcher, role, 1001).await;
                assert_eq!((at - begin).as_secs(), seconds, "{way:?} {role:?}");
                drop(watcher);
                user.await.unwrap().unwrap();
            }
        }
    }
}

/// The defaults close no socket whose peer answers.
#[tokio::test(start_paused = true)]
async fn by_default_a_socket_may_be_idle_for_ever() {
    for way in ways() {
        let (user, mut watcher) = watched(way, Role::Server, Timeouts::default());
        let begin = Instant::now();
        while begin.elapsed() < 24 * HOUR {
            watcher.ping().await;
        }
        assert!(!user.is_finished(), "{way:?}");
        user.abort();
    }
}

/// Runs an echo session and counts its polls.
fn counted(io: DuplexStream, config: Config) -> Arc<AtomicUsize> {
    let polls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polls);
    let mut session = Box::pin(Session::new(io, config, |mut socket: Socket| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    }));
    tokio::spawn(poll_fn(move |cx| {
        count.fetch_add(1, Ordering::Relaxed);
        session.as_mut().poll(cx)
    }));
    polls
}

/// An idle socket is woken for its pings and their answers, and for nothing else.
#[tokio::test(start_paused = true)]
async fn an_idle_session_is_polled_twice_for_each_ping() {
    let timeouts = Timeouts::default().idle(100 * HOUR).max_lifetime(100 * HOUR);
    for timeouts in [Timeouts::default(), timeouts] {
        let (io, peer) = Peer::pair(4096);
        let polls = counted(io, Config::server().timeouts(timeouts));
        let mut watcher = Watcher::new(peer.io, Role::Server, Pong::AtOnce);
        // Messages before leave nothing behind, cut or whole.
        for n in 0..1000 {
            let frame = masked(0x82, &[7; 100]);
            watcher.send(frame[..n % 100].to_vec());
            support::settle().await;
            watcher.send(frame[n % 100..].to_vec());
            assert_eq!(watcher.next().await.expect("an echo").1, 0x82);
        }
        watcher.ping().await;
        watcher.ping().await;
        support::settle().await;
        let before = polls.load(Ordering::Relaxed);
        let pings = 1000;
        for _ in 0..pings {
            watcher.ping().await;
        }
        let polls = polls.load(Ordering::Relaxed) - before;
        assert!(polls >= pings && polls <= 2 * pings + 10, "{polls} polls for {pings} pings");
    }
}

/// No timer is set for a message, and none that was set is left to ring.
#[tokio::test(start_paused = true)]
async fn an_idle_session_without_a_keep_alive_is_not_polled() {
    let (io, peer) = Peer::pair(4096);
    let polls = counted(io, Config::server().keep_alive(None));
    let mut watcher = Watcher::new(peer.io, Role::Server, Pong::AtOnce);
    for n in 0..1000 {
        let frame = masked(0x82, &[7; 100]);
        watcher.send(frame[..n % 100].to_vec());
        support::settle().await;
        watcher.send(frame[n % 100..].to_vec());
        assert_eq!(watcher.next().await.expect("an echo").1, 0x82);
    }
    support::settle().await;
    let before = polls.load(Ordering::Relaxed);
    sleep(24 * HOUR).await;
    let polls = polls.load(Ordering::Relaxed) - before;
    // The one timer of a message that was cut may still ring.
    assert!(polls <= 1, "{polls} polls");
}
