//! Masking (RFC 6455 section 5.3): the XOR, and where a client's keys come from.

/// XORs `data` with `key`, where `data[0]` is byte `offset` of the payload.
///
/// Masking and unmasking are the same operation.
#[inline]
pub(super) fn mask(data: &mut [u8], key: [u8; 4], offset: usize) {
    let key = u32::from_ne_bytes(key);
    // Turns the key so that its first byte in memory belongs to data[0].
    let turn = 8 * (offset as u32 & 3);
    let key =
        if cfg!(target_endian = "little") { key.rotate_right(turn) } else { key.rotate_left(turn) };
    let wide = u64::from(key) << 32 | u64::from(key);

    // Blocks of fixed size let the compiler use the widest vectors it has.
    let mut blocks = data.chunks_exact_mut(64);
    for block in &mut blocks {
        for word in block.chunks_exact_mut(8) {
            xor_word(word, wide);
        }
    }
    let mut words = blocks.into_remainder().chunks_exact_mut(8);
    for word in &mut words {
        xor_word(word, wide);
    }
    for (byte, k) in words.into_remainder().iter_mut().zip(wide.to_ne_bytes()) {
        *byte ^= k;
    }
}

#[inline(always)]
fn xor_word(word: &mut [u8], key: u64) {
    // Always true: the callers cut words of eight.
    if let Some(word) = word.first_chunk_mut::<8>() {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
}

pub(super) use self::keys::MaskKeys;

/// Keys from the operating system's generator, one for each frame.
///
/// The random bytes are fetched in batches that all connections of a thread share: a system call per frame
/// would cost more than the frame, and a batch per connection would cost idle ones memory. Each byte is
/// used once.
#[cfg(feature = "client")]
mod keys {
    use std::cell::RefCell;

    const BATCH: usize = 1024;

    struct Batch {
        bytes: [u8; BATCH],
        used: usize,
    }

    thread_local! {
        static BYTES: RefCell<Batch> = const { RefCell::new(Batch { bytes: [0; BATCH], used: BATCH }) };
    }

    /// The operating system gave no random bytes.
    #[derive(Debug)]
    pub(in crate::proto) struct NoKey;

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
    use std::convert::Infallible;

    #[derive(Debug)]
    pub(in crate::proto) enum MaskKeys {}

    impl MaskKeys {
        pub(in crate::proto) fn next(&mut self) -> Result<[u8; 4], Infallible> {
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
        let source: Vec<u8> = (0..400u32).map(|i| (i * 7 + 3) as u8).collect();
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for start in 0..17 {
            for len in (0..80).chain([127, 128, 129, 255, 300]) {
                for offset in 0..9 {
                    let mut data = source.clone();
                    mask(&mut data[start..start + len], key, offset);
                    let expected = naive(&source[start..start + len], key, offset);
                    assert_eq!(data[start..start + len], expected, "{start} {len} {offset}");
                    assert_eq!(data[..start], source[..start]);
                    assert_eq!(data[start + len..], source[start + len..]);
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
