//! The plain path does what the whole protocol does, or nothing.

use bytes::Bytes;
use proptest::prelude::*;

use crate::proto::{
    Arena, CloseCode, Connection, Event, Limits, Message, MessageKind, Receiving, Role,
};

use super::wire::{drain, endpoint, feed, frame, frames};

fn server() -> Connection {
    endpoint(Role::Server, &Limits::default())
}

/// What the plain path takes off the front of the input, and how much of it that is. Both are what the
/// ordinary path takes; if there is nothing, the input is as it was.
fn take(limits: &Limits, input: &[u8]) -> Option<(Message, usize)> {
    let connection = endpoint(Role::Server, limits);
    assert!(connection.is_plain());
    let mut bytes = input.to_vec();
    let mut at = 1000;
    let message = connection.receive_plain(&mut bytes, &mut at, &mut Arena::default());
    assert!(connection.is_plain());
    let taken = at - 1000;
    assert_eq!(bytes[taken..], input[taken..], "what is not taken is as it was");
    let Some(message) = message else {
        assert_eq!(taken, 0);
        return None;
    };
    let mut ordinary = endpoint(Role::Server, limits);
    let mut bytes = input.to_vec();
    let mut rest = &mut bytes[..];
    assert_eq!(ordinary.receive(&mut rest), Ok(Some(Event::Message(message.clone()))));
    assert_eq!(rest.len(), input.len() - taken);
    Some((message, taken))
}

/// F-01, F-02, M-06, U-01
#[test]
fn a_whole_message_is_taken_and_nothing_behind_it() {
    let limits = Limits::default();
    for (first, len) in [0x81, 0x82]
        .into_iter()
        .flat_map(|first| (0..300).chain([1000, 4096, 16_384, 65_535]).map(move |len| (first, len)))
    {
        let text: String = "aé€😀".chars().cycle().take(len).collect();
        let payload = if first == 0x81 {
            let end = text.floor_char_boundary(len);
            format!("{}{}", &text[..end], "x".repeat(len - end)).into_bytes()
        } else {
            (0..len).map(|i| (i * 7) as u8).collect()
        };
        let mut wire = frame(Role::Server, first, &payload);
        let whole = wire.len();
        wire.extend(frame(Role::Server, 0x82, b"behind"));
        let (message, taken) = take(&limits, &wire).unwrap();
        assert_eq!(
            (message.as_bytes(), message.is_text(), taken),
            (&payload[..], first == 0x81, whole)
        );
        assert!(take(&limits, &wire[..whole]).is_some(), "nothing need be behind it");
        // Cut at every point that could matter.
        for at in (0..whole.min(20)).chain([whole / 2, whole - 1]) {
            assert_eq!(take(&limits, &wire[..at]), None, "{len} cut at {at}");
        }
    }
}

