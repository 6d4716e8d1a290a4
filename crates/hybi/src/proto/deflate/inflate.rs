//! How compressed messages are inflated, in bounded steps.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use flate2::{Decompress, FlushDecompress, Status};

use super::pool::{self, Pool};
use super::window::{MAX_BITS, MIN_BITS};

/// The most that one step gives.
pub(in crate::proto) const STEP: usize = 16 * 1024;

/// How far back any message can refer.
const WINDOW: usize = 1 << MAX_BITS;

/// The end of every message, which the sender leaves away (RFC 7692 section 7.2.1).
const TAIL: &[u8] = &[0x00, 0x00, 0xff, 0xff];

/// An empty last block. Only between two blocks does it end the stream and give nothing.
const LAST_BLOCK: &[u8] = &[0x03, 0x00];

/// These bytes are not what a compressor makes, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct InvalidData;

/// Inflates the messages of one connection, one after the other.
///
/// [`inflate`](Self::inflate) is called with each piece of a message until it gives nothing more, then
/// [`finish`](Self::finish) until it gives nothing more. After an error it is not used again.
///
/// An empty step stands for work that had no output: a last block was passed, behind which the history is
/// laid out anew. Two bytes make one, so the caller counts it as well.
pub(in crate::proto) struct Inflater {
    /// How much of earlier messages the next one may refer to: nothing without context takeover.
    keep: usize,
    /// The end of earlier messages. Keeping this and no inflater is a third of the memory, costs a copy a
    /// message, and is needed anyway where a stream ends in mid-message.
    history: VecDeque<u8>,
    /// There only in mid-message, once it has any payload.
    context: Option<Context>,
}

thread_local! {
    static CONTEXTS: Pool<Context> = const { Pool::new(Vec::new()) };
}

/// What it takes to inflate one message.
struct Context {
    decompress: Decompress,
    /// What the message gave last: at least `WINDOW` bytes once it gave so much, and room for a step.
    window: Box<[u8]>,
    len: usize,
    /// The last step was full, so there may be more without further input.
    full: bool,
    /// A last block has ended and nothing came after it.
    ended: bool,
    /// What is left of the message's tail, once `finish` has begun.
    tail: Option<&'static [u8]>,
}

impl Context {
    fn new() -> Self {
        Self {
            decompress: Decompress::new_with_window_bits(false, MAX_BITS),
            window: vec![0; WINDOW + STEP].into(),
            len: 0,
            full: false,
            ended: false,
            tail: None,
        }
    }

    /// Forgets the message before, of whichever connection it was: nothing of its data can be referred to.
    fn begin(&mut self, history: &VecDeque<u8>) -> Result<(), InvalidData> {
        self.len = 0;
        self.full = false;
        self.ended = false;
        self.tail = None;
        self.restart(history)
    }

    /// Begins a new stream that can refer to all that was before.
    fn restart(&mut self, history: &VecDeque<u8>) -> Result<(), InvalidData> {
        self.decompress.reset(false);
        let (older, newer) = history.as_slices();
        for part in [older, newer, &self.window[..self.len]] {
            if !part.is_empty() {
                self.decompress.set_dictionary(part).map_err(|_| InvalidData)?;
            }
        }
        Ok(())
    }

    /// Takes from the front of `input` until there is output, whose place in the window it gives, or no
    /// more input. The place is empty where a last block was passed.
    fn step(
        &mut self,
        input: &mut &[u8],
        history: &VecDeque<u8>,
    ) -> Result<Option<Range<usize>>, InvalidData> {
        while self.full || !input.is_empty() {
            if self.ended {
                self.ended = false;
                self.restart(history)?;
                return Ok(Some(self.len..self.len));
            }
            if self.window.len() - self.len < STEP {
                self.window.copy_within(self.len - WINDOW..self.len, 0);
                self.len = WINDOW;
            }
            let place = &mut self.window[self.len..][..STEP];
            let (read, written) = (self.decompress.total_in(), self.decompress.total_out());
            let status = self
                .decompress
                .decompress(input, place, FlushDecompress::None)
                .map_err(|_| InvalidData)?;
            let read = (self.decompress.total_in() - read) as usize;
            let written = (self.decompress.total_out() - written) as usize;
            *input = &input[read..];
            self.full = written == STEP;
            if status == Status::StreamEnd {
                // What follows is another stream (RFC 7692 section 7.2.3.4).
                self.ended = true;
                self.full = false;
            } else if read == 0 && written == 0 && !input.is_empty() {
                return Err(InvalidData);
            }
            if written > 0 {
                let from = self.len;
                self.len += written;
                return Ok(Some(from..self.len));
            }
        }
        Ok(None)
    }
}

