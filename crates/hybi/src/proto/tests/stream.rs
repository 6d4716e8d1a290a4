//! Messages in parts: received as they arrive, sent as they are made.

use bytes::{BufMut, Bytes};
use proptest::prelude::*;

use crate::proto::{
    CloseCode, Connection, Event, Limits, Message, MessageKind, Receiving, Role, SendError,
    Violation,
};

use super::wire::{KEY, drain, endpoint, feed, frame, frames, parse};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

/// What a message in parts came to, or is so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Joined {
    kind: Option<MessageKind>,
    bytes: Vec<u8>,
    complete: bool,
}

/// What came of some input: messages, parts joined to messages, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Got {
    messages: Vec<Joined>,
    pings: usize,
    close: Option<u16>,
    violation: Option<Violation>,
}

impl Got {
    fn add(&mut self, event: Event) {
        let (message, last) = match event {
            Event::Message(message) => {
                assert!(self.messages.last().is_none_or(|open| open.complete));
                (message, true)
            }
            Event::Part { part, last } => {
                assert!(last || !part.is_empty(), "only the last part may be empty");
                (part, last)
            }
            Event::Ping(_) => return self.pings += 1,
            Event::Pong(_) => return,
            Event::Close(frame) => return self.close = Some(frame.status()),
        };
        if self.messages.last().is_none_or(|open| open.complete) {
            self.messages.push(Joined::default());
        }
        let open = self.messages.last_mut().unwrap();
        assert_eq!(*open.kind.get_or_insert(message.kind()), message.kind());
        open.bytes.extend_from_slice(message.as_bytes());
        open.complete = last;
    }

    /// Hands a piece to the connection until it gives nothing more, and keeps what it leaves.
    fn feed(&mut self, connection: &mut Connection, kept: &mut Vec<u8>) {
        let mut input = &mut kept[..];
        loop {
            match connection.receive(&mut input) {
                Ok(Some(event)) => self.add(event),
                Ok(None) => break,
                Err(violation) => self.violation = Some(violation),
            }
        }
        *kept = input.to_vec();
        assert!(kept.is_empty() || connection.is_held(), "input is left only where it is held");
    }
}

fn parts(connection: &mut Connection, bytes: &[u8]) -> Vec<(Message, bool)> {
    let (events, violation) = feed(connection, bytes);
    assert_eq!(violation, None);
    let part = |event| match event {
        Event::Part { part, last } => (part, last),
        other => panic!("no part: {other:?}"),
    };
    events.into_iter().map(part).collect()
}

fn in_parts(role: Role, limits: &Limits) -> Connection {
    let mut connection = endpoint(role, limits);
    connection.set_receiving(Receiving::Parts);
    connection
}

fn undecided(role: Role, limits: &Limits, read_ahead: usize) -> Connection {
    let mut connection = endpoint(role, limits);
    connection.set_receiving(Receiving::Undecided { read_ahead });
    connection
}

// ===== receiving =====

/// what is there is given, as soon as it is there.
#[test]
fn a_part_is_what_has_arrived() {
    for role in ROLES {
        let mut connection = in_parts(role, &Limits::default());
        let wire = frames(role, &[(0x02, b"abcdef"), (0x80, b"gh")]);
        let header = wire.len() - frame(role, 0x80, b"gh").len() - 6;
        assert_eq!(parts(&mut connection, &wire[..header]), []);
        assert_eq!(connection.incoming(), Some(MessageKind::Binary), "it has begun all the same");
        assert_eq!(parts(&mut connection, &wire[header..=header]), [(b"a".into(), false)]);
        assert_eq!(parts(&mut connection, &wire[header + 1..]), [(b"bcdefgh".into(), true)]);
        assert_eq!(connection.incoming(), None);
        // Whole, and empty.
        let wire = frames(role, &[(0x81, b"whole"), (0x81, b""), (0x02, b"x"), (0x80, b"")]);
        assert_eq!(
            parts(&mut connection, &wire),
            [("whole".into(), true), ("".into(), true), (b"x".into(), true)]
        );
        let wire = frames(role, &[(0x01, b"x"), (0x80, b"")]);
        assert_eq!(parts(&mut connection, &wire[..wire.len() - 1]), [("x".into(), false)]);
        assert_eq!(parts(&mut connection, &wire[wire.len() - 1..]), [("".into(), true)]);
    }
}

