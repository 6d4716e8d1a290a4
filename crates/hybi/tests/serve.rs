//! Messages that are served one after the other, whatever the service and the peer do.

mod support;

use std::{
    future::{Future, ready},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use hybi::{
    proto::{CloseCode, Limits, Message},
    socket::{BoxError, Config, Control, Ended, HandlerEnd, MessageService, Session, WebSocket},
};
use support::{Peer, close_body, masked};
use tokio::{
    io::DuplexStream,
    task::{JoinHandle, yield_now},
    time::sleep,
};

type Socket = WebSocket<DuplexStream>;

/// Of the pipe: a frame goes through it in many pieces, or all of them at once.
const CAPACITIES: [usize; 3] = [7, 100, 1 << 20];

/// Does what a message says.
async fn act(message: Message) -> Result<Option<Message>, BoxError> {
    match message.as_text() {
        Some("panic") => panic!("as it was told to"),
        Some("fail") => Err("as it was told to".into()),
        Some("silence") => Ok(None),
        Some("yield") => {
            yield_now().await;
            Ok(Some(message))
        }
        Some("later") => {
            sleep(Duration::from_secs(1)).await;
            Ok(Some(message))
        }
        Some("large") => Ok(Some(Message::from(vec![7; 100_000]))),
        _ => Ok(Some(message)),
    }
}

fn serve(io: DuplexStream, config: Config) -> JoinHandle<Ended> {
    tokio::spawn(Session::new(io, config, |socket: Socket| socket.serve(act)))
}

/// Sends all of it at once, beside what the peer does meanwhile.
fn send(io: DuplexStream, bytes: Vec<u8>) -> (Peer, JoinHandle<()>) {
    use tokio::io::AsyncWriteExt;
    let (read, mut write) = tokio::io::split(io);
    let (back, forth) = tokio::io::duplex(1 << 20);
    let (mut back_read, mut back_write) = tokio::io::split(back);
    let sending = tokio::spawn(async move {
        write.write_all(&bytes).await.unwrap();
        let _ = tokio::io::copy(&mut back_read, &mut write).await;
    });
    tokio::spawn(async move {
        let mut read = read;
        let _ = tokio::io::copy(&mut read, &mut back_write).await;
    });
    (Peer { io: forth }, sending)
}

fn texts(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| masked(0x81, text.as_bytes())).collect()
}

async fn assert_answers(peer: &mut Peer, texts: &[&str]) {
    for text in texts {
        let answer = match *text {
            "large" => (0x82, vec![7; 100_000]),
            text => (0x81, text.as_bytes().to_vec()),
        };
        assert!(peer.recv().await == answer, "the answer to {text}");
    }
}

const MANY: [&str; 9] =
    ["one", "large", "two", "yield", "three", "later", "large", "later", "four"];

#[tokio::test(start_paused = true)]
async fn answers_come_in_order_whether_they_are_at_hand_or_not() {
    for capacity in CAPACITIES {
        for mark in [0, 1000, 1 << 20] {
            let (io, peer) = Peer::pair(capacity);
            let limits = Limits::default().output_mark(mark);
            let session = serve(io, Config::server().limits(limits));
            let mut bytes = texts(&MANY);
            bytes.extend(texts(&["silence"]));
            bytes.extend(texts(&MANY));
            let (mut peer, _sending) = send(peer.io, bytes);
            for _ in 0..2 {
                assert_answers(&mut peer, &MANY).await;
            }
            peer.send_close(1000, "").await;
            assert_eq!(peer.recv().await, (0x88, close_body(1000, "")));
            drop(peer);
            assert!(session.await.unwrap().failure().is_none());
        }
    }
}

