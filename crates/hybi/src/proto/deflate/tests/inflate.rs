use super::*;
use crate::proto::deflate::inflate::STEP;
use proptest::prelude::*;

fn taking_over() -> Inflater {
    Inflater::new(true, 15)
}

fn forgetful() -> Inflater {
    Inflater::new(false, 15)
}

/// The examples of RFC 7692 section 7.2.3.
const VECTORS: [(&[u8], &[u8]); 6] = [
    (b"\xf2\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
    (b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", b"Hello"),
    (b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", b"Hello"),
    (b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", b"Hello"),
    (b"\x00", b""),
    // A last block with nothing behind it.
    (b"\xf3\x48\xcd\xc9\xc9\x07\x00", b"Hello"),
];

/// "Hello" that refers to a "Hello" before.
const AGAIN: &[u8] = b"\xf2\x00\x11\x00\x00";

/// D-13, D-15, D-16, D-18
#[test]
fn every_example_is_inflated_wherever_it_is_cut() {
    for make in [taking_over, forgetful] {
        for (payload, text) in VECTORS {
            assert_eq!(inflate(&mut make(), [payload]).unwrap(), text, "{payload:02x?}");
            assert_eq!(inflate(&mut make(), payload.chunks(1)).unwrap(), text, "{payload:02x?}");
            for i in 0..=payload.len() {
                let (a, b) = payload.split_at(i);
                assert_eq!(inflate(&mut make(), [a, &[], b]).unwrap(), text, "{payload:02x?}");
            }
        }
    }
}

/// D-13, D-15, D-18: whatever kind of blocks the message before had, and empty ones between.
#[test]
fn a_message_refers_to_the_one_before() {
    for (payload, text) in VECTORS {
        let mut inflater = taking_over();
        assert_eq!(inflate(&mut inflater, payload.chunks(3)).unwrap(), text);
        if text.is_empty() {
            assert_eq!(inflate(&mut inflater, [AGAIN]), Err(InvalidData));
            continue;
        }
        for _ in 0..3 {
            assert_eq!(inflate(&mut inflater, [AGAIN]).unwrap(), text, "{payload:02x?}");
            assert_eq!(inflate(&mut inflater, [&b"\x00"[..]]).unwrap(), b"");
            assert_eq!(inflate(&mut inflater, AGAIN.chunks(1)).unwrap(), text);
        }
    }
}

/// D-18: inside one message too, with and without context takeover.
#[test]
fn what_follows_a_last_block_refers_to_what_was_before_it() {
    let payload = [VECTORS[2].0.split_last().unwrap().1, AGAIN].concat();
    for make in [taking_over, forgetful] {
        assert_eq!(inflate(&mut make(), [&payload[..]]).unwrap(), b"HelloHello");
        assert_eq!(inflate(&mut make(), payload.chunks(1)).unwrap(), b"HelloHello");
    }
    // And a stored last block whose history is the message before.
    let mut inflater = taking_over();
    inflate(&mut inflater, [VECTORS[0].0]).unwrap();
    let payload = [b"\x01\x01\x00\xfe\xff!", AGAIN].concat();
    assert_eq!(inflate(&mut inflater, [&payload[..]]).unwrap(), b"!Hllo!");
}

/// D-17
#[test]
fn a_message_without_payload_is_empty_and_disturbs_nothing() {
    let mut inflater = taking_over();
    assert_eq!(inflate(&mut inflater, []).unwrap(), b"");
    inflate(&mut inflater, [VECTORS[0].0]).unwrap();
    assert_eq!(inflate(&mut inflater, [&[][..], &[]]).unwrap(), b"");
    assert_eq!(inflate(&mut inflater, [AGAIN]).unwrap(), b"Hello");
}

/// D-08, D-22
#[test]
fn without_context_takeover_nothing_is_remembered() {
    let mut inflater = forgetful();
    assert_eq!(inflate(&mut inflater, [VECTORS[0].0]).unwrap(), b"Hello");
    assert_eq!(inflater.held(), 0);
    assert_eq!(inflate(&mut inflater, [AGAIN]), Err(InvalidData));
}

/// D-20: the pool hands a context from one connection to the next, and nothing with it.
#[test]
fn a_connection_sees_nothing_of_another() {
    let secret = noise(40_000, 7);
    let mut stored = Vec::new();
    for part in secret.chunks(20_000) {
        stored.push(0);
        stored.extend_from_slice(&(part.len() as u16).to_le_bytes());
        stored.extend_from_slice(&(!(part.len() as u16)).to_le_bytes());
        stored.extend_from_slice(part);
    }
    stored.push(0);
    for make in [taking_over, forgetful] {
        assert_eq!(inflate(&mut make(), [&stored[..]]).unwrap(), secret);
        // Distances of 1 and of up to 24,577 with nothing before.
        for payload in [&b"\x02\x01\x00\x00"[..], b"\xf2\x00\x11\x00\x00", b"\x02\x7f\x00\x00\x00"]
        {
            assert_eq!(inflate(&mut make(), [payload]), Err(InvalidData), "{payload:02x?}");
        }
    }
}

/// D-20
#[test]
fn a_message_that_ends_inside_a_block_is_refused() {
    // The last byte is the header of the block that the tail completes, except where there is none.
    for (payload, _) in VECTORS {
        for n in 1..payload.len().saturating_sub(1) {
            // Some beginnings lack just what the tail has.
            let complete = match payload[0] {
                0x00 => [1, 6].contains(&n),
                0xf2 => payload.len() > 7 && n == 4,
                _ => n == 7,
            };
            let cut = inflate(&mut taking_over(), [&payload[..n]]);
            assert_eq!(cut.is_ok(), complete, "{n} of {payload:02x?}: {cut:?}");
        }
    }
    for cut in [
        // Inside a stored block of 5 bytes: 4 of them, and the tail as the fifth and more.
        &b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c"[..],
        // Inside its lengths.
        b"\x00\x05\x00",
        // Before the end of a block of fixed codes.
        b"\xf2\x48\xcd\xc9\xc9",
        // A reserved type, lengths that do not agree.
        b"\x06",
        b"\x00\x05\x00\xfa\xfe\x48\x65\x6c\x6c\x6f\x00",
    ] {
        for make in [taking_over, forgetful] {
            assert_eq!(inflate(&mut make(), [cut]), Err(InvalidData), "{cut:02x?}");
            assert_eq!(inflate(&mut make(), cut.chunks(1)), Err(InvalidData), "{cut:02x?}");
        }
    }
}

/// D-20
#[test]
fn a_broken_message_is_refused_or_is_another_and_never_a_panic() {
    for (payload, _) in VECTORS {
        for at in 0..payload.len() {
            for byte in 0..=255 {
                let mut broken = payload.to_vec();
                broken[at] = byte;
                let whole = inflate(&mut taking_over(), [&broken[..]]);
                assert_eq!(inflate(&mut taking_over(), broken.chunks(1)), whole, "{broken:02x?}");
            }
        }
    }
}

/// D-09
#[test]
fn the_inflater_has_the_full_window() {
    // 32,768 bytes stored, then a match of length 3 at distance 32,768: code 29, all extra bits set.
    let text = noise(32_768, 3);
    let mut stored = vec![0x00, 0x00, 0x80, 0xff, 0x7f];
    stored.extend_from_slice(&text);
    stored.push(0);
    // Bits: 0 10 (fixed) 0000001 (length 3) 11101 (distance code 29) 1111111111111 (extra) 0000000 (end).
    let far = pack("0 10 0000001 11101 1111111111111 0000000 000");
    let mut inflater = taking_over();
    assert_eq!(inflate(&mut inflater, stored.chunks(1000)).unwrap(), text);
    assert_eq!(inflate(&mut inflater, [&far[..]]).unwrap(), text[..3]);
    let mut short = Inflater::new(true, 14);
    inflate(&mut short, [&stored[..]]).unwrap();
    assert_eq!(inflate(&mut short, [&far[..]]), Err(InvalidData), "less was agreed");
}

/// Bits in the order in which they are read.
fn pack(bits: &str) -> Vec<u8> {
    let bits: Vec<u8> = bits.bytes().filter(|bit| *bit != b' ').map(|bit| bit - b'0').collect();
    bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

/// D-19: so that whoever takes the steps can stop.
#[test]
fn a_bomb_is_inflated_in_bounded_steps_and_memory() {
    let mut compressor = Compressor::new(false, 15, 9);
    let bomb = compress(&mut compressor, &vec![0; 100 << 20]).unwrap();
    assert!(bomb.len() < 110_000, "a thousandth");
    let mut inflater = taking_over();
    let mut rest = &bomb[..];
    let mut total = 0;
    while let Some(chunk) = inflater.inflate(&mut rest).unwrap() {
        assert!(chunk.len() <= STEP);
        total += chunk.len();
        assert!(inflater.held() <= 64 * 1024);
        if total > 1 << 20 {
            break;
        }
    }
    assert!(total <= (1 << 20) + STEP && rest.len() > 100_000);
}

/// D-22
#[test]
fn history_is_no_larger_than_the_window_agreed_on() {
    for (bits, most) in [(8, 512), (9, 512), (12, 4096), (15, 32_768)] {
        let mut inflater = Inflater::new(true, bits);
        let mut compressor = Compressor::new(true, bits, 6);
        for seed in 0..4 {
            let text = prose(20_000, seed);
            let payload = compress(&mut compressor, &text).unwrap();
            assert_eq!(inflate(&mut inflater, [&payload[..]]).unwrap(), text);
            assert!(inflater.held() <= most, "{} with {bits} bits", inflater.held());
        }
    }
}

/// S-11
#[test]
fn the_debug_form_shows_no_payload() {
    let mut inflater = taking_over();
    inflate(&mut inflater, [VECTORS[0].0]).unwrap();
    assert_eq!(format!("{inflater:?}"), "Inflater { keep: 32768, history: 5, mid_message: false }");
}

proptest! {
    #[test]
    fn no_input_makes_it_panic_or_differ_by_its_cutting(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4),
        at in 1_usize..60,
    ) {
        let (mut a, mut b) = (taking_over(), taking_over());
        for message in messages {
            let whole = inflate(&mut a, [&message[..]]);
            prop_assert_eq!(&inflate(&mut b, message.chunks(at)), &whole);
            if whole.is_err() {
                break;
            }
        }
    }
}
