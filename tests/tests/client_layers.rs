//! Layers around the client, which see attempts to open a socket, and below it, which see HTTP.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    response::Redirect,
    routing::{any, get},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tests::{
    dial::{client, is_echo},
    script::{SWITCHING, Script},
    start::{self, echo, inner, soon},
};
use tower::{Service, ServiceBuilder, ServiceExt, retry, service_fn};
use tower_http::{
    auth::AddAuthorizationLayer, follow_redirect::FollowRedirectLayer,
    set_header::SetRequestHeaderLayer,
};
use tower_websocket::{
    WebSocket, WebSocketLayer,
    client::{Backoff, ClientError, Connector, OnePerAddressLayer, WebSocketClient},
    handler_fn,
    policy::{Accept, AllowOrigins, Attempt, Decision, Policy, Refuse, policy_fn},
};

fn request(uri: impl AsRef<str>) -> Request<()> {
    Request::get(uri.as_ref()).body(()).unwrap()
}

async fn serve(policy: impl Policy) -> String {
    let page = AllowOrigins::new(["http://page.example"]).unwrap();
    let layer = WebSocketLayer::new(handler_fn(echo)).origin(page).policy(policy);
    let app = Router::new().route("/ws", any(inner).layer(layer));
    format!("ws://{}/ws", start::start(app).await)
}

/// Tries again while the server says that it is busy.
#[derive(Clone)]
struct WhileBusy(Backoff);

impl retry::Policy<Request<()>, Response<WebSocket>, ClientError> for WhileBusy {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut Request<()>,
        result: &mut Result<Response<WebSocket>, ClientError>,
    ) -> Option<Self::Future> {
        let error = result.as_ref().err()?;
        let busy = error.status() == Some(StatusCode::SERVICE_UNAVAILABLE);
        busy.then(|| tokio::time::sleep(self.0.next_delay()))
    }

    fn clone_request(&mut self, request: &Request<()>) -> Option<Request<()>> {
        Some(request.clone())
    }
}

/// C-04, C-07: tower's retry, with our delays; each attempt has a key of its own.
#[tokio::test]
async fn an_attempt_is_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let uri = serve(policy_fn({
        let (asked, keys) = (asked.clone(), keys.clone());
        move |attempt: Attempt| {
            keys.lock().unwrap().push(attempt.headers()[header::SEC_WEBSOCKET_KEY].clone());
            match asked.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Decision::Refuse(Refuse::new(StatusCode::SERVICE_UNAVAILABLE)),
                2 => Decision::Accept(Accept::new()),
                _ => Decision::Refuse(Refuse::new(StatusCode::FORBIDDEN)),
            }
        }
    }))
    .await;
    let backoff = Backoff::new().first(Duration::ZERO).max(Duration::ZERO);
    let client = ServiceBuilder::new().retry(WhileBusy(backoff)).service(client());
    let response = soon("a socket", client.clone().oneshot(request(&uri))).await.unwrap();
    is_echo(response.into_body()).await;
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    let error = client.oneshot(request(&uri)).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::FORBIDDEN));
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    let mut keys = keys.lock().unwrap().clone();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

/// A timeout layer is shorter than the client's own.
#[tokio::test(start_paused = true)]
async fn a_timeout_layer_bounds_an_attempt() {
    let silent =
        service_fn(async |_: Request<Empty<Bytes>>| -> Result<Response<Full<Bytes>>, Infallible> {
            std::future::pending().await
        });
    let client = ServiceBuilder::new()
        .timeout(Duration::from_secs(1))
        .layer_fn(WebSocketClient::new)
        .service(silent);
    let began = tokio::time::Instant::now();
    let error = client.oneshot(request("ws://h")).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    assert_eq!(began.elapsed().as_secs(), 1);
}

