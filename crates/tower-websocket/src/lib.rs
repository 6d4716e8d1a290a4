#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
pub mod commit;
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

pub use hybi::{
    handshake,
    proto::{
        ByteString, Bytes, CloseCode, CloseFrame, CloseReason, InvalidCloseCode, Limits, Message,
        ReasonTooLong, Violation,
    },
    socket::{BoxError, Closed, Closing, Error, Timeouts},
};

pub use self::{
    body::ResponseBody,
    future::ResponseFuture,
    handler::{Handler, handler_fn, handler_fn_with_request, per_message, per_message_with},
    layer::WebSocketLayer,
    policy::{Policy, policy_fn},
    service::{UpgradeRequired, WebSocketService},
    sessions::Sessions,
    transport::{Io, Transport},
};

/// The user's end of a WebSocket that a [`WebSocketLayer`] accepted.
pub type WebSocket = hybi::socket::WebSocket<Transport>;

const _: () = {
    const fn is_well_behaved<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    is_well_behaved::<WebSocket>();
};
