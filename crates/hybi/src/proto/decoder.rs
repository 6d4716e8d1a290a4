//! How frames become messages: header, unmasking, reassembly, validation, limits.

use std::mem;

use bytes::buf::Limit;
use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use super::close::{CloseCode, CloseFrame, CloseReason};
use super::connection::{Event, Role};
use super::frame::{self, First, MAX_HEADER, OpCode, Rest};
use super::limits::Limits;
use super::mask::mask;
use super::message::Message;
use super::utf8::TextBuilder;
use super::violation::Violation;

/// Memory reserved ahead of what was received: this much, or as much again as was received if that is
/// more, and never past the frame's end.
const RESERVE: usize = 16 * 1024;

/// Below this much missing payload, reading it directly does not pay.
const DIRECT: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct Decoder {
    /// The bit that every frame has in its second byte: set in a client's, clear in a server's.
    mask_bit: u8,
    max_frame: usize,
    max_message: usize,
    /// The longest message in one frame.
    max_whole: usize,
    max_fragments: usize,
    /// The beginning of a header that was cut.
    header: [u8; MAX_HEADER],
    header_len: u8,
    stage: Stage,
    /// Frames of the open message so far; 0 if none is open.
    fragments: usize,
    message: Assembly,
    control: BytesMut,
}

/// Where in the stream of frames the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Header,
    Payload(Frame),
    /// Nothing more is read: the peer closed, or the connection failed.
    Discard,
}

/// The frame whose payload is being received.
#[derive(Clone, Copy, Debug)]
struct Frame {
    first: First,
    key: Option<[u8; 4]>,
    /// Bytes of payload received.
    received: usize,
    /// Bytes of payload to come.
    missing: usize,
}

/// The open message.
#[derive(Debug)]
enum Assembly {
    Text(TextBuilder),
    Binary(BytesMut),
}

impl Assembly {
    fn new(opcode: OpCode) -> Self {
        if opcode == OpCode::Text { Self::Text(TextBuilder::default()) } else { Self::default() }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }

    fn capacity(&self) -> usize {
        match self {
            Self::Text(text) => text.capacity(),
            Self::Binary(bytes) => bytes.capacity(),
        }
    }

    /// Makes room for `n` bytes, and if that takes an allocation then for more of the `missing` bytes of
    /// the frame: as many as were received, or `RESERVE` if that is more.
    fn make_room(&mut self, n: usize, missing: usize) {
        let received = self.len();
        if self.capacity() - received < n {
            let room = n.max(missing.min(received.max(RESERVE)));
            match self {
                Self::Text(text) => text.reserve(room),
                Self::Binary(bytes) => bytes.reserve(room),
            }
        }
    }
}

impl Default for Assembly {
    fn default() -> Self {
        Self::Binary(BytesMut::new())
    }
}

impl Decoder {
    pub(super) fn new(role: Role, limits: &Limits) -> Self {
        Self {
            mask_bit: if role == Role::Server { frame::MASK } else { 0 },
            max_frame: limits.frame_limit(),
            max_message: limits.max_message,
            max_whole: limits.max_message.min(limits.frame_limit()),
            max_fragments: limits.fragment_limit(),
            header: [0; MAX_HEADER],
            header_len: 0,
            stage: Stage::Header,
            fragments: 0,
            message: Assembly::default(),
            control: BytesMut::new(),
        }
    }

