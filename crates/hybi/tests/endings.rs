//! What was sent before an orderly end arrives at a peer that reads, however slowly.

mod support;
#[path = "support/user.rs"]
mod user;

use std::time::Duration;

use bytes::BufMut;
use hybi::{
    proto::{CloseCode, Role},
    socket::{BoxError, Config, Error, Session, Timeouts, WebSocket},
};
use support::{Peer, close_body};
use tokio::{
    io::{AsyncReadExt, DuplexStream},
    task::JoinHandle,
    time::{Instant, sleep},
};
use user::{Drive, ROLES, User, close_to, config};

type Socket = WebSocket<DuplexStream>;

const MESSAGE: usize = 1 << 20;

/// What the pipe holds, and the peer reads at once.
const PIPE: usize = 16 * 1024;

/// How a socket comes to an orderly end after its user has sent something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Returns,
    Drops,
    Closes,
    StartsToClose,
    IsClosedByControl,
    DropsHalves,
    ClosesBySender,
    BareCloses,
    BareStartsToClose,
    BareDropsHalves,
    BareClosesBySender,
}

use Ending::*;

const ENDINGS: [Ending; 11] = [
    Returns,
    Drops,
    Closes,
    StartsToClose,
    IsClosedByControl,
    DropsHalves,
    ClosesBySender,
    BareCloses,
    BareStartsToClose,
    BareDropsHalves,
    BareClosesBySender,
];

/// Sends a message and ends. Gives whether a timeout was the end, once the transport is gone.
fn run(ending: Ending, io: DuplexStream, config: Config) -> JoinHandle<bool> {
    match ending {
        BareCloses | BareStartsToClose => tokio::spawn(async move {
            let mut socket = WebSocket::new(io, config);
            socket.feed(vec![7; MESSAGE]).await.unwrap();
            if ending == BareCloses {
                return is_timeout(socket.close().await);
            }
            socket.start_close(CloseCode::NORMAL, "").unwrap();
            is_timeout(socket.recv().await)
        }),
        BareDropsHalves | BareClosesBySender => tokio::spawn(async move {
            let (sender, mut receiver) = WebSocket::new(io, config).split();
            let closed = sender.closed();
            sender.send(vec![7; MESSAGE]).await.unwrap();
            let mut is_late = false;
            if ending == BareClosesBySender {
                is_late = is_timeout(sender.close().await);
                assert_eq!(is_timeout(receiver.recv().await), is_late);
            }
            drop((sender, receiver));
            closed.await;
            is_late
        }),
        _ => {
            let session = Session::new(io, config, move |socket| end_in_handler(ending, socket));
            let control = session.control();
            let session = tokio::spawn(session);
            tokio::spawn(async move {
                if ending == IsClosedByControl {
                    support::settle().await;
                    control.close(CloseCode::NORMAL.into());
                }
                session.await.unwrap().failure().is_some_and(Error::is_timeout)
            })
        }
    }
}

async fn end_in_handler(ending: Ending, mut socket: Socket) -> Result<(), BoxError> {
    if let DropsHalves | ClosesBySender = ending {
        let (sender, receiver) = socket.split();
        sender.send(vec![7; MESSAGE]).await?;
        if ending == DropsHalves {
            let closed = sender.closed();
            drop((sender, receiver));
            closed.await;
            return Ok(());
        }
        let _ = sender.close().await;
        return Ok(());
    }
    socket.send(vec![7; MESSAGE]).await?;
    match ending {
        Drops => {
            let closed = socket.closed();
            drop(socket);
            closed.await;
        }
        Closes => drop(socket.close().await),
        StartsToClose => {
            socket.start_close(CloseCode::NORMAL, "")?;
            let _ = socket.recv().await;
        }
        IsClosedByControl => drop(socket.recv().await),
        _ => {}
    }
    Ok(())
}

fn is_timeout<T>(result: Result<T, Error>) -> bool {
    result.err().is_some_and(|error| error.is_timeout())
}

/// Reads `len` bytes at 16 KiB a second.
async fn read_slowly(peer: &mut Peer, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        sleep(Duration::from_secs(1)).await;
        let left = len - bytes.len();
        let n = peer.io.read_buf(&mut (&mut bytes).limit(PIPE.min(left))).await.unwrap();
        assert!(n > 0, "the end after {} bytes of {len}", bytes.len());
    }
    bytes
}

fn frame_len(role: Role, payload: usize) -> usize {
    let key = if role == Role::Client { 4 } else { 0 };
    support::header(0, payload, false).len() + key + payload
}

