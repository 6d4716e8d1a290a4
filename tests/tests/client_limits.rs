//! What bounds a client's attempt and its socket, and where that is set.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{Empty, Full};
use tests::{
    dial::{accepted, accepting, client_with},
    script::Script,
    start::{self, soon, until_empty},
};
use tower::{ServiceExt, service_fn};
use tower_websocket::{
    Limits, Sessions, Timeouts, WebSocket, WebSocketLayer,
    client::{ClientError, ClientOptions, WebSocketClient},
    handler_fn,
    handshake::{AnswerError, HandshakeLimits},
};

/// What a client makes of an answer that refuses.
async fn refused(options: ClientOptions, answer: &str) -> Response<Bytes> {
    let script = Script::listen().await;
    let uri = script.uri();
    let asks = tokio::spawn(async move { client_with(options).connect(uri).await.map(drop) });
    let mut peer = soon("a request", script.accept()).await;
    peer.answer(answer).await;
    soon("an outcome", asks).await.unwrap().unwrap_err().into_response().unwrap()
}

/// C-07: at the limit, one past it, and at a second value; chunked and until the end of the connection.
#[tokio::test]
async fn the_body_of_a_refusal_is_bounded() {
    for (options, max) in [
        (ClientOptions::new(), 64 * 1024),
        (ClientOptions::new().max_refusal(10), 10),
        (ClientOptions::new().max_refusal(0), 0),
    ] {
        for (len, kept) in [(max, max), (max + 1, max), (max * 3 + 7, max)] {
            let body = "x".repeat(len);
            let sized = format!("HTTP/1.1 500 Oops\r\nContent-Length: {len}\r\n\r\n{body}");
            let chunked = format!(
                "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n"
            );
            for answer in [sized, chunked] {
                let response = refused(options.clone(), &answer).await;
                assert_eq!(response.body().len(), kept, "{len}");
            }
        }
    }
}

/// C-07, C-15: what a body that does not end has brought by then goes with the error.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_does_not_end_is_cut_short() {
    let drip = |bytes: &'static [u8]| {
        service_fn(move |_: Request<Empty<Bytes>>| async move {
            let body = http_body_util::StreamBody::new(futures_util::stream::unfold(
                bytes.iter(),
                |mut bytes| async move {
                    let byte = match bytes.next() {
                        Some(byte) => *byte,
                        None => std::future::pending().await,
                    };
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let frame = hyper::body::Frame::data(Bytes::from(vec![byte]));
                    Some((Ok::<_, Infallible>(frame), bytes))
                },
            ));
            let response = Response::builder().status(404).body(Box::pin(body)).unwrap();
            Ok::<_, Infallible>(response)
        })
    };
    let table = [
        (ClientOptions::new(), 2000, "abcdef"),
        (ClientOptions::new().refusal_timeout(Duration::from_millis(1000)), 1000, "abc"),
        (ClientOptions::new().timeout(Duration::from_millis(700)), 700, "ab"),
    ];
    for (options, millis, body) in table {
        let began = tokio::time::Instant::now();
        let mut client = WebSocketClient::new(drip(b"abcdefghijkl")).options(options);
        let error = client.connect("ws://h").await.unwrap_err();
        assert_eq!(error.response().unwrap().body(), body);
        assert_eq!(began.elapsed().as_millis(), millis);
    }
}

/// Fails after `seconds`, because it took too long.
async fn is_late(
    seconds: u64,
    asks: impl Future<Output = Result<Response<WebSocket>, ClientError>>,
) {
    let began = tokio::time::Instant::now();
    let error = asks.await.unwrap_err();
    assert!(error.is_timeout() && error.is_transient(), "{error}");
    assert_eq!(began.elapsed().as_secs(), seconds);
}

/// An HTTP client that is ready after a time, and never answers.
struct Busy(Pin<Box<tokio::time::Sleep>>);

impl Busy {
    fn until(seconds: u64) -> Self {
        Self(Box::pin(tokio::time::sleep(Duration::from_secs(seconds))))
    }
}

impl tower::Service<Request<Empty<Bytes>>> for Busy {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = std::future::Pending<Result<Response<Full<Bytes>>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.as_mut().poll(cx).map(Ok)
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        std::future::pending()
    }
}

