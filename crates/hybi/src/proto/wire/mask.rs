//! Masking (RFC 6455 section 5.3): the XOR, and where a client's keys come from.

use std::sync::LazyLock;

use fearless_simd::{Level, Simd, dispatch};

/// Blocks of fixed size let the compiler use the widest vectors it has.
const BLOCK: usize = 128;

/// Which those are on this processor. The loops over blocks are compiled for each kind that there is.
static LEVEL: LazyLock<Level> = LazyLock::new(Level::new);

/// XORs `data` with `key`, where `data[0]` is byte `offset` of the payload.
///
/// Masking and unmasking are the same operation.
#[inline(always)]
pub(in crate::proto) fn mask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = Key::new(key, offset);
    match data.len() {
        8..=16 => key.apply_to_ends::<8>(data),
        _ => key.apply(data),
    }
}

/// Copies `from` masked to `to`, which is as long.
#[cfg(feature = "tokio")]
#[inline(always)]
pub(in crate::proto) fn copy_masked(from: &[u8], to: &mut [u8], key: [u8; 4]) {
    let key = Key::new(key, 0);
    match from.len() {
        8..=16 => key.copy_ends::<8>(from, to),
        _ => {
            to.copy_from_slice(from);
            key.apply(to);
        }
    }
}

/// From this length on masking while copying is less work than copying and masking.
const FUSED: usize = 512;

/// A masked copy of `data`, with no more capacity than it needs.
#[inline(always)]
pub(in crate::proto) fn masked_copy(data: &[u8], key: [u8; 4]) -> Vec<u8> {
    if data.len() >= FUSED {
        return Key::new(key, 0).copy(data);
    }
    let mut copy = data.to_vec();
    mask(&mut copy, key, 0);
    copy
}

/// A masking key, repeated, and turned to where the data begins.
#[derive(Clone, Copy)]
struct Key(u64);

impl Key {
    #[inline(always)]
    fn new(key: [u8; 4], offset: usize) -> Self {
        let key = u64::from(u32::from_ne_bytes(key));
        Self(key << 32 | key).turned(offset)
    }

    /// The key for data that begins so many bytes later.
    #[inline(always)]
    fn turned(self, by: usize) -> Self {
        let bits = 8 * (by as u32 & 3);
        let little = cfg!(target_endian = "little");
        Self(if little { self.0.rotate_right(bits) } else { self.0.rotate_left(bits) })
    }

    #[inline(never)]
    fn apply(self, data: &mut [u8]) {
        match data.len() {
            0..4 => {
                for (byte, k) in data.iter_mut().zip(self.0.to_ne_bytes()) {
                    *byte ^= k;
                }
            }
            4..8 => self.apply_to_ends::<4>(data),
            8..=16 => self.apply_to_ends::<8>(data),
            17..=32 => self.apply_to_ends::<16>(data),
            33..=64 => self.apply_to_ends::<32>(data),
            65..=BLOCK => self.apply_to_ends::<64>(data),
            _ => dispatch!(*LEVEL, simd => self.apply_to_blocks(simd, data)),
        }
    }

    #[inline(never)]
    fn copy(self, data: &[u8]) -> Vec<u8> {
        let mut copy = Vec::with_capacity(data.len());
        let (blocks, rest) = data.as_chunks::<BLOCK>();
        dispatch!(*LEVEL, simd => self.extend(simd, &mut copy, blocks));
        let at = copy.len();
        copy.extend_from_slice(rest);
        self.apply(&mut copy[at..]);
        copy
    }

    #[inline(always)]
    fn apply_to_blocks(self, _: impl Simd, data: &mut [u8]) {
        let last = data.last_chunk::<BLOCK>().map(|last| self.turned(data.len()).applied(last));
        for block in data.as_chunks_mut::<BLOCK>().0 {
            *block = self.applied(block);
        }
        if let (Some(masked), Some(last)) = (last, data.last_chunk_mut()) {
            *last = masked;
        }
    }

    #[inline(always)]
    fn extend(self, _: impl Simd, copy: &mut Vec<u8>, blocks: &[[u8; BLOCK]]) {
        copy.extend(blocks.iter().flat_map(|block| self.applied(block)));
    }

    /// Applies the key to the first `N` bytes and the last, which may overlap: both are read before either is
    /// written. `N` is a multiple of four.
    #[inline(always)]
    fn apply_to_ends<const N: usize>(self, data: &mut [u8]) {
        if let Some(ends) = self.masked_ends::<N>(data) {
            put_ends(data, ends);
        }
    }

    #[cfg(feature = "tokio")]
    #[inline(always)]
    fn copy_ends<const N: usize>(self, from: &[u8], to: &mut [u8]) {
        if let Some(ends) = self.masked_ends::<N>(from) {
            put_ends(to, ends);
        }
    }

    #[inline(always)]
    fn masked_ends<const N: usize>(self, data: &[u8]) -> Option<[[u8; N]; 2]> {
        let (first, last) = (data.first_chunk()?, data.last_chunk()?);
        Some([self.applied(first), self.turned(data.len()).applied(last)])
    }

