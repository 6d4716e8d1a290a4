//! Every way to drive an echo sends the same bytes, whatever the client sends and however that is cut: a session,
//! which takes the plain paths where it can, [`WebSocket::serve`], a bare socket, and halves.

mod support;

use std::{future::pending, time::Duration};

use hybi::{
    proto::{Limits, Message},
    socket::{BoxError, Config, Session, WebSocket},
};
use proptest::prelude::*;
use support::masked;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

type Socket = WebSocket<DuplexStream>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Session,
    Serve,
    Bare,
    Halves,
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn echo_by_halves(socket: Socket) -> Result<(), BoxError> {
    let (sender, mut receiver) = socket.split();
    while let Some(message) = receiver.recv().await? {
        sender.send(message).await?;
    }
    Ok(())
}

async fn answer(message: Message) -> Result<Option<Message>, BoxError> {
    Ok(Some(message))
}

/// Everything that is sent in answer to `pieces`, after each of which the client waits.
fn run(way: Way, pieces: &[Vec<u8>]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let (io, mut peer) = tokio::io::duplex(1 << 20);
        let limits = Limits::default().max_message(20_000);
        let config = Config::server().limits(limits).keep_alive(None);
        match way {
            Way::Session => drop(tokio::spawn(Session::new(io, config, echo))),
            Way::Serve => {
                let serve = |socket: Socket| socket.serve(answer);
                drop(tokio::spawn(Session::new(io, config, serve)));
            }
            Way::Halves => drop(tokio::spawn(Session::new(io, config, echo_by_halves))),
            Way::Bare => drop(tokio::spawn(async move {
                let mut socket = WebSocket::new(io, config);
                while let Ok(Some(message)) = socket.recv().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
                let _ = socket.close().await;
                pending::<()>().await;
            })),
        }
        let mut sent = Vec::new();
        for piece in pieces {
            if peer.write_all(piece).await.is_err() {
                break;
            }
            // All that comes of it, since time stands still while anybody has something to do.
            while let Ok(Ok(1..)) =
                timeout(Duration::from_millis(1), peer.read_buf(&mut sent)).await
            {}
        }
        let _ = peer.shutdown().await;
        let _ = timeout(Duration::from_secs(60), peer.read_to_end(&mut sent)).await;
        sent
    })
}

/// A frame, or something that is none.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![
        8 => 0..130usize,
        3 => prop::sample::select(vec![64, 65, 125, 126, 127, 1000, 16_383, 16_384, 16_390]),
        1 => prop::sample::select(vec![19_999, 20_000, 20_001]),
    ];
    let text = "[ -~äöü€😀]{0,60}".prop_map(String::into_bytes);
    prop_oneof![
        12 => len.prop_map(|len| masked(0x82, &(0..len).map(|n| n as u8).collect::<Vec<_>>())),
        12 => text.clone().prop_map(|text| masked(0x81, &text)),
        // Fragments, in and out of place.
        2 => text.clone().prop_map(|text| [masked(0x01, &text), masked(0x80, b"end")].concat()),
        2 => Just([masked(0x02, b"cut "), masked(0x89, b"?"), masked(0x00, b""), masked(0x80, b".")].concat()),
        4 => (0..126usize).prop_map(|len| masked(0x89, &vec![b'p'; len])),
        2 => Just(masked(0x8a, b"unasked")),
        1 => Just(masked(0x81, b"no \xff text")),
        1 => Just(masked(0x88, &[3, 232])),
        1 => Just(masked(0x80, b"of nothing")),
        1 => Just(b"\x82\x05plain".to_vec()),
        1 => Just(masked(0xc2, b"compressed?")),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

/// Of pings that come while much output waits only the newest is answered, and how much waits differs.
fn without_pongs(sent: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = sent;
    while let [first, second, ..] = *rest {
        let (header, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
            len => (2, usize::from(len)),
        };
        let (frame, behind) = rest.split_at(header + len);
        if first != 0x8a {
            kept.extend_from_slice(frame);
        }
        rest = behind;
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_echo_sends_the_same(
        frames in prop::collection::vec(frame(), 1..24),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let wire = frames.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len() + 1)).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| wire[cut[0]..cut[1]].to_vec()).collect();
        let run = |way, pieces: &[Vec<u8>]| {
            let sent = run(way, pieces);
            if wire.len() < 10_000 { sent } else { without_pongs(&sent) }
        };
        let session = run(Way::Session, &pieces);
        for way in [Way::Serve, Way::Halves, Way::Bare] {
            let other = run(way, &pieces);
            let same = other.iter().zip(&session).take_while(|(a, b)| a == b).count();
            prop_assert!(
                other == session,
                "{way:?} differs after {same} bytes: {:?}.. of {} instead of {:?}.. of {}",
                &other[same..other.len().min(same + 40)],
                other.len(),
                &session[same..session.len().min(same + 40)],
                session.len(),
            );
        }
        // However it is cut, too.
        prop_assert!(run(Way::Session, std::slice::from_ref(&wire)) == session, "in one piece");
    }
}
