//! What extensions are asked for, and what is agreed on.

use http::{HeaderValue, Request, Version, request::Parts};
use hybi::{
    handshake::{ExtensionOffer, HandshakeLimits, ServerHandshake},
    proto::{Deflate, DeflateParameters},
};

use super::input::Input;

/// Any lines of `Sec-WebSocket-Extensions` are refused or read, and what was read reads the same when
/// it is printed. What the server makes of it asks for nothing that was not offered, and whatever two
/// ends want of compression, they agree on the same.
pub fn extensions(data: &[u8]) {
    let mut input = Input::new(data);
    let server = settings(&mut input);
    let client = settings(&mut input);
    if let Some((at_client, at_server)) = negotiate(&client, &server) {
        let agreed = |it: &DeflateParameters| {
            (
                it.server_no_context_takeover(),
                it.server_max_window_bits(),
                // A client may do more than was asked.
                it.client_max_window_bits(),
            )
        };
        assert_eq!(agreed(&at_client).0, agreed(&at_server).0);
        assert_eq!(agreed(&at_client).1, agreed(&at_server).1);
        assert!(agreed(&at_client).2 <= agreed(&at_server).2);
        assert!(
            at_client.client_no_context_takeover() || !at_server.client_no_context_takeover(),
            "the client keeps what the server has no window for"
        );
    }

    let lines: Vec<_> = input.rest().split(|&byte| byte == b'\n').collect();
    let Some(offers) = parse(&lines) else { return };
    let printed = print(&offers);
    let again = parse(&printed.iter().map(|line| line.as_bytes()).collect::<Vec<_>>());
    assert_eq!(print(&again.expect("what was printed is read")), printed);

    let Some(agreed) = server.accept(&offers) else { return };
    let answer = agreed.header_value();
    let [answer] = &parse(&[answer.as_bytes()]).expect("the answer is in due form")[..] else {
        panic!("one extension is accepted")
    };
    assert_eq!(answer.name(), "permessage-deflate");
    // One of the offers grants what is answered.
    let value = |offer: &ExtensionOffer, name: &str| {
        let mut parameters = offer.parameters().iter();
        parameters.find(|it| it.name() == name).map(|it| it.value().map(str::to_owned))
    };
    let bits = |value: Option<Option<String>>| {
        value.map(|bits| bits.map_or(15, |bits| bits.parse::<u8>().expect("a number")))
    };
    let grants = |offer: &ExtensionOffer| {
        let offered = |name| value(offer, name);
        let answered = |name| value(answer, name);
        let server_bits = bits(answered("server_max_window_bits")).unwrap_or(15);
        offer.name() == "permessage-deflate"
            && (offered("server_no_context_takeover").is_none()
                || answered("server_no_context_takeover").is_some())
            && offered("server_max_window_bits")
                .is_none_or(|offer| bits(Some(offer)).is_some_and(|offer| server_bits <= offer))
            && answered("client_max_window_bits")
                .is_none_or(|_| offered("client_max_window_bits").is_some())
    };
    // An offer that is not in due form has no numbers to be looked at.
    let is_plain = |offer: &&ExtensionOffer| {
        offer.parameters().iter().all(|it| it.value().is_none_or(|it| it.parse::<u8>().is_ok()))
    };
    assert!(offers.iter().filter(is_plain).any(grants), "{printed:?} {answer}");
}

fn settings(input: &mut Input<'_>) -> Deflate {
    let (flags, bits) = (input.byte(), input.byte());
    Deflate::new()
        .server_context_takeover(flags & 1 != 0)
        .client_context_takeover(flags & 2 != 0)
        .server_max_window_bits(9 + (bits & 15) % 7)
        .client_max_window_bits(9 + (bits >> 4) % 7)
}

/// What holds at the client and at the server; `None` when the server declines.
pub(crate) fn negotiate(
    client: &Deflate,
    server: &Deflate,
) -> Option<(DeflateParameters, DeflateParameters)> {
    let offer = client.offer().to_string();
    let offers = parse(&[offer.as_bytes()]).expect("our offer is in due form");
    let at_server = server.accept(&offers)?;
    let answer = at_server.header_value();
    let answer = parse(&[answer.as_bytes()]).expect("our answer is in due form");
    let at_client = client.check(&answer).expect("our answer is one to our offer");
    Some((at_client.expect("it was accepted"), at_server))
}

fn print(offers: &[ExtensionOffer]) -> Vec<String> {
    offers.iter().map(ToString::to_string).collect()
}

/// `None` when they are refused.
fn parse(lines: &[&[u8]]) -> Option<Vec<ExtensionOffer>> {
    let mut request = Request::get("/")
        .version(Version::HTTP_11)
        .header("host", "example.com")
        .header("upgrade", "websocket")
        .header("connection", "Upgrade")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-version", "13");
    for line in lines {
        request = request.header("sec-websocket-extensions", HeaderValue::from_bytes(line).ok()?);
    }
    let (parts, ()): (Parts, ()) = request.body(()).expect("in due form").into_parts();
    let handshake = ServerHandshake::parse(&parts, None, &HandshakeLimits::new()).ok()?;
    Some(handshake.extensions().to_vec())
}
