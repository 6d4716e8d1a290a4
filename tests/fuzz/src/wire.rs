//! Bytes in, and what a connection makes of them, however they are cut.

use hybi::proto::{Bytes, Connection, Event, MessageKind, Violation};

/// What happened, in a form that does not depend on how the input was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A whole message, or as much of one as there is.
    Message {
        text: bool,
        payload: Vec<u8>,
        whole: bool,
    },
    Ping(Bytes),
    Pong(Bytes),
    Close(u16, String),
}

/// All that a connection was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) seen: Vec<Seen>,
    pub(crate) violation: Option<Violation>,
}

impl Outcome {
    fn add(&mut self, event: Result<Option<Event>, Violation>) -> bool {
        match event {
            Ok(None) => return false,
            Err(violation) => {
                assert!(self.violation.replace(violation).is_none(), "a violation is final");
            }
            Ok(Some(Event::Message(message))) => {
                let (text, payload) = (message.is_text(), message.as_bytes().to_vec());
                if text {
                    std::str::from_utf8(&payload).expect("text is UTF-8");
                }
                self.seen.push(Seen::Message { text, payload, whole: true });
            }
            Ok(Some(Event::Part { part, last })) => self.add_part(&part, last),
            Ok(Some(Event::Ping(payload))) => self.seen.push(Seen::Ping(payload)),
            Ok(Some(Event::Pong(payload))) => self.seen.push(Seen::Pong(payload)),
            Ok(Some(Event::Close(frame))) => {
                self.seen.push(Seen::Close(frame.status(), frame.reason().to_owned()));
            }
        }
        true
    }

    /// Parts are put together where they lie side by side.
    fn add_part(&mut self, part: &hybi::proto::Message, last: bool) {
        assert!(last || !part.is_empty(), "only the last part may be empty");
        if let Some(Seen::Message { text, payload, whole: whole @ false }) = self.seen.last_mut() {
            assert_eq!(*text, part.is_text(), "the parts of a message are of its kind");
            payload.extend(part.as_bytes());
            *whole = last;
        } else {
            let (text, payload) = (part.is_text(), part.as_bytes().to_vec());
            self.seen.push(Seen::Message { text, payload, whole: last });
        }
    }

    /// Puts each message together where it ends. One that does not end is left out: how much there is
    /// of it depends on how the input was cut.
    pub(crate) fn joined(self) -> Self {
        let mut open = Vec::new();
        let mut joined = Vec::new();
        for seen in self.seen {
            match seen {
                Seen::Message { text, payload, whole } => {
                    open.extend(payload);
                    if whole {
                        joined.push(Seen::Message {
                            text,
                            payload: std::mem::take(&mut open),
                            whole,
                        });
                    }
                }
                other => joined.push(other),
            }
        }
        Self { seen: joined, violation: self.violation }
    }
}

/// How input is cut.
#[derive(Clone, Copy)]
pub(crate) enum Cut {
    Whole,
    /// Into pieces of this many bytes.
    Every(usize),
    /// Read directly into the space that the connection gives, where it gives any; else as `Every`.
    Direct(usize),
}

pub(crate) fn feed(connection: &mut Connection, bytes: &[u8], cut: Cut) -> Outcome {
    let mut outcome = Outcome::default();
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    while !rest.is_empty() {
        let step = match cut {
            Cut::Whole => rest.len(),
            Cut::Every(n) => n.clamp(1, rest.len()),
            Cut::Direct(n) => {
                let n = n.clamp(1, rest.len());
                if let Some(mut space) = connection.payload_space() {
                    use bytes::BufMut;
                    let n = n.min(space.remaining_mut());
                    let (piece, after) = std::mem::take(&mut rest).split_at_mut(n);
                    space.put_slice(piece);
                    outcome.add(connection.payload_received(n));
                    rest = after;
                    continue;
                }
                n
            }
        };
        let (piece, after) = std::mem::take(&mut rest).split_at_mut(step);
        let mut piece = piece;
        while outcome.add(connection.receive(&mut piece)) {}
        assert!(piece.is_empty(), "nothing is left without a decision to wait for");
        rest = after;
    }
    outcome
}

/// One frame as a client writes it.
pub(crate) fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = header(first, payload.len(), 0x80);
    frame.extend(key);
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// One frame as a server writes it.
pub(crate) fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len(), 0);
    frame.extend(payload);
    frame
}

fn header(first: u8, len: usize, mask: u8) -> Vec<u8> {
    let mut header = vec![first];
    match len {
        0..=125 => header.push(mask | len as u8),
        126..=0xffff => {
            header.push(mask | 126);
            header.extend((len as u16).to_be_bytes());
        }
        _ => {
            header.push(mask | 127);
            header.extend((len as u64).to_be_bytes());
        }
    }
    header
}

pub(crate) fn kind(text: bool) -> MessageKind {
    if text { MessageKind::Text } else { MessageKind::Binary }
}
