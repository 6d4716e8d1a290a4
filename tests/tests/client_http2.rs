//! The client over HTTP/2: extended CONNECT, and servers that do not know it.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::Client as Pool,
    rt::{TokioExecutor, TokioIo},
};
use tests::{
    dial::{client, is_echo},
    script::Script,
    start::{self, app, axum, echo, listen, soon, until_empty},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpStream,
};
use tower::{Service, ServiceExt};
use tower_websocket::{
    Message, Sessions, WebSocketLayer,
    client::{ClientError, ClientOptions, Http1, Http2, WebSocketClient},
    handler_fn,
    handshake::AnswerError,
    policy::Subprotocols,
};

fn options() -> ClientOptions {
    ClientOptions::new().extended_connect(true)
}

async fn http2(addr: SocketAddr) -> Http2 {
    let stream = TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    soon("a connection", Http2::handshake(stream)).await.unwrap()
}

async fn client_to(addr: SocketAddr) -> WebSocketClient<Http2> {
    WebSocketClient::new(http2(addr).await).options(options())
}

/// R-03, E-12: many sockets and plain requests on one connection.
#[tokio::test]
async fn sockets_share_a_connection_with_each_other_and_with_requests() {
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone()).into_service();
    let app = Router::new().route_service("/ws", layer).route("/plain", get(async || "plain"));
    for server in [start::start(app.clone()).await, axum(app).await] {
        let mut connection = http2(server).await;
        assert!(soon("settings", connection.takes_extended_connect()).await.unwrap());
        let mut client = WebSocketClient::new(connection.clone()).options(options());
        let mut sockets = Vec::new();
        for _ in 0..20 {
            let response = client.connect(format!("ws://{server}/ws")).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.version(), Version::HTTP_2);
            sockets.push(response.into_body());
        }
        until_twenty(&sessions).await;
        let plain = Request::get(format!("http://{server}/plain")).body(Empty::<Bytes>::new());
        let answer = connection.ready().await.unwrap().call(plain.unwrap()).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "plain");
        drop((client, connection));
        for socket in sockets {
            is_echo(socket).await;
        }
        until_empty(&sessions).await;
    }
}

async fn until_twenty(sessions: &Sessions) {
    start::until("twenty sockets", || sessions.len() == 20).await;
}

/// A request says by its version how the WebSocket is opened, whatever the options say.
#[tokio::test]
async fn the_version_of_a_request_decides() {
    let server = start::start(app(handler_fn(echo), &Sessions::new())).await;
    let stream = http2(server).await;
    let request = |version| {
        let uri = format!("ws://{server}/");
        Request::get(uri).version(version).body(()).unwrap()
    };
    let response = WebSocketClient::new(stream).oneshot(request(Version::HTTP_2)).await.unwrap();
    is_echo(response.into_body()).await;
    for (version, status) in [(Version::HTTP_2, 200), (Version::HTTP_11, 101)] {
        let response = client().oneshot(request(version)).await.unwrap();
        assert_eq!((response.version(), response.status().as_u16()), (version, status));
        is_echo(response.into_body()).await;
    }
    let pool = Pool::builder(TokioExecutor::new()).http2_only(true).build_http::<Empty<Bytes>>();
    let mut pooled = WebSocketClient::new(pool).options(options());
    for _ in 0..3 {
        let uri = format!("ws://{server}/");
        is_echo(pooled.connect(&uri).await.unwrap().into_body()).await;
    }
}

/// A server that speaks HTTP/2 by hand, and answers what `answer` makes of each request.
async fn h2_server(
    extended_connect: bool,
    answer: impl Fn(&Request<h2::RecvStream>) -> Option<Response<&'static str>> + Send + 'static,
) -> SocketAddr {
    let (listener, addr) = listen().await;
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = h2::server::Builder::new();
        if extended_connect {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let Some(answer) = answer(&request) else {
                respond.send_reset(h2::Reason::CANCEL);
                continue;
            };
            let (head, body) = answer.into_parts();
            let mut stream = respond.send_response(Response::from_parts(head, ()), false).unwrap();
            stream.send_data(Bytes::from_static(body.as_bytes()), true).unwrap();
        }
    });
    addr
}

