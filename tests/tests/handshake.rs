//! The opening handshake on HTTP/1.1, byte by byte, through the layer on bare hyper.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::{HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use tests::{
    client::{ACCEPT, Client, KEY, Response},
    start::{self, echo, inner, listen, until_empty},
    wire::masked,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_http::{compression::CompressionLayer, set_header::SetResponseHeaderLayer};
use tower_websocket::{
    Sessions, WebSocket, WebSocketLayer, handler_fn,
    policy::{Attempt, Decision, Policy, Refuse, policy_fn},
};

/// A handshake in due form, one field a line.
const FIELDS: [&str; 5] = [
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

/// The head of the handshake with `lines` in place of the field `name`, or behind all if `FIELDS`
/// has none of that name.
fn spoilt(name: &str, lines: &[&str]) -> String {
    let mut fields = Vec::from(FIELDS);
    let at = fields.iter().position(|field| field.split(':').next() == Some(name));
    let range = at.map_or(FIELDS.len()..FIELDS.len(), |at| at..at + 1);
    fields.splice(range, lines.iter().copied());
    head(&fields)
}

fn head(fields: &[&str]) -> String {
    format!("GET /chat HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"))
}

async fn ask(addr: SocketAddr, head: impl AsRef<[u8]>) -> (Client, Response) {
    let mut client = Client::connect(addr).await;
    client.send_raw(head.as_ref()).await;
    let response = client.response().await;
    (client, response)
}

/// An echo with the inner service behind it, and how often either was reached.
struct Echo {
    addr: SocketAddr,
    reached: Arc<AtomicUsize>,
}

impl Echo {
    async fn start() -> Self {
        Self::of(|layer| layer).await
    }

    async fn with(policy: impl Policy) -> Self {
        Self::of(|layer| layer.policy(policy)).await
    }

    async fn of(set: impl FnOnce(WebSocketLayer) -> WebSocketLayer) -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let handled = Arc::clone(&reached);
        let handler = handler_fn(move |socket| {
            handled.fetch_add(1, Ordering::Relaxed);
            echo(socket)
        });
        let passed = Arc::clone(&reached);
        let service = set(WebSocketLayer::new(handler)).layer(service_fn(move |request| {
            passed.fetch_add(1, Ordering::Relaxed);
            inner(request)
        }));
        Self { addr: start::hyper(service).await, reached }
    }

    async fn accepts(&self, head: impl AsRef<[u8]>) {
        let (mut client, response) = ask(self.addr, &head).await;
        let head = String::from_utf8_lossy(head.as_ref());
        assert_eq!(response.status, 101, "{head}\n{response:?}");
        client.send_text("hello").await;
        assert_eq!(client.recv_text().await, "hello", "{head}");
    }

    /// The answer is complete, and nothing behind the request is read as HTTP or as frames.
    async fn refuses(&self, head: impl AsRef<[u8]>) -> Response {
        let before = self.reached.load(Ordering::Relaxed);
        let mut wire = head.as_ref().to_vec();
        wire.extend(masked(0x81, b"a frame"));
        wire.extend(b"GET /next HTTP/1.1\r\nHost: example.com\r\n\r\n");
        wire.extend(spoilt("", &[]).bytes());
        let (mut client, response) = ask(self.addr, &wire).await;
        let head = String::from_utf8_lossy(head.as_ref());
        assert!(response.status >= 300, "{head}\n{response:?}");
        let connection = response.field("connection").expect("Connection: close");
        assert!(connection.split(", ").any(|option| option == "close"), "{connection}");
        let length = response.field("content-length").expect("a complete answer");
        assert_eq!(length, response.body.len().to_string(), "{head}");
        assert!(!response.body.is_empty(), "{head}");
        assert_eq!(response.field("transfer-encoding"), None);
        assert_eq!(response.field("sec-websocket-accept"), None);
        assert!(client.at_eof().await, "{head}: something behind a refusal was answered");
        assert_eq!(self.reached.load(Ordering::Relaxed), before, "{head}");
        response
    }

    async fn refuses_with(&self, status: u16, head: impl AsRef<[u8]>, word: &str) -> Response {
        let response = self.refuses(&head).await;
        let head = String::from_utf8_lossy(head.as_ref());
        assert_eq!(response.status, status, "{head}\n{response:?}");
        assert!(response.body.contains(word), "{head}\n{}", response.body);
        response
    }
}

