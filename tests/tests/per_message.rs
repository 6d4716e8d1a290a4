//! A service for each message: what it answers, and what becomes of it.

use std::{convert::Infallible, future::pending, time::Duration};

use tests::{start::handmade, wire::masked};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_websocket::{
    Handler, Message, Sessions, WebSocketLayer, per_message, per_message_with, upgrade::Upgrade,
};

async fn open(path: &str, handler: impl Handler, sessions: &Sessions) -> DuplexStream {
    let (io, peer) = tokio::io::duplex(1 << 16);
    let layer = WebSocketLayer::new(handler).sessions(sessions.clone());
    let response =
        layer.into_service().oneshot(handmade(path, Upgrade::from_io(io))).await.unwrap();
    assert_eq!(response.status(), 101);
    peer
}

async fn recv(peer: &mut DuplexStream) -> (u8, Vec<u8>) {
    let mut head = [0; 2];
    peer.read_exact(&mut head).await.unwrap();
    let mut payload = vec![0; usize::from(head[1])];
    peer.read_exact(&mut payload).await.unwrap();
    (head[0], payload)
}

async fn send(peer: &mut DuplexStream, text: &str) {
    peer.write_all(&masked(0x81, text.as_bytes())).await.unwrap();
}

#[tokio::test]
async fn messages_are_served_one_after_the_other_and_a_reply_is_sent_if_there_is_one() {
    let shout = per_message(service_fn(|message: Message| async move {
        let text = message.as_text().unwrap_or("");
        let reply = (!text.is_empty()).then(|| Message::from(text.to_uppercase()));
        Ok::<_, Infallible>(reply)
    }));
    let mut peer = open("/", shout, &Sessions::new()).await;
    for text in ["a", "", "b"] {
        send(&mut peer, text).await;
    }
    assert_eq!(recv(&mut peer).await, (0x81, b"A".to_vec()));
    assert_eq!(recv(&mut peer).await, (0x81, b"B".to_vec()));
}

/// Text from text, binary from bytes.
#[tokio::test]
async fn what_a_message_is_made_of_is_a_reply() {
    let text = per_message(service_fn(async |_: Message| Ok::<_, Infallible>("text".to_owned())));
    let mut peer = open("/", text, &Sessions::new()).await;
    send(&mut peer, "x").await;
    assert_eq!(recv(&mut peer).await, (0x81, b"text".to_vec()));
    let bytes = per_message(service_fn(async |_: Message| Ok::<_, Infallible>(vec![1, 2])));
    let mut peer = open("/", bytes, &Sessions::new()).await;
    send(&mut peer, "x").await;
    assert_eq!(recv(&mut peer).await, (0x82, vec![1, 2]));
    let nothing = per_message(service_fn(async |_: Message| Ok::<_, Infallible>(())));
    let mut peer = open("/", nothing, &Sessions::new()).await;
    send(&mut peer, "x").await;
    peer.write_all(&masked(0x89, b"?")).await.unwrap();
    assert_eq!(recv(&mut peer).await, (0x8a, b"?".to_vec()));
}

#[tokio::test]
async fn all_messages_of_one_read_are_answered_in_one_write() {
    let echo = per_message(service_fn(async |message: Message| Ok::<_, Infallible>(message)));
    let mut peer = open("/", echo, &Sessions::new()).await;
    peer.write_all(&masked(0x82, &[7; 16]).repeat(100)).await.unwrap();
    let mut answer = vec![0; 1 << 16];
    assert_eq!(peer.read(&mut answer).await.unwrap(), 100 * 18);
}

#[tokio::test]
async fn a_service_is_made_for_each_socket_from_its_request_and_keeps_state() {
    let count = per_message_with(|request| {
        let path = request.uri().path().to_owned();
        let mut count = 0;
        service_fn(move |_: Message| {
            count += 1;
            let reply = Message::from(format!("{path} {count}"));
            async move { Ok::<_, Infallible>(reply) }
        })
    });
    let sessions = Sessions::new();
    let mut a = open("/a", count.clone(), &sessions).await;
    let mut b = open("/b", count, &sessions).await;
    for (peer, reply) in [(&mut a, "/a 1"), (&mut b, "/b 1")] {
        send(peer, "x").await;
        assert_eq!(recv(peer).await.1, reply.as_bytes());
    }
    send(&mut a, "x").await;
    assert_eq!(recv(&mut a).await.1, b"/a 2");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_a_limit_of_messages_of_one_socket() {
    let limited = per_message_with(|_| {
        ServiceBuilder::new()
            .rate_limit(1, Duration::from_secs(10))
            .service(service_fn(async |message: Message| Ok::<_, Infallible>(message)))
    });
    let begin = tokio::time::Instant::now();
    let sessions = Sessions::new();
    let mut a = open("/", limited.clone(), &sessions).await;
    let mut b = open("/", limited, &sessions).await;
    for peer in [&mut a, &mut b] {
        send(peer, "1").await;
        send(peer, "2").await;
        recv(peer).await;
    }
    assert!(begin.elapsed() < Duration::from_secs(1), "each socket has its own limit");
    recv(&mut a).await;
    recv(&mut b).await;
    assert_eq!(begin.elapsed().as_secs(), 10);
}

#[tokio::test]
async fn an_error_closes_with_1011() {
    let fail = per_message(service_fn(async |_: Message| {
        Err::<(), _>(std::io::Error::other("no such room"))
    }));
    let mut peer = open("/", fail, &Sessions::new()).await;
    send(&mut peer, "x").await;
    assert_eq!(recv(&mut peer).await, (0x88, 1011u16.to_be_bytes().to_vec()));
}

/// As hyper does with the futures of a service whose client is gone.
#[tokio::test(start_paused = true)]
async fn a_message_that_is_being_served_does_not_keep_the_socket_of_a_peer_that_is_gone() {
    let sessions = Sessions::new();
    let service = service_fn(|_: Message| pending::<Result<(), std::io::Error>>());
    let mut peer = open("/", per_message(service), &sessions).await;
    send(&mut peer, "work").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(sessions.len(), 0);
}
