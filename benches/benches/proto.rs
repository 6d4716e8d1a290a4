//! The protocol by itself, without a socket: what one core does with bytes that are there.
//!
//! Receiving unmasks in place, so each round works on a fresh copy of its input, as a read from a
//! socket would bring it; that copy is part of the figures.

use std::{hint::black_box, time::Duration};

use benches::load::{Content, frame};
use bytes::BufMut;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hybi::proto::{Connection, Event, Limits, Message};

/// What one read brings at most.
const READ: usize = 66 * 1024;

/// A masking key; all sent frames have it, and the receiver does not mind.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Feeds `wire` to `connection` in reads, as the socket does, and gives each message to `take`.
fn receive(
    connection: &mut Connection,
    mut wire: &[u8],
    buffer: &mut [u8],
    mut take: impl FnMut(&mut Connection, Message),
) {
    while !wire.is_empty() {
        if let Some(mut space) = connection.payload_space() {
            let n = space.remaining_mut().min(wire.len()).min(READ);
            space.put_slice(&wire[..n]);
            wire = &wire[n..];
            if let Ok(Some(Event::Message(message))) = connection.payload_received(n) {
                take(connection, message);
            }
            continue;
        }
        let n = wire.len().min(buffer.len());
        let mut input = &mut buffer[..n];
        input.copy_from_slice(&wire[..n]);
        wire = &wire[n..];
        while let Some(event) = connection.receive(&mut input).expect("valid input") {
            if let Event::Message(message) = event {
                take(connection, message);
            }
        }
    }
}

/// Throws the output away and returns how much there was.
fn drain(connection: &mut Connection) -> usize {
    let mut written = 0;
    while connection.has_output() {
        let n = connection.output().iter().map(|part| black_box(part).len()).sum();
        connection.advance(n);
        written += n;
    }
    written
}

fn title(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size / 1024),
        _ => format!("{} MiB", size / 1_048_576),
    }
}

/// A server that echoes: `messages` of `size` bytes are there at once.
fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo");
    for (content, size, messages) in [
        (Content::Binary, 16, 1),
        (Content::Binary, 16, 32),
        (Content::Binary, 1 << 10, 1),
        (Content::Binary, 64 << 10, 1),
        (Content::Binary, 1 << 20, 1),
        (Content::Ascii, 1 << 10, 1),
        (Content::Utf8, 1 << 10, 1),
        (Content::Ascii, 64 << 10, 1),
        (Content::Utf8, 64 << 10, 1),
    ] {
        let (first, payload) = content.payload(size);
        let wire = frame(first, &payload, Some(KEY)).repeat(messages);
        let mut connection = Connection::server(&Limits::default());
        let mut buffer = vec![0; READ];
        group.throughput(Throughput::Bytes((size * messages) as u64));
        let id = BenchmarkId::new(format!("{content:?}"), format!("{} x {messages}", title(size)));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                receive(&mut connection, black_box(&wire), &mut buffer, |connection, message| {
                    connection.send(message).expect("no Close is queued");
                });
                let written = drain(&mut connection);
                assert!(written > size * messages, "headers and payloads");
            });
        });
    }
    group.finish();
}

/// A client that sends: the masking, with a new key for each message.
fn client_send(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("client send");
    for size in [16, 1 << 10, 64 << 10] {
        let (_, payload) = Content::Binary.payload(size);
        let message = Message::from(payload);
        let mut connection = Connection::client(&Limits::default());
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(title(size), |bencher| {
            bencher.iter(|| {
                connection.send(black_box(message.clone())).expect("no Close is queued");
                assert!(drain(&mut connection) > size, "a header and the payload");
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = echo, client_send
}
criterion_main!(benches);
