//! The protocol without IO.

mod close;
mod connection;
mod decoder;
mod frame;
mod limits;
mod mask;
mod message;
mod outbox;
mod utf8;
mod violation;

pub use bytes::Bytes;
pub use bytestring::ByteString;

pub use self::close::{CloseCode, CloseFrame, CloseReason, InvalidCloseCode, ReasonTooLong};
pub use self::connection::{Closed, Connection, Event, PingError, Role};
pub use self::limits::Limits;
pub use self::message::Message;
pub use self::violation::Violation;
