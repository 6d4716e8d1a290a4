//! One connection, without anybody to share it with.
//!
//! [`Core`] is everything but the transport: what was received and not taken, what is to be written, how it
//! ends, and who waits for what. [`Driver`] is the transport: it reads into the core, writes out of it, ends,
//! and keeps the time.

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
mod stages;

pub use self::core::Stats;
pub(crate) use self::{
    core::{Core, Next},
    deadlines::{Passed, Watch},
    io::Driver,
    parts::Begun,
};
