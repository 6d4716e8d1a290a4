//! What an endpoint writes, and in which order.

use std::collections::HashSet;

use bytes::Bytes;

use crate::proto::{
    CloseCode, Connection, Limits, Message, MessageKind, PingError, Role, SendError,
};

use super::wire::{Seen, drain, endpoint, feed, frame, parse};

const ROLES: [Role; 2] = [Role::Server, Role::Client];

fn firsts(frames: &[Seen]) -> Vec<u8> {
    frames.iter().map(|frame| frame.first).collect()
}

/// Takes exactly `n` bytes off the output.
fn write(connection: &mut Connection, n: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    while wire.len() < n {
        let shown = connection.output().concat();
        assert!(!shown.is_empty());
        let shown = &shown[..shown.len().min(n - wire.len())];
        wire.extend_from_slice(shown);
        connection.advance(shown.len());
    }
    wire
}

/// What the mask adds to a header.
fn header_key(role: Role) -> usize {
    if role == Role::Client { 4 } else { 0 }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 / 7) as u8).collect()
}

/// F-01, M-01, R-02
#[test]
fn a_server_writes_the_examples_of_the_rfc() {
    let mut server = endpoint(Role::Server, &Limits::default());
    server.send("Hello".into()).unwrap();
    server.ping(Bytes::from_static(b"Hello")).unwrap();
    assert_eq!(drain(&mut server), b"\x81\x05Hello\x89\x05Hello");
}

/// F-02, R-02, R-07
#[test]
fn messages_go_out_in_the_shortest_form_and_as_they_are() {
    for role in ROLES {
        let mask = if role == Role::Client { 4 } else { 0 };
        for (len, header) in
            [(0, 2), (125, 2), (126, 4), (16_383, 4), (16_384, 4), (65_535, 4), (65_536, 10)]
        {
            let payload: Vec<u8> = (0..len).map(|i| (i * 13) as u8).collect();
            let mut connection = endpoint(role, &Limits::default());
            connection.send(payload.clone().into()).unwrap();
            assert_eq!(connection.queued(), len + header + mask);
            let wire = drain(&mut connection);
            assert_eq!(wire.len(), len + header + mask);
            let frames = parse(&wire);
            assert_eq!((firsts(&frames), &frames[0].payload), (vec![0x82], &payload));
        }
    }
}

/// M-01, M-04, S-05: nothing in the limits or the API says otherwise.
#[test]
fn a_client_masks_every_frame_with_a_key_of_its_own_and_a_server_none() {
    for role in ROLES {
        let limits = Limits::default().max_send_frame(10);
        let mut connection = endpoint(role, &limits);
        connection.send("".into()).unwrap();
        connection.send(Message::from(vec![0; 1000])).unwrap();
        connection.send(Message::from(vec![0; 20_000])).unwrap();
        connection.ping(Bytes::new()).unwrap();
        feed(&mut connection, &frame(role, 0x89, b"pong"));
        connection.close(CloseCode::NORMAL.into());
        let frames = parse(&drain(&mut connection));
        assert_eq!(frames.len(), 1 + 100 + 2000 + 3);
        let keys: Vec<_> = frames.iter().filter_map(|frame| frame.key).collect();
        match role {
            Role::Server => assert!(keys.is_empty()),
            Role::Client => {
                assert_eq!(keys.len(), frames.len());
                assert!(keys.iter().collect::<HashSet<_>>().len() > 2090);
            }
        }
    }
}

/// R-05, G-07
#[test]
fn a_long_message_is_cut_at_the_configured_length() {
    for role in ROLES {
        for (max, len) in [(1, 5usize), (10, 10), (10, 11), (65_536, 65_537), (20_000, 100_000)] {
            let mut connection = endpoint(role, &Limits::default().max_send_frame(max));
            let payload: Vec<u8> = (0..len).map(|i| (i / 3) as u8).collect();
            connection.send(payload.clone().into()).unwrap();
            let frames = parse(&drain(&mut connection));
            assert_eq!(frames.len(), len.div_ceil(max));
            assert!(frames.iter().all(|frame| frame.payload.len() <= max));
            let mut expected = vec![0; frames.len()];
            expected[0] = 0x02;
            *expected.last_mut().unwrap() |= 0x80;
            assert_eq!(firsts(&frames), expected);
            assert_eq!(
                frames.into_iter().flat_map(|frame| frame.payload).collect::<Vec<_>>(),
                payload
            );
        }
    }
}

