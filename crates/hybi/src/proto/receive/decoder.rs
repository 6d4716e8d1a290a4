//! How frames become messages: header, unmasking, reassembly, validation, limits.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::assembly;
use super::control::control_event;
#[cfg(feature = "deflate")]
use super::inflating::Inflating;
use super::open::{Frame, Open, OpenMessage};
use crate::proto::event::{Event, Receiving, Role};
use crate::proto::limits::Limits;
use crate::proto::message::MessageKind;
use crate::proto::violation::Violation;
use crate::proto::wire::{self, First, MAX_HEADER, OpCode, Rest};

/// A part is given out from this length on; a shorter one first gathers what else is in the input, so
/// that a message in tiny frames does not become as many tiny parts.
pub(super) const PART: usize = 16 * 1024;

#[derive(Debug)]
pub(in crate::proto) struct Decoder {
    /// The bit that every frame has in its second byte: set in a client's, clear in a server's.
    pub(super) mask_bit: u8,
    /// Nothing more is read: the peer closed, or the connection failed.
    discards: bool,
    receiving: Receiving,
    /// The longest message in one frame that may be taken at once; negative if none may.
    pub(super) max_whole: isize,
    pub(super) limits: Arc<Limits>,
    /// There while something is half received.
    pub(super) open: Option<Box<Open>>,
    /// There if compression was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) inflating: Option<Box<Inflating>>,
}

impl Decoder {
    pub(in crate::proto) fn new(role: Role, limits: Arc<Limits>) -> Self {
        let mut decoder = Self {
            mask_bit: if role == Role::Server { wire::MASK } else { 0 },
            discards: false,
            receiving: Receiving::Messages,
            max_whole: 0,
            limits,
            open: None,
            #[cfg(feature = "deflate")]
            inflating: None,
        };
        decoder.set_receiving(Receiving::Messages);
        decoder
    }

    /// The end that receives.
    pub(in crate::proto) fn role(&self) -> Role {
        if self.mask_bit == 0 { Role::Client } else { Role::Server }
    }

    /// Changes what becomes of the messages from here on; see `Connection::set_receiving`.
    pub(in crate::proto) fn set_receiving(&mut self, receiving: Receiving) {
        self.receiving = receiving;
        self.max_whole = match receiving {
            Receiving::Parts => -1,
            _ => {
                let longest = self.limits.max_message.min(self.limits.frame_limit());
                longest.try_into().unwrap_or(isize::MAX)
            }
        };
        if let Some(message) = self.message_mut() {
            message.in_parts |= receiving == Receiving::Parts;
        }
        if self.is_judged()
            && let Some(violation) = self.overrun()
            && let Some(open) = &mut self.open
        {
            open.frame = None;
            open.failed = Some(violation);
        }
    }

    #[inline(always)]
    pub(in crate::proto) fn receiving(&self) -> Receiving {
        self.receiving
    }

    /// The kind of the message that has begun, once the header of its first frame is there.
    pub(in crate::proto) fn open_message(&self) -> Option<MessageKind> {
        self.message().map(|message| message.content.kind())
    }

    /// Whether no message is open, and nothing is there of the next header.
    #[inline(always)]
    pub(super) fn is_header_due(&self) -> bool {
        self.open.is_none() && !self.discards
    }

    pub(super) fn message(&self) -> Option<&OpenMessage> {
        self.open.as_ref()?.message.as_ref()
    }

    pub(super) fn message_mut(&mut self) -> Option<&mut OpenMessage> {
        self.open.as_mut()?.message.as_mut()
    }

    /// The length of what is held of the open message.
    pub(super) fn held(&self) -> usize {
        self.message().map_or(0, |message| message.content.len())
    }

    /// Whether the message that is open is given out in parts.
    pub(super) fn in_parts(&self) -> bool {
        self.message().is_some_and(|message| message.in_parts)
    }

    /// Whether input is left alone until it is decided what becomes of the open message.
    #[inline]
    pub(in crate::proto) fn is_held(&self) -> bool {
        self.open.is_some() && self.is_open_held()
    }

    fn is_open_held(&self) -> bool {
        self.room() == 0 || (self.is_undecided() && self.overrun().is_some())
    }

    /// Whether the open message is one of which nobody has said whether it is taken in parts.
    fn is_undecided(&self) -> bool {
        let Some(open) = &self.open else { return false };
        matches!(self.receiving, Receiving::Undecided { .. })
            && open.message.as_ref().is_some_and(|message| !message.in_parts)
            && open.failed.is_none()
    }

    /// How many bytes more of the open message are taken.
    pub(super) fn room(&self) -> usize {
        match self.receiving {
            Receiving::Undecided { read_ahead } if self.is_undecided() => {
                read_ahead.saturating_sub(self.held())
            }
            _ => usize::MAX,
        }
    }

    /// Whether the limits on whole messages hold for the message that is open, or the next.
    pub(super) fn is_judged(&self) -> bool {
        self.receiving == Receiving::Messages && !self.in_parts()
    }