    #[inline(always)]
    fn applied<const N: usize>(self, block: &[u8; N]) -> [u8; N] {
        let mut masked = *block;
        let (words, half) = masked.as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ self.0).to_ne_bytes();
        }
        for half in half.as_chunks_mut().0 {
            // Either half of the key is the same.
            *half = (u32::from_ne_bytes(*half) ^ self.0 as u32).to_ne_bytes();
        }
        masked
    }
}

#[inline(always)]
fn put_ends<const N: usize>(data: &mut [u8], [first, last]: [[u8; N]; 2]) {
    if let Some(place) = data.first_chunk_mut() {
        *place = first;
    }
    if let Some(place) = data.last_chunk_mut() {
        *place = last;
    }
}

pub(in crate::proto) use self::keys::MaskKeys;

/// The operating system gave no random bytes.
#[derive(Debug)]
pub(in crate::proto) struct NoKey;

/// Keys from the operating system's generator, one for each frame.
///
/// The random bytes are fetched in batches that all connections of a thread share: a system call per frame
/// would cost more than the frame, and a batch per connection would cost idle ones memory. Each byte is
/// used once.
#[cfg(feature = "client")]
mod keys {
    use std::cell::RefCell;

    use super::NoKey;

    const BATCH: usize = 1024;

    struct Batch {
        bytes: [u8; BATCH],
        used: usize,
    }

    thread_local! {
        static BYTES: RefCell<Batch> = const { RefCell::new(Batch { bytes: [0; BATCH], used: BATCH }) };
    }

    #[derive(Debug, Default)]
    pub(in crate::proto) struct MaskKeys {
        #[cfg(test)]
        pub(in crate::proto) broken: bool,
    }

    impl MaskKeys {
        /// A key that was never used.
        pub(in crate::proto) fn next(&mut self) -> Result<[u8; 4], NoKey> {
            #[cfg(test)]
            if self.broken {
                return Err(NoKey);
            }
            let key = BYTES.try_with(|batch| batch.borrow_mut().next());
            // A thread that ends has no batch any more.
            key.unwrap_or_else(|_| {
                let mut key = [0; 4];
                getrandom::fill(&mut key).map(|()| key).map_err(|_| NoKey)
            })
        }
    }

    impl Batch {
        fn next(&mut self) -> Result<[u8; 4], NoKey> {
            if self.used + 4 > BATCH {
                getrandom::fill(&mut self.bytes).map_err(|_| NoKey)?;
                self.used = 0;
            }
            let mut key = [0; 4];
            key.copy_from_slice(&self.bytes[self.used..self.used + 4]);
            self.used += 4;
            Ok(key)
        }
    }
}

/// Without clients there are no keys: the type has no value.
#[cfg(not(feature = "client"))]
mod keys {
    use super::NoKey;

    #[derive(Debug)]
    pub(in crate::proto) enum MaskKeys {}

    impl MaskKeys {
        pub(in crate::proto) fn next(&mut self) -> Result<[u8; 4], NoKey> {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(data: &[u8], key: [u8; 4], offset: usize) -> Vec<u8> {
        data.iter().enumerate().map(|(i, byte)| byte ^ key[(offset + i) % 4]).collect()
    }

    /// M-06
    #[test]
    fn words_give_the_same_as_bytes_at_every_offset_length_and_alignment() {
        let source: Vec<u8> = (0..1200u32).map(|i| (i * 7 + 3) as u8).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..17 {
            for len in (0..80).chain([127, 128, 129, 130, 192, 255, 300, 511, 512, 513, 576, 1111])
            {
                for offset in 0..9 {
                    let mut data = source.clone();
                    mask(&mut data[start..start + len], key, offset);
                    let expected = naive(&source[start..start + len], key, offset);
                    assert_eq!(data[start..start + len], expected, "{start} {len} {offset}");
                    assert_eq!(data[..start], source[..start]);
                    assert_eq!(data[start + len..], source[start + len..]);
                    if offset == 0 {
                        assert_eq!(masked_copy(&source[start..start + len], key), expected);
                    }
                }
            }
        }
    }

    /// M-06
    #[test]
    fn the_offset_counts_across_pieces() {
        let mut data = *b"\x7f\x9f\x4d\x51\x58";
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for cut in 0..=data.len() {
            let mut piece = data;
            mask(&mut piece[..cut], key, 0);
            mask(&mut piece[cut..], key, cut);
            assert_eq!(&piece, b"Hello");
        }
        mask(&mut data, key, usize::MAX - 3);
        assert_eq!(&data, b"Hello");
    }

    /// M-04
    #[cfg(feature = "client")]
    #[test]
    fn keys_do_not_repeat_across_batches() {
        let mut keys = MaskKeys::default();
        let seen: std::collections::HashSet<_> = (0..2000).map(|_| keys.next().unwrap()).collect();
        // Of 2,000 random 32-bit numbers two coincide about once in two thousand runs, ten never.
        assert!(seen.len() > 1990);
    }
}
