//! A message that has begun to arrive goes on doing so, or the connection fails. How long it takes as a whole
//! is its peer's affair.

mod support;
#[path = "support/user.rs"]
mod user;

use std::time::Duration;

use hybi::{
    proto::{Role, Violation},
    socket::{BoxError, Config, Error, MessageReader, Timeouts, WebSocket},
};
use support::{Peer, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::oneshot,
    time::{Instant, sleep},
};
use user::{Drive, User};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// How the user takes messages.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Taking {
    Whole,
    InParts,
}

const TAKINGS: [Taking; 2] = [Taking::Whole, Taking::InParts];

impl Taking {
    async fn take(self, user: &mut User) -> Result<Option<Vec<u8>>, BoxError> {
        match self {
            Self::Whole => Ok(user.recv().await?.map(|message| message.as_bytes().to_vec())),
            Self::InParts => user.read_in_parts().await,
        }
    }
}

/// Without pings, which would stand between what is looked for.
fn server(timeouts: Timeouts) -> Config {
    Config::server().timeouts(timeouts).keep_alive(None)
}

/// The beginning of a message of `len` bytes. Its masking key is 0, and so the payload is as it was written.
fn begin(len: usize) -> Vec<u8> {
    let mut frame = header(0x82, len, true);
    frame.extend([0; 4]);
    frame
}

/// Writes until nobody reads any more. Whether all of it went out.
async fn write(peer: &mut Peer, bytes: &[u8]) -> bool {
    peer.io.write_all(bytes).await.is_ok()
}

/// Writes a message of `len` bytes, `step` of them each second. Whether it went out.
async fn write_slowly(peer: &mut Peer, len: usize, step: usize) -> bool {
    if !write(peer, &begin(len)).await {
        return false;
    }
    let mut left = len;
    while left > 0 {
        sleep(SECOND).await;
        let n = step.min(left);
        if !write(peer, &vec![7; n]).await {
            return false;
        }
        left -= n;
    }
    true
}

