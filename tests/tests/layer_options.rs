//! What a layer's options do: how long and how many handshakes wait, what the handler gets to know,
//! and the bounds of the recommended accept loop. `limits.rs` tells where the other limits are
//! tested.

use std::{
    convert::Infallible,
    future::{Future, pending},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tests::{
    client::Client,
    serve::{Server, ServerConfig},
    start::{self, echo, handmade, inner},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep},
};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_websocket::{
    BoxError, Sessions, WebSocket, WebSocketLayer, handler_fn, handler_fn_with_request,
    policy::{Accept, Attempt, Decision, PeerAddr, policy_fn},
    upgrade::Upgrade,
};

async fn serve(layer: WebSocketLayer) -> SocketAddr {
    start::hyper(layer.layer(service_fn(inner::<Incoming>))).await
}

fn never() -> Upgrade {
    Upgrade::new(pending::<Result<tokio::io::DuplexStream, Infallible>>())
}

/// A handler that is ready once it is told to be.
#[derive(Clone)]
struct Gate {
    open: watch::Receiver<bool>,
}

impl Gate {
    fn new() -> (Self, watch::Sender<bool>) {
        let (sender, open) = watch::channel(false);
        (Self { open }, sender)
    }
}

impl Service<Request<WebSocket>> for Gate {
    type Response = ();
    type Error = BoxError;
    type Future = futures_util::future::BoxFuture<'static, Result<(), BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if *self.open.borrow() {
            return Poll::Ready(Ok(()));
        }
        let mut open = self.open.clone();
        let waker = cx.waker().clone();
        tokio::spawn(async move {
            let _ = open.wait_for(|open| *open).await;
            waker.wake();
        });
        Poll::Pending
    }

    fn call(&mut self, request: Request<WebSocket>) -> Self::Future {
        Box::pin(echo(request.into_body()))
    }
}

/// S-07: how long a handshake waits for the handler, to the millisecond, and what it is told.
#[tokio::test(start_paused = true)]
async fn a_handshake_waits_for_the_handler_as_configured() {
    for (configured, millis) in [(None, 100), (Some(3000), 3000)] {
        let (gate, open) = Gate::new();
        let mut layer = WebSocketLayer::new(gate);
        if let Some(millis) = configured {
            layer = layer
                .readiness_timeout(Duration::from_millis(millis))
                .retry_after(Duration::from_secs(7));
        }
        let addr = serve(layer).await;
        let start = Instant::now();
        let mut client = Client::connect(addr).await;
        let response = client.handshake("/", &[]).await;
        let waited = start.elapsed().as_millis();
        assert!((millis..millis + 5).contains(&waited), "{waited} ms of {millis}");
        assert_eq!(response.status, 503);
        let retry_after = if configured.is_some() { "7" } else { "5" };
        assert_eq!(response.field("retry-after"), Some(retry_after));
        assert!(client.at_eof().await);

        // One that becomes ready in time makes no difference to the client.
        let opening = async {
            sleep(Duration::from_millis(50)).await;
            open.send(true).unwrap();
        };
        tokio::join!(Client::open(addr, "/"), opening);
    }
}

/// S-07: one handshake more than may wait is turned away at once, and a place that is given back is
/// taken again.
#[tokio::test(start_paused = true)]
async fn only_so_many_handshakes_wait_for_the_handler() {
    for (configured, places) in [(None, 1024), (Some(2), 2), (Some(0), 0)] {
        let (gate, _open) = Gate::new();
        let sessions = Sessions::new();
        let mut layer = WebSocketLayer::new(gate).sessions(sessions.clone());
        if let Some(handshakes) = configured {
            layer = layer.max_waiting(handshakes);
        }
        let mut service = layer.into_service();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> =
            (0..places).map(|_| Box::pin(service.call(handmade("/", never())))).collect();
        for response in &mut waiting {
            assert!(response.as_mut().poll(&mut cx).is_pending());
        }
        let refused = pin!(service.call(handmade("/", never())));
        let Poll::Ready(Ok(response)) = refused.poll(&mut cx) else {
            panic!("{places} handshakes wait, and one more");
        };
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "5");
        if waiting.pop().is_some() {
            let mut next = pin!(service.call(handmade("/", never())));
            assert!(next.as_mut().poll(&mut cx).is_pending(), "a place is free again");
        }
        drop(waiting);
        assert!(sessions.is_empty(), "waiting in vain leaves nothing behind");
    }
}