#[test]
fn frames_of_no_length_are_taken_as_frames_of_one_byte() {
    let mut server = endpoint(Role::Server, &Limits::default().max_send_frame(0));
    server.send("abc".into()).unwrap();
    assert_eq!(drain(&mut server), b"\x01\x01a\x00\x01b\x80\x01c");
}

/// R-05, G-07, M-01, M-06
#[test]
fn a_whole_message_is_one_frame_whatever_its_length() {
    for role in ROLES {
        for size in [16 << 10, 64 << 10, 80 << 10, 128 << 10, 1 << 20] {
            for len in [size - 1, size, size + 1, size + 3] {
                let payload = pattern(len);
                let header = if len > 0xffff { 10 } else { 4 } + header_key(role);
                for before in [0, 1, 16_382] {
                    let mut connection = endpoint(role, &Limits::default());
                    connection.send(Message::from(vec![0; before])).unwrap();
                    let queued = connection.queued();
                    connection.send(payload.clone().into()).unwrap();
                    connection.send("behind".into()).unwrap();
                    assert_eq!(connection.queued(), queued + header + len + 8 + header_key(role));
                    let frames = parse(&drain(&mut connection));
                    assert_eq!(firsts(&frames), [0x82, 0x82, 0x81]);
                    assert!(frames[1].payload == payload, "{len} {before}");
                    assert_eq!(frames[2].payload, b"behind");
                }
            }
        }
    }
}

/// F-10, K-02, L-18: wherever the frame is while they come.
#[test]
fn pings_pongs_and_a_close_wait_for_the_end_of_the_frame() {
    const LEN: usize = 150_000;
    let payload = pattern(LEN);
    for role in ROLES {
        let size = LEN + 10 + header_key(role);
        let around = |at: usize| at - 20..at + 20;
        let cuts = (1..20).chain(around(16 << 10)).chain(around(64 << 10)).chain(around(128 << 10));
        for cut in cuts.chain(size - 20..size) {
            let mut connection = endpoint(role, &Limits::default());
            connection.send(payload.clone().into()).unwrap();
            let mut wire = write(&mut connection, cut);
            feed(&mut connection, &frame(role, 0x89, b"theirs"));
            connection.ping(Bytes::from_static(b"ours")).unwrap();
            connection.send("behind".into()).unwrap();
            connection.close(CloseCode::NORMAL.into());
            wire.extend(drain(&mut connection));
            let frames = parse(&wire);
            assert_eq!(firsts(&frames), [0x82, 0x8a, 0x89, 0x81, 0x88], "{cut}");
            assert!(frames[0].payload == payload, "{cut}");
            assert_eq!(frames[1].payload, b"theirs");
        }
    }
}

/// M-04, M-06: the mask goes on where the piece before it ended.
#[test]
fn a_large_frame_has_one_mask_however_it_is_written() {
    let payload = pattern(150_001);
    for chunk in [1, 7, 1000, 16_384, 65_535, 65_536, 65_551, usize::MAX] {
        let mut client = endpoint(Role::Client, &Limits::default());
        client.send("before".into()).unwrap();
        client.send(payload.clone().into()).unwrap();
        let mut wire = Vec::new();
        while client.has_output() {
            let [first, second] = client.output();
            assert!(second.is_empty());
            let n = chunk.min(first.len());
            wire.extend_from_slice(&first[..n]);
            client.advance(n);
        }
        let frames = parse(&wire);
        assert_eq!(firsts(&frames), [0x81, 0x82]);
        assert!(frames[1].payload == payload, "{chunk}");
    }
}

