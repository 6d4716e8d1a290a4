//! A client that speaks cleartext HTTP/2 with prior knowledge, and WebSocket frames over it byte by
//! byte; it judges nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::{
    Reason, RecvStream, SendStream,
    client::{Builder, SendRequest},
    ext::Protocol,
};
use http::{Method, Request, Response};
use tokio::net::TcpStream;

use crate::wire::masked;

/// One HTTP/2 connection.
#[derive(Clone, Debug)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    addr: SocketAddr,
}

/// The two directions of one request.
#[derive(Debug)]
pub struct Stream {
    pub send: SendStream<Bytes>,
    pub recv: RecvStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Connects and waits until the server has said whether it takes extended CONNECT.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::connect_with(addr, &Builder::new()).await
    }

    /// Connects with the settings of `builder`.
    pub async fn connect_with(addr: SocketAddr, builder: &Builder) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP stream");
        let (requests, mut connection) = builder.handshake(stream).await.expect("a preface");
        let mut pings = connection.ping_pong().expect("taken once");
        tokio::spawn(async move {
            let _ = connection.await;
        });
        // The server's settings come before its pong.
        pings.ping(h2::Ping::opaque()).await.expect("a pong");
        Self { requests, addr }
    }

    /// Whether the server announced `SETTINGS_ENABLE_CONNECT_PROTOCOL`.
    pub fn takes_extended_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// A handshake in due form, without the version.
    pub fn handshake(&self, path: &str) -> Request<()> {
        let mut request = self.request(Method::CONNECT, path);
        request.extensions_mut().insert(Protocol::from_static("websocket"));
        request
    }

    /// A request for `path`.
    pub fn request(&self, method: Method, path: &str) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = format!("http://{}{path}", self.addr).parse().expect("a URI");
        request
    }

    /// Sends a head that more may follow, and waits for the answer's.
    pub async fn send(&self, request: Request<()>) -> Result<(Response<()>, Stream), h2::Error> {
        self.send_with(request, false).await
    }

    /// Sends a head that nothing follows.
    pub async fn get(&self, path: &str) -> (Response<()>, Vec<u8>) {
        let request = self.request(Method::GET, path);
        let (response, mut stream) = self.send_with(request, true).await.expect("an answer");
        (response, stream.rest().await)
    }

    /// Asks for the head of an answer alone.
    pub async fn head(&self, path: &str) -> (Response<()>, Stream) {
        let request = self.request(Method::HEAD, path);
        self.send_with(request, true).await.expect("an answer")
    }

    async fn send_with(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(Response<()>, Stream), h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, send) = requests.send_request(request, end)?;
        let (head, recv) = response.await?.into_parts();
        let stream = Stream { send, recv, buffer: Vec::new() };
        Ok((Response::from_parts(head, ()), stream))
    }

    /// Opens a WebSocket at `path`.
    pub async fn open(&self, path: &str) -> Stream {
        let mut request = self.handshake(path);
        request.headers_mut().insert("sec-websocket-version", "13".parse().expect("a value"));
        let (response, stream) = self.send(request).await.expect("an answer");
        assert_eq!(response.status(), 200, "{response:?}");
        assert!(!stream.recv.is_end_stream());
        stream
    }
}

impl Stream {
    /// Sends one DATA frame, or several where flow control asks for it.
    pub async fn send_raw(&mut self, bytes: impl Into<Bytes>) {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let capacity = std::future::poll_fn(|cx| self.send.poll_capacity(cx)).await;
            let capacity = capacity.expect("an open stream").expect("an open stream");
            let part = bytes.split_to(capacity.min(bytes.len()));
            self.send.send_data(part, false).expect("an open stream");
        }
    }

    pub async fn send_frame(&mut self, first: u8, payload: &[u8]) {
        self.send_raw(masked(first, payload)).await;
    }

    /// Ends this direction.
    pub fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("an open stream");
    }

    /// The next frame's first byte and payload. It must not be masked.
    pub async fn recv(&mut self) -> (u8, Vec<u8>) {
        let head = self.bytes(2).await;
        let len = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.bytes(2).await.try_into().expect("two"))),
            127 => u64::from_be_bytes(self.bytes(8).await.try_into().expect("eight")),
            len => {
                assert!(len < 126, "the server masked a frame");
                u64::from(len)
            }
        };
        (head[0], self.bytes(usize::try_from(len).expect("fits")).await)
    }

    /// The code of the next frame, a Close.
    pub async fn recv_close(&mut self) -> u16 {
        let (first, payload) = self.recv().await;
        assert_eq!(first, 0x88, "{payload:?}");
        payload.get(..2).map_or(1005, |code| u16::from_be_bytes(code.try_into().expect("two")))
    }

    /// Everything up to END_STREAM.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await.expect("no reset") {}
        std::mem::take(&mut self.buffer)
    }

    /// Waits for RST_STREAM.
    pub async fn reset(&mut self) -> Option<Reason> {
        loop {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return error.reason(),
            }
        }
    }

    async fn bytes(&mut self, n: usize) -> Vec<u8> {
        while self.buffer.len() < n {
            assert!(self.fill().await.expect("no reset"), "the stream ended inside a frame");
        }
        let rest = self.buffer.split_off(n);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Receives one DATA frame and opens the window again. `false` at END_STREAM.
    async fn fill(&mut self) -> Result<bool, h2::Error> {
        match self.recv.data().await {
            Some(data) => {
                let data = data?;
                self.recv.flow_control().release_capacity(data.len())?;
                self.buffer.extend_from_slice(&data);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
