//! Handshakes of a stand-alone server, against a client that writes bytes.

mod support;

use std::{error::Error, future::pending, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header};
use hybi::{
    handshake::{HandshakeLimits, Refusal, Subprotocol},
    proto::{CloseCode, CloseFrame, CloseReason, Limits},
    socket::{BoxError, HandlerEnd, Timeouts, WebSocket},
    standalone::{AcceptError, Acceptor, HeadError, HeadLimits, accept},
};
use support::{Peer, close_body, masked, settle};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

type Socket = WebSocket<DuplexStream>;

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// A handshake in due form, with further lines.
fn request(lines: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         {KEY}Sec-WebSocket-Version: 13\r\n{lines}\r\n"
    )
}

struct Answer {
    status: u16,
    head: String,
    rest: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, rest: bytes[end..].to_vec() }
    }

    fn lines(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .filter(|(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The text of the body, which has the announced length and nothing behind it.
    fn body(&self) -> &str {
        assert_eq!(self.lines("content-length"), [self.rest.len().to_string()], "{}", self.head);
        str::from_utf8(&self.rest).unwrap()
    }
}

/// What `acceptor` does with `bytes`, behind which the client listens.
async fn answer(acceptor: &Acceptor, bytes: &[u8]) -> (Answer, Result<(), AcceptError>) {
    let (io, mut peer) = Peer::pair(1 << 20);
    peer.send_raw(bytes).await;
    let (reader, mut writer) = tokio::io::split(peer.io);
    let mut reader = reader;
    let client = async {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        writer.shutdown().await.unwrap();
        Answer::parse(&answer)
    };
    let server = async { acceptor.accept(io).await.map(drop) };
    tokio::join!(client, server)
}

async fn refused(bytes: &[u8]) -> (Answer, AcceptError) {
    let (answer, result) = answer(&Acceptor::new(), bytes).await;
    (answer, result.unwrap_err())
}

async fn echo(mut socket: Socket) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        socket.send(message).await?;
    }
    Ok(())
}

// ===== what is accepted =====

/// H-10, H-11
#[tokio::test]
async fn a_handshake_in_due_form_is_answered_with_101_and_three_fields() {
    let (io, mut peer) = Peer::pair(4096);
    peer.send_raw(request("").as_bytes()).await;
    let mut socket = accept(io).await.unwrap();
    socket.send("first").await.unwrap();
    let answer = Answer::parse(&peer.read_once().await);
    let mut lines: Vec<_> = answer.head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "HTTP/1.1 101 Switching Protocols");
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Upgrade: websocket",
        ]
    );
    assert_eq!(answer.rest, b"\x81\x05first", "the next byte is a frame's");
    assert_eq!(socket.subprotocol(), None);
}

/// H-14, R-11: wherever the bytes are cut, and when they come all at once.
#[tokio::test]
async fn bytes_behind_the_request_are_frames() {
    let mut bytes = request("").into_bytes();
    bytes.extend(masked(0x81, b"early"));
    bytes.extend(masked(0x82, &[7; 300]));
    for cut in 0..=bytes.len() {
        let (io, mut peer) = Peer::pair(4096);
        let accepted = tokio::spawn(accept(io));
        let (first, second) = bytes.split_at(cut);
        peer.send_raw(first).await;
        settle().await;
        peer.send_raw(second).await;
        let mut socket = accepted.await.unwrap().unwrap();
        let message = socket.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("early"), "cut at {cut}");
        assert_eq!(socket.recv().await.unwrap().unwrap().len(), 300);
    }
}

///
#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let (io, mut peer) = Peer::pair(1);
    let accepted = tokio::spawn(accept(io));
    for byte in request("").bytes() {
        peer.send_raw(&[byte]).await;
    }
    let mut answer = vec![0; 129];
    peer.io.read_exact(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).status, 101);
    let mut socket = accepted.await.unwrap().unwrap();
    let receiving = tokio::spawn(async move { socket.recv().await });
    peer.send_text("x").await;
    let message = receiving.await.unwrap().unwrap().unwrap();
    assert_eq!(message.as_text(), Some("x"));
}

