//! The same client against every way to drive an echo.

use std::time::Duration;

use hybi::{
    proto::{Limits, Message},
    socket::{BoxError, Config, Session, WebSocket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    time::timeout,
};

use super::input::Input;

type Socket = WebSocket<DuplexStream>;

/// The longest message that the servers take.
const LIMIT: usize = 20_000;

/// So many steps of a client are looked at, because each takes every server a moment.
const STEPS: usize = 40;

/// How a server drives its socket.
#[derive(Clone, Copy, Debug)]
enum Way {
    Session,
    Serve,
    Halves,
    Parts,
    Bare,
}

/// An echo sends the same bytes whatever drives it, and does not panic, hang or send a frame that is malformed.
pub fn socket(data: &[u8]) {
    let pieces = pieces(data);
    let all: usize = pieces.iter().map(Vec::len).sum();
    let run = |way, pieces: &[Vec<u8>]| {
        let sent = run(way, pieces);
        let frames = frames(&sent);
        // Of pings that come while much output waits only the newest is answered, and how much waits differs.
        let keeps = |frame: &&[u8]| all < 10_000 || frame[0] != 0x8a;
        frames.into_iter().filter(keeps).map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    let session = run(Way::Session, &pieces);
    for way in [Way::Serve, Way::Halves, Way::Bare] {
        assert!(run(way, &pieces) == session, "{way:?} differs");
    }
    assert!(run(Way::Session, &[pieces.concat()]) == session, "in one piece it differs");
    // What is sent in parts has other frames.
    run(Way::Parts, &pieces);
}

/// What the client sends, and where it waits.
fn pieces(data: &[u8]) -> Vec<Vec<u8>> {
    let mut input = Input::new(data);
    let mut pieces = vec![Vec::new()];
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let step = input.byte();
        let piece = pieces.last_mut().expect("never empty");
        match step & 0x0f {
            // Opcode, FIN and reserved bits as they come, and a length that fits.
            0 => put(piece, input.byte(), &vec![b'x'; input.len()], true),
            1 => put(piece, 0x82, &vec![step; input.len()], true),
            2 => put(piece, 0x81, &vec![b'a' + (step >> 4); input.len()], true),
            3 => put(
                piece,
                0x81,
                "\u{e4}\u{20ac}\u{1f600}".repeat(usize::from(step >> 4)).as_bytes(),
                true,
            ),
            4 => put(piece, 0x01, &[b'b'; 3], true),
            5 => put(piece, 0x02, &vec![3; input.len()], true),
            6 => put(piece, 0x00, &vec![b'c'; input.len()], true),
            7 => put(piece, 0x80, &vec![b'd'; input.len()], true),
            8 => put(piece, 0x89, &vec![b'p'; usize::from(input.byte() & 0x7f)], true),
            9 => put(piece, 0x8a, b"unasked", true),
            10 => put(piece, 0x88, &[&input.u16().to_be_bytes(), &b"bye"[..]].concat(), true),
            11 => put(piece, 0x82, b"bare", false),
            12 => piece.push(input.byte()),
            13 => put(piece, 0x82, &vec![1; LIMIT - 1 + usize::from(step >> 6)], true),
            14 => {
                // A frame that is cut within.
                let mut frame = Vec::new();
                put(&mut frame, 0x82, &vec![9; input.len()], true);
                let rest = frame.split_off(usize::from(input.byte()).min(frame.len()));
                piece.extend(frame);
                pieces.push(rest);
            }
            _ => pieces.push(Vec::new()),
        }
        if step & 0x80 != 0 {
            pieces.push(Vec::new());
        }
    }
    pieces
}

/// Appends a frame.
fn put(out: &mut Vec<u8>, first: u8, payload: &[u8], masked: bool) {
    const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mask = if masked { 0x80 } else { 0 };
    out.push(first);
    match payload.len() {
        len @ 0..126 => out.push(mask | len as u8),
        len => {
            out.push(mask | 126);
            out.extend(u16::try_from(len).expect("no longer frame is made").to_be_bytes());
        }
    }
    if masked {
        out.extend(KEY);
    }
    let keys = KEY.iter().cycle();
    out.extend(payload.iter().zip(keys).map(|(byte, key)| if masked { byte ^ key } else { *byte }));
}

/// The frames of a server, which are whole and in their shortest form.
fn frames(mut sent: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while !sent.is_empty() {
        let [_, second, ..] = *sent else { panic!("half a header") };
        let (header, len) = match second {
            0..126 => (2, usize::from(second)),
            126 => (4, usize::from(u16::from_be_bytes([sent[2], sent[3]]))),
            _ => panic!("masked, or longer than anything that was sent"),
        };
        assert!(header == 2 || len > 125, "a longer header than it takes");
        assert!(matches!(sent[0], 0x81 | 0x82 | 0x01 | 0x02 | 0x00 | 0x80 | 0x88 | 0x8a));
        let (frame, rest) = sent.split_at(header + len);
        frames.push(frame);
        sent = rest;
    }
    frames
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

async fn echo_in_parts(socket: Socket) -> Result<(), BoxError> {
    let (sender, mut receiver) = socket.split();
    while let Some(mut message) = receiver.next_message().await? {
        let mut answer = sender.start_message(message.kind()).await?;
        while let Some(chunk) = message.chunk().await? {
            answer.send_chunk(chunk).await?;
        }
        answer.finish().await?;
    }
    Ok(())
}

async fn answer(message: Message) -> Result<Option<Message>, BoxError> {
    Ok(Some(message))
}

async fn drive(way: Way, io: DuplexStream, config: Config) {
    match way {
        Way::Session => drop(Session::new(io, config, echo).await),
        Way::Serve => drop(Session::new(io, config, |socket: Socket| socket.serve(answer)).await),
        Way::Halves => drop(Session::new(io, config, echo_by_halves).await),
        Way::Parts => drop(Session::new(io, config, echo_in_parts).await),
        Way::Bare => {
            let mut socket = WebSocket::new(io, config);
            while let Ok(Some(message)) = socket.recv().await {
                if socket.send(message).await.is_err() {
                    break;
                }
            }
            let _ = socket.close().await;
        }
    }
}

/// Everything that is sent in answer to `pieces`, after each of which the client waits.
fn run(way: Way, pieces: &[Vec<u8>]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (io, mut peer) = tokio::io::duplex(1 << 20);
        let config = Config::server().limits(Limits::default().max_message(LIMIT)).keep_alive(None);
        let server = tokio::spawn(drive(way, io, config));
        let mut sent = Vec::new();
        for piece in pieces {
            if peer.write_all(piece).await.is_err() {
                break;
            }
            // All that comes of it: time stands still while anybody has something to do.
            while let Ok(Ok(1..)) =
                timeout(Duration::from_millis(1), peer.read_buf(&mut sent)).await
            {}
        }
        let _ = peer.shutdown().await;
        let _ = timeout(Duration::from_secs(60), peer.read_to_end(&mut sent)).await;
        drop(peer);
        let ended = timeout(Duration::from_secs(600), server).await;
        ended.expect("the server ends").expect("it does not panic");
        sent
    })
}
