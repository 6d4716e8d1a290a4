//! How a message is taken that is there whole and in one frame: by far the most common case.

use bytes::Bytes;
use bytestring::ByteString;

#[cfg(feature = "tokio")]
use super::Receiving;
use super::{Decoder, Event, Message, Stage, Violation, frame, mask, take};

impl Decoder {
    /// Whether [`receive_plain`](Self::receive_plain) may be used.
    #[cfg(feature = "tokio")]
    pub(in crate::proto) fn is_plain(&self) -> bool {
        #[cfg(feature = "deflate")]
        if self.inflating.is_some() {
            return false;
        }
        matches!(self.stage, Stage::Header)
            && self.header_len == 0
            && self.fragments == 0
            && self.receiving == Receiving::Messages
            && self.mask_bit != 0
    }

    /// Takes a message that a client sent in one frame and that is whole at the front of `input`, or takes
    /// nothing and leaves `input` as it was.
    ///
    /// `at` grows by what was taken. The decoder [is plain](Self::is_plain) before and after.
    #[cfg(feature = "tokio")]
    #[inline(always)]
    pub(in crate::proto) fn receive_plain(
        &self,
        input: &mut [u8],
        at: &mut usize,
    ) -> Option<Message> {
        let [first @ (frame::TEXT | frame::BINARY), second, rest @ ..] = input else { return None };
        let is_text = *first == frame::TEXT;
        // Without the mask bit it is 128 and more.
        let (len, header, key, rest) = match *second ^ frame::MASK {
            len @ 0..=125 => {
                let (key, rest) = rest.split_first_chunk_mut::<4>()?;
                (usize::from(len), 6, *key, rest)
            }
            126 => {
                let (&mut [a, b, ref key @ ..], rest) = rest.split_first_chunk_mut::<6>()?;
                let len = u16::from_be_bytes([a, b]);
                if len < 126 {
                    return None;
                }
                (usize::from(len), 8, *key, rest)
            }
            _ => return None,
        };
        // No wrap: it is at most 65,535.
        if len as isize > self.max_whole {
            return None;
        }
        let payload = rest.get_mut(..len)?;
        mask(payload, key, 0);
        let message = if is_text {
            let Ok(text) = simdutf8::basic::from_utf8(payload) else {
                mask(payload, key, 0);
                return None;
            };
            Message::Text(ByteString::from(text))
        } else {
            Message::Binary(Bytes::copy_from_slice(payload))
        };
        *at += header + len;
        Some(message)
    }

    /// Takes a message that is in `input` whole and in one frame, by far the most common case; `None`
    /// leaves everything else, faults included, to [`receive`](Self::receive).
    #[inline(always)]
    pub(in crate::proto) fn receive_whole(
        &mut self,
        input: &mut &mut [u8],
    ) -> Option<Result<Event, Violation>> {
        if !matches!(self.stage, Stage::Header) || self.header_len > 0 || self.fragments > 0 {
            return None;
        }
        let &[first @ (frame::TEXT | frame::BINARY), second, ref rest @ ..] = &**input else {
            return None;
        };
        // A wrong mask bit makes a length of 128 and more.
        let (len, mut at) = match second ^ self.mask_bit {
            len @ 0..=125 => (usize::from(len), 2),
            126 => match rest.first_chunk() {
                Some(len) if len[0] > 0 || len[1] > 125 => (u16::from_be_bytes(*len).into(), 4),
                _ => return None,
            },
            _ => return None,
        };
        // No wrap: it is at most 65,535.
        if len as isize > self.max_whole {
            return None;
        }
        let mut key = None;
        if self.mask_bit != 0 {
            key = Some(*input.get(at..)?.first_chunk()?);
            at += 4;
        }
        if input.len() - at < len {
            return None;
        }
        let payload = &mut take(input, at + len)[at..];
        if let Some(key) = key {
            mask(payload, key, 0);
        }
        Some(self.whole_message(first == frame::TEXT, payload))
    }

    /// A message that is there whole: the one copy is out of the input.
    #[inline(always)]
    pub(super) fn whole_message(
        &mut self,
        is_text: bool,
        payload: &[u8],
    ) -> Result<Event, Violation> {
        let message = if is_text {
            let Ok(text) = simdutf8::basic::from_utf8(payload) else {
                self.stop();
                return Err(Violation::TextUtf8);
            };
            Message::Text(ByteString::from(text))
        } else {
            Message::Binary(Bytes::copy_from_slice(payload))
        };
        Ok(Event::Message(message))
    }
}
