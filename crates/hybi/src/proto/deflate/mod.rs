//! Compression of messages: permessage-deflate (RFC 7692).
//!
//! [`Deflate`] is what one end wants, [`DeflateParameters`] what both ends agreed on in the handshake.
//! Compression and inflation are here too, each of whole messages and of messages in pieces.
//!
//! What decides about memory is *context takeover*: whether a message may refer back to the ones before it.
//! Without it (our default) what compresses and inflates is borrowed from a small pool of the thread while
//! a message is under way, and an idle connection has nothing of it. With it each connection keeps its own:
//! the compressor whole, and of the inflater only the history that the peer may refer to.

mod compress;
mod inflate;
mod parameters;
mod pool;
#[cfg(test)]
mod tests;
mod window;

pub(super) use self::compress::Compressor;
pub(super) use self::inflate::{Inflater, InvalidData};
pub use self::parameters::{Deflate, DeflateParameters};
