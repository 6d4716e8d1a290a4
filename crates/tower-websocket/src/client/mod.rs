//! The client: opening WebSockets through an HTTP client, as a tower service (feature `client`).
//!
//! [`WebSocketClient`] turns a service of HTTP requests into one from `http::Request<()>` to
//! `http::Response<WebSocket>`. Layers go where they belong: around it, where they see attempts to open
//! a socket, and below it, where they see HTTP.
//!
//! ```text
//!  Request<()> ─► timeout ─► retry ─► WebSocketClient ─► auth, trace ─► HTTP client ─► server
//!  Response<WebSocket> ◄─────────────────────┘ 101 (HTTP/1.1) or 200 (HTTP/2)
//! ```
//!
//! ```
//! use http::{HeaderValue, Request, header::USER_AGENT};
//! use tower::{ServiceBuilder, ServiceExt, util::MapRequestLayer};
//! use tower_websocket::client::{ClientOptions, Connector, WebSocketClient};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_websocket::BoxError> {
//! # let echo = tower_websocket::WebSocketLayer::new(tower_websocket::handler_fn(|mut socket| async move {
//! #     while let Some(message) = socket.recv().await? {
//! #         socket.send(message).await?;
//! #     }
//! #     Ok(())
//! # }));
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! # let server = listener.local_addr()?;
//! # let app = axum::Router::new().route_service("/echo", echo.into_service());
//! # tokio::spawn(axum::serve(listener, app).into_future());
//! # use std::future::IntoFuture;
//! let client = ServiceBuilder::new()
//!     .concurrency_limit(8)
//!     .layer_fn(WebSocketClient::new)
//!     .layer(MapRequestLayer::new(|mut request: Request<_>| {
//!         request.headers_mut().insert(USER_AGENT, HeaderValue::from_static("example/1.0"));
//!         request
//!     }))
//!     .service(Connector::tcp());
//!
//! let request = Request::get(format!("ws://{server}/echo")).body(())?;
//! let mut socket = client.oneshot(request).await?.into_body();
//! socket.send("hello").await?;
//! assert_eq!(socket.recv().await?.unwrap().as_text(), Some("hello"));
//! socket.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # HTTP clients
//!
//! | client | for |
//! |---|---|
//! | [`Connector`] | a new connection for each WebSocket; TLS by the caller |
//! | [`Http1`] | one byte stream and one WebSocket on it |
//! | [`Http2`] | one byte stream and any number of WebSockets on it (RFC 8441) |
//! | `hyper_util::client::legacy::Client` | its pool, proxies and TLS connectors, over HTTP/1.1 |
//!
//! Any other service will do whose responses have hyper's upgrade (`hyper::upgrade::OnUpgrade`) or an
//! [`Upgrade`](crate::upgrade::Upgrade) among their extensions. It gets requests with an absolute `http`
//! or `https` URI and without `Host`, as HTTP clients do. For extended CONNECT there is
//! `hyper::ext::Protocol` among the extensions; the service has to see to it that the server has announced
//! it (RFC 8441, section 3), as `Http2` does, and the answer has to be of HTTP/2 or HTTP/3 by its version. A client that negotiates its version by ALPN must not
//! offer `h2` for an upgrade, which HTTP/2 does not know; [`ClientError::is_unsupported`] tells.
//!
//! # When there is no socket
//!
//! Every failure is a [`ClientError`] that says which, with the server's whole answer where it refused.
//! Redirects are not followed unless a layer does it: `tower_http::follow_redirect` below the client.
//!
//! ```
//! use std::time::Duration;
//! use tower_websocket::client::{Backoff, ClientError};
//!
//! /// How long to wait before trying again; `None` to give up.
//! fn again(error: &ClientError, backoff: &mut Backoff) -> Option<Duration> {
//!     error.is_transient().then(|| backoff.next_delay())
//! }
//! # let _ = again;
//! ```
//!
//! # What is bounded
//!
//! | what | default | option |
//! |---|---|---|
//! | each attempt as a whole | 20 s | [`timeout`](ClientOptions::timeout), which needs no layer |
//! | the head of an answer, with [`Connector`], [`Http1`] and [`Http2`] | 16 KiB; 100 fields on HTTP/1.1 | [`Http2::handshake_with`], or another HTTP client |
//! | `Sec-WebSocket-*` fields of the answer | [`HandshakeLimits`](hybi::handshake::HandshakeLimits) | [`handshake_limits`](ClientOptions::handshake_limits) |
//! | the body of a refusal | 64 KiB, 2 s | [`max_refusal`](ClientOptions::max_refusal), [`refusal_timeout`](ClientOptions::refusal_timeout) |
//! | the open socket | [`Limits`](crate::Limits), [`Timeouts`](crate::Timeouts), [`KeepAlive`](crate::KeepAlive) | [`limits`](ClientOptions::limits), [`timeouts`](ClientOptions::timeouts), [`keep_alive`](ClientOptions::keep_alive) |
//! | attempts at once to one server | none | [`OnePerAddressLayer`] |

mod attempt;
mod connection;
mod connector;
mod error;
mod one_per_address;
mod options;
mod service;

pub use hybi::Backoff;

pub use self::{
    connection::{ConnectionError, ConnectionExecutor, ConnectionFuture, Http1, Http2},
    connector::{Connector, Tcp},
    error::ClientError,
    one_per_address::{OnePerAddress, OnePerAddressLayer},
    options::ClientOptions,
    service::{ResponseFuture, WebSocketClient},
};