/// R-05, U-02
#[test]
fn a_part_of_text_ends_with_a_whole_character() {
    let text = "a€😀é";
    for role in ROLES {
        let wire = frame(role, 0x81, text.as_bytes());
        let mut connection = in_parts(role, &Limits::default());
        let mut got = Vec::new();
        for byte in wire.chunks(1) {
            got.extend(parts(&mut connection, byte));
        }
        let characters: Vec<_> = text
            .chars()
            .map(|character| (Message::from(character.to_string()), character == 'é'))
            .collect();
        assert_eq!(got, characters);
    }
}

/// U-03, U-04: in a frame that is far from its end.
#[test]
fn text_in_parts_fails_with_the_first_byte_that_makes_it_impossible() {
    for role in ROLES {
        let mut connection = in_parts(role, &Limits::default());
        let mut wire = frame(role, 0x01, b"good \xe2\x82( and on and on");
        wire.truncate(wire.len() - 14);
        assert_eq!(feed(&mut connection, &wire).1, Some(Violation::TextUtf8));
        let mut connection = in_parts(role, &Limits::default());
        let wire = frames(role, &[(0x01, b"good \xe2\x82"), (0x80, b"")]);
        assert_eq!(feed(&mut connection, &wire).1, Some(Violation::TextUtf8));
    }
}

/// R-05, G-04, G-05: the limits on whole messages hold no part up; that on frames does.
#[test]
fn a_message_in_parts_may_be_longer_than_any_limit_on_messages() {
    for role in ROLES {
        let limits = Limits::default().max_message(10).max_fragments(3).max_frame(20);
        let mut wire = frame(role, 0x02, &[7; 20]);
        wire.extend((0..100).flat_map(|_| frame(role, 0x00, &[7; 20])));
        wire.extend(frame(role, 0x80, b""));
        for piece in [1, 50, usize::MAX] {
            let mut connection = in_parts(role, &limits);
            let mut got = Got::default();
            for bytes in wire.chunks(piece) {
                got.feed(&mut connection, &mut bytes.to_vec());
            }
            assert_eq!(got.messages.len(), 1);
            assert_eq!((got.messages[0].bytes.len(), got.messages[0].complete), (101 * 20, true));
        }
        let mut connection = in_parts(role, &limits);
        let (_, violation) = feed(&mut connection, &frame(role, 0x02, &[7; 21]));
        assert_eq!(violation, Some(Violation::FrameTooBig { announced: 21, limit: 20 }));
    }
}

/// nothing gathers, however the message is cut; tiny frames do not become as many parts.
#[test]
fn parts_are_never_longer_than_the_input_and_keep_nothing_back() {
    let limits = Limits::default();
    for role in ROLES {
        let mut connection = in_parts(role, &limits);
        parts(&mut connection, &frame(role, 0x02, b"x"));
        for _ in 0..100 {
            let got = parts(&mut connection, &frame(role, 0x00, &vec![1; 50_000]));
            assert_eq!(got.len(), 1);
            assert_eq!(connection.reserved(), 0);
            assert!(connection.payload_space().is_none());
        }
        let wire: Vec<u8> = (0..1000).flat_map(|_| frame(role, 0x00, b"y")).collect();
        let got = parts(&mut connection, &wire);
        assert_eq!(got, [(Message::from(vec![b'y'; 1000]), false)]);
        assert_eq!(connection.reserved(), 0);
    }
}

