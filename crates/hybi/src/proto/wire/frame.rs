//! The frame header (RFC 6455 section 5.2), read and written.

use bytes::{BufMut, BytesMut};

use crate::proto::message::MessageKind;
use crate::proto::violation::Violation;

/// The longest header: two bytes, a 64-bit length, a masking key.
pub(in crate::proto) const MAX_HEADER: usize = 14;

/// The longest payload of a control frame.
pub(in crate::proto) const MAX_CONTROL: usize = 125;

/// The first byte of a text message in one frame.
pub(in crate::proto) const TEXT: u8 = 0x81;

/// The first byte of a binary message in one frame.
pub(in crate::proto) const BINARY: u8 = 0x82;

const FIN: u8 = 0x80;
/// The bit of permessage-deflate (RFC 7692 section 6).
pub(in crate::proto) const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
/// In the second byte: the payload is masked.
pub(in crate::proto) const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum OpCode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl OpCode {
    pub(in crate::proto) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xa => Some(Self::Pong),
            _ => None,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xa,
        }
    }
}

impl From<MessageKind> for OpCode {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// The first byte of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) struct First {
    pub(in crate::proto) fin: bool,
    pub(in crate::proto) opcode: OpCode,
    /// RSV1: the message that begins is compressed.
    pub(in crate::proto) compressed: bool,
}

impl First {
    /// Of any frame but the first of a compressed message.
    pub(in crate::proto) fn plain(fin: bool, opcode: OpCode) -> Self {
        Self { fin, opcode, compressed: false }
    }

    /// Judges a first byte as far as it can be judged without knowing what came before.
    ///
    /// `owned` are the reserved bits that an extension has the use of at the beginning of a message; nobody
    /// has the others, nor any in other frames.
    pub(in crate::proto) fn parse(byte: u8, owned: u8) -> Result<Self, Violation> {
        let bits = byte & OPCODE;
        if byte & RESERVED != 0 {
            let begins = matches!(OpCode::from_bits(bits), Some(OpCode::Text | OpCode::Binary));
            let unowned = byte & RESERVED & !if begins { owned } else { 0 };
            if unowned != 0 {
                return Err(Violation::ReservedBits(unowned >> 4));
            }
        }
        let opcode = OpCode::from_bits(bits).ok_or(Violation::ReservedOpcode(bits))?;
        let fin = byte & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::FragmentedControl);
        }
        Ok(Self { fin, opcode, compressed: byte & RSV1 != 0 })
    }
}

/// Whether the frame that begins with this byte carries data rather than control.
pub(in crate::proto) fn starts_data(first: u8) -> bool {
    first & 0x08 == 0
}

/// The rest of a header, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proto) enum Rest {
    /// More bytes are needed before the length is known.
    NeedsLength,
    /// The payload's length; the masking key is not there yet.
    NeedsKey { length: u64 },
    /// A whole header of `size` bytes.
    Complete { length: u64, key: Option<[u8; 4]>, size: usize },
}

/// Reads a header past its first byte, which is `header[0]` and was judged before.
///
/// Every fault is found with the first byte that shows it, and in the same order however many bytes of
/// the header are there, so that a header fails in the same way for every way of cutting it.
pub(in crate::proto) fn parse_rest(
    header: &[u8],
    control: bool,
    expects_mask: bool,
) -> Result<Rest, Violation> {
    let Some(&second) = header.get(1) else { return Ok(Rest::NeedsLength) };
    let masked = second & MASK != 0;
    if masked != expects_mask {
        return Err(if masked { Violation::Masked } else { Violation::Unmasked });
    }
    let short = second & LENGTH;
    if control && usize::from(short) > MAX_CONTROL {
        return Err(Violation::ControlTooLong);
    }
    let (length, at) = match short {
        126 => match header.get(2..4) {
            Some(&[a, b]) => (u64::from(u16::from_be_bytes([a, b])), 4),
            _ => return Ok(Rest::NeedsLength),
        },
        127 => {
            if header.get(2).is_some_and(|byte| byte & 0x80 != 0) {
                return Err(Violation::LengthOverflow);
            }
            match header.get(2..10).and_then(|bytes| bytes.try_into().ok()) {
                Some(bytes) => (u64::from_be_bytes(bytes), 10),
                None => return Ok(Rest::NeedsLength),
            }
        }
        short => (u64::from(short), 2),
    };
    if (short == 126 && length < 126) || (short == 127 && length <= 0xffff) {
        return Err(Violation::NonMinimalLength);
    }
    if !masked {
        return Ok(Rest::Complete { length, key: None, size: at });
    }
    match header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()) {
        Some(key) => Ok(Rest::Complete { length, key: Some(key), size: at + 4 }),
        None => Ok(Rest::NeedsKey { length }),
    }
}

/// The size of the header before a payload of this length.
pub(in crate::proto) fn header_size(payload: usize, masked: bool) -> usize {
    let length = match payload {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    };
    if masked { length + 4 } else { length }
}

