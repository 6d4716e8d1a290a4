//! Compression between stand-alone ends.

use std::time::Duration;

use hybi::{
    handshake::{AnswerError, ClientRequest},
    proto::{Deflate, DeflateParameters},
    socket::WebSocket,
    standalone::{Acceptor, Connector},
};
use tokio::{io::DuplexStream, time::Instant};

type Socket = WebSocket<DuplexStream>;

const REPEATED: &str = "the same again and again, ";

/// A client that asks for `request`, and what the server made of it: its socket, and what was agreed on.
async fn open(
    acceptor: &Acceptor,
    request: ClientRequest,
    decide: impl FnOnce(
        hybi::standalone::Incoming<DuplexStream>,
    ) -> hybi::standalone::Incoming<DuplexStream>,
) -> (Socket, Socket, Option<DeflateParameters>, Option<String>) {
    let (a, b) = tokio::io::duplex(64 * 1024);
    let server = async {
        let incoming = decide(acceptor.read(a).await.unwrap());
        let agreed = incoming.get_deflate().cloned();
        (incoming.accept().await.unwrap(), agreed)
    };
    let connector = Connector::new();
    let client = async { connector.connect_over(b, request).await.unwrap() };
    let ((server, agreed), (client, response)) = tokio::join!(server, client);
    let answer = response.headers().get("sec-websocket-extensions");
    (server, client, agreed, answer.map(|value| value.to_str().unwrap().to_owned()))
}

fn asks() -> ClientRequest {
    ClientRequest::new("ws://a.example/").unwrap()
}

async fn say(from: &mut Socket, to: &mut Socket) {
    let text = REPEATED.repeat(1000);
    from.send(text.clone()).await.unwrap();
    assert_eq!(to.recv().await.unwrap().unwrap().as_text(), Some(&*text));
}

/// D-01, D-04, D-12, D-13, S-06
#[tokio::test]
async fn compression_is_used_when_the_client_offers_and_the_server_grants_it() {
    let acceptor = Acceptor::new().deflate(Deflate::new());
    let (mut server, mut client, agreed, answer) =
        open(&acceptor, asks().deflate(Deflate::new()), |incoming| incoming).await;
    assert!(agreed.is_some());
    assert_eq!(
        answer.unwrap(),
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    );
    say(&mut server, &mut client).await;
    say(&mut client, &mut server).await;
}

/// S-06, X-05
#[tokio::test]
async fn there_is_no_compression_that_one_of_the_ends_does_not_want() {
    for (acceptor, request) in [
        (Acceptor::new(), asks().deflate(Deflate::new())),
        (Acceptor::new().deflate(Deflate::new()), asks()),
        (Acceptor::new().deflate(Deflate::new()).deflate(None), asks().deflate(Deflate::new())),
    ] {
        let (mut server, mut client, agreed, answer) =
            open(&acceptor, request, |incoming| incoming).await;
        assert_eq!((agreed, answer), (None, None));
        say(&mut server, &mut client).await;
        say(&mut client, &mut server).await;
    }
}

#[tokio::test]
async fn the_server_decides_about_compression_for_each_client() {
    let acceptor = Acceptor::new().deflate(Deflate::new());
    let request = || asks().deflate(Deflate::new().server_context_takeover(true));
    let (.., agreed, answer) = open(&acceptor, request(), |incoming| incoming.deflate(None)).await;
    assert_eq!((agreed, answer), (None, None));

    let narrow = Deflate::new().server_context_takeover(true).server_max_window_bits(10);
    let (.., answer) = open(&acceptor, request(), |incoming| incoming.deflate(narrow)).await;
    let answer = answer.unwrap();
    assert!(answer.contains("server_max_window_bits=10"), "{answer}");
    assert!(!answer.contains("server_no_context_takeover"), "{answer}");
}

///
#[tokio::test]
async fn a_client_that_lacks_the_compression_it_requires_closes_with_1010() {
    let (a, b) = tokio::io::duplex(4096);
    let server = async {
        let mut socket = Acceptor::new().accept(a).await.unwrap();
        assert_eq!(socket.recv().await.unwrap(), None);
        socket.peer_close().map(|close| (close.status(), close.reason().to_string()))
    };
    let connector = Connector::new();
    let request = asks().deflate(Deflate::new()).require_deflate(true);
    let client = connector.connect_over(b, request);
    let (close, client) = tokio::join!(server, client);
    assert_eq!(close, Some((1010, "permessage-deflate".to_owned())));
    assert_eq!(client.unwrap_err().answer_error(), Some(AnswerError::MissingExtension));
}

/// X-09, C-15: at two values, the second beyond the socket's own time to close.
#[tokio::test(start_paused = true)]
async fn closing_with_1010_is_within_the_time_of_the_attempt() {
    for (timeout, seconds) in [(Duration::from_secs(2), 2), (Duration::from_secs(20), 5)] {
        let (a, b) = tokio::io::duplex(4096);
        let request = asks().deflate(Deflate::new()).require_deflate(true);
        let connector = Connector::new().timeout(timeout);
        let began = Instant::now();
        let client = connector.connect_over(b, request);
        // It accepts, and does nothing more.
        let acceptor = Acceptor::new();
        let (_server, client) = tokio::join!(acceptor.accept(a), client);
        assert_eq!(client.unwrap_err().answer_error(), Some(AnswerError::MissingExtension));
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
}
