//! A client that writes HTTP/1.1 and frames byte by byte, and judges nothing.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::wire::{close_body, masked};

/// The sample key of RFC 6455, and what a server makes of it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// See [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The fields of a handshake in due form, `Host` aside.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", KEY),
];

/// One TCP connection.
#[derive(Debug)]
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of a response, and the body that its `Content-Length` announces.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: String,
}

impl Response {
    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| &**value)
            .collect()
    }

    /// The value of a field that is there at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times", all.len());
        all.first().copied()
    }
}

impl Client {
    pub async fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        Self { stream, buffer: Vec::new() }
    }

    /// Connects and opens a WebSocket at `path`.
    pub async fn open(addr: SocketAddr, path: &str) -> Self {
        let mut client = Self::connect(addr).await;
        let response = client.handshake(path, &[]).await;
        assert_eq!(response.status, 101, "{response:?}");
        client
    }

    /// A handshake in due form, with further fields.
    pub async fn handshake(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let fields = [&UPGRADE[..], fields].concat();
        self.get(path, &fields).await
    }

    /// A `GET` with these fields and `Host`.
    pub async fn get(&mut self, path: &str, fields: &[(&str, &str)]) -> Response {
        let host = self.stream.peer_addr().expect("connected").to_string();
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send_raw(head.as_bytes()).await;
        self.response().await
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads");
    }

    /// Reads one response.
    pub async fn response(&mut self) -> Response {
        self.try_response().await.expect("a whole response")
    }

    /// Reads one response, unless the connection ends before.
    pub async fn try_response(&mut self) -> io::Result<Response> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.byte().await?);
        }
        let head = String::from_utf8(head).expect("ASCII");
        let mut lines = head.split("\r\n").filter(|line| !line.is_empty());
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let fields: Vec<_> = lines
            .map(|line| line.split_once(':').expect("a field"))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let mut response =
            Response { status: status.parse().expect("a number"), fields, body: String::new() };
        if let Some(length) = response.field("content-length") {
            let body = self.bytes(length.parse().expect("a number")).await?;
            response.body = String::from_utf8(body).expect("text");
        }
        Ok(response)
    }

    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(&masked(first, payload)).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(0x81, text.as_bytes()).await;
    }

    pub async fn send_close(&mut self, code: u16, reason: &str) {
        self.send_frame(0x88, &close_body(code, reason)).await;
    }

    /// The next frame's first byte and payload. It must not be masked.
    pub async fn recv(&mut self) -> (u8, Vec<u8>) {
        self.try_recv().await.expect("a frame")
    }

    /// The next frame, unless the connection ends before. The pings of the keep-alive are answered, as any
    /// client does.
    pub async fn try_recv(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            match self.try_recv_any().await? {
                (0x89, payload) if payload.len() == 4 => self.send_frame(0x8a, &payload).await,
                frame => return Ok(frame),
            }
        }
    }

    /// The next frame, the pings of the keep-alive included, which are not answered.
    pub async fn try_recv_any(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let head = self.bytes(2).await?;
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).await?.try_into().expect("two"))),
            127 => u64::from_be_bytes(self.bytes(8).await?.try_into().expect("eight")),
            len => {
                assert!(len < 126, "the server masked a frame");
                u64::from(len)
            }
        };
        Ok((head[0], self.bytes(usize::try_from(len).expect("fits")).await?))
    }

    /// The text of the next frame.
    pub async fn recv_text(&mut self) -> String {
        let (first, payload) = self.recv().await;
        assert_eq!(first, 0x81, "{payload:?}");
        String::from_utf8(payload).expect("UTF-8")
    }

    /// The code of the next frame, a Close.
    pub async fn recv_close(&mut self) -> u16 {
        let (first, payload) = self.recv().await;
        assert_eq!(first, 0x88, "{payload:?}");
        payload.get(..2).map_or(1005, |code| u16::from_be_bytes(code.try_into().expect("two")))
    }

    /// Whether the server ends the connection without a further byte, and in half a minute.
    pub async fn at_eof(&mut self) -> bool {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(30), self.stream.read(&mut byte));
        self.buffer.is_empty() && matches!(read.await, Ok(Ok(0) | Err(_)))
    }

    /// The next `n` bytes.
    pub async fn recv_raw(&mut self, n: usize) -> Vec<u8> {
        self.bytes(n).await.expect("more bytes")
    }

    async fn byte(&mut self) -> io::Result<u8> {
        Ok(self.bytes(1).await?[0])
    }

    async fn bytes(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < n {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let rest = self.buffer.split_off(n);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }
}
