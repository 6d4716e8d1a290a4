//! Any bytes, as one end of a connection takes them.

use std::str;

use hybi::proto::{Bytes, CloseCode, Connection, Limits, Receiving, Role};

use super::{
    input::Input,
    wire::{Cut, Seen, feed},
};

/// The longest that what a peer can queue by itself gets: pongs behind 16 KiB, and one more.
const PONGS: usize = 16 * 1024 + 2 * (125 + 6);

/// Any bytes at either end, within the default limits or narrow ones: the same happens however they are
/// cut and whether messages are taken whole or in parts, it is what a slow and simple reading of the RFC
/// says, and what is queued and kept stays bounded.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let role = if input.bit() { Role::Client } else { Role::Server };
    let narrow = input.bit();
    let step = usize::from(input.byte()).max(2);
    let bytes = input.rest();
    // Byte by byte a long input would cost more than it could show.
    let fine = if bytes.len() < 1024 { 1 } else { 50 };
    let limits = if narrow {
        Limits::default().max_message(1000).max_frame(400).max_fragments(4)
    } else {
        Limits::default()
    };

    let run = |receiving, cut| {
        let mut connection = match role {
            Role::Server => Connection::server(&limits),
            Role::Client => Connection::client(&limits),
        };
        connection.set_receiving(receiving);
        let outcome = feed(&mut connection, bytes, cut);
        assert!(connection.queued() <= PONGS);
        let [head, body] = connection.output();
        assert!(head.len() + body.len() <= PONGS);
        outcome
    };

    let whole = run(Receiving::Messages, Cut::Whole);
    for cut in [Cut::Every(fine), Cut::Every(step), Cut::Direct(step)] {
        assert_eq!(run(Receiving::Messages, cut), whole);
    }
    let model = Model::read(role, &limits, bytes);
    assert_eq!(model.seen, whole.seen);
    match model.end {
        ModelEnd::Violation => assert!(whole.violation.is_some(), "a violation goes unseen"),
        // It may be found before the frame is complete.
        ModelEnd::MidFrame => {}
        ModelEnd::BetweenFrames => assert_eq!(whole.violation, None),
    }

    let parts = run(Receiving::Parts, Cut::Whole);
    for cut in [Cut::Every(fine), Cut::Every(step)] {
        let cut = run(Receiving::Parts, cut);
        assert_eq!(cut.violation, parts.violation);
        assert_eq!(cut.joined(), parts.clone().joined());
    }
    // The limits on whole messages do not hold for parts. Where none was met, they say the same.
    if whole.violation == parts.violation {
        assert_eq!(parts.joined(), whole);
    }
}

enum ModelEnd {
    Violation,
    MidFrame,
    BetweenFrames,
}

/// A reading of RFC 6455 section 5 that sees all of the input at once and cares for nothing but being
/// right.
struct Model {
    seen: Vec<Seen>,
    end: ModelEnd,
}

impl Model {
    fn read(role: Role, limits: &Limits, mut bytes: &[u8]) -> Self {
        let mut model = Self { seen: Vec::new(), end: ModelEnd::BetweenFrames };
        let mut message: Option<(bool, Vec<u8>, usize)> = None;
        while !bytes.is_empty() {
            model.end = match model.frame(role, limits, &mut message, &mut bytes) {
                Ok(true) => ModelEnd::BetweenFrames,
                // The peer's Close: what follows is nobody's.
                Ok(false) => return Self { end: ModelEnd::BetweenFrames, ..model },
                Err(end) => return Self { end, ..model },
            };
        }
        model
    }

    /// Takes one frame. False: nothing comes behind it.
    fn frame(
        &mut self,
        role: Role,
        limits: &Limits,
        message: &mut Option<(bool, Vec<u8>, usize)>,
        bytes: &mut &[u8],
    ) -> Result<bool, ModelEnd> {
        let first = take(bytes, 1)?[0];
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        let control = opcode >= 8;
        let fits = match opcode {
            0 => message.is_some(),
            1 | 2 => message.is_none(),
            8..=10 => fin,
            _ => false,
        };
        if first & 0x70 != 0 || !fits {
            return Err(ModelEnd::Violation);
        }
        let second = take(bytes, 1)?[0];
        let masked = second & 0x80 != 0;
        if masked != (role == Role::Server) || (control && second & 0x7f > 125) {
            return Err(ModelEnd::Violation);
        }
        let (len, least) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(array(take(bytes, 2)?))), 126),
            127 => (u64::from_be_bytes(array(take(bytes, 8)?)), 0x1_0000),
            len => (u64::from(len), 0),
        };
        if len < least || len >> 63 != 0 {
            return Err(ModelEnd::Violation);
        }
        if !control {
            let (held, frames) = message.as_ref().map_or((0, 0), |(_, held, n)| (held.len(), *n));
            if len > limits.get_max_frame() as u64
                || len + held as u64 > limits.get_max_message() as u64
                || frames + 1 > limits.get_max_fragments()
            {
                return Err(ModelEnd::Violation);
            }
        }
        let key: [u8; 4] = if masked { array(take(bytes, 4)?) } else { [0; 4] };
        let payload = take(bytes, usize::try_from(len).map_err(|_| ModelEnd::MidFrame)?)?;
        let payload: Vec<_> =
            payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        match opcode {
            8 => self.close(&payload).map(|()| false),
            9 => Ok(self.push(Seen::Ping(Bytes::from(payload)))),
            10 => Ok(self.push(Seen::Pong(Bytes::from(payload)))),
            _ => {
                let (text, held, frames) =
                    message.get_or_insert_with(|| (opcode == 1, Vec::new(), 0));
                held.extend(payload);
                *frames += 1;
                let valid = match str::from_utf8(held) {
                    Ok(_) => true,
                    Err(error) => !fin && error.error_len().is_none(),
                };
                if *text && !valid {
                    return Err(ModelEnd::Violation);
                }
                if fin {
                    let (text, payload, _) = message.take().expect("it is there");
                    self.push(Seen::Message { text, payload, whole: true });
                }
                Ok(true)
            }
        }
    }

    fn push(&mut self, seen: Seen) -> bool {
        self.seen.push(seen);
        true
    }

    fn close(&mut self, body: &[u8]) -> Result<(), ModelEnd> {
        let close = match body {
            [] => Some((1005, "")),
            [_] => None,
            [a, b, reason @ ..] => {
                let code = u16::from_be_bytes([*a, *b]);
                let reason = str::from_utf8(reason).ok();
                reason.filter(|_| CloseCode::new(code).is_ok()).map(|reason| (code, reason))
            }
        };
        let (code, reason) = close.ok_or(ModelEnd::Violation)?;
        self.push(Seen::Close(code, reason.to_owned()));
        Ok(())
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Result<&'a [u8], ModelEnd> {
    let (taken, rest) = bytes.split_at_checked(n).ok_or(ModelEnd::MidFrame)?;
    *bytes = rest;
    Ok(taken)
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("as many as were taken")
}
