//! Compressed messages between two endpoints, and against written-out bytes.

use bytes::Bytes;
use proptest::prelude::*;

use crate::proto::{
    Connection, Deflate, DeflateParameters, Event, Limits, Message, MessageKind, Receiving, Role,
    Violation,
};

use super::wire::{drain, endpoint, feed, frame, frames, parse};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// "Hello" compressed, and one that refers to a "Hello" before it.
const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";
const AGAIN: &[u8] = b"\xf2\x00\x11\x00\x00";

/// Parameters as two ends agree on that both want this.
fn agreed(deflate: &Deflate) -> DeflateParameters {
    deflate.accept(&[deflate.offer()]).unwrap()
}

/// Compresses everything and remembers it.
fn eager() -> DeflateParameters {
    let takeover = Deflate::new().server_context_takeover(true).client_context_takeover(true);
    agreed(&takeover.threshold(0))
}

fn forgetful() -> DeflateParameters {
    agreed(&Deflate::new().threshold(0))
}

fn deflating(role: Role, limits: &Limits, agreed: &DeflateParameters) -> Connection {
    endpoint(role, limits).with_deflate(agreed)
}

/// What comes of bytes that are fed whole, bytewise and cut at every point, all of which are the same.
fn outcome(role: Role, bytes: &[u8]) -> (Vec<Event>, Option<Violation>) {
    let feed_pieces = |pieces: &[&[u8]]| {
        let mut connection = deflating(role, &Limits::default(), &eager());
        let mut all = Vec::new();
        for piece in pieces {
            assert!(connection.payload_space().is_none(), "compressed bytes are no payload");
            let (events, violation) = feed(&mut connection, piece);
            all.extend(events);
            if violation.is_some() {
                return (all, violation);
            }
        }
        (all, None)
    };
    let whole = feed_pieces(&[bytes]);
    assert_eq!(feed_pieces(&bytes.chunks(1).collect::<Vec<_>>()), whole, "one byte at a time");
    for at in 0..=bytes.len() {
        assert_eq!(feed_pieces(&[&bytes[..at], &[], &bytes[at..]]), whole, "cut at {at}");
    }
    whole
}

fn messages(outcome: (Vec<Event>, Option<Violation>)) -> Vec<Message> {
    assert_eq!(outcome.1, None);
    let message = |event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    };
    outcome.0.into_iter().filter_map(message).collect()
}

/// Text that compresses, a different one for each seed.
fn prose(len: usize, seed: usize) -> String {
    let words = ["frame", "message", "socket", "ping", "close", "mask", "server", "client"];
    let mut state = seed as u32;
    let mut text = String::new();
    while text.len() < len {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text += words[(state >> 24) as usize % 8];
        text += &(state >> 20).to_string();
    }
    text.truncate(len);
    text
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// The payload of a message as one end compresses it.
fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut sender = deflating(Role::Server, &Limits::default(), &eager());
    sender.send(payload.into()).unwrap();
    let [seen] = &parse(&drain(&mut sender))[..] else { panic!("one frame") };
    assert_eq!(seen.first, 0xc2);
    seen.payload.clone()
}

// ===== receiving =====

/// The plain path of the socket knows no compression.
#[cfg(feature = "tokio")]
#[test]
fn a_connection_with_compression_is_never_plain() {
    assert!(!deflating(Role::Server, &Limits::default(), &eager()).is_plain());
    let rarely = agreed(&Deflate::new().threshold(1 << 30));
    assert!(!deflating(Role::Server, &Limits::default(), &rarely).is_plain());
}

