//! A server that reads one request head, says what a script has it say, and judges nothing.

use std::{
    net::SocketAddr,
    task::{Context, Waker},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::start::listen;

/// A right answer, but for what may be put in.
pub const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                             Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n";

/// A listener on a free port.
#[derive(Debug)]
pub struct Script {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Script {
    pub async fn listen() -> Self {
        let (listener, addr) = listen().await;
        Self { listener, addr }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address of a WebSocket on it.
    pub fn uri(&self) -> String {
        format!("ws://{}/", self.addr)
    }

    /// Whether nobody has connected who was not accepted yet.
    pub fn is_quiet(&self) -> bool {
        let accepted = self.listener.poll_accept(&mut Context::from_waker(Waker::noop()));
        accepted.is_pending()
    }

    /// Accepts the next connection and reads one head.
    pub async fn accept(&self) -> Peer {
        let (mut stream, _) = self.listener.accept().await.expect("a listener");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("a whole head"));
        }
        Peer { stream, head: String::from_utf8(head).expect("ASCII") }
    }
}

/// A client that has sent its head.
#[derive(Debug)]
pub struct Peer {
    pub stream: TcpStream,
    pub head: String,
}

impl Peer {
    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.head
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }

    /// Sends `text`, in which `{accept}` becomes what answers the client's key.
    pub async fn answer(&mut self, text: &str) {
        let key = self.all("sec-websocket-key").first().copied().unwrap_or_default();
        let accept = hybi::handshake::accept_value(key.as_bytes());
        let accept = str::from_utf8(&accept).expect("base64");
        self.send(text.replace("{accept}", accept).as_bytes()).await;
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // Whether the client still listens is not ours to judge.
        let _ = self.stream.write_all(bytes).await;
    }

    /// What the client says until it ends the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        rest
    }

    /// The next `n` bytes.
    pub async fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).await.expect("more bytes");
        bytes
    }
}
