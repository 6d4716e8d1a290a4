//! Two ends that do whatever the bytes say, and what holds whatever that is.

use hybi::proto::{
    Bytes, CloseCode, Connection, Deflate, DeflateParameters, Event, Limits, Message, Receiving,
    Role,
};

use super::{
    extensions::negotiate,
    input::Input,
    wire::{Cut, Seen, feed, kind, masked},
};

/// A program for both ends: what one sends is what the other receives, in that order, whole or in parts,
/// however frames and the bytes on their way are cut.
pub fn connection(data: &[u8]) {
    let mut input = Input::new(data);
    let mut pair = Pair::new(&mut input, None);
    pair.run(&mut input);
}

/// The same with compression, in any setting that two ends can agree on; or, by the first byte, anything
/// at all as compressed frames: it is taken or refused alike however it is cut, and within the limits.
pub fn connection_deflate(data: &[u8]) {
    let mut input = Input::new(data);
    let raw = input.bit();
    let client = deflate(&mut input);
    let server = deflate(&mut input);
    let Some(agreed) = negotiate(&client, &server) else { return };
    if raw {
        inflate_anything(&agreed.1, input.bit(), input.rest());
    } else {
        let mut pair = Pair::new(&mut input, Some(agreed));
        pair.run(&mut input);
    }
}

fn deflate(input: &mut Input<'_>) -> Deflate {
    let (flags, bits) = (input.byte(), input.byte());
    Deflate::new()
        .server_context_takeover(flags & 1 != 0)
        .client_context_takeover(flags & 2 != 0)
        .threshold(if flags & 4 != 0 { 0 } else { 100 })
        .level(u32::from(flags >> 4 & 7).clamp(1, 6))
        .server_max_window_bits(9 + (bits & 15) % 7)
        .client_max_window_bits(9 + (bits >> 4) % 7)
}

/// A message limit that a bomb passes soon.
const LIMIT: usize = 50_000;

fn inflate_anything(agreed: &DeflateParameters, frames: bool, bytes: &[u8]) {
    let wire = if frames {
        // As the payloads of compressed messages, so that the inflater sees it all.
        bytes.chunks(100).flat_map(|piece| masked(0xc2, piece)).collect()
    } else {
        bytes.to_vec()
    };
    let limits = Limits::default().max_message(LIMIT);
    let run = |cut| {
        let mut server = Connection::server(&limits).with_deflate(agreed);
        feed(&mut server, &wire, cut)
    };
    let whole = run(Cut::Whole);
    for seen in &whole.seen {
        if let Seen::Message { payload, .. } = seen {
            assert!(payload.len() <= LIMIT);
        }
    }
    for cut in [Cut::Every(1), Cut::Every(7), Cut::Direct(64)] {
        let cut = run(cut);
        assert_eq!(cut.seen, whole.seen);
        // Which of two faults in one step of the inflater is found first may differ.
        assert_eq!(cut.violation.is_some(), whole.violation.is_some());
    }
}

/// One end, and what is on its way from it.
struct End {
    connection: Connection,
    flight: Vec<u8>,
    /// Takes the peer's messages in parts.
    in_parts: bool,
    did: Did,
    saw: Saw,
}

/// What an end did with success.
#[derive(Default)]
struct Did {
    messages: Vec<Message>,
    /// A message in parts that is not finished, and how much of the pattern it took.
    open: Option<(bool, Vec<u8>)>,
    pings: Vec<Bytes>,
    close: Option<u16>,
}

/// What an end was told.
#[derive(Default)]
struct Saw {
    messages: Vec<Message>,
    open: Option<(bool, Vec<u8>)>,
    pings: Vec<Bytes>,
    pongs: Vec<Bytes>,
    closes: Vec<u16>,
}

struct Pair {
    ends: [End; 2],
}