/// H-01, H-03, H-04, H-05, H-07, H-13, H-16, R-21
#[tokio::test]
async fn odd_but_valid_requests_are_accepted() {
    let replace = |from: &str, to: &str| request("").replace(from, to);
    let requests = [
        replace("Upgrade: websocket", "upgrade:WebSocket"),
        replace("Upgrade: websocket", "Upgrade: h2c\r\nUPGRADE: , websocket ,"),
        replace("Connection: Upgrade", "Connection: keep-alive\r\nConnection: x, upgrade"),
        replace("dGhlIHNhbXBsZSBub25jZQ==", "AQIDBAUGBwgJCgsMDQ4PEC=="),
        replace("/chat", "http://b.example:81/chat"),
        replace("GET", "\r\nGET"),
        request("Content-Length: 0\r\nExpect: 100-continue\r\nX-Forwarded-For: \u{e9}\r\n"),
    ];
    for request in requests {
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(request.as_bytes()).await;
        let incoming = Acceptor::new().read(io).await.expect(&request);
        let _socket = incoming.accept().await.unwrap();
        assert_eq!(Answer::parse(&peer.read_once().await).status, 101, "{request}");
    }
}

#[tokio::test]
async fn the_request_can_be_looked_at_before_the_decision() {
    let (io, mut peer) = Peer::pair(4096);
    let lines = "Origin: https://a.example\r\nCookie: a=b\r\nSec-WebSocket-Protocol: x, y\r\n";
    peer.send_raw(request(lines).as_bytes()).await;
    let incoming = Acceptor::new().read(io).await.unwrap();
    assert_eq!(incoming.request().uri, "/chat");
    assert_eq!(incoming.request().headers[header::ORIGIN], "https://a.example");
    assert_eq!(incoming.handshake().subprotocols(), ["x", "y"]);
    assert_eq!(incoming.get_subprotocol(), None);
    let _: &DuplexStream = incoming.io();
    let shown = format!("{incoming:?}");
    assert!(!shown.contains("a=b") && !shown.contains("/chat"), "{shown}");
    // Until then the client was told nothing.
    drop(incoming);
    assert!(peer.at_eof().await);
}

