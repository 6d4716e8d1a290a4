//! Handshakes of a stand-alone client, against a server that writes bytes.

use std::{error::Error, future::pending, io, net::SocketAddr, time::Duration};

use http::{HeaderValue, StatusCode};
use hybi::{
    handshake::{AnswerError, ClientRequest, accept_value},
    proto::Limits,
    socket::{Timeouts, WebSocket},
    standalone::{
        Acceptor, ConnectError, Connector, HeadError, HeadLimits, Proxy, connect, connect_over,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

const URL: &str = "ws://server.example:81/chat?a=b";

/// The server's end of a stream.
struct Server<T> {
    io: T,
    head: String,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Server<T> {
    /// Reads the request, and not a byte more.
    async fn read(mut io: T) -> Self {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.expect("a whole request"));
        }
        Self { io, head: String::from_utf8(head).unwrap() }
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines.find(|(it, _)| *it == name).map(|(_, value)| value)
    }

    /// An answer that accepts, with further lines.
    fn accepting(&self, lines: &str) -> String {
        let key = self.field("Sec-WebSocket-Key").unwrap();
        let accept = String::from_utf8(accept_value(key.as_bytes()).to_vec()).unwrap();
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n"
        )
    }

    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.expect("the client reads");
    }

    /// Whether the client ends the stream without a further byte.
    async fn at_eof(&mut self) -> bool {
        matches!(self.io.read(&mut [0]).await, Ok(0) | Err(_))
    }
}

type Opened = Result<(WebSocket<DuplexStream>, http::Response<()>), ConnectError>;

/// What a client makes of the answer that `answer` makes.
async fn answered(
    connector: &Connector,
    answer: impl FnOnce(&Server<DuplexStream>) -> Vec<u8>,
) -> Opened {
    let (io, server) = duplex(1 << 20);
    let server = async {
        let mut server = Server::read(server).await;
        let bytes = answer(&server);
        server.send(bytes).await;
        if server.io.shutdown().await.is_ok() {
            drop(server);
        }
    };
    tokio::join!(connector.connect_over(io, URL), server).0
}

async fn refused(answer: &str) -> ConnectError {
    answered(&Connector::new(), |_| answer.as_bytes().to_vec()).await.map(drop).unwrap_err()
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

// ===== what is asked, and what is accepted =====

/// C-02, C-03, C-05, R-11, R-12
#[tokio::test]
async fn the_request_is_whole_and_nothing_follows_it() {
    let (io, server) = duplex(4096);
    let request = ClientRequest::new(URL).unwrap().header("Cookie", "a=b").unwrap();
    let opening = tokio::spawn(async move {
        let (mut socket, response) = connect_over(io, request).await.unwrap();
        socket.send("queued").await.unwrap();
        (socket, response)
    });
    let mut server = Server::read(server).await;
    let mut lines: Vec<_> = server.head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "GET /chat?a=b HTTP/1.1");
    lines.sort_unstable();
    let key = server.field("Sec-WebSocket-Key").unwrap();
    assert_eq!(key.len(), 24);
    let key = format!("Sec-WebSocket-Key: {key}");
    let expected = [
        "Connection: Upgrade",
        "Cookie: a=b",
        "Host: server.example:81",
        &key,
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ];
    assert_eq!(lines, expected);
    // The client would have had every opportunity to send its message.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::ZERO, server.io.read(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    let answer = server.accepting("Set-Cookie: c=d\r\n");
    server.send(answer).await;
    let (_socket, response) = opening.await.unwrap();
    assert_eq!(response.headers()["set-cookie"], "c=d");
    let mut frame = [0; 12];
    server.io.read_exact(&mut frame).await.unwrap();
    assert_eq!(frame[..2], [0x81, 0x86], "a masked text of six bytes");
}

