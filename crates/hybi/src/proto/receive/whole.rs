//! How a message is taken that is there whole and in one frame: by far the most common case.

use bytes::Bytes;
#[cfg(feature = "tokio")]
use bytes::BytesMut;
use bytestring::ByteString;

use super::assembly;
use super::decoder::{Decoder, take};
use crate::proto::event::Event;
#[cfg(feature = "tokio")]
use crate::proto::event::{Receiving, Role};
use crate::proto::message::{Message, MessageKind};
#[cfg(feature = "tokio")]
use crate::proto::wire::copy_masked;
use crate::proto::wire::{self, mask, masked_copy};

/// Below this length the standard library checks text as fast as `simdutf8`, and checks it where it will stay.
const SHORT_TEXT: usize = 64;

/// Payloads of up to this length share an allocation with those that arrive next.
#[cfg(feature = "tokio")]
const SHARED: usize = 64;

/// How much they share: what keeping one of them keeps at most.
#[cfg(feature = "tokio")]
const CHUNK: usize = 1024;

/// Where short payloads are copied to. One allocation serves many of them. It holds zeros that were not used yet.
#[cfg(feature = "tokio")]
#[derive(Debug, Default)]
pub(crate) struct Arena(BytesMut);

#[cfg(feature = "tokio")]
impl Arena {
    #[inline(always)]
    fn masked_copy(&mut self, payload: &[u8], key: [u8; 4]) -> Bytes {
        if payload.len() > SHARED {
            return masked_copy(payload, key).into();
        }
        if self.0.len() < payload.len() {
            self.renew();
        }
        let mut copy = self.0.split_to(payload.len());
        copy_masked(payload, &mut copy, key);
        copy.freeze()
    }

    /// Takes the allocation anew where none of its payloads is left, or else a new one.
    #[cold]
    #[inline(never)]
    fn renew(&mut self) {
        self.0.clear();
        self.0.resize(CHUNK, 0);
    }
}

impl Decoder {
    /// Whether [`receive_plain`](Self::receive_plain) may be used.
    #[cfg(feature = "tokio")]
    pub(in crate::proto) fn is_plain(&self) -> bool {
        #[cfg(feature = "deflate")]
        if self.inflating.is_some() {
            return false;
        }
        self.is_header_due()
            && self.receiving() == Receiving::Messages
            && self.role() == Role::Server
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
        arena: &mut Arena,
    ) -> Option<Message> {
        let copy = |payload: &mut [u8], key| arena.masked_copy(payload, key);
        let (message, taken) = self.whole_frame(input, wire::MASK, copy)?;
        *at += taken;
        Some(message)
    }

    /// Takes a message that is in `input` whole and in one frame; `None` leaves everything else, faults
    /// included, to [`receive`](Self::receive).
    #[inline(always)]
    pub(in crate::proto) fn receive_whole(&mut self, input: &mut &mut [u8]) -> Option<Event> {
        if !self.is_header_due() {
            return None;
        }
        let copy = |payload: &mut [u8], key| masked_copy(payload, key).into();
        let (message, taken) = self.whole_frame(input, self.mask_bit, copy)?;
        take(input, taken);
        Some(Event::Message(message))
    }

    /// The message in the frame at the front of `input`, and the frame's length. `None` leaves `input` as it
    /// was. `copy` makes an unmasked copy of a payload.
    #[inline(always)]
    fn whole_frame(
        &self,
        input: &mut [u8],
        mask_bit: u8,
        copy: impl FnOnce(&mut [u8], [u8; 4]) -> Bytes,
    ) -> Option<(Message, usize)> {
        let [first @ (wire::TEXT | wire::BINARY), second, rest @ ..] = input else { return None };
        // A wrong mask bit makes a length of 128 and more.
        let (len, header, rest) = match *second ^ mask_bit {
            len @ 0..=125 => (usize::from(len), 2, rest),
            126 => {
                let (len, rest) = rest.split_first_chunk_mut()?;
                let len = u16::from_be_bytes(*len);
                if len < 126 {
                    return None;
                }
                (usize::from(len), 4, rest)
            }
            _ => return None,
        };
        // No wrap: it is at most 65,535.
        if len as isize > self.max_whole {
            return None;
        }
        let kind = if *first == wire::TEXT { MessageKind::Text } else { MessageKind::Binary };
        if mask_bit == 0 {
            let payload = rest.get(..len)?;
            return Some((assembly::whole(kind, payload).ok()?, header + len));
        }
        let (&mut key, rest) = rest.split_first_chunk_mut()?;
        let payload = rest.get_mut(..len)?;
        let message = if kind == MessageKind::Binary {
            Message::Binary(copy(payload, key))
        } else if len < SHORT_TEXT {
            Message::Text(ByteString::try_from(copy(payload, key)).ok()?)
        } else {
            // The check makes text of what it looked at, and only of a copy a message can be made.
            mask(payload, key, 0);
            let Ok(text) = simdutf8::basic::from_utf8(payload) else {
                mask(payload, key, 0);
                return None;
            };
            Message::Text(text.into())
        };
        Some((message, header + key.len() + len))
    }
}
