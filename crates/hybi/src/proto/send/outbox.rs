//! What is to be written, in which order, and how it becomes frames.
//!
//! ```text
//!  send, part, ping ──► queue ──► current ──► head ──► body ──► the transport
//!  a ping came ─────────────────► pong ─────► (bytes) (one large payload)
//! ```
//!
//! `head` is contiguous and ready to write; `body` is the payload of its last frame where that is too large to
//! copy. A client has to copy it, to mask it: its `body` goes through `head` piece by piece. Only what finds
//! nothing in its way becomes a frame at once; the rest is framed when it is its turn, so that a pong can pass
//! between messages, and between the frames of one that is cut.

use std::mem;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::backlog::{Backlog, LARGE, Outgoing};
#[cfg(feature = "deflate")]
use super::compressed::Compressing;
use crate::proto::close::CloseFrame;
#[cfg(feature = "deflate")]
use crate::proto::deflate::Compressor;
use crate::proto::limits::Limits;
use crate::proto::message::{Message, MessageKind};
use crate::proto::receive::{CutCharacter, InvalidUtf8};
use crate::proto::wire::{
    First, MAX_CONTROL, MaskKeys, NoKey, OpCode, header_size, mask, put_header,
};

/// `head` is filled up to about this length before it is written.
const COALESCE: usize = 16 * 1024;

/// So much of a large payload a client masks at a time: whole keys, so that each piece begins with the first byte
/// of the key.
const PIECE: usize = 16 * 1024 * size_of::<[u8; 4]>();

#[derive(Debug)]
pub(in crate::proto) struct Outbox {
    /// The source of masking keys, in a client.
    pub(super) keys: Option<MaskKeys>,
    /// From this length on messages and parts are cut.
    max_frame: usize,
    /// Messages below this length become one frame without further ado if nothing waits.
    pub(super) short: usize,
    pub(super) head: BytesMut,
    /// The beginning of `head` was written.
    pub(super) half_written: bool,
    /// What waits behind `head`. Most connections never have any.
    pub(super) backlog: Option<Box<Backlog>>,
    pub(super) state: State,
    failed: bool,
    /// There if compression was agreed on.
    #[cfg(feature = "deflate")]
    compressing: Option<Box<Compressing>>,
}

/// What may be queued next.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Any message.
    Open,
    /// More of this message, and nothing of another.
    Streaming(Streamed),
    /// Nothing: our Close was queued, or written.
    Closed,
}

/// A message that is queued part by part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed {
    /// That of its next frame.
    opcode: OpCode,
    /// Whether it is compressed; before its first part, whether it may be.
    compressed: bool,
    /// What has to become of the text, if it is text.
    text: Option<CutCharacter>,
}

impl Outbox {
    pub(in crate::proto) fn new(keys: Option<MaskKeys>, limits: &Limits) -> Self {
        Self {
            keys,
            max_frame: limits.send_frame_limit(),
            short: LARGE.min(limits.send_frame_limit().saturating_add(1)),
            head: BytesMut::new(),
            half_written: false,
            backlog: None,
            state: State::Open,
            failed: false,
            #[cfg(feature = "deflate")]
            compressing: None,
        }
    }

    #[cfg(feature = "deflate")]
    pub(in crate::proto) fn set_compressor(&mut self, compressor: Compressor, threshold: usize) {
        // An empty message never is compressed.
        let threshold = threshold.max(1);
        self.short = self.short.min(threshold);
        self.compressing = Some(Box::new(Compressing::new(compressor, threshold)));
    }

    /// Queues a message. The caller has looked at [`takes_messages`](Self::takes_messages).
    #[inline]
    pub(in crate::proto) fn send(&mut self, message: &Message) {
        let opcode = message.kind().into();
        if message.len() < self.short && self.nothing_waits() {
            self.put_frame(First::plain(true, opcode), message.as_bytes());
        } else {
            self.send_whole(opcode, message.clone().into_bytes(), true);
        }
    }