    /// How the open message, as far as it was announced, is past what a whole one may be.
    pub(super) fn overrun(&self) -> Option<Violation> {
        let open = self.open.as_ref()?;
        let message = open.message.as_ref()?;
        let announced = match open.frame {
            Some(frame) if !frame.first.opcode.is_control() => frame.missing,
            _ => 0,
        };
        let (longest, most) = (self.limits.max_message, self.limits.fragment_limit());
        if message.fragments > most.max(1) {
            return Some(Violation::TooManyFragments { limit: most });
        }
        #[cfg(feature = "deflate")]
        if self.is_compressed() {
            return self
                .is_compressed_overrun(announced)
                .then_some(Violation::MessageTooBig { limit: longest });
        }
        (message.content.len().saturating_add(announced) > longest)
            .then_some(Violation::MessageTooBig { limit: longest })
    }

    /// Takes bytes from the front of `input` until an event is complete or the input is used up.
    pub(in crate::proto) fn receive(
        &mut self,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, Violation> {
        let result = self.try_receive(input);
        self.settle(&result);
        result
    }

    /// Lets go of what is not needed after this.
    pub(super) fn settle(&mut self, result: &Result<Option<Event>, Violation>) {
        if matches!(result, Err(_) | Ok(Some(Event::Close(_)))) {
            self.stop();
        } else if self.open.as_ref().is_some_and(|open| open.is_empty()) {
            self.open = None;
        }
    }

    /// Whether a data message has begun and is not complete.
    pub(in crate::proto) fn is_mid_message(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.is_mid_message())
    }