/// F-03, F-05, F-06, K-01, M-02, U-01
#[test]
fn everything_else_is_left_as_it_was() {
    let limits = Limits::default();
    let long = vec![b'x'; 65_536];
    for (first, payload) in [
        (0x01, &b"fragment"[..]),
        (0x00, b"fragment"),
        (0x80, b"last fragment"),
        (0x88, b"\x03\xe8"),
        (0x89, b"ping"),
        (0x8a, b"pong"),
        (0xc1, b"compressed"),
        (0x83, b"reserved"),
        (0x82, &long),
        (0x81, b"not \xff text"),
        (0x81, b"a cut character \xe2\x82"),
        (0x81, &[&long[..500], b"\x80"].concat()),
    ] {
        assert_eq!(take(&limits, &frame(Role::Server, first, payload)), None, "{first:#04x}");
    }
    // Without a mask, and a length that is not in its shortest form.
    assert_eq!(take(&limits, b"\x82\x05Hello and more"), None);
    assert_eq!(take(&limits, b"\x82\xfe\x00\x05\x00\x00\x00\x00Hello and more"), None);
    assert_eq!(
        take(&limits, b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00Hello"),
        None
    );
}

/// G-04
#[test]
fn a_message_past_a_limit_is_left() {
    for len in [0, 5, 125, 126, 1000] {
        for limits in
            [Limits::default().max_message(len), Limits::default().max_frame(len).max_message(5000)]
        {
            assert!(take(&limits, &frame(Role::Server, 0x82, &vec![1; len])).is_some());
            assert_eq!(take(&limits, &frame(Role::Server, 0x82, &vec![1; len + 1])), None);
        }
    }
}

/// F-01, F-02
#[test]
fn a_small_message_is_written_as_the_frame_that_it_always_is() {
    for message in (0..300)
        .chain([16_383])
        .map(|len| "x".repeat(len))
        .flat_map(|text| [Message::from(text.clone()), Message::from(text.into_bytes())])
    {
        let mut ordinary = server();
        ordinary.send(message.clone()).unwrap();
        let wire = drain(&mut ordinary);
        let mut space = vec![7; wire.len() + 10];
        assert_eq!(Connection::send_plain(&mut space, &message), Some(wire.len()), "{message:?}");
        assert_eq!(space, [&wire[..], &[7; 10]].concat());
        for room in 0..wire.len().min(20) {
            assert_eq!(Connection::send_plain(&mut space[..room], &message), None, "{message:?}");
        }
        assert_eq!(Connection::send_plain(&mut space[..wire.len() - 1], &message), None);
    }
    let mut space = vec![0; 100_000];
    assert_eq!(Connection::send_plain(&mut space, &Message::from(vec![0; 16_384])), None);
}

#[test]
fn what_was_not_written_becomes_the_next_output() {
    let mut space = [0; 100];
    assert_eq!(Connection::send_plain(&mut space, &"one".into()), Some(5));
    assert_eq!(Connection::send_plain(&mut space[5..], &"two".into()), Some(5));
    let mut connection = server();
    connection.adopt_output(&space[2..10], true);
    assert_eq!(connection.queued(), 8);
    assert!(!connection.is_plain());
    connection.send("three".into()).unwrap();
    assert_eq!(drain(&mut connection), b"one\x81\x03two\x81\x05three");
    assert!(connection.is_plain());
    connection.adopt_output(&[], false);
    assert!(connection.is_plain());
}

/// What one of them keeps alive is small, and neither is changed by those that come after.
#[test]
fn short_messages_share_an_allocation_and_nothing_else() {
    let connection = server();
    let mut arena = Arena::default();
    let mut kept = Vec::new();
    for n in 0..1000usize {
        let payload = vec![n as u8; n % 100];
        let mut bytes = frame(Role::Server, 0x82, &payload);
        let mut at = 0;
        let message = connection.receive_plain(&mut bytes, &mut at, &mut arena).unwrap();
        assert_eq!(at, bytes.len());
        kept.push((message, payload));
        if n % 3 == 0 {
            kept.pop();
        }
    }
    for (message, payload) in kept {
        assert_eq!(message.as_bytes(), payload);
    }
}

/// Something that happens to a connection.
type Change = fn(&mut Connection);

/// Whether the plain path is open after `change`, and is open before.
fn plain_after(change: impl FnOnce(&mut Connection)) -> bool {
    let mut connection = server();
    assert!(connection.is_plain());
    change(&mut connection);
    connection.is_plain()
}

#[test]
fn the_plain_path_is_open_only_while_nothing_else_is_under_way() {
    let role = Role::Server;
    let unlike: &[(&str, Change)] = &[
        ("half a header", |it| drop(feed(it, &frame(Role::Server, 0x82, b"x")[..1]))),
        ("half a payload", |it| drop(feed(it, &frame(Role::Server, 0x82, b"xyz")[..8]))),
        ("half a ping", |it| drop(feed(it, &frame(Role::Server, 0x89, b"xyz")[..8]))),
        ("an open message", |it| drop(feed(it, &frame(Role::Server, 0x02, b"x")))),
        ("a pong that is due", |it| drop(feed(it, &frame(Role::Server, 0x89, b"x")))),
        ("the peer's Close", |it| drop(feed(it, &frame(Role::Server, 0x88, b"")))),
        ("a violation", |it| drop(feed(it, &frame(Role::Server, 0x83, b"")))),
        ("stopped", Connection::stop_receiving),
        ("parts", |it| it.set_receiving(Receiving::Parts)),
        ("undecided", |it| it.set_receiving(Receiving::Undecided { read_ahead: 100 })),
        ("output", |it| it.send("x".into()).unwrap()),
        ("a large message", |it| it.send(vec![0; 20_000].into()).unwrap()),
        ("a ping", |it| it.ping(Bytes::new()).unwrap()),
        ("a message in parts", |it| it.start_message(MessageKind::Text).unwrap()),
        ("our Close", |it| assert!(it.close(CloseCode::NORMAL.into()))),
        ("our Close, written", |it| {
            it.close(CloseCode::NORMAL.into());
            drain(it);
        }),
    ];
    for (name, change) in unlike {
        assert!(!plain_after(change), "{name}");
    }
    assert!(plain_after(|it| {
        let wire = [(0x82, &b"x"[..]), (0x01, b"y"), (0x89, b"p"), (0x80, b"z")];
        feed(it, &frames(role, &wire));
        it.set_receiving(Receiving::Parts);
        it.set_receiving(Receiving::Messages);
        it.send(vec![0; 20_000].into()).unwrap();
        drain(it);
    }));
    assert!(!endpoint(Role::Client, &Limits::default()).is_plain());
    // Frames that may have to be cut.
    assert!(!endpoint(role, &Limits::default().max_send_frame(16_382)).is_plain());
    assert!(endpoint(role, &Limits::default().max_send_frame(16_383)).is_plain());
}

proptest! {
    /// Any bytes are taken as always, or left as they were.
    #[test]
    fn any_bytes_are_taken_as_always_or_left(
        bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(&b"\x81\x82\x80\x83\x85\xfe\x00"[..])],
            0..60,
        ),
        max_message in 0_usize..200,
    ) {
        take(&Limits::default().max_message(max_message), &bytes);
    }
}
