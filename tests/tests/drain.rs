//! Shutting down: every socket is told, every peer has its time, and nobody has more.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::Router;
use http_body_util::BodyExt;
use tests::{
    client::Client,
    h2::Connection,
    start::{app, echo, handmade, soon, start, until},
    wire::masked,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::TcpListener,
    sync::{Notify, Semaphore, mpsc, oneshot},
};
use tower::{Service, ServiceBuilder, ServiceExt, util::AndThenLayer};
use tower_websocket::{
    BoxError, Message, Sessions, WebSocket, WebSocketLayer,
    commit::CommitLayer,
    handler_fn,
    policy::{Accept, Decision, policy_fn, policy_fn_async},
    sessions::Drained,
    upgrade::Upgrade,
};

/// A deadline that no test is meant to reach.
const LONG: Duration = Duration::from_secs(60);
/// A deadline that tests of deadlines reach.
const SHORT: Duration = Duration::from_millis(100);

async fn drain(sessions: &Sessions, deadline: Duration) -> Drained {
    soon("the drain", sessions.drain(deadline)).await
}

fn drain_in_background(sessions: &Sessions) -> tokio::task::JoinHandle<Drained> {
    let sessions = sessions.clone();
    tokio::spawn(async move { sessions.drain(LONG).await })
}

/// axum's own server, with its graceful shutdown.
async fn axum_serve(app: Router) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(async move {
        let stopped = async {
            let _ = stopped.await;
        };
        axum::serve(listener, app).with_graceful_shutdown(stopped).await.unwrap();
    });
    (addr, stop, served)
}

async fn answers(client: &mut Client, text: &str) {
    client.send_text(text).await;
    assert_eq!(client.recv_text().await, text);
}

/// E-21, L-15. axum alone forgets HTTP/1.1 sockets at a graceful shutdown and waits for HTTP/2 sockets
/// for ever.
#[tokio::test]
async fn axums_graceful_shutdown_with_a_drain_closes_http_1_and_http_2_sockets_with_1001() {
    let sessions = Sessions::new();
    let (addr, stop, served) = axum_serve(app(handler_fn(echo), &sessions)).await;
    let mut first = Client::open(addr, "/").await;
    let mut second = Client::open(addr, "/").await;
    let connection = Connection::connect(addr).await;
    let mut third = connection.open("/").await;
    answers(&mut first, "hello").await;
    third.send_frame(0x81, b"hello").await;
    assert_eq!(third.recv().await, (0x81, b"hello".to_vec()));
    assert_eq!(sessions.len(), 3);

    stop.send(()).unwrap();
    let drained = drain_in_background(&sessions);
    for client in [&mut first, &mut second] {
        assert_eq!(soon("a Close", client.recv_close()).await, 1001);
        client.send_close(1001, "").await;
        assert!(soon("the end", client.at_eof()).await);
    }
    assert_eq!(soon("a Close", third.recv_close()).await, 1001);
    third.send_frame(0x88, &1001u16.to_be_bytes()).await;
    third.end();
    assert_eq!(soon("the end", third.rest()).await, b"");

    let drained = soon("the drain", drained).await.unwrap();
    assert_eq!((drained.ended, drained.aborted), (3, 0));
    assert!(sessions.is_empty());
    soon("axum's end", served).await.unwrap();
}

/// Handshakes are refused on connections that are open already, too.
#[tokio::test]
async fn handshakes_during_and_after_a_drain_are_answered_503_with_retry_after() {
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo))
        .sessions(sessions.clone())
        .retry_after(Duration::from_secs(7));
    let app = Router::new()
        .route("/plain", axum::routing::get(async || "plain"))
        .fallback_service(layer.into_service());
    let addr = start(app).await;
    let mut live = Client::open(addr, "/").await;
    let mut early = Client::connect(addr).await;
    assert_eq!(early.get("/plain", &[]).await.status, 200);
    let connection = Connection::connect(addr).await;

    let drained = drain_in_background(&sessions);
    assert_eq!(live.recv_close().await, 1001);
    assert!(sessions.is_draining());
    for mut client in [early, Client::connect(addr).await] {
        let response = client.handshake("/", &[]).await;
        assert_eq!(response.status, 503);
        assert_eq!(response.field("retry-after"), Some("7"));
        assert_eq!(response.field("connection"), Some("close"));
        assert!(client.at_eof().await);
    }
    let mut request = connection.handshake("/");
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    let (response, mut stream) = connection.send(request).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "7");
    stream.rest().await;

    let mut plain = Client::connect(addr).await;
    assert_eq!(plain.get("/plain", &[]).await.status, 200, "other requests are served as ever");
    live.send_close(1001, "").await;
    soon("the drain", drained).await.unwrap();
    let mut late = Client::connect(addr).await;
    assert_eq!(late.handshake("/", &[]).await.status, 503);
}

