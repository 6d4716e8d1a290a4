//! Compression as a client asks for it, and what becomes of it.

use std::{convert::Infallible, time::Duration};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hybi::{
    handshake::{ClientRequest, HandshakeLimits, ServerHandshake},
    proto::Deflate,
    socket::{Config, Session},
    standalone,
};
use tests::{
    dial::{accepting, client_with, is_echo},
    script::{SWITCHING, Script},
    start::{self, echo, soon},
};
use tower::service_fn;
use tower_websocket::{
    Message, WebSocket, WebSocketLayer,
    client::{ClientOptions, WebSocketClient},
    handler_fn,
    handshake::AnswerError,
    upgrade::Upgrade,
};

/// A socket to a server that takes the offers that `server` accepts, and echoes; and what it answered.
async fn open(options: ClientOptions, server: Deflate) -> (WebSocket, Option<String>) {
    let http = service_fn(move |request: Request<Empty<Bytes>>| {
        let (mut parts, _) = request.into_parts();
        parts.headers.insert("host", "h".parse().unwrap());
        let handshake = ServerHandshake::parse(&parts, None, &HandshakeLimits::new()).unwrap();
        let agreed = server.accept(handshake.extensions());
        let mut answer = handshake.accept_with(None, agreed.as_ref()).unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let config = Config::server().deflate(agreed);
        tokio::spawn(Session::new(far, config, async |mut socket: hybi::socket::WebSocket<_>| {
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        }));
        answer.extensions_mut().insert(Upgrade::from_io(near));
        std::future::ready(Ok::<_, Infallible>(answer.map(|()| Empty::<Bytes>::new())))
    });
    let mut client = WebSocketClient::new(http).options(options);
    let response = soon("a socket", client.connect("ws://h")).await.unwrap();
    let answered = response.headers().get("sec-websocket-extensions").cloned();
    (response.into_body(), answered.map(|value| value.to_str().unwrap().to_owned()))
}

/// D-05, D-07: every way of asking meets every way of answering.
#[tokio::test]
async fn compressed_sockets_echo_whatever_was_agreed_on() {
    let bases = [
        Deflate::new(),
        Deflate::new().server_context_takeover(true).client_context_takeover(true),
        Deflate::new().server_max_window_bits(10).client_max_window_bits(9),
        Deflate::new().threshold(0),
    ];
    let text = "all work and no play makes jack a dull boy. ".repeat(200);
    for asked in &bases {
        for answered in &bases {
            let options = ClientOptions::new().deflate(asked.clone());
            let (mut socket, answer) = open(options, answered.clone()).await;
            assert!(answer.unwrap().starts_with("permessage-deflate"));
            for _ in 0..3 {
                socket.send(text.clone()).await.unwrap();
                let received = soon("an echo", socket.recv()).await.unwrap();
                assert_eq!(received, Some(Message::text(text.clone())));
            }
            is_echo(socket).await;
        }
    }
    let (socket, answer) = open(ClientOptions::new(), Deflate::new()).await;
    assert_eq!(answer, None);
    is_echo(socket).await;
}

/// D-05, D-07, E-10: with a layer of ours at the other end, over both versions of HTTP.
#[tokio::test]
async fn client_and_layer_agree_on_compression() {
    for granted in [true, false] {
        let layer = WebSocketLayer::new(handler_fn(echo));
        let layer = if granted { layer.deflate(Deflate::new()) } else { layer };
        let server = start::start(Router::new().fallback_service(layer.into_service())).await;
        for http2 in [false, true] {
            let options = ClientOptions::new().deflate(Deflate::new()).extended_connect(http2);
            let response = client_with(options).connect(format!("ws://{server}")).await.unwrap();
            let answered = response.headers().contains_key("sec-websocket-extensions");
            assert_eq!((answered, response.status().as_u16() == 200), (granted, http2));
            let mut socket = response.into_body();
            let message = Message::text("to and fro ".repeat(1000));
            socket.send(message.clone()).await.unwrap();
            assert_eq!(soon("an echo", socket.recv()).await.unwrap(), Some(message));
            is_echo(socket).await;
        }
    }
}

