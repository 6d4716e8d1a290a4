//! The bytes of a frame: its header and its mask (RFC 6455 sections 5.2 and 5.3).

mod frame;
mod mask;

#[cfg(feature = "deflate")]
pub(super) use self::frame::RSV1;
pub(super) use self::frame::{
    BINARY, First, MASK, MAX_CONTROL, MAX_HEADER, OpCode, Rest, TEXT, header_size, parse_rest,
    put_header, starts_data,
};
#[cfg(feature = "tokio")]
pub(super) use self::mask::copy_masked;
pub(super) use self::mask::{MaskKeys, NoKey, mask, masked_copy};