/// G-07: the parts are the sender's.
#[test]
fn each_part_is_one_frame() {
    for role in ROLES {
        let mut connection = endpoint(role, &Limits::default());
        let parts = [pattern(200_000), pattern(3), pattern(70_000)];
        connection.start_message(MessageKind::Binary).unwrap();
        for part in &parts {
            connection.send_part(part.clone().into()).unwrap();
        }
        connection.ping(Bytes::new()).unwrap();
        connection.finish_message(Bytes::new()).unwrap();
        let frames = parse(&drain(&mut connection));
        assert_eq!(firsts(&frames), [0x89, 0x02, 0x00, 0x00, 0x80]);
        assert!(frames[1..4].iter().map(|frame| &frame.payload).eq(&parts));
    }
}

/// G-07, F-10: the pong is not inside a frame and not behind the message.
#[test]
fn pongs_and_pings_pass_between_the_frames_of_a_long_message() {
    for role in ROLES {
        let header = 10 + header_key(role);
        let mut connection = endpoint(role, &Limits::default().max_send_frame(70_000));
        connection.send(Message::from(vec![1; 700_000])).unwrap();
        connection.send("behind".into()).unwrap();
        write(&mut connection, 70_000 + header);
        // The second frame is half written.
        write(&mut connection, 1000);
        feed(&mut connection, &frame(role, 0x89, b"theirs"));
        connection.ping(Bytes::from_static(b"ours")).unwrap();
        connection.ping(Bytes::from_static(b"ours again")).unwrap();
        let rest = drain(&mut connection);
        let rest = &rest[70_000 + header - 1000..];
        let frames = parse(rest);
        assert_eq!(firsts(&frames), [0x8a, 0x89, 0x89, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x81]);
        assert_eq!(frames[1].payload, b"ours");
        assert_eq!(frames[2].payload, b"ours again");
    }
}

/// K-02: order is kept as long as nothing waits.
#[test]
fn pipelined_pings_and_echoes_are_answered_in_order() {
    let mut server = endpoint(Role::Server, &Limits::default());
    for i in 0..10u8 {
        feed(&mut server, &frame(Role::Server, 0x89, &[i]));
        server.send(Message::from(vec![i])).unwrap();
    }
    let frames = parse(&drain(&mut server));
    let seen: Vec<_> = frames.iter().map(|frame| (frame.first, frame.payload[0])).collect();
    let expected: Vec<_> = (0..10).flat_map(|i| [(0x8a, i), (0x82, i)]).collect();
    assert_eq!(seen, expected);
}

///
#[test]
fn messages_keep_their_order_whatever_their_size() {
    for role in ROLES {
        let mut connection = endpoint(role, &Limits::default());
        let sizes = [3, 16_384, 0, 200_000, 5, 16_383, 65_537, 1];
        for (i, size) in sizes.into_iter().enumerate() {
            connection.send(Message::from(vec![i as u8; size])).unwrap();
        }
        let mut peer = endpoint(
            if role == Role::Server { Role::Client } else { Role::Server },
            &Limits::default(),
        );
        let (events, violation) = feed(&mut peer, &drain(&mut connection));
        assert_eq!(violation, None);
        let expected: Vec<_> = sizes
            .into_iter()
            .enumerate()
            .map(|(i, size)| crate::proto::Event::Message(Message::from(vec![i as u8; size])))
            .collect();
        assert!(events == expected);
    }
}

#[test]
fn a_server_does_not_copy_large_payloads() {
    let payload = Bytes::from(vec![7; 100_000]);
    let mut server = endpoint(Role::Server, &Limits::default().max_send_frame(60_000));
    server.send(payload.clone().into()).unwrap();
    for piece in [&payload[..60_000], &payload[60_000..]] {
        let [header, body] = server.output();
        assert_eq!(body.as_ptr_range(), piece.as_ptr_range());
        let n = header.len() + body.len();
        server.advance(n);
    }
    assert!(!server.has_output());
}

#[test]
fn small_messages_are_one_contiguous_write() {
    let mut server = endpoint(Role::Server, &Limits::default());
    for _ in 0..100 {
        server.send("small".into()).unwrap();
    }
    let [first, second] = server.output();
    assert_eq!((first.len(), second.len()), (700, 0));
    // Also when they waited behind a large one.
    let mut server = endpoint(Role::Server, &Limits::default());
    server.send(Message::from(vec![0; 30_000])).unwrap();
    for _ in 0..100 {
        server.send("small".into()).unwrap();
    }
    let [first, second] = server.output();
    let n = first.len() + second.len();
    assert_eq!(n, 30_004);
    server.advance(n);
    assert_eq!(server.output()[0].len(), 700);
}

