//! How the rest of a long binary payload is read straight to where it belongs.

use bytes::BufMut;
use bytes::buf::Limit;

use super::assembly::Assembly;
use super::decoder::Decoder;
use crate::proto::event::Event;
use crate::proto::message::MessageKind;
use crate::proto::violation::Violation;

/// Below this much missing payload, reading it directly does not pay.
const DIRECT: usize = 4 * 1024;

impl Decoder {
    /// Where the rest of a long binary payload can be read without going through `receive`.
    pub(in crate::proto) fn payload_space(&mut self) -> Option<Limit<&mut Vec<u8>>> {
        let open = self.open.as_ref()?;
        let frame = open.frame?;
        // Parts are copied out of the driver's buffer: it serves all connections, and what is read at
        // once is as long as it is.
        if frame.first.opcode.is_control() || self.in_parts() || self.is_held() {
            return None;
        }
        #[cfg(feature = "deflate")]
        if self.is_compressed() {
            return None;
        }
        let room = self.room();
        let wanted = frame.missing.min(room);
        if wanted < DIRECT {
            return None;
        }
        let message = self.message_mut()?;
        if message.content.kind() == MessageKind::Binary {
            let most = if frame.first.fin { wanted } else { room };
            message.content.make_room(DIRECT, wanted, most);
        }
        let Assembly::Binary(bytes) = &mut message.content else { return None };
        let space = wanted.min(bytes.capacity() - bytes.len());
        Some(bytes.limit(space))
    }

    /// Takes the `n` bytes last written into `payload_space`.
    pub(in crate::proto) fn payload_received(
        &mut self,
        n: usize,
    ) -> Result<Option<Event>, Violation> {
        let result = self.take_direct(n);
        self.settle(&result);
        result
    }

    fn take_direct(&mut self, n: usize) -> Result<Option<Event>, Violation> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let (Some(mut frame), Some(message)) = (open.frame, &mut open.message) else {
            return Ok(None);
        };
        let Assembly::Binary(bytes) = &mut message.content else { return Ok(None) };
        let n = n.min(frame.missing);
        let from = bytes.len().saturating_sub(n);
        frame.unmask(&mut bytes[from..]);
        frame.take(n);
        open.frame = frame.unfinished();
        if open.frame.is_none() && frame.first.fin { self.finish_message() } else { Ok(None) }
    }
}
