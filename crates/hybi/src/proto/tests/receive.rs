//! What an endpoint makes of the bytes it is given.

use bytes::Bytes;

use crate::proto::{CloseCode, CloseFrame, CloseReason, Event, Limits, Message, Role, Violation};

use super::wire::{drain, endpoint, feed, feed_every_way, frame, frames, parse};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn text(text: &str) -> Event {
    Event::Message(Message::from(text))
}

fn binary(bytes: &[u8]) -> Event {
    Event::Message(Message::from(bytes))
}

/// Feeds the frames to both roles, cut in every way.
fn check(limits: &Limits, wire: &[(u8, &[u8])], events: &[Event], violation: Option<Violation>) {
    for role in ROLES {
        let outcome = feed_every_way(role, limits, &frames(role, wire));
        assert_eq!(outcome, (events.to_vec(), violation), "{role:?} {wire:02x?}");
    }
}

fn accepts(wire: &[(u8, &[u8])], events: &[Event]) {
    check(&Limits::default(), wire, events, None);
}

fn refuses(wire: &[(u8, &[u8])], events: &[Event], violation: Violation) {
    check(&Limits::default(), wire, events, Some(violation));
}

/// F-01, the vectors of RFC 6455 section 5.7.
#[test]
fn the_examples_of_the_rfc_read_as_they_say() {
    let limits = Limits::default();
    let table: &[(Role, &[u8], Event)] = &[
        (Role::Client, b"\x81\x05Hello", text("Hello")),
        (Role::Server, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", text("Hello")),
        (Role::Client, b"\x01\x03Hel\x80\x02lo", text("Hello")),
        (Role::Client, b"\x89\x05Hello", Event::Ping(Bytes::from_static(b"Hello"))),
        (
            Role::Server,
            b"\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
            Event::Pong(Bytes::from_static(b"Hello")),
        ),
    ];
    for (role, wire, event) in table {
        assert_eq!(feed_every_way(*role, &limits, wire), (vec![event.clone()], None));
    }
}

/// F-02, F-07, R-04, M-06
#[test]
fn payloads_of_every_length_form_arrive_however_they_are_cut() {
    for len in [0, 1, 2, 125, 126, 127, 255, 256, 4095, 4096, 4097, 65_535, 65_536, 200_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31 + i / 256) as u8).collect();
        let ascii: String = (0..len).map(|i| char::from(b'a' + (i % 26) as u8)).collect();
        accepts(&[(0x82, &payload)], &[binary(&payload)]);
        accepts(&[(0x81, ascii.as_bytes())], &[text(&ascii)]);
    }
}

/// F-08, G-04, U-05
#[test]
fn empty_frames_are_frames() {
    accepts(&[(0x81, b"")], &[text("")]);
    accepts(&[(0x82, b"")], &[binary(b"")]);
    accepts(&[(0x89, b""), (0x8a, b"")], &[Event::Ping(Bytes::new()), Event::Pong(Bytes::new())]);
    accepts(&[(0x01, b""), (0x00, b""), (0x80, b"")], &[text("")]);
    accepts(&[(0x02, b""), (0x00, b"a"), (0x00, b""), (0x80, b"")], &[binary(b"a")]);
}

/// M-07
#[test]
fn a_zero_key_is_a_key() {
    let wire = b"\x81\x82\0\0\0\0ab";
    let outcome = feed_every_way(Role::Server, &Limits::default(), wire);
    assert_eq!(outcome, (vec![text("ab")], None));
}

