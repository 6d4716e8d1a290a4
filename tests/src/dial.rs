//! The project's own client, and HTTP clients for it that need no server.

use std::{convert::Infallible, future::Future};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{Empty, Full};
use tower::{Service, service_fn};
use tower_websocket::{
    BoxError, CloseFrame, Message, WebSocket,
    client::{ClientOptions, Connector, Tcp, WebSocketClient},
    handshake,
    upgrade::Upgrade,
};

use crate::start::soon;

/// A client over TCP.
pub type Client = WebSocketClient<Connector<Tcp>>;

/// With the default options.
pub fn client() -> Client {
    WebSocketClient::new(Connector::tcp())
}

/// With other options.
pub fn client_with(options: ClientOptions) -> Client {
    client().options(options)
}

/// Says something to an echo, and closes.
pub async fn is_echo(mut socket: WebSocket) {
    socket.send("hello").await.expect("an open socket");
    let message = soon("an echo", socket.recv()).await.expect("an open socket");
    assert_eq!(message, Some(Message::text("hello")));
    soon("the end", socket.close()).await.expect("a Close");
    assert_eq!(socket.peer_close().map(CloseFrame::status), Some(1000));
}

/// A right answer to `request`, made without a server.
pub fn accepted<B>(request: &Request<B>) -> Response<Full<Bytes>> {
    let key = &request.headers()[header::SEC_WEBSOCKET_KEY];
    let accept = handshake::accept_value(key.as_bytes());
    let accept = HeaderValue::from_bytes(&accept).expect("base64");
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// An HTTP client that accepts every handshake and gives it the connection that `io` resolves to.
pub fn accepting<F, T>(
    io: impl Fn() -> F + Clone,
) -> impl Service<
    Request<Empty<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Clone
where
    F: Future<Output = Result<T, BoxError>> + Send + 'static,
    T: tower_websocket::Io,
{
    service_fn(move |request: Request<Empty<Bytes>>| {
        let mut answer = accepted(&request);
        answer.extensions_mut().insert(Upgrade::new(io()));
        std::future::ready(Ok(answer))
    })
}