/// F-10: what a driver was shown is what it will write, although the queue changes in between.
#[test]
fn output_of_any_write_size_is_the_same_bytes() {
    let write = |chunk: usize| {
        let mut server = endpoint(Role::Server, &Limits::default().max_send_frame(40_000));
        server.send("first".into()).unwrap();
        server.send(Message::from(vec![3; 100_000])).unwrap();
        server.send(Message::from(vec![4; 100])).unwrap();
        server.close(CloseCode::NORMAL.into());
        let mut wire = Vec::new();
        let mut before = server.queued();
        while server.has_output() {
            let [first, second] = server.output();
            let shown = [first, second].concat();
            let n = chunk.min(shown.len());
            wire.extend_from_slice(&shown[..n]);
            server.advance(n);
            // Headers of later frames are counted when they are cut.
            assert!(server.queued() <= before - n + 10);
            before = server.queued();
        }
        wire
    };
    let whole = write(usize::MAX);
    assert_eq!(firsts(&parse(&whole)), [0x81, 0x02, 0x00, 0x80, 0x82, 0x88]);
    for chunk in [1, 7, 1000, 40_000, 50_000] {
        assert!(write(chunk) == whole, "{chunk}");
    }
}

#[test]
fn queued_counts_everything_that_waits() {
    let mut server = endpoint(Role::Server, &Limits::default());
    assert_eq!((server.queued(), server.has_output()), (0, false));
    server.send("12345".into()).unwrap();
    assert_eq!(server.queued(), 7);
    server.send(Message::from(vec![0; 100_000])).unwrap();
    assert_eq!(server.queued(), 7 + 10 + 100_000);
    for _ in 0..10_000 {
        server.send("".into()).unwrap();
    }
    assert_eq!(server.queued(), 7 + 10 + 100_000 + 20_000, "empty messages count too");
    server.ping(Bytes::from_static(b"p")).unwrap();
    feed(&mut server, &frame(Role::Server, 0x89, b"pp"));
    server.close(CloseCode::NORMAL.into());
    assert_eq!(server.queued(), 7 + 10 + 100_000 + 20_000 + 3 + 4 + 4);
    assert_eq!(drain(&mut server).len(), 7 + 10 + 100_000 + 20_000 + 3 + 4 + 4);
}

#[test]
fn a_ping_holds_125_bytes_and_no_more() {
    let mut server = endpoint(Role::Server, &Limits::default());
    assert_eq!(server.ping(vec![0; 126].into()), Err(PingError::TooLong));
    assert_eq!(server.ping(vec![0; 125].into()), Ok(()));
    server.close(CloseCode::NORMAL.into());
    assert_eq!(server.ping(Bytes::new()), Err(PingError::Closed));
    assert_eq!(server.send("x".into()), Err(SendError::Closed));
}

/// M-04, M-05: no key, no frame. Keys are drawn when a frame is written, long after its message was
/// handed over for good.
#[test]
fn without_a_key_nothing_more_is_written() {
    let mut client = endpoint(Role::Client, &Limits::default().max_send_frame(20_000));
    client.send("before".into()).unwrap();
    client.send(Message::from(vec![0; 50_000])).unwrap();
    client.output();
    client.break_keys();
    assert!(!client.output_failed());
    let frames = parse(&drain(&mut client));
    assert!(client.output_failed());
    assert_eq!(firsts(&frames), [0x81, 0x02], "whole frames only");
    assert_eq!(client.send("after".into()), Err(SendError::Closed));
    assert_eq!(client.ping(Bytes::new()), Err(PingError::Closed));
    assert!(!client.close(CloseCode::NORMAL.into()));
    feed(&mut client, b"\x89\x00");
    assert!(!client.has_output());

    let mut client = endpoint(Role::Client, &Limits::default());
    client.break_keys();
    client.send("at once".into()).unwrap();
    assert!(client.output_failed() && !client.has_output());
}
