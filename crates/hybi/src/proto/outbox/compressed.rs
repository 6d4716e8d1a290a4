//! How messages are compressed on their way into the queue (RFC 7692 section 6.1).
//!
//! They are compressed in the order in which they are queued, before they are cut into frames, because each may
//! refer to the ones before it and all are sent in that order.

use bytes::Bytes;

use super::{LARGE, Outbox};
use crate::proto::deflate::Compressor;

/// What it takes to send compressed messages.
#[derive(Debug)]
pub(super) struct Compressing {
    compressor: Compressor,
    threshold: usize,
}

impl Outbox {
    pub(in crate::proto) fn set_compressor(&mut self, compressor: Compressor, threshold: usize) {
        // An empty message never is compressed.
        let threshold = threshold.max(1);
        self.short = self.short.min(threshold);
        self.compressing = Some(Box::new(Compressing { compressor, threshold }));
    }

    #[cfg(all(test, feature = "client"))]
    pub(in crate::proto) fn is_compressor_busy(&self) -> bool {
        self.compressing.as_ref().is_some_and(|compressing| compressing.compressor.is_busy())
    }

    /// The compressed form of a whole message, if it is to be sent in that.
    pub(super) fn compress_whole(&mut self, payload: &[u8]) -> Option<Bytes> {
        let Compressing { compressor, threshold } = &mut **self.compressing.as_mut()?;
        if payload.len() < *threshold {
            return None;
        }
        let mut out = Vec::new();
        compressor.whole(payload, &mut out).then(|| queued(out))
    }

    /// The compressed form of a part of a message, all of which the peer can inflate at once.
    pub(super) fn compress_part(&mut self, payload: &[u8], fin: bool) -> Bytes {
        let Some(compressing) = &mut self.compressing else { return Bytes::new() };
        let mut out = Vec::new();
        compressing.compressor.piece(payload, &mut out, !fin);
        if fin {
            compressing.compressor.finish(&mut out);
        }
        queued(out)
    }
}

/// Without the room that was reserved in vain, if it waits.
fn queued(mut out: Vec<u8>) -> Bytes {
    if out.len() >= LARGE {
        out.shrink_to_fit();
    }
    out.into()
}