impl Inflater {
    pub(super) fn new(takeover: bool, bits: u8) -> Self {
        // A window of 8 bits is one of 9 to widespread compressors.
        let keep = if takeover { 1 << bits.clamp(MIN_BITS, MAX_BITS) } else { 0 };
        Self { keep, history: VecDeque::new(), context: None }
    }

    /// Inflates from the front of `input` and gives up to [`STEP`] bytes; `None` when the input is used up
    /// and gives nothing more.
    pub(in crate::proto) fn inflate(
        &mut self,
        input: &mut &[u8],
    ) -> Result<Option<&[u8]>, InvalidData> {
        if self.context.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            let mut context = pool::take(&CONTEXTS, |_| true).unwrap_or_else(Context::new);
            context.begin(&self.history)?;
            self.context = Some(context);
        }
        let Some(context) = &mut self.context else { return Ok(None) };
        Ok(context.step(input, &self.history)?.map(|place| &context.window[place]))
    }

    /// Ends the message: gives up to [`STEP`] bytes of what is left, and `None` when it is complete.
    ///
    /// A message without any payload is an empty one and leaves the history alone, though no compressor
    /// makes it.
    pub(in crate::proto) fn finish(&mut self) -> Result<Option<&[u8]>, InvalidData> {
        let Some(context) = &mut self.context else { return Ok(None) };
        // Behind a last block there is nothing to complete.
        let mut tail = context.tail.unwrap_or(if context.ended { &[] } else { TAIL });
        let place = context.step(&mut tail, &self.history)?;
        context.tail = Some(tail);
        if place.is_none() {
            self.end_message()?;
        }
        // Borrowed again, because there is no context behind the end.
        Ok(self.context.as_ref().zip(place).map(|(context, place)| &context.window[place]))
    }

    fn end_message(&mut self) -> Result<(), InvalidData> {
        let Some(mut context) = self.context.take() else { return Ok(()) };
        if !context.ended {
            let mut probe = LAST_BLOCK;
            let output = context.step(&mut probe, &self.history)?;
            if output.is_some() || !context.ended || !probe.is_empty() {
                return Err(InvalidData);
            }
        }
        self.remember(&context.window[context.len.saturating_sub(self.keep)..context.len]);
        pool::give(&CONTEXTS, context);
        Ok(())
    }

    /// Adds to the history, of which nothing more is kept than may be referred to.
    fn remember(&mut self, new: &[u8]) {
        let excess = (self.history.len() + new.len()).saturating_sub(self.keep);
        self.history.drain(..excess);
        let needed = self.history.len() + new.len();
        if needed > self.history.capacity() {
            let room = needed.max(2 * self.history.capacity()).min(self.keep);
            self.history.reserve_exact(room - self.history.len());
        }
        self.history.extend(new);
    }

    /// Bytes held, for tests of memory.
    #[cfg(test)]
    pub(in crate::proto) fn held(&self) -> usize {
        let context = self.context.as_ref().map_or(0, |context| context.window.len());
        self.history.capacity() + context
    }
}

impl fmt::Debug for Inflater {
    /// Shows no payload.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater")
            .field("keep", &self.keep)
            .field("history", &self.history.len())
            .field("mid_message", &self.context.is_some())
            .finish()
    }
}