/// C-11, C-06: wherever the answer is cut; a length field on it means nothing.
#[tokio::test]
async fn bytes_behind_the_answer_are_frames() {
    let make = |server: &Server<DuplexStream>| {
        let mut bytes = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".to_vec();
        bytes.extend(server.accepting("Content-Length: 5\r\nTransfer-Encoding: x\r\n").bytes());
        bytes.extend(b"\x81\x05early\x82\x01\x07");
        bytes
    };
    let mut cut = 0;
    loop {
        let (io, server) = duplex(4096);
        let opening = tokio::spawn(connect_over(io, URL));
        let mut server = Server::read(server).await;
        let bytes = make(&server);
        let Some((first, second)) = bytes.split_at_checked(cut) else { break };
        server.send(first).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        server.send(second).await;
        let (mut socket, _) = opening.await.unwrap().unwrap();
        let message = socket.recv().await.unwrap().unwrap();
        assert_eq!(message.as_text(), Some("early"), "cut at {cut}");
        assert_eq!(socket.recv().await.unwrap().unwrap().len(), 1);
        cut += 1;
    }
    assert!(cut > 200);
}

/// N-09, N-07
#[tokio::test]
async fn the_socket_speaks_the_chosen_subprotocol() {
    for (lines, expected) in
        [("Sec-WebSocket-Protocol: b\r\n", Some("b")), ("Sec-WebSocket-Protocol: c\r\n", None)]
    {
        let (io, server) = duplex(4096);
        let request = ClientRequest::new(URL).unwrap().subprotocols(["a", "b"]).unwrap();
        let opening = tokio::spawn(connect_over(io, request));
        let mut server = Server::read(server).await;
        assert_eq!(server.field("Sec-WebSocket-Protocol"), Some("a, b"));
        let answer = server.accepting(lines);
        server.send(answer).await;
        match opening.await.unwrap() {
            Ok((socket, _)) => assert_eq!(socket.subprotocol(), expected),
            Err(error) => {
                assert_eq!(expected, None);
                assert_eq!(error.answer_error(), Some(AnswerError::UnofferedSubprotocol));
            }
        }
    }
}

/// R-11, R-14
#[tokio::test]
async fn it_talks_to_the_stand_alone_server() {
    let (listener, addr) = listen().await;
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        // Longer than any clock goes.
        let acceptor = Acceptor::new().handshake_timeout(Duration::MAX);
        let acceptor = acceptor.subprotocols(["chat"]).unwrap();
        let incoming = acceptor.read(stream).await.unwrap();
        let serving = incoming.serve(|mut socket: WebSocket<_>| async move {
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        });
        serving.await.unwrap()
    };
    let client = async {
        let request = ClientRequest::new(format!("ws://localhost:{}", addr.port())).unwrap();
        let connector = Connector::new().timeout(Duration::MAX);
        let request = request.subprotocols(["chat"]).unwrap();
        let (mut socket, _) = connector.connect(request).await.unwrap();
        assert!(socket.subprotocol() == Some("chat"));
        let long = "x".repeat(200_000);
        for text in ["", "hello", &long] {
            socket.send(text).await.unwrap();
            assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some(text));
        }
        socket.close().await.unwrap();
        socket
    };
    let (ended, socket) = tokio::join!(server, client);
    assert_eq!(socket.peer_close().unwrap().status(), 1000);
    assert!(ended.failure().is_none());
    assert_eq!(ended.stats().messages_received, 3);
}

// ===== answers that do not open it =====

/// C-08, C-09, C-10: the tables stand with the handshake; these show that it is asked, and that
/// the client then leaves without a byte (C-05, L-14).
#[tokio::test]
async fn an_answer_that_breaks_the_protocol_ends_the_attempt_without_a_byte() {
    use AnswerError as E;

    type Spoil = fn(String) -> String;
    let table: [(Spoil, AnswerError); 8] = [
        (|it| it.replace("Upgrade: websocket\r\n", ""), E::MissingUpgrade),
        (|it| it.replace("websocket\r", "websocket, foo\r"), E::WrongUpgrade),
        (|it| it.replace("Connection: Upgrade", "Connection: close"), E::ConnectionLacksUpgrade),
        (|it| it.replace("Accept: ", "Accept: x"), E::WrongAccept),
        (|it| it.replace("Sec-WebSocket-Accept", "X"), E::MissingAccept),
        (
            |it| it.replace("Upgrade\r\n", "Upgrade\r\nSec-WebSocket-Accept: x\r\n"),
            E::RepeatedAccept,
        ),
        (
            |it| it.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: foo\r\n\r\n"),
            E::UnofferedExtension,
        ),
        (
            |it| it.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: foo\r\n\r\n"),
            E::UnofferedSubprotocol,
        ),
    ];
    for (spoil, expected) in table {
        let (io, server) = duplex(4096);
        let opening = tokio::spawn(connect_over(io, URL));
        let mut server = Server::read(server).await;
        let answer = spoil(server.accepting(""));
        server.send(answer).await;
        assert!(server.at_eof().await);
        let error = opening.await.unwrap().unwrap_err();
        assert_eq!(error.answer_error(), Some(expected));
        assert_eq!(error.to_string(), expected.to_string());
        assert!(error.response().is_none() && !error.is_io() && error.source().is_none());
    }
}

