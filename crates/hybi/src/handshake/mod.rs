//! The opening handshake on `http` types: what the two sides say before the first frame.
//!
//! A WebSocket begins as an HTTP request: a GET that asks for an upgrade on HTTP/1.1 ([RFC 6455,
//! section 4]), or an extended CONNECT on HTTP/2 and HTTP/3 ([RFC 8441], [RFC 9220]). This module
//! knows no HTTP stack and does no IO.
//!
//! # The server's side
//!
//! 1. [`classify`] tells from the head alone whether a request asks for a WebSocket. It allocates
//!    nothing, so that it can run for every request that passes.
//! 2. [`ServerHandshake::parse`] checks the request against the standards and copies what it says.
//!    What is not in due form becomes a [`Refusal`], a complete HTTP answer that explains itself.
//! 3. [`ServerHandshake::accept`] makes the answer after which frames follow.
//!
//! Whether a well-formed request is *wanted* (its origin, its host, who sent it) is a policy's
//! business and not decided here.
//!
//! ```
//! use http::{Request, StatusCode, Version};
//! use hybi::handshake::{HandshakeLimits, Opening, RequestKind, ServerHandshake, classify};
//!
//! let (parts, ()) = Request::get("/chat")
//!     .version(Version::HTTP_11)
//!     .header("Host", "server.example.com")
//!     .header("Upgrade", "websocket")
//!     .header("Connection", "keep-alive, Upgrade")
//!     .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
//!     .header("Sec-WebSocket-Version", "13")
//!     .header("Sec-WebSocket-Protocol", "chat.v2, chat.v1")
//!     .body(())?
//!     .into_parts();
//!
//! let kind = classify(&parts.method, parts.version, &parts.headers, None);
//! assert_eq!(kind, RequestKind::Handshake(Opening::Upgrade));
//!
//! match ServerHandshake::parse(&parts, None, &HandshakeLimits::default()) {
//!     Ok(handshake) => {
//!         let chosen = handshake.subprotocols().iter().find(|name| name.as_str() == "chat.v1");
//!         let response = handshake.accept(chosen.map(|name| name.as_str()))?;
//!
//!         assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
//!         assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
//!         assert_eq!(response.headers()["sec-websocket-protocol"], "chat.v1");
//!     }
//!     Err(refusal) => {
//!         let response = refusal.into_response(parts.version);
//!         unreachable!("the request is in due form, yet refused with {}", response.status());
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The client's side
//!
//! With the feature `client`, `ClientRequest` says what is asked for, and its `upgrade` or
//! `extended_connect` makes a request for one attempt. `ClientHandshake::verify` checks the answer to
//! the letter and tells what was agreed on. Until then a client sends nothing behind its request.
//!
//! ```
//! # #[cfg(feature = "client")] {
//! use http::{Response, StatusCode};
//! use hybi::handshake::{AnswerError, ClientRequest};
//!
//! let request = ClientRequest::new("ws://server.example.com/chat")?;
//! let (_head, handshake) = request.upgrade()?;
//!
//! let mut answer = Response::new(());
//! *answer.status_mut() = StatusCode::NOT_FOUND;
//! let error = handshake.verify(&answer).unwrap_err();
//! assert_eq!(error, AnswerError::Status(StatusCode::NOT_FOUND));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [RFC 6455, section 4]: https://www.rfc-editor.org/rfc/rfc6455#section-4
//! [RFC 8441]: https://www.rfc-editor.org/rfc/rfc8441
//! [RFC 9220]: https://www.rfc-editor.org/rfc/rfc9220

#[cfg(feature = "client")]
mod address;
#[cfg(feature = "client")]
mod answer;
mod authority;
mod classify;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "deflate")]
mod deflate;
mod error;
mod extension;
mod fields;
mod key;
mod limits;
mod list;
#[cfg(feature = "client")]
mod origin;
mod refusal;
mod server;
mod subprotocol;

#[cfg(feature = "client")]
pub use self::{
    address::{Address, AddressError},
    answer::{Agreement, AnswerError, ClientHandshake},
    client::{ClientRequest, RequestError},
};
pub use self::{
    classify::{Opening, RequestKind, classify},
    error::{HandshakeError, InvalidExtensions, SubprotocolNotOffered},
    extension::{ExtensionOffer, ExtensionParameter},
    key::accept_value,
    limits::HandshakeLimits,
    refusal::{Refusal, is_reserved, upgrade_required},
    server::ServerHandshake,
    subprotocol::{InvalidSubprotocol, Subprotocol},
};
