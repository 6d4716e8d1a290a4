//! What a whole control frame says.

use bytes::Bytes;
use bytestring::ByteString;

use crate::proto::close::{CloseCode, CloseFrame, CloseReason};
use crate::proto::event::Event;
use crate::proto::violation::Violation;
use crate::proto::wire::OpCode;

pub(super) fn control_event(opcode: OpCode, payload: Bytes) -> Result<Event, Violation> {
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