/// C-15, H-17
#[tokio::test]
async fn an_answer_that_is_no_http_is_told_from_one_that_is() {
    let table = [
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", HeadError::InvalidStatusLine),
        ("220 mail.example ESMTP\r\n", HeadError::InvalidStatusLine),
        ("HTTP/1.1 101 x\r\nA : b\r\n\r\n", HeadError::SpaceBeforeColon),
        ("HTTP/1.1 101 x\n\n", HeadError::BareLineFeed),
        ("\x15\x03\x01\0\x02\x02", HeadError::InvalidStatusLine),
        ("HTTP/1.1 101 \0", HeadError::Nul),
        ("HTTP/2.0 101 x\r\n\r\n", HeadError::UnsupportedVersion),
    ];
    for (answer, expected) in table {
        let answer = format!("{answer}\r\n");
        let error = refused(&answer).await;
        assert_eq!(error.head_error(), Some(expected), "{answer:?}");
        assert_eq!(error.source().unwrap().to_string(), expected.to_string());
    }
    let connector = Connector::new();
    let old = answered(&connector, |server| {
        server.accepting("").replace("HTTP/1.1", "HTTP/1.0").into_bytes()
    });
    assert_eq!(old.await.unwrap_err().head_error(), Some(HeadError::UnsupportedVersion));
    for answer in ["", "HTTP/1.1 101 Switching Protocols\r\nUpgrade"] {
        let error = refused(answer).await;
        assert!(error.is_io() && error.to_string().contains("without a whole answer"));
    }
}

/// C-15: such as a mail server that waits for the client to go on.
#[tokio::test(start_paused = true)]
async fn a_server_of_another_protocol_is_recognised_by_its_first_bytes() {
    for greeting in ["220 mail.example ESMTP ready\r\n", "S", "HTTP\r"] {
        let (io, mut peer) = tokio::io::duplex(4096);
        peer.write_all(greeting.as_bytes()).await.unwrap();
        let started = tokio::time::Instant::now();
        let error = Connector::new().connect_over(io, "ws://a.example").await.unwrap_err();
        assert_eq!(error.head_error(), Some(HeadError::InvalidStatusLine), "{greeting:?}");
        assert!(!error.is_transient() && started.elapsed() < Duration::from_secs(1));
    }
}