#[tokio::test]
async fn fields_can_be_added_to_the_answer_but_not_those_of_the_handshake() {
    let (io, mut peer) = Peer::pair(4096);
    peer.send_raw(request("").as_bytes()).await;
    let mut incoming = Acceptor::new().read(io).await.unwrap();
    for (name, value) in [
        ("set-cookie", "a"),
        ("set-cookie", "b"),
        ("connection", "x"),
        ("sec-websocket-accept", "x"),
    ] {
        incoming = incoming.header(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let _socket = incoming.accept().await.unwrap();
    let answer = Answer::parse(&peer.read_once().await);
    assert_eq!(answer.lines("set-cookie"), ["a", "b"]);
    assert_eq!(answer.lines("connection"), ["Upgrade"]);
    assert_eq!(answer.lines("sec-websocket-accept").len(), 1);
}

// ===== subprotocols =====

/// N-02, N-04, N-05, N-09
#[tokio::test]
async fn the_first_common_subprotocol_of_the_servers_list_is_chosen() {
    let acceptor = Acceptor::new().subprotocols(["b", "a"]).unwrap();
    let table = [
        ("Sec-WebSocket-Protocol: a, b\r\n", Some("b")),
        ("Sec-WebSocket-Protocol: c\r\nSec-WebSocket-Protocol: a\r\n", Some("a")),
        ("Sec-WebSocket-Protocol: B\r\n", None),
        ("", None),
    ];
    for (lines, expected) in table {
        for required in [false, true] {
            let (io, mut peer) = Peer::pair(4096);
            peer.send_raw(request(lines).as_bytes()).await;
            let acceptor = acceptor.clone().require_subprotocol(required);
            let accepted = tokio::spawn(async move { acceptor.accept(io).await });
            let answer = Answer::parse(&peer.read_once().await);
            drop(peer);
            let accepted = accepted.await.unwrap();
            if expected.is_none() && required {
                assert_eq!(answer.status, 400);
                assert!(answer.body().contains("b, a"), "{}", answer.body());
                let refusal = accepted.unwrap_err();
                assert_eq!(refusal.refusal().unwrap().status(), StatusCode::BAD_REQUEST);
            } else {
                let lines: Vec<_> = expected.into_iter().collect();
                assert_eq!(answer.lines("sec-websocket-protocol"), lines);
                assert_eq!(accepted.unwrap().subprotocol(), expected);
            }
        }
    }
    assert!(Acceptor::new().subprotocols(["a b"]).is_err());
}

/// N-02
#[tokio::test]
async fn the_caller_chooses_only_what_the_client_offers() {
    for (name, status) in [(Some("y"), 101), (None, 101), (Some("z"), 500)] {
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(request("Sec-WebSocket-Protocol: x, y\r\n").as_bytes()).await;
        let acceptor = Acceptor::new().subprotocols(["x"]).unwrap();
        let incoming = acceptor.read(io).await.unwrap();
        assert_eq!(incoming.get_subprotocol().unwrap(), &"x");
        let accept = incoming.subprotocol(name.map(Subprotocol::from_static)).accept();
        let accepted = tokio::spawn(accept);
        let answer = Answer::parse(&peer.read_once().await);
        drop(peer);
        assert_eq!(answer.status, status);
        match accepted.await.unwrap() {
            Ok(socket) => assert_eq!(socket.subprotocol(), name),
            Err(error) => {
                assert_eq!(answer.lines("connection"), ["close"]);
                let source = error.source().unwrap().to_string();
                assert!(source.contains("not one that the client offered"), "{source}");
            }
        }
    }
}

// ===== what is refused =====

/// H-01 to H-09, H-12, H-13: the rows in full stand with the parser; these show that each is
/// answered, and that the answer is whole and ends the connection.
#[tokio::test]
async fn every_bad_handshake_gets_a_whole_answer_that_names_the_problem() {
    let replace = |from: &str, to: &str| request("").replace(from, to);
    let upgrade = "Upgrade: websocket\r\n";
    let table = [
        (replace("GET", "POST"), 426, "WebSocket endpoint"),
        (replace("GET /chat HTTP/1.1", "GET /chat HTTP/1.0"), 426, "HTTP/1.0"),
        (replace("Host: a.example\r\n", ""), 400, "Host field is missing"),
        (request("Host: a.example\r\n"), 400, "Host field appears more than once"),
        (replace("a.example", "a b"), 400, "Host field is not"),
        (replace("/chat", "*"), 400, "target"),
        (replace(upgrade, ""), 426, "no \"Upgrade: websocket\""),
        (replace("websocket", "websocket/13"), 426, "no \"Upgrade: websocket\""),
        (replace("Connection: Upgrade\r\n", ""), 400, "proxy"),
        (replace("Connection: Upgrade", "Connection: not-upgrade"), 400, "Connection field"),
        (replace(KEY, ""), 400, "Key field is missing"),
        (request(KEY), 400, "Key field appears more than once"),
        (replace("ZQ==", "ZQ="), 400, "not base64"),
        (replace("Version: 13", "Version: 8"), 426, "speaks 13"),
        (replace("Sec-WebSocket-Version: 13\r\n", ""), 426, "Version field is missing"),
        (replace("Version: 13", "Version: 013"), 400, "not one number"),
        (request("Content-Length: 5\r\n"), 400, "no content"),
        (request("Transfer-Encoding: chunked\r\n"), 400, "no content"),
        (request("Sec-WebSocket-Protocol: a b\r\n"), 400, "token"),
        (request("Sec-WebSocket-Extensions: foo;\r\n"), 400, "malformed"),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 426, "WebSocket endpoint"),
    ];
    for (request, status, says) in table {
        let (answer, error) = refused(request.as_bytes()).await;
        assert_eq!(answer.status, status, "{request}");
        assert!(answer.body().contains(says), "{says:?} in {:?}", answer.body());
        assert_eq!(error.refusal().unwrap().status().as_u16(), status);
        assert!(error.source().unwrap().to_string().contains(says));
        if status == 426 {
            assert_eq!(answer.lines("upgrade"), ["websocket"]);
            assert_eq!(answer.lines("connection"), ["Upgrade, close"]);
            assert_eq!(answer.lines("sec-websocket-version"), ["13"]);
        } else {
            assert_eq!(answer.lines("connection"), ["close"]);
        }
        assert!(answer.lines("sec-websocket-accept").is_empty());
    }
}

/// H-17, H-12
#[tokio::test]
async fn a_malformed_head_gets_a_whole_answer_that_names_the_problem() {
    use HeadError as E;

    let replace = |from: &str, to: &str| request("").replace(from, to);
    let table = [
        (replace("Host:", "Host :"), 400, E::SpaceBeforeColon),
        (request("X: a\r\n b\r\n"), 400, E::FoldedLine),
        (request("X: a\rb\r\n"), 400, E::BareCarriageReturn),
        (request("X: a\nY: b\r\n"), 400, E::BareLineFeed),
        (replace("\r\n", "\n"), 400, E::BareLineFeed),
        (request("X: \0\r\n"), 400, E::Nul),
        (request("X: \x1b\r\n"), 400, E::InvalidFieldValue),
        (request("X\r\n"), 400, E::InvalidFieldName),
        (replace("GET /chat", "GET"), 400, E::InvalidRequestLine),
        (replace("/chat", "/chat#x"), 400, E::InvalidTarget),
        (replace("HTTP/1.1", "HTTP/2.0"), 505, E::UnsupportedVersion),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505, E::UnsupportedVersion),
    ];
    for (request, status, expected) in table {
        let (answer, error) = refused(request.as_bytes()).await;
        assert_eq!((answer.status, error.head()), (status, Some(expected)), "{request:?}");
        assert_eq!(answer.body(), format!("{expected}\n"));
        assert_eq!(answer.lines("connection"), ["close"]);
        assert_eq!(error.source().unwrap().to_string(), expected.to_string());
    }
}

