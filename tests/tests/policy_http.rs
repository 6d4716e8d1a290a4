//! What policies decide, as a client sees it: over HTTP/1.1, through the layer.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::Request, response::IntoResponse, routing::any};
use http::{HeaderValue, StatusCode, header};
use tests::{
    client::{Client, Response},
    start::{self, echo, inner},
};
use tower::Layer;
use tower_websocket::{
    Limits, Policy, WebSocket, WebSocketLayer, handler_fn,
    handshake::Subprotocol,
    policy::{
        Accept, AllowHosts, AllowOrigins, Attempt, BoxPolicy, DangerouslyAnyOrigin, Decision,
        OriginCheck, Paths, Refuse, SameOrigin, Subprotocols, origin_fn, policy_fn,
        policy_fn_async,
    },
};

async fn serve(policy: impl Policy) -> SocketAddr {
    let layer = WebSocketLayer::new(handler_fn(echo)).policy(policy);
    start::hyper(layer.layer(tower::service_fn(inner))).await
}

/// A handshake to the host `chat.example` with these fields, and the echo where it is accepted.
async fn ask(addr: SocketAddr, path: &str, fields: &[&str]) -> (Client, Response) {
    let mut head = format!(
        "GET {path} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        head.push_str("Host: chat.example\r\n");
    }
    for field in fields {
        head.push_str(&format!("{field}\r\n"));
    }
    let mut client = Client::connect(addr).await;
    client.send_raw(format!("{head}\r\n").as_bytes()).await;
    let response = client.response().await;
    if response.status == 101 {
        client.send_text("hello").await;
        assert_eq!(client.recv_text().await, "hello");
    }
    (client, response)
}

async fn status(addr: SocketAddr, path: &str, fields: &[&str]) -> u16 {
    let (mut client, response) = ask(addr, path, fields).await;
    match response.status {
        101 | 200 => {}
        _ => {
            assert!(!response.body.is_empty(), "{response:?}");
            assert!(client.at_eof().await);
        }
    }
    response.status
}

/// O-02, O-03, O-04, O-05, O-07, R-18, R-19, S-02: without a word about policies.
#[tokio::test]
async fn pages_of_the_same_origin_and_clients_that_are_no_browsers_connect_by_default() {
    let layer = WebSocketLayer::new(handler_fn(echo));
    let addr = start::hyper(layer.layer(tower::service_fn(inner))).await;
    let table: [(&[&str], u16); 16] = [
        (&[], 101),
        (&["Origin: http://chat.example"], 101),
        (&["Origin: https://chat.example"], 101),
        (&["Origin: HTTP://CHAT.example:80"], 101),
        (&["Host: chat.example:8080", "Origin: http://chat.example:8080"], 101),
        (&["Origin: http://evil.example"], 403),
        (&["Origin: http://chat.example:8080"], 403),
        (&["Origin: http://chat.example.evil.example"], 403),
        (&["Origin: http://evilchat.example"], 403),
        (&["Origin: http://sub.chat.example"], 403),
        (&["Origin: null"], 403),
        (&["Origin: "], 403),
        (&["Origin: http://chat.example/"], 403),
        (&["Origin: http://chat.example, http://evil.example"], 403),
        (&["Origin: http://chat.example", "Origin: http://chat.example"], 403),
        // A hop-by-hop list does not make the field go away.
        (&["Origin: http://evil.example", "Connection: Origin"], 403),
    ];
    for (fields, expected) in table {
        assert_eq!(status(addr, "/", fields).await, expected, "{fields:?}");
    }
    let (_, response) = ask(addr, "/", &["Origin: http://evil.example", "Cookie: a=b"]).await;
    assert!(response.body.contains("Origin"), "{}", response.body);
    assert_eq!(response.all("set-cookie"), [""; 0]);
    let (_, response) = ask(addr, "/", &["Origin: null"]).await;
    assert!(response.body.contains("Origin"), "{}", response.body);
}

