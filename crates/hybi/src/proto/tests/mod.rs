//! Promises of the whole protocol, kept by two endpoints or by one against written-out bytes.

mod closing;
#[cfg(feature = "deflate")]
mod deflate;
mod memory;
mod pair;
#[cfg(feature = "tokio")]
mod plain;
mod random;
mod receive;
mod send;
mod stream;
mod wire;
