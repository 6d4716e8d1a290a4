//! The fuzzer's bytes as decisions.

/// Gives zeros at its end.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    pub(crate) fn bit(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// A length: mostly a short one.
    pub(crate) fn len(&mut self) -> usize {
        match self.byte() {
            short @ 0..200 => usize::from(short),
            long => usize::from(long - 199) * 300,
        }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }
}
