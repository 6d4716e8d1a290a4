//! How messages are compressed on their way into the queue (RFC 7692 section 6.1).
//!
//! They are compressed in the order in which they are queued, before they are cut into frames, because each may
//! refer to the ones before it and all are sent in that order.

use bytes::Bytes;

use super::backlog::LARGE;
use crate::proto::deflate::Compressor;

/// What it takes to send compressed messages.
#[derive(Debug)]
pub(super) struct Compressing {
    compressor: Compressor,
    threshold: usize,
}

impl Compressing {
    /// Messages below `threshold` bytes stay as they are.
    pub(super) fn new(compressor: Compressor, threshold: usize) -> Self {
        Self { compressor, threshold }
    }

    /// The compressed form of a whole message, if it is to be sent in that.
    pub(super) fn whole(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.len() < self.threshold {
            return None;
        }
        let mut out = Vec::new();
        self.compressor.whole(payload, &mut out).then(|| queued(out))
    }

    /// The compressed form of a part of a message, all of which the peer can inflate at once.
    pub(super) fn part(&mut self, payload: &[u8], fin: bool) -> Bytes {
        let mut out = Vec::new();
        self.compressor.piece(payload, &mut out, !fin);
        if fin {
            self.compressor.finish(&mut out);
        }
        queued(out)
    }

    #[cfg(all(test, feature = "client"))]
    pub(super) fn is_busy(&self) -> bool {
        self.compressor.is_busy()
    }
}

/// Without the room that was reserved in vain, if it waits.
fn queued(mut out: Vec<u8>) -> Bytes {
    if out.len() >= LARGE {
        out.shrink_to_fit();
    }
    out.into()
}
