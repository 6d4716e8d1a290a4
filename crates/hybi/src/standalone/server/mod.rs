//! The server's end: from a stream to an open socket.

mod acceptor;
mod error;
mod incoming;

pub use self::{
    acceptor::{Acceptor, accept},
    error::AcceptError,
    incoming::Incoming,
};
