//! WebSockets straight on a byte stream, for programs without an HTTP stack.
//!
//! Any reliable stream will do: TCP, TLS, a Unix socket, a pipe in memory. The handshake is that of
//! HTTP/1.1 ([RFC 6455, section 4]), read and written by this crate alone. What takes part in HTTP,
//! such as a web page on the same port, routes or middleware, is another crate's:
//! [`tower-websocket`](https://docs.rs/tower-websocket).
//!
//! A server:
//!
//! ```
//! use hybi::{
//!     proto::Limits,
//!     socket::WebSocket,
//!     standalone::{AcceptError, Acceptor},
//! };
//! use tokio::net::{TcpListener, TcpStream};
//!
//! async fn listen(listener: TcpListener) -> std::io::Result<()> {
//!     let acceptor = Acceptor::new().limits(Limits::default().max_message(64 * 1024));
//!     loop {
//!         let (stream, _) = listener.accept().await?;
//!         let acceptor = acceptor.clone();
//!         tokio::spawn(async move { echo(&acceptor, stream).await });
//!     }
//! }
//!
//! async fn echo(acceptor: &Acceptor, stream: TcpStream) -> Result<(), AcceptError> {
//!     let incoming = acceptor.read(stream).await?;
//!     // Here is the place to look at `incoming.request()`: who asks, from which page, for what?
//!     incoming
//!         .serve(|mut socket: WebSocket<_>| async move {
//!             while let Some(message) = socket.recv().await? {
//!                 socket.send(message).await?;
//!             }
//!             Ok(())
//!         })
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
#![cfg_attr(
    feature = "client",
    doc = r#"
A client; [`Connector`] has what can be set:

```no_run
# async fn run() -> Result<(), hybi::socket::BoxError> {
let (mut socket, _) = hybi::standalone::connect("ws://localhost:3000/chat").await?;
socket.send("hello").await?;
# Ok(())
# }
```

"#
)]
//! # What remains with a server
//!
//! * **Which pages may connect.** Every page in every browser can, with the user's cookies:
//!   [`Acceptor::read`] shows the check of `Origin`.
//! * **How many connections there are.** The loop above accepts without end; a semaphore bounds it.
//!   What one connection may hold and how long its handshake may take is bounded by default.
//! * **TLS.** Hand in the encrypted stream; `Acceptor` and the socket end it in due form.
//!
//! # How strict it is
//!
//! Lines end with CR LF; a lone LF is refused like a lone CR, NUL, folded lines and whitespace before
//! a colon ([`HeadError`]). A request with content is refused, and nothing behind a refused request is
//! read.
//!
//! [RFC 6455, section 4]: https://www.rfc-editor.org/rfc/rfc6455#section-4

#[cfg(feature = "client")]
mod client;
mod encode;
mod head;
mod server;
mod wire;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub use self::client::{
    ClientStream, ConnectError, Connector, InvalidProxy, Proxy, connect, connect_over,
};
pub use self::{
    head::{HeadError, HeadLimits},
    server::{AcceptError, Acceptor, Incoming, accept},
};
/// The version of rustls whose types stand in this API.
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub use tokio_rustls::rustls;
