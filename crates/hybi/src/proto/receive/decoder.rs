//! How frames become messages: header, unmasking, reassembly, validation, limits.

use std::mem;

use bytes::{Bytes, BytesMut};

use super::assembly::{self, Assembly};
use super::control::control_event;
#[cfg(feature = "deflate")]
use super::inflating::Inflating;
use crate::proto::event::{Event, Receiving, Role};
use crate::proto::limits::Limits;
use crate::proto::message::MessageKind;
use crate::proto::violation::Violation;
use crate::proto::wire::{self, First, MAX_HEADER, OpCode, Rest, mask};

/// A part is given out from this length on; a shorter one first gathers what else is in the input, so
/// that a message in tiny frames does not become as many tiny parts.
pub(super) const PART: usize = 16 * 1024;

#[derive(Debug)]
pub(in crate::proto) struct Decoder {
    /// The bit that every frame has in its second byte: set in a client's, clear in a server's.
    pub(super) mask_bit: u8,
    pub(super) max_frame: usize,
    pub(super) max_message: usize,
    /// The longest message in one frame that may be taken at once; negative if none may.
    pub(super) max_whole: isize,
    max_fragments: usize,
    pub(super) receiving: Receiving,
    /// The beginning of a header that was cut.
    header: [u8; MAX_HEADER],
    pub(super) header_len: u8,
    pub(super) stage: Stage,
    /// Frames of the open message so far; 0 if none is open.
    pub(super) fragments: usize,
    /// The open message is given out in parts.
    pub(super) in_parts: bool,
    pub(super) message: Assembly,
    control: BytesMut,
    /// There if compression was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) inflating: Option<Box<Inflating>>,
}

/// Where in the stream of frames the next byte belongs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    Header,
    Payload(Frame),
    /// The violation was found where none could be returned.
    Failed(Violation),
    /// Nothing more is read: the peer closed, or the connection failed.
    Discard,
}

/// The frame whose payload is being received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) first: First,
    pub(super) key: Option<[u8; 4]>,
    /// Bytes of payload received.
    pub(super) received: usize,
    /// Bytes of payload to come.
    pub(super) missing: usize,
}

impl Decoder {
    pub(in crate::proto) fn new(role: Role, limits: &Limits) -> Self {
        let mut decoder = Self {
            mask_bit: if role == Role::Server { wire::MASK } else { 0 },
            max_frame: limits.frame_limit(),
            max_message: limits.max_message,
            max_whole: 0,
            max_fragments: limits.fragment_limit(),
            receiving: Receiving::Messages,
            header: [0; MAX_HEADER],
            header_len: 0,
            stage: Stage::Header,
            fragments: 0,
            in_parts: false,
            message: Assembly::default(),
            control: BytesMut::new(),
            #[cfg(feature = "deflate")]
            inflating: None,
        };
        decoder.set_receiving(Receiving::Messages);
        decoder
    }

    /// Changes what becomes of the messages from here on; see `Connection::set_receiving`.
    pub(in crate::proto) fn set_receiving(&mut self, receiving: Receiving) {
        self.receiving = receiving;
        self.max_whole = match receiving {
            Receiving::Parts => -1,
            _ => self.max_message.min(self.max_frame).try_into().unwrap_or(isize::MAX),
        };
        if self.fragments > 0 {
            self.in_parts |= receiving == Receiving::Parts;
            if self.is_judged()
                && let Some(violation) = self.overrun()
            {
                self.stage = Stage::Failed(violation);
            }
        }
    }

    pub(in crate::proto) fn receiving(&self) -> Receiving {
        self.receiving
    }

    /// The kind of the message that has begun, once the header of its first frame is there.
    pub(in crate::proto) fn open_message(&self) -> Option<MessageKind> {
        (self.fragments > 0).then_some(self.message.kind())
    }

    /// Whether input is left alone until it is decided what becomes of the open message.
    pub(in crate::proto) fn is_held(&self) -> bool {
        self.room() == 0 || (self.is_undecided() && self.overrun().is_some())
    }

    /// Whether the open message is one of which nobody has said whether it is taken in parts.
    fn is_undecided(&self) -> bool {
        let undecided = matches!(self.receiving, Receiving::Undecided { .. });
        undecided && self.fragments > 0 && !self.in_parts && !matches!(self.stage, Stage::Failed(_))
    }

    /// How many bytes more of the open message are taken.
    pub(super) fn room(&self) -> usize {
        match self.receiving {
            Receiving::Undecided { read_ahead } if self.is_undecided() => {
                read_ahead.saturating_sub(self.message.len())
            }
            _ => usize::MAX,
        }
    }