/// G-03
#[test]
fn a_ping_between_parts_is_answered_and_loses_nothing() {
    let wire = frames(Role::Server, &[(0x02, b"ab"), (0x89, b"p"), (0x00, b"cd")]);
    let mut server = in_parts(Role::Server, &Limits::default());
    let (events, violation) = feed(&mut server, &wire);
    assert_eq!(
        events,
        [Event::Ping(Bytes::from_static(b"p")), Event::Part { part: b"abcd".into(), last: false }]
    );
    assert_eq!((violation, drain(&mut server)), (None, b"\x8a\x01p".to_vec()));
}

/// G-09
#[test]
fn undecided_input_is_left_once_the_read_ahead_is_full() {
    for role in ROLES {
        for read_ahead in [0, 1, 100, 5000] {
            let mut connection = undecided(role, &Limits::default(), read_ahead);
            let wire = frames(role, &[(0x02, &[1; 3000]), (0x00, &[2; 3000]), (0x80, &[3; 3000])]);
            let mut kept = wire.clone();
            let mut got = Got::default();
            got.feed(&mut connection, &mut kept);
            assert!(connection.is_held() && got.messages.is_empty());
            let taken = wire.len() - kept.len();
            assert!((read_ahead..read_ahead + 30).contains(&taken), "{taken} of {read_ahead}");
            assert!(connection.payload_space().is_none());
            let before = kept.clone();
            got.feed(&mut connection, &mut kept);
            assert_eq!(kept, before, "as long as nobody decides");
            assert_eq!(connection.incoming(), Some(MessageKind::Binary));

            connection.set_receiving(Receiving::Messages);
            got.feed(&mut connection, &mut kept);
            assert_eq!(got.messages.len(), 1);
            assert_eq!(got.messages[0].bytes.len(), 9000);
        }
    }
}

/// G-09: also where it is read directly.
#[test]
fn the_space_for_undecided_payload_ends_with_the_read_ahead() {
    let mut server = undecided(Role::Server, &Limits::default(), 10_000);
    let mut wire = frame(Role::Server, 0x82, &[KEY[0]; 100_000]);
    wire.truncate(100);
    feed(&mut server, &wire);
    let mut taken = 0;
    while let Some(mut space) = server.payload_space() {
        let n = space.remaining_mut();
        space.put_bytes(0, n);
        assert_eq!(server.payload_received(n), Ok(None));
        taken += n;
    }
    assert!((1..10_000).contains(&taken), "{taken}");
    let mut rest = vec![0; 10_000];
    let mut input = &mut rest[..];
    assert_eq!(server.receive(&mut input), Ok(None));
    assert_eq!(10_000 - input.len() + taken + 100 - 14, 10_000);
    assert!(server.is_held());
}

/// G-09, R-05: messages that fit are put together meanwhile, as ever.
#[test]
fn whole_messages_need_no_decision() {
    for role in ROLES {
        let mut connection = undecided(role, &Limits::default(), 0);
        let wire = frames(role, &[(0x81, b"a"), (0x82, &[0; 5000]), (0x89, b""), (0x81, b"b")]);
        let mut got = Got::default();
        got.feed(&mut connection, &mut wire.clone());
        assert_eq!((got.messages.len(), got.pings), (3, 1));
        assert!(!connection.is_held());
    }
}