    /// Takes a message that is in `input` whole and in one frame, by far the most common case; `None`
    /// leaves everything else, faults included, to [`receive`](Self::receive).
    #[inline]
    pub(super) fn receive_whole(
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
        if len > self.max_whole {
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
    #[inline]
    fn whole_message(&mut self, is_text: bool, payload: &[u8]) -> Result<Event, Violation> {
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

    /// Takes bytes from the front of `input` until an event is complete or the input is used up.
    pub(super) fn receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        let result = self.try_receive(input);
        if result.is_err() || matches!(result, Ok(Some(Event::Close(_)))) {
            self.stop();
        }
        result
    }

    /// Where the rest of a long binary payload can be read without going through `receive`.
    pub(super) fn payload_space(&mut self) -> Option<Limit<&mut BytesMut>> {
        let Stage::Payload(frame) = self.stage else { return None };
        if frame.first.opcode.is_control() || frame.missing < DIRECT {
            return None;
        }
        if matches!(self.message, Assembly::Binary(_)) {
            self.message.make_room(DIRECT, frame.missing);
        }
        let Assembly::Binary(bytes) = &mut self.message else { return None };
        let space = frame.missing.min(bytes.capacity() - bytes.len());
        Some(bytes.limit(space))
    }

    /// Takes the `n` bytes last written into `payload_space`.
    pub(super) fn payload_received(&mut self, n: usize) -> Result<Option<Event>, Violation> {
        let (Stage::Payload(frame), Assembly::Binary(bytes)) = (&mut self.stage, &mut self.message)
        else {
            return Ok(None);
        };
        let n = n.min(frame.missing);
        let from = bytes.len().saturating_sub(n);
        if let Some(key) = frame.key {
            mask(&mut bytes[from..], key, frame.received);
        }
        frame.received += n;
        frame.missing -= n;
        if frame.missing > 0 {
            return Ok(None);
        }
        let first = frame.first;
        self.stage = Stage::Header;
        let result = if first.fin { self.finish_message().map(Some) } else { Ok(None) };
        if result.is_err() {
            self.stop();
        }
        result
    }

    /// Whether a data message has begun and is not complete.
    pub(super) fn is_mid_message(&self) -> bool {
        match self.stage {
            Stage::Discard => false,
            _ if self.fragments > 0 => true,
            Stage::Header => self.header_len > 0 && frame::starts_data(self.header[0]),
            Stage::Payload(_) => false,
        }
    }

    /// Discards everything from now on, and what is half received.
    pub(super) fn stop(&mut self) {
        self.stage = Stage::Discard;
        self.header_len = 0;
        self.fragments = 0;
        self.message = Assembly::default();
        self.control = BytesMut::new();
    }

    #[cfg(all(test, feature = "client"))]
    pub(super) fn reserved(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    fn try_receive(&mut self, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        loop {
            let event = match self.stage {
                Stage::Discard => {
                    *input = &mut [];
                    return Ok(None);
                }
                Stage::Header => match self.header(input)? {
                    Some(frame) => self.begin(frame, input)?,
                    None => return Ok(None),
                },
                Stage::Payload(_) if input.is_empty() => return Ok(None),
                Stage::Payload(frame) => self.payload(frame, input)?,
            };
            if event.is_some() {
                return Ok(event);
            }
        }
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
        let first = First::parse(byte)?;
        let control = first.opcode.is_control();
        match first.opcode {
            OpCode::Continuation if self.fragments == 0 => {
                return Err(Violation::ContinuationWithoutMessage);
            }
            OpCode::Continuation if self.fragments >= self.max_fragments => {
                return Err(Violation::TooManyFragments { limit: self.max_fragments });
            }
            OpCode::Text | OpCode::Binary if self.fragments > 0 => {
                return Err(Violation::InterleavedMessage);
            }
            _ => {}
        }
        let (length, complete) = match frame::parse_rest(header, control, self.mask_bit != 0)? {
            Rest::NeedsLength => return Ok(None),
            Rest::NeedsKey { length } => (length, None),
            Rest::Complete { length, key, size } => (length, Some((key, size))),
        };
        let missing = if control { length as usize } else { self.within_limits(length)? };
        Ok(complete.map(|(key, size)| (Frame { first, key, received: 0, missing }, size)))
    }

    /// Holds an announced length to the limits, in 64 bits and before anything is allocated.
    fn within_limits(&self, length: u64) -> Result<usize, Violation> {
        if length > self.max_frame as u64 {
            return Err(Violation::FrameTooBig { announced: length, limit: self.max_frame });
        }
        let open = if self.fragments > 0 { self.message.len() } else { 0 };
        // No overflow: the length fits a usize by the check above.
        match (length as usize).checked_add(open) {
            Some(total) if total <= self.max_message => Ok(length as usize),
            _ => Err(Violation::MessageTooBig { limit: self.max_message }),
        }
    }

    /// Starts on a frame's payload; a frame that is there whole is finished at once.
    fn begin(&mut self, frame: Frame, input: &mut &mut [u8]) -> Result<Option<Event>, Violation> {
        let First { fin, opcode } = frame.first;
        let whole = frame.missing <= input.len();
        if whole && opcode.is_control() {
            let payload = unmasked(frame, take(input, frame.missing));
            return control_event(opcode, Bytes::copy_from_slice(payload)).map(Some);
        }
        if whole && fin && opcode != OpCode::Continuation {
            let payload = unmasked(frame, take(input, frame.missing));
            return self.whole_message(opcode == OpCode::Text, payload).map(Some);
        }
        if !opcode.is_control() {
            if opcode != OpCode::Continuation {
                self.message = Assembly::new(opcode);
            }
            self.fragments += 1;
        }
        self.stage = Stage::Payload(frame);
        // Also without input: an empty frame has no payload to wait for.
        self.payload(frame, input)
    }

    /// Takes what there is of a frame's payload.
    fn payload(
        &mut self,
        mut frame: Frame,
        input: &mut &mut [u8],
    ) -> Result<Option<Event>, Violation> {
        let chunk = take(input, frame.missing);
        let len = chunk.len();
        let chunk = unmasked(frame, chunk);
        let control = frame.first.opcode.is_control();
        if chunk.is_empty() {
            // Nothing came, so nothing is reserved.
        } else if control {
            self.control.reserve(frame.missing);
            self.control.extend_from_slice(chunk);
        } else {
            self.message.make_room(len, frame.missing);
            match &mut self.message {
                Assembly::Text(text) => text.push(chunk).map_err(|_| Violation::TextUtf8)?,
                Assembly::Binary(bytes) => bytes.extend_from_slice(chunk),
            }
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

    fn finish_message(&mut self) -> Result<Event, Violation> {
        self.fragments = 0;
        let message = match mem::take(&mut self.message) {
            Assembly::Text(text) => {
                Message::Text(text.finish().map_err(|_| Violation::TextUtf8)?.into())
            }
            Assembly::Binary(bytes) => Message::Binary(bytes.freeze()),
        };
        Ok(Event::Message(message))
    }
}

/// Takes up to `n` bytes off the front.
fn take<'a>(input: &mut &'a mut [u8], n: usize) -> &'a mut [u8] {
    let whole = mem::take(input);
    let (front, rest) = whole.split_at_mut(n.min(whole.len()));
    *input = rest;
    front
}

fn unmasked(frame: Frame, chunk: &mut [u8]) -> &[u8] {
    if let Some(key) = frame.key {
        mask(chunk, key, frame.received);
    }
    chunk
}

fn control_event(opcode: OpCode, payload: Bytes) -> Result<Event, Violation> {
    match opcode {
        OpCode::Ping => Ok(Event::Ping(payload)),
        OpCode::Pong => Ok(Event::Pong(payload)),
        _ => parse_close(&payload).map(Event::Close),
    }
}

/// Reads the body of a Close frame (RFC 6455 section 5.5.1).
fn parse_close(body: &[u8]) -> Result<CloseFrame, Violation> {
    let (code, reason) = match body {
        [] => return Ok(CloseFrame::empty()),
        [_] => return Err(Violation::CloseTruncated),
        [a, b, reason @ ..] => (u16::from_be_bytes([*a, *b]), reason),
    };
    let code = CloseCode::new(code).map_err(|_| Violation::CloseCode(code))?;
    // A control frame leaves no room for a reason that is too long.
    let reason = ByteString::try_from(reason)
        .ok()
        .and_then(|reason| CloseReason::new(reason).ok())
        .ok_or(Violation::CloseReasonUtf8)?;
    Ok(CloseFrame::new(code, reason))
}
