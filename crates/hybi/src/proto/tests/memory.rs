//! What a peer can make an endpoint hold.

use bytes::{BufMut, Bytes, BytesMut};

use crate::proto::{Connection, Limits, Message, Receiving, Role};

use super::wire::{KEY, drain, endpoint, feed, frame, frames, parse};

fn long_header(opcode: u8, len: usize) -> Vec<u8> {
    let mut wire = vec![opcode, 0xff];
    wire.extend((len as u64).to_be_bytes());
    wire.extend(KEY);
    wire
}

/// F-05
#[test]
fn an_announced_length_reserves_next_to_nothing() {
    let limits = Limits::default().max_message(1 << 24).max_frame(1 << 24);
    for opcode in [0x81, 0x82] {
        let mut server = endpoint(Role::Server, &limits);
        feed(&mut server, &long_header(opcode, 1 << 24));
        assert_eq!(server.reserved(), 0);
        if let Some(space) = server.payload_space() {
            assert_eq!(opcode, 0x82, "text is read through `receive`");
            assert!(space.remaining_mut() <= 64 * 1024);
        }
        feed(&mut server, b"x");
        assert!(server.reserved() <= 64 * 1024, "{}", server.reserved());
    }
}

/// F-05
#[test]
fn memory_follows_what_was_received() {
    let limits = Limits::default().max_message(1 << 24).max_frame(1 << 24);
    for direct in [false, true] {
        for opcode in [0x81, 0x82] {
            let mut server = endpoint(Role::Server, &limits);
            feed(&mut server, &long_header(opcode, 1 << 24));
            let zeros = vec![KEY[0]; 3001];
            let mut received = 0;
            while received < 4 << 20 {
                match server.payload_space() {
                    Some(mut space) if direct => {
                        let n = space.remaining_mut().min(zeros.len());
                        space.put_slice(&zeros[..n]);
                        received += n;
                        assert_eq!(server.payload_received(n), Ok(None));
                    }
                    _ => {
                        // Valid UTF-8 whatever the mask makes of it.
                        let piece: Vec<u8> =
                            (0..zeros.len()).map(|i| KEY[(received + i) % 4]).collect();
                        assert_eq!(feed(&mut server, &piece), (vec![], None));
                        received += piece.len();
                    }
                }
                let bound = 2 * received + 32 * 1024;
                assert!(server.reserved() <= bound, "{} for {received}", server.reserved());
            }
        }
    }
}

/// In one frame, and in several: the last ends where its length says.
#[test]
fn a_message_gets_no_memory_beyond_its_end() {
    for opcode in [0x81, 0x82] {
        for (before, len) in [(0, 100_000), (40_000, 70_000), (60_000, 3000)] {
            let mut wire = frame(Role::Server, opcode & 0x0f, &vec![b'x'; before]);
            wire.extend(frame(Role::Server, 0x80, &vec![b'x'; len]));
            if before == 0 {
                wire = frame(Role::Server, opcode, &vec![b'x'; len]);
            }
            let mut server = endpoint(Role::Server, &Limits::default());
            let split = wire.len() - 1;
            wire[..split].chunks(4096).for_each(|piece| drop(feed(&mut server, piece)));
            let bound = (before + len).max(before.next_power_of_two());
            assert!(server.reserved() <= bound, "{} for {bound}", server.reserved());
            assert_eq!(feed(&mut server, &wire[split..]).0.len(), 1);
        }
    }
}

/// However many frames a message has, it is copied a few times at most.
#[test]
fn the_memory_of_a_message_of_many_frames_grows_in_few_steps() {
    for receiving in [Receiving::Messages, Receiving::Undecided { read_ahead: 1 << 20 }] {
        let mut server = endpoint(Role::Server, &Limits::default());
        server.set_receiving(receiving);
        feed(&mut server, &frame(Role::Server, 0x02, b"x"));
        let (mut steps, mut reserved) = (0, server.reserved());
        for _ in 0..100 {
            let more: Vec<u8> = frame(Role::Server, 0x00, &[b'x'; 10]).repeat(10);
            feed(&mut server, &more);
            steps += u32::from(server.reserved() != reserved);
            reserved = server.reserved();
        }
        assert!(steps <= 14, "{steps} steps to {reserved}");
    }
}

#[test]
fn nothing_is_kept_of_a_message_that_is_complete_or_given_up() {
    for opcode in [0x81, 0x82] {
        let wire = frame(Role::Server, opcode, &[b'x'; 5000]);
        let mut server = endpoint(Role::Server, &Limits::default());
        feed(&mut server, &wire[..2000]);
        assert!(server.reserved() > 0);
        feed(&mut server, &wire[2000..]);
        assert_eq!(server.reserved(), 0);
        feed(&mut server, &wire[..2000]);
        server.stop_receiving();
        assert_eq!(server.reserved(), 0);
    }
}

/// However input was cut: what was kept for the rest of it goes with the event that it makes whole.
#[test]
fn nothing_is_kept_between_messages() {
    let long = vec![b'x'; 20_000];
    for first in [0x01, 0x02] {
        let messages: [&[(u8, &[u8])]; 5] = [
            &[(first | 0x80, b"short")],
            &[(first | 0x80, &long)],
            &[(first, b"a"), (0x89, b"ping"), (0x00, b""), (0x80, b"b")],
            &[(0x89, b"ping")],
            &[(first, b""), (0x80, b"")],
        ];
        for message in messages {
            let wire = frames(Role::Server, message);
            for receiving in [
                Receiving::Messages,
                Receiving::Parts,
                Receiving::Undecided { read_ahead: 1 << 20 },
            ] {
                for cut in [1, 2, 7, 1000, usize::MAX] {
                    let mut server = endpoint(Role::Server, &Limits::default());
                    server.set_receiving(receiving);
                    for piece in wire.chunks(cut.min(wire.len())) {
                        feed(&mut server, piece);
                    }
                    assert!(server.is_settled() && server.reserved() == 0, "{message:02x?} {cut}");
                }
            }
        }
        let mut server = endpoint(Role::Server, &Limits::default());
        let wire = frame(Role::Server, first | 0x80, &long);
        feed(&mut server, &wire[..100]);
        assert!(!server.is_settled());
        let mut rest = &wire[100..];
        while let Some(mut space) = server.payload_space() {
            let n = space.remaining_mut().min(rest.len());
            space.put_slice(&rest[..n]);
            rest = &rest[n..];
            server.payload_received(n).unwrap();
        }
        feed(&mut server, rest);
        assert!(server.is_settled() && server.reserved() == 0);
    }
}

