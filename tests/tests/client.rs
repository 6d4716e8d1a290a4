//! The client, against servers that keep the protocol and against scripts that do not.

use std::convert::Infallible;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::{Empty, Full};
use hyper_util::{client::legacy::Client as Pool, rt::TokioExecutor};
use tests::{
    dial::{accepted, accepting, client, client_with, is_echo},
    script::{Peer, SWITCHING, Script},
    start::{self, app, axum, echo, soon, until_empty},
    wire::header as frame_header,
};
use tokio::net::TcpStream;
use tower::{ServiceExt, service_fn};
use tower_websocket::{
    Message, Sessions, WebSocket, WebSocketLayer,
    client::{ClientError, ClientOptions, Http1, WebSocketClient},
    handler_fn,
    handshake::{AnswerError, RequestError},
    policy::Subprotocols,
};

/// A server of ours that echoes.
async fn echo_server() -> String {
    format!("ws://{}", start::start(app(handler_fn(echo), &Sessions::new())).await)
}

/// What a client makes of an answer, and what it said behind its request before it hung up.
async fn outcome(options: ClientOptions, answer: &str) -> (ClientError, Vec<u8>) {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move { client_with(options).connect(uri).await.map(drop) });
    let mut peer = soon("a request", script.accept()).await;
    peer.answer(answer).await;
    let error = soon("an outcome", asks).await.unwrap().unwrap_err();
    (error, soon("the end", peer.rest()).await)
}

/// R-02, C-03: over each HTTP client, to each kind of server.
#[tokio::test]
async fn sockets_open_over_every_http_client_to_every_server() {
    let layer = WebSocketLayer::new(handler_fn(echo)).into_service();
    let app = Router::new().route_service("/ws", layer.clone());
    let servers = [start::start(app.clone()).await, axum(app).await, start::hyper(layer).await];
    for server in servers {
        let uri = format!("ws://{server}/ws");

        let response = client().connect(&uri).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.version(), Version::HTTP_11);
        assert_eq!(response.headers()[header::UPGRADE], "websocket");
        is_echo(response.into_body()).await;

        let pool = Pool::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let mut pooled = WebSocketClient::new(pool);
        for _ in 0..3 {
            is_echo(pooled.connect(&uri).await.unwrap().into_body()).await;
        }
        let pool = Pool::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let response = WebSocketClient::new(pool).connect(&uri).await.unwrap();
        is_echo(response.into_body()).await;

        let stream = TcpStream::connect(server).await.unwrap();
        let mut single = WebSocketClient::new(Http1::handshake(stream).await.unwrap());
        let response = single.connect(&uri).await.unwrap();
        is_echo(response.into_body()).await;
        // The connection was taken.
        assert!(single.connect(&uri).await.unwrap_err().is_http());

        let (near, mut far) = tokio::io::duplex(300);
        let mut stream = TcpStream::connect(server).await.unwrap();
        tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut stream).await });
        let mut single = WebSocketClient::new(Http1::handshake(near).await.unwrap());
        is_echo(single.connect(&uri).await.unwrap().into_body()).await;
    }
}

/// C-01: `http` and `https` are other names of the schemes, in every case.
#[tokio::test]
async fn every_scheme_is_understood() {
    let server = echo_server().await;
    let server = server.strip_prefix("ws").unwrap();
    for scheme in ["ws", "WS", "http", "HTTP"] {
        is_echo(client().connect(format!("{scheme}{server}")).await.unwrap().into_body()).await;
    }
    for scheme in ["wss", "https"] {
        let error = client().connect(format!("{scheme}{server}")).await.unwrap_err();
        // Another attempt would not do either.
        assert!(error.is_request() && !error.is_http() && !error.is_transient(), "{error}");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("TLS"), "{source}");
    }
}