/// R-05, G-04, G-05: past a limit on messages nobody has said yet that it is one.
#[test]
fn undecided_messages_are_judged_by_who_takes_them() {
    type Table<'a> = &'a [(Limits, &'a [(u8, &'a [u8])], Violation)];
    let table: Table<'_> = &[
        (
            Limits::default().max_message(5).max_frame(100),
            &[(0x82, b"123456")],
            Violation::MessageTooBig { limit: 5 },
        ),
        (
            Limits::default().max_message(5).max_frame(100),
            &[(0x02, b"123"), (0x80, b"456")],
            Violation::MessageTooBig { limit: 5 },
        ),
        (
            Limits::default().max_fragments(2),
            &[(0x02, b"123"), (0x00, b"456"), (0x80, b"7")],
            Violation::TooManyFragments { limit: 2 },
        ),
    ];
    for role in ROLES {
        for (limits, wire, violation) in table {
            let wire = frames(role, wire);
            for to_parts in [false, true] {
                for piece in [1, usize::MAX] {
                    let mut connection = undecided(role, limits, 1000);
                    let (mut kept, mut got) = (Vec::new(), Got::default());
                    for bytes in wire.chunks(piece) {
                        kept.extend_from_slice(bytes);
                        got.feed(&mut connection, &mut kept);
                    }
                    assert!(connection.is_held(), "{violation:?}");
                    assert_eq!(got, Got::default());
                    let mode = if to_parts { Receiving::Parts } else { Receiving::Messages };
                    connection.set_receiving(mode);
                    got.feed(&mut connection, &mut kept);
                    if to_parts {
                        assert_eq!((got.messages.len(), got.violation), (1, None));
                        assert!(got.messages[0].complete);
                    } else {
                        assert_eq!((got.messages.len(), got.violation), (0, Some(*violation)));
                    }
                }
            }
        }
    }
}

///
#[test]
fn a_message_is_given_in_parts_to_its_end_whatever_is_decided_for_the_next() {
    let mut server = in_parts(Role::Server, &Limits::default());
    let wire = frames(Role::Server, &[(0x02, b"ab"), (0x80, b"cd"), (0x82, b"next")]);
    let (first, rest) = wire.split_at(8);
    assert_eq!(parts(&mut server, first), [(b"ab".into(), false)]);
    server.set_receiving(Receiving::Messages);
    assert_eq!(server.receiving(), Receiving::Messages);
    let (events, violation) = feed(&mut server, rest);
    assert_eq!(
        events,
        [Event::Part { part: b"cd".into(), last: true }, Event::Message(b"next".into())]
    );
    assert_eq!(violation, None);
}

///
#[test]
fn a_held_message_that_is_all_there_ends_without_further_input() {
    let limits = Limits::default().max_fragments(1);
    let mut connection = undecided(Role::Server, &limits, 1000);
    let mut wire = frames(Role::Server, &[(0x02, b"ab"), (0x80, b"")]);
    let mut input = &mut wire[..];
    assert_eq!(connection.receive(&mut input), Ok(None));
    assert!(connection.is_held() && input.is_empty());
    connection.set_receiving(Receiving::Parts);
    let part = Event::Part { part: b"ab".into(), last: true };
    assert_eq!(connection.receive(&mut input), Ok(Some(part)));
}

#[test]
fn what_was_put_together_is_the_first_part() {
    let mut server = endpoint(Role::Server, &Limits::default());
    let wire = frames(Role::Server, &[(0x01, "ab€".as_bytes()), (0x80, b"cd")]);
    assert_eq!(feed(&mut server, &wire[..10]), (vec![], None));
    server.set_receiving(Receiving::Parts);
    assert_eq!(parts(&mut server, b""), [("ab".into(), false)], "without more input");
    assert_eq!(parts(&mut server, &wire[10..]), [("€cd".into(), true)]);
}

/// A part is no longer than what was held or what has come since.
#[test]
fn what_was_held_is_given_out_before_more_is_added() {
    let limits = Limits::default();
    let payload = vec![b'x'; 60_000];
    let mut server = undecided(Role::Server, &limits, 40_000);
    let mut wire = frame(Role::Server, 0x82, &payload);
    let (mut held, mut rest) = wire.split_at_mut(40_008);
    assert_eq!(server.receive(&mut held), Ok(None));
    assert!(held.is_empty());
    server.set_receiving(Receiving::Parts);
    for expected in [40_000, 20_000] {
        let Ok(Some(Event::Part { part, .. })) = server.receive(&mut rest) else { panic!() };
        assert_eq!(part.len(), expected);
    }
}

// ===== sending =====