async fn serve_origin(check: impl OriginCheck) -> SocketAddr {
    let layer = WebSocketLayer::new(handler_fn(echo)).origin(check);
    start::hyper(layer.layer(tower::service_fn(inner))).await
}

/// O-01, O-04, O-06: a list replaces the default.
#[tokio::test]
async fn a_list_of_origins_stands_instead_of_the_same_origin() {
    let list = AllowOrigins::new(["https://app.example", "https://*.apps.example:8443"]).unwrap();
    let addr = serve_origin(list).await;
    let table: [(&[&str], u16); 8] = [
        (&["Origin: https://app.example"], 101),
        (&["Origin: https://a.apps.example:8443"], 101),
        (&["Origin: https://chat.example"], 403),
        (&["Origin: http://app.example"], 403),
        (&["Origin: https://app.example:8443"], 403),
        (&["Origin: https://apps.example:8443"], 403),
        (&["Origin: null"], 403),
        (&[], 101),
    ];
    for (fields, expected) in table {
        assert_eq!(status(addr, "/", fields).await, expected, "{fields:?}");
    }
    // Everyone is let in only where that is written out.
    let addr = serve_origin(DangerouslyAnyOrigin).await;
    for origin in ["Origin: https://evil.example", "Origin: null", "Origin: ?"] {
        assert_eq!(status(addr, "/", &[origin]).await, 101);
    }
}

/// Every stock policy, and every two of them.
fn policies() -> Vec<(String, BoxPolicy)> {
    type Make = fn() -> BoxPolicy;
    let stock: [(&str, Make); 5] = [
        ("Paths", || Paths::new().prefix("/").boxed()),
        ("AllowHosts", || AllowHosts::new(["chat.example"]).unwrap().boxed()),
        ("Subprotocols", || Subprotocols::from_static(["a"]).boxed()),
        ("policy_fn", || policy_fn(|_: Attempt| Decision::from(Accept::new())).boxed()),
        ("policy_fn, which passes", || policy_fn(|_: Attempt| Decision::Pass).boxed()),
    ];
    let mut all = Vec::new();
    for (name, first) in stock {
        all.push((name.to_owned(), first()));
        for (other, second) in stock {
            all.push((format!("{name} and {other}"), first().and(second()).boxed()));
            all.push((format!("{name} or {other}"), first().or(second()).boxed()));
        }
    }
    all
}

/// O-03 (origins are compared), S-02 (cross-site hijacking): no policy lets a page of another site in, nor asks
/// anything in its name.
#[tokio::test]
async fn a_page_of_another_site_is_refused_whatever_the_policy_is() {
    let evil = ["Origin: https://evil.example", "Cookie: session=1"];
    let own = ["Origin: https://chat.example", "Cookie: session=1"];
    for (name, policy) in policies() {
        let passes = name.starts_with("policy_fn, which passes")
            || name.ends_with("and policy_fn, which passes");
        let addr = serve(policy.clone()).await;
        assert_eq!(status(addr, "/", &evil).await, 403, "{name}");
        assert_eq!(status(addr, "/", &["Origin: null"]).await, 403, "{name}");
        assert_eq!(status(addr, "/", &own).await, if passes { 200 } else { 101 }, "{name}");
        // In either order, and after another policy.
        let layer = WebSocketLayer::new(handler_fn(echo));
        let strict = layer.clone().policy(policy.clone()).origin(SameOrigin::new());
        let open = layer.policy(policy).origin(DangerouslyAnyOrigin);
        for (layer, refused) in [(strict, true), (open, false)] {
            let addr = start::hyper(layer.layer(tower::service_fn(inner))).await;
            assert_eq!(status(addr, "/", &evil).await == 403, refused, "{name}");
        }
    }
}

/// O-03 (origins are compared): the policy does nothing for a page that may not ask.
#[tokio::test]
async fn the_origin_is_checked_before_the_policy_is_asked() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let addr = serve(policy_fn(move |_: Attempt| {
        count.fetch_add(1, Ordering::Relaxed);
        Decision::from(Accept::new())
    }))
    .await;
    assert_eq!(status(addr, "/", &["Origin: https://evil.example"]).await, 403);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert_eq!(status(addr, "/", &["Origin: https://chat.example"]).await, 101);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