/// H-18: at the bound, one past it, and at a second bound.
#[tokio::test]
async fn a_head_beyond_its_limits_is_answered_with_431() {
    for (bytes, fields) in [(None, None), (Some(300), Some(7))] {
        let mut limits = HeadLimits::new();
        limits = bytes.map_or(limits, |bytes| limits.max_bytes(bytes));
        limits = fields.map_or(limits, |fields| limits.max_fields(fields));
        let acceptor = Acceptor::new().head_limits(limits);
        let (bytes, fields) = (bytes.unwrap_or(16 * 1024), fields.unwrap_or(100));

        let empty = request("X: \r\n").len();
        let sized = |size: usize| request(&format!("X: {:0>1$}\r\n", "", size - empty));
        let counted = |count: usize| request(&"x:\r\n".repeat(count - 5));
        let table = [
            (sized(bytes), 101, None),
            (sized(bytes + 1), 431, Some(HeadError::TooLong)),
            (counted(fields), 101, None),
            (counted(fields + 1), 431, Some(HeadError::TooManyFields)),
        ];
        for (request, status, expected) in table {
            let (answer, result) = answer(&acceptor, request.as_bytes()).await;
            assert_eq!(answer.status, status, "{} bytes", request.len());
            assert_eq!(result.err().and_then(|error| error.head()), expected);
        }
    }
}

