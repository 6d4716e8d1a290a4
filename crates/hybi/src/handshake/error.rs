//! What can be wrong with a handshake.

use std::{error::Error, fmt};

/// Why a request is no WebSocket handshake in due form.
///
/// Its [`Display`](fmt::Display) text is one line for the person who debugs: it names what is wrong
/// and, for the classic mistakes of a proxy's configuration, the likely cause. It never repeats
/// what the client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The request has or may have content, whose bytes would be taken for frames (RFC 9110,
    /// section 7.8).
    BodyNotAllowed,
    /// `Upgrade` lists `websocket`, but `Connection` does not list `upgrade` (RFC 6455, section
    /// 4.2.1).
    ConnectionLacksUpgrade,
    /// A `Connection` or `Upgrade` field in an extended CONNECT (RFC 9113, section 8.2.2).
    ConnectionFieldNotAllowed,
    /// A `Sec-WebSocket-Protocol` field without a name in it (RFC 6455, section 4.3).
    EmptySubprotocols,
    /// The lines of `Sec-WebSocket-Extensions` are longer than the limit.
    ExtensionsTooLong,
    /// `Host` names another authority than `:authority` does (RFC 9113, section 8.3.1).
    HostMismatch,
    /// The authority in the request's target is not `host[:port]`, or has user information (RFC
    /// 9110, section 4.2.4).
    InvalidAuthority,
    /// `Host` is not `host[:port]` (RFC 9112, section 3.2).
    InvalidHost,
    /// `Sec-WebSocket-Key` is not base64 of 16 bytes (RFC 6455, section 4.2.1).
    InvalidKey,
    /// The target's scheme is neither `http` nor `https` (RFC 8441, section 5).
    InvalidScheme,
    /// An offered subprotocol is not an HTTP token (RFC 6455, section 4.3).
    InvalidSubprotocol,
    /// The target is neither a path nor an absolute URI (RFC 6455, section 4.2.1).
    InvalidTarget,
    /// `Sec-WebSocket-Extensions` does not follow the grammar (RFC 6455, section 9.1).
    MalformedExtensions,
    /// `Sec-WebSocket-Version` is not one number from 0 to 255 (RFC 6455, section 4.3).
    MalformedVersion,
    /// An extended CONNECT without `:authority` (RFC 8441, section 5).
    MissingAuthority,
    /// No `Host` field (RFC 9112, section 3.2).
    MissingHost,
    /// No `Sec-WebSocket-Key` field (RFC 6455, section 4.2.1).
    MissingKey,
    /// A `Sec-WebSocket-Key` field, but no `Upgrade` that lists `websocket` (RFC 6455, section
    /// 4.2.1).
    MissingUpgrade,
    /// No `Sec-WebSocket-Version` field (RFC 6455, section 4.2.1).
    MissingVersion,
    /// The request does not ask for a WebSocket.
    NotAHandshake,
    /// More than one `Host` field (RFC 9112, section 3.2).
    RepeatedHost,
    /// More than one `Sec-WebSocket-Key` field (RFC 6455, section 11.3.1).
    RepeatedKey,
    /// The lines of `Sec-WebSocket-Protocol` are longer than the limit.
    SubprotocolsTooLong,
    /// One extension offer has more parameters than the limit.
    TooManyExtensionParameters,
    /// More extension offers than the limit.
    TooManyExtensions,
    /// More subprotocols than the limit.
    TooManySubprotocols,
    /// A request to upgrade over HTTP/1.0, which knows no upgrade (RFC 9110, section 7.8).
    UnsupportedHttpVersion,
    /// A `Sec-WebSocket-Version` other than 13 (RFC 6455, section 4.4).
    UnsupportedVersion,
}

