//! The protocol without IO: bytes in, events out; messages in, bytes out (RFC 6455 sections 5 to 8).
//!
//! [`Connection`] is one endpoint, server or client, after the opening handshake. It has no socket, no
//! clock and no task, so it works over any transport and is tested without one. Whoever drives it does
//! three things, in any order and as often as they like:
//!
//! * hands the bytes that were read to [`Connection::receive`] until it gives no more events, and acts on
//!   each event;
//! * queues what is to be said: [`send`](Connection::send), [`ping`](Connection::ping),
//!   [`close`](Connection::close). Pings are answered without being asked;
//! * writes [`Connection::output`] and reports with [`Connection::advance`] how much of it went out.
//!
//! Time is the driver's too: how long a message may take to arrive, how long the peer may take to answer a
//! Close, when to ping. So is the end of the transport: if it ends before an [`Event::Close`] came, the
//! connection ended abnormally (1006).
//!
//! # Driving a connection
//!
//! An echo server over a blocking transport:
//!
//! ```
//! use std::io::{self, Read, Write};
//!
//! use hybi::proto::{Connection, Event, Limits};
//!
//! fn echo(mut io: impl Read + Write) -> io::Result<()> {
//!     let mut connection = Connection::server(&Limits::default());
//!     let mut buffer = vec![0; 16 * 1024];
//!     loop {
//!         let n = io.read(&mut buffer)?;
//!         if n == 0 {
//!             // Without a Close: 1006.
//!             return Err(io::ErrorKind::UnexpectedEof.into());
//!         }
//!         let mut input = &mut buffer[..n];
//!         loop {
//!             match connection.receive(&mut input) {
//!                 // `Err` means that our Close is queued; then there is nothing more to say.
//!                 Ok(Some(Event::Message(message))) => drop(connection.send(message)),
//!                 Ok(Some(Event::Close(_))) => drop(connection.answer_close()),
//!                 // Parts come to who asks for them.
//!                 Ok(Some(Event::Ping(_) | Event::Pong(_) | Event::Part { .. })) => {}
//!                 Ok(None) => break,
//!                 Err(violation) => drop(connection.close(violation.close_frame())),
//!             }
//!         }
//!         // Everything that one read brought is answered in as few writes as possible.
//!         while connection.has_output() {
//!             let [first, second] = connection.output();
//!             let n = io.write_vectored(&[io::IoSlice::new(first), io::IoSlice::new(second)])?;
//!             connection.advance(n);
//!         }
//!         if connection.close_queued() {
//!             return Ok(());
//!         }
//!     }
//! }
//!
//! // "Hello" from a client, and a Close with 1000.
//! let sent = b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x88\x82\x00\x00\x00\x00\x03\xe8";
//! # struct Duplex<'a>(&'a [u8], Vec<u8>);
//! # impl Read for Duplex<'_> {
//! #     fn read(&mut self, to: &mut [u8]) -> io::Result<usize> { self.0.read(to) }
//! # }
//! # impl Write for Duplex<'_> {
//! #     fn write(&mut self, from: &[u8]) -> io::Result<usize> { self.1.write(from) }
//! #     fn flush(&mut self) -> io::Result<()> { Ok(()) }
//! # }
//! # let mut duplex = Duplex(sent, Vec::new());
//! # echo(&mut duplex)?;
//! # let answered = duplex.1;
//! assert_eq!(answered, b"\x81\x05Hello\x88\x02\x03\xe8");
//! # Ok::<(), io::Error>(())
//! ```
//!
//! # Messages of any size
//!
//! A message that need not fit into memory is taken in parts, as they arrive
//! ([`Receiving::Parts`]), and sent in parts, as they are made:
//!
//! ```
//! use hybi::proto::{Bytes, Connection, Event, Limits, MessageKind, Receiving};
//!
//! let mut server = Connection::server(&Limits::default());
//! server.start_message(MessageKind::Text)?;
//! server.send_part(Bytes::from_static(b"Hel"))?;
//! server.finish_message(Bytes::from_static(b"lo"))?;
//! let [wire, _] = server.output();
//! assert_eq!(wire, b"\x01\x03Hel\x80\x02lo");
//!
//! # #[cfg(feature = "client")] {
//! let mut client = Connection::client(&Limits::default());
//! client.set_receiving(Receiving::Parts);
//! let mut input = &mut wire[..4].to_vec()[..];
//! let part = Event::Part { part: "He".into(), last: false };
//! assert_eq!(client.receive(&mut input), Ok(Some(part)));
//! # }
//! # Ok::<(), hybi::proto::SendError>(())
//! ```
//!
//! # Compression
//!
//! With the feature `deflate`, `Connection::with_deflate` compresses messages as the handshake agreed
//! (permessage-deflate, RFC 7692). `Deflate` says what it costs, and when not to use it.
//!
//! # What it holds
//!
//! Memory grows with bytes received, never with a length announced: for an unfinished message at most
//! 16 KiB are reserved ahead, or as much again as was received if that is more. Of a message in parts
//! nothing is held but half a character. [`Limits`] bounds the rest.
//! An idle connection holds no buffer once [`Connection::take_buffer`] took the output's.
//!
//! The output is bounded by the driver, who compares [`Connection::queued`] with a mark before sending.
//! What the peer can add to it by itself is bounded here: pongs go behind at most 16 KiB of output, and past
//! that only the newest ping is remembered.

mod close;
mod connection;
#[cfg(feature = "deflate")]
mod deflate;
mod event;
mod limits;
mod message;
mod receive;
mod send;
#[cfg(all(test, feature = "client"))]
mod tests;
mod violation;
mod wire;

pub use bytes::Bytes;
pub use bytestring::ByteString;

pub use self::close::{CloseCode, CloseFrame, CloseReason, InvalidCloseCode, ReasonTooLong};
pub use self::connection::{Connection, PingError, SendError};
#[cfg(feature = "deflate")]
#[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
pub use self::deflate::{Deflate, DeflateParameters};
pub use self::event::{Event, Receiving, Role};
pub use self::limits::Limits;
pub use self::message::{Message, MessageKind};
#[cfg(feature = "tokio")]
pub(crate) use self::receive::Arena;
pub use self::violation::Violation;
