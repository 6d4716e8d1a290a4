//! What a Close says.

use std::str;

use hybi::proto::{CloseCode, CloseFrame, CloseReason, Connection, Limits};

use super::wire::{Cut, Seen, feed, masked, unmasked};

/// Any body of a Close is understood or refused as RFC 6455 sections 5.5.1 and 7.4 say, is answered with
/// its code, and what one end sends is what the other one receives.
pub fn close(data: &[u8]) {
    let body = &data[..data.len().min(125)];
    let mut server = Connection::server(&Limits::default());
    let outcome = feed(&mut server, &masked(0x88, body), Cut::Whole);
    let mut client = Connection::client(&Limits::default());
    assert_eq!(feed(&mut client, &unmasked(0x88, body), Cut::Every(1)), outcome);

    let valid = match body {
        [] => Some((None, "")),
        [_] => None,
        [a, b, reason @ ..] => {
            let code = CloseCode::new(u16::from_be_bytes([*a, *b])).ok();
            code.zip(str::from_utf8(reason).ok()).map(|(code, reason)| (Some(code), reason))
        }
    };
    let Some((code, reason)) = valid else {
        assert_eq!(outcome.seen, []);
        let violation = outcome.violation.expect("it may not be taken");
        // Which can be sent in turn.
        let frame = violation.close_frame();
        assert!(frame.reason().len() <= 123);
        round_trip(&frame);
        return;
    };
    let status = code.map_or(1005, CloseCode::as_u16);
    assert_eq!(outcome.seen, [Seen::Close(status, reason.to_owned())]);
    assert_eq!(outcome.violation, None);

    // The answer has the code and no reason. Only clients send 1010.
    assert!(server.answer_close());
    let answer = match code {
        None => vec![0x88, 0],
        Some(CloseCode::MANDATORY_EXTENSION) => unmasked(0x88, &1000u16.to_be_bytes()),
        Some(code) => unmasked(0x88, &code.as_u16().to_be_bytes()),
    };
    assert_eq!(server.output().concat(), answer);
    assert!(!server.answer_close(), "once");

    let reason = CloseReason::new(reason).expect("as long as it was on the wire");
    round_trip(&code.map_or_else(CloseFrame::empty, |code| CloseFrame::new(code, reason)));

    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(CloseReason::new(text).is_ok(), text.len() <= 123);
    }
}

/// What the client sends is what the server receives.
fn round_trip(frame: &CloseFrame) {
    let (mut server, mut client) =
        (Connection::server(&Limits::default()), Connection::client(&Limits::default()));
    assert!(client.close(frame.clone()));
    let wire = client.output().concat();
    let outcome = feed(&mut server, &wire, Cut::Whole);
    assert_eq!(outcome.seen, [Seen::Close(frame.status(), frame.reason().to_owned())]);
    assert_eq!(server.close_received(), Some(frame));
}
