//! What is to be written, in which order, and how it becomes frames.
//!
//! ```text
//!  send, ping ──► queue ──► current ──► head ──► body ──► the transport
//!  a ping came ──────────► pong ──────► (bytes) (one large payload)
//! ```
//!
//! `head` is contiguous and ready to write; `body` is the payload of its last frame where that is too large to
//! copy. Only what finds nothing in its way becomes a frame at once; the rest is framed when it is its turn,
//! so that a pong can pass between the frames of a long message.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::close::CloseFrame;
use super::frame::{MAX_CONTROL, OpCode, header_size, put_header};
use super::limits::Limits;
use super::mask::{MaskKeys, mask};
use super::message::Message;

/// From this length on a payload is written from where it lies instead of being copied.
const LARGE: usize = 16 * 1024;

/// `head` is filled up to about this length before it is written.
const COALESCE: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    /// The source of masking keys, in a client.
    keys: Option<MaskKeys>,
    max_frame: usize,
    head: BytesMut,
    body: Bytes,
    /// The message that is being cut into frames.
    current: Option<Outgoing>,
    /// Pings first, then messages.
    queue: VecDeque<Outgoing>,
    /// How many pings lead the queue.
    pings: usize,
    /// The newest ping that was not answered yet.
    pong: Option<Bytes>,
    close: Close,
    /// What `current`, `queue`, `pong` and `close` will come to in bytes.
    unframed: usize,
    failed: bool,
}

/// Something to be framed, or the rest of it.
#[derive(Debug)]
struct Outgoing {
    opcode: OpCode,
    payload: Bytes,
}

#[derive(Debug)]
enum Close {
    Open,
    /// Behind everything that is queued.
    Queued(Bytes),
    /// In `head`, or written.
    Framed,
}

impl Outbox {
    pub(super) fn new(keys: Option<MaskKeys>, limits: &Limits) -> Self {
        Self {
            keys,
            max_frame: limits.max_send_frame,
            head: BytesMut::new(),
            body: Bytes::new(),
            current: None,
            queue: VecDeque::new(),
            pings: 0,
            pong: None,
            close: Close::Open,
            unframed: 0,
            failed: false,
        }
    }

    /// Queues a message. The caller has looked at [`close_queued`](Self::close_queued).
    #[inline]
    pub(super) fn send(&mut self, message: Message) {
        let opcode = if message.is_text() { OpCode::Text } else { OpCode::Binary };
        let at_once = message.len() < LARGE && message.len() <= self.max_frame;
        if at_once && self.nothing_waits() {
            self.put_frame(true, opcode, message.as_bytes());
        } else {
            let payload = message.into_bytes();
            self.unframed += self.first_frame_size(payload.len());
            self.queue.push_back(Outgoing { opcode, payload });
        }
    }

    /// Queues a ping in front of the messages that are not begun.
    pub(super) fn ping(&mut self, payload: Bytes) {
        if self.nothing_waits() {
            self.put_frame(true, OpCode::Ping, &payload);
        } else {
            self.unframed += self.first_frame_size(payload.len());
            self.queue.insert(self.pings, Outgoing { opcode: OpCode::Ping, payload });
            self.pings += 1;
        }
    }

    /// Answers a ping: at once if there is nothing before it, else when the next frame is due, and then
    /// only the newest.
    pub(super) fn pong(&mut self, payload: &Bytes) {
        if self.close_queued() {
            return;
        }
        if self.nothing_waits() && self.head.len() < COALESCE {
            self.put_frame(true, OpCode::Pong, payload);
            return;
        }
        self.drop_pong();
        self.unframed += self.first_frame_size(payload.len());
        self.pong = Some(payload.clone());
    }

    /// Forgets the answer that is waiting.
    pub(super) fn drop_pong(&mut self) {
        if let Some(old) = self.pong.take() {
            self.unframed -= self.first_frame_size(old.len());
        }
    }

    /// Queues the Close behind everything else; false if there is one already.
    pub(super) fn close(&mut self, frame: &CloseFrame) -> bool {
        if self.close_queued() {
            return false;
        }
        let mut body = BytesMut::with_capacity(MAX_CONTROL);
        if let Some(code) = frame.code() {
            body.put_u16(code.as_u16());
            body.put_slice(frame.reason().as_bytes());
        }
        if self.nothing_waits() {
            self.close = Close::Framed;
            self.put_frame(true, OpCode::Close, &body);
        } else {
            self.unframed += self.first_frame_size(body.len());
            self.close = Close::Queued(body.freeze());
        }
        true
    }

    #[inline]
    pub(super) fn close_queued(&self) -> bool {
        !matches!(self.close, Close::Open)
    }