/// The violation behind an error, also where a reader has wrapped it.
fn violation(error: &BoxError) -> Option<Violation> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&**error);
    while let Some(error) = next {
        if let Some(violation) = error.downcast_ref::<Error>().and_then(Error::violation) {
            return Some(violation);
        }
        let inner = error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        next = inner
            .map(|inner| inner as &(dyn std::error::Error + 'static))
            .or_else(|| error.source());
    }
    None
}

/// Takes messages until the connection fails for being too slow, and tells when that was.
async fn fails(
    drive: Drive,
    taking: Taking,
    timeouts: Timeouts,
    peer_does: impl AsyncFnOnce(&mut Peer),
) -> Duration {
    let (io, mut peer) = Peer::pair(4096);
    let (told, tell) = oneshot::channel();
    let start = Instant::now();
    drive.run(io, server(timeouts), move |mut user: User| async move {
        let error = loop {
            match taking.take(&mut user).await {
                Ok(message) => assert!(message.is_some(), "no end without a failure"),
                Err(error) => break error,
            }
        };
        // A bare socket tells when its transport is gone, the others at once.
        assert_eq!(violation(&error), Some(Violation::MessageTooSlow), "{error:?}");
        told.send(start.elapsed()).expect("the test waits");
        Ok(())
    });
    peer_does(&mut peer).await;
    let after = tell.await.unwrap();
    assert_eq!(peer.recv().await.1[..2], 1008u16.to_be_bytes(), "{drive:?} {taking:?}");
    after
}

/// How long a bare socket lingers before it tells.
fn slack(drive: Drive) -> Duration {
    if drive == Drive::Bare { SECOND } else { Duration::ZERO }
}

/// G-04: it takes 90 s, and is never silent.
#[tokio::test(start_paused = true)]
async fn a_long_message_that_never_pauses_arrives() {
    for drive in Drive::ALL {
        for taking in TAKINGS {
            let (io, mut peer) = Peer::pair(4096);
            let start = Instant::now();
            let user =
                drive.run(io, server(Timeouts::default()), move |mut user: User| async move {
                    assert_eq!(taking.take(&mut user).await?, Some(vec![7; 900 * 1024]));
                    Ok(())
                });
            assert!(write_slowly(&mut peer, 900 * 1024, 10 * 1024).await, "{drive:?} {taking:?}");
            assert_eq!(start.elapsed().as_secs(), 90);
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// G-04, L-15: the first 20 s are free, and each 10 s behind them have their average.
#[tokio::test(start_paused = true)]
async fn a_message_below_the_minimum_rate_ends_in_1008() {
    for drive in Drive::ALL {
        for taking in TAKINGS {
            for (timeouts, step, seconds) in [
                (Timeouts::default(), 1000, 30),
                (Timeouts::default(), 1, 30),
                (Timeouts::default().min_rate(100), 90, 30),
                (Timeouts::default().min_rate(usize::MAX), 10_000, 30),
            ] {
                let after = fails(drive, taking, timeouts, async |peer| {
                    assert!(!write_slowly(peer, 900 * 1024, step).await);
                })
                .await;
                let expected = Duration::from_secs(seconds);
                assert!(
                    after >= expected && after <= expected + slack(drive),
                    "{drive:?} {taking:?} {step}: {after:?}"
                );
            }
        }
    }
}

/// A message that was fast for a minute is measured by what it does now.
#[tokio::test(start_paused = true)]
async fn bytes_of_an_earlier_time_do_not_count_for_the_minimum_rate() {
    for drive in Drive::ALL {
        let after = fails(drive, Taking::InParts, Timeouts::default(), async |peer| {
            assert!(write(peer, &begin(900 * 1024)).await);
            for second in 0.. {
                let step = if second < 60 { 10 * 1024 } else { 100 };
                if !write(peer, &vec![7; step]).await {
                    break;
                }
                sleep(SECOND).await;
            }
        })
        .await;
        assert!((60..=82).contains(&after.as_secs()), "{drive:?}: {after:?}");
    }
}

/// At the rate itself a message may go on for as long as it likes.
#[tokio::test(start_paused = true)]
async fn a_message_at_the_minimum_rate_arrives() {
    for (timeouts, len, step) in [
        (Timeouts::default(), 400 * 1024, 1100),
        (Timeouts::default().min_rate(100), 50_000, 110),
        // Where it is off, an hour of one byte a second is no fault.
        (Timeouts::default().min_rate(0), 3600, 1),
    ] {
        for drive in Drive::ALL {
            for taking in TAKINGS {
                let (io, mut peer) = Peer::pair(4096);
                let user =
                    drive.run(io, server(timeouts.clone()), move |mut user: User| async move {
                        assert_eq!(taking.take(&mut user).await?, Some(vec![7; len]));
                        Ok(())
                    });
                assert!(write_slowly(&mut peer, len, step).await, "{drive:?} {taking:?} {step}");
                drop(peer);
                user.await.unwrap().unwrap();
            }
        }
    }
}

/// G-04: between the time that is set and a quarter more.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_silent_for_too_long_ends_in_1008() {
    let base = Timeouts::default().min_rate(0);
    for (timeouts, seconds) in [(base.clone(), 60), (base.silence(Duration::from_secs(8)), 8)] {
        for drive in Drive::ALL {
            for taking in TAKINGS {
                let after = fails(drive, taking, timeouts.clone(), async |peer| {
                    assert!(write(peer, &begin(1000)).await);
                    // What comes in time is no silence.
                    for _ in 0..5 {
                        sleep(Duration::from_secs(seconds) - SECOND).await;
                        assert!(write(peer, &[7]).await, "{drive:?} {taking:?}");
                    }
                })
                .await;
                let silent = after - 5 * (Duration::from_secs(seconds) - SECOND);
                let longest = Duration::from_secs(seconds).mul_f32(1.25) + slack(drive);
                assert!(
                    silent >= Duration::from_secs(seconds) && silent <= longest,
                    "{drive:?} {taking:?}: {silent:?}"
                );
            }
        }
    }
}

/// G-04: a time for the whole of it, where one is set, for a message of any speed.
#[tokio::test(start_paused = true)]
async fn a_message_beyond_a_time_that_is_set_ends_in_1008() {
    for seconds in [7, 45] {
        let timeouts = Timeouts::default().max_message(Duration::from_secs(seconds));
        for drive in Drive::ALL {
            for taking in TAKINGS {
                let after = fails(drive, taking, timeouts.clone(), async |peer| {
                    assert!(!write_slowly(peer, 1_000_000, 10_000).await);
                })
                .await;
                let expected = Duration::from_secs(seconds);
                assert!(
                    after >= expected && after <= expected + slack(drive),
                    "{drive:?} {taking:?}: {after:?}"
                );
            }
        }
    }
}

/// A message that follows another at once has its own time.
#[tokio::test(start_paused = true)]
async fn each_message_has_its_own_time() {
    let timeouts = Timeouts::default().max_message(Duration::from_secs(7));
    for drive in Drive::ALL {
        for taking in TAKINGS {
            let (io, mut peer) = Peer::pair(4096);
            let user = drive.run(io, server(timeouts.clone()), move |mut user: User| async move {
                for _ in 0..10 {
                    assert_eq!(taking.take(&mut user).await?, Some(vec![7; 6000]));
                }
                Ok(())
            });
            for _ in 0..10 {
                assert!(write_slowly(&mut peer, 6000, 1000).await, "{drive:?} {taking:?}");
            }
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// A slow peer is no slow reader: time does not count in which the user takes nothing, and this end does not
/// read therefore.
#[tokio::test(start_paused = true)]
async fn time_does_not_count_in_which_the_read_ahead_is_full() {
    for timeouts in [Timeouts::default(), Timeouts::default().max_message(Duration::from_secs(9))] {
        for drive in Drive::ALL {
            for taking in TAKINGS {
                let (io, mut peer) = Peer::pair(4096);
                let config = server(timeouts.clone());
                let user = drive.run(io, config, move |mut user: User| async move {
                    sleep(HOUR).await;
                    assert_eq!(taking.take(&mut user).await?, Some(vec![7; 600 * 1024]));
                    Ok(())
                });
                let mut bytes = begin(600 * 1024);
                bytes.extend(vec![7; 600 * 1024]);
                assert!(write(&mut peer, &bytes).await, "{drive:?} {taking:?}");
                drop(peer);
                user.await.unwrap().unwrap();
            }
        }
    }
}

/// Takes one part, waits for an hour, and takes the rest.
async fn pause_in_the_middle<S>(reader: Option<MessageReader<S>>) -> Result<(), BoxError>
where
    S: hybi::socket::MessageSource,
{
    let mut reader = reader.expect("a message");
    let mut len = reader.chunk().await?.expect("a part").len();
    sleep(HOUR).await;
    while let Some(part) = reader.chunk().await? {
        len += part.len();
    }
    assert_eq!(len, 600 * 1024);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn time_does_not_count_in_which_a_part_is_not_taken() {
    for timeouts in [Timeouts::default(), Timeouts::default().max_message(Duration::from_secs(9))] {
        for drive in Drive::ALL {
            let (io, mut peer) = Peer::pair(4096);
            let config = server(timeouts.clone());
            let user = drive.run(io, config, move |mut user: User| async move {
                match &mut user {
                    User::Whole(socket) => pause_in_the_middle(socket.next_message().await?).await,
                    User::Halves(_, it) => pause_in_the_middle(it.next_message().await?).await,
                }
            });
            let mut bytes = begin(600 * 1024);
            bytes.extend(vec![7; 600 * 1024]);
            assert!(write(&mut peer, &bytes).await, "{drive:?}");
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

/// A bare socket reads only while it is used.
#[tokio::test(start_paused = true)]
async fn time_does_not_count_in_which_a_bare_socket_is_not_used() {
    for timeouts in [Timeouts::default(), Timeouts::default().max_message(Duration::from_secs(9))] {
        let (io, mut peer) = Peer::pair(4096);
        let mut socket: WebSocket<DuplexStream> = WebSocket::new(io, server(timeouts));
        assert_eq!(socket.role(), Role::Server);
        assert!(write(&mut peer, &begin(3)).await);
        for _ in 0..3 {
            let wait = tokio::time::timeout(SECOND, socket.recv()).await;
            assert!(wait.is_err(), "{wait:?}");
            sleep(HOUR).await;
            assert!(write(&mut peer, &[7]).await);
        }
        assert_eq!(socket.recv().await.unwrap().unwrap().as_bytes(), [7; 3]);
        // Nothing was said to the peer.
        drop(socket);
        let mut rest = Vec::new();
        peer.io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
    }
}
