//! What waits until it is its turn to be written.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::proto::wire::First;

/// From this length on a payload is written from where it lies instead of being copied.
pub(super) const LARGE: usize = 16 * 1024;

/// What cannot go into `head` yet.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// What is to come of the payload whose header is in `head`, or was.
    pub(super) body: Bytes,
    /// With what `body` is masked on its way into `head`, in a client.
    pub(super) key: Option<[u8; 4]>,
    /// The message that is being cut into frames.
    pub(super) current: Option<Outgoing>,
    /// Pings first, then messages.
    pub(super) queue: VecDeque<Outgoing>,
    /// How many pings lead the queue.
    pub(super) pings: usize,
    /// The newest ping that was not answered yet.
    pub(super) pong: Option<Bytes>,
    /// The body of our Close, which goes behind everything else.
    pub(super) close: Option<Bytes>,
    /// What `current`, `queue`, `pong` and `close` will come to in bytes.
    pub(super) unframed: usize,
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.unframed == 0 && self.body.is_empty()
    }
}

/// Something to be framed, or the rest of it.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Of its next frame; `fin` is that of its last.
    pub(super) first: First,
    pub(super) payload: Bytes,
}
