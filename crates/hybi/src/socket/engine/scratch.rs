//! The buffers of a thread, lent to the socket whose turn it is.
//!
//! An idle socket holds no buffer: it reads into the thread's, decodes from there, and gives it back before
//! its task yields. What could not be decoded by then is copied out ([`Input::keep`]).

use std::cell::Cell;

use bytes::BytesMut;

use crate::proto::Arena;

/// A frame of 64 KiB with the longest header fits, so that one read takes it whole.
pub(crate) const READ_SIZE: usize = 66 * 1024;

/// How much output is collected before it goes the ordinary way.
pub(crate) const WRITE_SIZE: usize = 64 * 1024;

/// A thread keeps so many buffers: one for each session that runs in another's handler.
const KEPT: u8 = 4;

/// A read buffer and a write buffer.
pub(crate) struct Scratch {
    /// What was read, from `start` to `end`, and not decoded yet.
    pub(super) read: Vec<u8>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// Frames that nobody has written to the transport yet, up to `written`.
    pub(super) write: Vec<u8>,
    pub(super) written: usize,
    pub(super) arena: Arena,
    /// The first of them is written in part.
    pub(super) half_written: bool,
    /// Messages that may be taken before others have their turn.
    pub(super) streak: u8,
    /// It belongs to the thread.
    lent: bool,
    /// How many there are in the list from here on.
    depth: u8,
    next: Option<Box<Self>>,
}

thread_local! {
    /// Those that nobody uses.
    static FREE: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
    static WRITE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// A buffer of the thread, with nothing in it.
#[inline]
pub(crate) fn take() -> Box<Scratch> {
    // A thread at its end has none left.
    match FREE.try_with(Cell::take) {
        Ok(Some(mut scratch)) => {
            if scratch.next.is_some() {
                let next = scratch.next.take();
                let _ = FREE.try_with(|free| free.set(next));
            }
            scratch
        }
        _ => Scratch::new(),
    }
}

/// Gives a buffer back to the thread.
#[inline]
pub(crate) fn give(mut scratch: Box<Scratch>) {
    scratch.start = 0;
    scratch.end = 0;
    scratch.written = 0;
    scratch.half_written = false;
    let _ = FREE.try_with(|free| {
        let next = free.take();
        if let Some(next) = next {
            if next.depth >= KEPT {
                free.set(Some(next));
                return;
            }
            scratch.depth = next.depth + 1;
            scratch.next = Some(next);
        } else {
            scratch.depth = 1;
        }
        free.set(Some(scratch));
    });
}

impl Scratch {
    /// Zeroed once, not with each read.
    #[cold]
    #[inline(never)]
    fn new() -> Box<Self> {
        Box::new(Self {
            read: vec![0; READ_SIZE],
            start: 0,
            end: 0,
            write: Vec::new(),
            written: 0,
            arena: Arena::default(),
            half_written: false,
            streak: 0,
            lent: true,
            depth: 1,
            next: None,
        })
    }

    fn owned(read: Vec<u8>) -> Box<Self> {
        let end = read.len();
        Box::new(Self {
            read,
            start: 0,
            end,
            write: Vec::new(),
            written: 0,
            arena: Arena::default(),
            half_written: false,
            streak: 0,
            lent: false,
            depth: 1,
            next: None,
        })
    }

    /// Makes the write buffer, which only the plain paths use.
    #[inline(always)]
    pub(super) fn with_write_buffer(mut self: Box<Self>) -> Box<Self> {
        if self.write.is_empty() {
            self.make_write_buffer();
        }
        self
    }

    #[cold]
    #[inline(never)]
    fn make_write_buffer(&mut self) {
        self.write = vec![0; WRITE_SIZE];
    }

    /// The whole read buffer.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.read
    }
}

/// An empty buffer for output, with the capacity that an earlier socket left in it.
pub(crate) fn take_write() -> BytesMut {
    WRITE.try_with(Cell::take).ok().flatten().unwrap_or_default()
}

