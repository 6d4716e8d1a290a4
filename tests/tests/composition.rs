//! The layer in the stacks that people have: at every place that axum has for a layer, in a
//! `ServiceBuilder` on bare hyper, below and above tower-http's layers, and tower's own limits on
//! the handler.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use http::StatusCode;
use hyper::body::Incoming;
use tests::{
    client::{Client, UPGRADE},
    h2,
    start::{self, echo, inner, until, until_empty},
    wire::masked,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, sleep},
};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, cors::CorsLayer,
    set_header::SetResponseHeaderLayer, timeout::TimeoutLayer, trace::TraceLayer,
    validate_request::ValidateRequestHeaderLayer,
};
use tower_websocket::{
    Sessions, WebSocket, WebSocketLayer, handler_fn, handler_fn_with_request,
    policy::{Accept, Attempt, DangerouslyAnyOrigin, Decision, Policy, policy_fn, policy_fn_async},
    upgrade::Upgrade,
};

async fn reach(request: Request) -> Response {
    inner(request).await.into_response()
}

async fn echoes(addr: SocketAddr, path: &str) {
    let mut client = Client::open(addr, path).await;
    client.send_text(path).await;
    assert_eq!(client.recv_text().await, path);
}

fn ws() -> WebSocketLayer {
    WebSocketLayer::new(handler_fn(echo))
}

/// A policy that accepts, and counts the handshakes that it was asked about.
fn counted(asked: &Arc<AtomicUsize>) -> impl Policy + use<> {
    let asked = Arc::clone(asked);
    policy_fn(move |_: Attempt| {
        asked.fetch_add(1, Ordering::Relaxed);
        Decision::from(Accept::new())
    })
}

/// plain requests and sockets on one port, wherever axum takes a layer or a service.
#[tokio::test]
async fn axum_takes_the_layer_in_every_place() {
    let api = Router::new()
        .route("/socket", any(reach).layer(ws()))
        .route("/number", get(async |State(n): State<u32>| n.to_string()))
        .with_state(7u32);
    let app = Router::new()
        .route("/any", any(reach).layer(ws()))
        .route("/get", get(reach).layer(ws()))
        .route("/route-layer", get(reach).route_layer(ws()))
        .route("/get-service", any(reach).get_service(ws().into_service()))
        .route_service("/service", ws().into_service())
        .nest("/api", api)
        .nest_service("/nested", ws().into_service())
        .merge(Router::new().route("/merged", any(reach)).layer(ws()))
        .route("/page", get(reach))
        .fallback_service(ws().into_service());
    let addr = start::axum(app).await;
    for path in [
        "/any",
        "/get",
        "/route-layer",
        "/service",
        "/api/socket",
        "/nested/deep",
        "/merged",
        "/fallback",
    ] {
        echoes(addr, path).await;
    }
    let plain = async |path: &str| {
        let response = Client::connect(addr).await.get(path, &[]).await;
        (response.status, response.body)
    };
    for path in ["/any", "/get", "/route-layer", "/merged", "/page"] {
        assert_eq!(plain(path).await, (200, format!("inner: GET {path}")));
    }
    assert_eq!(plain("/api/socket").await, (200, "inner: GET /socket".to_owned()));
    assert_eq!(plain("/api/number").await, (200, "7".to_owned()));
    for path in ["/service", "/nested/x", "/fallback"] {
        assert_eq!(plain(path).await.0, 426, "{path}");
    }
    assert_eq!(Client::connect(addr).await.handshake("/page", &[]).await.status, 200);
}

/// the whole app, its 404s included, is behind the layer.
#[tokio::test]
async fn a_layer_around_a_router_makes_every_path_a_socket() {
    let addr = start::axum(Router::new().route("/page", get(reach)).layer(ws())).await;
    echoes(addr, "/page").await;
    assert_eq!(Client::connect(addr).await.get("/page", &[]).await.status, 200);
    assert_eq!(Client::connect(addr).await.get("/none", &[]).await.status, 404);
}

///
#[tokio::test]
async fn a_service_builder_on_bare_hyper_takes_it() {
    let service = ServiceBuilder::new()
        .layer(TraceLayer::new_for_http())
        .map_request(|request: http::Request<Incoming>| request.map(Body::new))
        .layer(ws())
        .service(service_fn(inner::<Body>));
    let addr = start::hyper(service).await;
    let mut client = Client::connect(addr).await;
    let keep = [("Connection", "keep-alive")];
    assert_eq!(client.get("/page", &keep).await.body, "inner: GET /page");
    echoes(addr, "/chat").await;
}