/// H-10, H-11, B-03, X-05: layers outside that compress, or set a length or a type for each
/// response, make no difference to what goes out.
#[tokio::test]
async fn an_acceptance_has_each_of_its_fields_once_and_the_next_byte_is_a_frames() {
    let greet = handler_fn(|mut socket: WebSocket| async move {
        socket.send("at once").await?;
        socket.recv().await?;
        Ok(())
    });
    let layer = WebSocketLayer::new(greet);
    let plain = layer.clone().layer(service_fn(inner));
    let length = header::CONTENT_LENGTH;
    let stack = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(SetResponseHeaderLayer::overriding(length, HeaderValue::from_static("0")))
        .layer(layer)
        .service(service_fn(inner));
    for (addr, what) in [(start::hyper(plain).await, "bare"), (start::hyper(stack).await, "stack")]
    {
        let offer = [&FIELDS[..], &["Sec-WebSocket-Extensions: permessage-deflate, x; y=1"]];
        let mut client = Client::connect(addr).await;
        let mut fields = offer.concat();
        fields.push("Accept-Encoding: gzip");
        client.send_raw(head(&fields).as_bytes()).await;
        let mut wire = Vec::new();
        while !wire.ends_with(b"\r\n\r\n") {
            wire.extend(client.recv_raw(1).await);
        }
        let text = String::from_utf8(wire).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        assert_eq!(lines.next(), Some("HTTP/1.1 101 Switching Protocols"), "{what}");
        let mut found: Vec<_> = lines
            .filter(|line| !line.starts_with("date: ") && !line.starts_with("vary: "))
            .collect();
        found.sort_unstable();
        let accept = format!("sec-websocket-accept: {ACCEPT}");
        assert_eq!(found, ["connection: Upgrade", &accept, "upgrade: websocket"], "{what}");
        assert_eq!(client.recv_text().await, "at once", "{what}");
    }
}

/// H-02
#[tokio::test]
async fn exactly_one_valid_host_is_there() {
    let echo = Echo::start().await;
    for host in ["example.com", "EXAMPLE.com:8080", "[::1]:80", "127.0.0.1", "example.com:", "a_b"]
    {
        echo.accepts(spoilt("Host", &[&format!("Host: {host}")])).await;
    }
    echo.refuses_with(400, spoilt("Host", &[]), "Host").await;
    let twice = ["Host: example.com", "Host: example.com"];
    echo.refuses_with(400, spoilt("Host", &twice), "more than once").await;
    for host in
        ["", "a b", "a, b", "me@example.com", "example.com:http", "example.com:65536", "[::1", "é"]
    {
        let head = spoilt("Host", &[&format!("Host: {host}")]);
        echo.refuses_with(400, head, "Host").await;
    }
}

/// H-03, H-04, H-05: lists over several lines, empty elements, ASCII case, unknown fields and names
/// in any case and order.
#[tokio::test]
async fn list_fields_are_read_whatever_their_spelling() {
    let echo = Echo::start().await;
    let accepted: [(&str, &[&str]); 14] = [
        ("Upgrade", &["Upgrade: WebSocket"]),
        ("Upgrade", &["Upgrade: WEBSOCKET"]),
        ("Upgrade", &["Upgrade: h2c, websocket"]),
        ("Upgrade", &["Upgrade: h2c", "Upgrade: websocket"]),
        ("Upgrade", &["Upgrade: ,, websocket\t,"]),
        ("Connection", &["Connection: upgrade"]),
        ("Connection", &["Connection: UPGRADE"]),
        ("Connection", &["Connection: keep-alive, Upgrade"]),
        ("Connection", &["Connection: keep-alive", "Connection: Upgrade"]),
        ("Connection", &["Connection: ,, Upgrade ,"]),
        ("Connection", &["connection:upgrade"]),
        // A hop-by-hop list cannot talk the server out of its checks.
        ("Connection", &["Connection: Upgrade, Sec-WebSocket-Key, Host"]),
        ("Connection", &["Connection: close, Upgrade"]),
        ("", &["X-Unknown: 1", "X-Unknown: 2", "Pragma: no-cache"]),
    ];
    for (name, lines) in accepted {
        echo.accepts(spoilt(name, lines)).await;
    }
    let mut backwards = FIELDS.map(str::to_ascii_uppercase);
    backwards.reverse();
    // The case of values matters.
    let key = FIELDS[4].to_owned();
    backwards[0] = key.replace("Sec-WebSocket-Key", "SEC-WEBSOCKET-KEY");
    let backwards: Vec<_> = backwards.iter().map(|line| &**line).collect();
    echo.accepts(head(&backwards)).await;
}

/// H-04, H-12
#[tokio::test]
async fn a_handshake_whose_connection_does_not_list_upgrade_is_told_of_the_proxy() {
    let echo = Echo::start().await;
    let refused: [&[&str]; 6] = [
        &[],
        &["Connection: keep-alive"],
        &["Connection: upgraded"],
        &["Connection: no-upgrade"],
        &["Connection: \"upgrade\""],
        &["Connection: keep-alive upgrade"],
    ];
    for lines in refused {
        echo.refuses_with(400, spoilt("Connection", lines), "proxy").await;
    }
}

