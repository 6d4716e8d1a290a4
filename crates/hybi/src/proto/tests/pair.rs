//! Two endpoints against each other over byte queues, without sockets and without time.

use crate::proto::{CloseFrame, Connection, Event, Limits, Message, Role};

use super::wire::{endpoint, feed};

/// One end, what it wrote that has not arrived, and what it was told.
pub(super) struct End {
    pub(super) connection: Connection,
    /// Bytes on their way to the other end.
    pub(super) flight: Vec<u8>,
    pub(super) events: Vec<Event>,
}

impl End {
    fn new(role: Role, limits: &Limits) -> Self {
        Self { connection: endpoint(role, limits), flight: Vec::new(), events: Vec::new() }
    }

    /// Puts up to `n` bytes of output on their way.
    pub(super) fn write(&mut self, n: usize) -> usize {
        let [first, second] = self.connection.output();
        let first_part = n.min(first.len());
        let second_part = (n - first_part).min(second.len());
        self.flight.extend_from_slice(&first[..first_part]);
        self.flight.extend_from_slice(&second[..second_part]);
        self.connection.advance(first_part + second_part);
        first_part + second_part
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Message(message) => Some(message.clone()),
                _ => None,
            })
            .collect()
    }

    pub(super) fn closes(&self) -> Vec<CloseFrame> {
        self.events
            .iter()
            .filter_map(|event| match event {
                Event::Close(frame) => Some(frame.clone()),
                _ => None,
            })
            .collect()
    }
}

/// Moves up to `n` bytes from one end to the other, which answers a Close.
pub(super) fn deliver(from: &mut End, to: &mut End, n: usize) -> usize {
    let n = n.min(from.flight.len());
    let bytes: Vec<u8> = from.flight.drain(..n).collect();
    let (events, violation) = feed(&mut to.connection, &bytes);
    assert_eq!(violation, None, "an endpoint keeps the protocol");
    to.events.extend(events);
    to.connection.answer_close();
    n
}

pub(super) struct Pair {
    pub(super) client: End,
    pub(super) server: End,
}

impl Pair {
    pub(super) fn new(limits: &Limits) -> Self {
        Self { client: End::new(Role::Client, limits), server: End::new(Role::Server, limits) }
    }

    /// Moves everything, up to `n` bytes at a time in each direction, until nothing moves.
    pub(super) fn settle(&mut self, n: usize) {
        let Self { client, server } = self;
        while client.write(n)
            + server.write(n)
            + deliver(client, server, n)
            + deliver(server, client, n)
            > 0
        {}
    }
}
