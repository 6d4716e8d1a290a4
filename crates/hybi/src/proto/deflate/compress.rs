//! How messages are compressed, whole or in pieces.

use std::fmt;

use flate2::{Compress, Compression, FlushCompress};

use super::pool::{self, Pool};
use super::window::{MAX_BITS, MIN_BITS};

/// What a flush ends with and every message leaves away (RFC 7692 section 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// The least room that a call has. With hardly any a flush would repeat its marker.
const ROOM: usize = 256;

/// Compresses the messages of one connection, one after the other: each either [`whole`](Self::whole) or
/// as any number of [`piece`](Self::piece)s and a [`finish`](Self::finish).
///
/// All that it writes has to be sent, or the peer cannot follow with context takeover.
pub(in crate::proto) struct Compressor {
    takeover: bool,
    bits: u8,
    level: u32,
    /// Without context takeover there only in mid-message.
    context: Option<Context>,
    /// Nothing came since the message began or was flushed.
    flushed: bool,
}

thread_local! {
    static CONTEXTS: Pool<Context> = const { Pool::new(Vec::new()) };
}

/// A context that has seen nothing.
fn take(bits: u8, level: u32) -> Context {
    match pool::take(&CONTEXTS, |context| context.bits == bits) {
        Some(mut context) => {
            context.reset(level);
            context
        }
        None => Context::new(bits, level),
    }
}

/// What it takes to compress.
struct Context {
    compress: Compress,
    bits: u8,
    level: u32,
}

impl Context {
    fn new(bits: u8, level: u32) -> Self {
        let compress = Compress::new_with_window_bits(Compression::new(level), false, bits);
        Self { compress, bits, level }
    }

    /// Forgets all that was compressed, of whichever connection it was. To be called between messages only.
    fn reset(&mut self, level: u32) {
        self.compress.reset();
        if self.level != level {
            // Cannot fail with nothing compressed; if it did, the former level is as correct.
            if self.compress.set_level(Compression::new(level)).is_ok() {
                self.level = level;
            }
        }
    }

    /// Compresses all of `input` behind `out`.
    fn run(&mut self, mut input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) {
        loop {
            if out.capacity() - out.len() < ROOM {
                out.reserve(ROOM.max(input.len() / 4));
            }
            let before = self.compress.total_in();
            // Fails only for a stream that was finished or for no room at all.
            let _ = self.compress.compress_vec(input, out, flush);
            input = &input[(self.compress.total_in() - before) as usize..];
            // Room that is left over says that all was said.
            if input.is_empty() && out.len() < out.capacity() {
                break;
            }
        }
    }
}

impl Compressor {
    pub(super) fn new(takeover: bool, bits: u8, level: u32) -> Self {
        // With a window of 9 bits no distance is above 512 - 262 = 250, which keeps to 8 bits as well.
        let bits = bits.clamp(MIN_BITS, MAX_BITS);
        Self { takeover, bits, level, context: None, flushed: true }
    }

    /// Compresses a whole message behind `out`. Where that pays nothing it leaves `out` as it was and says
    /// so by `false`: the message is to be sent as it is.
    pub(in crate::proto) fn whole(&mut self, payload: &[u8], out: &mut Vec<u8>) -> bool {
        if payload.is_empty() {
            return false;
        }
        let from = out.len();
        // To its end in any case: a compressor that is reset in mid-message (as of zlib-rs 0.6) keeps some
        // of its state.
        self.context().run(payload, out, FlushCompress::Sync);
        strip_tail(out, from);
        self.end_message();
        // With context takeover the next message will refer to this one, so it has to be sent compressed.
        let pays = self.takeover || out.len() - from < payload.len();
        if !pays {
            out.truncate(from);
        }
        pays
    }

    /// Compresses the next piece of a message behind `out`, which may get nothing of it yet. With `flush`
    /// it gets all.
    pub(in crate::proto) fn piece(&mut self, payload: &[u8], out: &mut Vec<u8>, flush: bool) {
        let mode = if flush { FlushCompress::Sync } else { FlushCompress::None };
        if payload.is_empty() && (!flush || self.flushed) {
            return;
        }
        self.context().run(payload, out, mode);
        self.flushed = flush;
    }

    /// Writes the end of a message in pieces behind `out`.
    pub(in crate::proto) fn finish(&mut self, out: &mut Vec<u8>) {
        let from = out.len();
        if self.flushed {
            // A flush with nothing to flush gives nothing. This is the beginning of the empty block whose
            // end every message leaves away (RFC 7692 section 7.2.3.6).
            out.push(0);
        } else {
            self.context().run(&[], out, FlushCompress::Sync);
            strip_tail(out, from);
        }
        self.end_message();
    }

    fn context(&mut self) -> &mut Context {
        self.context.get_or_insert_with(|| take(self.bits, self.level))
    }

    fn end_message(&mut self) {
        self.flushed = true;
        if !self.takeover
            && let Some(context) = self.context.take()
        {
            pool::give(&CONTEXTS, context);
        }
    }
}

/// Takes the tail off what was written behind `from`.
fn strip_tail(out: &mut Vec<u8>, from: usize) {
    debug_assert!(out[from..].ends_with(TAIL), "a flush ends with an empty block");
    out.truncate(out.len() - TAIL.len());
}

#[cfg(all(test, feature = "client"))]
impl Compressor {
    /// Whether it holds a context.
    pub(in crate::proto) fn is_busy(&self) -> bool {
        self.context.is_some()
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor")
            .field("takeover", &self.takeover)
            .field("bits", &self.bits)
            .field("level", &self.level)
            .field("holds_context", &self.context.is_some())
            .finish()
    }
}