/// D-13, D-15, D-16, D-17, D-18, D-23
#[test]
fn compressed_messages_are_inflated_however_they_are_framed_and_cut() {
    let hello: Message = "Hello".into();
    for role in ROLES {
        let wire = frames(
            role,
            &[
                (0xc1, HELLO),
                // In fragments, with a ping between and an empty one.
                (0x41, b"\xf2\x48\xcd"),
                (0x89, b"ping"),
                (0x00, b""),
                (0x80, b"\xc9\xc9\x07\x00"),
                // Uncompressed ones stand between and leave the window alone.
                (0x81, b"plain"),
                (0x01, b"pl"),
                (0x80, b"ain"),
                (0xc1, AGAIN),
                (0xc1, b"\x00"),
                // No payload at all.
                (0xc1, b""),
                (0x41, b""),
                (0x80, b""),
                (0xc1, AGAIN),
                // A last block, after which the window still holds.
                (0xc1, b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00"),
                (0xc1, AGAIN),
                (0xc1, b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"),
                (0xc1, AGAIN),
                (0xc2, AGAIN),
            ],
        );
        let (plain, empty): (Message, Message) = ("plain".into(), "".into());
        let binary = Message::from(b"Hello");
        let expected = [
            &hello, &hello, &plain, &plain, &hello, &empty, &empty, &empty, &hello, &hello, &hello,
            &hello, &hello, &binary,
        ];
        let (events, violation) = outcome(role, &wire);
        assert!(events.contains(&Event::Ping(Bytes::from_static(b"ping"))));
        assert!(messages((events, violation)).iter().eq(expected));
    }
}

/// D-14
#[test]
fn a_reserved_bit_stands_only_where_it_was_agreed_on() {
    for role in ROLES {
        for (wire, bits) in [
            (frames(role, &[(0x41, HELLO), (0xc0, b"")]), 4),
            (frames(role, &[(0x01, b"a"), (0x40, b"b")]), 4),
            (frames(role, &[(0xc9, b"")]), 4),
            (frames(role, &[(0xca, b"")]), 4),
            (frames(role, &[(0xc8, b"")]), 4),
            (frames(role, &[(0xa1, b"")]), 2),
            (frames(role, &[(0xd1, b"")]), 1),
            (frames(role, &[(0xe2, HELLO)]), 2),
        ] {
            assert_eq!(outcome(role, &wire).1, Some(Violation::ReservedBits(bits)), "{wire:02x?}");
        }
        let mut without = endpoint(role, &Limits::default());
        let violation = feed(&mut without, &frame(role, 0xc1, HELLO)).1;
        assert_eq!(violation, Some(Violation::ReservedBits(4)));
        assert_eq!(violation.unwrap().close_code().as_u16(), 1002);
    }
}

/// D-20
#[test]
fn what_does_not_inflate_fails_with_1007() {
    for role in ROLES {
        for payload in [&b"\x06"[..], b"\xf2\x48\xcd\xc9", AGAIN, b"\x00\x05\x00\xfa\xff\x48"] {
            if payload.ends_with(b"\x48") {
                // It lacks four bytes of five, which the end of every message has.
                assert!(outcome(role, &frame(role, 0xc2, payload)).1.is_none());
                continue;
            }
            let violation = outcome(role, &frame(role, 0xc2, payload)).1;
            assert_eq!(violation, Some(Violation::Inflate), "{payload:02x?}");
            assert_eq!(violation.unwrap().close_code().as_u16(), 1007);
        }
        for at in 0..HELLO.len() {
            for byte in 0..=255 {
                let mut payload = HELLO.to_vec();
                payload[at] = byte;
                let mut connection = deflating(role, &Limits::default(), &eager());
                feed(&mut connection, &frame(role, 0xc1, &payload));
            }
        }
    }
}

/// D-19, U-02, U-03, U-04
#[test]
fn inflated_text_is_checked_while_it_is_inflated() {
    let broken = [&b"x".repeat(50_000)[..], b"\xff", &b"x".repeat(50_000)].concat();
    let payload = compressed(&broken);
    let mut connection = deflating(Role::Server, &Limits::default(), &eager());
    let wire = frame(Role::Server, 0x41, &payload[..payload.len() - 20]);
    assert_eq!(feed(&mut connection, &wire).1, Some(Violation::TextUtf8), "before its end");
    for text in ["é€😀", &prose(40_000, 3), &"é".repeat(20_001)] {
        let wire = frame(Role::Server, 0xc1, &compressed(text.as_bytes()));
        let mut connection = deflating(Role::Server, &Limits::default(), &eager());
        assert_eq!(messages(feed(&mut connection, &wire)), [text.into()]);
        let cut = frame(Role::Server, 0xc1, &compressed(&text.as_bytes()[..1]));
        let mut connection = deflating(Role::Server, &Limits::default(), &eager());
        let expected = (!text.is_char_boundary(1)).then_some(Violation::TextUtf8);
        assert_eq!(feed(&mut connection, &cut).1, expected);
    }
}

/// D-19, G-05
#[test]
fn the_message_limit_is_one_on_inflated_bytes() {
    for limit in [1000, 1 << 20] {
        let limits = Limits::default().max_message(limit);
        for kind in [0xc1, 0xc2] {
            for (len, fits) in [(limit, true), (limit + 1, false)] {
                for payload in [vec![b'a'; len], prose(len, 1).into_bytes()] {
                    let payload = compressed(&payload);
                    for pieces in [payload.len(), payload.len() / 3 + 1] {
                        let mut connection = deflating(Role::Server, &limits, &eager());
                        let chunks: Vec<_> = payload.chunks(pieces).collect();
                        let wire: Vec<u8> = (0..chunks.len())
                            .flat_map(|i| {
                                let fin = if i + 1 == chunks.len() { 0x80 } else { 0 };
                                let first = if i == 0 { kind & 0x7f | fin } else { fin };
                                frame(Role::Server, first, chunks[i])
                            })
                            .collect();
                        let violation = feed(&mut connection, &wire).1;
                        let expected = (!fits).then_some(Violation::MessageTooBig { limit });
                        assert_eq!(violation, expected, "{len} bytes for {limit}");
                    }
                }
            }
        }
    }
}

/// D-19, S-07
#[test]
fn a_bomb_costs_no_more_than_the_limit() {
    let bomb = compressed(&vec![0; 100 << 20]);
    assert!(bomb.len() < 120_000);
    for limit in [1 << 20, 10_000] {
        for pieces in [bomb.len(), 1000] {
            let limits = Limits::default().max_message(limit).max_frame(1 << 20);
            let mut connection = deflating(Role::Server, &limits, &forgetful());
            let mut wire = frame(Role::Server, 0x42, &bomb);
            let mut most = 0;
            let violation = wire.chunks_mut(pieces).find_map(|mut piece| {
                let result = connection.receive(&mut piece);
                most = most.max(connection.reserved());
                result.err()
            });
            // In small pieces it is found before all of it is there.
            assert_eq!(violation, Some(Violation::MessageTooBig { limit }));
            assert!(most <= 2 * limit + 128 * 1024, "{most} for {limit}");
            assert_eq!(connection.reserved(), 0, "nothing is kept of it");
        }
    }
}

/// D-19: nothing that inflates to nothing goes on for ever.
#[test]
fn compressed_bytes_are_bounded_too() {
    let limit = 10_000;
    let limits = Limits::default().max_message(limit);
    let allowed = limit + limit / 8 + 64;
    let blocks = b"\x00\x00\x00\xff\xff".repeat(allowed / 5 + 1);
    for (len, violation) in [
        (allowed / 5 * 5, None),
        (allowed + 1, Some(Violation::FrameTooBig { announced: allowed as u64 + 1, limit })),
    ] {
        let mut connection = deflating(Role::Server, &limits, &eager());
        assert_eq!(feed(&mut connection, &frame(Role::Server, 0x42, &blocks[..len])).1, violation);
    }
    let mut connection = deflating(Role::Server, &limits, &eager());
    let half = &blocks[..limit / 2 + 1000];
    assert_eq!(feed(&mut connection, &frame(Role::Server, 0x42, half)).1, None);
    let violation = feed(&mut connection, &frame(Role::Server, 0x00, half)).1;
    assert_eq!(violation, Some(Violation::MessageTooBig { limit }));
    // What does not compress may be somewhat longer than the message.
    let payload = compressed(&noise(limit));
    assert!(payload.len() > limit);
    let mut connection = deflating(Role::Server, &limits, &eager());
    let wire = frame(Role::Server, 0xc2, &payload);
    assert_eq!(messages(feed(&mut connection, &wire)), [Message::from(noise(limit))]);
}

/// D-22
#[test]
fn without_context_takeover_nothing_is_held_between_messages() {
    for role in ROLES {
        let mut connection = deflating(role, &Limits::default(), &forgetful());
        let wire = frame(role, 0xc2, &compressed(&noise(5000)));
        assert_eq!(messages(feed(&mut connection, &wire)).len(), 1);
        assert_eq!(connection.reserved(), 0);
        feed(&mut connection, &wire[..wire.len() - 1]);
        assert!(connection.reserved() > 48 * 1024, "only in mid-message");
        feed(&mut connection, &wire[wire.len() - 1..]);
        assert_eq!(connection.reserved(), 0);
        assert_eq!(feed(&mut connection, &frame(role, 0xc1, AGAIN)).1, Some(Violation::Inflate));

        connection.send(prose(5000, 1).into()).unwrap();
        assert!(!connection.is_compressor_busy());
        connection.start_message(MessageKind::Text).unwrap();
        connection.send_part(prose(5000, 1).into()).unwrap();
        assert!(connection.is_compressor_busy());
        connection.finish_message(Bytes::new()).unwrap();
        assert!(!connection.is_compressor_busy());
    }
}

/// D-22
#[test]
fn memory_of_a_small_message_is_that_of_the_message() {
    let mut connection = deflating(Role::Server, &Limits::default(), &eager());
    let payload = compressed(prose(2000, 1).as_bytes());
    let wire = frame(Role::Server, 0x41, &payload);
    feed(&mut connection, &wire);
    let held = 48 * 1024 + 2000;
    assert!(connection.reserved() <= held, "{}", connection.reserved());
}

// ===== in parts =====

/// R-05, D-19
#[test]
fn a_compressed_message_in_parts_is_given_in_bounded_parts() {
    let bomb = compressed(&vec![b'a'; 50 << 20]);
    for pieces in [bomb.len(), 100, 1] {
        let limits = Limits::default().max_message(1000).max_frame(1 << 20);
        let mut connection = deflating(Role::Server, &limits, &forgetful());
        connection.set_receiving(Receiving::Parts);
        let mut wire = frame(Role::Server, 0xc1, &bomb);
        let mut total = 0;
        let mut complete = false;
        for mut piece in wire.chunks_mut(pieces) {
            while let Some(event) = connection.receive(&mut piece).unwrap() {
                let Event::Part { part, last } = event else { panic!("a part") };
                assert!(part.len() <= 48 * 1024, "{}", part.len());
                total += part.len();
                complete = last;
                assert!(connection.reserved() <= 128 * 1024);
            }
            assert!(piece.is_empty());
        }
        assert_eq!((total, complete), (50 << 20, true));
        assert_eq!(connection.reserved(), 0);
    }
}

///
#[test]
fn what_a_peer_flushed_is_given_at_once() {
    let mut sender = deflating(Role::Client, &Limits::default(), &eager());
    let mut receiver = deflating(Role::Server, &Limits::default(), &eager());
    receiver.set_receiving(Receiving::Parts);
    sender.start_message(MessageKind::Text).unwrap();
    for part in ["one", "two", "three"] {
        sender.send_part(part.into()).unwrap();
        let part = Event::Part { part: part.into(), last: false };
        assert_eq!(feed(&mut receiver, &drain(&mut sender)), (vec![part], None));
    }
    sender.finish_message(Bytes::new()).unwrap();
    let end = Event::Part { part: "".into(), last: true };
    assert_eq!(feed(&mut receiver, &drain(&mut sender)), (vec![end], None));
}

/// G-09, R-05, D-19
#[test]
fn undecided_input_is_not_inflated_beyond_the_read_ahead() {
    let text = prose(2 << 20, 1);
    let wire = frame(Role::Server, 0xc1, &compressed(text.as_bytes()));
    let limits = Limits::default();
    for decision in [Receiving::Parts, Receiving::Messages] {
        let mut connection = deflating(Role::Server, &limits, &eager());
        connection.set_receiving(Receiving::Undecided { read_ahead: 10_000 });
        let mut wire = wire.clone();
        let mut input = &mut wire[..];
        assert_eq!(connection.receive(&mut input), Ok(None));
        assert!(connection.is_held() && input.len() > 100_000);
        assert!(connection.reserved() < 150_000, "{}", connection.reserved());
        connection.set_receiving(decision);
        let mut got = String::new();
        let violation = loop {
            match connection.receive(&mut input) {
                Ok(Some(Event::Part { part, .. })) => got.push_str(part.as_text().unwrap()),
                Ok(None) => break None,
                Ok(other) => panic!("{other:?}"),
                Err(violation) => break Some(violation),
            }
        };
        match decision {
            Receiving::Parts => assert!(got == text && violation.is_none()),
            _ => assert_eq!(violation, Some(Violation::MessageTooBig { limit: 1 << 20 })),
        }
    }
}

/// whoever decides when all of it is there gets all of it, without further input.
#[test]
fn a_message_past_the_limit_waits_for_the_decision_with_its_end() {
    let text = "a".repeat(3000);
    let limits = Limits::default().max_message(1000);
    for decision in [Receiving::Parts, Receiving::Messages] {
        let mut connection = deflating(Role::Server, &limits, &eager());
        connection.set_receiving(Receiving::Undecided { read_ahead: 1 << 20 });
        let mut wire = frame(Role::Server, 0xc1, &compressed(text.as_bytes()));
        let mut input = &mut wire[..];
        assert_eq!(connection.receive(&mut input), Ok(None));
        assert!(connection.is_held() && connection.incoming().is_some());
        connection.set_receiving(decision);
        let result = connection.receive(&mut input);
        if decision == Receiving::Messages {
            assert_eq!(result, Err(Violation::MessageTooBig { limit: 1000 }));
            continue;
        }
        assert_eq!(result, Ok(Some(Event::Part { part: text.as_str().into(), last: true })));
        assert_eq!(connection.incoming(), None);
        let next = frame(Role::Server, 0xc1, HELLO);
        let part = Event::Part { part: "Hello".into(), last: true };
        assert_eq!(feed(&mut connection, &next), (vec![part], None));
    }
}

/// S-07: so that one connection does not take all of a turn.
#[test]
fn receiving_pauses_after_so_much_was_inflated() {
    let limits = Limits::default().max_message(10 << 20);
    let one = frame(Role::Server, 0xc2, &compressed(&vec![0; 3 << 20]));
    for pause in [64 * 1024, 1 << 20] {
        let mut connection = deflating(Role::Server, &limits, &forgetful());
        connection.pause_after_inflating(pause);
        let mut wire = one.repeat(3);
        let mut input = &mut wire[..];
        let (mut pauses, mut messages) = (0, 0);
        while !input.is_empty() {
            match connection.receive(&mut input).unwrap() {
                Some(_) => messages += 1,
                None => pauses += 1,
            }
        }
        assert_eq!(messages, 3);
        let expected = (9 << 20) / pause;
        assert!((expected / 2..=expected).contains(&pauses), "{pauses} of {expected}");
    }
}

/// S-07, D-18: two bytes are a last block, behind which the history is copied.
#[test]
fn receiving_pauses_after_so_many_last_blocks() {
    for pause in [64 * 1024, 256 * 1024] {
        let mut connection = deflating(Role::Server, &Limits::default(), &eager());
        connection.pause_after_inflating(pause);
        let blocks = [&b"\x03\x00".repeat(32 * 1024)[..], HELLO].concat();
        let mut wire = frame(Role::Server, 0xc2, &blocks);
        let mut input = &mut wire[..];
        let mut pauses = 0;
        let event = loop {
            match connection.receive(&mut input).unwrap() {
                Some(event) => break event,
                None => pauses += 1,
            }
            assert!(!input.is_empty());
        };
        assert_eq!(event, Event::Message(Message::from(b"Hello".to_vec())));
        let expected = (32 << 20) / pause;
        assert!((expected..=4 * expected).contains(&pauses), "{pauses} of {expected}");
    }
}

// ===== sending =====

/// D-12, D-21, D-23
#[test]
fn a_message_is_compressed_then_cut_then_masked() {
    for role in ROLES {
        let limits = Limits::default().max_send_frame(100);
        let mut sender = deflating(role, &limits, &forgetful());
        let text = prose(5000, 1);
        sender.send(text.as_str().into()).unwrap();
        sender.ping(Bytes::from_static(b"between")).unwrap();
        let wire = drain(&mut sender);
        let seen = parse(&wire);
        let data: Vec<_> = seen.iter().filter(|frame| frame.first & 8 == 0).collect();
        assert!(data.len() > 3 && seen.len() == data.len() + 1);
        for (i, frame) in data.iter().enumerate() {
            let opcode = if i == 0 { 0x41 } else { 0 };
            let fin = if i + 1 == data.len() { 0x80 } else { 0 };
            assert_eq!(frame.first, opcode | fin);
            assert!(frame.payload.len() == 100 || i + 1 == data.len());
            assert_eq!(frame.key.is_some(), role == Role::Client);
        }
        assert!(!data.last().unwrap().payload.ends_with(b"\x00\x00\xff\xff"));
        let payload: Vec<u8> = data.iter().flat_map(|frame| frame.payload.clone()).collect();
        assert_eq!(payload, compressed(text.as_bytes()));
        // Other end, other role.
        let other = if role == Role::Server { Role::Client } else { Role::Server };
        let mut receiver = deflating(other, &Limits::default(), &forgetful());
        assert_eq!(messages(feed(&mut receiver, &wire)), [text.into()]);
    }
}

/// D-21
#[test]
fn short_messages_are_not_compressed() {
    for (threshold, deflate) in [
        (1024, Deflate::new()),
        (64, Deflate::new().threshold(64)),
        (20_000, Deflate::new().threshold(20_000)),
    ] {
        let mut sender = deflating(Role::Server, &Limits::default(), &agreed(&deflate));
        for (len, first) in [(0, 0x81), (threshold - 1, 0x81), (threshold, 0xc1)] {
            sender.send(prose(len, 1).into()).unwrap();
            assert_eq!(parse(&drain(&mut sender))[0].first, first, "{len} of {threshold}");
            // In one part it is a whole message.
            sender.start_message(MessageKind::Text).unwrap();
            sender.finish_message(prose(len, 1).into()).unwrap();
            assert_eq!(parse(&drain(&mut sender))[0].first, first, "{len} of {threshold}");
        }
    }
}

/// D-21: without context takeover.
#[test]
fn what_compression_does_not_shorten_is_sent_as_it_is() {
    for len in [2000, 100_000] {
        let mut sender = deflating(Role::Server, &Limits::default(), &forgetful());
        sender.send(noise(len).into()).unwrap();
        let seen = parse(&drain(&mut sender));
        assert_eq!(seen[0].first & 0x7f, 0x02);
        assert_eq!(seen.iter().map(|frame| frame.payload.len()).sum::<usize>(), len);
    }
}

/// D-21, S-06
#[test]
fn one_message_can_be_left_uncompressed() {
    for agreed in [eager(), forgetful()] {
        let mut sender = deflating(Role::Server, &Limits::default(), &agreed);
        let mut receiver = deflating(Role::Client, &Limits::default(), &agreed);
        let secret = prose(5000, 1);
        type Send<'a> = &'a dyn Fn(&mut Connection);
        let send: [(Send<'_>, u8); 4] = [
            (&|end| end.send_uncompressed(secret.as_str().into()).unwrap(), 0),
            (&|end| end.send(secret.as_str().into()).unwrap(), 0x40),
            (
                &|end| {
                    end.start_uncompressed(MessageKind::Text).unwrap();
                    end.send_part(Bytes::copy_from_slice(&secret.as_bytes()[..2000])).unwrap();
                    end.finish_message(Bytes::copy_from_slice(&secret.as_bytes()[2000..])).unwrap();
                },
                0,
            ),
            (
                &|end| {
                    end.start_message(MessageKind::Text).unwrap();
                    end.send_part(Bytes::copy_from_slice(&secret.as_bytes()[..2000])).unwrap();
                    end.finish_message(Bytes::copy_from_slice(&secret.as_bytes()[2000..])).unwrap();
                },
                0x40,
            ),
        ];
        for (send, rsv) in send.iter().chain(&send) {
            send(&mut sender);
            let wire = drain(&mut sender);
            let seen = parse(&wire);
            assert_eq!(seen[0].first & 0x70, *rsv);
            assert!(seen[1..].iter().all(|frame| frame.first & 0x70 == 0));
            assert_eq!(messages(feed(&mut receiver, &wire)), [secret.as_str().into()]);
        }
    }
}

/// D-16
#[test]
fn an_empty_message_is_legal_in_every_form() {
    let mut sender = deflating(Role::Server, &Limits::default(), &eager());
    let mut receiver = deflating(Role::Client, &Limits::default(), &eager());
    for _ in 0..2 {
        sender.send("".into()).unwrap();
        sender.start_message(MessageKind::Text).unwrap();
        sender.finish_message(Bytes::new()).unwrap();
        sender.start_message(MessageKind::Text).unwrap();
        sender.send_part(Bytes::new()).unwrap();
        sender.finish_message(Bytes::new()).unwrap();
    }
    let wire = drain(&mut sender);
    assert_eq!(wire, b"\x81\x00".repeat(6));
    assert_eq!(messages(feed(&mut receiver, &wire)), vec![Message::from(""); 6]);
}

/// L-07, D-22
#[test]
fn a_close_in_an_open_message_ends_it_and_lets_the_compressor_go() {
    let mut sender = deflating(Role::Server, &Limits::default(), &eager());
    sender.start_message(MessageKind::Text).unwrap();
    sender.send_part("unfinished".into()).unwrap();
    sender.close(crate::proto::CloseFrame::empty());
    assert!(!sender.is_compressor_busy());
    let seen = parse(&drain(&mut sender));
    assert_eq!(seen.iter().map(|frame| frame.first).collect::<Vec<_>>(), [0x41, 0x88]);
}

#[derive(Clone, Debug)]
enum Sent {
    Whole(Message, bool),
    InParts(Message, usize, bool),
    Ping,
}

fn any_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (0_usize..40_000, 0_usize..100).prop_map(|(len, seed)| prose(len, seed).into()),
        (0_usize..3000).prop_map(|len| noise(len).into()),
        (0_usize..200_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len].into()),
        "\\PC{0,300}".prop_map(Message::from),
    ]
}