/// D-14: with compression agreed on, a long message is compressed; without it is not.
#[tokio::test]
async fn long_messages_are_compressed_when_it_was_agreed_on() {
    let accepted =
        "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n";
    for (answer, first) in
        [(SWITCHING.replace("\r\n\r\n", accepted), 0xc1), (SWITCHING.to_owned(), 0x81)]
    {
        let script = Script::listen().await;
        let options = ClientOptions::new().deflate(Deflate::new());
        let uri = script.uri();
        let asks = tokio::spawn(async move { client_with(options).connect(uri).await });
        let mut peer = soon("a request", script.accept()).await;
        assert_eq!(peer.all("sec-websocket-extensions"), [Deflate::new().offer().to_string()]);
        peer.answer(&answer).await;
        let mut socket = soon("a socket", asks).await.unwrap().unwrap().into_body();
        socket.send("x".repeat(5000)).await.unwrap();
        assert_eq!(peer.bytes(1).await, [first]);
    }
}

/// The code and the reason of the client's Close, which is the first and only thing that it sends.
async fn close_of(script: &Script) -> (u16, String) {
    let mut peer = soon("a request", script.accept()).await;
    peer.answer(SWITCHING).await;
    let head = peer.bytes(6).await;
    assert_eq!(head[0], 0x88);
    let mut body = peer.bytes(usize::from(head[1] & 0x7f)).await;
    body.iter_mut().zip(head[2..].iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    peer.send(&[0x88, 2, body[0], body[1]]).await;
    let code = u16::from_be_bytes([body[0], body[1]]);
    (code, String::from_utf8(body.split_off(2)).unwrap())
}

/// a client that cannot do without says so, over hyper and stand-alone.
#[tokio::test]
async fn a_client_that_lacks_what_it_requires_closes_with_1010() {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move {
        let options = ClientOptions::new().deflate(Deflate::new()).require_deflate(true);
        client_with(options).connect(uri).await.map(drop)
    });
    assert_eq!(soon("a Close", close_of(&script)).await, (1010, "permessage-deflate".into()));
    let error = soon("an outcome", asks).await.unwrap().unwrap_err();
    assert_eq!(error.answer_error(), Some(AnswerError::MissingExtension));

    let request = ClientRequest::new(script.uri()).unwrap();
    let request = request.deflate(Deflate::new()).require_deflate(true);
    let asks = tokio::spawn(async move { standalone::connect(request).await.map(drop) });
    assert_eq!(soon("a Close", close_of(&script)).await, (1010, "permessage-deflate".into()));
    let error = soon("an outcome", asks).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("extension"), "{error}");
}

/// X-09, C-15: at two values, the second beyond the socket's own time to close.
#[tokio::test(start_paused = true)]
async fn closing_with_1010_is_within_the_time_of_the_attempt() {
    for (timeout, seconds) in [(2, 2), (20, 5)] {
        let http = accepting(|| async {
            let (near, far) = tokio::io::duplex(100);
            tokio::spawn(async move {
                let _far = far;
                std::future::pending::<()>().await;
            });
            Ok(near)
        });
        let options = ClientOptions::new().deflate(Deflate::new()).require_deflate(true);
        let options = options.timeout(Duration::from_secs(timeout));
        let began = tokio::time::Instant::now();
        let error =
            WebSocketClient::new(http).options(options).connect("ws://h").await.unwrap_err();
        assert_eq!(error.answer_error(), Some(AnswerError::MissingExtension));
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}

/// X-07, C-10, D-07
#[tokio::test]
async fn a_wrong_answer_to_the_offer_fails() {
    use AnswerError as E;

    for (line, expected) in [
        ("permessage-deflate", E::ExtensionDemandIgnored),
        ("permessage-deflate; x", E::InvalidExtensionParameter),
        ("permessage-deflate, permessage-deflate", E::RepeatedExtension),
        ("x-webkit-deflate-frame", E::UnofferedExtension),
    ] {
        let script = Script::listen().await;
        let options = ClientOptions::new().deflate(Deflate::new());
        let uri = script.uri();
        let asks = tokio::spawn(async move { client_with(options).connect(uri).await.map(drop) });
        let mut peer = soon("a request", script.accept()).await;
        let field = format!("\r\nSec-WebSocket-Extensions: {line}\r\n\r\n");
        peer.answer(&SWITCHING.replace("\r\n\r\n", &field)).await;
        let error = soon("an outcome", asks).await.unwrap().unwrap_err();
        assert_eq!(error.answer_error(), Some(expected), "{line}");
        assert_eq!(error.response().map(Response::status), None);
        assert_eq!(peer.rest().await, b"");
    }
}