/// R-15, L-07, L-12: all of it arrives, and the Close behind it, long after every deadline of a close. The
/// peer's Close has its time once ours is written.
#[tokio::test(start_paused = true)]
async fn whatever_was_sent_before_an_orderly_end_arrives_at_a_peer_that_reads_slowly() {
    for role in ROLES {
        for ending in ENDINGS {
            for answers in [true, false] {
                let (io, mut peer) = Peer::pair(PIPE);
                let begin = Instant::now();
                let mut end = run(ending, io, config(role));
                let len = frame_len(role, MESSAGE) + frame_len(role, 2);
                let bytes = read_slowly(&mut peer, len).await;
                assert!(begin.elapsed() >= Duration::from_secs(60), "{ending:?}");
                let (first, payload) = parse_one(&bytes[..frame_len(role, MESSAGE)]).await;
                assert!(first == 0x82 && payload == [7; MESSAGE], "{role:?} {ending:?}");
                let close = parse_one(&bytes[frame_len(role, MESSAGE)..]).await;
                assert_eq!(close, (0x88, close_body(1000, "")), "{role:?} {ending:?}");
                let read = Instant::now();
                if answers {
                    peer.send_raw(&close_to(role, 1000)).await;
                    drop(peer);
                    assert!(!end.await.unwrap(), "{role:?} {ending:?}");
                    assert_eq!(read.elapsed(), Duration::ZERO, "{role:?} {ending:?}");
                } else {
                    let late = (&mut end).await.unwrap();
                    let unseen = matches!(ending, BareDropsHalves);
                    assert!(late || unseen, "{role:?} {ending:?}");
                    // The Close was written between the last two reads.
                    let seconds = read.elapsed().as_secs();
                    assert!((3..=5).contains(&seconds), "{role:?} {ending:?}: {seconds} s");
                }
            }
        }
    }
}

/// L-06: the same where the peer has closed first, and is behind with what it reads.
#[tokio::test(start_paused = true)]
async fn whatever_was_sent_before_the_peers_close_arrives_before_the_answer() {
    for role in ROLES {
        for drive in Drive::ALL {
            let (io, mut peer) = Peer::pair(PIPE);
            let user = drive.run(io, config(role), |mut user: User| async move {
                user.feed(vec![7; MESSAGE]).await?;
                user.drain().await?;
                user.closed().await;
                Ok(())
            });
            support::settle().await;
            peer.send_raw(&close_to(role, 4001)).await;
            let begin = Instant::now();
            let len = frame_len(role, MESSAGE) + frame_len(role, 2);
            let bytes = read_slowly(&mut peer, len).await;
            assert!(begin.elapsed() >= Duration::from_secs(60), "{drive:?}");
            let message = parse_one(&bytes[..frame_len(role, MESSAGE)]).await;
            assert!(message == (0x82, vec![7; MESSAGE]), "{role:?} {drive:?}");
            let close = parse_one(&bytes[frame_len(role, MESSAGE)..]).await;
            assert_eq!(close, (0x88, close_body(4001, "")), "{role:?} {drive:?}");
            drop(peer);
            user.await.unwrap().unwrap();
        }
    }
}

async fn parse_one(frame: &[u8]) -> (u8, Vec<u8>) {
    let (io, mut peer) = Peer::pair(frame.len());
    let mut io = io;
    tokio::io::AsyncWriteExt::write_all(&mut io, frame).await.unwrap();
    peer.recv_any().await
}

/// L-18: nobody waits for a peer that takes nothing.
#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_ends_an_orderly_end_after_the_write_stall() {
    for (timeouts, seconds) in
        [(Timeouts::default(), 30), (Timeouts::default().write_stall(Duration::from_secs(8)), 8)]
    {
        for role in ROLES {
            for ending in ENDINGS {
                let (io, peer) = Peer::pair(PIPE);
                let begin = Instant::now();
                let end = run(ending, io, config(role).timeouts(timeouts.clone()));
                let late = end.await.unwrap();
                assert!(late || ending == BareDropsHalves, "{role:?} {ending:?}");
                assert_eq!(begin.elapsed().as_secs(), seconds, "{role:?} {ending:?}");
                drop(peer);
            }
        }
    }
}

/// only an abort does not wait.
#[tokio::test(start_paused = true)]
async fn an_abort_waits_for_no_slow_peer() {
    for drive in Drive::ALL {
        let (io, mut peer) = Peer::pair(PIPE);
        let begin = Instant::now();
        let user = drive.run(io, Config::server(), |mut user: User| async move {
            user.feed(vec![7; MESSAGE]).await?;
            user.abort();
            user.closed().await;
            Ok(())
        });
        user.await.unwrap().unwrap();
        let mut rest = Vec::new();
        peer.io.read_to_end(&mut rest).await.unwrap();
        assert!(rest.len() <= PIPE && begin.elapsed() == Duration::ZERO, "{drive:?}");
    }
}
