//! Two endpoints that do random things, and invariants that hold whatever they do.

use bytes::Bytes;
use proptest::prelude::*;

use crate::proto::{CloseCode, Event, Limits, Message, Role};

use super::pair::{End, Pair, deliver};
use super::wire::{endpoint, feed, feed_every_way, frames};

fn message() -> impl Strategy<Value = Message> {
    let sizes = prop_oneof![8 => 0usize..40, 2 => 100usize..300, 1 => 15_000usize..140_000];
    prop_oneof![
        "\\PC{0,30}".prop_map(Message::from),
        (sizes, any::<u8>()).prop_map(|(len, seed)| {
            Message::from((0..len).map(|i| seed.wrapping_add((i * 7) as u8)).collect::<Vec<_>>())
        }),
    ]
}

/// Something that happens at one end or between the ends.
#[derive(Clone, Debug)]
enum Step {
    Send(Message),
    Ping(u8),
    Close(u16),
    Write(usize),
    Deliver(usize),
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let amount = || prop_oneof![0usize..20, 0usize..100_000, Just(usize::MAX)];
    let step = prop_oneof![
        6 => message().prop_map(Step::Send),
        3 => any::<u8>().prop_map(Step::Ping),
        1 => (3000u16..5000).prop_map(Step::Close),
        6 => amount().prop_map(Step::Write),
        6 => amount().prop_map(Step::Deliver),
    ];
    (any::<bool>(), step)
}

/// What an end did successfully.
#[derive(Default)]
struct Did {
    messages: Vec<Message>,
    pings: Vec<Bytes>,
    close: Option<u16>,
}

fn act(step: Step, end: &mut End, other: &mut End, did: &mut Did) {
    let closing = end.connection.close_queued();
    match step {
        Step::Send(message) => {
            let sent = end.connection.send(message.clone());
            assert_eq!(sent.is_err(), closing);
            did.messages.extend(sent.is_ok().then_some(message));
        }
        Step::Ping(n) => {
            let payload = Bytes::from(vec![n; usize::from(n) % 126]);
            let sent = end.connection.ping(payload.clone());
            assert_eq!(sent.is_err(), closing);
            did.pings.extend(sent.is_ok().then_some(payload));
        }
        Step::Close(code) => {
            let first = end.connection.close(CloseCode::new(code).unwrap().into());
            assert_eq!(first, !closing);
            if first {
                did.close = Some(code);
            }
        }
        Step::Write(n) => drop(end.write(n)),
        Step::Deliver(n) => drop(deliver(end, other, n)),
    }
}

/// What `to` must have seen once everything that `from` did has arrived.
fn check(from: &Did, to_did: &Did, to: &End, back: &End) {
    // L-07, L-08: everything sent before a Close arrives and in order, also after the receiver's own.
    assert!(to.messages() == from.messages);
    let pings: Vec<_> = to
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Ping(payload) => Some(payload.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(pings, from.pings);
    // K-02, K-03: pongs answer pings, each at most once and in order, and the newest one unless a Close
    // came between.
    let mut pings = from.pings.iter();
    for event in &back.events {
        if let Event::Pong(payload) = event {
            assert!(pings.any(|ping| ping == payload), "a pong for each ping at most");
        }
    }
    // L-09: one Close, the one that was sent; a mere answer carries the code it answers.
    let expected: Vec<u16> = from.close.or(to_did.close).into_iter().collect();
    assert_eq!(to.closes().iter().map(|close| close.status()).collect::<Vec<_>>(), expected);
    if !expected.is_empty() {
        assert!(matches!(to.events.last(), Some(Event::Close(_))), "nothing follows a Close");
    } else if let Some(newest) = from.pings.last() {
        let pong = back.events.iter().rev().find(|event| matches!(event, Event::Pong(_)));
        assert_eq!(pong, Some(&Event::Pong(newest.clone())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// F-10, G-07, K-02, L-07, L-08, L-09, L-16
    #[test]
    fn two_endpoints_agree_whatever_they_do(
        steps in prop::collection::vec(step(), 0..60),
        max_send_frame in prop_oneof![1usize..200, 1000usize..100_000, Just(usize::MAX)],
        settle in prop_oneof![Just(100usize), Just(65_536), Just(usize::MAX)],
    ) {
        // Frames of one byte would be more fragments than allowed.
        let limits = Limits::default().max_send_frame(max_send_frame).max_fragments(1 << 20);
        let mut pair = Pair::new(&limits);
        let (mut client, mut server) = (Did::default(), Did::default());
        for (at_client, step) in steps {
            let Pair { client: c, server: s } = &mut pair;
            if at_client {
                act(step, c, s, &mut client);
            } else {
                act(step, s, c, &mut server);
            }
        }
        pair.settle(settle);
        check(&client, &server, &pair.server, &pair.client);
        check(&server, &client, &pair.client, &pair.server);
        let both = pair.client.connection.close_queued();
        prop_assert_eq!(both, pair.server.connection.close_queued());
    }

    /// F-07, G-01, G-03: any messages in any fragments with pings between, cut in every way.
    #[test]
    fn any_fragmentation_reads_as_the_messages_it_carries(
        messages in prop::collection::vec(
            (
                prop_oneof!["\\PC{0,12}".prop_map(Message::from), "[a-z]{0,9}".prop_map(|text| {
                    Message::from(text.into_bytes())
                })],
                prop::collection::vec((0usize..6, any::<bool>()), 0..5),
            ),
            0..5,
        ),
    ) {
        let mut wire: Vec<(u8, &[u8])> = Vec::new();
        let mut events = Vec::new();
        for (message, cuts) in &messages {
            let mut first = if message.is_text() { 0x01 } else { 0x02 };
            let mut rest = message.as_bytes();
            for &(cut, ping) in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                wire.push((first, piece));
                (first, rest) = (0, after);
                if ping {
                    wire.push((0x89, b"p"));
                    events.push(Event::Ping(Bytes::from_static(b"p")));
                }
            }
            wire.push((0x80 | first, rest));
            events.push(Event::Message(message.clone()));
        }
        for role in [Role::Server, Role::Client] {
            let outcome = feed_every_way(role, &Limits::default(), &frames(role, &wire));
            prop_assert_eq!(outcome, (events.clone(), None));
        }
    }

    /// Nothing a peer sends panics, and it comes to the same however it is cut.
    #[test]
    fn any_bytes_are_taken_or_refused_alike(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"\x81\x01\x00\x80\x82\x88\x89\x8a\xfe\xff"[..])],
            0..120,
        ),
    ) {
        let limits = Limits::default().max_message(1000).max_fragments(4);
        for role in [Role::Server, Role::Client] {
            feed_every_way(role, &limits, &bytes);
            let mut connection = endpoint(role, &limits);
            feed(&mut connection, &bytes);
            prop_assert!(connection.reserved() <= 2000 + 125);
        }
    }
}
