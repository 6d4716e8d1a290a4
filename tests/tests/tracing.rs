//! What the log of a server says about its sockets, and what it must not.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{Router, extract::Request};
use tests::{
    client::{Client, KEY},
    h2::Connection,
    start::{app, echo, soon, start, until_empty},
};
use tower_http::trace::TraceLayer;
use tower_websocket::{
    BoxError, Deflate, Sessions, Timeouts, WebSocket, WebSocketLayer, handler_fn,
    policy::Subprotocols,
};
use tracing::{
    Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
};

#[derive(Clone, Debug, Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| *it == name).map(|(_, value)| &**value)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push((field.name(), format!("{value:?}")));
    }
}

#[derive(Clone, Debug)]
struct Span {
    id: Id,
    name: &'static str,
    fields: Fields,
    parent: Option<Id>,
    follows: Vec<Id>,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Event {
    level: Level,
    span: Option<&'static str>,
    fields: Fields,
}

/// Everything that the crates of this project log, and the spans of the test's own.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    spans: Vec<Span>,
    events: Vec<Event>,
}

impl Log {
    /// Captures what this thread, on which all of a test runs, logs.
    fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let guard = tracing::subscriber::set_default(Registry::default().with(log.clone()));
        (log, guard)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// The spans of this name, oldest first.
    fn spans(&self, name: &str) -> Vec<Span> {
        self.lock().spans.iter().filter(|it| it.name == name).cloned().collect()
    }

    fn events(&self, level: Level) -> Vec<Event> {
        self.lock().events.iter().filter(|it| it.level == level).cloned().collect()
    }

    /// All of it as text.
    fn text(&self) -> String {
        let inner = self.lock();
        let mut text = String::new();
        for span in &inner.spans {
            writeln!(text, "{span:?}").unwrap();
        }
        for event in &inner.events {
            writeln!(text, "{event:?}").unwrap();
        }
        text
    }
}

fn is_ours(target: &str) -> bool {
    ["tower_websocket", "hybi", "tracing", "tower_http"]
        .iter()
        .any(|name| target.split("::").next() == Some(name))
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Log {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if !is_ours(attributes.metadata().target()) {
            return;
        }
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.lock().spans.push(Span {
            id: id.clone(),
            name: attributes.metadata().name(),
            fields,
            parent: context.span(id).and_then(|it| it.parent()).map(|it| it.id()),
            follows: Vec::new(),
            closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        if let Some(span) = self.lock().spans.iter_mut().rfind(|it| it.id == *id) {
            values.record(&mut span.fields);
        }
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, _: Context<'_, S>) {
        if let Some(span) = self.lock().spans.iter_mut().rfind(|it| it.id == *id) {
            span.follows.push(follows.clone());
        }
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        if !is_ours(event.metadata().target()) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.lock().events.push(Event {
            level: *event.metadata().level(),
            span: context.event_span(event).map(|it| it.name()),
            fields,
        });
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        if let Some(span) = self.lock().spans.iter_mut().rfind(|it| it.id == id) {
            span.closed = true;
        }
    }
}

#[tokio::test]
async fn each_socket_has_a_span_that_follows_from_its_requests() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let handler = handler_fn(|socket: WebSocket| async move {
        tracing::info!("the handler's own");
        echo(socket).await
    });
    let layer = WebSocketLayer::new(handler)
        .policy(Subprotocols::from_static(["chat.v1"]))
        .sessions(sessions.clone());
    let router = Router::new().fallback_service(layer.into_service()).layer(
        TraceLayer::new_for_http().make_span_with(|_: &Request| tracing::info_span!("request")),
    );
    let addr = start(router).await;
    let mut client = Client::connect(addr).await;
    let response = client.handshake("/", &[("Sec-WebSocket-Protocol", "chat.v1")]).await;
    assert_eq!(response.status, 101);
    for text in ["one", "three"] {
        client.send_text(text).await;
        assert_eq!(client.recv_text().await, text);
    }
    client.send_frame(0x89, b"a ping is no message").await;
    assert_eq!(client.recv().await.0, 0x8a);
    client.send_close(4001, "reason").await;
    assert_eq!(client.recv_close().await, 4001);
    until_empty(&sessions).await;

    let [span] = &log.spans("websocket")[..] else { panic!("one span") };
    let [request] = &log.spans("request")[..] else { panic!("one request") };
    assert_eq!(span.follows, std::slice::from_ref(&request.id));
    assert_eq!(span.parent, None, "nothing of the request's lives as long as the socket");
    assert!(request.closed && span.closed);
    for (name, value) in [
        ("version", "HTTP/1.1"),
        ("subprotocol", "\"chat.v1\""),
        ("close_code", "4001"),
        ("messages_received", "2"),
        ("bytes_received", "8"),
        ("messages_sent", "2"),
        ("bytes_sent", "8"),
    ] {
        assert_eq!(span.fields.get(name), Some(value), "{name}");
    }
    let [own] = &log.events(Level::INFO)[..] else { panic!("one event") };
    assert_eq!(own.span, Some("websocket"), "what a handler logs is in the socket's span");
    assert!(log.events(Level::ERROR).is_empty() && log.events(Level::WARN).is_empty());
}

/// L-04, L-05
#[tokio::test]
async fn the_span_tells_how_the_socket_ended() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let addr = start(app(handler_fn(echo), &sessions)).await;
    let mut expected = Vec::new();

    let mut client = Client::open(addr, "/").await;
    client.send_frame(0x88, b"").await;
    client.recv_close().await;
    until_empty(&sessions).await;
    expected.push(("HTTP/1.1", "1005"));

    let client = Client::open(addr, "/").await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    until_empty(&sessions).await;
    expected.push(("HTTP/1.1", "1006"));

    let connection = Connection::connect(addr).await;
    let mut stream = connection.open("/").await;
    stream.send_frame(0x88, &1001u16.to_be_bytes()).await;
    stream.recv_close().await;
    stream.end();
    until_empty(&sessions).await;
    expected.push(("HTTP/2.0", "1001"));

    let spans = log.spans("websocket");
    let told: Vec<_> = spans
        .iter()
        .map(|it| (it.fields.get("version").unwrap(), it.fields.get("close_code").unwrap()))
        .collect();
    assert_eq!(told, expected);
    assert!(spans.iter().all(|it| it.closed && it.fields.get("subprotocol").is_none()));
}

