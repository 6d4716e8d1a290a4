//! How the rest of a long binary payload is read straight to where it belongs.

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};

use super::assembly::Assembly;
use super::decoder::{Decoder, Stage};
use crate::proto::event::Event;
use crate::proto::violation::Violation;
use crate::proto::wire::mask;

/// Below this much missing payload, reading it directly does not pay.
const DIRECT: usize = 4 * 1024;

impl Decoder {
    /// Where the rest of a long binary payload can be read without going through `receive`.
    pub(in crate::proto) fn payload_space(&mut self) -> Option<Limit<&mut BytesMut>> {
        let Stage::Payload(frame) = self.stage else { return None };
        // Parts are copied out of the driver's buffer: it serves all connections, and what is read at
        // once is as long as it is.
        if frame.first.opcode.is_control() || self.in_parts || self.is_held() {
            return None;
        }
        #[cfg(feature = "deflate")]
        if self.is_compressed() {
            return None;
        }
        let wanted = frame.missing.min(self.room());
        if wanted < DIRECT {
            return None;
        }
        if matches!(self.message, Assembly::Binary(_)) {
            self.message.make_room(DIRECT, wanted);
        }
        let Assembly::Binary(bytes) = &mut self.message else { return None };
        let space = wanted.min(bytes.capacity() - bytes.len());
        Some(bytes.limit(space))
    }

    /// Takes the `n` bytes last written into `payload_space`.
    pub(in crate::proto) fn payload_received(
        &mut self,
        n: usize,
    ) -> Result<Option<Event>, Violation> {
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
}