/// Parts of a message as an endpoint sends them, between other things.
fn send(connection: &mut Connection, kind: MessageKind, parts: &[&[u8]], last: &[u8]) {
    connection.start_message(kind).unwrap();
    for part in parts {
        connection.send_part(Bytes::copy_from_slice(part)).unwrap();
    }
    connection.finish_message(Bytes::copy_from_slice(last)).unwrap();
}

///
#[test]
fn each_part_is_a_frame_and_the_last_one_has_fin() {
    for role in ROLES {
        let mut connection = endpoint(role, &Limits::default());
        send(&mut connection, MessageKind::Text, &[b"Hel", b"", b"lo"], b"!");
        send(&mut connection, MessageKind::Binary, &[], b"");
        send(&mut connection, MessageKind::Binary, &[b"x"], b"");
        let seen: Vec<_> =
            parse(&drain(&mut connection)).into_iter().map(|f| (f.first, f.payload)).collect();
        let expected: &[(u8, &[u8])] =
            &[(0x01, b"Hel"), (0x00, b"lo"), (0x80, b"!"), (0x82, b""), (0x02, b"x"), (0x80, b"")];
        let expected: Vec<_> = expected.iter().map(|(f, p)| (*f, p.to_vec())).collect();
        assert_eq!(seen, expected);
    }
}

/// parts that wait are cut like messages, and only what ends the message has FIN.
#[test]
fn parts_are_cut_at_the_configured_length() {
    for role in ROLES {
        for max in [1, 7, 1000, 20_000, 65_536] {
            let mut connection = endpoint(role, &Limits::default().max_send_frame(max));
            let payload: Vec<u8> = (0..50_000).map(|i| (i / 3) as u8).collect();
            send(&mut connection, MessageKind::Binary, &[&payload, b"ab"], &payload);
            let frames = parse(&drain(&mut connection));
            assert_eq!(frames.len(), 2 * 50_000usize.div_ceil(max) + 2usize.div_ceil(max));
            let fins = frames.iter().filter(|frame| frame.first & 0x80 != 0).count();
            assert_eq!((fins, frames.last().unwrap().first), (1, 0x80));
            assert_eq!(frames[0].first, 0x02);
            let sent: Vec<u8> = frames.into_iter().flat_map(|frame| frame.payload).collect();
            assert_eq!(sent, [&payload[..], b"ab", &payload].concat());
        }
    }
}

/// G-06
#[test]
fn no_other_message_begins_before_the_open_one_is_finished() {
    let mut server = endpoint(Role::Server, &Limits::default());
    assert_eq!(server.send_part(Bytes::new()), Err(SendError::NoMessage));
    assert_eq!(server.finish_message(Bytes::new()), Err(SendError::NoMessage));
    server.start_message(MessageKind::Binary).unwrap();
    assert!(server.is_message_open() && !server.has_output());
    assert_eq!(server.send("x".into()), Err(SendError::MessageOpen));
    assert_eq!(server.start_message(MessageKind::Text), Err(SendError::MessageOpen));
    server.send_part(Bytes::from_static(b"a")).unwrap();
    assert_eq!(server.send("x".into()), Err(SendError::MessageOpen));
    server.finish_message(Bytes::new()).unwrap();
    server.send("x".into()).unwrap();
    assert_eq!(drain(&mut server), b"\x02\x01a\x80\x00\x81\x01x");
}

/// G-07, K-02: in between, whether something waits or not.
#[test]
fn pings_and_pongs_pass_between_parts() {
    for large in [false, true] {
        let part = vec![b'a'; if large { 20_000 } else { 3 }];
        let mut server = endpoint(Role::Server, &Limits::default());
        server.start_message(MessageKind::Binary).unwrap();
        server.send_part(part.clone().into()).unwrap();
        server.send_part(part.clone().into()).unwrap();
        server.ping(Bytes::from_static(b"mine")).unwrap();
        feed(&mut server, &frame(Role::Server, 0x89, b"yours"));
        server.finish_message(part.into()).unwrap();
        let firsts: Vec<u8> = parse(&drain(&mut server)).iter().map(|frame| frame.first).collect();
        let expected =
            if large { [0x8a, 0x89, 0x02, 0x00, 0x80] } else { [0x02, 0x00, 0x89, 0x8a, 0x80] };
        assert_eq!(firsts, expected);
    }
}

