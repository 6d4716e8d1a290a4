use super::trace::trace;
use super::*;
use proptest::prelude::*;

/// D-12, D-16
#[test]
fn a_message_ends_in_a_flush_without_its_last_four_bytes() {
    for level in 1..=9 {
        let mut compressor = Compressor::new(true, 15, level);
        let mut out = Vec::new();
        compressor.piece(b"Hello", &mut out, false);
        compressor.finish(&mut out);
        assert_eq!(out, b"\xf2\x48\xcd\xc9\xc9\x07\x00", "level {level}");
        assert_eq!(trace(&[&out[..], b"\0\0\xff\xff"].concat(), b"").0, b"Hello");
        out.clear();
        compressor.finish(&mut out);
        compressor.finish(&mut out);
        assert_eq!(out, b"\0\0", "two empty messages");
        out.clear();
        compressor.piece(b"Hello", &mut out, false);
        compressor.finish(&mut out);
        assert_eq!(trace(&[&out[..], b"\0\0\xff\xff"].concat(), b"Hello").0, b"Hello");
    }
}

/// D-09, D-10, D-11: the largest distance is within what was agreed, and it is made use of.
#[test]
fn no_distance_is_larger_than_the_window() {
    for bits in 8..=15_u8 {
        let window = 1_usize << bits;
        let mut used = 0;
        for level in 1..=9 {
            let mut compressor = Compressor::new(true, bits, level);
            let mut history = Vec::new();
            // Repetitions just within and just outside of the window, and text, over several messages.
            for period in [window - 300 * usize::from(bits > 8), window - 1, window, window + 1] {
                let unit = noise(period, u64::from(level));
                let message = [&unit[..], &unit, &prose(3 * window, level), &unit].concat();
                let mut payload = compress(&mut compressor, &message).unwrap();
                payload.extend_from_slice(b"\0\0\xff\xff");
                let (text, largest) = trace(&payload, &history);
                assert!(text == message, "level {level}, {bits} bits");
                assert!(largest <= window, "{largest} at level {level} with {bits} bits");
                used = largest.max(used);
                history = text;
            }
        }
        assert!(bits <= 9 || used > window / 2, "{used} of {window}");
    }
}

/// D-21
#[test]
fn without_context_takeover_what_does_not_shrink_is_left_as_it_is() {
    let mut compressor = Compressor::new(false, 15, 6);
    for len in [1, 5, 100, 1000, 70_000] {
        assert_eq!(compress(&mut compressor, &noise(len, 5)), None, "{len}");
        assert!(compress(&mut compressor, &prose(len + 50, 5)).unwrap().len() < len + 50);
    }
    assert_eq!(compress(&mut compressor, b""), None);
}

/// D-22: a compressor is given back and reset after any kind of message at any level.
#[test]
fn a_message_that_was_not_sent_compressed_leaves_nothing_behind() {
    for level in 1..=9 {
        let mut compressor = Compressor::new(false, 9, level);
        let fresh = compress(&mut Compressor::new(true, 9, level), &prose(3000, 1));
        for len in [300, 3000, 16_195, 30_000, 65_000, 100_000, 300_000] {
            assert_eq!(compress(&mut compressor, &noise(len, 9)), None);
            assert_eq!(compress(&mut compressor, &prose(3000, 1)), fresh, "level {level}");
        }
    }
}

/// D-21: the next message may refer to it.
#[test]
fn with_context_takeover_all_that_was_compressed_is_sent() {
    let (mut compressor, mut inflater) = (Compressor::new(true, 15, 6), Inflater::new(true, 15));
    let text = noise(1000, 5);
    let first = compress(&mut compressor, &text).unwrap();
    assert!(first.len() > text.len());
    assert_eq!(inflate(&mut inflater, [&first[..]]).unwrap(), text);
    let second = compress(&mut compressor, &text).unwrap();
    assert!(second.len() < 50);
    assert_eq!(inflate(&mut inflater, [&second[..]]).unwrap(), text);
    assert_eq!(compress(&mut compressor, b""), None, "an empty message takes no part");
    let third = compress(&mut compressor, &text).unwrap();
    assert_eq!(inflate(&mut inflater, [&third[..]]).unwrap(), text);
}

/// D-22
#[test]
fn without_context_takeover_equal_messages_give_equal_bytes() {
    for level in [1, 6] {
        let mut compressor = Compressor::new(false, 15, level);
        let first = compress(&mut compressor, &prose(5000, 1)).unwrap();
        // Another level in between, by way of the pool.
        compress(&mut Compressor::new(false, 15, 9), &prose(9000, 2)).unwrap();
        compress(&mut compressor, &prose(4000, 3)).unwrap();
        assert_eq!(compress(&mut compressor, &prose(5000, 1)).unwrap(), first);
        assert_eq!(
            compress(&mut Compressor::new(true, 15, level), &prose(5000, 1)).unwrap(),
            first
        );
        assert!(format!("{compressor:?}").contains("holds_context: false"));
    }
}

#[test]
fn the_level_trades_time_for_size() {
    let text = prose(100_000, 1);
    let size = |level| compress(&mut Compressor::new(false, 15, level), &text).unwrap().len();
    assert!(size(9) < size(2) && size(2) < size(1), "{} {} {}", size(9), size(2), size(1));
    // The pool keeps contexts and not their levels.
    assert_eq!(size(9), size(9));
}

/// what was flushed can be read by the peer before the message ends.
#[test]
fn a_flushed_piece_can_be_inflated_at_once() {
    for takeover in [false, true] {
        let mut compressor = Compressor::new(takeover, 15, 2);
        let mut inflater = Inflater::new(takeover, 15);
        for _ in 0..3 {
            for part in [&b"first"[..], b"second", b"", b"third"] {
                let mut out = Vec::new();
                compressor.piece(part, &mut out, true);
                let (mut input, mut text) = (&out[..], Vec::new());
                while let Some(chunk) = inflater.inflate(&mut input).unwrap() {
                    text.extend_from_slice(chunk);
                }
                assert_eq!(text, part);
            }
            let mut out = Vec::new();
            compressor.finish(&mut out);
            assert_eq!(out, b"\0", "nothing was left to say");
            assert_eq!(inflate(&mut inflater, [&out[..]]).unwrap(), b"");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// R-04, D-12, D-13, D-15, D-22
    #[test]
    fn whatever_is_sent_arrives(
        takeover in any::<bool>(),
        level in 1_u32..=9,
        bits in 8_u8..=15,
        messages in prop::collection::vec(
            (0_usize..50_000, any::<u32>(), 0..4, 1_usize..20_000, any::<bool>()), 1..6
        ),
        cut in 1_usize..5000,
    ) {
        let mut compressor = Compressor::new(takeover, bits, level);
        let mut inflater = Inflater::new(takeover, bits);
        for (len, seed, kind, part, flush) in messages {
            let message = match kind {
                0 => noise(len, seed.into()),
                1 => vec![seed as u8; len],
                _ => prose(len, seed),
            };
            let payload = if kind == 3 {
                let mut out = Vec::new();
                for piece in message.chunks(part) {
                    compressor.piece(piece, &mut out, flush);
                }
                compressor.finish(&mut out);
                out
            } else {
                match compress(&mut compressor, &message) {
                    Some(payload) => payload,
                    None => continue,
                }
            };
            prop_assert!(inflate(&mut inflater, payload.chunks(cut)).unwrap() == message);
        }
    }
}
