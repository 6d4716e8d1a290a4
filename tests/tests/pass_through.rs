//! What counts as a handshake, and that everything else reaches the inner service as it came.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response as AxumResponse},
    routing::any,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tests::{
    client::{Client, KEY, UPGRADE},
    start::{self, echo, inner},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_websocket::{
    WebSocketLayer, handler_fn,
    policy::{Attempt, Decision, policy_fn},
};

/// The echo on bare hyper and on axum, with an inner service that says that it was reached.
async fn servers() -> [(&'static str, SocketAddr); 2] {
    let layer = WebSocketLayer::new(handler_fn(echo));
    let reach = async |request: Request<Body>| inner(request).await.into_response();
    let app = Router::new().fallback(reach).layer(layer.clone());
    [
        ("hyper", start::hyper(layer.layer(service_fn(inner::<Incoming>))).await),
        ("axum", start::axum(app).await),
    ]
}

type Fields<'a> = &'a [(&'a str, &'a str)];

/// What a request line and its fields are answered with: the status, or the inner service's text.
async fn outcome(addr: SocketAddr, line: &str, fields: Fields<'_>) -> String {
    let mut client = Client::connect(addr).await;
    let mut head = format!("{line}\r\nHost: example.com\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    client.send_raw(format!("{head}\r\n").as_bytes()).await;
    let response = client.response().await;
    match response.status {
        101 => {
            client.send_text("hello").await;
            client.recv_text().await
        }
        200 => response.body,
        status => status.to_string(),
    }
}

/// H-01, H-03, H-04, S-04: row by row.
#[tokio::test]
async fn only_a_handshake_is_judged_and_the_rest_passes() {
    let with = |name: &'static str, value: &'static str| {
        UPGRADE.map(|field| if field.0 == name { (name, value) } else { field })
    };
    let without = |name: &'static str| {
        UPGRADE.into_iter().filter(|field| field.0 != name).collect::<Vec<_>>()
    };
    let get = "GET /chat HTTP/1.1";
    let table: [(&str, Fields<'_>, &str); 20] = [
        (get, &UPGRADE, "hello"),
        (get, &with("Upgrade", "h2c, WebSocket"), "hello"),
        (get, &without("Connection"), "400"),
        (get, &with("Connection", "keep-alive"), "400"),
        // A key without its Upgrade: the inner service decides.
        (get, &without("Upgrade"), "inner: GET /chat"),
        (get, &with("Upgrade", "h2c"), "inner: GET /chat"),
        (get, &with("Upgrade", "websocket/13"), "inner: GET /chat"),
        (get, &with("Upgrade", "not-websocket"), "inner: GET /chat"),
        (get, &without("Sec-WebSocket-Key"), "400"),
        (get, &without("Sec-WebSocket-Version"), "426"),
        (get, &[], "inner: GET /chat"),
        (get, &[("Connection", "Upgrade"), ("Upgrade", "h2c")], "inner: GET /chat"),
        ("GET /chat HTTP/1.0", &UPGRADE, "inner: GET /chat"),
        ("GET /chat HTTP/1.0", &[], "inner: GET /chat"),
        ("POST /chat HTTP/1.1", &UPGRADE, "inner: POST /chat"),
        ("PUT /chat HTTP/1.1", &UPGRADE, "inner: PUT /chat"),
        ("DELETE /chat HTTP/1.1", &UPGRADE, "inner: DELETE /chat"),
        ("OPTIONS /chat HTTP/1.1", &UPGRADE, "inner: OPTIONS /chat"),
        ("PATCH /chat HTTP/1.1", &UPGRADE, "inner: PATCH /chat"),
        ("BREW /chat HTTP/1.1", &UPGRADE, "inner: BREW /chat"),
    ];
    for (what, addr) in servers().await {
        for (line, fields, expected) in table {
            assert_eq!(outcome(addr, line, fields).await, expected, "{what}: {line} {fields:?}");
        }
    }
}

/// what a form, an image or `fetch` can send never opens a socket, since a page can set none
/// of the fields that begin with `Sec-`.
#[tokio::test]
async fn what_a_page_can_send_without_a_websocket_opens_none() {
    let simple = [("Content-Type", "text/plain"), ("Accept", "image/*")];
    let fetch = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("X-Any", "1")];
    for (_, addr) in servers().await {
        assert_eq!(outcome(addr, "GET /img.png HTTP/1.1", &simple).await, "inner: GET /img.png");
        assert_eq!(outcome(addr, "POST /chat HTTP/1.1", &fetch).await, "inner: POST /chat");
        assert_eq!(outcome(addr, "GET /chat HTTP/1.1", &fetch).await, "426");
    }
}

/// H-12, R-12: the classic mistakes of proxies are named where nothing but WebSockets is served.
#[tokio::test]
async fn a_service_of_its_own_answers_the_rest_with_426_and_the_likely_mistake() {
    let addr = start::hyper(WebSocketLayer::new(handler_fn(echo)).into_service()).await;
    let key = [("Sec-WebSocket-Key", KEY), ("Sec-WebSocket-Version", "13")];
    let table: [(&str, Fields<'_>, &str); 4] = [
        ("GET / HTTP/1.1", &[], "this is a WebSocket endpoint"),
        ("GET / HTTP/1.1", &key, "proxy"),
        ("GET / HTTP/1.0", &UPGRADE, "proxy"),
        ("POST / HTTP/1.1", &UPGRADE, "this is a WebSocket endpoint"),
    ];
    for (line, fields, word) in table {
        let mut client = Client::connect(addr).await;
        let mut head = format!("{line}\r\nHost: example.com\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        client.send_raw(format!("{head}\r\n").as_bytes()).await;
        let response = client.response().await;
        assert_eq!(response.status, 426, "{line}");
        assert_eq!(response.field("upgrade"), Some("websocket"));
        assert_eq!(response.field("connection"), Some("Upgrade, close"));
        assert_eq!(response.field("sec-websocket-version"), Some("13"));
        assert!(response.body.contains(word), "{line}: {}", response.body);
        assert!(client.at_eof().await, "{line}");
    }
}

/// Sends the request's body back as it comes, trailers included, and some of its fields.
async fn mirror(request: Request<Body>) -> AxumResponse {
    let (parts, body) = request.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = StatusCode::CREATED;
    for name in ["x-mark", "content-type"] {
        for value in parts.headers.get_all(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// bodies stream in both directions at once.
#[tokio::test]
async fn a_post_streams_both_ways() {
    let app = Router::new().fallback(mirror).layer(WebSocketLayer::new(handler_fn(echo)));
    let mut client = Client::connect(start::axum(app).await).await;
    client
        .send_raw(
            b"POST /any HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Mark: 1\r\n\
              X-Mark: 2\r\n\r\n",
        )
        .await;
    let response = client.response().await;
    assert_eq!(response.status, 201);
    assert_eq!(response.all("x-mark"), ["1", "2"]);
    assert_eq!(response.field("transfer-encoding"), Some("chunked"));
    // Each chunk comes back before the next is sent.
    for chunk in ["5\r\nfirst\r\n", "6\r\nsecond\r\n", "0\r\n\r\n"] {
        client.send_raw(chunk.as_bytes()).await;
        assert_eq!(client.recv_raw(chunk.len()).await, chunk.as_bytes());
    }
    // The connection goes on, for plain requests and for a handshake.
    let response = client.get("/again", &[("X-Mark", "3"), ("Connection", "keep-alive")]).await;
    assert_eq!(response.all("x-mark"), ["3"]);
    assert_eq!(client.handshake("/chat", &[]).await.status, 101);
    client.send_text("hello").await;
    assert_eq!(client.recv_text().await, "hello");
}

/// over HTTP/2, with bodies and trailers, and with an `Upgrade` meant for something else.
#[tokio::test]
async fn http2_requests_pass_with_their_bodies_and_trailers() {
    let app = Router::new().fallback(mirror).layer(WebSocketLayer::new(handler_fn(echo)));
    let stream = TcpStream::connect(start::axum(app).await).await.unwrap();
    let (mut send, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let body = |mut frames: mpsc::Receiver<Frame<Bytes>>| {
        StreamBody::new(stream::poll_fn(move |cx| {
            frames.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>))
        }))
    };
    let (chunks, receiver) = mpsc::channel(1);
    let request = Request::post("http://a/any").header("x-mark", "1").body(body(receiver));
    let response = send.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-mark"], "1");
    let mut back = response.into_body();
    for chunk in ["first", "second"] {
        chunks.send(Frame::data(Bytes::from(chunk))).await.unwrap();
        let frame = back.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), chunk);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("11"));
    chunks.send(Frame::trailers(trailers.clone())).await.unwrap();
    drop(chunks);
    assert_eq!(back.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);

    let request = Request::get("http://a/plain").body(body(mpsc::channel(1).1)).unwrap();
    assert_eq!(send.send_request(request).await.unwrap().status(), 201);
}

/// An inner service that upgrades to a protocol of its own, which sends every byte back.
async fn other_protocol(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    tokio::spawn(async move {
        let mut io = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut byte = [0];
        while io.read(&mut byte).await.unwrap() > 0 {
            io.write_all(&byte).await.unwrap();
            io.flush().await.unwrap();
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("other"));
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(response)
}

/// the inner service may upgrade, to another protocol or, where the policy passes a handshake
/// on, by itself.
#[tokio::test]
async fn an_upgrade_of_the_inner_service_is_left_to_it() {
    let pass = policy_fn(|_: Attempt| Decision::Pass);
    let layer = WebSocketLayer::new(handler_fn(echo)).policy(pass);
    let addr = start::hyper(layer.layer(service_fn(other_protocol))).await;
    for upgrade in ["other", "websocket"] {
        let mut client = Client::connect(addr).await;
        let fields = UPGRADE.map(|it| if it.0 == "Upgrade" { ("Upgrade", upgrade) } else { it });
        let response = client.get("/", &fields).await;
        assert_eq!(response.status, 101);
        assert_eq!(response.field("upgrade"), Some("other"));
        assert_eq!(response.field("sec-websocket-accept"), None);
        client.send_raw(b"not frames").await;
        assert_eq!(client.recv_raw(10).await, b"not frames");
    }
}

/// An inner service that is called by whoever waited for it to be ready, and whose clones have not.
#[derive(Debug, Default)]
struct Strict {
    is_ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Service<Request<()>> for Strict {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without being ready");
        ready(Ok(Response::default()))
    }
}

/// tower's contract: the service that was ready is the one that is called, also for a handshake that
/// the policy passes on, and the next request finds one that is asked anew.
#[tokio::test]
async fn the_inner_service_that_was_ready_is_called() {
    let layer = WebSocketLayer::new(handler_fn(echo));
    let mut service = layer.policy(policy_fn(|_: Attempt| Decision::Pass)).layer(Strict::default());
    let handshake = || {
        let request = Request::get("/").header("Host", "a");
        UPGRADE.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    };
    for request in [Request::get("/"), handshake(), handshake(), Request::get("/")] {
        let request = request.body(()).unwrap();
        let response = service.ready().await.unwrap().call(request).await.unwrap();
        assert_eq!(response.status(), 200);
    }
}

/// one route is a WebSocket, its neighbours are not concerned.
#[tokio::test]
async fn a_handshake_for_a_route_without_the_layer_is_a_plain_request() {
    let reach = async |request: Request<Body>| inner(request).await.into_response();
    let app = Router::new()
        .route("/chat", any(reach).layer(WebSocketLayer::new(handler_fn(echo))))
        .route("/page", any(reach));
    let addr = start::axum(app).await;
    assert_eq!(outcome(addr, "GET /chat HTTP/1.1", &UPGRADE).await, "hello");
    assert_eq!(outcome(addr, "GET /page HTTP/1.1", &UPGRADE).await, "inner: GET /page");
    assert_eq!(outcome(addr, "GET /else HTTP/1.1", &UPGRADE).await, "404");
}