/// G-08, L-07, L-18: the message never becomes whole, and nothing follows.
#[test]
fn a_close_ends_an_open_message_behind_whole_frames() {
    for role in ROLES {
        for part in [3, 20_000] {
            let mut connection = endpoint(role, &Limits::default());
            connection.start_message(MessageKind::Binary).unwrap();
            connection.send_part(vec![1; part].into()).unwrap();
            assert!(connection.close(CloseCode::INTERNAL_ERROR.into()));
            assert!(!connection.is_message_open());
            assert_eq!(connection.send_part(Bytes::from_static(b"x")), Err(SendError::Closed));
            assert_eq!(connection.finish_message(Bytes::new()), Err(SendError::Closed));
            assert_eq!(connection.start_message(MessageKind::Text), Err(SendError::Closed));
            assert_eq!(connection.send("x".into()), Err(SendError::Closed));
            let frames = parse(&drain(&mut connection));
            assert_eq!((frames[0].first, frames[0].payload.len()), (0x02, part));
            assert_eq!((frames[1].first, &frames[1].payload[..]), (0x88, &b"\x03\xf3"[..]));
            assert_eq!(frames.len(), 2);
        }
    }
}

/// U-07
#[test]
fn text_in_parts_is_checked_part_by_part_and_at_its_end() {
    for role in ROLES {
        let mut connection = endpoint(role, &Limits::default());
        connection.start_message(MessageKind::Text).unwrap();
        let mut part = |bytes: &'static [u8]| connection.send_part(Bytes::from_static(bytes));
        part(b"a\xe2").unwrap();
        assert_eq!(part(b"b"), Err(SendError::InvalidUtf8), "a character is not finished");
        assert_eq!(part(b"\x82\xac\xff"), Err(SendError::InvalidUtf8));
        part(b"\x82").unwrap();
        let mut finish =
            |bytes: &'static [u8]| connection.finish_message(Bytes::from_static(bytes));
        assert_eq!(finish(b""), Err(SendError::InvalidUtf8));
        assert_eq!(finish(b"\xac\xc3"), Err(SendError::InvalidUtf8));
        finish(b"\xac").unwrap();
        let sent: Vec<u8> =
            parse(&drain(&mut connection)).into_iter().flat_map(|frame| frame.payload).collect();
        assert_eq!(sent, "a€".as_bytes(), "nothing of what was refused");
    }
}

/// R-05, M-04
#[test]
fn without_masking_keys_no_part_goes_out() {
    let mut client = endpoint(Role::Client, &Limits::default());
    client.start_message(MessageKind::Binary).unwrap();
    client.break_keys();
    client.send_part(Bytes::from_static(b"x")).unwrap();
    assert!(client.output_failed() && !client.has_output());
    assert_eq!(client.send_part(Bytes::from_static(b"x")), Err(SendError::Closed));
}

// ===== both =====

/// How a message is sent: its parts, each with whether a ping follows; whole if there are none.
type Sending = (bool, Vec<u8>, Vec<(usize, bool)>);