/// F-06, G-02, K-01
#[test]
fn every_first_byte_is_taken_or_refused_in_and_between_messages() {
    for byte in 0..=u8::MAX {
        let expected = |open: bool| match (byte & 0x70, byte & 0x0f) {
            (0, 0) if !open => Some(Violation::ContinuationWithoutMessage),
            (0, 1 | 2) if open => Some(Violation::InterleavedMessage),
            (0, 0..=2) => None,
            (0, 8..=10) if byte & 0x80 == 0 => Some(Violation::FragmentedControl),
            (0, 8..=10) => None,
            (0, opcode) => Some(Violation::ReservedOpcode(opcode)),
            (bits, _) => Some(Violation::ReservedBits(bits >> 4)),
        };
        for role in ROLES {
            for open in [false, true] {
                for payload in [&b""[..], b"\x03\xe8"] {
                    let mut wire = if open { frame(role, 0x01, b"a") } else { Vec::new() };
                    wire.extend(frame(role, byte, payload));
                    let (_, violation) = feed_every_way(role, &Limits::default(), &wire);
                    // A text of two bytes that end in the middle of a character.
                    let is_text = byte & 0x8f == if open { 0x80 } else { 0x81 };
                    let expected = expected(open)
                        .or((is_text && !payload.is_empty()).then_some(Violation::TextUtf8));
                    assert_eq!(violation, expected, "{byte:#04x} {role:?} {open}");
                }
            }
        }
    }
}

/// F-07: two bytes of a bad frame alone are enough, and one is where the first says it.
#[test]
fn a_bad_header_is_refused_before_its_payload_comes() {
    let server: &[(&[u8], Violation)] = &[
        (b"\xc1", Violation::ReservedBits(4)),
        (b"\x83", Violation::ReservedOpcode(3)),
        (b"\x09", Violation::FragmentedControl),
        (b"\x80", Violation::ContinuationWithoutMessage),
        (b"\x81\x05", Violation::Unmasked),
        (b"\x89\xfe", Violation::ControlTooLong),
        (b"\x82\xfe\x00\x05", Violation::NonMinimalLength),
        (b"\x82\xff\x80", Violation::LengthOverflow),
        (b"\x82\xff\0\0\0\0\0\0\xff\xff", Violation::NonMinimalLength),
    ];
    for (wire, violation) in server {
        let outcome = feed_every_way(Role::Server, &Limits::default(), wire);
        assert_eq!(outcome, (vec![], Some(*violation)), "{wire:02x?}");
    }
}

/// M-02, M-03
#[test]
fn masking_is_the_clients_and_only_the_clients() {
    let unmasked = frame(Role::Client, 0x81, b"Hello");
    let masked = frame(Role::Server, 0x81, b"Hello");
    let outcome = feed_every_way(Role::Server, &Limits::default(), &unmasked);
    assert_eq!(outcome, (vec![], Some(Violation::Unmasked)));
    let outcome = feed_every_way(Role::Client, &Limits::default(), &masked);
    assert_eq!(outcome, (vec![], Some(Violation::Masked)));
}

/// F-05, S-01: from the header alone, in 64 bits, one past the limit and at any configured value.
#[test]
fn a_frame_over_the_limit_is_refused_before_its_payload_and_its_key() {
    for limit in [100, 70_000, 1 << 20] {
        let limits = Limits::default().max_message(limit);
        for announced in [limit as u64 + 1, (1 << 32) + 5, 1 << 62, (1 << 63) - 1] {
            let mut wire = vec![0x82];
            match announced {
                0..=125 => wire.push(0x80 | announced as u8),
                _ => {
                    wire.push(0xff);
                    wire.extend(announced.to_be_bytes());
                }
            }
            let mut server = endpoint(Role::Server, &limits);
            let violation = feed(&mut server, &wire).1;
            assert_eq!(violation, Some(Violation::FrameTooBig { announced, limit }));
        }
        let fits = vec![7; limit];
        check(&limits, &[(0x82, &fits)], &[binary(&fits)], None);
    }
}

/// F-05, S-01: also when all of it is there.
#[test]
fn a_whole_message_is_held_to_the_tighter_of_both_limits() {
    for limits in [
        Limits::default().max_message(200).max_frame(300),
        Limits::default().max_message(300).max_frame(200),
    ] {
        for opcode in [0x81, 0x82] {
            let message = |bytes: &[u8]| match opcode {
                0x81 => text(std::str::from_utf8(bytes).unwrap()),
                _ => binary(bytes),
            };
            check(&limits, &[(opcode, &[b'a'; 200])], &[message(&[b'a'; 200])], None);
            let violation = if limits.max_message == 200 {
                Violation::MessageTooBig { limit: 200 }
            } else {
                Violation::FrameTooBig { announced: 201, limit: 200 }
            };
            check(&limits, &[(opcode, &[b'a'; 201])], &[], Some(violation));
        }
    }
    check(&Limits::default().max_message(0), &[(0x82, b"")], &[binary(b"")], None);
}

