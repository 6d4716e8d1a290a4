//! A peer that notes when frames arrive, and answers pings if it is told to.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use hybi::proto::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, WriteHalf},
    sync::mpsc,
    time::{Instant, sleep},
};

use crate::user::frame_to;

/// A frame of the socket: when it came, its first byte and its payload.
pub(crate) type Seen = (Instant, u8, Vec<u8>);

/// How the peer answers pings.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pong {
    Never,
    AtOnce,
    After(fn(usize) -> Duration),
    /// With a payload that was not asked for.
    Other,
}

pub(crate) struct Watcher {
    seen: mpsc::UnboundedReceiver<Seen>,
    send: mpsc::UnboundedSender<Vec<u8>>,
}

impl Watcher {
    /// Watches a socket of `role` at the other end of `io`.
    pub(crate) fn new(io: DuplexStream, role: Role, pong: Pong) -> Self {
        let (saw, seen) = mpsc::unbounded_channel();
        let (send, to_send) = mpsc::unbounded_channel();
        let (mut read, write) = tokio::io::split(io);
        tokio::spawn(write_all(write, to_send));
        let answers = send.clone();
        tokio::spawn(async move {
            let mut pings = 0;
            while let Ok((first, payload)) = read_frame(&mut read).await {
                if first == 0x89 {
                    let delay = match pong {
                        Pong::After(delay) => delay(pings),
                        _ => Duration::ZERO,
                    };
                    pings += 1;
                    let answer = match pong {
                        Pong::Never => None,
                        Pong::Other => Some(frame_to(role, 0x8a, b"never asked")),
                        _ => Some(frame_to(role, 0x8a, &payload)),
                    };
                    let answers = answers.clone();
                    tokio::spawn(async move {
                        sleep(delay).await;
                        let _ = answer.map(|answer| answers.send(answer));
                    });
                }
                if saw.send((Instant::now(), first, payload)).is_err() {
                    return;
                }
            }
        });
        Self { seen, send }
    }

    /// The next frame. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        self.seen.recv().await
    }

    /// When the next ping comes.
    pub(crate) async fn ping(&mut self) -> Instant {
        let (at, first, payload) = self.next().await.expect("a ping and not the end");
        assert!(first == 0x89 && payload.len() <= 125, "{first:x} {payload:?}");
        at
    }

    /// The frames until the end that are no pings.
    pub(crate) async fn rest(&mut self) -> Vec<Seen> {
        let mut rest = Vec::new();
        while let Some(seen) = self.next().await {
            if seen.1 != 0x89 {
                rest.push(seen);
            }
        }
        rest
    }

    pub(crate) fn send(&self, frame: Vec<u8>) {
        let _ = self.send.send(frame);
    }
}

async fn write_all(
    mut write: WriteHalf<DuplexStream>,
    mut to_send: mpsc::UnboundedReceiver<Vec<u8>>,
) {
    while let Some(bytes) = to_send.recv().await {
        if write.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

async fn read_frame(
    io: &mut (impl tokio::io::AsyncRead + Unpin),
) -> std::io::Result<(u8, Vec<u8>)> {
    let first = io.read_u8().await?;
    let second = io.read_u8().await?;
    let len = match second & 0x7f {
        126 => usize::from(io.read_u16().await?),
        127 => usize::try_from(io.read_u64().await?).expect("fits"),
        len => usize::from(len),
    };
    let mut key = [0; 4];
    if second & 0x80 != 0 {
        io.read_exact(&mut key).await?;
    }
    let mut payload = vec![0; len];
    io.read_exact(&mut payload).await?;
    payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    Ok((first, payload))
}