fn sending() -> impl Strategy<Value = Sending> {
    let payload = prop_oneof![
        4 => "\\PC{0,40}".prop_map(|text| (true, text.into_bytes())),
        4 => prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| (false, bytes)),
        1 => (15_000usize..60_000).prop_map(|n| (false, (0..n).map(|i| (i * 7) as u8).collect())),
    ];
    let cuts = prop::collection::vec((prop_oneof![0usize..9, 0usize..30_000], any::<bool>()), 0..6);
    (payload, cuts).prop_map(|((text, bytes), cuts)| (text, bytes, cuts))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// R-05, G-01, G-03, G-06, G-07: whole or in parts, as they are sent and as they are received,
    /// messages are the same; also where the receiver changes its mind.
    #[test]
    fn messages_are_the_same_however_they_are_sent_and_received(
        messages in prop::collection::vec(sending(), 0..6),
        from in prop::sample::select(&ROLES[..]),
        max_send_frame in prop_oneof![1usize..100, 1000usize..100_000, Just(usize::MAX)],
        writes in prop::collection::vec(prop_oneof![1usize..20, 1usize..70_000], 1..20),
        modes in prop::collection::vec(
            prop_oneof![
                Just(Receiving::Messages),
                Just(Receiving::Parts),
                (0usize..50).prop_map(|read_ahead| Receiving::Undecided { read_ahead }),
            ],
            1..20,
        ),
    ) {
        let limits = Limits::default().max_send_frame(max_send_frame).max_fragments(1 << 20);
        let to = if from == Role::Server { Role::Client } else { Role::Server };
        let (mut sender, mut receiver) = (endpoint(from, &limits), endpoint(to, &limits));
        let (mut wire, mut pings, mut n) = (Vec::new(), 0, 0);
        for (text, bytes, cuts) in &messages {
            let message = match String::from_utf8(bytes.clone()) {
                Ok(string) if *text => Message::from(string),
                _ => Message::from(bytes.clone()),
            };
            if cuts.is_empty() {
                sender.send(message).unwrap();
                continue;
            }
            sender.start_message(message.kind()).unwrap();
            let mut rest = message.into_bytes();
            for &(cut, ping) in cuts {
                sender.send_part(rest.split_to(cut.min(rest.len()))).unwrap();
                if ping {
                    sender.ping(Bytes::new()).unwrap();
                    pings += 1;
                }
                // Something goes out now and then.
                let [first, _] = sender.output();
                let some = first.len().min(writes[n % writes.len()]);
                wire.extend_from_slice(&first[..some]);
                sender.advance(some);
                n += 1;
            }
            sender.finish_message(rest).unwrap();
        }
        wire.extend(drain(&mut sender));

        let (mut got, mut kept, mut rest, mut n) = (Got::default(), Vec::new(), &wire[..], 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(writes[n % writes.len()]));
            rest = after;
            kept.extend_from_slice(piece);
            receiver.set_receiving(modes[n % modes.len()]);
            got.feed(&mut receiver, &mut kept);
            n += 1;
        }
        receiver.set_receiving(Receiving::Messages);
        got.feed(&mut receiver, &mut kept);
        prop_assert!(kept.is_empty());
        prop_assert_eq!(got.violation, None);
        prop_assert_eq!(got.pings, pings);
        let expected: Vec<_> = messages
            .into_iter()
            .map(|(text, bytes, _)| Joined {
                kind: Some(if text { MessageKind::Text } else { MessageKind::Binary }),
                bytes,
                complete: true,
            })
            .collect();
        prop_assert_eq!(got.messages, expected);
    }

    /// F-07: any bytes in any pieces come to the same in parts as whole, up to where they fail.
    #[test]
    fn any_bytes_are_taken_or_refused_alike_in_parts(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"\x81\x01\x00\x80\x82\x88\x89\x8a\xfe\xff"[..])],
            0..120,
        ),
    ) {
        let limits = Limits::default().max_message(1000).max_fragments(1000);
        for role in ROLES {
            let mut outcomes = [usize::MAX, 1, 7].into_iter().map(|piece| {
                let mut connection = in_parts(role, &limits);
                let mut got = Got::default();
                for bytes in bytes.chunks(piece) {
                    got.feed(&mut connection, &mut bytes.to_vec());
                }
                got
            });
            let mut whole = Got::default();
            whole.feed(&mut endpoint(role, &limits), &mut bytes.clone());
            let mut first = outcomes.next().unwrap();
            first.messages.retain(|message| message.complete);
            prop_assert_eq!(&first, &whole, "in parts as whole");
            for mut other in outcomes {
                other.messages.retain(|message| message.complete);
                prop_assert_eq!(&first, &other);
            }
        }
    }
}