/// A handler that fails to become ready turns handshakes away; it is not called.
#[tokio::test]
async fn a_handler_that_cannot_be_ready_is_answered_for_with_503() {
    #[derive(Clone)]
    struct Broken;

    impl Service<Request<WebSocket>> for Broken {
        type Response = ();
        type Error = BoxError;
        type Future = std::future::Ready<Result<(), BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Err("the database is gone".into()))
        }

        fn call(&mut self, _: Request<WebSocket>) -> Self::Future {
            panic!("called without being ready")
        }
    }

    let addr = serve(WebSocketLayer::new(Broken)).await;
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/", &[]).await;
    assert_eq!(response.status, 503);
    assert!(!response.body.contains("database"), "{}", response.body);
    assert!(client.at_eof().await);
}

/// H-19, S-07: an acceptance whose connection never comes.
#[tokio::test(start_paused = true)]
async fn an_upgrade_that_does_not_happen_is_given_up_as_configured() {
    for (configured, seconds) in [(None, 10), (Some(3), 3)] {
        let called = Arc::new(AtomicUsize::new(0));
        let calls = Arc::clone(&called);
        let sessions = Sessions::new();
        let mut layer = WebSocketLayer::new(handler_fn(move |_: WebSocket| {
            calls.fetch_add(1, Ordering::Relaxed);
            async {}
        }))
        .sessions(sessions.clone());
        if let Some(seconds) = configured {
            layer = layer.upgrade_timeout(Duration::from_secs(seconds));
        }
        let response = layer.into_service().call(handmade("/", never())).await.unwrap();
        assert_eq!(response.status(), 101);
        // The clock is paused: these pass in no time and in order.
        sleep(Duration::from_millis(seconds * 1000 - 5)).await;
        assert_eq!(sessions.len(), 1);
        sleep(Duration::from_millis(10)).await;
        assert!(sessions.is_empty());
        assert_eq!(called.load(Ordering::Relaxed), 0);
    }
}

/// S-10: the handler's request has the method, the target, the extensions, and the fields that were
/// asked for, repeated ones included.
#[tokio::test]
async fn the_handler_sees_the_fields_that_it_asked_for() {
    let room = HeaderName::from_static("x-room");
    // A name that is asked for twice is copied once.
    let names = [header::COOKIE, room.clone(), room];
    for (copied, expected) in [(&names[..], "a=1|b=2|lobby"), (&names[1..], "lobby"), (&[], "")] {
        let tell =
            handler_fn_with_request(|mut socket: WebSocket, request: Request<()>| async move {
                let values: Vec<_> =
                    request.headers().values().map(|value| value.to_str().unwrap()).collect();
                let text = format!("{} {} {}", request.method(), request.uri(), values.join("|"));
                socket.send(text).await?;
                Ok(())
            });
        let addr = serve(WebSocketLayer::new(tell).copy_headers(copied.iter().cloned())).await;
        let mut client = Client::connect(addr).await;
        let fields = [("Cookie", "a=1"), ("X-Room", "lobby"), ("Cookie", "b=2"), ("X-Else", "1")];
        assert_eq!(client.handshake("/chat/1?x=%20y", &fields).await.status, 101);
        assert_eq!(client.recv_text().await, format!("GET /chat/1?x=%20y {expected}"));
    }
}

/// What the layer adds for a policy is not seen behind one that lets a handshake pass; what was there
/// before is.
#[tokio::test]
async fn a_request_that_passes_has_nothing_of_the_layers() {
    let addr = |port| PeerAddr(([192, 0, 2, 1], port).into());
    for (before, found, seen) in [
        (None, Some(addr(1)), "None"),
        (Some(addr(2)), Some(addr(1)), "Some(PeerAddr(192.0.2.1:2))"),
        (Some(addr(2)), None, "Some(PeerAddr(192.0.2.1:2))"),
    ] {
        let inner = service_fn(async |request: Request<()>| {
            let known = format!("{:?}", request.extensions().get::<PeerAddr>());
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(known)))
        });
        let layer = WebSocketLayer::new(handler_fn(echo))
            .peer_addr(move |_| found.map(|addr| addr.0))
            .policy(policy_fn(move |attempt: Attempt| {
                assert_eq!(attempt.peer_addr(), found.or(before).map(|addr| addr.0));
                Decision::Pass
            }));
        let mut request = handmade("/", never());
        if let Some(before) = before {
            request.extensions_mut().insert(before);
        }
        let response = layer.layer(inner).oneshot(request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), seen);
    }
}