#[tokio::test]
async fn the_span_tells_what_was_agreed_on_about_compression() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo))
        .deflate(Deflate::new().server_context_takeover(true))
        .sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    for fields in [&[("Sec-WebSocket-Extensions", "permessage-deflate")][..], &[]] {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.handshake("/", fields).await.status, 101);
        client.send_close(1000, "").await;
        client.recv_close().await;
        until_empty(&sessions).await;
    }
    let [with, without] = &log.spans("websocket")[..] else { panic!("two spans") };
    let agreed = "permessage-deflate; client_no_context_takeover";
    assert_eq!(with.fields.get("compression"), Some(agreed));
    assert_eq!(without.fields.get("compression"), None);
}

#[tokio::test]
async fn a_handlers_error_and_panic_are_errors_in_the_log() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        match socket.recv().await?.as_ref().and_then(|it| it.as_text()) {
            Some("fail") => Err(BoxError::from("the database is gone")),
            Some("panic") => panic!("a bug with number {}", 7),
            _ => panic!("a constant bug"),
        }
    });
    let addr = start(app(handler, &sessions)).await;
    for (wish, field, told) in [
        ("fail", "error", "the database is gone"),
        ("panic", "panic", "a bug with number 7"),
        ("other", "panic", "a constant bug"),
    ] {
        let before = log.events(Level::ERROR).len();
        let mut client = Client::open(addr, "/").await;
        client.send_text(wish).await;
        assert_eq!(client.recv_close().await, 1011);
        client.send_close(1011, "").await;
        until_empty(&sessions).await;
        let events = log.events(Level::ERROR).split_off(before);
        let [event] = &events[..] else { panic!("one event: {events:?}") };
        assert!(event.fields.get(field).unwrap().contains(told), "{event:?}");
        assert_eq!(event.span, Some("websocket"));
    }
}

/// Whatever a peer does, a handler that passes its socket's errors on is no fault of the server's.
#[tokio::test]
async fn what_peers_do_is_no_error_in_the_log() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let layer = WebSocketLayer::new(handler_fn(echo))
        .timeouts(Timeouts::default().close(std::time::Duration::from_millis(20)))
        .sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;

    drop(Client::open(addr, "/").await);
    let client = Client::open(addr, "/").await;
    client.stream.set_zero_linger().unwrap();
    drop(client);
    // A violation, bad text, a message that is too long.
    for bytes in [&b"\xc1\x80abcd"[..], b"\x81\x81abcd\x9e", b"\x82\xff\0\0\0\x01\0\0\0\0abcd"] {
        let mut client = Client::open(addr, "/").await;
        client.send_raw(bytes).await;
        soon("a Close", client.recv_close()).await;
    }
    // An answer that finds nobody: the peer is gone before it is sent.
    let mut client = Client::open(addr, "/").await;
    client.send_text("one").await;
    client.send_close(1000, "").await;
    drop(client);
    let mut refused = Client::connect(addr).await;
    assert_eq!(refused.handshake("/", &[("Origin", "null")]).await.status, 403);
    until_empty(&sessions).await;
    assert_eq!(log.spans("websocket").len(), 6);
    let noise = [log.events(Level::ERROR), log.events(Level::WARN)].concat();
    assert!(noise.is_empty(), "{noise:?}");
}

