//! UTF-8 that arrives in pieces, checked as it comes and failed at the first byte that makes it
//! impossible.

use std::{mem, str};

/// Text under construction.
///
/// Validated pieces are appended as text, so that the finished whole needs no second check. A character
/// cut by the end of a piece waits in a few bytes on the side until it is whole.
#[derive(Debug, Default)]
pub(super) struct TextBuilder {
    text: String,
    cut: CutCharacter,
}

/// These bytes cannot be UTF-8, whatever follows.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::proto) struct InvalidUtf8;

impl TextBuilder {
    /// Bytes taken so far.
    pub(super) fn len(&self) -> usize {
        self.text.len() + self.cut.len()
    }

    /// Makes room for this many bytes more, and no others.
    pub(super) fn reserve_exact(&mut self, additional: usize) {
        self.text.reserve_exact(additional);
    }

    /// Bytes that fit without an allocation, those taken included.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity() + self.cut.len()
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        self.cut.feed(bytes, |text| self.text.push_str(text))
    }

    /// The text up to its last whole character. What follows is a text of its own.
    pub(super) fn take(&mut self) -> String {
        mem::take(&mut self.text)
    }

    /// The whole text.
    pub(super) fn finish(self) -> Result<String, InvalidUtf8> {
        self.cut.finish()?;
        Ok(self.text)
    }
}

/// Checks text that arrives in pieces: the state between two of them.
///
/// It is the beginning of a character that the end of a piece cut, always one that can still become
/// valid.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::proto) struct CutCharacter {
    bytes: [u8; 4],
    len: u8,
}

impl CutCharacter {
    fn len(self) -> usize {
        self.len.into()
    }

    /// Looks at the next bytes without keeping them.
    pub(in crate::proto) fn check(&mut self, bytes: &[u8]) -> Result<(), InvalidUtf8> {
        self.feed(bytes, |_| {})
    }

    /// Nothing may follow: is a character left unfinished?
    pub(in crate::proto) fn finish(self) -> Result<(), InvalidUtf8> {
        if self.len > 0 { Err(InvalidUtf8) } else { Ok(()) }
    }

    /// Gives the characters that the next bytes make whole to `text`, in order.
    fn feed(&mut self, mut bytes: &[u8], mut text: impl FnMut(&str)) -> Result<(), InvalidUtf8> {
        while self.len > 0 {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(()) };
            bytes = rest;
            self.complete(byte, &mut text)?;
        }
        let (whole, cut) = bytes.split_at(last_boundary(bytes));
        text(simdutf8::basic::from_utf8(whole).map_err(|_| InvalidUtf8)?);
        for &byte in cut {
            self.complete(byte, &mut text)?;
        }
        Ok(())
    }

    /// Adds a byte to the character that is not whole yet.
    fn complete(&mut self, byte: u8, text: impl FnOnce(&str)) -> Result<(), InvalidUtf8> {
        let len = self.len();
        // Four bytes are a character or a fault, so there is always room for the next.
        *self.bytes.get_mut(len).ok_or(InvalidUtf8)? = byte;
        match str::from_utf8(&self.bytes[..=len]) {
            Ok(character) => {
                text(character);
                self.len = 0;
                Ok(())
            }
            // No length means that more bytes could repair it.
            Err(error) if error.error_len().is_none() => {
                self.len += 1;
                Ok(())
            }
            Err(_) => Err(InvalidUtf8),
        }
    }
}