/// F-03: also when all of it is there.
#[test]
fn a_whole_frame_with_a_length_too_long_in_form_is_refused() {
    for len in [0, 5, 125] {
        let mut wire = vec![0x82, 0x7e, 0, len];
        wire.extend(vec![b'x'; len.into()]);
        let outcome = feed_every_way(Role::Client, &Limits::default(), &wire);
        assert_eq!(outcome, (vec![], Some(Violation::NonMinimalLength)), "{len}");
    }
    let mut wire = vec![0x82, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0];
    wire.extend([0; 256]);
    let outcome = feed_every_way(Role::Client, &Limits::default(), &wire);
    assert_eq!(outcome, (vec![], Some(Violation::NonMinimalLength)));
}

/// F-05: a frame's own limit holds where the message's would not be passed.
#[test]
fn the_frame_limit_is_its_own() {
    let limits = Limits::default().max_frame(10);
    check(
        &limits,
        &[(0x02, &[1; 10]), (0x80, &[2; 10])],
        &[binary(&[[1; 10], [2; 10]].concat())],
        None,
    );
    let too_big = Violation::FrameTooBig { announced: 11, limit: 10 };
    check(&limits, &[(0x02, &[1; 10]), (0x80, &[2; 11])], &[], Some(too_big));
    // A control frame is short by the protocol.
    check(&limits, &[(0x89, &[1; 125])], &[Event::Ping(vec![1; 125].into())], None);
}

/// G-05
#[test]
fn fragments_add_up_to_the_message_limit() {
    let limits = Limits::default().max_message(10);
    let fits: &[(u8, &[u8])] = &[(0x01, b"abcd"), (0x00, b"efgh"), (0x80, b"ij")];
    check(&limits, fits, &[text("abcdefghij")], None);
    let past: &[(u8, &[u8])] = &[(0x01, b"abcd"), (0x00, b"efgh"), (0x80, b"ijk")];
    check(&limits, past, &[], Some(Violation::MessageTooBig { limit: 10 }));
    // A half character counts.
    let past: &[(u8, &[u8])] = &[(0x01, b"abcdefgh\xe2\x82"), (0x80, b"\xac")];
    check(&limits, past, &[], Some(Violation::MessageTooBig { limit: 10 }));
    // A new message starts from nothing.
    let two: &[(u8, &[u8])] = &[(0x82, &[0; 10]), (0x02, &[1; 9]), (0x80, &[1])];
    check(&limits, two, &[binary(&[0; 10]), binary(&[1; 10])], None);
}

/// G-04
#[test]
fn the_fragment_past_the_limit_is_refused_even_if_it_is_empty() {
    let limits = Limits::default().max_fragments(3);
    let fits: &[(u8, &[u8])] = &[(0x02, b""), (0x00, b""), (0x89, b""), (0x80, b"")];
    check(&limits, fits, &[Event::Ping(Bytes::new()), binary(b"")], None);
    let past: &[(u8, &[u8])] = &[(0x02, b""), (0x00, b""), (0x00, b""), (0x80, b"")];
    check(&limits, past, &[], Some(Violation::TooManyFragments { limit: 3 }));
}

/// G-04
#[test]
fn a_flood_of_empty_fragments_is_cut_by_default() {
    let mut server = endpoint(Role::Server, &Limits::default());
    assert_eq!(feed(&mut server, &frame(Role::Server, 0x01, b"")).1, None);
    let flood = frame(Role::Server, 0x00, b"");
    let n = (1..1_000_000).find(|_| feed(&mut server, &flood).1.is_some());
    assert_eq!(n, Some(16_384));
}

