//! A peer that is no WebSocket implementation: it writes and reads frames byte by byte.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{future::Future, sync::mpsc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// A client at the other end of a pipe.
pub(crate) struct Peer {
    pub(crate) io: DuplexStream,
}

impl Peer {
    /// The server's transport, with room for `capacity` bytes each way, and its peer.
    pub(crate) fn pair(capacity: usize) -> (DuplexStream, Self) {
        let (server, io) = tokio::io::duplex(capacity);
        (server, Self { io })
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the server reads");
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_raw(&masked(0x81, text.as_bytes())).await;
    }

    pub(crate) async fn send_binary(&mut self, bytes: &[u8]) {
        self.send_raw(&masked(0x82, bytes)).await;
    }

    pub(crate) async fn send_close(&mut self, code: u16, reason: &str) {
        self.send_raw(&masked(0x88, &close_body(code, reason))).await;
    }

    /// The next frame's first byte and payload. It must not be masked.
    pub(crate) async fn recv(&mut self) -> (u8, Vec<u8>) {
        let first = self.io.read_u8().await.expect("a frame");
        let len = match self.io.read_u8().await.expect("a length") {
            126 => usize::from(self.io.read_u16().await.expect("a length")),
            127 => usize::try_from(self.io.read_u64().await.expect("a length")).expect("fits"),
            len => {
                assert!(len < 126, "the server masked a frame");
                usize::from(len)
            }
        };
        let mut payload = vec![0; len];
        self.io.read_exact(&mut payload).await.expect("a payload");
        (first, payload)
    }

    /// The next frame's first byte and payload, masked or not.
    pub(crate) async fn recv_any(&mut self) -> (u8, Vec<u8>) {
        let first = self.io.read_u8().await.expect("a frame");
        let second = self.io.read_u8().await.expect("a length");
        let len = match second & 0x7f {
            126 => usize::from(self.io.read_u16().await.expect("a length")),
            127 => usize::try_from(self.io.read_u64().await.expect("a length")).expect("fits"),
            len => usize::from(len),
        };
        let mut key = [0; 4];
        if second & 0x80 != 0 {
            self.io.read_exact(&mut key).await.expect("a key");
        }
        let mut payload = vec![0; len];
        self.io.read_exact(&mut payload).await.expect("a payload");
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        (first, payload)
    }

    /// What one read gives.
    pub(crate) async fn read_once(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let n = self.io.read(&mut bytes).await.expect("no error");
        bytes.truncate(n);
        bytes
    }

    pub(crate) async fn at_eof(&mut self) -> bool {
        self.io.read(&mut [0]).await.expect("no error") == 0
    }
}

/// A frame as a client sends it. `first` is the byte with FIN, RSV and opcode.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len(), true);
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A frame as a server sends it.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), false);
    frame.extend(payload);
    frame
}

/// A header up to the key.
pub(crate) fn header(first: u8, len: usize, mask: bool) -> Vec<u8> {
    let bit = if mask { 0x80 } else { 0 };
    match len {
        0..126 => vec![first, bit | len as u8],
        126..65536 => {
            let [a, b] = (len as u16).to_be_bytes();
            vec![first, bit | 126, a, b]
        }
        _ => {
            let mut header = vec![first, bit | 127];
            header.extend((len as u64).to_be_bytes());
            header
        }
    }
}

pub(crate) fn close_body(code: u16, reason: &str) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(reason.as_bytes());
    body
}

/// Runs `test` on a thread of its own and fails if it takes ten seconds: a loop inside one poll
/// cannot be stopped by a timeout of the runtime.
pub(crate) fn within_ten_seconds<F>(test: impl FnOnce() -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        let _ = done.send(());
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("neither hangs nor panics");
}

/// Lets all other tasks run until they wait.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Of messages `n` of `n` bytes `n`, sent in this order and some of them given up, `frames` has at least one
/// and each at most once, whole and in its place.
pub(crate) fn assert_each_sent_whole_or_not(mut frames: &[u8]) {
    let mut last = None;
    while let [first, len, rest @ ..] = frames {
        assert_eq!(*first, 0x82);
        let (payload, rest) = rest.split_at(usize::from(*len));
        assert!(payload.iter().all(|byte| byte == len), "a frame of one message");
        assert!(last < Some(*len), "in order, none twice");
        last = Some(*len);
        frames = rest;
    }
    assert!(frames.is_empty());
    assert!(last.is_some_and(|last| last > 0));
}
