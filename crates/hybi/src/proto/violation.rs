//! What a peer can do wrong, as data.

use std::fmt;

use super::close::{CloseCode, CloseFrame, CloseReason};

/// A fault of the peer that fails the connection (RFC 6455 section 7.1.7).
///
/// After one nothing more is read; the endpoint answers with [`close_frame`](Self::close_frame) and ends
/// the transport without waiting for a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// A Close frame with this code, which may not appear on the wire (section 7.4).
    CloseCode(u16),
    /// A Close frame's reason is not UTF-8 (section 5.5.1).
    CloseReasonUtf8,
    /// A Close frame with a body of one byte, half a code (section 5.5.1).
    CloseTruncated,
    /// A continuation frame where no message is open (section 5.4).
    ContinuationWithoutMessage,
    /// A ping, pong or Close that announces more than 125 bytes (section 5.5).
    ControlTooLong,
    /// A ping, pong or Close without the FIN bit (section 5.5).
    FragmentedControl,
    /// A frame that announces more bytes than [`Limits::max_frame`](super::Limits::max_frame) allows.
    FrameTooBig {
        /// The announced payload length in bytes.
        announced: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message that does not inflate, or not to its end (RFC 7692 section 7.2.2).
    Inflate,
    /// A new text or binary frame inside a message that is not finished (section 5.4).
    InterleavedMessage,
    /// A 64-bit length with the most significant bit set (section 5.2).
    LengthOverflow,
    /// A server masked a frame (section 5.1).
    Masked,
    /// A message that grows past [`Limits::max_message`](super::Limits::max_message).
    MessageTooBig {
        /// The limit in bytes.
        limit: usize,
    },
    /// A message was not complete within the time allowed for its assembly.
    ///
    /// Never found by [`Connection`](super::Connection), which has no clock: whoever has one raises it.
    MessageTooSlow,
    /// A length in more bytes than it needs (section 5.2).
    NonMinimalLength,
    /// A reserved bit that no negotiated extension owns (section 5.2). RSV1, RSV2 and RSV3 are the bits
    /// 4, 2 and 1 of the number.
    ReservedBits(u8),
    /// An opcode that means nothing: 3 to 7 or 11 to 15 (section 5.2).
    ReservedOpcode(u8),
    /// A text message that is not UTF-8 (section 8.1).
    TextUtf8,
    /// A message in more frames than [`Limits::max_fragments`](super::Limits::max_fragments) allows.
    TooManyFragments {
        /// The limit in frames.
        limit: usize,
    },
    /// A client sent a frame without a mask (section 5.1).
    Unmasked,
}

impl Violation {
    /// The close code that tells the peer: 1002, 1007, 1008 or 1009.
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::CloseReasonUtf8 | Self::Inflate | Self::TextUtf8 => CloseCode::INVALID_DATA,
            Self::MessageTooSlow | Self::TooManyFragments { .. } => CloseCode::POLICY_VIOLATION,
            Self::FrameTooBig { .. } | Self::MessageTooBig { .. } => CloseCode::TOO_BIG,
            Self::CloseCode(_)
            | Self::CloseTruncated
            | Self::ContinuationWithoutMessage
            | Self::ControlTooLong
            | Self::FragmentedControl
            | Self::InterleavedMessage
            | Self::LengthOverflow
            | Self::Masked
            | Self::NonMinimalLength
            | Self::ReservedBits(_)
            | Self::ReservedOpcode(_)
            | Self::Unmasked => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The Close frame that tells the peer: [`close_code`](Self::close_code), and as its reason the
    /// [`Display`](fmt::Display) form, for the developer at the other end.
    #[must_use]
    pub fn close_frame(&self) -> CloseFrame {
        CloseFrame::new(self.close_code(), CloseReason::new(self.to_string()).unwrap_or_default())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloseCode(code) => write!(f, "close code {code} may not be sent"),
            Self::CloseReasonUtf8 => f.write_str("close reason is not UTF-8"),
            Self::CloseTruncated => f.write_str("close frame with half a code"),
            Self::ContinuationWithoutMessage => {
                f.write_str("continuation frame without a message to continue")
            }
            Self::ControlTooLong => f.write_str("control frame longer than 125 bytes"),
            Self::FragmentedControl => f.write_str("fragmented control frame"),
            Self::FrameTooBig { announced, limit } => {
                write!(f, "frame of {announced} bytes where {limit} are allowed")
            }
            Self::Inflate => f.write_str("compressed message that does not inflate"),
            Self::InterleavedMessage => f.write_str("new message inside an unfinished one"),
            Self::LengthOverflow => f.write_str("frame length with the top bit set"),
            Self::Masked => f.write_str("masked frame from a server"),
            Self::MessageTooBig { limit } => write!(f, "message longer than {limit} bytes"),
            Self::MessageTooSlow => f.write_str("message took too long to arrive"),
            Self::NonMinimalLength => f.write_str("frame length not in its shortest form"),
            Self::ReservedBits(bits) => write!(f, "reserved bits {bits:03b} without an extension"),
            Self::ReservedOpcode(opcode) => write!(f, "reserved opcode {opcode}"),
            Self::TextUtf8 => f.write_str("text is not UTF-8"),
            Self::TooManyFragments { limit } => {
                write!(f, "message in more than {limit} fragments")
            }
            Self::Unmasked => f.write_str("unmasked frame from a client"),
        }
    }
}

impl std::error::Error for Violation {}

#[cfg(test)]
mod tests {
    use super::*;

    /// L-15
    #[test]
    fn every_violation_tells_the_peer_its_code_and_why() {
        use Violation::*;
        let table: &[(&[Violation], u16)] = &[
            (
                &[
                    CloseCode(1005),
                    CloseTruncated,
                    ContinuationWithoutMessage,
                    ControlTooLong,
                    FragmentedControl,
                    InterleavedMessage,
                    LengthOverflow,
                    Masked,
                    NonMinimalLength,
                    ReservedBits(7),
                    ReservedOpcode(15),
                    Unmasked,
                ],
                1002,
            ),
            (&[CloseReasonUtf8, Inflate, TextUtf8], 1007),
            (&[MessageTooSlow, TooManyFragments { limit: usize::MAX }], 1008),
            (
                &[
                    FrameTooBig { announced: u64::MAX, limit: usize::MAX },
                    MessageTooBig { limit: usize::MAX },
                ],
                1009,
            ),
        ];
        for (violations, code) in table {
            for violation in *violations {
                let frame = violation.close_frame();
                assert_eq!(frame.status(), *code, "{violation:?}");
                assert_eq!(frame.reason(), violation.to_string(), "fits a Close frame");
            }
        }
    }
}