/// G-01
#[test]
fn a_message_is_the_same_however_it_is_fragmented() {
    let all = "añ€😀z".as_bytes();
    for i in 0..=all.len() {
        for j in i..=all.len() {
            let cut: &[(u8, &[u8])] = &[(0x01, &all[..i]), (0x00, &all[i..j]), (0x80, &all[j..])];
            // U-02: also within a character.
            accepts(cut, &[text("añ€😀z")]);
        }
    }
}

/// G-02
#[test]
fn messages_do_not_interleave() {
    refuses(&[(0x80, b"")], &[], Violation::ContinuationWithoutMessage);
    refuses(&[(0x01, b"a"), (0x81, b"b")], &[], Violation::InterleavedMessage);
    refuses(&[(0x02, b""), (0x02, b"")], &[], Violation::InterleavedMessage);
    let after: &[(u8, &[u8])] = &[(0x01, b"a"), (0x80, b"b"), (0x80, b"c")];
    refuses(after, &[text("ab")], Violation::ContinuationWithoutMessage);
}

/// G-03, K-02
#[test]
fn a_ping_between_fragments_is_answered_before_the_message() {
    let wire: &[(u8, &[u8])] =
        &[(0x01, "é".as_bytes().split_at(1).0), (0x89, b"p"), (0x8a, b"q"), (0x80, b"\xa9")];
    accepts(
        wire,
        &[Event::Ping(Bytes::from_static(b"p")), Event::Pong(Bytes::from_static(b"q")), text("é")],
    );
    let mut server = endpoint(Role::Server, &Limits::default());
    feed(&mut server, &frames(Role::Server, &wire[..2]));
    assert!(server.is_mid_message());
    assert_eq!(drain(&mut server), b"\x8a\x01p");
}

/// K-01, K-02
#[test]
fn a_control_frame_holds_125_bytes_and_no_more() {
    accepts(&[(0x89, &[9; 125])], &[Event::Ping(vec![9; 125].into())]);
    refuses(&[(0x89, &[9; 126])], &[], Violation::ControlTooLong);
    refuses(&[(0x8a, &[9; 70_000])], &[], Violation::ControlTooLong);
    for len in [0, 125] {
        let mut client = endpoint(Role::Client, &Limits::default());
        feed(&mut client, &frame(Role::Client, 0x89, &vec![5; len]));
        let pongs = parse(&drain(&mut client));
        assert_eq!((pongs.len(), pongs[0].first), (1, 0x8a));
        assert_eq!(pongs[0].payload, vec![5; len]);
    }
}

/// K-05
#[test]
fn a_pong_gets_no_reply() {
    let mut server = endpoint(Role::Server, &Limits::default());
    feed(&mut server, &frame(Role::Server, 0x8a, b"x"));
    assert!(!server.has_output());
}

/// R-06, U-01, U-03, U-04, U-05
#[test]
fn text_is_utf8_and_nothing_else_is_asked_of_it() {
    accepts(&[(0x81, "\u{feff}\0\u{ffff}".as_bytes())], &[text("\u{feff}\0\u{ffff}")]);
    accepts(&[(0x82, b"\xff\xfe")], &[binary(b"\xff\xfe")]);
    for bad in [&b"\xc3"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"ab\xff"] {
        refuses(&[(0x81, bad)], &[], Violation::TextUtf8);
        refuses(&[(0x01, bad), (0x80, b"")], &[], Violation::TextUtf8);
        let mut long = "é".repeat(100).into_bytes();
        long.extend(bad);
        refuses(&[(0x81, &long)], &[], Violation::TextUtf8);
    }
    // Empty fragments do not hide an unfinished character.
    refuses(&[(0x01, b"\xe2"), (0x00, b""), (0x80, b"")], &[], Violation::TextUtf8);
}

/// U-04
#[test]
fn impossible_text_fails_in_the_middle_of_a_frame() {
    let mut client = endpoint(Role::Client, &Limits::default());
    assert_eq!(feed(&mut client, b"\x81\x7e\x40\x00abc\xf4"), (vec![], None));
    assert_eq!(feed(&mut client, b"\x90"), (vec![], Some(Violation::TextUtf8)));
}