/// Also if it is already there when the last is not yet answered.
#[tokio::test(start_paused = true)]
async fn what_ends_the_socket_comes_behind_all_answers() {
    let endings: [(Vec<u8>, u16); 5] = [
        (texts(&["panic"]), 1011),
        (texts(&["fail"]), 1011),
        (masked(0x88, &close_body(1000, "")), 1000),
        (masked(0x83, b""), 1002),
        (masked(0x81, b"\xff"), 1007),
    ];
    for capacity in CAPACITIES {
        for (ending, code) in &endings {
            let (io, peer) = Peer::pair(capacity);
            let session = serve(io, Config::server());
            let mut bytes = texts(&MANY);
            bytes.extend(ending);
            bytes.extend(masked(0x81, b"not for anyone"));
            let (mut peer, _sending) = send(peer.io, bytes);
            assert_answers(&mut peer, &MANY).await;
            let (first, body) = peer.recv().await;
            assert_eq!((first, &body[..2]), (0x88, &code.to_be_bytes()[..]));
            peer.send_close(*code, "").await;
            drop(peer);
            let ended = session.await.unwrap();
            match code {
                1011 => assert!(!matches!(ended.handler(), HandlerEnd::Returned)),
                1000 => assert!(matches!(ended.handler(), HandlerEnd::Returned)),
                _ => assert!(matches!(ended.handler(), HandlerEnd::Failed(_))),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_exactly_the_limit_is_served_and_a_longer_one_is_not() {
    for first in [0x81, 0x82] {
        for limit in [0, 1, 63, 64, 65, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537] {
            let (io, mut peer) = Peer::pair(1 << 20);
            let limits = Limits::default().max_message(limit);
            let _session = serve(io, Config::server().limits(limits));
            // The second time it is on the way of whole messages.
            for _ in 0..3 {
                peer.send_raw(&masked(first, &vec![b'x'; limit])).await;
                assert!(peer.recv().await == (first, vec![b'x'; limit]), "{limit}");
            }
            peer.send_raw(&masked(first, &vec![b'x'; limit + 1])).await;
            let (first, body) = peer.recv().await;
            assert_eq!((first, &body[..2]), (0x88, &1009u16.to_be_bytes()[..]), "{limit}");
        }
    }
}

/// Within a call, where the socket is in the service's hands.
#[tokio::test(start_paused = true)]
async fn a_service_may_close_or_abort_its_own_session() {
    for abort in [false, true] {
        let control = Arc::new(OnceLock::<Control>::new());
        let (io, mut peer) = Peer::pair(1 << 20);
        let known = Arc::clone(&control);
        let session = Session::new(io, Config::server(), move |socket: Socket| {
            socket.serve(move |message: Message| {
                match message.as_text() {
                    Some("end") if abort => known.get().unwrap().abort(),
                    Some("end") => known.get().unwrap().close(CloseCode::GOING_AWAY.into()),
                    _ => {}
                }
                ready(Ok(Some(message)))
            })
        });
        assert!(control.set(session.control()).is_ok());
        let session = tokio::spawn(session);
        peer.send_text("one").await;
        assert_answers(&mut peer, &["one"]).await;
        peer.send_raw(&texts(&["two", "end", "three"])).await;
        assert_answers(&mut peer, &["two", "end", "three"]).await;
        if abort {
            assert!(peer.at_eof().await);
            assert!(session.await.unwrap().failure().is_some_and(hybi::socket::Error::is_aborted));
        } else {
            assert_eq!(peer.recv().await, (0x88, close_body(1001, "")));
            peer.send_close(1001, "").await;
            drop(peer);
            assert!(session.await.unwrap().failure().is_none());
        }
    }
}

/// A service that runs a session of another socket in each of its calls, whose service does so, too.
#[tokio::test(start_paused = true)]
async fn a_service_may_run_other_sessions() {
    fn nest(depth: usize, message: Message) -> BoxFuture<'static, Message> {
        Box::pin(async move {
            if depth == 0 {
                return message;
            }
            let (io, client) = tokio::io::duplex(10);
            let config = Config::server().keep_alive(None);
            let session = Session::new(io, config, move |socket: Socket| {
                socket.serve(move |message| {
                    let nested = nest(depth - 1, message);
                    async move { Ok(Some(nested.await)) }
                })
            });
            let talk = async {
                let mut client = WebSocket::new(client, Config::client());
                for _ in 0..3 {
                    client.send(message.clone()).await.unwrap();
                    assert_eq!(client.recv().await.unwrap().as_ref(), Some(&message));
                }
                client.close().await.unwrap();
            };
            let session: BoxFuture<'static, Ended> = Box::pin(session);
            let (ended, ()) = tokio::join!(session, talk);
            assert!(ended.failure().is_none());
            message
        })
    }
    let (io, mut peer) = Peer::pair(1 << 20);
    tokio::spawn(Session::new(io, Config::server(), |socket: Socket| {
        socket.serve(async |message| Ok(Some(nest(4, message).await)))
    }));
    for _ in 0..3 {
        peer.send_raw(&texts(&["one", "two", "three"])).await;
        assert_answers(&mut peer, &["one", "two", "three"]).await;
    }
}

/// Takes a message each second.
struct Slow(Option<Pin<Box<tokio::time::Sleep>>>);

impl MessageService for Slow {
    type Future = std::future::Ready<Result<Option<Message>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep(Duration::from_secs(1))));
        sleep.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, message: Message) -> Self::Future {
        assert!(self.0.take().is_some_and(|sleep| sleep.is_elapsed()), "not before it is ready");
        ready(Ok(Some(message)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_waited_for() {
    let (io, mut peer) = Peer::pair(1 << 20);
    let session = Session::new(io, Config::server(), |socket: Socket| socket.serve(Slow(None)));
    let session = tokio::spawn(session);
    for _ in 0..3 {
        peer.send_raw(&texts(&["one", "two", "three"])).await;
        assert_answers(&mut peer, &["one", "two", "three"]).await;
    }
    // Nobody is left to answer.
    peer.send_text("four").await;
    drop(peer);
    let begin = tokio::time::Instant::now();
    session.await.unwrap();
    assert!(begin.elapsed() <= Duration::from_secs(1));
}

/// A session in the handler of another: its service uses the outer socket, whose turn it is as well.
#[tokio::test]
async fn a_service_reaches_the_socket_of_an_outer_session_at_once() {
    let (outer, mut outer_peer) = Peer::pair(1000);
    let (inner, mut inner_peer) = Peer::pair(1000);
    tokio::spawn(Session::new(outer, Config::server(), |mut outer: Socket| async move {
        let service = move |message: Message| {
            let sent = outer.send(message).now_or_never();
            ready(match sent {
                Some(Ok(())) => Ok(Some("sent".into())),
                other => Err(format!("not at once: {other:?}").into()),
            })
        };
        Session::new(inner, Config::server(), |socket: Socket| socket.serve(service)).await;
        Ok(())
    }));
    for text in ["first", "second", "third"] {
        inner_peer.send_text(text).await;
        assert_answers(&mut outer_peer, &[text]).await;
        assert_answers(&mut inner_peer, &["sent"]).await;
    }
}
