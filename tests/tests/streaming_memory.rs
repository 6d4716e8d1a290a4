//! What a message costs that is longer than any buffer: peak live heap by a counting allocator, without the
//! one read buffer and one write buffer that each thread has for all its sockets, which exist before it
//! is measured.
//!
//! `cargo test --release -p tests --test streaming_memory` sends and receives 1 GiB; without `--release` it is
//! less, because that takes long.

use std::time::Instant;

use hybi::{
    proto::{Bytes, Limits, MessageKind},
    socket::{BoxError, Config, Session, WebSocket},
};
use tests::{
    heap::{Counting, growth},
    wire::header,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The promise, for each socket.
const BOUND: usize = 128 * 1024;

const SIZE: usize = if cfg!(debug_assertions) { 16 << 20 } else { 1 << 30 };

const CHUNK: usize = 64 * 1024;

/// What a pipe holds in each direction.
const PIPE: usize = 8 * 1024;

static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// What the peer does, frame by frame.
#[derive(Clone, Copy)]
enum Frames {
    /// All in one.
    One,
    /// Of this many bytes.
    Of(usize),
}

/// How the socket sends.
#[derive(Clone, Copy)]
enum By {
    Write,
    Chunk,
}

/// One at a time: the counters are the whole process's.
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        // Makes the thread's buffers exist.
        for server in [true, false] {
            both_ways("", server, tcp().await, 1 << 20, Frames::One, By::Write).await;
        }
        for server in [true, false] {
            let io = tcp().await;
            both_ways("TCP", server, io, SIZE, Frames::One, By::Write).await;
            let io = tokio::io::duplex(PIPE);
            both_ways("a pipe", server, io, SIZE, Frames::Of(60_000), By::Chunk).await;
            // What costs more for each byte is seen with fewer of them.
            let io = tokio::io::duplex(PIPE);
            both_ways("a pipe, tiny frames", server, io, SIZE / 64, Frames::Of(10), By::Write)
                .await;
            one_way_after_the_other(server, tcp().await).await;
        }
        in_a_handler(tcp().await).await;
    });
    println!("streaming_memory: 9 passed, 0 failed");
}

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, client)
}

fn config(server: bool) -> Config {
    let config = if server { Config::server() } else { Config::client() };
    config.limits(Limits::default().max_frame(SIZE.max(1 << 20)))
}

fn check(what: &str, server: bool, size: usize, peak: usize, begun: Instant) {
    if what.is_empty() {
        return;
    }
    let role = if server { "server" } else { "client" };
    let mib = size >> 20;
    println!(
        "streaming_memory: a {role} over {what}: {mib} MiB, {peak} bytes, {} ms",
        begun.elapsed().as_millis()
    );
    assert!(peak <= BOUND, "{peak} bytes");
}

/// a message in each direction at the same time, by the halves of a socket.
async fn both_ways<T>(
    what: &str,
    server: bool,
    (io, peer): (T, T),
    size: usize,
    frames: Frames,
    by: By,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (peer_reads, peer_writes) = tokio::io::split(peer);
    let mut buffer = vec![0; CHUNK];
    let mut batch = Vec::with_capacity(CHUNK);
    let begun = Instant::now();
    // A pipe's own buffers, which grow to twice what is in them, stand for the kernel's.
    let pipe = if what.contains("pipe") { 4 * PIPE } else { 0 };
    let (peak, ()) = growth(async {
        let (sender, mut receiver) = WebSocket::new(io, config(server)).split();
        let reading = async {
            let mut message = receiver.next_message().await.unwrap().unwrap();
            let mut len = 0;
            while let Some(chunk) = message.chunk().await.unwrap() {
                len += chunk.len();
            }
            assert_eq!(len, size);
        };
        let writing = async {
            let mut message = sender.start_message(MessageKind::Binary).await.unwrap();
            let mut left = size;
            while left > 0 {
                let n = left.min(20_000);
                match by {
                    By::Write => message.write_all(&ZEROS[..n]).await.unwrap(),
                    By::Chunk => message.send_chunk(Bytes::from_static(&ZEROS[..n])).await.unwrap(),
                }
                left -= n;
            }
            message.finish().await.unwrap();
        };
        tokio::join!(
            reading,
            writing,
            feed(peer_writes, server, size, frames, &mut batch),
            drain(peer_reads, server, size, &mut buffer)
        );
    })
    .await;
    check(what, server, size, peak.saturating_sub(pipe), begun);
}

