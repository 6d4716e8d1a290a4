//! How a connection ends, when both ends do their part.

use bytes::Bytes;

use crate::proto::{
    CloseCode, CloseFrame, CloseReason, Event, Limits, Message, Role, SendError, Violation,
};

use super::pair::{Pair, deliver};
use super::wire::{drain, endpoint, feed, frame, parse};

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    let reason = CloseReason::new(reason.to_owned()).unwrap();
    CloseFrame::new(CloseCode::new(code).unwrap(), reason)
}

/// L-04
#[test]
fn an_empty_close_is_answered_with_an_empty_close() {
    let mut client = endpoint(Role::Client, &Limits::default());
    feed(&mut client, b"\x88\x00");
    assert!(client.answer_close());
    assert_eq!(client.close_received().unwrap().status(), 1005);
    let wire = drain(&mut client);
    assert_eq!((&wire[..2], wire.len()), (&b"\x88\x80"[..], 6));

    let mut server = endpoint(Role::Server, &Limits::default());
    assert!(server.close(CloseFrame::empty()));
    assert_eq!(drain(&mut server), b"\x88\x00");
}

/// L-06, L-03
#[test]
fn a_close_is_answered_with_its_code() {
    for (code, answer) in [(1000, 1000), (3000, 3000), (4999, 4999), (1001, 1001), (1010, 1000)] {
        let mut server = endpoint(Role::Server, &Limits::default());
        assert!(!server.answer_close(), "there is nothing to answer");
        let body = [&u16::to_be_bytes(code)[..], b"why"].concat();
        feed(&mut server, &frame(Role::Server, 0x88, &body));
        assert!(server.answer_close());
        assert!(!server.answer_close());
        assert_eq!(drain(&mut server), [&b"\x88\x02"[..], &u16::to_be_bytes(answer)].concat());
    }
}

/// L-07, R-15
#[test]
fn there_is_one_close_and_it_is_behind_every_message() {
    for size in [5, 30_000, 300_000] {
        for role in [Role::Server, Role::Client] {
            let mut connection = endpoint(role, &Limits::default());
            for _ in 0..5 {
                connection.send(Message::from(vec![1; size])).unwrap();
            }
            assert!(!connection.close_queued());
            assert!(connection.close(close_frame(1001, "moving")));
            assert!(connection.close_queued());
            assert!(!connection.close(close_frame(1000, "again")));
            assert_eq!(connection.send("late".into()), Err(SendError::Closed));
            feed(&mut connection, &frame(role, 0x88, b"\x0b\xb8"));
            assert!(!connection.answer_close(), "ours is on its way");
            let frames = parse(&drain(&mut connection));
            let closes: Vec<_> = frames.iter().filter(|frame| frame.first == 0x88).collect();
            assert_eq!(closes.len(), 1);
            assert_eq!(frames.last().unwrap().payload, b"\x03\xe9moving");
            let data: usize = frames[..frames.len() - 1].iter().map(|f| f.payload.len()).sum();
            assert_eq!(data, 5 * size);
        }
    }
}

/// L-18
#[test]
fn a_close_is_not_written_into_a_frame_or_a_message() {
    let cut = Limits::default().max_send_frame(64 * 1024);
    for (limits, expected) in
        [(Limits::default(), &[0x82, 0x88][..]), (cut, &[0x02, 0x00, 0x00, 0x80, 0x88])]
    {
        let mut server = endpoint(Role::Server, &limits);
        server.send(Message::from(vec![1; 200_000])).unwrap();
        let [header, body] = server.output();
        let written = [header, &body[..100]].concat();
        server.advance(written.len());
        server.close(CloseCode::GOING_AWAY.into());
        let wire = [written, drain(&mut server)].concat();
        let firsts: Vec<_> = parse(&wire).iter().map(|frame| frame.first).collect();
        assert_eq!(firsts, expected);
    }
}

/// K-04
#[test]
fn no_pong_is_sent_after_either_close() {
    let mut server = endpoint(Role::Server, &Limits::default());
    server.close(CloseCode::NORMAL.into());
    let (events, violation) = feed(&mut server, &frame(Role::Server, 0x89, b"p"));
    assert_eq!((events, violation), (vec![Event::Ping(Bytes::from_static(b"p"))], None));
    assert_eq!(drain(&mut server), b"\x88\x02\x03\xe8");

    let mut server = endpoint(Role::Server, &Limits::default());
    server.send(Message::from(vec![1; 20_000])).unwrap();
    feed(&mut server, &frame(Role::Server, 0x89, b"p"));
    feed(&mut server, &frame(Role::Server, 0x88, b""));
    server.answer_close();
    let firsts: Vec<_> = parse(&drain(&mut server)).iter().map(|frame| frame.first).collect();
    assert_eq!(firsts, [0x82, 0x88], "the pong that waited is not due any more");
}

/// L-08
#[test]
fn messages_in_flight_still_arrive_after_our_close() {
    let mut pair = Pair::new(&Limits::default());
    for i in 0..10u8 {
        pair.client.connection.send(Message::from(vec![i; 1000])).unwrap();
    }
    pair.server.connection.close(CloseCode::GOING_AWAY.into());
    pair.settle(usize::MAX);
    assert_eq!(pair.server.messages().len(), 10);
    assert_eq!(pair.server.closes(), [CloseCode::GOING_AWAY.into()], "the client's answer");
}

/// L-09, L-07
#[test]
fn crossing_closes_report_each_others() {
    let mut pair = Pair::new(&Limits::default());
    pair.client.connection.close(close_frame(3001, "client"));
    pair.server.connection.close(close_frame(3002, "server"));
    pair.settle(1);
    assert_eq!(pair.client.closes(), [close_frame(3002, "server")]);
    assert_eq!(pair.server.closes(), [close_frame(3001, "client")]);
    assert_eq!(pair.client.connection.close_received(), Some(&close_frame(3002, "server")));
}

/// L-06: a message that is on its way may be finished first.
#[test]
fn the_answer_waits_for_what_is_queued() {
    let mut pair = Pair::new(&Limits::default());
    pair.server.connection.send(Message::from(vec![9; 500_000])).unwrap();
    pair.server.write(1000);
    pair.client.connection.close(CloseCode::NORMAL.into());
    pair.client.write(usize::MAX);
    deliver(&mut pair.client, &mut pair.server, usize::MAX);
    assert!(pair.server.connection.close_queued());
    pair.settle(10_000);
    assert_eq!(pair.client.messages(), [Message::from(vec![9; 500_000])]);
    assert_eq!(pair.client.closes(), [CloseCode::NORMAL.into()]);
}

/// L-14, F-11: what the driver sends before its Close goes out before it.
#[test]
fn a_violation_is_answered_with_its_code_behind_what_was_sent() {
    let mut server = endpoint(Role::Server, &Limits::default());
    let (_, violation) = feed(&mut server, b"\x81\x05Hello");
    let violation = violation.unwrap();
    assert_eq!(violation, Violation::Unmasked);
    server.send("before".into()).unwrap();
    assert!(server.close(violation.close_frame()));
    let frames = parse(&drain(&mut server));
    assert_eq!(frames[0].payload, b"before");
    assert_eq!(frames[1].payload[..2], [3, 0xea]);
    assert_eq!(frames[1].payload[2..], *b"unmasked frame from a client");
}
