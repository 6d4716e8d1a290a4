//! Frames as a client writes them, byte by byte.

/// A whole masked frame. `first` is the byte with FIN, RSV and opcode.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len(), true);
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// A header up to the masking key, with the shortest length.
pub fn header(first: u8, len: usize, mask: bool) -> Vec<u8> {
    let bit = if mask { 0x80 } else { 0 };
    let mut header = vec![first];
    match len {
        0..126 => header.push(bit | len as u8),
        126..65536 => {
            header.push(bit | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(bit | 127);
            header.extend((len as u64).to_be_bytes());
        }
    }
    header
}

/// The body of a Close frame.
pub fn close_body(code: u16, reason: &str) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend(reason.as_bytes());
    body
}