/// Writes a header, its length in the shortest form.
#[inline]
pub(in crate::proto) fn put_header(
    out: &mut BytesMut,
    first: First,
    payload: usize,
    key: Option<[u8; 4]>,
) {
    let First { fin, opcode, compressed } = first;
    let first = opcode.bits() | if fin { FIN } else { 0 } | if compressed { RSV1 } else { 0 };
    if payload <= MAX_CONTROL && key.is_none() {
        return out.put_slice(&[first, payload as u8]);
    }
    let mut header = [0; MAX_HEADER];
    header[0] = first;
    let mask = if key.is_some() { MASK } else { 0 };
    let mut size = match payload {
        0..=125 => {
            header[1] = mask | payload as u8;
            2
        }
        126..=0xffff => {
            header[1] = mask | 126;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = mask | 127;
            header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            10
        }
    };
    if let Some(key) = key {
        header[size..size + 4].copy_from_slice(&key);
        size += 4;
    }
    out.put_slice(&header[..size]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODES: [OpCode; 6] = [
        OpCode::Continuation,
        OpCode::Text,
        OpCode::Binary,
        OpCode::Close,
        OpCode::Ping,
        OpCode::Pong,
    ];

    /// F-06, K-01
    #[test]
    fn of_all_256_first_bytes_exactly_the_defined_ones_pass() {
        for byte in 0..=u8::MAX {
            let expected = if byte & 0x70 != 0 {
                Err(Violation::ReservedBits(byte >> 4 & 7))
            } else if !matches!(byte & 0xf, 0..=2 | 8..=10) {
                Err(Violation::ReservedOpcode(byte & 0xf))
            } else if byte & 0x88 == 0x08 {
                Err(Violation::FragmentedControl)
            } else {
                Ok(byte & 0x80 != 0)
            };
            let parsed = First::parse(byte, 0);
            assert_eq!(parsed.map(|first| first.fin), expected, "{byte:#04x}");
            assert_eq!(starts_data(byte), byte & 0x0f < 8);
            assert!(!parsed.is_ok_and(|first| first.compressed));
        }
    }

    /// D-14
    #[test]
    fn an_owned_bit_passes_at_the_beginning_of_a_message_only() {
        for byte in 0..=u8::MAX {
            let parsed = First::parse(byte, RSV1);
            if matches!(byte & 0x4f, 0x41 | 0x42) {
                let plain = First::parse(byte & !RSV1, 0);
                assert_eq!(parsed, plain.map(|first| First { compressed: true, ..first }));
            } else {
                assert_eq!(parsed, First::parse(byte, 0), "{byte:#04x}");
            }
        }
        assert_eq!(First::parse(0x61, RSV1), Err(Violation::ReservedBits(2)));
        assert_eq!(First::parse(0xc0, RSV1), Err(Violation::ReservedBits(4)));
        assert_eq!(First::parse(0xc9, RSV1), Err(Violation::ReservedBits(4)));
    }

    /// F-01, F-02, R-02
    #[test]
    fn a_written_header_reads_back_and_is_the_shortest() {
        let sizes = [
            (0, 2),
            (1, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (u32::MAX as usize, 10),
        ];
        for (payload, size) in sizes {
            for opcode in CODES.into_iter().filter(|code| !code.is_control() || payload <= 125) {
                for (key, fin) in [(None, true), (Some([1, 2, 3, 4]), opcode.is_control())] {
                    let mut out = BytesMut::new();
                    let first = First { fin, opcode, compressed: opcode == OpCode::Text };
                    put_header(&mut out, first, payload, key);
                    let size = if key.is_some() { size + 4 } else { size };
                    assert_eq!(out.len(), size);
                    assert_eq!(header_size(payload, key.is_some()), size);
                    assert_eq!(First::parse(out[0], RSV1), Ok(first));
                    assert_eq!(
                        parse_rest(&out, opcode.is_control(), key.is_some()),
                        Ok(Rest::Complete { length: payload as u64, key, size })
                    );
                }
            }
        }
    }

    /// F-03, F-04, F-05, F-07, K-01, M-02, M-03
    #[test]
    fn a_bad_header_fails_at_the_byte_that_shows_it_and_alike_ever_after() {
        let table: &[(&[u8], usize, bool, Violation)] = &[
            (&[0x82, 0x7e, 0, 5, 9], 4, false, Violation::NonMinimalLength),
            (&[0x82, 0x7e, 0, 125, 9], 4, false, Violation::NonMinimalLength),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 10, false, Violation::NonMinimalLength),
            (&[0x82, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0], 3, false, Violation::LengthOverflow),
            (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], 3, true, Violation::LengthOverflow),
            (&[0x82, 0xff, 0xff], 3, true, Violation::LengthOverflow),
            (&[0x81, 0x05, 0x48], 2, true, Violation::Unmasked),
            (&[0x81, 0x85, 0x48], 2, false, Violation::Masked),
            (&[0x89, 0x7e, 0, 126], 2, false, Violation::ControlTooLong),
            (&[0x89, 0xff, 0x80], 2, true, Violation::ControlTooLong),
        ];
        for &(bytes, at, expects_mask, violation) in table {
            for n in 1..=bytes.len() {
                let found = parse_rest(&bytes[..n], bytes[0] & 8 != 0, expects_mask);
                if n < at {
                    assert_eq!(found, Ok(Rest::NeedsLength), "{bytes:02x?} cut at {n}");
                } else {
                    assert_eq!(found, Err(violation), "{bytes:02x?} cut at {n}");
                }
            }
        }
    }

    /// F-05, F-07
    #[test]
    fn the_length_is_known_before_the_key() {
        let header = [0x82, 0xfe, 0x01, 0x00, 1, 2, 3, 4];
        for n in 4..8 {
            assert_eq!(parse_rest(&header[..n], false, true), Ok(Rest::NeedsKey { length: 256 }));
        }
        assert_eq!(
            parse_rest(&header, false, true),
            Ok(Rest::Complete { length: 256, key: Some([1, 2, 3, 4]), size: 8 })
        );
    }
}