/// A limit of concurrency counts attempts; an open socket is none.
#[tokio::test]
async fn a_concurrency_limit_counts_attempts() {
    let uri = serve(policy_fn(|_| Decision::Accept(Accept::new()))).await;
    let mut client = ServiceBuilder::new().concurrency_limit(1).service(client());
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let response = soon("a socket", client.ready().await.unwrap().call(request(&uri))).await;
        sockets.push(response.unwrap().into_body());
    }
    for socket in sockets {
        is_echo(socket).await;
    }
}

/// C-14, O-09: fields that layers set go out from both sides of the client.
#[tokio::test]
async fn layers_on_both_sides_set_fields() {
    let uri = serve(policy_fn(|attempt: Attempt| {
        let field = |name| attempt.headers().get(name).map(HeaderValue::as_bytes);
        let right = field(header::AUTHORIZATION) == Some(b"Bearer 31337")
            && field(header::USER_AGENT) == Some(b"tests")
            && field(header::ORIGIN) == Some(b"http://page.example");
        if right {
            Decision::Accept(Accept::new())
        } else {
            Decision::Refuse(Refuse::new(StatusCode::UNAUTHORIZED))
        }
    }))
    .await;
    let auth = AddAuthorizationLayer::bearer("31337");
    let agent =
        SetRequestHeaderLayer::overriding(header::USER_AGENT, HeaderValue::from_static("tests"));
    let origin = SetRequestHeaderLayer::overriding(
        header::ORIGIN,
        HeaderValue::from_static("HTTP://Page.example:80"),
    );
    let above = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(agent.clone())
        .layer(origin.clone())
        .service(client());
    is_echo(above.oneshot(request(&uri)).await.unwrap().into_body()).await;

    let below = ServiceBuilder::new()
        .layer(origin)
        .layer_fn(WebSocketClient::new)
        .layer(auth)
        .layer(agent)
        .service(Connector::tcp());
    is_echo(below.oneshot(request(&uri)).await.unwrap().into_body()).await;

    let error = client().oneshot(request(&uri)).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED));
}

/// C-07: redirects are followed where a layer below the client does it, to another host too.
#[tokio::test]
async fn redirects_are_followed_on_request() {
    let host = Arc::new(std::sync::Mutex::new(None));
    let there = serve(policy_fn({
        let host = host.clone();
        move |attempt: Attempt| {
            *host.lock().unwrap() = attempt.headers().get(header::HOST).cloned();
            Decision::Accept(Accept::new())
        }
    }))
    .await;
    let location = there.replace("ws://", "http://");
    let app = Router::new().route(
        "/",
        get({
            let location = location.clone();
            move || std::future::ready(Redirect::temporary(&location))
        }),
    );
    let here = format!("ws://{}/", start::start(app).await);

    let error = client().oneshot(request(&here)).await.unwrap_err();
    assert_eq!(error.status(), Some(StatusCode::TEMPORARY_REDIRECT));
    assert_eq!(error.response().unwrap().headers()[header::LOCATION], location);

    let client = ServiceBuilder::new()
        .layer_fn(WebSocketClient::new)
        .layer(FollowRedirectLayer::new())
        .service(Connector::tcp());
    is_echo(client.oneshot(request(&here)).await.unwrap().into_body()).await;
    let host = host.lock().unwrap().take().unwrap();
    assert!(there.contains(host.to_str().unwrap()), "{host:?}");
}

/// C-13: of many attempts one is under way, and an open socket holds nobody up.
#[tokio::test]
async fn attempts_to_one_server_queue_where_asked_for() {
    let script = Script::listen().await;
    let client = ServiceBuilder::new().layer(OnePerAddressLayer::new()).service(client());
    let mut attempts = Vec::new();
    for _ in 0..20 {
        attempts.push(tokio::spawn(client.clone().oneshot(request(script.uri()))));
    }
    let mut peers = Vec::new();
    for _ in 0..20 {
        let mut peer = soon("an attempt", script.accept()).await;
        // None of the others has connected.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        assert!(script.is_quiet());
        peer.answer(SWITCHING).await;
        peers.push(peer);
    }
    for attempt in attempts {
        assert!(soon("a socket", attempt).await.unwrap().is_ok());
    }
}
