//! What happens when a layer outside replaces the answer that accepts a handshake.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::Response, routing::get};
use http::StatusCode;
use tests::{
    client::{Client, UPGRADE},
    h2::Connection,
    start::{echo, soon, start, until, until_empty},
};
use tokio::sync::Notify;
use tower::util::MapResponseLayer;
use tower_http::compression::CompressionLayer;
use tower_websocket::{
    Sessions, WebSocket, WebSocketLayer,
    commit::CommitLayer,
    handler_fn,
    policy::{Decision, policy_fn_async},
};

/// An app whose handler counts its calls.
#[derive(Clone, Default)]
struct App {
    sessions: Sessions,
    calls: Arc<AtomicUsize>,
}

impl App {
    fn layer(&self) -> WebSocketLayer {
        let calls = Arc::clone(&self.calls);
        let handler = handler_fn(move |socket: WebSocket| async move {
            calls.fetch_add(1, Ordering::Relaxed);
            echo(socket).await
        });
        WebSocketLayer::new(handler).sessions(self.sessions.clone())
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/plain", get(async || "plain"))
            .route_service("/ws", self.layer().into_service())
    }

    fn assert_untouched(&self) {
        assert_eq!(self.calls.load(Ordering::Relaxed), 0, "the handler ran");
        assert_eq!(self.sessions.len(), 0, "a session leaked");
    }
}

/// What an error mapper does: it keeps the head and changes the status.
fn forbid(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::FORBIDDEN;
    response
}

/// A handshake that also asks for the connection's end behind the answer.
const CLOSING: [(&str, &str); 4] = {
    let mut fields = UPGRADE;
    fields[1] = ("Connection", "upgrade, close");
    fields
};

/// The behaviour that the documentation of `commit` warns of.
#[tokio::test]
async fn without_a_commit_layer_hyper_hands_over_a_connection_that_was_refused() {
    let app = App::default();
    let addr = start(app.router().layer(MapResponseLayer::new(forbid))).await;
    let mut client = Client::connect(addr).await;
    assert_eq!(client.get("/ws", &CLOSING).await.status, 403);
    client.send_text("hello").await;
    assert_eq!(soon("an echo", client.recv_text()).await, "hello");
    assert_eq!(app.calls.load(Ordering::Relaxed), 1);
}

/// Without a commit layer nothing lives longer than the upgrade's timeout.
#[tokio::test]
async fn without_a_commit_layer_a_refused_handshake_is_forgotten_after_the_upgrade_timeout() {
    let app = App::default();
    let layer = app.layer().upgrade_timeout(Duration::from_millis(50));
    let router = Router::new()
        .route_service("/ws", layer.into_service())
        .layer(MapResponseLayer::new(forbid));
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    assert_eq!(client.handshake("/ws", &[]).await.status, 403);
    assert_eq!(app.sessions.len(), 1);
    until_empty(&app.sessions).await;
    app.assert_untouched();
}

/// S-08
#[tokio::test]
async fn with_a_commit_layer_outermost_a_replaced_answer_means_what_it_says() {
    let app = App::default();
    let router = app.router().layer(MapResponseLayer::new(forbid)).layer(CommitLayer::new());
    let addr = start(router).await;
    for fields in [UPGRADE, CLOSING] {
        let mut client = Client::connect(addr).await;
        let response = client.get("/ws", &fields).await;
        assert_eq!(response.status, 403);
        app.assert_untouched();
        // No proxy can take it for a tunnel, and nothing behind it is read.
        assert_eq!(response.field("connection"), Some("close"));
        assert_eq!(response.field("upgrade"), None);
        assert_eq!(response.field("sec-websocket-accept"), None);
        assert!(soon("the end", client.at_eof()).await);
        app.assert_untouched();
    }
}

