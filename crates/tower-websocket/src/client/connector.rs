//! An HTTP client that makes a connection for each request.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hybi::handshake::Address;
use hyper::{body::Incoming, ext::Protocol};
use tokio::net::TcpStream;
use tower_service::Service;

use super::connection::{Http1, Http2};
use crate::{BoxError, Io};

/// The simplest HTTP client for a [`WebSocketClient`](super::WebSocketClient): it makes a connection for
/// each request, as a WebSocket needs one anyway, and speaks HTTP/2 on it for an extended CONNECT, else
/// HTTP/1.1.
///
/// `C` makes the byte streams. [`tcp`](Self::tcp) does so for `ws`; for `wss` it is a service that speaks
/// TLS, and ALPN with `http/1.1` or, for extended CONNECT, `h2`:
///
/// ```no_run
/// # async fn example() -> Result<(), tower_websocket::BoxError> {
/// # async fn tls(name: &str, _: tokio::net::TcpStream) -> std::io::Result<tokio::net::TcpStream> { todo!() }
/// use tokio::net::TcpStream;
/// use tower_websocket::{client::{Connector, WebSocketClient}, handshake::Address};
///
/// let connector = Connector::new(tower::service_fn(async |address: Address| {
///     let stream = TcpStream::connect((address.host(), address.port())).await?;
///     tls(address.host(), stream).await
/// }));
/// let response = WebSocketClient::new(connector).connect("wss://server.example.com/chat").await?;
/// # let _ = response;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector<C> {
    streams: C,
}

impl<C> Connector<C> {
    /// An HTTP client over the byte streams that `streams` makes.
    pub fn new(streams: C) -> Self {
        Self { streams }
    }
}

impl Connector<Tcp> {
    /// An HTTP client without TLS.
    #[must_use]
    pub fn tcp() -> Self {
        Self::new(Tcp(()))
    }
}

impl<C> Service<Request<Empty<Bytes>>> for Connector<C>
where
    C: Service<Address, Response: Io, Error: Into<BoxError>, Future: Send + 'static>,
{
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.streams.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Empty<Bytes>>) -> Self::Future {
        let stream = Address::try_from(request.uri()).map(|address| self.streams.call(address));
        Box::pin(async {
            let stream = stream?.await.map_err(Into::into)?;
            let answer = if request.extensions().get::<Protocol>().is_some() {
                Http2::handshake(stream).await?.call(request)
            } else {
                Http1::handshake(stream).await?.call(request)
            };
            Ok(answer.await?)
        })
    }
}

/// Connects by TCP to `ws` addresses, see [`Connector::tcp`]. It tries the addresses of a name one after
/// the other and sends small writes at once (`TCP_NODELAY`).
#[derive(Clone, Debug)]
pub struct Tcp(());

impl Service<Address> for Tcp {
    type Response = TcpStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, address: Address) -> Self::Future {
        Box::pin(async move {
            if address.is_secure() {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "a wss address needs a connector that speaks TLS",
                ));
            }
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}
