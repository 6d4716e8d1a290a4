//! Single connections as HTTP clients: hyper's senders made services.

use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
    ext::Protocol,
    rt::Executor,
};
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, watch};
use tower_service::Service;

use crate::Io;

/// The largest head of an answer.
const MAX_HEAD: u16 = 16 * 1024;

/// The most fields of an answer over HTTP/1.1.
const MAX_FIELDS: usize = 100;

type Answer = Result<Response<Incoming>, ConnectionError>;

/// One HTTP/1.1 connection, on which one WebSocket can be opened: an HTTP client for a
/// [`WebSocketClient`](super::WebSocketClient).
///
/// It works over any byte stream, one with TLS too. The head of an answer has at most 16 KiB and 100
/// fields. To go through a pool of connections use the client of `hyper-util` instead.
///
/// ```no_run
/// use tower_websocket::client::{Http1, WebSocketClient};
///
/// # async fn example() -> Result<(), tower_websocket::BoxError> {
/// let stream = tokio::net::TcpStream::connect("server.example.com:80").await?;
/// stream.set_nodelay(true)?;
/// let mut client = WebSocketClient::new(Http1::handshake(stream).await?);
/// let mut socket = client.connect("ws://server.example.com/chat").await?.into_body();
/// socket.send("hello").await?;
/// # Ok(())
/// # }
/// ```
pub struct Http1 {
    sender: http1::SendRequest<Empty<Bytes>>,
}

impl Http1 {
    /// Speaks HTTP/1.1 on `io`, in a task of its own.
    ///
    /// # Errors
    ///
    /// Those of hyper.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn handshake(io: impl Io) -> Result<Self, ConnectionError> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD.into()).max_headers(MAX_FIELDS);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        // The one who asked is told of its error too.
        tokio::spawn(connection.with_upgrades());
        Ok(Self { sender })
    }
}

impl Service<Request<Empty<Bytes>>> for Http1 {
    type Response = Response<Incoming>;
    type Error = ConnectionError;
    type Future = ConnectionFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.sender.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<Empty<Bytes>>) -> ConnectionFuture {
        if request.extensions().get::<Protocol>().is_some() {
            return ConnectionFuture::new(async { Err(Kind::NotHttp2.into()) });
        }
        // A server expects the path alone, and its own name in `Host`.
        let uri = std::mem::take(request.uri_mut());
        if let Some(authority) = uri.authority()
            && !request.headers().contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            request.headers_mut().insert(header::HOST, host);
        }
        *request.uri_mut() = match uri.into_parts().path_and_query {
            Some(path_and_query) => Uri::from(path_and_query),
            None => Uri::from_static("/"),
        };
        let answer = self.sender.send_request(request);
        ConnectionFuture::new(async { Ok(answer.await?) })
    }
}

impl fmt::Debug for Http1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http1").finish_non_exhaustive()
    }
}

/// One HTTP/2 connection, on which any number of WebSockets can be opened: an HTTP client for a
/// [`WebSocketClient`](super::WebSocketClient) with
/// [`extended_connect`](super::ClientOptions::extended_connect).
///
/// No request goes out before the server's settings came, and an extended CONNECT only if they announce
/// it (RFC 8441, section 3); else it fails with [`ConnectionError::is_unsupported`]. Other requests go
/// out as well, so that it can be shared. The head of an answer has at most 16 KiB. Clones share the connection, which ends when the last of them
/// and the last socket are gone.
///
/// ```no_run
/// use tower_websocket::client::{ClientOptions, Http2, WebSocketClient};
///
/// # async fn example() -> Result<(), tower_websocket::BoxError> {
/// let stream = tokio::net::TcpStream::connect("server.example.com:80").await?;
/// stream.set_nodelay(true)?;
/// let mut client = WebSocketClient::new(Http2::handshake(stream).await?)
///     .options(ClientOptions::new().extended_connect(true));
/// let mut socket = client.connect("ws://server.example.com/chat").await?.into_body();
/// let mut another = client.connect("ws://server.example.com/chat").await?.into_body();
/// # let _ = (socket.send("hello").await?, another.send("hello").await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Http2 {
    sender: http2::SendRequest<Empty<Bytes>>,
    /// None until the server's settings came.
    extended_connect: watch::Receiver<Option<bool>>,
    watch: Arc<Watch>,
}