    /// Discards everything from now on, and what is half received.
    pub(in crate::proto) fn stop(&mut self) {
        self.discards = true;
        self.open = None;
        #[cfg(feature = "deflate")]
        {
            self.inflating = None;
        }
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn is_settled(&self) -> bool {
        self.open.is_none()
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn reserved(&self) -> usize {
        #[cfg(feature = "deflate")]
        let inflating = self.inflating.as_ref().map_or(0, |inflating| inflating.held());
        #[cfg(not(feature = "deflate"))]
        let inflating = 0;
        self.open.as_ref().map_or(0, |open| open.reserved()) + inflating
    }

    fn try_receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        if self.discards {
            *input = &mut [];
            return Ok(None);
        }
        if let Some(violation) = self.open.as_ref().and_then(|open| open.failed) {
            return Err(violation);
        }
        while !self.is_held() {
            // What was held for a decision goes out before more is added to it.
            if self.in_parts() && self.held() >= PART {
                return Ok(self.part());
            }
            #[cfg(feature = "deflate")]
            if self.inflating.as_mut().is_some_and(|inflating| inflating.take_pause()) {
                return Ok(self.part());
            }
            let event = match self.open.as_ref().and_then(|open| open.frame) {
                None => match self.header(input)? {
                    Some(frame) => self.begin(frame, input)?,
                    None => return Ok(self.part()),
                },
                Some(frame) if input.is_empty() && frame.missing > 0 => return Ok(self.part()),
                Some(frame) => self.payload(frame, input)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// What has gathered of a message that is given out in parts.
    fn part(&mut self) -> Option<Event> {
        let part = self.message_mut()?.take_part()?;
        Some(Event::Part { part, last: false })
    }

    /// Takes a header off the input, or keeps what there is of it.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, Violation> {
        let kept = self.open.as_ref().map_or(&[][..], |open| open.header());
        if kept.is_empty() {
            if let Some((frame, size)) = self.parse_header(input)? {
                take(input, size);
                return Ok(Some(frame));
            }
            let part = take(input, usize::MAX);
            if !part.is_empty() {
                self.open.get_or_insert_default().keep_header(part);
            }
            return Ok(None);
        }
        // Completing a cut header is rare and short: look at all there can be of it, then take from the
        // input only what belonged to it.
        let mut header = [0; MAX_HEADER];
        let len = kept.len();
        let all = input.len().min(MAX_HEADER - len) + len;
        header[..len].copy_from_slice(kept);
        header[len..all].copy_from_slice(&input[..all - len]);
        let parsed = self.parse_header(&header[..all])?;
        let open = self.open.get_or_insert_default();
        if let Some((frame, size)) = parsed {
            open.keep_header(&[]);
            take(input, size - len);
            return Ok(Some(frame));
        }
        open.keep_header(&header[..all]);
        take(input, all - len);
        Ok(None)
    }

    /// Judges as much of a header as is there.
    #[inline]
    fn parse_header(&self, header: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
        let Some(&byte) = header.first() else { return Ok(None) };
        let first = First::parse(byte, self.owned_bits())?;
        let control = first.opcode.is_control();
        let fragments = self.message().map(|message| message.fragments);
        match (first.opcode, fragments) {
            (OpCode::Continuation, None) => return Err(Violation::ContinuationWithoutMessage),
            (OpCode::Continuation, Some(fragments)) => {
                let limit = self.limits.fragment_limit();
                if fragments >= limit && self.is_judged() {
                    return Err(Violation::TooManyFragments { limit });
                }
            }
            (OpCode::Text | OpCode::Binary, Some(_)) => return Err(Violation::InterleavedMessage),
            _ => {}
        }
        let (length, complete) = match wire::parse_rest(header, control, self.mask_bit != 0)? {
            Rest::NeedsLength => return Ok(None),
            Rest::NeedsKey { length } => (length, None),
            Rest::Complete { length, key, size } => (length, Some((key, size))),
        };
        let missing = if control { length as usize } else { self.within_limits(first, length)? };
        Ok(complete.map(|(key, size)| (Frame { first, key, received: 0, missing }, size)))
    }

    /// The reserved bits that mean something at the beginning of a message.
    fn owned_bits(&self) -> u8 {
        #[cfg(feature = "deflate")]
        if self.inflating.is_some() {
            return wire::RSV1;
        }
        0
    }

    /// Holds an announced length to the limits, in 64 bits and before anything is allocated.
    fn within_limits(&self, first: First, length: u64) -> Result<usize, Violation> {
        #[cfg(feature = "deflate")]
        {
            let continues = first.opcode == OpCode::Continuation;
            if first.compressed || (continues && self.is_compressed()) {
                return self.compressed_within_limits(length, continues);
            }
        }
        #[cfg(not(feature = "deflate"))]
        let _ = first;
        let limit = self.limits.frame_limit();
        if length > limit as u64 {
            return Err(Violation::FrameTooBig { announced: length, limit });
        }
        // No overflow: the length fits a usize by the check above.
        let length = length as usize;
        let limit = self.limits.max_message;
        if self.is_judged() && length.saturating_add(self.held()) > limit {
            return Err(Violation::MessageTooBig { limit });
        }
        Ok(length)
    }

    /// Starts on a frame's payload; a frame that is there whole is finished at once.
    fn begin(&mut self, frame: Frame, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        let First { fin, opcode, compressed } = frame.first;
        let whole = frame.missing <= input.len();
        if whole && opcode.is_control() {
            let payload = frame.unmask(take(input, frame.missing));
            return control_event(opcode, Bytes::copy_from_slice(payload)).map(Some);
        }
        let in_parts = self.receiving == Receiving::Parts;
        let kind = match opcode {
            OpCode::Text => Some(MessageKind::Text),
            OpCode::Binary => Some(MessageKind::Binary),
            _ => None,
        };
        if whole
            && fin
            && !compressed
            && frame.missing <= self.limits.max_message
            && let Some(kind) = kind
        {
            let payload = frame.unmask(take(input, frame.missing));
            let message = assembly::whole(kind, payload)?;
            return Ok(Some(if in_parts {
                Event::Part { part: message, last: true }
            } else {
                Event::Message(message)
            }));
        }
        let open = self.open.get_or_insert_default();
        open.frame = Some(frame);
        if let Some(kind) = kind {
            open.message = Some(OpenMessage::new(kind, in_parts));
            #[cfg(feature = "deflate")]
            if let Some(inflating) = &mut self.inflating {
                inflating.begin(compressed);
            }
        }
        if !opcode.is_control()
            && let Some(message) = &mut open.message
        {
            // Parts have no limit.
            message.fragments = message.fragments.saturating_add(1);
        }
        if self.is_held() {
            return Ok(None);
        }
        // Also without input: an empty frame has no payload to wait for.
        self.payload(frame, input)
    }

    /// Takes what there is of a frame's payload.
    fn payload(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, Violation> {
        let control = frame.first.opcode.is_control();
        #[cfg(feature = "deflate")]
        if !control && self.is_compressed() {
            return self.compressed_payload(frame, input);
        }
        let room = if control { usize::MAX } else { self.room() };
        let wanted = frame.missing.min(room);
        let chunk = frame.unmask(take(input, wanted));
        let open = self.open.get_or_insert_default();
        if chunk.is_empty() {
            // Nothing came, so nothing is reserved.
        } else if control {
            open.control.reserve(frame.missing);
            open.control.extend_from_slice(chunk);
        } else if let Some(message) = &mut open.message {
            message.append(chunk, wanted, if frame.first.fin { wanted } else { room })?;
        }
        frame.take(chunk.len());
        open.frame = frame.unfinished();
        if open.frame.is_some() {
            Ok(None)
        } else if control {
            let payload = mem::take(&mut open.control).freeze();
            control_event(frame.first.opcode, payload).map(Some)
        } else if frame.first.fin {
            self.finish_message()
        } else {
            Ok(None)
        }
    }

    /// The last event of the open message.
    pub(super) fn finish_message(&mut self) -> Result<Option<Event>, Violation> {
        let message = self.open.as_mut().and_then(|open| open.message.take());
        message.map(OpenMessage::finish).transpose()
    }
}

/// Takes up to `n` bytes off the front.
pub(super) fn take<'a>(input: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let whole = mem::take(input);
    let (front, rest) = whole.split_at_mut(n.min(whole.len()));
    *input = rest;
    front
}