/// L-08
#[tokio::test]
async fn messages_under_way_in_both_directions_arrive() {
    let sessions = Sessions::new();
    let (told, mut received) = mpsc::unbounded_channel();
    let begin = Arc::new(Notify::new());
    let handler = handler_fn({
        let begin = Arc::clone(&begin);
        |mut socket: WebSocket| async move {
            for n in 0..100 {
                socket.send(n.to_string()).await?;
            }
            begin.notified().await;
            socket.closing().await;
            let refused = socket.send("too late").await.unwrap_err();
            assert!(refused.is_closed(), "{refused:?}");
            while let Some(message) = socket.recv().await? {
                let _ = told.send(message);
            }
            Ok(())
        }
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    let drained = drain_in_background(&sessions);
    begin.notify_one();
    for n in 0..100 {
        assert_eq!(client.recv_text().await, n.to_string());
    }
    assert_eq!(client.recv_close().await, 1001);
    client.send_text("under way").await;
    client.send_close(1001, "").await;
    assert_eq!(soon("it", received.recv()).await, Some(Message::from("under way")));
    let drained = soon("the drain", drained).await.unwrap();
    assert_eq!((drained.ended, drained.aborted), (1, 0));
}

/// L-12, S-07: a peer that is silent, one that does not read, and one that sends for ever.
#[tokio::test]
async fn peers_that_do_not_answer_are_aborted_at_the_deadline() {
    let sessions = Sessions::new();
    let (ended, mut ends) = mpsc::unbounded_channel();
    let handler = handler_fn(move |mut socket: WebSocket| async move {
        let payload = tower_websocket::Bytes::from(vec![0; 64 * 1024]);
        if socket.recv().await?.is_some_and(|it| it.is_binary()) {
            while socket.send(payload.clone()).await.is_ok() {}
        }
        while let Ok(Some(_)) = socket.recv().await {}
        let _ = ended.send(());
        Ok::<_, BoxError>(())
    });
    let addr = start(app(handler, &sessions)).await;
    let mut silent = Client::open(addr, "/").await;
    let mut unread = Client::open(addr, "/").await;
    unread.send_frame(0x82, b"flood me").await;
    assert_eq!(unread.recv().await.0, 0x82);
    let mut busy = Client::open(addr, "/").await;
    busy.send_text("quiet").await;

    let drained = tokio::spawn({
        let sessions = sessions.clone();
        async move { sessions.drain(SHORT).await }
    });
    assert_eq!(silent.recv_close().await, 1001);
    assert_eq!(busy.recv_close().await, 1001);
    let sending = tokio::spawn(async move {
        let frame = masked(0x81, b"more");
        while busy.stream.write_all(&frame).await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
    let drained = soon("the drain", drained).await.unwrap();
    assert_eq!((drained.ended, drained.aborted), (0, 3));
    assert!(silent.at_eof().await, "the connection is gone");
    soon("the end of the busy one", sending).await.unwrap();
    assert!(ends.try_recv().is_err(), "handlers are dropped, not resumed");
    assert!(sessions.is_empty());
}

#[tokio::test]
async fn a_stuck_handler_is_dropped_at_the_deadline() {
    struct OnDrop(Arc<AtomicUsize>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let sessions = Sessions::new();
    let dropped = Arc::new(AtomicUsize::new(0));
    let handler = handler_fn({
        let dropped = Arc::clone(&dropped);
        move |socket: WebSocket| async move {
            let _guard = OnDrop(dropped);
            pending::<()>().await;
            drop(socket);
        }
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    let sessions_of_drain = sessions.clone();
    let drained = tokio::spawn(async move { sessions_of_drain.drain(SHORT).await });
    assert_eq!(client.recv_close().await, 1001, "the session answers for it");
    client.send_close(1001, "").await;
    let drained = soon("the drain", drained).await.unwrap();
    assert_eq!((drained.ended, drained.aborted), (0, 1));
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert!(client.at_eof().await);
}

/// A socket in a task of its own cannot be dropped, but is closed under that task's hands.
#[tokio::test]
async fn a_detached_socket_ends_at_the_deadline() {
    let sessions = Sessions::new();
    let (told, mut received) = mpsc::unbounded_channel();
    let handler = handler_fn(move |socket: WebSocket| async move {
        let mut socket = socket.detach();
        tokio::spawn(async move {
            while let Ok(Some(_)) = socket.recv().await {}
            let _ = told.send(socket.send("late").await.is_err());
        });
    });
    let addr = start(app(handler, &sessions)).await;
    let mut client = Client::open(addr, "/").await;
    let drained = drain(&sessions, SHORT).await;
    assert_eq!((drained.ended, drained.aborted), (0, 1));
    assert_eq!(client.recv_close().await, 1001);
    assert!(client.at_eof().await);
    assert_eq!(soon("the task", received.recv()).await, Some(true));
}

#[tokio::test]
async fn accepted_handshakes_without_a_connection_do_not_hold_a_drain() {
    let sessions = Sessions::new();
    let mut service =
        WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone()).into_service();
    let never = Upgrade::new(pending::<Result<DuplexStream, BoxError>>());
    let response = service.call(handmade("/", never)).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(sessions.len(), 1);
    let drained = drain(&sessions, SHORT).await;
    assert_eq!((drained.ended, drained.aborted), (0, 1));
    assert!(sessions.is_empty());
}

/// L-15: a drain does not miss who was accepted before it and is connected after it began.
#[tokio::test]
async fn a_connection_that_comes_during_a_drain_is_closed_with_1001_at_once() {
    let sessions = Sessions::new();
    let mut service =
        WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone()).into_service();
    let (connect, connected) = oneshot::channel();
    let response = service.call(handmade("/", Upgrade::new(connected))).await.unwrap();
    assert_eq!(response.status(), 101);
    let drained = drain_in_background(&sessions);
    until("the drain", || sessions.is_draining()).await;

    let (io, mut peer) = tokio::io::duplex(64);
    connect.send(io).expect("the session waits");
    let mut close = [0; 4];
    soon("the Close", peer.read_exact(&mut close)).await.unwrap();
    assert_eq!(close, [0x88, 2, 0x03, 0xe9]);
    peer.write_all(&masked(0x88, &[0x03, 0xe9])).await.unwrap();
    drop(peer);
    let drained = soon("the drain", drained).await.unwrap();
    assert_eq!((drained.ended, drained.aborted), (1, 0));
}

#[tokio::test]
async fn a_handshake_whose_policy_decides_during_a_drain_is_refused() {
    let sessions = Sessions::new();
    let gate = Arc::new(Semaphore::new(0));
    let asked = Arc::new(Notify::new());
    let policy = policy_fn_async({
        let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
        move |_| {
            let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
            async move {
                asked.notify_one();
                gate.acquire().await.unwrap().forget();
                Accept::new()
            }
        }
    });
    let layer = WebSocketLayer::new(handler_fn(echo)).policy(policy).sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    let handshake = tokio::spawn(async move {
        let mut client = Client::connect(addr).await;
        client.handshake("/", &[]).await.status
    });
    asked.notified().await;
    drain(&sessions, LONG).await;
    gate.add_permits(1);
    assert_eq!(soon("the answer", handshake).await.unwrap(), 503);
    assert!(sessions.is_empty());
}

/// S-07 (overload and shutdown are answered): a policy may take a ticket for each handshake.
#[tokio::test]
async fn no_policy_is_asked_while_the_server_drains() {
    let sessions = Sessions::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let policy = policy_fn(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        Decision::from(Accept::new())
    });
    // Part of a second is a whole one: a client that comes back too early comes in vain.
    let layer = WebSocketLayer::new(handler_fn(echo))
        .policy(policy)
        .retry_after(Duration::from_millis(1900))
        .sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    drain(&sessions, LONG).await;
    let response = Client::connect(addr).await.handshake("/", &[]).await;
    assert_eq!(response.status, 503);
    assert_eq!(response.field("retry-after"), Some("2"));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn an_empty_set_is_drained_at_once() {
    let sessions = Sessions::new();
    let drained = drain(&sessions, Duration::MAX).await;
    assert_eq!((drained.ended, drained.aborted), (0, 0));
    let drained = drain(&sessions, Duration::ZERO).await;
    assert_eq!((drained.ended, drained.aborted), (0, 0));
}

/// What ended before the drain does not count.
#[tokio::test]
async fn the_counts_are_of_the_drain() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    for _ in 0..3 {
        let mut client = Client::open(addr, "/").await;
        client.send_close(1000, "").await;
        assert_eq!(client.recv_close().await, 1000);
    }
    until("no live socket", || sessions.is_empty()).await;
    let _client = Client::open(addr, "/").await;
    let drained = drain(&sessions, SHORT).await;
    assert_eq!((drained.ended, drained.aborted), (0, 1));
}

#[tokio::test]
async fn two_drains_at_once_wait_for_the_same_sockets() {
    let sessions = Sessions::new();
    let handler = handler_fn(|socket: WebSocket| async move {
        pending::<()>().await;
        drop(socket);
    });
    let addr = start(app(handler, &sessions)).await;
    let _client = Client::open(addr, "/").await;
    let (first, second) =
        soon("both drains", async { tokio::join!(sessions.drain(SHORT), sessions.drain(SHORT)) })
            .await;
    for drained in [first, second] {
        assert_eq!((drained.ended, drained.aborted), (0, 1));
    }
    assert!(sessions.is_empty());
}

#[tokio::test]
async fn a_drain_that_is_dropped_half_way_goes_on_refusing_and_a_second_one_finishes() {
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let mut answering = Client::open(addr, "/").await;
    let mut silent = Client::open(addr, "/").await;
    let first = drain_in_background(&sessions);
    assert_eq!(answering.recv_close().await, 1001);
    assert_eq!(silent.recv_close().await, 1001);
    first.abort();
    let _ = first.await;

    assert!(sessions.is_draining());
    let mut late = Client::connect(addr).await;
    assert_eq!(late.handshake("/", &[]).await.status, 503);
    answering.send_close(1001, "").await;
    assert!(answering.at_eof().await);
    until("the one that answered", || sessions.len() == 1).await;

    let drained = drain(&sessions, SHORT).await;
    assert_eq!((drained.ended, drained.aborted), (1, 1), "since the drain began");
    assert!(silent.at_eof().await);
}

/// Two layers that share a set are drained together, two with a set each are not.
#[tokio::test]
async fn a_drain_reaches_every_layer_of_the_set_and_no_other() {
    let (shared, other) = (Sessions::new(), Sessions::new());
    let route = |sessions: &Sessions| {
        WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone()).into_service()
    };
    let app = Router::new()
        .route_service("/one", route(&shared))
        .route_service("/two", route(&shared))
        .route_service("/other", route(&other));
    let addr = start(app).await;
    let mut one = Client::open(addr, "/one").await;
    let mut two = Client::open(addr, "/two").await;
    let mut untouched = Client::open(addr, "/other").await;
    let drained = drain_in_background(&shared);
    for client in [&mut one, &mut two] {
        assert_eq!(client.recv_close().await, 1001);
        client.send_close(1001, "").await;
    }
    assert_eq!(soon("the drain", drained).await.unwrap().ended, 2);
    answers(&mut untouched, "still here").await;
    assert_eq!((shared.len(), other.len()), (0, 1));
}

/// `Drained` counts sessions, not handshakes that were refused.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_is_refused_during_a_drain_is_no_session_that_ended() {
    let sessions = Sessions::new();
    let handler = ServiceBuilder::new().concurrency_limit(1).service(handler_fn(echo));
    let mut service = WebSocketLayer::new(handler).sessions(sessions.clone()).into_service();
    let mut handshake = || {
        let (io, peer) = tokio::io::duplex(1 << 10);
        (service.call(handmade("/", Upgrade::from_io(io))), peer)
    };
    let (first, _peer) = handshake();
    assert_eq!(first.await.unwrap().status(), 101);
    let (second, _other) = handshake();
    let waiting = tokio::spawn(second);
    tokio::task::yield_now().await;
    let drained = sessions.drain(Duration::from_secs(1)).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 503);
    assert_eq!((drained.ended, drained.aborted), (0, 1));
}

/// An accepted handshake whose answer a layer below the `CommitLayer` holds back has no task to be
/// aborted.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_held_back_does_not_hold_a_drain_past_its_deadline() {
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo)).sessions(sessions.clone());
    let service = ServiceBuilder::new()
        .layer(CommitLayer::new())
        .layer(AndThenLayer::new(async |response| {
            pending::<()>().await;
            Ok::<_, std::convert::Infallible>(response)
        }))
        .service(layer.into_service());
    let (io, _peer) = tokio::io::duplex(1 << 10);
    let held = tokio::spawn(service.oneshot(handmade("/", Upgrade::from_io(io))));
    until("an accepted handshake", || sessions.len() == 1).await;
    let drained = drain(&sessions, SHORT).await;
    assert_eq!((drained.ended, drained.aborted), (0, 1));
    held.abort();
}

/// A handshake during a drain is told so at once, and not after a wait for the handler.
#[tokio::test(start_paused = true)]
async fn a_handshake_during_a_drain_does_not_wait_for_the_handler() {
    let sessions = Sessions::new();
    let none_is_ready = ServiceBuilder::new().concurrency_limit(0).service(handler_fn(echo));
    let mut service = WebSocketLayer::new(none_is_ready).sessions(sessions.clone()).into_service();
    sessions.drain(Duration::ZERO).await;
    let begin = tokio::time::Instant::now();
    let (io, _peer) = tokio::io::duplex(1 << 10);
    let response = service.call(handmade("/", Upgrade::from_io(io))).await.unwrap();
    assert_eq!((response.status().as_u16(), begin.elapsed()), (503, Duration::ZERO));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "the server is shutting down\n");
}