impl Pair {
    fn new(input: &mut Input<'_>, agreed: Option<(DeflateParameters, DeflateParameters)>) -> Self {
        let max_send_frame = match input.byte() {
            n @ 0..128 => usize::from(n) * 8 + 1,
            n @ 128..255 => usize::from(n) * 100,
            255 => usize::MAX,
        };
        let parts = input.byte();
        let limits = Limits::default().max_send_frame(max_send_frame).max_fragments(1 << 20);
        let end = |role, in_parts| {
            let connection = match role {
                Role::Server => Connection::server(&limits),
                Role::Client => Connection::client(&limits),
            };
            let mut connection = match &agreed {
                None => connection,
                Some((client, _)) if role == Role::Client => connection.with_deflate(client),
                Some((_, server)) => connection.with_deflate(server),
            };
            if in_parts {
                connection.set_receiving(Receiving::Parts);
            }
            let (did, saw) = (Did::default(), Saw::default());
            End { connection, flight: Vec::new(), in_parts, did, saw }
        };
        Self { ends: [end(Role::Client, parts & 1 != 0), end(Role::Server, parts & 2 != 0)] }
    }

    fn run(&mut self, input: &mut Input<'_>) {
        // As many as finish in a moment.
        for _ in 0..100 {
            if input.is_empty() {
                break;
            }
            let op = input.byte();
            let [a, b] = &mut self.ends;
            let (end, other) = if op & 1 == 0 { (a, b) } else { (b, a) };
            match op >> 1 & 7 {
                0 => end.send(input.bit(), input.len()),
                1 => end.ping(input.byte()),
                2 => end.close(input.u16()),
                3 => drop(end.write(input.len())),
                4 => drop(end.deliver(other, input.len())),
                5 => end.start(input.bit()),
                6 => end.part(input.len()),
                _ => end.finish(),
            }
        }
        self.settle();
        let [a, b] = &self.ends;
        check(a, b);
        check(b, a);
    }

    /// Moves everything until nothing moves.
    fn settle(&mut self) {
        let [a, b] = &mut self.ends;
        while a.write(usize::MAX)
            + b.write(usize::MAX)
            + a.deliver(b, usize::MAX)
            + b.deliver(a, usize::MAX)
            > 0
        {}
    }
}

/// Bytes that are text as a whole, with characters of every length.
const PATTERN: &str = "a\u{e9}\u{20ac}\u{1f600}";

/// `len` bytes of the pattern from the byte `from` on.
fn pattern(from: usize, len: usize) -> Vec<u8> {
    let from = from % PATTERN.len();
    let times = (from + len).div_ceil(PATTERN.len());
    PATTERN.repeat(times).as_bytes()[from..from + len].to_vec()
}

/// How many bytes of the pattern behind the first `len` end a character.
fn to_boundary(len: usize) -> usize {
    (0..4).find(|more| PATTERN.is_char_boundary((len + more) % PATTERN.len())).expect("one of four")
}

impl End {
    fn send(&mut self, text: bool, len: usize) {
        let message = message(text, pattern(0, len + if text { to_boundary(len) } else { 0 }));
        let possible = !self.connection.close_queued() && self.did.open.is_none();
        assert_eq!(self.connection.send(message.clone()).is_ok(), possible);
        if possible {
            self.did.messages.push(message);
        }
    }

    fn start(&mut self, text: bool) {
        let possible = !self.connection.close_queued() && self.did.open.is_none();
        assert_eq!(self.connection.start_message(kind(text)).is_ok(), possible);
        if possible {
            self.did.open = Some((text, Vec::new()));
        }
    }

    fn part(&mut self, len: usize) {
        let closed = self.connection.close_queued();
        match &mut self.did.open {
            Some((_, sent)) if !closed => {
                let part = pattern(sent.len(), len);
                self.connection.send_part(part.clone().into()).expect("it goes on the text");
                sent.extend(part);
            }
            _ => assert!(self.connection.send_part(Bytes::new()).is_err()),
        }
    }