/// H-06, H-07
#[tokio::test]
async fn a_key_is_the_base64_of_16_bytes_and_there_once() {
    let echo = Echo::start().await;
    let key = |value: &str| spoilt("Sec-WebSocket-Key", &[&format!("Sec-WebSocket-Key: {value}")]);
    // Spare bits, and whitespace around.
    for value in
        ["AAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAB==", "AQIDBAUGBwgJCgsMDQ4PEC=="]
    {
        echo.accepts(key(value)).await;
    }
    echo.accepts(key(&format!(" \t{KEY}\t "))).await;

    let long = "A".repeat(8000);
    let wrong = [
        "",
        "AAAA",
        "dGhlIHNhbXBsZSBub25jZQ",
        "dGhlIHNhbXBsZSBub25jZQ=",
        "dGhlIHNhbXBsZSBub25j_-==",
        "dGhlIHNhbXBsZSBub25jZQAA",
        "dGhlIHNhbXBs ZSBub25jZ==",
        "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
        "====================AA==",
        &long,
    ];
    for value in wrong {
        echo.refuses_with(400, key(value), "Sec-WebSocket-Key").await;
    }
    let line = FIELDS[4];
    echo.refuses_with(400, spoilt("Sec-WebSocket-Key", &[]), "missing").await;
    echo.refuses_with(400, spoilt("Sec-WebSocket-Key", &[line, line]), "more than once").await;
}

/// H-08, H-09, H-12, S-08: none of the answers opens a tunnel, not even for version 777.
#[tokio::test]
async fn another_version_is_told_which_one_is_spoken() {
    let echo = Echo::start().await;
    let version = |lines: &[&str]| {
        let lines: Vec<_> = lines.iter().map(|v| format!("Sec-WebSocket-Version: {v}")).collect();
        spoilt("Sec-WebSocket-Version", &lines.iter().map(|line| &**line).collect::<Vec<_>>())
    };
    echo.accepts(version(&[" 13\t"])).await;
    let unsupported: [&[&str]; 7] = [&[], &["0"], &["7"], &["8"], &["12"], &["14"], &["255"]];
    for lines in unsupported {
        let response = echo.refuses_with(426, version(lines), "13").await;
        assert_eq!(response.field("sec-websocket-version"), Some("13"));
        assert_eq!(response.field("upgrade"), Some("websocket"));
        assert_eq!(response.field("connection"), Some("Upgrade, close"));
    }
    let malformed: [&[&str]; 9] = [
        &["013"],
        &["+13"],
        &["13.0"],
        &["256"],
        &["777"],
        &["13, 8"],
        &["13", "13"],
        &["thirteen"],
        &[""],
    ];
    for lines in malformed {
        let response = echo.refuses_with(400, version(lines), "13").await;
        assert_eq!(response.field("sec-websocket-version"), Some("13"));
        assert_eq!(response.field("upgrade"), None);
    }
}

/// H-13, S-08: a body is never taken for frames.
#[tokio::test]
async fn a_handshake_with_content_is_refused() {
    let echo = Echo::start().await;
    for line in ["Content-Length: 0", "Content-Length: 00", "Expect: 100-continue"] {
        echo.accepts(spoilt("", &[line])).await;
    }
    let frame = masked(0x81, b"smuggled");
    let with = |line: &str, body: &[u8]| [spoilt("", &[line]).as_bytes(), body].concat();
    let length = format!("Content-Length: {}", frame.len());
    let chunked = [b"e\r\n", &frame[..], b"\r\n0\r\n\r\n"].concat();
    for head in [
        with(&length, &frame),
        with("Content-Length: 1", b"x"),
        with("Transfer-Encoding: chunked", &chunked),
        with("Transfer-Encoding: chunked", b"0\r\n\r\n"),
    ] {
        echo.refuses_with(400, head, "no content").await;
    }
}

/// H-14: wherever the bytes behind the head are cut, and whoever has read them: hyper's own connection,
/// hyper-util's automatic one, axum.
#[tokio::test]
async fn frames_that_come_with_the_head_are_the_first_of_the_socket() {
    early_frames_come_first(Echo::start().await.addr).await;
    let app = start::app(handler_fn(echo), &Sessions::new());
    early_frames_come_first(start::start(app.clone()).await).await;
    early_frames_come_first(start::axum(app).await).await;
}