/// C-02, C-03, C-04, C-14, O-09: the whole request, as it stands on the wire.
#[tokio::test]
async fn the_request_is_in_due_form() {
    let script = Script::listen().await;
    let options = ClientOptions::new()
        .subprotocols(["b", "a"])
        .and_then(|options| options.origin("HTTPS://Page.example:443/"))
        .unwrap();
    let request = Request::get(format!("ws://{}?x=1", script.addr()))
        .header("Cookie", "a=1")
        .header("X-Many", "1")
        .header("Cookie", "b=2")
        .header("X-Many", "2")
        .body(())
        .unwrap();
    tokio::spawn(client_with(options).oneshot(request));
    let peer = soon("a request", script.accept()).await;
    assert!(peer.head.starts_with("GET /?x=1 HTTP/1.1\r\n"), "{}", peer.head);
    for (name, values) in [
        ("host", &[&*script.addr().to_string()][..]),
        ("upgrade", &["websocket"]),
        ("connection", &["Upgrade"]),
        ("sec-websocket-version", &["13"]),
        ("sec-websocket-protocol", &["b, a"]),
        ("sec-websocket-extensions", &[]),
        ("origin", &["https://page.example"]),
        ("cookie", &["a=1", "b=2"]),
        ("x-many", &["1", "2"]),
        ("content-length", &[]),
        ("transfer-encoding", &[]),
    ] {
        assert_eq!(peer.all(name), values, "{name}");
    }
    assert_eq!(peer.all("sec-websocket-key").len(), 1);
}

/// C-14, C-01, N-01: what cannot be asked for fails before the HTTP client hears of it.
#[tokio::test]
async fn a_wrong_request_is_never_sent() {
    let http =
        service_fn(async |_: Request<Empty<Bytes>>| -> Result<Response<Full<Bytes>>, Infallible> {
            unreachable!("nothing is sent")
        });
    let mut client = WebSocketClient::new(http);
    for address in ["ws://h/#x", "ws://me@h/", "ftp://h/", "/chat", "h"] {
        assert!(client.connect(address).await.unwrap_err().is_request(), "{address}");
    }
    for name in ["Host", "Upgrade", "Connection", "Content-Length", "Sec-WebSocket-Protocol"] {
        let request = Request::get("ws://h/").header(name, "x").body(()).unwrap();
        let error = client.clone().oneshot(request).await.unwrap_err();
        assert!(error.is_request(), "{name}: {error}");
        assert!(error.to_string().contains(&name.to_ascii_lowercase()), "{error}");
    }
    for method in ["POST", "HEAD", "CONNECT"] {
        let request = Request::builder().method(method).uri("ws://h/").body(()).unwrap();
        assert!(client.clone().oneshot(request).await.unwrap_err().is_request(), "{method}");
    }
    assert_eq!(
        ClientOptions::new().subprotocols(["a", "a"]).unwrap_err(),
        RequestError::RepeatedSubprotocol
    );
}

