//! One read buffer and one write buffer per thread, lent to the socket whose turn it is.
//!
//! An idle socket holds no buffer: it reads into the thread's, decodes from there, and gives it
//! back before its task yields. What could not be decoded by then is copied out ([`Input::keep`]).

use std::{cell::Cell, mem};

use bytes::BytesMut;

/// A frame of 64 KiB with the longest header fits, so that one read takes it whole.
pub(crate) const READ_SIZE: usize = 66 * 1024;

thread_local! {
    static READ: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static WRITE: Cell<Option<BytesMut>> = const { Cell::new(None) };
}

/// The thread's read buffer, zeroed once when the thread first reads.
pub(crate) fn take_read() -> Vec<u8> {
    // A thread at its end has none left.
    let buffer = READ.try_with(Cell::take).unwrap_or_default();
    if buffer.is_empty() { vec![0; READ_SIZE] } else { buffer }
}

pub(crate) fn give_read(buffer: Vec<u8>) {
    let _ = READ.try_with(|slot| slot.set(buffer));
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
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    lent: bool,
}

impl Input {
    /// The first `end` bytes of the thread's buffer.
    pub(crate) fn lent(buffer: Vec<u8>, end: usize) -> Self {
        Self { buffer, start: 0, end, lent: true }
    }

    /// Bytes of its own.
    pub(crate) fn owned(buffer: Vec<u8>) -> Self {
        Self { start: 0, end: buffer.len(), buffer, lent: false }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.end - self.start);
        self.start += n;
    }

    /// Gives a lent buffer back to the thread; what is left in it is copied.
    pub(crate) fn keep(&mut self) {
        if self.lent {
            // The value that is replaced gives its buffer back as it drops.
            *self = Self::owned(self.bytes().to_vec());
        } else if self.is_empty() && self.buffer.capacity() > 0 {
            *self = Self::default();
        }
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        if self.lent {
            give_read(mem::take(&mut self.buffer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_input_holds_only_what_is_left_of_the_lent_buffer() {
        let mut buffer = take_read();
        buffer[..4].copy_from_slice(b"abcd");
        let mut input = Input::lent(buffer, 4);
        input.consume(1);
        input.keep();
        assert_eq!(input.bytes(), b"bcd");
        assert!(input.buffer.capacity() < 16);
        assert_eq!(take_read()[..4], *b"abcd", "the thread has its buffer back");
    }

    #[test]
    fn a_used_up_input_holds_nothing() {
        let mut input = Input::owned(b"ab".to_vec());
        input.consume(2);
        input.keep();
        assert_eq!(input.buffer.capacity(), 0);
    }
}