    fn finish(&mut self) {
        if self.connection.close_queued() {
            assert!(self.connection.finish_message(Bytes::new()).is_err());
            return;
        }
        match self.did.open.take() {
            Some((text, mut sent)) => {
                let last = if text { pattern(sent.len(), to_boundary(sent.len())) } else { vec![] };
                self.connection.finish_message(last.clone().into()).expect("it ends the text");
                sent.extend(last);
                self.did.messages.push(message(text, sent));
            }
            None => assert!(self.connection.finish_message(Bytes::new()).is_err()),
        }
    }

    fn ping(&mut self, n: u8) {
        let payload = Bytes::from(vec![n; usize::from(n) % 126]);
        let possible = !self.connection.close_queued();
        assert_eq!(self.connection.ping(payload.clone()).is_ok(), possible);
        if possible {
            self.did.pings.push(payload);
        }
    }

    fn close(&mut self, code: u16) {
        let code = 3000 + code % 2000;
        let first = !self.connection.close_queued();
        let frame = CloseCode::new(code).expect("it may be sent").into();
        assert_eq!(self.connection.close(frame), first);
        if first {
            self.did.close = Some(code);
        }
    }

    /// Puts up to `n` bytes on their way.
    fn write(&mut self, n: usize) -> usize {
        let [first, second] = self.connection.output();
        let of_first = n.min(first.len());
        let of_second = (n - of_first).min(second.len());
        self.flight.extend_from_slice(&first[..of_first]);
        self.flight.extend_from_slice(&second[..of_second]);
        self.connection.advance(of_first + of_second);
        assert_eq!(self.connection.has_output(), self.connection.queued() > 0);
        of_first + of_second
    }

    /// Lets up to `n` bytes arrive at `to`, which answers a Close.
    fn deliver(&mut self, to: &mut Self, n: usize) -> usize {
        let n = n.min(self.flight.len());
        let mut bytes: Vec<u8> = self.flight.drain(..n).collect();
        let mut rest = &mut bytes[..];
        while let Some(event) = to.connection.receive(&mut rest).expect("an end keeps the protocol")
        {
            to.saw.add(event);
        }
        assert!(rest.is_empty());
        to.connection.answer_close();
        n
    }
}

fn message(text: bool, payload: Vec<u8>) -> Message {
    if text {
        Message::from(String::from_utf8(payload).expect("the pattern is text"))
    } else {
        Message::from(payload)
    }
}

impl Saw {
    fn add(&mut self, event: Event) {
        assert!(self.closes.is_empty(), "nothing follows a Close");
        match event {
            Event::Message(message) => self.messages.push(message),
            Event::Part { part, last } => {
                let (text, all) = self.open.get_or_insert_with(|| (part.is_text(), Vec::new()));
                assert_eq!(*text, part.is_text());
                all.extend(part.as_bytes());
                if last {
                    let (text, all) = self.open.take().expect("just put there");
                    self.messages.push(message(text, all));
                }
            }
            Event::Ping(payload) => self.pings.push(payload),
            Event::Pong(payload) => self.pongs.push(payload),
            Event::Close(frame) => self.closes.push(frame.status()),
        }
    }
}

/// What `to` must have seen once everything that `from` did has arrived.
fn check(from: &End, to: &End) {
    assert!(from.did.messages == to.saw.messages, "the same messages in the same order");
    if to.in_parts
        && let Some((text, part)) = &to.saw.open
    {
        let (sent_text, sent) = from.did.open.as_ref().expect("one that is not finished");
        assert!(text == sent_text && sent.starts_with(part));
    }
    assert_eq!(from.did.pings, to.saw.pings);
    let mut pings = from.did.pings.iter();
    for pong in &from.saw.pongs {
        assert!(pings.any(|ping| ping == pong), "at most a pong for each ping, in order");
    }
    let closes: Vec<_> = from.did.close.or(to.did.close).into_iter().collect();
    assert_eq!(closes, to.saw.closes, "one Close, or its answer");
}