    /// Queues a message, compressed if that is `allowed` and pays.
    pub(in crate::proto) fn send_whole(&mut self, opcode: OpCode, payload: Bytes, allowed: bool) {
        #[cfg(feature = "deflate")]
        if allowed
            && let Some(compressing) = &mut self.compressing
            && let Some(payload) = compressing.whole(&payload)
        {
            return self.queue(First { fin: true, opcode, compressed: true }, payload);
        }
        #[cfg(not(feature = "deflate"))]
        let _ = allowed;
        self.queue(First::plain(true, opcode), payload);
    }

    /// Whether a message may be queued: no Close was, and none is half queued.
    #[inline]
    pub(in crate::proto) fn takes_messages(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Begins a message, which may be compressed if that is `allowed`. The caller has looked at
    /// [`takes_messages`](Self::takes_messages).
    pub(in crate::proto) fn start(&mut self, kind: MessageKind, allowed: bool) {
        let text = (kind == MessageKind::Text).then(CutCharacter::default);
        let opcode = kind.into();
        self.state = State::Streaming(Streamed { opcode, compressed: allowed, text });
    }

    pub(in crate::proto) fn is_streaming(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    /// Queues more of the message that was begun; does nothing if none is. `fin` ends it.
    pub(in crate::proto) fn part(&mut self, payload: Bytes, fin: bool) -> Result<(), InvalidUtf8> {
        let State::Streaming(mut streamed) = self.state else { return Ok(()) };
        if let Some(text) = &mut streamed.text {
            text.check(&payload)?;
            if fin {
                text.finish()?;
            }
        }
        let opcode = streamed.opcode;
        let begins = opcode != OpCode::Continuation;
        if fin {
            self.state = State::Open;
            if begins {
                // The first part is all of it.
                self.send_whole(opcode, payload, streamed.compressed);
                return Ok(());
            }
        } else if payload.is_empty() {
            return Ok(());
        }
        #[cfg(feature = "deflate")]
        {
            streamed.compressed &= self.compressing.is_some();
        }
        #[cfg(not(feature = "deflate"))]
        {
            streamed.compressed = false;
        }
        let first = First { fin, opcode, compressed: begins && streamed.compressed };
        #[cfg(feature = "deflate")]
        let payload = match &mut self.compressing {
            Some(compressing) if streamed.compressed => compressing.part(&payload, fin),
            _ => payload,
        };
        if !fin {
            streamed.opcode = OpCode::Continuation;
            self.state = State::Streaming(streamed);
        }
        self.queue(first, payload);
        Ok(())
    }

    /// Queues a message or part, framed now or when it is its turn.
    fn queue(&mut self, first: First, payload: Bytes) {
        if payload.len() < LARGE && payload.len() <= self.max_frame && self.nothing_waits() {
            return self.put_frame(first, &payload);
        }
        let size = self.first_frame_size(payload.len());
        let backlog = self.backlog.get_or_insert_default();
        backlog.unframed += size;
        backlog.queue.push_back(Outgoing { first, payload });
    }

    /// Queues a ping in front of the messages that are not begun.
    pub(in crate::proto) fn ping(&mut self, payload: Bytes) {
        if self.nothing_waits() {
            self.put_frame(First::plain(true, OpCode::Ping), &payload);
        } else {
            let size = self.first_frame_size(payload.len());
            let backlog = self.backlog.get_or_insert_default();
            backlog.unframed += size;
            let first = First::plain(true, OpCode::Ping);
            backlog.queue.insert(backlog.pings, Outgoing { first, payload });
            backlog.pings += 1;
        }
    }

    /// Answers a ping: at once if there is nothing before it, else when the next frame is due, and then
    /// only the newest.
    pub(in crate::proto) fn pong(&mut self, payload: &Bytes) {
        if self.close_queued() {
            return;
        }
        if self.nothing_waits() && self.head.len() < COALESCE {
            self.put_frame(First::plain(true, OpCode::Pong), payload);
            return;
        }
        self.drop_pong();
        let size = self.first_frame_size(payload.len());
        let backlog = self.backlog.get_or_insert_default();
        backlog.unframed += size;
        backlog.pong = Some(payload.clone());
    }

    /// Forgets the answer that is waiting.
    pub(in crate::proto) fn drop_pong(&mut self) {
        if let Some(old) = self.backlog.as_mut().and_then(|backlog| backlog.pong.take()) {
            let size = self.first_frame_size(old.len());
            self.framed(size);
        }
    }

    /// Queues the Close behind everything else, of a message that is half queued what there is; false if there is one already.
    pub(in crate::proto) fn close(&mut self, frame: &CloseFrame) -> bool {
        if self.close_queued() {
            return false;
        }
        let mut body = BytesMut::with_capacity(MAX_CONTROL);
        if let Some(code) = frame.code() {
            body.put_u16(code.as_u16());
            body.put_slice(frame.reason().as_bytes());
        }
        self.state = State::Closed;
        #[cfg(feature = "deflate")]
        {
            self.compressing = None;
        }
        if self.nothing_waits() {
            self.put_frame(First::plain(true, OpCode::Close), &body);
        } else {
            let size = self.first_frame_size(body.len());
            let backlog = self.backlog.get_or_insert_default();
            backlog.unframed += size;
            backlog.close = Some(body.freeze());
        }
        true
    }

    #[inline]
    pub(in crate::proto) fn close_queued(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    #[inline]
    pub(in crate::proto) fn queued(&self) -> usize {
        let waiting = match &self.backlog {
            Some(backlog) => backlog.body.len() + backlog.unframed,
            None => 0,
        };
        self.head.len() + waiting
    }

    #[inline]
    pub(in crate::proto) fn has_output(&self) -> bool {
        self.queued() > 0
    }

    /// Nothing is queued, no buffer is held, and nothing has failed.
    #[cfg(feature = "tokio")]
    #[inline]
    pub(in crate::proto) fn is_at_rest(&self) -> bool {
        self.head.capacity() == 0 && self.backlog.is_none() && !self.failed
    }

    pub(in crate::proto) fn failed(&self) -> bool {
        self.failed
    }

    /// The next bytes to write; empty if there are none.
    pub(in crate::proto) fn output(&mut self) -> [&[u8]; 2] {
        while self.head.len() < COALESCE && self.frame_next() {}
        let body = match &self.backlog {
            Some(backlog) if backlog.key.is_none() => &backlog.body[..],
            _ => &[],
        };
        [&self.head, body]
    }

    /// Takes note of `n` bytes written.
    pub(in crate::proto) fn advance(&mut self, n: usize) {
        let of_head = n.min(self.head.len());
        if of_head == self.head.len() {
            // Advanced to its end, the buffer would have no capacity left to be used again.
            self.head.clear();
            self.half_written = false;
        } else {
            self.head.advance(of_head);
            self.half_written = true;
        }
        if let Some(backlog) = &mut self.backlog
            && backlog.key.is_none()
        {
            let of_body = (n - of_head).min(backlog.body.len());
            backlog.body.advance(of_body);
            self.release();
        }
    }

    /// Lets go of what is used up of the backlog.
    fn release(&mut self) {
        if let Some(backlog) = &mut self.backlog {
            if backlog.is_empty() {
                self.backlog = None;
            } else if backlog.body.is_empty() {
                // An empty slice of it would keep the whole payload.
                backlog.body = Bytes::new();
                backlog.key = None;
            }
        }
    }

    /// Gives the buffer away if there is nothing in it.
    pub(in crate::proto) fn take_buffer(&mut self) -> Option<BytesMut> {
        (self.head.is_empty() && self.head.capacity() > 0).then(|| mem::take(&mut self.head))
    }

    /// Takes a buffer if there is none.
    pub(in crate::proto) fn give_buffer(&mut self, mut buffer: BytesMut) {
        if self.head.capacity() == 0 {
            buffer.clear();
            self.head = buffer;
        }
    }

    #[cfg(all(test, feature = "client", feature = "deflate"))]
    pub(in crate::proto) fn is_compressor_busy(&self) -> bool {
        self.compressing.as_ref().is_some_and(|compressing| compressing.is_busy())
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn break_keys(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.broken = true;
        }
    }

    /// Whether a frame put into `head` now is in its place.
    #[inline]
    fn nothing_waits(&self) -> bool {
        self.backlog.is_none()
    }

    /// Frames what is due next; false if nothing is.
    fn frame_next(&mut self) -> bool {
        let Some(backlog) = &mut self.backlog else { return false };
        if !backlog.body.is_empty() {
            return self.mask_piece();
        }
        let (opcode, payload) = if let Some(payload) = backlog.pong.take() {
            (OpCode::Pong, payload)
        } else if backlog.pings > 0
            && let Some(ping) = backlog.queue.pop_front()
        {
            backlog.pings -= 1;
            (OpCode::Ping, ping.payload)
        } else if let Some(message) = backlog.current.take().or_else(|| backlog.queue.pop_front()) {
            let frame = message.payload.len().min(self.max_frame);
            if frame >= LARGE && self.keys.is_some() && self.half_written {
                // As in `mask_piece`.
                backlog.current = Some(message);
                return false;
            }
            self.frame_message(message);
            return true;
        } else if let Some(body) = backlog.close.take() {
            (OpCode::Close, body)
        } else {
            return false;
        };
        let size = self.first_frame_size(payload.len());
        self.framed(size);
        self.put_frame(First::plain(true, opcode), &payload);
        true
    }

    /// Masks the next piece of a client's large payload into `head`; false if there is none, or it is not the
    /// time.
    fn mask_piece(&mut self) -> bool {
        // Behind what is half written `head` would grow each time: what was written of it takes up room as
        // long as the rest is there.
        if self.half_written {
            return false;
        }
        let Some(backlog) = &mut self.backlog else { return false };
        let Some(key) = backlog.key else { return false };
        let piece = backlog.body.split_to(backlog.body.len().min(PIECE));
        let at = self.head.len();
        self.head.extend_from_slice(&piece);
        mask(&mut self.head[at..], key, 0);
        self.release();
        true
    }

    /// `size` bytes of the backlog have left it.
    fn framed(&mut self, size: usize) {
        if let Some(backlog) = &mut self.backlog {
            backlog.unframed -= size;
            if backlog.is_empty() {
                self.backlog = None;
            }
        }
    }

    /// Frames a message, or as much of it as a frame may hold.
    fn frame_message(&mut self, mut message: Outgoing) {
        let before = self.first_frame_size(message.payload.len());
        let payload = message.payload.split_to(message.payload.len().min(self.max_frame));
        let whole = message.payload.is_empty();
        let first = First { fin: whole && message.first.fin, ..message.first };
        let (body, key) = if payload.len() < LARGE {
            self.put_frame(first, &payload);
            (Bytes::new(), None)
        } else {
            let Ok(key) = self.next_key() else { return };
            put_header(&mut self.head, first, payload.len(), key);
            (payload, key)
        };
        let after = if whole { 0 } else { self.first_frame_size(message.payload.len()) };
        // There is none any more if no masking key was to be had.
        let Some(backlog) = &mut self.backlog else { return };
        backlog.body = body;
        backlog.key = key;
        if !whole {
            message.first = First::plain(message.first.fin, OpCode::Continuation);
            backlog.current = Some(message);
        }
        backlog.unframed = backlog.unframed - before + after;
        if backlog.is_empty() {
            self.backlog = None;
        }
    }

    /// Appends a whole frame to `head`.
    #[inline]
    fn put_frame(&mut self, first: First, payload: &[u8]) {
        let Ok(key) = self.next_key() else { return };
        self.head.reserve(header_size(payload.len(), key.is_some()) + payload.len());
        put_header(&mut self.head, first, payload.len(), key);
        let at = self.head.len();
        self.head.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut self.head[at..], key, 0);
        }
    }

    /// The key of the next frame, if it has one. Where none is to be had the output has failed.
    #[inline]
    fn next_key(&mut self) -> Result<Option<[u8; 4]>, NoKey> {
        let Some(keys) = &mut self.keys else { return Ok(None) };
        match keys.next() {
            Ok(key) => Ok(Some(key)),
            Err(error) => {
                self.fail();
                Err(error)
            }
        }
    }

    /// Ends the output behind the last whole frame: without a key no frame may be written.
    #[cold]
    fn fail(&mut self) {
        self.failed = true;
        self.state = State::Closed;
        self.backlog = None;
    }

    /// A payload with the header of its first frame. The headers of further frames count once the cut is
    /// made.
    fn first_frame_size(&self, payload: usize) -> usize {
        payload + header_size(payload.min(self.max_frame), self.keys.is_some())
    }
}
