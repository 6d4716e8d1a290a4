//! How bytes become events.
//!
//! ```text
//!  bytes ──► decoder ─┬─ whole: a message in one frame that is all there ──────────► Event
//!                     ├─ assembly: a message of which more is to come (utf8) ──────► Event
//!                     │    ▲ direct: read straight to where it belongs
//!                     │    └ inflated: from compressed payload
//!                     └─ control: a ping, a pong, a Close ─────────────────────────► Event
//! ```

mod assembly;
mod control;
mod decoder;
mod direct;
#[cfg(feature = "deflate")]
mod inflated;
#[cfg(feature = "deflate")]
mod inflating;
mod utf8;
mod whole;

pub(super) use self::decoder::Decoder;
pub(super) use self::utf8::{CutCharacter, InvalidUtf8};
