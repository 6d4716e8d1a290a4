//! How messages become bytes.
//!
//! `outbox` puts what is to be sent in order and frames it, `backlog` is what waits there, `compressed` makes messages
//! shorter before, and `whole` is the way of a small message while nothing else is sent.

mod backlog;
#[cfg(feature = "deflate")]
mod compressed;
mod outbox;
#[cfg(feature = "tokio")]
mod whole;

pub(super) use self::outbox::Outbox;