/// C-08, C-09, C-10, N-07, N-08, X-07, C-05: a wrong answer is named, and answered with not a byte.
#[tokio::test]
async fn a_wrong_answer_fails_and_nothing_is_sent() {
    use AnswerError as E;

    let with = |field: &str| SWITCHING.replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
    let without = |field: &str| {
        let lines = SWITCHING.split("\r\n").filter(|line| !line.starts_with(field));
        lines.collect::<Vec<_>>().join("\r\n")
    };
    let table = [
        (without("Upgrade"), E::MissingUpgrade),
        (SWITCHING.replace("websocket", "h2c"), E::WrongUpgrade),
        (SWITCHING.replace("websocket", "websocket, h2c"), E::WrongUpgrade),
        (with("Upgrade: websocket"), E::WrongUpgrade),
        (without("Connection"), E::ConnectionLacksUpgrade),
        (SWITCHING.replace("n: Upgrade", "n: keep-alive"), E::ConnectionLacksUpgrade),
        (without("Sec-WebSocket-Accept"), E::MissingAccept),
        (with("Sec-WebSocket-Accept: {accept}"), E::RepeatedAccept),
        (SWITCHING.replace("{accept}", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), E::WrongAccept),
        (SWITCHING.replace("{accept}", "{accept}x"), E::WrongAccept),
        (SWITCHING.replace("{accept}", ""), E::WrongAccept),
        (with("Sec-WebSocket-Extensions: permessage-deflate"), E::UnofferedExtension),
        (with("Sec-WebSocket-Extensions: x-a, x-a"), E::RepeatedExtension),
        (with("Sec-WebSocket-Extensions: ;"), E::MalformedExtensions),
        (SWITCHING.to_owned(), E::MissingSubprotocol),
        (with("Sec-WebSocket-Protocol: c"), E::UnofferedSubprotocol),
        (with("Sec-WebSocket-Protocol: A"), E::UnofferedSubprotocol),
        (with("Sec-WebSocket-Protocol: a, b"), E::InvalidSubprotocol),
        (with("Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b"), E::RepeatedSubprotocol),
    ];
    for (answer, expected) in table {
        let options = ClientOptions::new().subprotocols(["a", "b"]).unwrap();
        let (error, rest) = outcome(options, &answer).await;
        assert_eq!(error.answer_error(), Some(expected), "{answer}");
        assert_eq!(error.response().map(Response::status), None);
        assert_eq!(rest, b"", "{answer}");
    }
}

/// C-08, N-07, N-08: what is unusual and right opens the socket.
#[tokio::test]
async fn an_unusual_answer_that_is_right_opens_the_socket() {
    let relaxed = ClientOptions::new().require_subprotocol(false);
    let relaxed = relaxed.subprotocols(["a", "b"]).unwrap();
    let table = [
        (SWITCHING.to_owned(), None),
        (SWITCHING.replace("websocket", "WebSocket"), None),
        (SWITCHING.replace("n: Upgrade", "n: keep-alive, upgrade"), None),
        (SWITCHING.replace("Switching Protocols", ""), None),
        (SWITCHING.replace("Upgrade: websocket", "uPGRADE:websocket  "), None),
        (SWITCHING.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: b\r\n\r\n"), Some("b")),
        (SWITCHING.replace("\r\n\r\n", "\r\nX-Unknown: 1\r\nSet-Cookie: c=1\r\n\r\n"), None),
    ];
    for (answer, subprotocol) in table {
        let script = Script::listen().await;
        let uri = script.uri();
        let options = relaxed.clone();
        let asks = tokio::spawn(async move { client_with(options).connect(uri).await });
        let mut peer = soon("a request", script.accept()).await;
        peer.answer(&answer).await;
        let socket = soon("a socket", asks).await.unwrap().unwrap().into_body();
        assert_eq!(socket.subprotocol(), subprotocol, "{answer}");
    }
}

/// C-06: interim answers are not the answer.
#[tokio::test]
async fn interim_answers_are_skipped() {
    for interim in ["100 Continue", "103 Early Hints\r\nLink: </a>", "102 Processing"] {
        let script = Script::listen().await;
        let uri = script.uri();
        let asks = tokio::spawn(async move { client().connect(uri).await });
        let mut peer = soon("a request", script.accept()).await;
        peer.answer(&format!("HTTP/1.1 {interim}\r\n\r\n").repeat(3)).await;
        peer.answer(SWITCHING).await;
        assert!(soon("a socket", asks).await.unwrap().is_ok(), "{interim}");
    }
}

/// Opens a socket to a script that answers with the bytes `head` and `behind`, cut at `cut`.
async fn open_cut(head: &str, behind: &[u8], cut: usize) -> (WebSocket, Peer) {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move { client().connect(uri).await });
    let mut peer = soon("a request", script.accept()).await;
    peer.stream.set_nodelay(true).unwrap();
    let key = peer.all("sec-websocket-key")[0].to_owned();
    let accept = tower_websocket::handshake::accept_value(key.as_bytes());
    let head = head.replace("{accept}", str::from_utf8(&accept).unwrap());
    let bytes = [head.as_bytes(), behind].concat();
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    peer.send(first).await;
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    peer.send(second).await;
    (soon("a socket", asks).await.unwrap().unwrap().into_body(), peer)
}

