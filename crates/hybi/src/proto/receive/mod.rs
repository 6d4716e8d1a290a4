//! How bytes become events.
//!
//! ```text
//!  bytes ──► whole: a message in one frame that is all there ─────────────────────► Event
//!    │
//!    └─────► decoder ─┬─► assembly: a message of which more is to come (utf8) ────► Event
//!                     │     ▲
//!                     ├─► inflated: compressed payload (inflating)
//!                     └─► control: a ping, a pong, a Close ───────────────────────► Event
//! ```
//!
//! `direct` is the way around the decoder for the rest of a long binary payload, and `open` is what is half
//! received in the meantime.

mod assembly;
mod control;
mod decoder;
mod direct;
#[cfg(feature = "deflate")]
mod inflated;
#[cfg(feature = "deflate")]
mod inflating;
mod open;
mod utf8;
mod whole;

pub(super) use self::decoder::Decoder;
pub(super) use self::utf8::{CutCharacter, InvalidUtf8};
#[cfg(feature = "tokio")]
pub(crate) use self::whole::Arena;
