//! Any messages, sent and received in any way, through a transport that cuts bytes anywhere.

mod support;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use hybi::{
    proto::{Limits, Message, MessageKind},
    socket::{BoxError, Config, Session, WebSocket},
};
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

// ===== the transport =====

/// A pipe that takes and gives a few bytes at a time and has every few calls wait for nothing.
struct Choppy {
    io: DuplexStream,
    /// The most of each call in turn; zero is a call that waits.
    cuts: Vec<usize>,
    /// How many calls there were of each kind: together, one kind could get nothing but zeros.
    calls: [usize; 3],
    vectored: bool,
}

#[derive(Clone, Copy)]
enum Call {
    Read,
    Write,
    Flush,
}

impl Choppy {
    fn cut(&mut self, call: Call, cx: &Context<'_>) -> Poll<usize> {
        let calls = &mut self.calls[call as usize];
        *calls += 1;
        match self.cuts[*calls % self.cuts.len()] {
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            cut => Poll::Ready(cut),
        }
    }
}

impl AsyncRead for Choppy {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Poll::Ready(cut) = self.cut(Call::Read, cx) else { return Poll::Pending };
        let mut piece = vec![0; cut.min(buffer.remaining())];
        let mut read = ReadBuf::new(&mut piece);
        let result = Pin::new(&mut self.io).poll_read(cx, &mut read);
        buffer.put_slice(read.filled());
        result
    }
}