/// C-11: what comes behind the answer's head belongs to the frames, whatever a length field says and
/// however it was cut.
#[tokio::test]
async fn bytes_behind_the_answer_are_frames() {
    let mut frames = frame_header(0x81, 5, false);
    frames.extend(b"hello");
    frames.extend(frame_header(0x82, 2, false));
    frames.extend(b"ok");
    let length = SWITCHING.replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n");
    for head in [SWITCHING, &*length] {
        let whole = head.len() + 20 + frames.len();
        let cuts = (head.len() - 4..whole).chain([1, 17, usize::MAX]);
        for cut in cuts {
            let (mut socket, _peer) = open_cut(head, &frames, cut).await;
            let first = soon("a message", socket.recv()).await.unwrap();
            assert_eq!(first, Some(Message::text("hello")), "{cut}");
            let second = soon("a message", socket.recv()).await.unwrap();
            assert_eq!(second, Some(Message::binary(&b"ok"[..])), "{cut}");
        }
    }
}

/// C-05: nothing follows the request while the server has not answered.
#[tokio::test]
async fn nothing_is_sent_before_the_answer() {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move {
        let mut socket = client().connect(uri).await.unwrap().into_body();
        socket.send("at last").await.unwrap();
        socket
    });
    let mut peer = soon("a request", script.accept()).await;
    for part in SWITCHING.split_inclusive("\r\n") {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let mut byte = [0];
        let read = peer.stream.try_read(&mut byte);
        assert!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
        peer.answer(part).await;
    }
    assert_eq!(peer.bytes(1).await, [0x81]);
    drop(soon("a socket", asks).await.unwrap());
}

/// C-07: a refusal comes with its status, its fields and its body.
#[tokio::test]
async fn a_refusal_is_handed_to_the_caller() {
    let table = [
        ("401 Unauthorized", "WWW-Authenticate: Bearer"),
        ("302 Found", "Location: http://other.example/"),
        ("200 OK", "Content-Type: text/html"),
        ("404 Not Found", "X-Why: not here"),
        ("426 Upgrade Required", "Upgrade: websocket"),
        ("429 Too Many Requests", "Retry-After: 5"),
        ("501 Not Implemented", "X-Why: not here"),
        ("503 Service Unavailable", "Retry-After: 5"),
        ("400 Bad Request", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8, 7"),
    ];
    for (status, fields) in table {
        let answer = format!("HTTP/1.1 {status}\r\n{fields}\r\nContent-Length: 4\r\n\r\nwhy?");
        let (error, rest) = outcome(ClientOptions::new(), &answer).await;
        assert_eq!(rest, b"");
        let code = status.split(' ').next().unwrap();
        assert_eq!(error.status().unwrap().as_str(), code);
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(error.answer_error(), None);
        assert_eq!(error.is_transient(), ["429", "503"].contains(&code), "{error}");
        let response = error.into_response().unwrap();
        assert_eq!(response.body(), "why?");
        for field in fields.split("\r\n") {
            let (name, value) = field.split_once(": ").unwrap();
            let mut lines = response.headers().get_all(name).iter();
            assert!(lines.any(|line| line == value), "{field}");
        }
    }
    let (error, _) = outcome(
        ClientOptions::new(),
        "HTTP/1.1 403 Forbidden\r\nSet-Cookie: secret\r\nContent-Length: 6\r\n\r\nsecret",
    )
    .await;
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

/// Any HTTP client will do that brings the connection with its answer.
#[tokio::test]
async fn an_http_client_need_not_be_hypers() {
    let http = accepting(|| async {
        let (near, far) = tokio::io::duplex(100);
        let session = hybi::socket::Session::new(
            far,
            hybi::socket::Config::server(),
            async |mut socket: hybi::socket::WebSocket<_>| {
                while let Some(message) = socket.recv().await? {
                    socket.send(message).await?;
                }
                Ok(())
            },
        );
        tokio::spawn(session);
        Ok(near)
    });
    is_echo(WebSocketClient::new(http).connect("wss://h").await.unwrap().into_body()).await;

    let without =
        service_fn(async |request: Request<Empty<Bytes>>| Ok::<_, Infallible>(accepted(&request)));
    let error = WebSocketClient::new(without).connect("ws://h").await.unwrap_err();
    assert!(error.is_upgrade(), "{error}");
}

/// C-15: an answer whose head does not end.
#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    let long = format!("HTTP/1.1 101 X\r\nX-Long: {}", "x".repeat(40_000));
    let many = format!("HTTP/1.1 101 X\r\n{}\r\n", "X-Many: x\r\n".repeat(101));
    for answer in [long, many] {
        let (error, rest) = outcome(ClientOptions::new(), &answer).await;
        assert!(error.is_http(), "{error}");
        assert_eq!(rest, b"");
    }
    let fits = format!("X-Long: {}\r\n{}", "x".repeat(14_000), "X-Many: x\r\n".repeat(90));
    let fits = SWITCHING.replace("Upgrade:", &format!("{fits}Upgrade:"));
    let (socket, _peer) = open_cut(&fits, b"", 1).await;
    drop(socket);
}

/// C-05: what answers in another language, or not at all.
#[tokio::test]
async fn an_answer_that_is_no_http_is_an_error() {
    for answer in ["SSH-2.0-OpenSSH_9.6\r\n\r\n", "\0\0\0\0\r\n\r\n", "HTTP/1.1\r\n\r\n"] {
        let (error, rest) = outcome(ClientOptions::new(), answer).await;
        assert!(error.is_http(), "{answer:?}: {error}");
        assert_eq!(rest, b"");
    }
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move { client().connect(uri).await.map(drop) });
    drop(soon("a request", script.accept()).await);
    let error = soon("an outcome", asks).await.unwrap().unwrap_err();
    assert!(error.is_http(), "{error}");
}

