//! One connection, without anybody to share it with.
//!
//! ```text
//!              Driver<T>                                   Core
//!  transport ──► io::poll_fill ──────► input ─► Connection ─► ready, incoming ──► next, begin, next_part
//!            ◄── io::poll_flush ◄──── output ◄─ Connection ◄───────────────────── send, send_part, ping, close
//!                stages::poll_end            ending::Over ◄─ a Close, a fault, EOF, a deadline, abort
//!                deadlines, progress, keep_alive             due: whose wait is over
//!
//!  plain: read_plain ─► Scratch ─► next_plain            and         send_plain ─► Scratch ─► write_plain
//! ```
//!
//! [`Core`] is everything but the transport: what was received and not taken, what is to be written, how it
//! ends, and who waits for what. [`Driver`] is the transport: it reads into the core, writes out of it, ends,
//! and keeps the time. While nothing is under way but whole messages, `plain` is a short cut past all of it.

mod core;
mod deadlines;
mod due;
mod ending;
mod io;
mod keep_alive;
mod parts;
mod plain;
mod progress;
mod scratch;
mod sending;
mod stages;

pub use self::core::Stats;
pub(crate) use self::{
    core::{Core, Next},
    deadlines::{Passed, Watch},
    io::Driver,
    parts::{Begun, Used},
};