/// H-18, S-07: a head that never ends is cut at the limit, not at the timeout.
#[tokio::test(start_paused = true)]
async fn an_endless_head_is_cut_at_the_limit() {
    let (io, mut peer) = Peer::pair(4096);
    let begin = Instant::now();
    let accepted = tokio::spawn(accept(io));
    peer.send_raw(b"GET / HTTP/1.1\r\nX: ").await;
    let (mut reader, mut writer) = tokio::io::split(peer.io);
    let flood = tokio::spawn(async move { while writer.write_all(&[b'x'; 512]).await.is_ok() {} });
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).await.unwrap();
    assert_eq!(Answer::parse(&answer).status, 431);
    let error = accepted.await.unwrap().unwrap_err();
    assert_eq!(error.head(), Some(HeadError::TooLong));
    flood.await.unwrap();
    assert!(begin.elapsed() <= Duration::from_secs(1));
}

/// H-18, S-07: at two values; neither silence nor a drip helps.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_whole_in_time_is_answered_with_408() {
    for (acceptor, seconds) in
        [(Acceptor::new(), 10), (Acceptor::new().handshake_timeout(Duration::from_secs(3)), 3)]
    {
        for drips in [false, true] {
            let (io, peer) = Peer::pair(4096);
            let (mut reader, mut writer) = tokio::io::split(peer.io);
            let begin = Instant::now();
            let acceptor = acceptor.clone();
            let accepted = tokio::spawn(async move { acceptor.accept(io).await });
            let drip = tokio::spawn(async move {
                writer.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
                while drips && writer.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_millis(700)).await;
                }
                // Neither end closes.
                pending::<()>().await;
            });
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            assert_eq!(begin.elapsed().as_secs(), seconds);
            let answer = Answer::parse(&answer);
            assert_eq!(answer.status, 408);
            assert_eq!(answer.lines("connection"), ["close"]);
            assert!(answer.body().contains("in time"));
            let error = accepted.await.unwrap().unwrap_err();
            assert!(error.is_timeout() && !error.is_disconnect());
            assert_eq!(begin.elapsed().as_secs(), seconds + 1, "the linger");
            drip.abort();
        }
    }
}

/// H-18: the time for the answer is what the request left, and the caller's own does not count.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_taken_in_time_ends_the_handshake() {
    let (io, mut peer) = Peer::pair(64);
    let reading = tokio::spawn(async move { Acceptor::new().read(io).await });
    sleep(Duration::from_secs(4)).await;
    peer.send_raw(request("").as_bytes()).await;
    let incoming = reading.await.unwrap().unwrap();
    sleep(Duration::from_secs(60)).await;
    let begin = Instant::now();
    let error = incoming.accept().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(begin.elapsed().as_secs(), 6);
}

/// S-08, H-12: neither the request nor the frames behind a refused handshake are read as such.
#[tokio::test]
async fn nothing_behind_a_refused_request_is_answered() {
    let bad = request("").replace("Version: 13", "Version: 8");
    let mut bytes = bad.into_bytes();
    bytes.extend(request("").bytes());
    bytes.extend(masked(0x81, b"frame"));
    bytes.extend(masked(0x89, b"ping"));
    let (answer, error) = refused(&bytes).await;
    assert_eq!(answer.status, 426);
    assert!(answer.body().ends_with("13\n"));
    assert!(error.refusal().is_some());
}

/// L-13, H-12: over TCP, where input that nobody reads becomes a reset.
#[tokio::test]
async fn a_refusal_is_not_lost_to_a_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    for _ in 0..20 {
        let server = async { accept(listener.accept().await.unwrap().0).await.unwrap_err() };
        let client = async {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            let bad = request("").replace("Version: 13", "Version: 8");
            stream.write_all(bad.as_bytes()).await.unwrap();
            // More than the server reads before it answers.
            stream.write_all(&[b'x'; 100_000]).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            Answer::parse(&answer)
        };
        let (error, answer) = tokio::join!(server, client);
        assert_eq!((answer.status, error.refusal().unwrap().status().as_u16()), (426, 426));
        assert!(answer.body().ends_with("13\n"));
    }
}