/// R-13, O-10: what an auth layer refuses is answered by it alone, the right Origin or not.
#[tokio::test]
async fn an_auth_layer_outside_refuses_before_the_policy_is_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    #[expect(deprecated, reason = "a constant token will do here")]
    let auth = ValidateRequestHeaderLayer::bearer("s3cret");
    let app = Router::new().fallback(reach).layer(ws().policy(counted(&asked))).layer(auth);
    let addr = start::axum(app).await;
    let origin = ("Origin", &*format!("http://{addr}"));
    for fields in [&[][..], &[origin], &[origin, ("Authorization", "Bearer wrong")]] {
        let mut client = Client::connect(addr).await;
        let response = client.handshake("/", fields).await;
        assert_eq!(response.status, 401);
        assert_eq!(response.field("sec-websocket-accept"), None);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let fields = [origin, ("Authorization", "Bearer s3cret")];
    assert_eq!(Client::connect(addr).await.handshake("/", &fields).await.status, 101);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// R-13, S-10: what an outer layer found out about the caller reaches policy and handler.
#[tokio::test]
async fn an_identity_from_an_outer_layer_reaches_policy_and_handler() {
    #[derive(Clone)]
    struct User(String);

    let identify = middleware::from_fn(async |mut request: Request, next: Next| {
        let Some(name) = request.headers().get("x-user") else {
            return StatusCode::UNAUTHORIZED.into_response();
        };
        let user = User(name.to_str().unwrap().to_owned());
        request.extensions_mut().insert(user);
        next.run(request).await
    });
    let known = policy_fn(|attempt: Attempt| match attempt.extensions().get::<User>() {
        Some(user) if user.0 != "mallory" => Decision::from(Accept::new()),
        _ => tower_websocket::policy::Refuse::forbidden("banned").into(),
    });
    let greet = handler_fn_with_request(|mut socket: WebSocket, request: http::Request<()>| {
        let user = request.extensions().get::<User>().cloned();
        async move {
            socket.send(user.map_or_else(String::new, |user| user.0)).await?;
            Ok(())
        }
    });
    let layer = WebSocketLayer::new(greet).policy(known);
    let app = Router::new().fallback_service(layer.into_service()).layer(identify);
    let addr = start::axum(app).await;
    let ask = async |fields: &[(&str, &str)]| {
        let mut client = Client::connect(addr).await;
        let status = client.handshake("/", fields).await.status;
        (client, status)
    };
    assert_eq!(ask(&[]).await.1, 401);
    assert_eq!(ask(&[("X-User", "mallory")]).await.1, 403);
    let (mut client, status) = ask(&[("X-User", "alice")]).await;
    assert_eq!(status, 101);
    assert_eq!(client.recv_text().await, "alice");
}

/// handshakes count as requests do, and none is judged that was turned away.
#[tokio::test]
async fn a_rate_limiter_outside_limits_handshakes() {
    let asked = Arc::new(AtomicUsize::new(0));
    let tokens = Arc::new(AtomicUsize::new(2));
    let limit = middleware::from_fn_with_state(
        tokens,
        async |State(tokens): State<Arc<AtomicUsize>>, request: Request, next: Next| {
            let take = |tokens: usize| tokens.checked_sub(1);
            match tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
                Ok(_) => next.run(request).await,
                Err(_) => StatusCode::TOO_MANY_REQUESTS.into_response(),
            }
        },
    );
    let app = Router::new().fallback(reach).layer(ws().policy(counted(&asked))).layer(limit);
    let addr = start::axum(app).await;
    echoes(addr, "/").await;
    assert_eq!(Client::connect(addr).await.get("/", &[]).await.status, 200);
    assert_eq!(Client::connect(addr).await.handshake("/", &[]).await.status, 429);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// A layer that changes bodies or fields, around the WebSockets or below them.
#[tokio::test]
async fn layers_that_change_responses_leave_sockets_alone() {
    let page = async || "page ".repeat(100);
    let outside = Router::new()
        .route("/page", get(page))
        .layer(ws())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(SetResponseHeaderLayer::overriding(
            http::header::SERVER,
            http::HeaderValue::from_static("test"),
        ))
        .layer(TraceLayer::new_for_http());
    let inside = Router::new()
        .route("/page", get(page))
        .layer(CompressionLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(ws());
    for app in [outside, inside] {
        let addr = start::axum(app).await;
        let fields = [("Accept-Encoding", "gzip"), ("Origin", &*format!("http://{addr}"))];
        let mut client = Client::connect(addr).await;
        let response = client.handshake("/page", &fields).await;
        assert_eq!(response.status, 101);
        for name in ["content-encoding", "content-length", "transfer-encoding"] {
            assert_eq!(response.field(name), None);
        }
        client.send_text("plain").await;
        assert_eq!(client.recv_text().await, "plain");
        let response = Client::connect(addr).await.get("/page", &fields).await;
        assert_eq!(response.field("content-encoding"), Some("gzip"));
    }
}

/// A request timeout outside ends a slow judgement and no socket.
#[tokio::test(start_paused = true)]
async fn a_timeout_outside_bounds_the_handshake_and_not_the_socket() {
    let policy = policy_fn_async(async |attempt: Attempt| {
        if attempt.uri().path() == "/slow" {
            sleep(Duration::from_secs(4)).await;
        }
        Decision::from(Accept::new())
    });
    let sessions = Sessions::new();
    let timeout =
        TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, Duration::from_secs(2));
    let layer = ws().policy(policy).sessions(sessions.clone()).keep_alive(None);
    let addr = start::axum(Router::new().fallback(reach).layer(layer).layer(timeout)).await;
    assert_eq!(Client::connect(addr).await.handshake("/slow", &[]).await.status, 504);
    assert!(sessions.is_empty());
    let mut client = Client::open(addr, "/fast").await;
    sleep(Duration::from_secs(3600)).await;
    client.send_text("an hour later").await;
    assert_eq!(client.recv_text().await, "an hour later");
}

/// A policy that panics costs its own request; the server and its other sockets live on.
#[tokio::test]
async fn a_panic_in_a_policy_is_caught_outside_and_leaves_nothing_behind() {
    let sessions = Sessions::new();
    let policy = policy_fn(|attempt: Attempt| {
        assert_ne!(attempt.uri().path(), "/panic", "the policy's mistake");
        Decision::from(Accept::new())
    });
    let layer = ws().policy(policy).sessions(sessions.clone());
    let app = Router::new().fallback(reach).layer(layer).layer(CatchPanicLayer::new());
    let addr = start::axum(app).await;
    let mut before = Client::open(addr, "/").await;
    assert_eq!(Client::connect(addr).await.handshake("/panic", &[]).await.status, 500);
    assert_eq!(sessions.len(), 1);
    before.send_text("alive").await;
    assert_eq!(before.recv_text().await, "alive");
    echoes(addr, "/").await;
    drop(before);
    until_empty(&sessions).await;
}

/// A CORS layer answers for pages of other sites what it likes: it is the policy that decides about
/// WebSockets.
#[tokio::test]
async fn cors_outside_does_not_replace_the_policy() {
    let app = Router::new().fallback(reach);
    let strict = start::axum(app.clone().layer(ws()).layer(CorsLayer::permissive())).await;
    let any = ws().origin(DangerouslyAnyOrigin);
    let open = start::axum(app.layer(any).layer(CorsLayer::permissive())).await;
    let fields = [("Origin", "https://evil.example")];
    assert_eq!(Client::connect(strict).await.handshake("/", &fields).await.status, 403);
    assert_eq!(Client::connect(open).await.handshake("/", &fields).await.status, 101);
}

/// S-07: a limit on the handler is a limit on live sockets, over all routes. The third is told so
/// before any 101, and gets the place of one that has closed.
#[tokio::test]
async fn a_concurrency_limit_on_the_handler_caps_live_sockets() {
    let sessions = Sessions::new();
    let handler = ServiceBuilder::new().concurrency_limit(2).service(handler_fn(echo));
    let layer = WebSocketLayer::new(handler)
        .keep_alive(None)
        .sessions(sessions.clone())
        // Nobody is to wait here: a place is free or it is not.
        .max_waiting(0);
    let app = Router::new()
        .route("/a", any(reach).layer(layer.clone()))
        .route("/b", any(reach).layer(layer.clone()))
        .fallback_service(layer.into_service());
    let addr = start::axum(app).await;
    let mut first = Client::open(addr, "/a").await;
    let mut second = Client::open(addr, "/b").await;
    for path in ["/a", "/b", "/c"] {
        let mut third = Client::connect(addr).await;
        let response = third.handshake(path, &[]).await;
        assert_eq!(response.status, 503);
        assert_eq!(response.field("retry-after"), Some("5"));
        assert!(third.at_eof().await);
    }
    assert_eq!(sessions.len(), 2);
    first.send_close(1000, "").await;
    assert_eq!(first.recv_close().await, 1000);
    assert!(first.at_eof().await);
    drop(first);
    let mut third = Client::open(addr, "/b").await;
    for client in [&mut second, &mut third] {
        client.send_text("both live").await;
        assert_eq!(client.recv_text().await, "both live");
    }
    assert_eq!(Client::connect(addr).await.handshake("/a", &[]).await.status, 503);
    // An abrupt end gives its place back as well.
    drop(second);
    until("a free place", || sessions.len() == 1).await;
    echoes(addr, "/c").await;
}

/// S-07, L-15: a timeout on the handler is a maximum lifetime.
#[tokio::test(start_paused = true)]
async fn a_timeout_on_the_handler_ends_the_socket_with_1011() {
    /// Tells how long the handler's future lived.
    struct Lifetime(Instant, mpsc::UnboundedSender<Duration>);

    impl Drop for Lifetime {
        fn drop(&mut self) {
            let _ = self.1.send(self.0.elapsed());
        }
    }

    for seconds in [60, 5] {
        let (sender, mut lifetime) = mpsc::unbounded_channel();
        let handler = ServiceBuilder::new().timeout(Duration::from_secs(seconds)).service(
            handler_fn(move |socket| async move {
                let _lifetime = Lifetime(Instant::now(), sender);
                echo(socket).await
            }),
        );
        let layer = WebSocketLayer::new(handler).keep_alive(None);
        let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
        let mut client = Client::open(addr, "/").await;
        client.send_text("live").await;
        assert_eq!(client.recv_text().await, "live");
        assert_eq!(client.recv_close().await, 1011);
        assert!(client.at_eof().await);
        assert_eq!(lifetime.recv().await.unwrap().as_secs(), seconds);
    }
}

/// S-10: `tower::service_fn` and a service of one's own are handlers as well, and tower's layers
/// around them see the head of the handshake.
#[tokio::test]
async fn any_service_of_sockets_is_a_handler() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handler = ServiceBuilder::new()
        .map_request(move |request: http::Request<WebSocket>| {
            sender.send(request.uri().path().to_owned()).unwrap();
            request
        })
        .map_err(|error: std::io::Error| error)
        .service_fn(async |request: http::Request<WebSocket>| {
            echo(request.into_body()).await.map_err(std::io::Error::other)
        });
    let layer = WebSocketLayer::new(handler);
    let addr = start::axum(Router::new().fallback_service(layer.into_service())).await;
    echoes(addr, "/own").await;
    assert_eq!(seen.recv().await.as_deref(), Some("/own"));
}