/// C-15: the attempt as a whole, wherever it stands still.
#[tokio::test(start_paused = true)]
async fn an_attempt_ends_in_time() {
    for (options, seconds) in
        [(ClientOptions::new(), 20), (ClientOptions::new().timeout(Duration::from_secs(3)), 3)]
    {
        let silent = service_fn(
            async |_: Request<Empty<Bytes>>| -> Result<Response<Full<Bytes>>, Infallible> {
                std::future::pending().await
            },
        );
        let without_upgrade = accepting(std::future::pending::<Result<tokio::io::DuplexStream, _>>);
        let mut silent = WebSocketClient::new(silent).options(options.clone());
        is_late(seconds, silent.connect("ws://h")).await;
        is_late(seconds, silent.oneshot(Request::get("ws://h").body(()).unwrap())).await;
        let mut without_upgrade = WebSocketClient::new(without_upgrade).options(options.clone());
        is_late(seconds, without_upgrade.connect("ws://h")).await;
        for ready in [1000, 2] {
            let mut busy = WebSocketClient::new(Busy::until(ready)).options(options.clone());
            is_late(seconds, busy.connect("ws://h")).await;
        }
    }
}

/// Each option, for the client and for one request.
#[tokio::test]
async fn options_of_a_request_go_before_those_of_the_client() {
    let layer = WebSocketLayer::new(handler_fn(async |mut socket: WebSocket| {
        socket.send("x".repeat(100)).await?;
        while socket.recv().await?.is_some() {}
        let code = socket.peer_close().map_or(1006, |close| close.status());
        CODES.lock().unwrap().push(code);
        Ok(())
    }));
    static CODES: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let sessions = Sessions::new();
    let layer = layer.sessions(sessions.clone());
    let server = start::start(Router::new().fallback_service(layer.into_service())).await;
    let limited = |bytes| ClientOptions::new().limits(Limits::default().max_message(bytes));

    for (of_client, of_request, arrives) in [
        (limited(100), None, true),
        (limited(99), None, false),
        (limited(99), Some(limited(100)), true),
        (limited(100), Some(limited(99)), false),
        (limited(99), Some(ClientOptions::new()), true),
    ] {
        let mut request = Request::get(format!("ws://{server}")).body(()).unwrap();
        if let Some(options) = of_request {
            request.extensions_mut().insert(options);
        }
        let response = client_with(of_client).oneshot(request).await.unwrap();
        assert!(response.extensions().get::<ClientOptions>().is_none());
        let mut socket = response.into_body();
        let received = socket.recv().await;
        assert_eq!(received.is_ok(), arrives, "{received:?}");
        if arrives {
            socket.close().await.unwrap();
        }
        until_empty(&sessions).await;
    }
    assert_eq!(*CODES.lock().unwrap(), [1000, 1009, 1000, 1009, 1000]);
}

/// The timeouts and the limits on an answer's fields reach their places.
#[tokio::test(start_paused = true)]
async fn timeouts_and_handshake_limits_are_those_of_the_options() {
    for (options, seconds) in [
        (ClientOptions::new(), 5),
        (ClientOptions::new().timeouts(Timeouts::default().close(Duration::from_secs(9))), 9),
    ] {
        let http = accepting(|| async {
            let (near, far) = tokio::io::duplex(100);
            tokio::spawn(async move {
                let _far = far;
                std::future::pending::<()>().await;
            });
            Ok(near)
        });
        let mut client = WebSocketClient::new(http).options(options);
        let mut socket = client.connect("ws://h").await.unwrap().into_body();
        let began = tokio::time::Instant::now();
        assert!(socket.close().await.is_err());
        assert_eq!(began.elapsed().as_secs(), seconds);
    }
    for (limits, expected) in [
        (HandshakeLimits::new(), AnswerError::UnofferedExtension),
        (HandshakeLimits::new().max_extensions(1), AnswerError::TooManyExtensions),
        (HandshakeLimits::new().max_field(7), AnswerError::ExtensionsTooLong),
    ] {
        let http = service_fn(async |request: Request<Empty<Bytes>>| {
            let mut answer = accepted(&request);
            let extensions = HeaderValue::from_static("x-a, x-b");
            answer.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
            Ok::<_, Infallible>(answer)
        });
        let options = ClientOptions::new().handshake_limits(limits);
        let mut client = WebSocketClient::new(http).options(options);
        let error = client.connect("ws://h").await.unwrap_err();
        assert_eq!(error.answer_error(), Some(expected));
    }
}