/// the same by a socket that is not split, and moves only while it is polled.
async fn one_way_after_the_other(server: bool, (io, peer): (TcpStream, TcpStream)) {
    let size = SIZE / 8;
    let (peer_reads, peer_writes) = tokio::io::split(peer);
    let mut buffer = vec![0; CHUNK];
    let mut batch = Vec::with_capacity(CHUNK);
    let begun = Instant::now();
    let (peak, ()) = growth(async {
        let mut socket = WebSocket::new(io, config(server));
        let user = async {
            let mut message = socket.next_message().await.unwrap().unwrap();
            let read = tokio::io::copy(&mut message, &mut tokio::io::sink()).await.unwrap();
            assert_eq!(read, size as u64);
            drop(message);
            let message = socket.start_message(MessageKind::Binary).await.unwrap();
            let body = http_body_util::StreamBody::new(futures_util::stream::iter(
                (0..size / CHUNK)
                    .map(|_| Ok::<_, BoxError>(http_body::Frame::data(Bytes::from_static(&ZEROS)))),
            ));
            message.send_body(body).await.unwrap();
        };
        tokio::join!(
            user,
            feed(peer_writes, server, size, Frames::One, &mut batch),
            drain(peer_reads, server, size, &mut buffer)
        );
    })
    .await;
    check("TCP, not split", server, size, peak, begun);
}

/// an echo of what is in no buffer as a whole, by the halves of a handler's socket.
async fn in_a_handler((io, peer): (TcpStream, TcpStream)) {
    let size = SIZE / 8;
    let (peer_reads, peer_writes) = tokio::io::split(peer);
    let mut buffer = vec![0; CHUNK];
    let mut batch = Vec::with_capacity(CHUNK);
    let begun = Instant::now();
    let (peak, ()) = growth(async {
        let session = Session::new(io, config(true), |socket: WebSocket<_>| async move {
            let (sender, mut receiver) = socket.split();
            let mut message = receiver.next_message().await?.expect("a message");
            let mut answer = sender.start_message(message.kind()).await?;
            while let Some(chunk) = message.chunk().await? {
                answer.send_chunk(chunk).await?;
            }
            answer.finish().await?;
            sender.flush().await?;
            Ok(())
        });
        let peer = async {
            tokio::join!(
                feed(peer_writes, true, size, Frames::Of(60_000), &mut batch),
                drain(peer_reads, true, size, &mut buffer)
            );
        };
        tokio::select! {
            _ = session => panic!("waits for the peer's Close"),
            () = peer => {}
        }
    })
    .await;
    check("TCP, an echo in a handler", true, size, peak, begun);
}

/// Sends one message. A key of zeros leaves the payload as it is.
async fn feed(
    mut to: impl AsyncWrite + Unpin,
    masked: bool,
    size: usize,
    frames: Frames,
    batch: &mut Vec<u8>,
) {
    let frame = match frames {
        Frames::One => size,
        Frames::Of(frame) => frame,
    };
    let mut left = size;
    while left > 0 {
        let n = left.min(frame);
        let first = if left == size { 0x02 } else { 0x00 } | if left == n { 0x80 } else { 0 };
        batch.extend(header(first, n, masked));
        batch.extend(if masked { &ZEROS[..4] } else { &[] });
        left -= n;
        if n < 100 {
            batch.extend_from_slice(&ZEROS[..n]);
        }
        if n >= 100 || left == 0 || batch.len() + 100 > CHUNK {
            // Many small frames in one write.
            to.write_all(batch).await.unwrap();
            batch.clear();
        }
        if n >= 100 {
            let mut rest = n;
            while rest > 0 {
                rest -= to.write(&ZEROS[..rest.min(CHUNK)]).await.unwrap();
            }
        }
    }
}

/// Reads one message of zeros, masked by clients, and looks at nothing but the headers.
async fn drain(mut from: impl AsyncRead + Unpin, server: bool, size: usize, buffer: &mut [u8]) {
    let mut len = 0;
    loop {
        let mut head = [0; 2];
        from.read_exact(&mut head).await.unwrap();
        let mut rest = match head[1] & 0x7f {
            126 => usize::from(from.read_u16().await.unwrap()),
            127 => from.read_u64().await.unwrap() as usize,
            short => usize::from(short),
        };
        if !server {
            from.read_u32().await.unwrap();
        }
        len += rest;
        while rest > 0 {
            let n = rest.min(buffer.len());
            rest -= from.read(&mut buffer[..n]).await.unwrap();
        }
        if head[0] & 0x80 != 0 {
            return assert_eq!(len, size);
        }
    }
}