/// one service on TCP, on a stream of an HTTP/2 connection and on a pipe in memory; the handler
/// cannot tell them apart.
#[tokio::test]
async fn any_byte_stream_carries_a_socket() {
    let service = ws().origin(DangerouslyAnyOrigin).into_service();
    let addr = start::axum(Router::new().fallback_service(service.clone())).await;
    echoes(addr, "/tcp").await;

    let mut stream = h2::Connection::connect(addr).await.open("/stream").await;
    stream.send_frame(0x81, b"stream").await;
    assert_eq!(stream.recv().await, (0x81, b"stream".to_vec()));

    let (io, mut peer) = tokio::io::duplex(64);
    let mut request = http::Request::get("/pipe").header("Host", "a");
    for (name, value) in UPGRADE {
        request = request.header(name, value);
    }
    let mut request = request.body(()).unwrap();
    request.extensions_mut().insert(Upgrade::from_io(io));
    assert_eq!(service.oneshot(request).await.unwrap().status(), 101);
    peer.write_all(&masked(0x81, b"pipe")).await.unwrap();
    let mut frame = [0; 6];
    peer.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"\x81\x04pipe");
}

/// An `Upgrade` of one's own goes before hyper's, which then would keep the connection that it is for,
/// with its 16 KiB of buffer, for as long as the handler keeps its request.
#[tokio::test]
async fn hypers_upgrade_does_not_reach_the_handler_beside_ones_own() {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let handler = handler_fn_with_request(move |socket, request| async move {
        let _ = sender.send(request.extensions().get::<hyper::upgrade::OnUpgrade>().is_some());
        echo(socket).await
    });
    let (io, _peer) = tokio::io::duplex(1 << 10);
    let upgrade = Upgrade::from_io(io);
    let service = ServiceBuilder::new()
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(upgrade.clone());
            request
        })
        .service(WebSocketLayer::new(handler).into_service());
    let mut client = Client::connect(start::hyper(service).await).await;
    assert_eq!(client.handshake("/", &[]).await.status, 101);
    assert_eq!(seen.recv().await, Some(false));
}