/// E-05, E-06, E-09, E-10, O-09, N-01: the whole request, as the server sees it.
#[tokio::test]
async fn the_request_is_an_extended_connect_in_due_form() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = h2_server(true, move |request| {
        let protocol = request.extensions().get::<h2::ext::Protocol>().cloned();
        let head = (request.method().clone(), request.uri().clone(), request.headers().clone());
        seen.send((head, protocol)).unwrap();
        None
    })
    .await;
    let options = options().subprotocols(["b", "a"]).unwrap();
    let options = options.origin("https://page.example").unwrap();
    let request = Request::get(format!("ws://{server}?x=1")).header("cookie", "a=1");
    let client = WebSocketClient::new(http2(server).await).options(options);
    let error = client.oneshot(request.body(()).unwrap()).await.unwrap_err();
    assert!(error.is_http(), "{error}");

    let ((method, uri, headers), protocol) = requests.recv().await.unwrap();
    assert_eq!(method, Method::CONNECT);
    assert_eq!(protocol.unwrap().as_str(), "websocket");
    assert_eq!(uri.to_string(), format!("http://{server}/?x=1"));
    let mut names: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["cookie", "origin", "sec-websocket-protocol", "sec-websocket-version"]);
    assert_eq!(headers["sec-websocket-version"], "13");
    assert_eq!(headers["sec-websocket-protocol"], "b, a");
}

/// E-03: without the setting no `:protocol` goes out, and the error says why.
#[tokio::test]
async fn without_the_setting_nothing_is_sent() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = h2_server(false, move |request| {
        seen.send(request.method().clone()).unwrap();
        Some(Response::new(""))
    })
    .await;
    let mut connection = http2(server).await;
    assert!(!connection.takes_extended_connect().await.unwrap());
    let mut client = WebSocketClient::new(connection.clone()).options(options());
    let error = soon("an error", client.connect(format!("ws://{server}"))).await.unwrap_err();
    assert!(error.is_unsupported() && !error.is_http(), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("SETTINGS_ENABLE_CONNECT_PROTOCOL"), "{source}");
    // An ordinary request does go out, and is all that came.
    let plain = Request::get(format!("http://{server}/")).body(Empty::<Bytes>::new()).unwrap();
    assert!(connection.ready().await.unwrap().call(plain).await.is_ok());
    assert_eq!(requests.recv().await, Some(Method::GET));
    drop((client, connection));
    assert_eq!(requests.recv().await, None);
}

/// A frame of SETTINGS with these pairs.
fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut frame = vec![0, 0, (pairs.len() * 6) as u8, 4, 0, 0, 0, 0, 0];
    for (name, value) in pairs {
        frame.extend(name.to_be_bytes());
        frame.extend(value.to_be_bytes());
    }
    frame
}

async fn silent_http2() -> (Http2, DuplexStream) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    (Http2::handshake(near).await.unwrap(), far)
}

