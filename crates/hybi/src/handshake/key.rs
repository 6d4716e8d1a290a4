//! `Sec-WebSocket-Key` and the value that proves it was read (RFC 6455, sections 4.2.1 and 4.2.2).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha1::{Digest as _, Sha1};

use super::list;

/// What RFC 6455 appends to the key before hashing, so that no other protocol answers by accident.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The characters of standard base64.
const ALPHABET: [bool; 256] = list::alphanumeric_or(b"+/");

/// A base64 text of 16 bytes: 22 characters that carry them and two of padding.
pub(super) type Key = [u8; 24];

/// The value of `Sec-WebSocket-Accept` for the value of a `Sec-WebSocket-Key` (RFC 6455, section
/// 4.2.2).
///
/// The key is hashed as it was sent, never decoded. This is a proof that the server speaks
/// WebSocket, not a signature.
///
/// ```
/// let value = hybi::handshake::accept_value(b"dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(&value, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
#[must_use]
pub fn accept_value(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut value = [0; 28];
    BASE64_STANDARD.encode_slice(digest, &mut value).expect("20 bytes are 28 characters of base64");
    value
}

/// The key in a field value, if it is base64 of 16 bytes.
///
/// The four spare bits of the last character may be set: RFC 6455's own sample has them (erratum
/// 3150), and only the text is hashed.
pub(super) fn parse(value: &[u8]) -> Option<Key> {
    let key: Key = list::trim(value).try_into().ok()?;
    let (characters, padding) = key.split_at(22);
    let in_alphabet = |byte: &u8| ALPHABET[usize::from(*byte)];
    (padding == b"==" && characters.iter().all(in_alphabet)).then_some(key)
}

/// A key for one attempt: 16 bytes from the operating system's generator, encoded without spare bits
/// (RFC 6455, section 4.1). `None` when there are no random bytes.
#[cfg(feature = "client")]
pub(super) fn random() -> Option<Key> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).ok()?;
    let mut key = [0; 24];
    BASE64_STANDARD.encode_slice(nonce, &mut key).expect("16 bytes are 24 characters of base64");
    Some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// H-10, H-07: the standard's example, and one whose spare bits are set.
    #[test]
    fn the_accept_value_hashes_the_key_as_sent() {
        assert_eq!(&accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let spare = accept_value(b"AQIDBAUGBwgJCgsMDQ4PEC==");
        let canonical = accept_value(b"AQIDBAUGBwgJCgsMDQ4PEA==");
        assert_ne!(spare, canonical);
    }

    /// H-06, H-07
    #[test]
    fn a_key_is_padded_standard_base64_of_sixteen_bytes() {
        let good: [&[u8]; 5] = [
            b"dGhlIHNhbXBsZSBub25jZQ==",
            b"AQIDBAUGBwgJCgsMDQ4PEC==",
            b" \tdGhlIHNhbXBsZSBub25jZQ== ",
            b"++++++++++++//////////==",
            b"AAAAAAAAAAAAAAAAAAAAAA==",
        ];
        for value in good {
            assert!(parse(value).is_some(), "{}", value.escape_ascii());
        }
        let bad: [&[u8]; 13] = [
            b"",
            b"==",
            b"dGhlIHNhbXBsZSBub25j",     // 15 bytes
            b"AAECAwQFBgcICQoLDA0OD/AR", // 18 bytes, 24 characters
            b"dGhlIHNhbXBsZSBub25jZWU=", // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZQ",   // no padding
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZ===",
            b"dGhlIHNh_XBsZSBub25jZQ==", // the url-safe alphabet
            b"dGhlIHNh-XBsZSBub25jZQ==",
            b"dGhlIHNh XBsZSBub25jZQ==",
            b"dGhlIHNhbXBsZSBub25jZQ==,",
            b"dGhlIHNhbXBsZSBub25j\xc3\xa9==",
        ];
        for value in bad {
            assert!(parse(value).is_none(), "{}", value.escape_ascii());
        }
    }

    proptest! {
        /// H-06: the check is that of a decoder.
        #[test]
        fn every_sixteen_bytes_make_a_key(nonce: [u8; 16]) {
            prop_assert!(parse(BASE64_STANDARD.encode(nonce).as_bytes()).is_some());
        }

        #[test]
        fn parsing_a_key_never_panics(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