/// L-13, S-07: at two values of each bound.
#[tokio::test(start_paused = true)]
async fn lingering_behind_a_refusal_is_bounded() {
    for (acceptor, seconds, bytes) in [
        (Acceptor::new(), 1, 256 * 1024),
        (
            Acceptor::new()
                .timeouts(Timeouts::default().linger(Duration::from_secs(4)))
                .limits(Limits::default().linger_bytes(10_000)),
            4,
            10_000,
        ),
    ] {
        // A peer that neither sends nor ends.
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(b"\0").await;
        let begin = Instant::now();
        acceptor.accept(io).await.unwrap_err();
        assert_eq!(begin.elapsed().as_secs(), seconds);
        drop(peer);

        // A peer that does not end sending.
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(b"\0").await;
        let flood = tokio::spawn(async move {
            let mut sent = 0;
            while let Ok(n) = peer.io.write(&[0; 1000]).await {
                sent += n;
            }
            sent
        });
        let begin = Instant::now();
        acceptor.accept(io).await.unwrap_err();
        assert_eq!(begin.elapsed().as_secs(), 0);
        let sent = flood.await.unwrap();
        assert!((bytes..bytes + 10_000).contains(&sent), "{sent}");

        // A peer that does not read.
        let (io, mut peer) = Peer::pair(8);
        peer.send_raw(b"\0").await;
        let begin = Instant::now();
        acceptor.accept(io).await.unwrap_err();
        assert_eq!(begin.elapsed().as_secs(), seconds);
        drop(peer);
    }
}

#[tokio::test]
async fn a_client_that_goes_away_gets_no_answer() {
    for bytes in ["", "GET /", &request("")[..100]] {
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(bytes.as_bytes()).await;
        peer.io.shutdown().await.unwrap();
        let error = accept(io).await.unwrap_err();
        assert!(error.is_disconnect() && error.io().is_none());
        assert!(peer.at_eof().await);
    }
    let (io, mut peer) = Peer::pair(4096);
    peer.send_raw(request("").as_bytes()).await;
    let incoming = Acceptor::new().read(io).await.unwrap();
    drop(peer);
    let error = incoming.accept().await.unwrap_err();
    assert!(error.is_disconnect() && error.io().is_some());
    assert!(error.source().is_some());
}

/// H-15
#[tokio::test]
async fn the_caller_refuses_with_any_answer() {
    let (io, mut peer) = Peer::pair(4096);
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED)
        .header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
        .reason("log in first");
    let mut bytes = request("").into_bytes();
    bytes.extend(masked(0x81, b"eager"));
    peer.send_raw(&bytes).await;
    let incoming = Acceptor::new().read(io).await.unwrap();
    let refusing = tokio::spawn(incoming.refuse(refusal));
    let answer = Answer::parse(&peer.read_once().await);
    assert!(peer.at_eof().await);
    drop(peer);
    assert_eq!(answer.status, 401);
    assert_eq!(answer.lines("www-authenticate"), ["Bearer"]);
    assert_eq!(answer.body(), "log in first\n");
    let error = refusing.await.unwrap();
    assert_eq!(error.refusal().unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(error.to_string(), "handshake refused with 401: log in first");
}

/// RFC 9110, section 9.3.2
#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let (answer, _) = refused(request("").replace("GET", "HEAD").as_bytes()).await;
    assert_eq!(answer.status, 426);
    assert!(answer.rest.is_empty());
    assert_ne!(answer.lines("content-length"), ["0"]);
}

// ===== options and sessions =====