impl Http2 {
    /// Speaks HTTP/2 on `io`, in a task of its own.
    ///
    /// # Errors
    ///
    /// Those of hyper.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn handshake(io: impl Io) -> Result<Self, ConnectionError> {
        Self::handshake_with(io, |_| {}).await
    }

    /// Like [`handshake`](Self::handshake), with settings of the caller's: windows, keep-alive. The bound
    /// on streams before the server's settings is not the caller's to set.
    ///
    /// # Errors
    ///
    /// Those of hyper.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn handshake_with(
        io: impl Io,
        configure: impl FnOnce(&mut http2::Builder<ConnectionExecutor>),
    ) -> Result<Self, ConnectionError> {
        let watch = Arc::new(Watch::default());
        let mut builder = http2::Builder::new(ConnectionExecutor { watch: Arc::clone(&watch) });
        builder.max_header_list_size(MAX_HEAD.into());
        configure(&mut builder);
        // Until the server's settings came there is no room for a stream, which is how they are
        // noticed: without a bound of theirs there is any number afterwards.
        builder.initial_max_send_streams(0);
        let (sender, connection) = builder.handshake(TokioIo::new(io)).await?;
        let (settings, extended_connect) = watch::channel(None);
        tokio::spawn({
            let watch = Arc::clone(&watch);
            async move {
                let mut connection = pin!(connection);
                loop {
                    let mut look = pin!(watch.look.notified());
                    let ended = poll_fn(|cx| match connection.as_mut().poll(cx) {
                        // The one who asked is told of its error too.
                        Poll::Ready(_) => Poll::Ready(true),
                        Poll::Pending => look.as_mut().poll(cx).map(|()| false),
                    });
                    if ended.await {
                        return;
                    }
                    let enabled = connection.is_extended_connect_protocol_enabled();
                    // A server may take the room away again, as long as it likes.
                    let seen = watch.seen.load(Ordering::Relaxed);
                    if seen || enabled || connection.current_max_send_streams() > 0 {
                        watch.seen.store(true, Ordering::Relaxed);
                        settings.send_replace(Some(enabled));
                    }
                }
            }
        });
        Ok(Self { sender, extended_connect, watch })
    }

    /// Whether the server has announced extended CONNECT. Waits for its settings.
    ///
    /// # Errors
    ///
    /// When the connection ends before they come.
    pub async fn takes_extended_connect(&self) -> Result<bool, ConnectionError> {
        let mut settings = self.extended_connect.clone();
        if *settings.borrow_and_update() == Some(true) {
            return Ok(true);
        }
        // It may have been announced since.
        self.watch.look.notify_one();
        settings.changed().await.map_err(|_| Kind::NoSettings)?;
        Ok(*settings.borrow() == Some(true))
    }
}

/// When to look at what the server's settings say, which is known to the connection alone.
#[derive(Default)]
struct Watch {
    look: Notify,
    /// They have come; from then on it is enough to look when somebody asks.
    seen: AtomicBool,
}

/// Where the tasks of a [`Http2`] connection run: tokio.
#[derive(Clone)]
pub struct ConnectionExecutor {
    watch: Arc<Watch>,
}

impl<F> Executor<F> for ConnectionExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let watch = Arc::clone(&self.watch);
        tokio::spawn(async move {
            let mut task = pin!(task);
            poll_fn(|cx| {
                let polled = task.as_mut().poll(cx);
                // hyper tells nobody that settings came; they can have come only here.
                if !watch.seen.load(Ordering::Relaxed) {
                    watch.look.notify_one();
                }
                polled
            })
            .await
        });
    }
}

impl fmt::Debug for ConnectionExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionExecutor").finish_non_exhaustive()
    }
}

impl Service<Request<Empty<Bytes>>> for Http2 {
    type Response = Response<Incoming>;
    type Error = ConnectionError;
    type Future = ConnectionFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        self.sender.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> ConnectionFuture {
        if request.extensions().get::<Protocol>().is_none() {
            let answer = self.sender.send_request(request);
            return ConnectionFuture::new(async { Ok(answer.await?) });
        }
        let mut connection = self.clone();
        ConnectionFuture::new(async move {
            if connection.takes_extended_connect().await? {
                Ok(connection.sender.send_request(request).await?)
            } else {
                Err(Kind::NotAnnounced.into())
            }
        })
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("extended_connect", &*self.extended_connect.borrow())
            .finish_non_exhaustive()
    }
}

/// The future of [`Http1`] and [`Http2`].
#[must_use]
pub struct ConnectionFuture(Pin<Box<dyn Future<Output = Answer> + Send>>);

impl ConnectionFuture {
    pub(super) fn new(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(Box::pin(answer))
    }
}

impl Future for ConnectionFuture {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ConnectionFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionFuture").finish_non_exhaustive()
    }
}

/// Why a connection gave no answer.
#[derive(Debug)]
pub struct ConnectionError {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Hyper(hyper::Error),
    NotAnnounced,
    NotHttp2,
    NoSettings,
}

impl ConnectionError {
    /// An extended CONNECT was asked for, but the server has not announced it, or the connection does not
    /// speak HTTP/2.
    #[must_use]
    pub fn is_unsupported(&self) -> bool {
        matches!(self.kind, Kind::NotAnnounced | Kind::NotHttp2)
    }
}

impl From<Kind> for ConnectionError {
    fn from(kind: Kind) -> Self {
        Self { kind }
    }
}

impl From<hyper::Error> for ConnectionError {
    fn from(error: hyper::Error) -> Self {
        Kind::Hyper(error).into()
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Hyper(error) => error.fmt(f),
            Kind::NotAnnounced => f.write_str(
                "the server has not announced extended CONNECT (SETTINGS_ENABLE_CONNECT_PROTOCOL)",
            ),
            Kind::NotHttp2 => f.write_str("extended CONNECT was asked for over HTTP/1.1"),
            Kind::NoSettings => f.write_str("the connection ended before the server's settings"),
        }
    }
}

impl Error for ConnectionError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Hyper(error) => error.source(),
            _ => None,
        }
    }
}