fn any_sent() -> impl Strategy<Value = Sent> {
    prop_oneof![
        3 => (any_message(), any::<bool>()).prop_map(|(message, plain)| Sent::Whole(message, plain)),
        2 => (any_message(), 1_usize..50_000, any::<bool>())
            .prop_map(|(message, part, plain)| Sent::InParts(message, part, plain)),
        1 => Just(Sent::Ping),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// R-04, D-12, D-13, D-15, D-22, D-23
    #[test]
    fn every_message_arrives_as_it_was_sent(
        server in any::<bool>(),
        takeover in any::<(bool, bool)>(),
        bits in 9_u8..=15,
        level in 1_u32..=6,
        threshold in prop_oneof![Just(0_usize), Just(1024)],
        max_send_frame in prop_oneof![Just(usize::MAX), 1_usize..2000],
        in_parts in any::<bool>(),
        pause in prop_oneof![Just(usize::MAX), 1_usize..100_000],
        sent in prop::collection::vec(any_sent(), 1..10),
        cuts in prop::collection::vec(1_usize..5000, 1..8),
    ) {
        let agreed = agreed(
            &Deflate::new()
                .server_context_takeover(takeover.0)
                .client_context_takeover(takeover.1)
                .server_max_window_bits(bits)
                .client_max_window_bits(bits)
                .level(level)
                .threshold(threshold),
        );
        let (from, to) =
            if server { (Role::Server, Role::Client) } else { (Role::Client, Role::Server) };
        let limits = Limits::default().max_send_frame(max_send_frame).max_fragments(1_000_000);
        let mut sender = deflating(from, &limits, &agreed);
        let mut receiver = deflating(to, &limits, &agreed);
        receiver.pause_after_inflating(pause);
        if in_parts {
            receiver.set_receiving(Receiving::Parts);
        }
        let mut expected = Vec::new();
        for sent in sent {
            match sent {
                Sent::Whole(message, plain) => {
                    expected.push(message.clone());
                    if plain { sender.send_uncompressed(message) } else { sender.send(message) }.unwrap();
                }
                Sent::InParts(message, part, plain) => {
                    expected.push(message.clone());
                    let kind = message.kind();
                    if plain { sender.start_uncompressed(kind) } else { sender.start_message(kind) }.unwrap();
                    let mut rest = message.into_bytes();
                    while rest.len() > part {
                        sender.send_part(rest.split_to(part)).unwrap();
                    }
                    sender.finish_message(rest).unwrap();
                }
                Sent::Ping => sender.ping(Bytes::from_static(b"p")).unwrap(),
            }
        }
        let mut wire = drain(&mut sender);
        let mut rest = &mut wire[..];
        let mut got: Vec<(MessageKind, Vec<u8>)> = Vec::new();
        let mut open = false;
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at_mut((*cut).min(rest.len()));
            rest = after;
            let mut piece = piece;
            let mut pauses = 0;
            loop {
                match receiver.receive(&mut piece).unwrap() {
                    Some(Event::Message(message)) => {
                        got.push((message.kind(), message.into_bytes().to_vec()));
                    }
                    Some(Event::Part { part, last }) => {
                        if !open {
                            got.push((part.kind(), Vec::new()));
                        }
                        got.last_mut().unwrap().1.extend_from_slice(part.as_bytes());
                        open = !last;
                    }
                    Some(_) => {}
                    None if piece.is_empty() => break,
                    None => {
                        pauses += 1;
                        prop_assert!(pauses < 1_000_000);
                    }
                }
            }
        }
        prop_assert!(!open);
        let expected: Vec<_> = expected
            .into_iter()
            .map(|message| (message.kind(), message.into_bytes().to_vec()))
            .collect();
        prop_assert!(got == expected);
    }

    /// F-06, D-20
    #[test]
    fn no_input_makes_it_panic_or_differ_by_its_cutting(
        payloads in prop::collection::vec(
            (prop_oneof![Just(0xc1_u8), Just(0x41), Just(0x80), Just(0x00), Just(0xc2), any::<u8>()],
             prop::collection::vec(any::<u8>(), 0..40)),
            1..5
        ),
        at in 1_usize..60,
        in_parts in any::<bool>(),
    ) {
        let wire: Vec<u8> =
            payloads.iter().flat_map(|(first, payload)| frame(Role::Server, *first, payload)).collect();
        let run = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut connection = deflating(Role::Server, &Limits::default(), &eager());
            if in_parts {
                connection.set_receiving(Receiving::Parts);
            }
            let mut joined = Vec::new();
            for piece in pieces {
                let (events, violation) = feed(&mut connection, piece);
                for event in events {
                    if let Event::Message(message) | Event::Part { part: message, .. } = event {
                        joined.extend_from_slice(message.as_bytes());
                    }
                }
                if let Some(violation) = violation {
                    // How much of a broken message was looked at or given before differs.
                    let code = violation.close_code();
                    return (if in_parts { Vec::new() } else { joined }, Some(code));
                }
            }
            (joined, None)
        };
        prop_assert_eq!(run(&mut [&wire[..]].into_iter()), run(&mut wire.chunks(at)));
    }
}