/// A whole message in few bytes must not pin much more.
#[test]
fn a_message_is_not_much_larger_than_its_payload() {
    let wire = frame(Role::Server, 0x82, &[1; 300]);
    let mut server = endpoint(Role::Server, &Limits::default());
    feed(&mut server, &wire[..50]);
    assert!(server.reserved() <= 300, "{}", server.reserved());
}

/// K-03: 10^5 pings to a writer that is blocked.
#[test]
fn a_flood_of_pings_needs_no_memory_and_the_newest_is_answered() {
    for role in [Role::Server, Role::Client] {
        let mut connection = endpoint(role, &Limits::default());
        for i in 0..100_000u32 {
            feed(&mut connection, &frame(role, 0x89, format!("{i:0100}").as_bytes()));
            assert!(connection.queued() <= 17 * 1024);
        }
        let pongs = parse(&drain(&mut connection));
        assert!(pongs.iter().all(|pong| pong.first == 0x8a));
        assert_eq!(pongs.last().unwrap().payload, format!("{:0100}", 99_999).into_bytes());
    }
}

/// K-03
#[test]
fn pongs_behind_a_large_message_are_one() {
    let mut server = endpoint(Role::Server, &Limits::default());
    server.send(Message::from(vec![0; 100_000])).unwrap();
    let queued = server.queued();
    for i in 0..1000u32 {
        feed(&mut server, &frame(Role::Server, 0x89, &i.to_be_bytes()));
        assert_eq!(server.queued(), queued + 6);
    }
    let frames = parse(&drain(&mut server));
    let pongs: Vec<_> = frames.iter().filter(|frame| frame.first == 0x8a).collect();
    assert_eq!(pongs.len(), 1);
    assert_eq!(pongs[0].payload, 999u32.to_be_bytes());
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let mut server = endpoint(Role::Server, &Limits::default());
    assert_eq!(server.take_buffer(), None);
    server.send(Message::from("x")).unwrap();
    assert_eq!(server.take_buffer(), None, "not while there is something in it");
    drain(&mut server);
    let mut buffer = server.take_buffer().unwrap();
    assert_eq!(server.take_buffer(), None);
    buffer.put_slice(b"stale");
    server.give_buffer(buffer);
    server.send(Message::from("y")).unwrap();
    server.give_buffer(BytesMut::from(&b"more"[..]));
    assert_eq!(drain(&mut server), b"\x81\x01y", "a second buffer takes nothing away");
}

#[test]
fn an_output_buffer_that_was_written_has_its_capacity_again() {
    let mut server = endpoint(Role::Server, &Limits::default());
    server.give_buffer(BytesMut::with_capacity(1000));
    server.send(Message::from(vec![1; 900])).unwrap();
    drain(&mut server);
    assert_eq!(server.take_buffer().unwrap().capacity(), 1000);
}

/// What is written little by little does not make the buffer grow with what follows: neither with the next
/// frame, nor with the next piece that a client masks.
#[test]
fn a_slow_transport_does_not_make_the_output_buffer_grow() {
    for role in [Role::Server, Role::Client] {
        for (limits, bound) in
            [(Limits::default().max_send_frame(20_000), 2 * 20_000), (Limits::default(), 66 * 1024)]
        {
            let mut connection = endpoint(role, &limits);
            connection.send(Message::from(vec![0; 1_000_000])).unwrap();
            while connection.has_output() {
                let [first, second] = connection.output();
                assert!(first.len() <= bound, "{role:?} {}", first.len());
                let n = (first.len() + second.len()).min(8000);
                connection.advance(n);
            }
            let capacity = connection.take_buffer().unwrap().capacity();
            assert!(capacity <= bound, "{role:?} {capacity}");
        }
    }
}

/// M-01: a client masks a copy, and never copies much at a time.
#[test]
fn a_client_holds_no_second_copy_of_a_large_message() {
    let payload = Bytes::from(vec![1; 10_000_000]);
    let mut client = endpoint(Role::Client, &Limits::default());
    client.send("before".into()).unwrap();
    client.send(payload.clone().into()).unwrap();
    while client.has_output() {
        assert!(!payload.is_unique());
        let [first, second] = client.output();
        assert!(first.len() <= 65 * 1024 && second.is_empty());
        let n = first.len();
        client.advance(n);
    }
    assert!(payload.is_unique());
    assert!(client.take_buffer().unwrap().capacity() <= 130 * 1024);
}

/// What most connections need only now and then is not in them.
#[test]
fn a_connection_is_small() {
    let size = size_of::<Connection>();
    assert!(size <= 144, "{size}");
}

#[test]
fn what_was_written_is_let_go() {
    let mut server = endpoint(Role::Server, &Limits::default());
    let payload = Bytes::from(vec![1; 50_000]);
    server.send(payload.clone().into()).unwrap();
    assert!(!payload.is_unique());
    drain(&mut server);
    assert!(payload.is_unique());
}
