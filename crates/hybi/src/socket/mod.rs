//! An asynchronous WebSocket over any byte stream.
//!
//! [`WebSocket`] is the user's end. It comes in two ways:
//!
//! * [`WebSocket::new`] owns its transport and moves only while one of its operations is polled.
//! * A [`Session`] owns the transport and polls both it and a *handler*, a future that has the
//!   `WebSocket`. Because it runs before and after every poll of the handler, it answers pings and
//!   watches deadlines while the handler is busy with something else, and writes everything that
//!   the handler sent in one go when the handler yields.
//!
//! Both are one engine: a socket made by `new` drives a session of its own.
//!
//! [`WebSocket::split`] gives independent halves for tasks of their own: a [`Receiver`], and a [`Sender`]
//! of which there can be any number.
//!
//! # Messages of any size
//!
//! [`recv`](WebSocket::recv) and [`send`](WebSocket::send) take whole messages, which are held to
//! [`Limits::max_message`](crate::proto::Limits::max_message). A message that is longer, or better not in
//! memory as a whole, is read as it arrives by a [`MessageReader`]
//! ([`next_message`](WebSocket::next_message)) and sent as it is made by a [`MessageWriter`]
//! ([`start_message`](WebSocket::start_message)), from and to whatever reads and writes bytes. Each holds
//! a few dozen KiB of it at most, however long it is. The transport's flow control applies: a slow reader slows down
//! the writer.
//!
//! ```
//! use hybi::proto::MessageKind;
//! use hybi::socket::{BoxError, Config, Session, WebSocket};
//! use tokio::io::{copy, sink};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let (server, client) = tokio::io::duplex(1024);
//! // The server takes uploads of any size.
//! tokio::spawn(Session::new(server, Config::server(), |mut socket: WebSocket<_>| async move {
//!     while let Some(mut upload) = socket.next_message().await? {
//!         let bytes = copy(&mut upload, &mut sink()).await?;
//!         socket.send(format!("{bytes} bytes")).await?;
//!     }
//!     Ok(())
//! }));
//!
//! let mut socket = WebSocket::new(client, Config::client());
//! let mut upload = socket.start_message(MessageKind::Binary).await?;
//! for _ in 0..1000 {
//!     upload.send_chunk(vec![7; 5000]).await?;
//! }
//! upload.finish().await?;
//! assert_eq!(socket.recv().await?.unwrap().as_text(), Some("5000000 bytes"));
//! # Ok(())
//! # }
//! ```
//!
//! # Example
//!
//! ```
//! use hybi::socket::{BoxError, Config, Session, WebSocket};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let (server, client) = tokio::io::duplex(1024);
//!
//! // The server echoes, in a task of its own.
//! tokio::spawn(Session::new(server, Config::server(), |mut socket: WebSocket<_>| async move {
//!     while let Some(message) = socket.recv().await? {
//!         socket.send(message).await?;
//!     }
//!     Ok(())
//! }));
//!
//! let mut socket = WebSocket::new(client, Config::client());
//! socket.send("hello").await?;
//! assert_eq!(socket.recv().await?.unwrap().as_text(), Some("hello"));
//! socket.close().await?;
//! # Ok(())
//! # }
//! ```

mod config;
mod engine;
mod error;
mod port;
mod reader;
mod receiver;
mod sender;
mod serve;
mod session;
mod signals;
mod split;
mod steps;
mod stream;
mod websocket;
mod writer;

pub use self::{
    config::{Config, KeepAlive, Timeouts},
    engine::Stats,
    error::Error,
    port::{MessageSource, MessageTarget, SenderTurn},
    reader::MessageReader,
    receiver::Receiver,
    sender::Sender,
    serve::{MessageService, Serving},
    session::{Control, Ended, HandlerEnd, Session},
    signals::{Closed, Closing, Pongs, RoundTrip},
    split::{ReuniteError, SplitTask},
    websocket::WebSocket,
    writer::MessageWriter,
};

/// Any error of a handler.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