/// O-04 (clients without an origin): whatever the check is.
#[tokio::test]
async fn a_missing_origin_is_refused_where_one_is_required() {
    let layer = WebSocketLayer::new(handler_fn(echo)).require_origin(true);
    for layer in [layer.clone(), layer.origin(DangerouslyAnyOrigin)] {
        let addr = start::hyper(layer.layer(tower::service_fn(inner))).await;
        let (_, response) = ask(addr, "/", &[]).await;
        assert_eq!(response.status, 403);
        assert!(response.body.contains("missing"), "{}", response.body);
        assert_eq!(status(addr, "/", &["Origin: https://chat.example"]).await, 101);
    }
}

/// O-06 (lists), O-03 (origins are compared): the server's own pages beside a list, and what a closure says.
#[tokio::test]
async fn checks_of_origins_are_joined_and_written_as_closures() {
    let list = AllowOrigins::new(["https://app.example"]).unwrap();
    let joined = serve_origin(SameOrigin::new().or(list)).await;
    let closure = serve_origin(origin_fn(|attempt: &Attempt| {
        attempt.headers().contains_key("x-page") || attempt.origin().is_null()
    }))
    .await;
    let table: [(SocketAddr, &[&str], u16); 7] = [
        (joined, &["Origin: https://chat.example"], 101),
        (joined, &["Origin: https://app.example"], 101),
        (joined, &["Origin: https://evil.example"], 403),
        (joined, &["Origin: null"], 403),
        (closure, &["Origin: null"], 101),
        (closure, &["Origin: https://evil.example", "X-Page: 1"], 101),
        (closure, &["Origin: https://chat.example"], 403),
    ];
    for (addr, fields, expected) in table {
        assert_eq!(status(addr, "/", fields).await, expected, "{fields:?}");
    }
}

/// A layer is a plain type, as a field or a return type needs.
#[tokio::test]
async fn a_layer_and_its_service_are_plain_types() {
    struct App {
        layer: WebSocketLayer,
        service: tower_websocket::WebSocketService<tower_websocket::UpgradeRequired>,
    }
    fn layer(policy: bool) -> WebSocketLayer {
        let layer = WebSocketLayer::new(handler_fn(echo));
        if policy { layer.policy(Paths::new().prefix("/")) } else { layer }
    }
    for policy in [true, false] {
        let app = App { layer: layer(policy), service: layer(policy).into_service() };
        let addr = start::hyper(app.layer.layer(tower::service_fn(inner))).await;
        assert_eq!(status(addr, "/", &[]).await, 101);
        assert_eq!(status(start::hyper(app.service).await, "/", &[]).await, 101);
    }
}

/// S-03: the rebound name is the same origin, and still refused.
#[tokio::test]
async fn a_list_of_hosts_stops_dns_rebinding() {
    let addr = serve(AllowHosts::loopback()).await;
    let table: [(&[&str], u16); 6] = [
        (&["Host: localhost:3000", "Origin: http://localhost:3000"], 101),
        (&["Host: 127.0.0.1", "Origin: http://127.0.0.1"], 101),
        (&["Host: [::1]:3000", "Origin: http://[::1]:3000"], 101),
        (&["Host: evil.example:3000", "Origin: http://evil.example:3000"], 403),
        (&["Host: localhost.evil.example"], 403),
        (&["Host: localhost", "Origin: http://127.0.0.1"], 403),
    ];
    for (fields, expected) in table {
        assert_eq!(status(addr, "/", fields).await, expected, "{fields:?}");
    }
}

