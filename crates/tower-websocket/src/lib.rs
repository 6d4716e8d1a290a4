#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod agreed;
mod body;
#[cfg(feature = "client")]
pub mod client;
pub mod commit;
mod configs;
mod future;
pub mod guide;
pub mod handler;
mod judge;
mod layer;
pub mod policy;
mod service;
pub mod sessions;
mod task;
mod transport;
pub mod upgrade;
mod within;

#[cfg(feature = "deflate")]
#[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
pub use hybi::proto::{Deflate, DeflateParameters};
pub use hybi::{
    handshake,
    proto::{
        ByteString, Bytes, CloseCode, CloseFrame, CloseReason, InvalidCloseCode, Limits, Message,
        MessageKind, ReasonTooLong, Violation,
    },
    socket::{
        BoxError, Closed, Closing, Error, KeepAlive, MessageReader, MessageSource, MessageTarget,
        MessageWriter, Pongs, Receiver, RoundTrip, Sender, SenderTurn, Timeouts,
    },
};

pub use self::{
    body::ResponseBody,
    future::ResponseFuture,
    handler::{Handler, handler_fn, handler_fn_with_request, per_message, per_message_with},
    layer::WebSocketLayer,
    policy::{Policy, policy_fn, policy_fn_async},
    service::{UpgradeRequired, WebSocketService},
    sessions::Sessions,
    transport::{Io, Transport},
};

/// The user's end of a WebSocket that a [`WebSocketLayer`] accepted.
///
/// | to | call |
/// |---|---|
/// | receive | [`recv`](hybi::socket::WebSocket::recv), or use it as a `Stream` |
/// | send | [`send`](hybi::socket::WebSocket::send), or use it as a `Sink`; several in one write: [`feed`](hybi::socket::WebSocket::feed), [`flush`](hybi::socket::WebSocket::flush) |
/// | receive or send a message of any size | [`next_message`](hybi::socket::WebSocket::next_message), [`start_message`](hybi::socket::WebSocket::start_message) |
/// | close | return from the handler; with a code: [`close_with`](hybi::socket::WebSocket::close_with), [`start_close`](hybi::socket::WebSocket::start_close); at once: [`abort`](hybi::socket::WebSocket::abort) |
/// | know how it ended | [`peer_close`](hybi::socket::WebSocket::peer_close), after `recv` gave `None` |
/// | know that it ends, elsewhere | [`closing`](hybi::socket::WebSocket::closing), [`closed`](hybi::socket::WebSocket::closed) |
/// | answer each message by a service | [`serve`](hybi::socket::WebSocket::serve) |
/// | ping | [`ping`](hybi::socket::WebSocket::ping), and [`pongs`](hybi::socket::WebSocket::pongs) for the answers; pings of the peer are answered without help, and the session sends its own ([`KeepAlive`]) |
/// | know how far the peer is away | [`round_trip`](hybi::socket::WebSocket::round_trip) |
/// | know the subprotocol | [`subprotocol`](hybi::socket::WebSocket::subprotocol) |
/// | send and receive in different tasks | [`split`](hybi::socket::WebSocket::split) |
/// | outlive the handler | [`detach`](hybi::socket::WebSocket::detach) |
///
/// `recv` and `send` are cancel safe, so that a handler waits for both ends of its work at once:
///
/// ```
/// use tokio::sync::broadcast;
/// use tower_websocket::{BoxError, Message, WebSocket};
///
/// async fn relay(
///     mut socket: WebSocket,
///     room: broadcast::Sender<Message>,
/// ) -> Result<(), BoxError> {
///     let mut said = room.subscribe();
///     loop {
///         tokio::select! {
///             received = socket.recv() => match received? {
///                 Some(message) => drop(room.send(message)),
///                 None => return Ok(()),
///             },
///             message = said.recv() => socket.send(message?).await?,
///         }
///     }
/// }
/// # let room = broadcast::Sender::new(1);
/// # let _ = tower_websocket::handler_fn(move |socket| relay(socket, room));
/// ```
pub type WebSocket = hybi::socket::WebSocket<Transport>;

const _: () = {
    const fn is_well_behaved<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    is_well_behaved::<WebSocket>();
};