/// Keeps `buffer` for the next socket of this thread, unless it has grown large.
pub(crate) fn give_write(mut buffer: BytesMut) {
    if buffer.capacity() > 0 && buffer.capacity() <= READ_SIZE {
        buffer.clear();
        let _ = WRITE.try_with(|slot| slot.set(Some(buffer)));
    }
}

/// Bytes that were read and not yet decoded.
#[derive(Default)]
pub(crate) struct Input(Option<Box<Scratch>>);

impl Input {
    /// What is in a buffer of the thread.
    pub(crate) fn lent(scratch: Box<Scratch>) -> Self {
        Self(Some(scratch))
    }

    /// The first `n` bytes of a buffer of the thread.
    pub(crate) fn filled(mut scratch: Box<Scratch>, n: usize) -> Self {
        scratch.start = 0;
        scratch.end = n;
        Self::lent(scratch)
    }

    /// Bytes of its own.
    pub(crate) fn owned(bytes: Vec<u8>) -> Self {
        if bytes.is_empty() { Self(None) } else { Self(Some(Scratch::owned(bytes))) }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|scratch| scratch.start == scratch.end)
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Some(scratch) => &mut scratch.read[scratch.start..scratch.end],
            None => &mut [],
        }
    }

    pub(crate) fn consume(&mut self, n: usize) {
        if let Some(scratch) = &mut self.0 {
            debug_assert!(n <= scratch.end - scratch.start);
            scratch.start += n;
        }
    }

    /// The thread's buffer, if it is lent here and used up.
    pub(crate) fn reclaim(&mut self) -> Option<Box<Scratch>> {
        self.0.take_if(|scratch| scratch.lent && scratch.start == scratch.end)
    }

    /// Gives a lent buffer back to the thread; what is left in it is copied.
    #[inline]
    pub(crate) fn keep(&mut self) {
        if self.0.is_some() {
            self.keep_now();
        }
    }

    fn keep_now(&mut self) {
        if let Some(scratch) =
            self.0.take_if(|scratch| scratch.lent || scratch.start == scratch.end)
        {
            if scratch.start < scratch.end {
                *self = Self::owned(scratch.read[scratch.start..scratch.end].to_vec());
            }
            if scratch.lent {
                give(scratch);
            }
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if let Some(scratch) = self.0.take()
            && scratch.lent
        {
            give(scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_input_holds_only_what_is_left_of_the_lent_buffer() {
        let mut scratch = take();
        scratch.space()[..4].copy_from_slice(b"abcd");
        let mut input = Input::filled(scratch, 4);
        input.consume(1);
        input.keep();
        assert_eq!(input.bytes(), b"bcd");
        assert!(input.0.as_ref().is_some_and(|scratch| scratch.read.capacity() < 16));
        assert_eq!(take().space()[..4], *b"abcd", "the thread has its buffer back");
    }

    #[test]
    fn a_used_up_input_holds_nothing() {
        let mut input = Input::owned(b"ab".to_vec());
        input.consume(2);
        input.keep();
        assert!(input.0.is_none());
    }

    #[test]
    fn a_thread_keeps_a_buffer_for_each_of_a_few_nested_sessions() {
        for _ in 0..2 {
            let mut all: Vec<_> = (0..usize::from(KEPT) + 2).map(|_| take()).collect();
            for (mark, scratch) in all.iter_mut().enumerate() {
                scratch.space()[0] = mark as u8 + 1;
            }
            all.into_iter().for_each(give);
            let again: Vec<_> = (0..usize::from(KEPT) + 2).map(|_| take()).collect();
            let kept = again.iter().filter(|scratch| scratch.read[0] != 0).count();
            assert_eq!(kept, usize::from(KEPT));
            again.into_iter().for_each(|mut scratch| {
                scratch.space()[0] = 0;
                give(scratch);
            });
        }
    }
}