/// the paths of each layer are its own; one layer's pass is the next one's request.
#[tokio::test]
async fn two_layers_with_two_handlers_share_one_app() {
    let says = |text: &'static str| {
        handler_fn(move |mut socket: WebSocket| async move {
            socket.send(text).await?;
            echo(socket).await
        })
    };
    let reach = async |request: Request| inner(request).await.into_response();
    let chat = WebSocketLayer::new(says("chat")).policy(Paths::new().exact("/chat"));
    let rooms = WebSocketLayer::new(says("rooms"))
        .origin(DangerouslyAnyOrigin)
        .policy(Paths::new().prefix("/rooms"));
    let nested = Router::new()
        .route("/socket", any(reach).layer(WebSocketLayer::new(says("nested"))))
        .route("/page", any(reach));
    let app = Router::new()
        .route("/chat", any(reach))
        .nest("/nested", nested)
        .fallback(reach)
        .layer(chat)
        .layer(rooms);
    let addr = start::axum(app).await;
    let table = [
        ("/chat", Some("chat")),
        ("/chat/", None),
        ("/rooms", Some("rooms")),
        ("/rooms/1?x=/chat", Some("rooms")),
        ("/rooms1", None),
        ("/nested/socket", Some("nested")),
        ("/nested/page", None),
        ("/%63hat", None),
    ];
    for (path, expected) in table {
        let mut client = Client::connect(addr).await;
        let response = client.handshake(path, &[]).await;
        match expected {
            Some(text) => {
                assert_eq!(response.status, 101, "{path}");
                assert_eq!(client.recv_text().await, text, "{path}");
            }
            None => assert_eq!(response.status, 200, "{path}"),
        }
    }
    // Each checks origins as it was told.
    let foreign = [("Origin", "http://evil.example")];
    for (path, expected) in [("/chat", 403), ("/rooms", 101), ("/nested/socket", 403)] {
        let response = Client::connect(addr).await.handshake(path, &foreign).await;
        assert_eq!(response.status, expected, "{path}");
    }
    // One of the two paths answers plain requests as ever.
    assert_eq!(Client::connect(addr).await.get("/chat", &[]).await.body, "inner: GET /chat");
}

fn refuse(status: u16, reason: &'static str) -> impl Policy {
    policy_fn(move |_: Attempt| {
        Decision::from(Refuse::new(StatusCode::from_u16(status).unwrap()).reason(reason))
    })
}

fn accept(name: &'static str) -> impl Policy {
    policy_fn(move |_: Attempt| {
        let value = HeaderValue::from_static(name);
        Decision::from(Accept::new().header(header::SET_COOKIE, value))
    })
}

fn pass() -> impl Policy {
    policy_fn_async(async |_: Attempt| Decision::Pass)
}

/// O-01: the first refusal or pass of `and`, the first accept of `or`, else its last refusal.
#[tokio::test]
async fn policies_are_asked_in_order() {
    let ask = async |policy: tower_websocket::policy::BoxPolicy| {
        let response = ask(serve(policy).await, "/", &[]).await.1;
        let cookies = response.all("set-cookie").join(" ");
        (response.status, format!("{}{cookies}", response.body))
    };
    let answer = |status, text: &str| (status, text.to_owned());
    assert_eq!(ask(accept("a").and(accept("b")).boxed()).await, answer(101, "a b"));
    assert_eq!(ask(accept("a").and(refuse(403, "b")).boxed()).await, answer(403, "b\n"));
    assert_eq!(ask(refuse(401, "a").and(refuse(403, "b")).boxed()).await, answer(401, "a\n"));
    assert_eq!(ask(pass().and(refuse(403, "b")).boxed()).await, answer(200, "inner: GET /"));
    assert_eq!(ask(refuse(403, "a").and(pass()).boxed()).await, answer(403, "a\n"));
    assert_eq!(ask(accept("a").or(accept("b")).boxed()).await, answer(101, "a"));
    assert_eq!(ask(refuse(403, "a").or(accept("b")).boxed()).await, answer(101, "b"));
    assert_eq!(ask(refuse(401, "a").or(refuse(403, "b")).boxed()).await, answer(403, "b\n"));
    assert_eq!(ask(refuse(401, "a").or(pass()).boxed()).await, answer(200, "inner: GET /"));
    assert_eq!(ask(Arc::new(accept("a")).boxed().boxed()).await, answer(101, "a"));
    let shared = Arc::new(refuse(404, "shared"));
    assert_eq!(ask(Arc::clone(&shared).boxed()).await, answer(404, "shared\n"));
    assert_eq!(ask(accept("a").and(shared).boxed()).await, answer(404, "shared\n"));
}

