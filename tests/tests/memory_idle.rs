//! What is left of a socket's past, and what a socket in another's handler costs: live heap by a counting
//! allocator.

use std::future::pending;

use hybi::{
    proto::Deflate,
    socket::{BoxError, Config, Session, WebSocket},
};
use tests::{
    heap::{Counting, growth, live},
    wire::masked,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

type Socket = WebSocket<DuplexStream>;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One at a time: the counters are the whole process's.
fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for way in [Way::Handler, Way::Halves, Way::OwnTask, Way::Deflate] {
            // What the thread keeps for all its sockets is there afterwards.
            let _ = left_of_messages_of_the_past(way).await;
            let left = left_of_messages_of_the_past(way).await;
            assert!(left <= 0, "{way:?}: {left} bytes are left");
        }
        for split in [false, true] {
            a_proxy_allocates_no_buffer_for_a_message(split).await;
        }
    });
    println!("memory_idle: 2 passed, 0 failed");
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Handler,
    /// The handler's halves, in its turn.
    Halves,
    /// The halves of a socket that has no handler.
    OwnTask,
    /// Compressed, without context takeover.
    Deflate,
}

async fn echo_halves(socket: Socket) -> Result<(), BoxError> {
    let (sender, mut receiver) = socket.split();
    while let Some(message) = receiver.recv().await? {
        sender.send(message).await?;
    }
    Ok(())
}

fn spawn(way: Way, io: DuplexStream) {
    match way {
        Way::Handler => drop(tokio::spawn(Session::new(io, Config::server(), echo))),
        Way::Halves => drop(tokio::spawn(Session::new(io, Config::server(), echo_halves))),
        Way::OwnTask => drop(tokio::spawn(echo_halves(WebSocket::new(io, Config::server())))),
        Way::Deflate => {
            let deflate =
                Deflate::new().server_context_takeover(false).client_context_takeover(false);
            let agreed = deflate.accept(&[deflate.offer()]).expect("our own offer");
            let config = Config::server().deflate(Some(agreed));
            drop(tokio::spawn(Session::new(io, config, echo)));
        }
    }
}

/// Reads a whole frame and forgets it.
async fn skip_frame(peer: &mut DuplexStream) {
    let mut header = [0; 2];
    peer.read_exact(&mut header).await.unwrap();
    let mut left = match header[1] {
        126 => u64::from(peer.read_u16().await.unwrap()),
        127 => peer.read_u64().await.unwrap(),
        len => len.into(),
    };
    let mut bytes = [0; 512];
    while left > 0 {
        let n = usize::try_from(left.min(512)).unwrap();
        peer.read_exact(&mut bytes[..n]).await.unwrap();
        left -= n as u64;
    }
}

/// A pipe that has all the memory that it will ever have.
async fn pipe() -> (DuplexStream, DuplexStream) {
    let (mut a, mut b) = tokio::io::duplex(1 << 10);
    for _ in 0..2 {
        // As full as it gets, and read in pieces of every length.
        a.write_all(&[0; 1024]).await.unwrap();
        for n in 1..1000 {
            b.read_exact(&mut vec![0; n]).await.unwrap();
            a.write_all(&vec![0; n]).await.unwrap();
        }
        b.read_exact(&mut [0; 1024]).await.unwrap();
        std::mem::swap(&mut a, &mut b);
    }
    (a, b)
}

/// G-08: of a message that was cut across reads, and of long ones in both directions.
async fn left_of_messages_of_the_past(way: Way) -> isize {
    let (io, mut peer) = pipe().await;
    spawn(way, io);
    let small = masked(0x82, &[7; 500]);
    let long = masked(0x82, &vec![7; 1 << 20]);
    // The pipe has its buffers, and the thread those that it lends.
    for _ in 0..3 {
        peer.write_all(&small).await.unwrap();
        skip_frame(&mut peer).await;
        settle().await;
    }
    let before = live();
    for _ in 0..3 {
        for cut in [1, 3, 7, 100, 499] {
            peer.write_all(&small[..cut]).await.unwrap();
            settle().await;
            peer.write_all(&small[cut..]).await.unwrap();
            skip_frame(&mut peer).await;
        }
        let (mut read, mut write) = tokio::io::split(&mut peer);
        let write = write.write_all(&long);
        let read = async {
            let mut first = [0; 1];
            read.read_exact(&mut first).await.unwrap();
            first[0]
        };
        let (written, first) = tokio::join!(write, read);
        written.unwrap();
        assert!(first == 0x82 || first == 0xc2);
        let len = peer.read_u8().await.unwrap();
        let mut left = match len {
            126 => u64::from(peer.read_u16().await.unwrap()),
            127 => peer.read_u64().await.unwrap(),
            len => len.into(),
        };
        let mut bytes = [0; 512];
        while left > 0 {
            let n = usize::try_from(left.min(512)).unwrap();
            peer.read_exact(&mut bytes[..n]).await.unwrap();
            left -= n as u64;
        }
        settle().await;
    }
    let left = live().cast_signed() - before.cast_signed();
    drop(peer);
    settle().await;
    left
}

/// A client in a handler, whole and in halves, reads into another buffer of the thread than the handler's
/// session.
async fn a_proxy_allocates_no_buffer_for_a_message(split: bool) {
    let (front, mut peer) = tokio::io::duplex(1 << 12);
    let (back, upstream) = tokio::io::duplex(1 << 12);
    tokio::spawn(Session::new(upstream, Config::server(), echo));
    tokio::spawn(Session::new(front, Config::server(), move |mut front: Socket| async move {
        let mut back = WebSocket::new(back, Config::client());
        if !split {
            loop {
                tokio::select! {
                    message = front.recv() => match message? {
                        Some(message) => back.send(message).await?,
                        None => return Ok(()),
                    },
                    message = back.recv() => match message? {
                        Some(message) => front.send(message).await?,
                        None => return Ok(()),
                    },
                }
            }
        }
        let (sender, mut receiver) = back.split();
        loop {
            tokio::select! {
                message = front.recv() => match message? {
                    Some(message) => sender.send(message).await?,
                    None => return Ok::<(), BoxError>(()),
                },
                message = receiver.recv() => match message? {
                    Some(message) => front.send(message).await?,
                    None => return pending().await,
                },
            }
        }
    }));
    let frame = masked(0x81, b"hello");
    for _ in 0..10 {
        peer.write_all(&frame).await.unwrap();
        skip_frame(&mut peer).await;
    }
    for _ in 0..100 {
        let (grown, ()) = growth(async {
            peer.write_all(&frame).await.unwrap();
            skip_frame(&mut peer).await;
        })
        .await;
        assert!(grown < 10_000, "split: {split}: {grown} bytes for a message");
    }
    drop(peer);
    settle().await;
}
