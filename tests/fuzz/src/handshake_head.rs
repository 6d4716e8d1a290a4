//! The heads of requests and answers, as they come from a byte stream.

use std::{
    io,
    pin::Pin,
    str,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use hybi::{
    handshake::{ClientRequest, accept_value},
    standalone::{Acceptor, connect_over},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::{Builder, Runtime},
};

use super::input::Input;

/// Any bytes as a client's request, or as a server's answer, by the first one: it is taken or refused
/// alike however it is cut. A request that is refused gets a whole answer, and one that is accepted
/// was a handshake.
pub fn handshake_head(data: &[u8]) {
    let mut input = Input::new(data);
    let (answer, step) = (input.bit(), usize::from(input.byte()).max(2));
    let bytes = input.rest();
    let run = if answer { read_answer } else { read_request };
    let whole = run(bytes, bytes.len());
    for step in [1, step] {
        assert_eq!(run(bytes, step), whole);
    }
}

/// In an answer: where the right `Sec-WebSocket-Accept` goes, which cannot be known before.
const ACCEPT: u8 = 0x01;

/// A stream that gives some bytes, so many at a time, and then ends.
struct Script {
    bytes: Vec<u8>,
    step: usize,
    written: Arc<Mutex<Vec<u8>>>,
}

impl Script {
    fn new(bytes: &[u8], step: usize) -> (Self, Arc<Mutex<Vec<u8>>>) {
        let written = Arc::default();
        (Self { bytes: bytes.to_vec(), step, written: Arc::clone(&written) }, written)
    }

    /// Answers the key that the client has sent.
    fn fill_in_accept(&mut self) {
        let request = self.written.lock().expect("no panic").clone();
        let key = request
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(b"sec-websocket-key: "))
            .map(<[u8]>::trim_ascii_end);
        let Some(key) = key else { return };
        let mut filled = Vec::new();
        for &byte in &self.bytes {
            if byte == ACCEPT {
                filled.extend(accept_value(key));
            } else {
                filled.push(byte);
            }
        }
        self.bytes = filled;
    }
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.contains(&ACCEPT) {
            self.fill_in_accept();
        }
        let n = self.step.max(1).min(self.bytes.len()).min(buffer.remaining());
        let rest = self.bytes.split_off(n);
        buffer.put_slice(&self.bytes);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written.lock().expect("no panic").extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// One whose clock only moves when nothing else does.
fn with_runtime<R>(f: impl FnOnce(&Runtime) -> R) -> R {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without IO");
    }
    RUNTIME.with(f)
}

/// What the server says and does, in words that do not depend on how the request was cut.
fn read_request(bytes: &[u8], step: usize) -> String {
    let (io, written) = Script::new(bytes, step);
    let acceptor = Acceptor::new().subprotocols(["chat", "superchat"]).expect("two tokens");
    let read = with_runtime(|runtime| runtime.block_on(acceptor.read(io)));
    let outcome = match read {
        Err(error) => {
            let answer = written.lock().expect("no panic").clone();
            let text = str::from_utf8(&answer).expect("we answer in ASCII");
            if error.is_disconnect() {
                assert_eq!(text, "", "a client that went away gets no answer");
            } else {
                let (head, body) = text.split_once("\r\n\r\n").expect("a whole head");
                let status = head.strip_prefix("HTTP/1.1 ").expect("a status line");
                assert!(status.starts_with('4') || status.starts_with('5'), "{status}");
                let head = head.to_ascii_lowercase();
                assert!(head.contains("\r\nconnection: close") || head.contains("upgrade, close"));
                let length = head.split("\r\n").find_map(|it| it.strip_prefix("content-length: "));
                assert_eq!(length.expect("a length").parse(), Ok(body.len()));
            }
            format!("{error:?}")
        }
        Ok(incoming) => {
            assert_eq!(incoming.request().method, "GET");
            let request = format!("{:?}", incoming.request().headers);
            let mut socket = with_runtime(|runtime| runtime.block_on(incoming.accept()))
                .expect("the stream takes everything");
            let answer = written.lock().expect("no panic").clone();
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
            // What came behind the head is frames.
            let first = with_runtime(|runtime| runtime.block_on(socket.recv()));
            format!("{request} {:?} {first:?}", socket.subprotocol())
        }
    };
    format!("{outcome} {:?}", written.lock().expect("no panic"))
}

/// What the client makes of the answer.
fn read_answer(bytes: &[u8], step: usize) -> String {
    let (io, written) = Script::new(bytes, step);
    let request = ClientRequest::new("ws://example.com/chat")
        .and_then(|request| request.subprotocols(["chat", "superchat"]))
        .expect("a request in due form");
    let opened = with_runtime(|runtime| runtime.block_on(connect_over(io, request)));
    let request = written.lock().expect("no panic").clone();
    assert!(request.ends_with(b"\r\n\r\n"), "nothing but a request before the answer");
    match opened {
        Err(error) => format!("{error:?}"),
        Ok((mut socket, response)) => {
            assert_eq!(response.status(), 101);
            let accept = &response.headers()["sec-websocket-accept"];
            assert_eq!(accept.len(), 28);
            assert!(bytes.contains(&ACCEPT), "nobody guesses the answer to our key");
            let first = with_runtime(|runtime| runtime.block_on(socket.recv()));
            // Which is another one each time.
            let fields: Vec<_> = response
                .headers()
                .iter()
                .filter(|(name, _)| *name != "sec-websocket-accept")
                .collect();
            let fields = if bytes.iter().filter(|&&byte| byte == ACCEPT).count() > 1 {
                String::new()
            } else {
                format!("{fields:?}")
            };
            format!("{fields} {:?} {first:?}", socket.subprotocol())
        }
    }
}
