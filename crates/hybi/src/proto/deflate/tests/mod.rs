//! The codec by itself: compressors and inflaters against each other and against the vectors of RFC 7692.

mod compress;
mod inflate;
mod trace;

use super::inflate::InvalidData;
use super::{Compressor, Inflater};

/// Inflates one message that comes in these pieces.
fn inflate<'a>(
    inflater: &mut Inflater,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, InvalidData> {
    let mut out = Vec::new();
    for mut piece in pieces {
        while let Some(chunk) = inflater.inflate(&mut piece)? {
            assert!(chunk.len() <= super::inflate::STEP);
            out.extend_from_slice(chunk);
        }
        assert!(piece.is_empty());
    }
    while let Some(chunk) = inflater.finish()? {
        out.extend_from_slice(chunk);
    }
    Ok(out)
}

fn compress(compressor: &mut Compressor, payload: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let done = compressor.whole(payload, &mut out);
    assert!(out.starts_with(b"before") && (done || out.len() == 6));
    done.then(|| out.split_off(6))
}

/// Text that compresses well, without being the same all over.
fn prose(len: usize, mut seed: u32) -> Vec<u8> {
    let words = ["socket", "frame", "message", "ping", "close", "mask", "server", "client"];
    let mut out = Vec::new();
    while out.len() < len {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(words[(seed >> 24) as usize % 8].as_bytes());
        out.push(b" ,.;"[(seed >> 20) as usize % 4]);
    }
    out.truncate(len);
    out
}

/// Bytes that do not compress.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