/// S-11: what an outer layer has marked as sensitive is not shown by the copy's `Debug` text either.
#[tokio::test]
async fn a_sensitive_field_is_sensitive_in_the_handlers_request() {
    let (seen, mut values) = mpsc::unbounded_channel();
    let handler = handler_fn_with_request(move |_: WebSocket, request: Request<()>| {
        seen.send(request.headers()[header::COOKIE].clone()).expect("the test waits");
        async {}
    });
    let (io, _peer) = tokio::io::duplex(64);
    let mut request = handmade("/", Upgrade::from_io(io));
    let mut cookie = HeaderValue::from_static("id=secret");
    cookie.set_sensitive(true);
    request.headers_mut().insert(header::COOKIE, cookie);
    let layer = WebSocketLayer::new(handler).copy_headers([header::COOKIE]);
    assert_eq!(layer.into_service().call(request).await.unwrap().status(), 101);
    let value = values.recv().await.expect("the handler is called");
    assert_eq!(value, "id=secret");
    assert!(value.is_sensitive());
}

/// O-01, S-10: where the accept loop says it, in axum's way or in ours.
#[tokio::test]
async fn policy_and_handler_know_the_peers_address() {
    let tell = || {
        handler_fn_with_request(|mut socket: WebSocket, request: Request<()>| async move {
            socket.send(format!("{:?}", request.extensions().get::<PeerAddr>())).await?;
            Ok(())
        })
    };
    let known = || {
        policy_fn(|attempt: Attempt| {
            let addr = format!("{:?}", attempt.peer_addr().map(PeerAddr));
            Decision::from(Accept::new().header(header::SERVER, addr.parse().unwrap()))
        })
    };
    let from_axum = WebSocketLayer::new(tell())
        .policy(known())
        .peer_addr(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0));
    let plain = WebSocketLayer::new(tell()).policy(known());
    let marked: PeerAddr = PeerAddr("192.0.2.1:5000".parse().unwrap());
    let own = ServiceBuilder::new()
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(marked);
            request
        })
        .layer(plain.clone())
        .service(service_fn(inner));
    let servers = [
        (start::axum(Router::new().fallback_service(from_axum.into_service())).await, "ours"),
        (start::axum(Router::new().fallback_service(plain.into_service())).await, "None"),
        (start::hyper(own).await, "Some(PeerAddr(192.0.2.1:5000))"),
    ];
    for (addr, expected) in servers {
        let mut client = Client::connect(addr).await;
        let ours = format!("{:?}", Some(PeerAddr(client.stream.local_addr().unwrap())));
        let expected = if expected == "ours" { &ours } else { expected };
        let response = client.handshake("/", &[]).await;
        assert_eq!(response.status, 101);
        assert_eq!(response.field("server"), Some(expected));
        assert_eq!(client.recv_text().await, expected);
    }
}

// ===== the accept loop =====

async fn recommended(config: ServerConfig) -> SocketAddr {
    let layer = WebSocketLayer::new(handler_fn(echo));
    let app = Router::new().fallback_service(layer.into_service());
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), app, config).await.unwrap();
    let addr = server.local_addr();
    tokio::spawn(server.until(pending()));
    addr
}

/// S-07: silent, or a byte now and then; what became a socket is not concerned.
#[tokio::test(start_paused = true)]
async fn a_client_has_a_deadline_from_accept_to_the_answer() {
    let short = ServerConfig { handshake_timeout: Duration::from_secs(2), ..Default::default() };
    for (config, seconds) in [(ServerConfig::default(), 10), (short, 2)] {
        let addr = recommended(config).await;
        let mut open = Client::open(addr, "/").await;
        let start = Instant::now();
        let mut silent = Client::connect(addr).await;
        assert!(silent.at_eof().await);
        assert_eq!(start.elapsed().as_secs(), seconds);

        let start = Instant::now();
        let mut slow = Client::connect(addr).await;
        slow.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
        loop {
            tokio::select! {
                end = slow.at_eof() => break assert!(end),
                () = sleep(Duration::from_millis(500)) => {}
            }
            slow.send_raw(b"y").await;
        }
        assert_eq!(start.elapsed().as_secs(), seconds);

        open.send_text("still here").await;
        assert_eq!(open.recv_text().await, "still here");
    }
}

/// A head of the largest size is taken, a larger one is not.
#[tokio::test]
async fn a_head_is_held_to_its_limit() {
    let small = ServerConfig { max_head: 16 * 1024, ..Default::default() };
    for (config, limit) in [(ServerConfig::default(), 64 * 1024), (small, 16 * 1024)] {
        let addr = recommended(config).await;
        for (size, expected) in [(limit - 1024, 101), (limit + 1024, 431)] {
            // Several fields, as one of hyper's own limits is for a single one.
            let value = "y".repeat(7000);
            let mut fields = vec![("X-Long", &*value); size / 7009];
            let rest = "z".repeat(size % 7009);
            fields.push(("X-Rest", &rest));
            let response = Client::connect(addr).await.handshake("/", &fields).await;
            assert_eq!(response.status, expected, "{size} of {limit}");
        }
    }
}
