//! The client's end: from an address to an open socket.

mod body;
mod connector;
mod error;
mod open;
mod proxy;
mod stream;
mod tcp;
#[cfg(feature = "tls")]
mod tls;

pub use self::{
    connector::{Connector, connect, connect_over},
    error::ConnectError,
    proxy::{InvalidProxy, Proxy},
    stream::ClientStream,
};
