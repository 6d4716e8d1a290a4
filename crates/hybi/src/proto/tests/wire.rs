//! Bytes as they are on the wire: written by hand, and read by a second, naive parser.

use crate::proto::{Connection, Event, Limits, Role, Violation};

/// The masking key of frames written by hand.
pub(super) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame of the peer of `role`: masked if a server receives it.
pub(super) fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = if role == Role::Server { 0x80 } else { 0 };
    let mut wire = vec![first];
    match payload.len() {
        n @ 0..=125 => wire.push(mask | n as u8),
        n @ 126..=0xffff => {
            wire.push(mask | 126);
            wire.extend((n as u16).to_be_bytes());
        }
        n => {
            wire.push(mask | 127);
            wire.extend((n as u64).to_be_bytes());
        }
    }
    if role == Role::Server {
        wire.extend(KEY);
        wire.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    } else {
        wire.extend(payload);
    }
    wire
}

/// Several frames in a row.
pub(super) fn frames(role: Role, frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(role, *first, payload)).collect()
}

/// A frame as the naive parser found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first: u8,
    pub(super) key: Option<[u8; 4]>,
    pub(super) payload: Vec<u8>,
}

/// Reads whole frames and panics on anything else.
pub(super) fn parse(mut wire: &[u8]) -> Vec<Seen> {
    fn take<'a>(wire: &mut &'a [u8], n: usize) -> &'a [u8] {
        let (front, rest) = wire.split_at(n);
        *wire = rest;
        front
    }
    let mut seen = Vec::new();
    while !wire.is_empty() {
        let head = take(&mut wire, 2);
        let length = match head[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes(take(&mut wire, 2).try_into().unwrap())),
            127 => u64::from_be_bytes(take(&mut wire, 8).try_into().unwrap()),
            short => u64::from(short),
        };
        let key = (head[1] & 0x80 != 0).then(|| <[u8; 4]>::try_from(take(&mut wire, 4)).unwrap());
        let mut payload = take(&mut wire, usize::try_from(length).unwrap()).to_vec();
        for (i, byte) in payload.iter_mut().enumerate() {
            *byte ^= key.unwrap_or_default()[i % 4];
        }
        seen.push(Seen { first: head[0], key, payload });
    }
    seen
}

/// An endpoint of either role.
pub(super) fn endpoint(role: Role, limits: &Limits) -> Connection {
    match role {
        Role::Server => Connection::server(limits),
        Role::Client => Connection::client(limits),
    }
}

/// Everything an endpoint has to write.
pub(super) fn drain(connection: &mut Connection) -> Vec<u8> {
    let mut wire = Vec::new();
    while connection.has_output() {
        let [first, second] = connection.output();
        let n = first.len() + second.len();
        wire.extend_from_slice(first);
        wire.extend_from_slice(second);
        connection.advance(n);
        assert!(n > 0 || connection.output_failed(), "what is queued is written");
    }
    assert_eq!(connection.queued(), 0);
    assert_eq!(connection.output(), [&[][..], &[]]);
    wire
}

/// What came of some input: the events, and the violation that ended it if one did.
pub(super) type Outcome = (Vec<Event>, Option<Violation>);

/// Feeds bytes as one piece.
pub(super) fn feed(connection: &mut Connection, bytes: &[u8]) -> Outcome {
    let mut bytes = bytes.to_vec();
    let mut input = &mut bytes[..];
    let mut events = Vec::new();
    loop {
        match connection.receive(&mut input) {
            Ok(Some(event)) => events.push(event),
            Ok(None) => {
                assert!(input.is_empty(), "`None` means that the input is used up");
                return (events, None);
            }
            Err(violation) => {
                assert_eq!(connection.receive(&mut input), Ok(None), "a violation is final");
                assert!(input.is_empty(), "and the rest is discarded");
                return (events, Some(violation));
            }
        }
    }
}

/// Feeds a piece through `payload_space` as far as there is any, else through `receive`.
fn feed_directly(connection: &mut Connection, mut bytes: &[u8]) -> Outcome {
    use bytes::BufMut;
    let mut events = Vec::new();
    while !bytes.is_empty() {
        if let Some(mut space) = connection.payload_space() {
            let n = space.remaining_mut().min(bytes.len());
            assert!(n > 0);
            space.put_slice(&bytes[..n]);
            bytes = &bytes[n..];
            match connection.payload_received(n) {
                Ok(event) => events.extend(event),
                Err(violation) => return (events, Some(violation)),
            }
        } else {
            // So little at a time that the next payload is met in its middle.
            let n = bytes.len().min(100);
            let (more, violation) = feed(connection, &bytes[..n]);
            events.extend(more);
            if violation.is_some() {
                return (events, violation);
            }
            bytes = &bytes[n..];
        }
    }
    (events, None)
}

/// Feeds the pieces one after the other to a new endpoint.
fn feed_pieces<'a>(
    role: Role,
    limits: &Limits,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Outcome {
    let mut connection = endpoint(role, limits);
    let mut all = Vec::new();
    for piece in pieces {
        let (events, violation) = feed(&mut connection, piece);
        all.extend(events);
        if violation.is_some() {
            return (all, violation);
        }
    }
    (all, None)
}

/// Feeds bytes to a new endpoint in every way: whole, one byte at a time, cut in two at every point, and
/// read directly into the payload. All must come to the same.
pub(super) fn feed_every_way(role: Role, limits: &Limits, bytes: &[u8]) -> Outcome {
    let whole = feed_pieces(role, limits, [bytes]);
    assert_eq!(feed_pieces(role, limits, bytes.chunks(1)), whole, "one byte at a time");
    assert_eq!(feed_directly(&mut endpoint(role, limits), bytes), whole, "directly");
    // Long payloads are alike in their middle.
    let cuts = (0..bytes.len()).filter(|&at| at < 300 || at + 300 > bytes.len());
    for at in cuts {
        let pieces = [&bytes[..at], &[], &bytes[at..]];
        assert_eq!(feed_pieces(role, limits, pieces), whole, "cut at {at}");
    }
    whole
}