/// S-01, X-10: at their defaults and at second values.
#[tokio::test]
async fn limits_are_those_of_the_acceptor_or_of_the_one_socket() {
    let tight = Acceptor::new().limits(Limits::default().max_message(10));
    for (acceptor, own, longest) in [
        (Acceptor::new(), None, 1 << 20),
        (tight.clone(), None, 10),
        (tight, Some(Limits::default().max_message(20)), 20),
    ] {
        let (io, mut peer) = Peer::pair(4 << 20);
        peer.send_raw(request("").as_bytes()).await;
        let mut incoming = acceptor.read(io).await.unwrap();
        if let Some(own) = own {
            incoming = incoming.limits(own);
        }
        let mut socket = incoming.accept().await.unwrap();
        peer.send_binary(&vec![0; longest]).await;
        assert_eq!(socket.recv().await.unwrap().unwrap().len(), longest);
        peer.send_binary(&vec![0; longest + 1]).await;
        let violation = socket.recv().await.unwrap_err().violation().unwrap();
        assert_eq!(u16::from(violation.close_code()), 1009);
    }
    let limits = HandshakeLimits::new().max_subprotocols(1);
    let request = request("Sec-WebSocket-Protocol: a, b\r\n");
    for (acceptor, status) in
        [(Acceptor::new(), 101), (Acceptor::new().handshake_limits(limits), 400)]
    {
        assert_eq!(answer(&acceptor, request.as_bytes()).await.0.status, status);
    }
}

/// L-12
#[tokio::test(start_paused = true)]
async fn timeouts_are_those_of_the_acceptor() {
    let timeouts = Timeouts::default().close(Duration::from_secs(2));
    for (acceptor, seconds) in [(Acceptor::new(), 5), (Acceptor::new().timeouts(timeouts), 2)] {
        let (io, mut peer) = Peer::pair(4096);
        peer.send_raw(request("").as_bytes()).await;
        let mut socket = acceptor.accept(io).await.unwrap();
        let begin = Instant::now();
        assert!(socket.close().await.unwrap_err().is_timeout());
        assert_eq!(begin.elapsed().as_secs(), seconds);
        drop(peer);
    }
}

#[tokio::test]
async fn a_served_handler_has_a_session_around_it() {
    let (io, mut peer) = Peer::pair(1 << 16);
    let mut bytes = request("").into_bytes();
    for text in ["one", "two", "three"] {
        bytes.extend(masked(0x81, text.as_bytes()));
    }
    peer.send_raw(&bytes).await;
    let serving = tokio::spawn(async { Acceptor::new().read(io).await?.serve(echo).await });
    let mut answer = vec![0; 129 + 5 + 5 + 7];
    peer.io.read_exact(&mut answer).await.unwrap();
    let answer = Answer::parse(&answer);
    assert_eq!((answer.status, &*answer.rest), (101, &b"\x81\x03one\x81\x03two\x81\x05three"[..]));
    peer.send_close(1000, "").await;
    assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
    assert!(peer.at_eof().await);
    drop(peer);
    let ended = serving.await.unwrap().unwrap();
    assert!(matches!(ended.handler(), HandlerEnd::Returned));
    assert_eq!(ended.stats().messages_received, 3);
}

#[tokio::test]
async fn a_session_is_closed_from_elsewhere_while_its_handler_waits() {
    let (io, mut peer) = Peer::pair(1 << 16);
    peer.send_raw(request("").as_bytes()).await;
    let incoming = Acceptor::new().read(io).await.unwrap();
    let session = incoming.session(echo).await.unwrap();
    let control = session.control();
    let session = tokio::spawn(session);
    peer.read_once().await;
    control.close(CloseFrame::new(CloseCode::GOING_AWAY, CloseReason::default()));
    assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
    peer.send_close(1001, "").await;
    drop(peer);
    assert!(session.await.unwrap().failure().is_none());
}

#[test]
fn the_futures_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    let (io, _) = tokio::io::duplex(1);
    is_send(&Acceptor::new().read(io));
}