/// E-03: the settings are waited for, whichever they are, and followed when they change.
#[tokio::test(start_paused = true)]
async fn an_extended_connect_waits_for_the_settings() {
    let read_all = |mut far: DuplexStream| async move {
        let mut bytes = vec![0; 64 * 1024];
        let mut len = 0;
        while let Ok(Ok(n)) =
            tokio::time::timeout(Duration::from_secs(1), far.read(&mut bytes[len..])).await
        {
            len += n;
        }
        bytes.truncate(len);
        bytes
    };
    // HEADERS, of a request.
    let has_request = |bytes: &[u8]| {
        let mut rest = &bytes[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()..];
        let mut found = false;
        while let [a, b, c, kind, ..] = rest {
            let len = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
            found |= *kind == 1;
            rest = &rest[9 + len..];
        }
        found
    };

    // A server that is silent.
    let (connection, far) = silent_http2().await;
    let mut client = WebSocketClient::new(connection).options(options());
    let began = tokio::time::Instant::now();
    let error = client.connect("ws://h").await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(!has_request(&read_all(far).await));

    // One that says nothing about it, or no. A bound on streams says nothing about it either.
    for said in [&[][..], &[(8, 0)], &[(3, 100)], &[(3, 1)]] {
        let (connection, mut far) = silent_http2().await;
        far.write_all(&settings(said)).await.unwrap();
        assert!(!connection.takes_extended_connect().await.unwrap(), "{said:?}");
        let mut client = WebSocketClient::new(connection).options(options());
        assert!(client.connect("ws://h").await.unwrap_err().is_unsupported(), "{said:?}");
        assert!(!has_request(&read_all(far).await));
    }

    // One that says yes, and one that says so later.
    for said in [&[(8, 1)][..], &[(3, 100), (8, 1)]] {
        let (connection, mut far) = silent_http2().await;
        far.write_all(&settings(said)).await.unwrap();
        assert!(connection.takes_extended_connect().await.unwrap(), "{said:?}");
        let mut client = WebSocketClient::new(connection).options(options());
        assert!(client.connect("ws://h").await.unwrap_err().is_timeout());
        assert!(has_request(&read_all(far).await));
    }
    let (connection, mut far) = silent_http2().await;
    far.write_all(&settings(&[])).await.unwrap();
    assert!(!connection.takes_extended_connect().await.unwrap());
    far.write_all(&settings(&[(8, 1)])).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(connection.takes_extended_connect().await.unwrap());

    // One that says no, and then takes no stream for the time being.
    let (connection, mut far) = silent_http2().await;
    far.write_all(&settings(&[])).await.unwrap();
    assert!(!connection.takes_extended_connect().await.unwrap());
    far.write_all(&settings(&[(3, 0)])).await.unwrap();
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let takes = tokio::time::timeout(Duration::from_secs(1), connection.takes_extended_connect());
    assert!(!takes.await.expect("what is known is not waited for").unwrap());

    // One that is gone.
    let (connection, far) = silent_http2().await;
    drop(far);
    assert!(connection.takes_extended_connect().await.is_err());
    let mut client = WebSocketClient::new(connection).options(options());
    assert!(client.connect("ws://h").await.unwrap_err().is_http());
}

/// The outcome of an extended CONNECT that is answered so.
async fn outcome(answer: Response<&'static str>) -> ClientError {
    let server = h2_server(true, move |_| {
        let mut again = Response::new(*answer.body());
        *again.status_mut() = answer.status();
        again.headers_mut().clone_from(answer.headers());
        Some(again)
    })
    .await;
    let options = options().subprotocols(["a", "b"]).unwrap();
    let mut client = WebSocketClient::new(http2(server).await).options(options);
    soon("an outcome", client.connect(format!("ws://{server}"))).await.unwrap_err()
}

/// C-07, E-13: refusals, with their bodies.
#[tokio::test]
async fn a_refusal_is_handed_to_the_caller() {
    for status in [302, 401, 403, 404, 429, 501, 503] {
        let answer = Response::builder().status(status).header("x-why", "because").body("why?");
        let error = outcome(answer.unwrap()).await;
        let response = error.response().unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.headers()["x-why"], "because");
        assert_eq!(response.body(), "why?");
    }
    // One of our servers, and its policy.
    let server = start::start(app(handler_fn(echo), &Sessions::new())).await;
    let options = options().origin("https://other.example").unwrap();
    let mut client = WebSocketClient::new(http2(server).await).options(options);
    let error = client.connect(format!("ws://{server}")).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::FORBIDDEN));
    assert!(!error.response().unwrap().body().is_empty());
}

/// C-15: the head of an answer is bounded, by default and as set.
#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    for (len, bound, fits) in
        [(15_000, None, true), (17_000, None, false), (17_000, Some(20_000), true)]
    {
        let server = h2_server(true, move |_| {
            let answer = Response::builder().status(404).header("x-long", "x".repeat(len));
            Some(answer.body("").unwrap())
        })
        .await;
        let stream = TcpStream::connect(server).await.unwrap();
        let connection = Http2::handshake_with(stream, |builder| {
            if let Some(bytes) = bound {
                builder.max_header_list_size(bytes);
            }
        });
        let mut client = WebSocketClient::new(connection.await.unwrap()).options(options());
        let error = soon("an outcome", client.connect(format!("ws://{server}"))).await.unwrap_err();
        assert_eq!((error.response().is_some(), error.is_http()), (fits, !fits), "{error}");
    }
}