impl HandshakeError {
    /// The one-line explanation.
    pub(super) const fn explanation(self) -> &'static str {
        match self {
            Self::BodyNotAllowed => {
                "a WebSocket handshake has no content: remove Content-Length and Transfer-Encoding"
            }
            Self::ConnectionLacksUpgrade => {
                "the Connection field does not list \"upgrade\"; \
                 if the client sent it, a proxy in between did not pass it on: \
                 let it set \"Connection: upgrade\""
            }
            Self::ConnectionFieldNotAllowed => {
                "HTTP/2 and HTTP/3 know no Connection and no Upgrade field"
            }
            Self::EmptySubprotocols => "the Sec-WebSocket-Protocol field names no subprotocol",
            Self::ExtensionsTooLong => "the Sec-WebSocket-Extensions field is too long",
            Self::HostMismatch => "the Host field names another authority than :authority",
            Self::InvalidAuthority => "the authority of the request target is not host[:port]",
            Self::InvalidHost => "the Host field is not host[:port]",
            Self::InvalidKey => {
                "the Sec-WebSocket-Key field is not base64 of 16 bytes (24 characters)"
            }
            Self::InvalidScheme => "the scheme of the request target is neither http nor https",
            Self::InvalidSubprotocol => {
                "the Sec-WebSocket-Protocol field holds a name that is not an HTTP token"
            }
            Self::InvalidTarget => "the request target is neither a path nor an absolute URI",
            Self::MalformedExtensions => "the Sec-WebSocket-Extensions field is malformed",
            Self::MalformedVersion => {
                "the Sec-WebSocket-Version field is not one number; this server speaks version 13"
            }
            Self::MissingAuthority => "the :authority pseudo-header field is missing",
            Self::MissingHost => "the Host field is missing",
            Self::MissingKey => "the Sec-WebSocket-Key field is missing",
            Self::MissingUpgrade => {
                "the request has a Sec-WebSocket-Key but no \"Upgrade: websocket\"; \
                 most likely a proxy in between did not pass it on: \
                 let it speak HTTP/1.1 to this server \
                 and set \"Upgrade: websocket\" and \"Connection: upgrade\""
            }
            Self::MissingVersion => {
                "the Sec-WebSocket-Version field is missing; this server speaks version 13"
            }
            Self::NotAHandshake => {
                "this is a WebSocket endpoint: \
                 open it by an HTTP/1.1 GET with \"Upgrade: websocket\" \
                 or by an HTTP/2 extended CONNECT"
            }
            Self::RepeatedHost => "the Host field appears more than once",
            Self::RepeatedKey => "the Sec-WebSocket-Key field appears more than once",
            Self::SubprotocolsTooLong => "the Sec-WebSocket-Protocol field is too long",
            Self::TooManyExtensionParameters => {
                "an extension in Sec-WebSocket-Extensions has too many parameters"
            }
            Self::TooManyExtensions => {
                "the Sec-WebSocket-Extensions field offers too many extensions"
            }
            Self::TooManySubprotocols => {
                "the Sec-WebSocket-Protocol field offers too many subprotocols"
            }
            Self::UnsupportedHttpVersion => {
                "HTTP/1.0 cannot open a WebSocket; \
                 most likely a proxy in between speaks it: let it speak HTTP/1.1 to this server"
            }
            Self::UnsupportedVersion => {
                "this version of the WebSocket protocol is not supported; this server speaks 13"
            }
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}

impl Error for HandshakeError {}

/// Why the extensions that a server answered cannot stand: the client fails the connection (RFC 6455, section
/// 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InvalidExtensions {
    /// The answer does not grant what the offer demands, or takes more than it allows.
    DemandIgnored,
    /// A parameter whose value is missing, not allowed or out of range.
    InvalidValue,
    /// An extension that the client did not offer.
    NotOffered,
    /// The same extension twice.
    Repeated,
    /// The same parameter twice.
    RepeatedParameter,
    /// A parameter that the extension does not have.
    UnknownParameter,
}

impl fmt::Display for InvalidExtensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DemandIgnored => "the server does not grant what the extension's offer demands",
            Self::InvalidValue => "the server answers an extension with an invalid parameter value",
            Self::NotOffered => "the server answers an extension that was not offered",
            Self::Repeated => "the server answers an extension twice",
            Self::RepeatedParameter => "the server answers an extension with a parameter twice",
            Self::UnknownParameter => "the server answers an extension with an unknown parameter",
        })
    }
}

impl Error for InvalidExtensions {}

/// A subprotocol that the client did not offer, so that a server may not choose it (RFC 6455,
/// section 4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubprotocolNotOffered(pub(super) ());

impl fmt::Display for SubprotocolNotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the chosen subprotocol is not one that the client offered")
    }
}

impl Error for SubprotocolNotOffered {}