/// C-07
#[tokio::test]
async fn an_error_says_whether_another_attempt_may_do() {
    for (status, expected) in [("503 Busy", true), ("429 Slow down", true), ("403 No", false)] {
        let error = refused(&format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(error.is_transient(), expected, "{status}");
    }
    assert!(refused("").await.is_transient());
    assert!(!Connector::new().connect("ftp://a.example").await.unwrap_err().is_transient());
}

/// C-07
#[tokio::test]
async fn a_refusal_comes_with_its_status_fields_and_body() {
    let table = [
        ("401 Unauthorized", "WWW-Authenticate: Basic\r\nContent-Length: 5", "log in", "log i"),
        ("302 Found", "Location: /elsewhere\r\nContent-Length: 0", "", ""),
        ("200 OK", "Content-Type: text/html", "<html>", "<html>"),
        ("426 Upgrade Required", "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8", "", ""),
        ("503 Busy", "Transfer-Encoding: chunked", "5\r\nlater\r\n0\r\n\r\n", "later"),
        ("204 No Content", "X: y", "zzz", ""),
    ];
    for (status, fields, body, expected) in table {
        let error = refused(&format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n{body}")).await;
        assert_eq!(error.status().unwrap().as_str(), &status[..3]);
        assert!(error.to_string().contains(&status[..3]), "{error}");
        assert!(!error.is_io() && !error.is_proxy() && error.answer_error().is_none());
        assert!(!format!("{error:?}").contains("Basic"));
        let response = error.into_response().unwrap();
        assert_eq!(response.body(), expected);
        let lines = fields.lines().count();
        assert_eq!(response.headers().len(), lines);
    }
    assert!(refused("").await.into_response().unwrap_err().is_io());
}

/// C-07: at the defaults, one past them, and at second values.
#[tokio::test(start_paused = true)]
async fn the_body_of_a_refusal_is_bounded_in_bytes_and_time() {
    for (connector, most, seconds) in [
        (Connector::new(), 64 * 1024, 2),
        (Connector::new().max_refusal(10).refusal_timeout(Duration::from_secs(5)), 10, 5),
    ] {
        for excess in [0, 1] {
            let body = "x".repeat(most + excess);
            let opened = answered(&connector, |_| format!("HTTP/1.1 500 x\r\n\r\n{body}").into());
            let error = opened.await.unwrap_err();
            assert_eq!(error.response().unwrap().body().len(), most);
        }
        // It announces more than it sends.
        let (io, server) = duplex(4096);
        let begin = Instant::now();
        let server = tokio::spawn(async move {
            let mut server = Server::read(server).await;
            server.send("HTTP/1.1 500 x\r\nContent-Length: 10\r\n\r\nhel").await;
            sleep(Duration::from_secs(1)).await;
            server.send("lo").await;
            pending::<()>().await;
        });
        let error = connector.connect_over(io, URL).await.unwrap_err();
        assert_eq!(error.response().unwrap().body(), "hello");
        assert_eq!(begin.elapsed().as_secs(), seconds);
        server.abort();
    }
}

/// C-06: some are skipped, not any number.
#[tokio::test]
async fn interim_answers_are_skipped_up_to_a_bound() {
    for (count, skipped) in [(1, true), (16, true), (17, false)] {
        let interim = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n".repeat(count);
        let connector = Connector::new();
        let opened = answered(&connector, |server| {
            format!("{interim}{}", server.accepting("")).into_bytes()
        });
        match opened.await {
            Ok(_) => assert!(skipped),
            Err(error) => assert!(!skipped && error.to_string().contains("interim"), "{error}"),
        }
    }
}

/// C-15: at the bound, one past it, and at a second bound; an endless head is cut there.
#[tokio::test]
async fn the_head_of_an_answer_is_bounded() {
    for (bytes, fields) in [(16 * 1024, 100), (400, 7)] {
        let limits = HeadLimits::new().max_bytes(bytes).max_fields(fields);
        let connector =
            if bytes == 400 { Connector::new().head_limits(limits) } else { Connector::new() };
        let table = [
            (bytes, 4, None),
            (bytes + 1, 4, Some(HeadError::TooLong)),
            (300, fields, None),
            (300, fields + 1, Some(HeadError::TooManyFields)),
        ];
        for (size, count, expected) in table {
            let opened = answered(&connector, |server| {
                let lines = "x:\r\n".repeat(count - 4) + "Y: ";
                let empty = server.accepting(&format!("{lines}\r\n")).len();
                let padding = "y".repeat(size.max(empty) - empty);
                server.accepting(&format!("{lines}{padding}\r\n")).into_bytes()
            });
            assert_eq!(
                opened.await.err().and_then(|error| error.head_error()),
                expected,
                "{size} {count}"
            );
        }
    }
    let endless = format!("HTTP/1.1 101 x\r\nX: {}", "x".repeat(20_000));
    assert_eq!(refused(&endless).await.head_error(), Some(HeadError::TooLong));
}

// ===== time =====

/// C-15, S-07: at two values; neither silence, nor a drip, nor interim answers help.
#[tokio::test(start_paused = true)]
async fn the_whole_attempt_has_one_deadline() {
    let scripts = ["", "HTTP/1.1 101 x\r\nX: ", "HTTP/1.1 100 x\r\n\r\nHTTP/1.1 "];
    for (connector, seconds) in
        [(Connector::new(), 20), (Connector::new().timeout(Duration::from_secs(3)), 3)]
    {
        for script in scripts {
            let (io, server) = duplex(4096);
            let begin = Instant::now();
            let server = tokio::spawn(async move {
                let mut server = Server::read(server).await;
                server.send(script).await;
                while !script.is_empty() && server.io.write_all(b"1").await.is_ok() {
                    sleep(Duration::from_millis(700)).await;
                }
                pending::<()>().await;
            });
            let error = connector.connect_over(io, URL).await.unwrap_err();
            assert!(error.is_timeout() && !error.is_io(), "{error}");
            assert_eq!(error.to_string(), "the server did not answer the handshake in time");
            assert_eq!(begin.elapsed().as_secs(), seconds, "{script:?}");
            server.abort();
        }
        // Nor does a server that does not read the request.
        let (io, server) = duplex(8);
        let begin = Instant::now();
        assert!(connector.connect_over(io, URL).await.unwrap_err().is_timeout());
        assert_eq!(begin.elapsed().as_secs(), seconds);
        drop(server);
    }
}

/// C-15, C-07: a refusal whose body is late is a refusal.
#[tokio::test(start_paused = true)]
async fn the_body_of_a_refusal_ends_with_the_attempt() {
    let (io, server) = duplex(4096);
    let connector = Connector::new().timeout(Duration::from_secs(3)).refusal_timeout(Duration::MAX);
    let begin = Instant::now();
    let server = tokio::spawn(async move {
        let mut server = Server::read(server).await;
        sleep(Duration::from_secs(2)).await;
        server.send("HTTP/1.1 403 x\r\n\r\nno").await;
        pending::<()>().await;
    });
    let error = connector.connect_over(io, URL).await.unwrap_err();
    assert_eq!(error.response().unwrap().body(), "no");
    assert_eq!(begin.elapsed().as_secs(), 3);
    server.abort();
}

// ===== options of the socket =====

/// S-01, L-12
#[tokio::test(start_paused = true)]
async fn limits_and_timeouts_are_those_of_the_connector() {
    let limits = Limits::default().max_message(10);
    let timeouts = Timeouts::default().close(Duration::from_secs(2));
    let other = Connector::new().limits(limits).timeouts(timeouts);
    for (connector, longest, seconds) in [(Connector::new(), 1 << 20, 5), (other, 10, 2)] {
        let (io, server) = duplex(4 << 20);
        let server = tokio::spawn(async move {
            let mut server = Server::read(server).await;
            let answer = server.accepting("");
            server.send(answer).await;
            server
        });
        let (mut socket, _) = connector.connect_over(io, URL).await.unwrap();
        let mut server = server.await.unwrap();
        let mut frame = vec![0x82, 127];
        frame.extend((longest as u64).to_be_bytes());
        if longest < 126 {
            frame = vec![0x82, longest as u8];
        }
        frame.extend(vec![0; longest]);
        server.send(&frame).await;
        assert_eq!(socket.recv().await.unwrap().unwrap().len(), longest);
        let begin = Instant::now();
        assert!(socket.close().await.unwrap_err().is_timeout());
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

// ===== connections =====

/// C-01
#[tokio::test]
async fn what_cannot_be_asked_is_not_connected_for() {
    for url in ["ws://a.example/#x", "ws://me@a.example/", "ftp://a.example/", "a.example"] {
        let error = connect(url).await.unwrap_err();
        assert!(error.is_request() && !error.is_io(), "{url}");
    }
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn wss_without_tls_is_an_error_before_connecting() {
    let error = connect("wss://127.0.0.1:1").await.unwrap_err();
    assert!(error.is_request() && error.to_string().contains("without TLS"));
}

#[tokio::test]
async fn a_connection_that_is_refused_is_told_from_a_name_that_is_none() {
    let (listener, addr) = listen().await;
    drop(listener);
    let error = connect(format!("ws://{addr}")).await.unwrap_err();
    assert!(error.is_io() && !error.is_dns() && !error.is_proxy());
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    // RFC 6761: this name never has an address.
    let error = connect("ws://name.invalid").await.unwrap_err();
    assert!(error.is_dns() && !error.is_io(), "{error:?}");
}

/// C-15: a server that takes no connection, at two values. Linux leaves those unanswered that do not
/// fit into the queue of a listener.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn a_connection_is_not_waited_for_longer_than_the_attempt_may_take() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(200)) {
        queue.push(stream);
        assert!(queue.len() < 100);
    }
    for (connector, seconds) in
        [(Connector::new(), 20), (Connector::new().timeout(Duration::from_secs(3)), 3)]
    {
        let begin = Instant::now();
        // Were it not for the deadline, there would be nothing to wake the test.
        let opening = connector.connect(format!("ws://{addr}"));
        let opened = tokio::time::timeout(Duration::from_secs(60), opening).await.unwrap();
        let error = opened.map(drop).unwrap_err();
        assert!(error.is_timeout() && error.is_transient() && !error.is_io());
        assert_eq!(error.to_string(), "the server did not take the connection in time");
        assert_eq!(begin.elapsed().as_secs(), seconds);
    }
}

// ===== through a proxy =====

/// A proxy that answers a CONNECT with `answer`, and the server behind it that it became then.
async fn through_proxy(
    answer: &'static str,
    proxy: impl FnOnce(Proxy) -> Proxy,
) -> (String, Result<String, ConnectError>) {
    let (listener, addr) = listen().await;
    let proxy = proxy(Proxy::new(&format!("http://{addr}")).unwrap());
    let connector = Connector::new().proxy(proxy);
    let server = async {
        let mut proxy = Server::read(listener.accept().await.unwrap().0).await;
        proxy.send(answer).await;
        let request = proxy.head;
        if answer.ends_with("200 OK\r\nContent-Length: 7\r\n\r\n") {
            let mut server = Server::<TcpStream>::read(proxy.io).await;
            let answer = server.accepting("");
            server.send(answer).await;
            server.send(b"\x81\x02hi").await;
            return (request, Some(server));
        }
        (request, None)
    };
    let client = async {
        let (mut socket, _) = connector.connect(URL).await?;
        Ok(socket.recv().await.unwrap().unwrap().as_text().unwrap().to_owned())
    };
    let ((request, _server), result) = tokio::join!(server, client);
    (request, result)
}

/// R-21, E-22, C-11: and a length field on the proxy's answer means nothing either.
#[tokio::test]
async fn a_proxy_is_asked_to_connect_first() {
    let answer = "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n";
    let credentials = HeaderValue::from_static("Basic dTpw");
    let (request, result) = through_proxy(answer, |proxy| proxy.authorization(credentials)).await;
    assert_eq!(result.unwrap(), "hi");
    let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), "CONNECT server.example:81 HTTP/1.1");
    assert_eq!(lines, ["Host: server.example:81", "Proxy-Authorization: Basic dTpw"]);
}

/// R-21
#[tokio::test]
async fn a_proxy_that_refuses_is_told_from_a_server_that_does() {
    let answer = "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno";
    let (_, result) = through_proxy(answer, |proxy| proxy).await;
    let error = result.unwrap_err();
    assert!(error.is_proxy());
    assert_eq!(error.status(), Some(StatusCode::PROXY_AUTHENTICATION_REQUIRED));
    assert!(error.to_string().contains("proxy refused"), "{error}");
    assert_eq!(error.response().unwrap().body(), "no");
    assert!(error.into_response().unwrap().headers().contains_key("proxy-authenticate"));

    for (answer, says) in [
        ("HTTP/1.1 101 x\r\n\r\n", "proxy refused"),
        ("nonsense\r\n\r\n", "proxy sent no valid HTTP answer"),
        ("", "proxy ended the connection"),
        // Else these would pass as the server's.
        ("HTTP/1.1 200 x\r\n\r\nHTTP/1.1 101 x\r\n", "bytes that can be no server's"),
    ] {
        let (_, result) = through_proxy(answer, |proxy| proxy).await;
        let error = result.unwrap_err();
        assert!(error.is_proxy() && error.to_string().contains(says), "{answer:?}: {error}");
    }
    let (listener, addr) = listen().await;
    drop(listener);
    let proxy = Proxy::new(&format!("http://{addr}")).unwrap();
    let error = Connector::new().proxy(proxy).connect(URL).await.unwrap_err();
    assert!(error.is_proxy() && error.is_io());
}

#[test]
fn the_futures_can_be_spawned() {
    fn is_send<T: Send>(_: &T) {}
    is_send(&connect(URL));
    is_send(&Connector::new().connect_over(duplex(1).0, URL));
}