/// S-08
#[tokio::test]
async fn frames_and_requests_behind_a_replaced_answer_are_not_read() {
    let app = App::default();
    let router = app.router().layer(MapResponseLayer::new(forbid)).layer(CommitLayer::new());
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    let mut burst = String::from("GET /ws HTTP/1.1\r\nHost: localhost\r\n");
    for (name, value) in UPGRADE {
        burst.push_str(&format!("{name}: {value}\r\n"));
    }
    burst.push_str("\r\nGET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.send_raw(burst.as_bytes()).await;
    assert_eq!(client.response().await.status, 403);
    assert!(soon("the end", client.at_eof()).await);
    app.assert_untouched();
}

#[tokio::test]
async fn with_a_commit_layer_sockets_open_as_ever_on_http_1_and_http_2() {
    let app = App::default();
    let addr = start(app.router().layer(CommitLayer::new())).await;
    let mut client = Client::open(addr, "/ws").await;
    client.send_text("one").await;
    assert_eq!(client.recv_text().await, "one");
    let connection = Connection::connect(addr).await;
    let mut stream = connection.open("/ws").await;
    stream.send_frame(0x81, b"two").await;
    assert_eq!(stream.recv().await, (0x81, b"two".to_vec()));
    assert_eq!(app.sessions.len(), 2);
    client.send_close(1000, "").await;
    assert_eq!(client.recv_close().await, 1000);
    stream.send_frame(0x88, &1000u16.to_be_bytes()).await;
    assert_eq!(stream.recv_close().await, 1000);
    stream.end();
    until_empty(&app.sessions).await;
}

#[tokio::test]
async fn over_http_2_a_replaced_answer_never_opens_a_socket() {
    for outermost in [true, false] {
        let app = App::default();
        let router = app.router().layer(MapResponseLayer::new(forbid));
        let router = if outermost { router.layer(CommitLayer::new()) } else { router };
        let connection = Connection::connect(start(router).await).await;
        let mut request = connection.handshake("/ws");
        request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
        let (response, mut stream) = connection.send(request).await.unwrap();
        assert_eq!(response.status(), 403);
        assert_eq!(soon("the end", stream.rest()).await, b"");
        until_empty(&app.sessions).await;
        app.assert_untouched();
        assert_eq!(connection.get("/plain").await.0.status(), 403, "the connection lives");
    }
}

/// tower-http's compression answers 406 in place of whatever the inner service said.
#[tokio::test]
async fn compressions_406_leaves_nothing_behind() {
    let app = App::default();
    let addr = start(app.router().layer(CompressionLayer::new()).layer(CommitLayer::new())).await;
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/ws", &[("Accept-Encoding", "identity;q=0, *;q=0")]).await;
    assert_eq!(response.status, 406);
    assert!(soon("the end", client.at_eof()).await);
    app.assert_untouched();

    let mut client = Client::connect(addr).await;
    assert_eq!(client.handshake("/ws", &[("Accept-Encoding", "gzip")]).await.status, 101);
    client.send_text("not compressed").await;
    assert_eq!(client.recv_text().await, "not compressed");
}

/// The answer is made anew, so that nothing of the handshake's is left in it.
#[tokio::test]
async fn an_answer_that_is_made_anew_leaves_nothing_behind() {
    let app = App::default();
    let anew = |_: Response| {
        let mut response = Response::new(Body::from("sorry"));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    };
    let router = app.router().layer(MapResponseLayer::new(anew)).layer(CommitLayer::new());
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/ws", &[]).await;
    assert_eq!((response.status, &*response.body), (502, "sorry"));
    assert_eq!(response.field("connection"), Some("close"));
    assert!(soon("the end", client.at_eof()).await);
    app.assert_untouched();
}

#[tokio::test]
async fn a_commit_layer_above_no_websocket_layer_changes_nothing() {
    let router = Router::new()
        .route("/plain", get(async || "plain"))
        .route("/switch", get(async || StatusCode::FORBIDDEN))
        .layer(CommitLayer::new());
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    assert_eq!(client.get("/plain", &[]).await.body, "plain");
    let response = client.handshake("/switch", &[]).await;
    assert_eq!((response.status, response.field("connection")), (403, None));
    assert_eq!(client.get("/plain", &[]).await.body, "plain", "the connection goes on");
}

/// Refusals of the layer below are its own business.
#[tokio::test]
async fn a_refused_handshake_passes_a_commit_layer_unchanged() {
    let app = App::default();
    let addr = start(app.router().layer(CommitLayer::new())).await;
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/ws", &[("Origin", "https://evil.example")]).await;
    assert_eq!(response.status, 403);
    assert!(!response.body.is_empty());
    app.assert_untouched();
}

/// The outermost decides, wherever the answer was replaced.
#[tokio::test]
async fn of_two_commit_layers_the_outer_one_commits() {
    let app = App::default();
    let replaced = app
        .router()
        .layer(CommitLayer::new())
        .layer(MapResponseLayer::new(forbid))
        .layer(CommitLayer::new());
    let mut client = Client::connect(start(replaced).await).await;
    assert_eq!(client.get("/ws", &CLOSING).await.status, 403);
    assert!(soon("the end", client.at_eof()).await);
    app.assert_untouched();

    let both = app.router().layer(CommitLayer::new()).layer(CommitLayer::new());
    let mut client = Client::open(start(both).await, "/ws").await;
    client.send_text("once").await;
    assert_eq!(client.recv_text().await, "once");
    assert_eq!(app.calls.load(Ordering::Relaxed), 1);
    assert_eq!(app.sessions.len(), 1);
}

/// A client that gives up while the answer is on its way.
#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_nothing() {
    let app = App::default();
    let asked = Arc::new(Notify::new());
    let judging = Arc::new(());
    let policy = policy_fn_async({
        let (asked, judging) = (Arc::clone(&asked), Arc::downgrade(&judging));
        move |_| {
            let judging = judging.upgrade();
            asked.notify_one();
            async move {
                let _judging = judging;
                pending::<Decision>().await
            }
        }
    });
    let router = Router::new()
        .route_service(
            "/ws",
            app.layer().policy(policy).policy_timeout(Duration::MAX).into_service(),
        )
        .layer(CommitLayer::new());
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    let head = format!("GET /ws HTTP/1.1\r\nHost: {addr}\r\n");
    let fields: String =
        UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    client.send_raw(format!("{head}{fields}\r\n").as_bytes()).await;
    asked.notified().await;
    drop(client);
    until("the end of the judgement", || Arc::strong_count(&judging) == 1).await;
    app.assert_untouched();
}