/// F-11
#[test]
fn what_is_whole_before_a_violation_arrives_and_nothing_after_it() {
    let wire: &[(u8, &[u8])] = &[(0x81, b"good"), (0x83, b""), (0x81, b"late"), (0x88, b"")];
    refuses(wire, &[text("good")], Violation::ReservedOpcode(3));
    let mut server = endpoint(Role::Server, &Limits::default());
    feed(&mut server, &frames(Role::Server, wire));
    assert_eq!(feed(&mut server, &frame(Role::Server, 0x81, b"later")), (vec![], None));
    assert_eq!(server.payload_received(5), Ok(None));
    assert!(!server.is_mid_message());
}

/// L-01, L-02, L-04, U-06
#[test]
fn a_close_is_empty_or_a_valid_code_with_a_reason() {
    let close = |code: u16, reason: &str| {
        let reason = CloseReason::new(reason.to_owned()).unwrap();
        Event::Close(CloseFrame::new(CloseCode::new(code).unwrap(), reason))
    };
    accepts(&[(0x88, b"")], &[Event::Close(CloseFrame::empty())]);
    accepts(&[(0x88, b"\x03\xe8")], &[close(1000, "")]);
    accepts(&[(0x88, b"\x0f\xa0bye \xc3\xa9")], &[close(4000, "bye é")]);
    let longest = [b"\x03\xe9".as_slice(), &[b'r'; 123]].concat();
    accepts(&[(0x88, &longest)], &[close(1001, &"r".repeat(123))]);
    refuses(&[(0x88, b"\x03")], &[], Violation::CloseTruncated);
    refuses(&[(0x88, b"\x03\xe8\xff")], &[], Violation::CloseReasonUtf8);
    refuses(&[(0x88, b"\x03\xe8\xc3")], &[], Violation::CloseReasonUtf8);
    for code in 0..=u16::MAX {
        for role in ROLES {
            let wire = frame(role, 0x88, &code.to_be_bytes());
            let outcome = feed(&mut endpoint(role, &Limits::default()), &wire);
            match CloseCode::new(code) {
                Ok(code) => assert_eq!(outcome, (vec![Event::Close(code.into())], None)),
                Err(_) => assert_eq!(outcome, (vec![], Some(Violation::CloseCode(code)))),
            }
        }
    }
}

/// L-08, L-09
#[test]
fn data_behind_the_peers_close_is_discarded() {
    let wire: &[(u8, &[u8])] =
        &[(0x88, b"\x03\xe8"), (0x81, b"late"), (0x88, b"\x03\xe9"), (0x83, b"")];
    accepts(wire, &[Event::Close(CloseCode::NORMAL.into())]);
    let mut client = endpoint(Role::Client, &Limits::default());
    feed(&mut client, &frames(Role::Client, wire));
    assert_eq!(client.close_received().unwrap().status(), 1000);
}

#[test]
fn mid_message_is_from_the_first_byte_of_a_message_to_its_last() {
    let mut server = endpoint(Role::Server, &Limits::default());
    let wire = frames(Role::Server, &[(0x01, b"ab"), (0x89, b"p"), (0x80, b"")]);
    for (i, byte) in wire.iter().enumerate() {
        assert_eq!(server.is_mid_message(), i > 0, "before byte {i}");
        feed(&mut server, &[*byte]);
    }
    assert!(!server.is_mid_message());
    for byte in &frame(Role::Server, 0x89, b"ping")[..9] {
        feed(&mut server, &[*byte]);
        assert!(!server.is_mid_message(), "a ping is no message");
    }
    let mut server = endpoint(Role::Server, &Limits::default());
    feed(&mut server, &wire[..3]);
    server.stop_receiving();
    assert!(!server.is_mid_message());
    assert_eq!(feed(&mut server, &wire), (vec![], None), "everything is discarded");
}