/// The name in the answer, or the status of a refusal.
type Negotiated<'a> = Result<Option<&'a str>, u16>;

/// N-02, N-03, N-04, N-05, N-06, N-09
#[tokio::test]
async fn the_negotiated_subprotocol_is_in_the_answer_and_known_to_the_handler() {
    let tell = handler_fn(|mut socket: WebSocket| async move {
        let name = socket.subprotocol().unwrap_or("none").to_owned();
        socket.send(name).await?;
        Ok(())
    });
    let serve = async |policy: Subprotocols| {
        let layer = WebSocketLayer::new(tell.clone()).policy(policy);
        start::hyper(layer.layer(tower::service_fn(inner))).await
    };
    let ours = || Subprotocols::new(["v2", "v1"]).unwrap();
    let server = serve(ours()).await;
    let client = serve(ours().client_preference()).await;
    let required = serve(ours().required()).await;
    let table: [(SocketAddr, &[&str], Negotiated<'_>); 15] = [
        (server, &["v1, v2"], Ok(Some("v2"))),
        (server, &["v1", "x,,v2"], Ok(Some("v2"))),
        (server, &["V1, v"], Ok(None)),
        (server, &[], Ok(None)),
        (server, &["v1, v1"], Ok(Some("v1"))),
        (client, &["v1, v2"], Ok(Some("v1"))),
        (client, &["x", "v2", "v1"], Ok(Some("v2"))),
        (required, &["v1"], Ok(Some("v1"))),
        (required, &["x"], Err(400)),
        (required, &[], Err(400)),
        (server, &["a b"], Err(400)),
        (server, &[" , "], Err(400)),
        (server, &[""], Ok(None)),
        (required, &[""], Err(400)),
        (server, &["v1, \"v2\""], Err(400)),
    ];
    for (addr, offers, expected) in table {
        let fields: Vec<_> = offers.iter().map(|it| ("Sec-WebSocket-Protocol", *it)).collect();
        let mut client = Client::connect(addr).await;
        let response = client.handshake("/", &fields).await;
        match expected {
            Ok(name) => {
                assert_eq!(response.status, 101, "{offers:?}");
                assert_eq!(response.field("sec-websocket-protocol"), name, "{offers:?}");
                assert_eq!(client.recv_text().await, name.unwrap_or("none"), "{offers:?}");
            }
            Err(status) => assert_eq!(response.status, status, "{offers:?}"),
        }
    }
}

/// N-02, N-10: a policy's own name never goes out; the mistake is the server's.
#[tokio::test]
async fn a_policy_cannot_choose_what_was_not_offered() {
    let addr = serve(policy_fn(|_: Attempt| {
        Decision::from(Accept::new().subprotocol(Subprotocol::from_static("own")))
    }))
    .await;
    for fields in [&[][..], &["Sec-WebSocket-Protocol: token.s3cret, OWN"]] {
        let (_, response) = ask(addr, "/", fields).await;
        assert_eq!(response.status, 500);
        assert_eq!(response.field("sec-websocket-protocol"), None);
        assert!(!response.body.contains("s3cret"));
    }
    assert_eq!(status(addr, "/", &["Sec-WebSocket-Protocol: x, own"]).await, 101);
}

/// B-01: offers are read, and answered with nothing.
#[tokio::test]
async fn extensions_are_declined_in_silence_and_malformed_ones_refused() {
    let addr = serve_origin(SameOrigin::new()).await;
    let offers = [
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;server_no_context_takeover , x-custom;a=1;b",
        "x; a=\"quoted\", constructor, __proto__; toString",
        ", permessage-deflate,",
    ];
    for offer in offers {
        let field = format!("Sec-WebSocket-Extensions: {offer}");
        let fields = ["Origin: http://chat.example", &field, "Sec-WebSocket-Extensions: more"];
        let (_, response) = ask(addr, "/", &fields).await;
        assert_eq!(response.status, 101, "{offer}");
        assert_eq!(response.all("sec-websocket-extensions"), [""; 0], "{offer}");
    }
    for offer in ["x; a=\"not a token\"", "x; a=\"unclosed", "x; =1", "x y", "x; a=1 2", "x;"] {
        let field = format!("Sec-WebSocket-Extensions: {offer}");
        assert_eq!(status(addr, "/", &[&field]).await, 400, "{offer}");
    }
}

/// H-11, B-03: a policy adds fields, and none of those that are the handshake's.
#[tokio::test]
async fn the_fields_of_a_policy_are_in_the_101() {
    let addr = serve(policy_fn(|_: Attempt| {
        let mut accept = Accept::new()
            .header(header::SET_COOKIE, HeaderValue::from_static("a=1"))
            .header(header::SET_COOKIE, HeaderValue::from_static("b=2"));
        for name in ["content-length", "transfer-encoding", "connection", "upgrade"] {
            accept = accept.header(name.parse().unwrap(), HeaderValue::from_static("1"));
        }
        let extensions = HeaderValue::from_static("permessage-deflate");
        Decision::from(accept.header(header::SEC_WEBSOCKET_EXTENSIONS, extensions))
    }))
    .await;
    let (_, response) = ask(addr, "/", &[]).await;
    assert_eq!(response.status, 101);
    assert_eq!(response.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(response.field("connection"), Some("Upgrade"));
    assert_eq!(response.field("upgrade"), Some("websocket"));
    for name in ["content-length", "transfer-encoding", "sec-websocket-extensions"] {
        assert_eq!(response.field(name), None);
    }
}

/// S-01: of the layer's limits and the policy's the tighter ones hold, for that socket alone.
#[tokio::test]
async fn a_policy_tightens_the_limits_of_a_socket() {
    let policy = policy_fn(|attempt: Attempt| {
        let bytes = attempt.uri().query().unwrap_or("10").parse().unwrap();
        Decision::from(Accept::new().limits(Limits::default().max_message(bytes)))
    });
    let layer = WebSocketLayer::new(handler_fn(echo))
        .policy(policy)
        .limits(Limits::default().max_message(100));
    let addr = start::hyper(layer.layer(tower::service_fn(inner))).await;
    for (path, limit) in [("/?7", 7), ("/?50", 50), ("/?100", 100), ("/?1000", 100)] {
        let mut client = Client::open(addr, path).await;
        client.send_frame(0x82, &vec![1; limit]).await;
        assert_eq!(client.recv().await, (0x82, vec![1; limit]), "{path}");
        client.send_frame(0x82, &vec![1; limit + 1]).await;
        assert_eq!(client.recv_close().await, 1009, "{path}");
    }
}

/// S-07: a policy that never decides.
#[tokio::test(start_paused = true)]
async fn a_policy_that_takes_too_long_is_answered_for_with_503() {
    for configured in [None, Some(2)] {
        let never = policy_fn_async(async |_: Attempt| std::future::pending::<Decision>().await);
        let mut layer = WebSocketLayer::new(handler_fn(echo)).policy(never);
        if let Some(seconds) = configured {
            layer = layer.policy_timeout(std::time::Duration::from_secs(seconds));
        }
        let addr = start::hyper(layer.layer(tower::service_fn(inner))).await;
        let start = tokio::time::Instant::now();
        let (mut client, response) = ask(addr, "/", &[]).await;
        assert_eq!(start.elapsed().as_secs(), configured.unwrap_or(5));
        assert_eq!(response.status, 503);
        assert_eq!(response.field("retry-after"), Some("5"));
        assert!(response.body.contains("in time"), "{}", response.body);
        assert!(client.at_eof().await);
    }
}