    #[inline]
    pub(super) fn queued(&self) -> usize {
        self.head.len() + self.body.len() + self.unframed
    }

    #[inline]
    pub(super) fn has_output(&self) -> bool {
        self.queued() > 0
    }

    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// The next bytes to write; empty if there are none.
    pub(super) fn output(&mut self) -> [&[u8]; 2] {
        while self.body.is_empty() && self.head.len() < COALESCE && self.frame_next() {}
        [&self.head, &self.body]
    }

    /// Takes note of `n` bytes written.
    pub(super) fn advance(&mut self, n: usize) {
        let of_head = n.min(self.head.len());
        self.head.advance(of_head);
        let of_body = (n - of_head).min(self.body.len());
        self.body.advance(of_body);
        if self.body.is_empty() {
            // An empty slice of it would keep the whole payload.
            self.body = Bytes::new();
        }
    }

    /// Gives the buffer away if there is nothing in it.
    pub(super) fn take_buffer(&mut self) -> Option<BytesMut> {
        if !self.has_output() {
            self.queue = VecDeque::new();
        }
        (self.head.is_empty() && self.head.capacity() > 0).then(|| mem::take(&mut self.head))
    }

    /// Takes a buffer if there is none.
    pub(super) fn give_buffer(&mut self, mut buffer: BytesMut) {
        if self.head.capacity() == 0 {
            buffer.clear();
            self.head = buffer;
        }
    }

    #[cfg(all(test, feature = "client"))]
    pub(super) fn break_keys(&mut self) {
        if let Some(keys) = &mut self.keys {
            keys.broken = true;
        }
    }

    /// Whether a frame put into `head` now is in its place.
    #[inline]
    fn nothing_waits(&self) -> bool {
        self.unframed == 0 && self.body.is_empty()
    }

    /// Frames what is due next; false if nothing is.
    fn frame_next(&mut self) -> bool {
        if let Some(payload) = self.pong.take() {
            self.unframed -= self.first_frame_size(payload.len());
            self.put_frame(true, OpCode::Pong, &payload);
            return true;
        }
        if self.pings > 0
            && let Some(ping) = self.queue.pop_front()
        {
            self.pings -= 1;
            self.unframed -= self.first_frame_size(ping.payload.len());
            self.put_frame(true, ping.opcode, &ping.payload);
            return true;
        }
        if let Some(message) = self.current.take().or_else(|| self.queue.pop_front()) {
            self.frame_message(message);
            return true;
        }
        if let Close::Queued(body) = &mut self.close {
            let body = mem::take(body);
            self.close = Close::Framed;
            self.unframed -= self.first_frame_size(body.len());
            self.put_frame(true, OpCode::Close, &body);
            return true;
        }
        false
    }

    /// Frames the next piece of a message.
    fn frame_message(&mut self, mut message: Outgoing) {
        self.unframed -= self.first_frame_size(message.payload.len());
        let piece = message.payload.split_to(message.payload.len().min(self.max_frame));
        let fin = message.payload.is_empty();
        // A client copies in any case, to mask.
        if piece.len() < LARGE || self.keys.is_some() {
            self.put_frame(fin, message.opcode, &piece);
        } else {
            put_header(&mut self.head, fin, message.opcode, piece.len(), None);
            self.body = piece;
        }
        if !fin && !self.failed {
            self.unframed += self.first_frame_size(message.payload.len());
            self.current =
                Some(Outgoing { opcode: OpCode::Continuation, payload: message.payload });
        }
    }

    /// Appends a whole frame to `head`.
    #[inline]
    fn put_frame(&mut self, fin: bool, opcode: OpCode, payload: &[u8]) {
        let key = match &mut self.keys {
            None => None,
            Some(keys) => match keys.next() {
                Ok(key) => Some(key),
                Err(_) => return self.fail(),
            },
        };
        self.head.reserve(header_size(payload.len(), key.is_some()) + payload.len());
        put_header(&mut self.head, fin, opcode, payload.len(), key);
        let at = self.head.len();
        self.head.extend_from_slice(payload);
        if let Some(key) = key {
            mask(&mut self.head[at..], key, 0);
        }
    }

    /// Ends the output behind the last whole frame: without a key no frame may be written.
    #[cold]
    fn fail(&mut self) {
        self.failed = true;
        self.current = None;
        self.queue = VecDeque::new();
        self.pings = 0;
        self.pong = None;
        self.close = Close::Framed;
        self.unframed = 0;
    }

    /// A payload with the header of its first frame. The headers of further frames count once the cut is
    /// made.
    fn first_frame_size(&self, payload: usize) -> usize {
        payload + header_size(payload.min(self.max_frame), self.keys.is_some())
    }
}