/// Where the last character begins if it is cut short by the end of `bytes`, else the end.
fn last_boundary(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let at = bytes.len() - back;
        let needs = match bytes[at] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
            _ => 1,
        };
        return if needs > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The position at which the bytes are refused when pushed one at a time.
    fn refused_at(bytes: &[u8]) -> Option<usize> {
        let mut builder = TextBuilder::default();
        bytes.iter().position(|&byte| builder.push(&[byte]).is_err())
    }

    fn in_pieces(bytes: &[u8], cuts: &[usize]) -> Result<String, InvalidUtf8> {
        let mut builder = TextBuilder::default();
        let mut rest = bytes;
        for &cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            builder.push(piece)?;
            rest = after;
        }
        builder.push(rest)?;
        assert_eq!(builder.len(), bytes.len());
        builder.finish()
    }

    /// U-01, U-04
    #[test]
    fn a_byte_that_makes_validity_impossible_is_refused_at_once() {
        let table: &[(&[u8], usize)] = &[
            (b"a\x80", 1),
            (b"\xc0", 0),
            (b"\xc1", 0),
            (b"\xc3(", 1),
            (b"\xe0\x80", 1),
            (b"\xe0\x9f", 1),
            (b"\xe2\x82(", 2),
            (b"\xed\xa0", 1),
            (b"\xf0\x8f", 1),
            (b"\xf0\x9f\x98\xc0", 3),
            (b"\xf4\x90", 1),
            (b"\xf5", 0),
            (b"\xff", 0),
        ];
        for &(bytes, at) in table {
            assert_eq!(refused_at(bytes), Some(at), "{bytes:02x?}");
            // In the same push, and behind text that fills vectors.
            let mut long = vec![b'x'; 200];
            long.extend_from_slice(&bytes[..=at]);
            assert_eq!(in_pieces(&long, &[]), Err(InvalidUtf8), "{bytes:02x?}");
        }
    }

    /// U-02, U-05
    #[test]
    fn text_is_taken_whole_wherever_it_is_cut() {
        let text = "\u{feff}a\0é\u{7ff}\u{800}€\u{d7ff}\u{e000}\u{ffff}\u{10000}😀\u{10ffff}z";
        assert_eq!(refused_at(text.as_bytes()), None);
        for i in 0..=text.len() {
            for j in 0..=text.len() - i {
                assert_eq!(in_pieces(text.as_bytes(), &[i, j]).as_deref(), Ok(text));
            }
        }
    }

    /// U-03
    #[test]
    fn an_unfinished_character_at_the_end_is_refused() {
        for bytes in [&b"\xc3"[..], b"ab\xe2\x82", b"\xf0\x9f\x98"] {
            assert_eq!(refused_at(bytes), None, "could still become valid");
            assert_eq!(in_pieces(bytes, &[]), Err(InvalidUtf8));
        }
        let mut builder = TextBuilder::default();
        builder.push(b"\xe2").unwrap();
        builder.push(b"").unwrap();
        assert_eq!(builder.finish(), Err(InvalidUtf8), "empty pieces do not hide it");
    }

    /// U-02
    #[test]
    fn text_taken_in_parts_ends_on_whole_characters() {
        let mut builder = TextBuilder::default();
        builder.push("a€".as_bytes().split_at(2).0).unwrap();
        assert_eq!((builder.take(), builder.len()), (String::from("a"), 1));
        builder.push(&"€".as_bytes()[1..]).unwrap();
        assert_eq!(builder.take(), "€");
        builder.push(b"\xe2").unwrap();
        assert_eq!(builder.take(), "");
        assert_eq!(builder.finish(), Err(InvalidUtf8), "the cut character is not forgotten");
    }

    proptest! {
        /// U-01, U-02: agrees with the standard library on every input and every cutting.
        #[test]
        fn agrees_with_the_standard_library(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(&b"a\x80\xbf\xc3\xe0\xed\xf0\xf4"[..])],
                0..12,
            ),
            cuts in prop::collection::vec(0usize..5, 0..6),
        ) {
            let expected = std::str::from_utf8(&bytes);
            let text = in_pieces(&bytes, &cuts).ok();
            prop_assert_eq!(text.as_deref(), expected.ok());
            // Byte by byte it fails exactly where no continuation could make it valid.
            let impossible = expected.err().and_then(|error| {
                error.error_len().map(|_| {
                    (error.valid_up_to()..bytes.len())
                        .find(|&at| {
                            std::str::from_utf8(&bytes[..=at])
                                .is_err_and(|error| error.error_len().is_some())
                        })
                        .unwrap()
                })
            });
            prop_assert_eq!(refused_at(&bytes), impossible);
        }

        #[test]
        fn takes_any_text_in_any_pieces(
            text in "\\PC{0,200}",
            cuts in prop::collection::vec(0usize..90, 0..20),
        ) {
            prop_assert_eq!(in_pieces(text.as_bytes(), &cuts).ok(), Some(text));
        }
    }
}