    /// Whether the limits on whole messages hold for the message that is open, or the next.
    pub(super) fn is_judged(&self) -> bool {
        self.receiving == Receiving::Messages && !self.in_parts
    }

    /// How the open message, as far as it was announced, is past what a whole one may be.
    pub(super) fn overrun(&self) -> Option<Violation> {
        let announced = match self.stage {
            Stage::Payload(frame) if !frame.first.opcode.is_control() => frame.missing,
            _ => 0,
        };
        if self.fragments > self.max_fragments.max(1) {
            return Some(Violation::TooManyFragments { limit: self.max_fragments });
        }
        #[cfg(feature = "deflate")]
        if self.is_compressed() {
            return self
                .is_compressed_overrun(announced)
                .then_some(Violation::MessageTooBig { limit: self.max_message });
        }
        if self.message.len().saturating_add(announced) > self.max_message {
            Some(Violation::MessageTooBig { limit: self.max_message })
        } else {
            None
        }
    }

    /// Takes bytes from the front of `input` until an event is complete or the input is used up.
    pub(in crate::proto) fn receive(
        &mut self,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, Violation> {
        let result = self.try_receive(input);
        if result.is_err() || matches!(result, Ok(Some(Event::Close(_)))) {
            self.stop();
        }
        result
    }

    /// Whether a data message has begun and is not complete.
    pub(in crate::proto) fn is_mid_message(&self) -> bool {
        match self.stage {
            Stage::Discard => false,
            _ if self.fragments > 0 => true,
            Stage::Header => self.header_len > 0 && wire::starts_data(self.header[0]),
            Stage::Payload(_) | Stage::Failed(_) => false,
        }
    }

    /// Discards everything from now on, and what is half received.
    pub(in crate::proto) fn stop(&mut self) {
        self.stage = Stage::Discard;
        self.header_len = 0;
        self.fragments = 0;
        self.in_parts = false;
        self.message = Assembly::default();
        self.control = BytesMut::new();
        #[cfg(feature = "deflate")]
        {
            self.inflating = None;
        }
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn reserved(&self) -> usize {
        #[cfg(feature = "deflate")]
        let inflating = self.inflating.as_ref().map_or(0, |inflating| inflating.held());
        #[cfg(not(feature = "deflate"))]
        let inflating = 0;
        self.message.capacity() + self.control.capacity() + inflating
    }

    fn try_receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        while !self.is_held() {
            #[cfg(feature = "deflate")]
            if self.inflating.as_mut().is_some_and(|inflating| inflating.take_pause()) {
                return Ok(self.part());
            }
            let event = match self.stage {
                Stage::Discard => {
                    *input = &mut [];
                    return Ok(None);
                }
                Stage::Failed(violation) => return Err(violation),
                Stage::Header => match self.header(input)? {
                    Some(frame) => self.begin(frame, input)?,
                    None => return Ok(self.part()),
                },
                Stage::Payload(frame) if input.is_empty() && frame.missing > 0 => {
                    return Ok(self.part());
                }
                Stage::Payload(frame) => self.payload(frame, input)?,
            };
            if event.is_some() {
                return Ok(event);
            }
            if self.in_parts && self.message.len() >= PART {
                return Ok(self.part());
            }
        }
        Ok(None)
    }

    /// What has gathered of a message that is given out in parts.
    fn part(&mut self) -> Option<Event> {
        let part = self.in_parts.then(|| self.message.take_part())??;
        Some(Event::Part { part, last: false })
    }

    /// Takes a header off the input, or keeps what there is of it.
    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<Frame>, Violation> {
        let kept = usize::from(self.header_len);
        if kept == 0 {
            let Some((frame, size)) = self.parse_header(input)? else {
                let part = take(input, usize::MAX);
                self.header[..part.len()].copy_from_slice(part);
                self.header_len = part.len() as u8;
                return Ok(None);
            };
            take(input, size);
            return Ok(Some(frame));
        }
        // Completing a cut header is rare and short: look at all there can be of it, then take from the
        // input only what belonged to it.
        let mut header = self.header;
        let more = input.len().min(MAX_HEADER - kept);
        header[kept..kept + more].copy_from_slice(&input[..more]);
        match self.parse_header(&header[..kept + more])? {
            Some((frame, size)) => {
                self.header_len = 0;
                take(input, size - kept);
                Ok(Some(frame))
            }
            None => {
                self.header = header;
                self.header_len = (kept + more) as u8;
                take(input, more);
                Ok(None)
            }
        }
    }

    /// Judges as much of a header as is there.
    #[inline]
    fn parse_header(&self, header: &[u8]) -> Result<Option<(Frame, usize)>, Violation> {
        let Some(&byte) = header.first() else { return Ok(None) };
        let first = First::parse(byte, self.owned_bits())?;
        let control = first.opcode.is_control();
        match first.opcode {
            OpCode::Continuation if self.fragments == 0 => {
                return Err(Violation::ContinuationWithoutMessage);
            }
            OpCode::Continuation if self.fragments >= self.max_fragments && self.is_judged() => {
                return Err(Violation::TooManyFragments { limit: self.max_fragments });
            }
            OpCode::Text | OpCode::Binary if self.fragments > 0 => {
                return Err(Violation::InterleavedMessage);
            }
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
        if length > self.max_frame as u64 {
            return Err(Violation::FrameTooBig { announced: length, limit: self.max_frame });
        }
        // No overflow: the length fits a usize by the check above.
        let length = length as usize;
        let open = if self.fragments > 0 { self.message.len() } else { 0 };
        if self.is_judged() && length.saturating_add(open) > self.max_message {
            return Err(Violation::MessageTooBig { limit: self.max_message });
        }
        Ok(length)
    }

    /// Starts on a frame's payload; a frame that is there whole is finished at once.
    fn begin(&mut self, frame: Frame, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        let First { fin, opcode, compressed } = frame.first;
        let whole = frame.missing <= input.len();
        if whole && opcode.is_control() {
            let payload = unmasked(frame, take(input, frame.missing));
            return control_event(opcode, Bytes::copy_from_slice(payload)).map(Some);
        }
        let first = opcode != OpCode::Continuation;
        if whole && fin && first && !compressed && frame.missing <= self.max_message {
            let payload = unmasked(frame, take(input, frame.missing));
            let message = assembly::whole(opcode == OpCode::Text, payload)?;
            return Ok(Some(if self.receiving == Receiving::Parts {
                Event::Part { part: message, last: true }
            } else {
                Event::Message(message)
            }));
        }
        if !opcode.is_control() {
            if opcode != OpCode::Continuation {
                self.message = Assembly::new(if opcode == OpCode::Text {
                    MessageKind::Text
                } else {
                    MessageKind::Binary
                });
                self.in_parts = self.receiving == Receiving::Parts;
                #[cfg(feature = "deflate")]
                if let Some(inflating) = &mut self.inflating {
                    inflating.begin(compressed);
                }
            }
            // Without a limit for parts; what counts then is that it is not 0.
            self.fragments = self.fragments.saturating_add(1);
        }
        self.stage = Stage::Payload(frame);
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
        let wanted = if control { frame.missing } else { frame.missing.min(self.room()) };
        let chunk = take(input, wanted);
        let len = chunk.len();
        let chunk = unmasked(frame, chunk);
        if chunk.is_empty() {
            // Nothing came, so nothing is reserved.
        } else if control {
            self.control.reserve(frame.missing);
            self.control.extend_from_slice(chunk);
        } else {
            self.append(chunk, frame.missing)?;
        }
        frame.received += len;
        frame.missing -= len;
        if frame.missing > 0 {
            self.stage = Stage::Payload(frame);
            return Ok(None);
        }
        self.stage = Stage::Header;
        if control {
            let payload = mem::take(&mut self.control).freeze();
            control_event(frame.first.opcode, payload).map(Some)
        } else if frame.first.fin {
            self.finish_message().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Adds unmasked payload to the open message; `missing` counts it and what is to come of its frame.
    fn append(&mut self, chunk: &[u8], missing: usize) -> Result<(), Violation> {
        // A part is let go of before more comes.
        let missing = if self.in_parts { chunk.len() } else { missing };
        self.message.make_room(chunk.len(), missing);
        self.message.push(chunk)
    }

    pub(super) fn finish_message(&mut self) -> Result<Event, Violation> {
        self.fragments = 0;
        let message = mem::take(&mut self.message).finish()?;
        Ok(if mem::take(&mut self.in_parts) {
            Event::Part { part: message, last: true }
        } else {
            Event::Message(message)
        })
    }
}

/// Takes up to `n` bytes off the front.
pub(super) fn take<'a>(input: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let whole = mem::take(input);
    let (front, rest) = whole.split_at_mut(n.min(whole.len()));
    *input = rest;
    front
}

pub(super) fn unmasked(frame: Frame, chunk: &mut [u8]) -> &[u8] {
    if let Some(key) = frame.key {
        mask(chunk, key, frame.received);
    }
    chunk
}