/// Dropping the attempt ends the connection.
#[tokio::test]
async fn an_attempt_that_is_dropped_hangs_up() {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move { client().connect(uri).await.map(drop) });
    let mut peer = soon("a request", script.accept()).await;
    asks.abort();
    assert_eq!(soon("the end", peer.rest()).await, b"");
}

/// N-09, N-08: the server's choice is known on both sides, and none is a failure unless told otherwise.
#[tokio::test]
async fn the_subprotocol_is_agreed_on() {
    let layer = WebSocketLayer::new(handler_fn(async |mut socket: WebSocket| {
        let name = socket.subprotocol().unwrap_or("none").to_owned();
        socket.send(name).await?;
        Ok(())
    }));
    let sessions = Sessions::new();
    let layer = layer.policy(Subprotocols::new(["x", "b"]).unwrap()).sessions(sessions.clone());
    let server = start::start(Router::new().fallback_service(layer.into_service())).await;
    let uri = format!("ws://{server}");

    let options = ClientOptions::new().subprotocols(["a", "b"]).unwrap();
    let mut socket = client_with(options).connect(&uri).await.unwrap().into_body();
    assert_eq!(socket.subprotocol(), Some("b"));
    assert_eq!(socket.recv().await.unwrap(), Some(Message::text("b")));
    drop(socket);

    let options = ClientOptions::new().subprotocols(["a"]).unwrap();
    let error = client_with(options.clone()).connect(&uri).await.unwrap_err();
    assert_eq!(error.answer_error(), Some(AnswerError::MissingSubprotocol));
    let options = options.require_subprotocol(false);
    let mut socket = client_with(options).connect(&uri).await.unwrap().into_body();
    assert_eq!(socket.subprotocol(), None);
    assert_eq!(socket.recv().await.unwrap(), Some(Message::text("none")));
    drop(socket);
    until_empty(&sessions).await;
}