/// A handler that did not end by itself is worth a word, and no more than that.
#[tokio::test]
async fn a_dropped_handler_is_told_from_an_aborted_one() {
    let (log, _guard) = Log::capture();
    let handler = handler_fn(async |socket: WebSocket| {
        let _socket = socket;
        std::future::pending::<Result<(), BoxError>>().await
    });
    for (drains, why) in [(false, "too long after its socket had ended"), (true, "was aborted")] {
        let sessions = Sessions::new();
        let timeouts = Timeouts::default().handler_grace(std::time::Duration::from_millis(10));
        let layer = WebSocketLayer::new(handler.clone()).timeouts(timeouts);
        let service = layer.sessions(sessions.clone()).into_service();
        let mut client =
            Client::open(start(Router::new().fallback_service(service)).await, "/").await;
        if drains {
            sessions.drain(std::time::Duration::ZERO).await;
        } else {
            client.send_close(1000, "").await;
        }
        until_empty(&sessions).await;
        let events = log.events(Level::DEBUG);
        let told = |event: &Event| event.fields.get("message").is_some_and(|it| it.contains(why));
        assert!(events.iter().any(told), "{events:?}");
    }
    assert!(log.events(Level::ERROR).is_empty());
    assert!(log.events(Level::WARN).is_empty());
}

/// S-11, N-10
#[tokio::test]
async fn nothing_that_a_peer_sent_is_logged_at_any_level() {
    let (log, _guard) = Log::capture();
    let sessions = Sessions::new();
    let handler = handler_fn(|mut socket: WebSocket| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    });
    let layer = WebSocketLayer::new(handler)
        .policy(Subprotocols::from_static(["chat.v1"]))
        .sessions(sessions.clone());
    let addr = start(Router::new().fallback_service(layer.into_service())).await;
    let secrets = [
        ("Cookie", "session=s3cr3t-cookie"),
        ("Authorization", "Bearer s3cr3t-bearer"),
        ("Sec-WebSocket-Protocol", "chat.v1, s3cr3t-offer"),
        ("Sec-WebSocket-Extensions", "s3cr3t-extension; s3cr3t-parameter=1"),
        ("X-Forwarded-For", "s3cr3t-forwarded"),
        ("User-Agent", "s3cr3t-agent"),
    ];
    let path = "/?token=s3cr3t-query";

    // One that is served, and ends in every way.
    for end in [
        &tests::wire::masked(0x88, b"\x03\xe8s3cr3t-\nreason")[..],
        &tests::wire::masked(0xb1, b"s3cr3t-payload"),
        &tests::wire::masked(0x81, b"s3cr3t-\xff"),
        &tests::wire::masked(0x88, b"\x03\xe8s3cr3t-\xff"),
    ] {
        let mut client = Client::connect(addr).await;
        assert_eq!(client.handshake(path, &secrets).await.status, 101);
        client.send_text("s3cr3t-payload").await;
        client.send_frame(0x89, b"s3cr3t-ping").await;
        client.send_raw(end).await;
        while client.try_recv().await.is_ok() {}
        drop(client);
        until_empty(&sessions).await;
    }
    // Others that are refused, each for something else.
    for wrong in [
        ("Origin", "https://evil.example"),
        ("Origin", "s3cr3t not an origin"),
        ("Sec-WebSocket-Key", "s3cr3t-second-key"),
        ("Sec-WebSocket-Version", "s3cr3t-version"),
        ("Sec-WebSocket-Protocol", "s3cr3t offer"),
        ("Sec-WebSocket-Extensions", "s3cr3t extension"),
        ("Content-Length", "7"),
    ] {
        let mut client = Client::connect(addr).await;
        let fields = [&secrets[..2], &[wrong]].concat();
        let status = client.handshake(path, &fields).await.status;
        assert!(status == 101 || (400..500).contains(&status), "{wrong:?}: {status}");
        drop(client);
        until_empty(&sessions).await;
    }

    let text = log.text();
    assert!(text.contains("chat.v1"), "the capture works");
    assert!(text.contains("refused") && text.contains("malformed"), "down to debug");
    if let Some(at) = text.find("s3cr3t") {
        panic!("logged: {}", &text[at.saturating_sub(200)..(at + 40).min(text.len())]);
    }
    assert!(!text.contains(KEY));
}