async fn early_frames_come_first(addr: SocketAddr) {
    let mut wire = spoilt("", &[]).into_bytes();
    let end_of_head = wire.len();
    wire.extend(masked(0x81, b"early"));
    wire.extend(masked(0x89, b"ping"));
    wire.extend(masked(0x82, &[7; 1000]));
    for cut in (end_of_head..end_of_head + 24).chain([wire.len() - 1, wire.len()]) {
        let mut client = Client::connect(addr).await;
        client.send_raw(&wire[..cut]).await;
        assert_eq!(client.response().await.status, 101);
        client.send_raw(&wire[cut..]).await;
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.push(client.recv().await);
        }
        // A pong may overtake messages.
        frames.sort();
        assert_eq!(frames[0], (0x81, b"early".to_vec()), "cut at {cut}");
        assert_eq!(frames[1], (0x82, vec![7; 1000]), "cut at {cut}");
        assert_eq!(frames[2], (0x8a, b"ping".to_vec()), "cut at {cut}");
    }
}

/// H-15, R-12, S-08
#[tokio::test]
async fn a_policy_answers_with_any_status_and_its_fields() {
    type Field = (header::HeaderName, &'static str);
    let table: [(u16, &[Field]); 6] = [
        (401, &[(header::WWW_AUTHENTICATE, "Bearer"), (header::WWW_AUTHENTICATE, "Basic")]),
        (302, &[(header::LOCATION, "/login")]),
        (403, &[]),
        (404, &[]),
        (429, &[(header::RETRY_AFTER, "60")]),
        (503, &[(header::RETRY_AFTER, "5")]),
    ];
    for (status, fields) in table {
        let echo = Echo::with(policy_fn(move |_: Attempt| {
            let refuse = Refuse::new(StatusCode::from_u16(status).unwrap())
                .header(header::CONTENT_TYPE, HeaderValue::from_static("text/json"))
                .body("{\"why\":1}");
            Decision::from(fields.iter().fold(refuse, |refuse, (name, value)| {
                refuse.header(name.clone(), HeaderValue::from_static(value))
            }))
        }))
        .await;
        let response = echo.refuses(spoilt("", &[])).await;
        assert_eq!(response.status, status);
        assert_eq!(response.body, "{\"why\":1}");
        assert_eq!(response.field("content-type"), Some("text/json"));
        for (name, _) in fields {
            let values: Vec<_> =
                fields.iter().filter(|it| it.0 == name).map(|(_, value)| *value).collect();
            assert_eq!(response.all(name.as_str()), values);
        }
    }
}

/// H-16
#[tokio::test]
async fn the_authority_of_an_absolute_target_replaces_host() {
    let echo = Echo::start().await;
    let absolute = |target: &str, lines: &[&str]| {
        spoilt("", lines).replacen("GET /chat", &format!("GET {target}"), 1)
    };
    echo.accepts(absolute("http://example.com/chat?x=1", &[])).await;
    echo.accepts(absolute("http://other.example/chat", &["Origin: http://other.example"])).await;
    let head = absolute("http://other.example/chat", &["Origin: http://example.com"]);
    echo.refuses_with(403, head, "Origin").await;
    // The scheme is known now.
    let head = absolute("http://other.example/chat", &["Origin: https://other.example"]);
    echo.refuses_with(403, head, "Origin").await;
    echo.refuses_with(400, absolute("ws://example.com/chat", &[]), "scheme").await;
    let head = absolute("http://example.com/chat", &[]).replacen("Host: example.com\r\n", "", 1);
    echo.refuses_with(400, head, "Host").await;
}

/// H-19: a request that no server made.
#[tokio::test]
async fn a_request_without_an_upgrade_gets_500_and_the_reason() {
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone());
    let mut request = http::Request::get("/chat");
    for line in FIELDS {
        let (name, value) = line.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = layer.into_service().oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "the server does not support upgrades on this connection\n");
    assert!(sessions.is_empty());
}

/// H-19: hyper offers an upgrade even when nobody will make it.
#[tokio::test]
async fn a_server_without_upgrades_ends_the_connection_and_the_session() {
    let sessions = Sessions::new();
    let called = Arc::new(AtomicUsize::new(0));
    let handled = Arc::clone(&called);
    let never = handler_fn(move |_: WebSocket| {
        handled.fetch_add(1, Ordering::Relaxed);
        async {}
    });
    let service = WebSocketLayer::new(never).sessions(sessions.clone()).into_service();
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = TowerToHyperService::new(service);
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    });
    let (mut client, response) = ask(addr, spoilt("", &[])).await;
    assert_eq!(response.status, 101);
    assert!(client.at_eof().await);
    until_empty(&sessions).await;
    assert_eq!(called.load(Ordering::Relaxed), 0);
}
