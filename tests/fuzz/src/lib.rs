//! What is fuzzed: one function for each target, which takes any bytes and panics where a promise is broken.
//!
//! They need neither a fuzzer nor anything random, so that a test can call them too.

mod close;
mod connection;
mod extensions;
mod frame;
mod handshake_head;
mod input;
mod socket;
mod wire;

pub use self::{
    close::close,
    connection::{connection, connection_deflate},
    extensions::extensions,
    frame::frame,
    handshake_head::handshake_head,
    socket::socket,
};

/// A target.
pub type Target = fn(&[u8]);

/// All of them, by the name of their corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("frame", frame),
    ("connection", connection),
    ("connection_deflate", connection_deflate),
    ("handshake_head", handshake_head),
    ("extensions", extensions),
    ("close", close),
    ("socket", socket),
];