impl AsyncWrite for Choppy {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(cut) = self.cut(Call::Write, cx) else { return Poll::Pending };
        Pin::new(&mut self.io).poll_write(cx, &bytes[..cut.min(bytes.len())])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Across the edge between them.
        let all: Vec<_> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(_) = self.cut(Call::Flush, cx) else { return Poll::Pending };
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

// ===== what is done =====

#[derive(Clone, Copy, Debug)]
enum Drive {
    Bare,
    Session,
    Halves,
}

#[derive(Clone, Copy, Debug)]
enum Send {
    Whole,
    Fed,
    Uncompressed,
    /// In parts of this length.
    Parts(usize),
}

#[derive(Clone, Copy, Debug)]
enum Receive {
    Whole,
    Parts,
    /// The reader is put together, within a limit that does not matter here.
    Collected,
}

/// Sends all of them and closes.
macro_rules! push {
    ($socket:ident, $messages:expr) => {
        async {
            for (message, how) in $messages {
                match how {
                    Send::Whole => $socket.send(message).await?,
                    Send::Fed => $socket.feed(message).await?,
                    #[cfg(feature = "deflate")]
                    Send::Uncompressed => $socket.send_uncompressed(message).await?,
                    #[cfg(not(feature = "deflate"))]
                    Send::Uncompressed => $socket.send(message).await?,
                    Send::Parts(len) => {
                        let kind = message.kind();
                        let mut rest = message.into_bytes();
                        let mut writer = $socket.start_message(kind).await?;
                        while !rest.is_empty() {
                            writer.send_chunk(rest.split_to(len.min(rest.len()))).await?;
                        }
                        writer.finish().await?;
                    }
                }
            }
            $socket.close().await?;
            Ok::<_, BoxError>(())
        }
    };
}

/// Receives to the end, each message in the next of some ways.
macro_rules! pull {
    ($socket:ident, $ways:expr) => {
        async {
            let mut got: Vec<(MessageKind, Vec<u8>)> = Vec::new();
            let ways: &[Receive] = $ways;
            for way in ways.iter().cycle() {
                if let Receive::Whole = way {
                    let Some(message) = $socket.recv().await? else { break };
                    got.push((message.kind(), message.into_bytes().to_vec()));
                    continue;
                }
                let Some(mut reader) = $socket.next_message().await? else { break };
                let kind = reader.kind();
                if let Receive::Collected = way {
                    let message = reader.into_message(1 << 20).await?;
                    assert_eq!(message.kind(), kind);
                    got.push((kind, message.into_bytes().to_vec()));
                    continue;
                }
                let mut bytes = Vec::new();
                while let Some(chunk) = reader.chunk().await? {
                    if kind == MessageKind::Text {
                        std::str::from_utf8(&chunk).expect("whole characters");
                    }
                    bytes.extend_from_slice(&chunk);
                }
                got.push((kind, bytes));
            }
            Ok::<_, BoxError>(got)
        }
    };
}

async fn push(io: Choppy, config: Config, drive: Drive, messages: Vec<(Message, Send)>) {
    match drive {
        Drive::Bare => {
            let mut socket = WebSocket::new(io, config);
            push!(socket, messages).await.unwrap();
        }
        Drive::Session => {
            let session = Session::new(io, config, |mut socket: WebSocket<_>| async move {
                push!(socket, messages).await
            });
            let ended = session.await;
            assert!(ended.failure().is_none(), "{ended:?}");
        }
        Drive::Halves => {
            let (sender, receiver) = WebSocket::new(io, config).split();
            push!(sender, messages).await.unwrap();
            drop(receiver);
        }
    }
}

async fn pull(
    io: Choppy,
    config: Config,
    drive: Drive,
    ways: Vec<Receive>,
) -> Vec<(MessageKind, Vec<u8>)> {
    match drive {
        Drive::Bare => {
            let mut socket = WebSocket::new(io, config);
            pull!(socket, &ways).await.unwrap()
        }
        Drive::Session => {
            let (give, got) = tokio::sync::oneshot::channel();
            let session = Session::new(io, config, |mut socket: WebSocket<_>| async move {
                let _ = give.send(pull!(socket, &ways).await?);
                Ok(())
            });
            let ended = session.await;
            assert!(ended.failure().is_none(), "{ended:?}");
            got.await.expect("the handler returned")
        }
        Drive::Halves => {
            let (sender, mut receiver) = WebSocket::new(io, config).split();
            let got = pull!(receiver, &ways).await.unwrap();
            drop(sender);
            got
        }
    }
}

// ===== everything =====

fn message() -> impl Strategy<Value = Message> {
    let sizes = prop_oneof![6 => 0usize..200, 2 => 1000usize..5000, 1 => 15_000usize..100_000];
    prop_oneof![
        4 => "\\PC{0,100}".prop_map(Message::from),
        1 => (0usize..30_000).prop_map(|n| Message::from("a€é".repeat(n / 6))),
        4 => (sizes, any::<u8>()).prop_map(|(len, seed)| {
            Message::from((0..len).map(|i| seed.wrapping_add((i * i / 7) as u8)).collect::<Vec<_>>())
        }),
    ]
}

fn way_to_send() -> impl Strategy<Value = Send> {
    prop_oneof![
        2 => Just(Send::Whole),
        1 => Just(Send::Fed),
        1 => Just(Send::Uncompressed),
        2 => prop_oneof![1usize..50, 1000usize..50_000].prop_map(Send::Parts),
    ]
}

fn cuts() -> impl Strategy<Value = (Vec<usize>, bool)> {
    let cut = prop_oneof![1 => Just(0usize), 2 => 1usize..20, 3 => 20usize..70_000];
    // At least one that moves.
    let cuts = (prop::collection::vec(cut, 0..8), 1usize..5000).prop_map(|(mut cuts, last)| {
        cuts.push(last);
        cuts
    });
    (cuts, any::<bool>())
}

/// What both ends agreed on about compression.
#[derive(Clone, Copy, Debug)]
struct Compression {
    bits: u8,
    takeover: bool,
    threshold: usize,
}

fn compression() -> impl Strategy<Value = Option<Compression>> {
    let some = (9u8..=15, any::<bool>(), prop_oneof![Just(0usize), Just(1024)]);
    prop::option::of(some.prop_map(|(bits, takeover, threshold)| Compression {
        bits,
        takeover,
        threshold,
    }))
}

#[cfg(feature = "deflate")]
fn with_compression(config: Config, compression: Option<Compression>) -> Config {
    use hybi::proto::Deflate;
    let agreed = compression.map(|Compression { bits, takeover, threshold }| {
        let deflate = Deflate::new()
            .server_context_takeover(takeover)
            .client_context_takeover(takeover)
            .server_max_window_bits(bits)
            .client_max_window_bits(bits)
            .threshold(threshold);
        deflate.accept(&[deflate.offer()]).expect("our own offer")
    });
    config.deflate(agreed)
}

#[cfg(not(feature = "deflate"))]
fn with_compression(config: Config, compression: Option<Compression>) -> Config {
    // Without the feature it is nothing.
    let _ =
        compression.map(|Compression { bits, takeover, threshold }| (bits, takeover, threshold));
    config
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// F-07, F-10, G-01, R-15: either role sends, driven in any way, whole or in parts,
    /// compressed or not; the other one, driven in any way, has the same messages.
    #[test]
    fn every_message_arrives_however_it_is_sent_and_received(
        server_sends in any::<bool>(),
        drives in prop::sample::select(vec![
            (Drive::Bare, Drive::Bare),
            (Drive::Bare, Drive::Session),
            (Drive::Session, Drive::Bare),
            (Drive::Session, Drive::Halves),
            (Drive::Halves, Drive::Session),
            (Drive::Halves, Drive::Halves),
        ]),
        messages in prop::collection::vec((message(), way_to_send()), 0..12),
        ways in prop::collection::vec(
            prop::sample::select(vec![Receive::Whole, Receive::Parts, Receive::Collected]),
            1..6,
        ),
        compression in compression(),
        max_send_frame in prop_oneof![100usize..5000, Just(usize::MAX)],
        mark in prop_oneof![Just(0usize), 100usize..100_000],
        capacity in prop_oneof![1usize..100, 1000usize..100_000],
        (cuts_a, vectored) in cuts(),
        (cuts_b, _) in cuts(),
    ) {
        let limits = Limits::default()
            .max_send_frame(max_send_frame)
            .max_fragments(1 << 20)
            .output_mark(mark)
            .read_ahead(mark);
        let [sends, receives] = if server_sends {
            [Config::server(), Config::client()]
        } else {
            [Config::client(), Config::server()]
        };
        let [sends, receives] = [sends, receives]
            .map(|config| with_compression(config.limits(limits.clone()), compression));
        let expected: Vec<_> = messages
            .iter()
            .map(|(message, _)| (message.kind(), message.as_bytes().to_vec()))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let got = runtime.block_on(async {
            let (a, b) = tokio::io::duplex(capacity);
            let a = Choppy { io: a, cuts: cuts_a, calls: [0; 3], vectored };
            let b = Choppy { io: b, cuts: cuts_b, calls: [0; 3], vectored: false };
            // A receiver that fails says why before the sender does.
            let push = tokio::spawn(push(a, sends, drives.0, messages));
            let got = pull(b, receives, drives.1, ways).await;
            push.await.unwrap();
            got
        });
        prop_assert!(got == expected, "{} of {} messages", got.len(), expected.len());
    }
}