/// C-10, N-07, N-08, E-10: the fields of the answer are judged as on HTTP/1.1.
#[tokio::test]
async fn a_wrong_answer_fails() {
    use AnswerError as E;

    let table: [(&[(&str, &str)], E); 6] = [
        (&[], E::MissingSubprotocol),
        (&[("sec-websocket-protocol", "c")], E::UnofferedSubprotocol),
        (&[("sec-websocket-protocol", "a, b")], E::InvalidSubprotocol),
        (
            &[("sec-websocket-protocol", "a"), ("sec-websocket-protocol", "a")],
            E::RepeatedSubprotocol,
        ),
        (
            &[("sec-websocket-protocol", "a"), ("sec-websocket-extensions", "x-a")],
            E::UnofferedExtension,
        ),
        (
            &[("sec-websocket-protocol", "a"), ("sec-websocket-extensions", ",")],
            E::MalformedExtensions,
        ),
    ];
    for (fields, expected) in table {
        let mut answer = Response::builder();
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let error = outcome(answer.body("").unwrap()).await;
        assert_eq!(error.answer_error(), Some(expected), "{fields:?}");
    }
}

/// N-09
#[tokio::test]
async fn the_subprotocol_is_agreed_on() {
    let layer = WebSocketLayer::new(handler_fn(echo)).policy(Subprotocols::new(["b"]).unwrap());
    let server = start::start(Router::new().fallback_service(layer.into_service())).await;
    let options = options().subprotocols(["a", "b"]).unwrap();
    let mut client = WebSocketClient::new(http2(server).await).options(options);
    let socket = client.connect(format!("ws://{server}")).await.unwrap().into_body();
    assert_eq!(socket.subprotocol(), Some("b"));
    is_echo(socket).await;
}

/// Large messages pass both ways, through the flow control of both levels.
#[tokio::test]
async fn large_messages_pass() {
    let server = start::start(app(handler_fn(echo), &Sessions::new())).await;
    let mut socket =
        client_to(server).await.connect(format!("ws://{server}")).await.unwrap().into_body();
    let message = Message::binary(vec![7; 1 << 20]);
    soon("sent", socket.send(message.clone())).await.unwrap();
    assert_eq!(soon("received", socket.recv()).await.unwrap(), Some(message));
    is_echo(socket).await;
}

/// What the two versions do not have in common is named, and sent to nobody.
#[tokio::test]
async fn the_wrong_version_is_named() {
    // An upgrade, over a connection that speaks HTTP/2.
    let plain = Router::new().fallback(async || Body::from("a page"));
    let server = start::start(plain).await;
    let mut client = WebSocketClient::new(http2(server).await);
    let error = client.connect(format!("ws://{server}")).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");

    // An extended CONNECT, over one that speaks HTTP/1.1.
    let script = Script::listen().await;
    let stream = TcpStream::connect(script.addr()).await.unwrap();
    let http = Http1::handshake(stream).await.unwrap();
    let mut client = WebSocketClient::new(http).options(options());
    let error = client.connect(script.uri()).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
}

/// E-05, S-04: over HTTP/1.1 a CONNECT asks for a tunnel, and who opens one has not agreed to frames.
#[tokio::test]
async fn a_tunnel_is_no_websocket() {
    let script = Script::listen().await;
    // It does not know of extended CONNECT, and drops the `:protocol`.
    let addr = script.addr();
    let http = tower::service_fn(move |request: Request<Empty<Bytes>>| async move {
        let stream = TokioIo::new(TcpStream::connect(addr).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await
    });
    let mut client = WebSocketClient::new(http).options(options());
    let uri = script.uri();
    let opening = async { client.connect(&uri).await.map(drop) };
    let server = async {
        let mut peer = script.accept().await;
        assert!(peer.head.starts_with("CONNECT "), "{}", peer.head);
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n").await;
        peer.rest().await
    };
    let (opened, rest) = soon("an outcome", async { tokio::join!(opening, server) }).await;
    let error = opened.unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("HTTP/1.1"), "{error}");
    assert!(rest.is_empty());
}
