//! The client's check of the server's answer (RFC 6455, section 4.1; RFC 8441, section 5).

use std::{error::Error, fmt};

use http::{HeaderMap, Response, StatusCode, header};

use super::{
    HandshakeError, HandshakeLimits, Opening, Subprotocol, accept_value, classify::WEBSOCKET,
    extension, key::Key, list,
};

/// What a client has to remember of its request to check the answer.
///
/// Made together with the request by [`ClientRequest::upgrade`] and
/// [`ClientRequest::extended_connect`]. Its `Debug` text shows neither the key nor what was offered.
///
/// [`ClientRequest::upgrade`]: super::ClientRequest::upgrade
/// [`ClientRequest::extended_connect`]: super::ClientRequest::extended_connect
#[derive(Clone)]
pub struct ClientHandshake {
    /// The only right `Sec-WebSocket-Accept`. None for an extended CONNECT, which has no key.
    accept: Option<[u8; 28]>,
    subprotocols: Vec<Subprotocol>,
    require_subprotocol: bool,
    limits: HandshakeLimits,
}

impl ClientHandshake {
    pub(super) fn new(
        key: Option<&Key>,
        subprotocols: Vec<Subprotocol>,
        require_subprotocol: bool,
        limits: HandshakeLimits,
    ) -> Self {
        let accept = key.map(|key| accept_value(key));
        Self { accept, subprotocols, require_subprotocol, limits }
    }

    /// How the request opens the WebSocket.
    #[must_use]
    pub fn opening(&self) -> Opening {
        match self.accept {
            Some(_) => Opening::Upgrade,
            None => Opening::ExtendedConnect,
        }
    }

    /// Checks the head of the final answer, and tells what was agreed on. Whatever comes behind the
    /// head belongs to the frames, even where a length field says otherwise (RFC 9112, section 6.3).
    ///
    /// | checked | HTTP/1.1 (RFC 6455, section 4.1) | HTTP/2, HTTP/3 (RFC 8441, section 5) |
    /// |---|---|---|
    /// | status | 101 | 2xx |
    /// | `Upgrade` | one line, `websocket` in any case | not looked at |
    /// | `Connection` | lists `upgrade` | not looked at |
    /// | `Sec-WebSocket-Accept` | one line, exact | not looked at |
    /// | `Sec-WebSocket-Extensions` | the grammar, within the limits, only what was offered | the same |
    /// | `Sec-WebSocket-Protocol` | one line with one offered name, byte for byte | the same |
    ///
    /// # Errors
    ///
    /// [`AnswerError::Status`] when the server did not open the WebSocket, which is its right; any
    /// other when it did, but not as the protocol demands. Then the connection is to be ended without
    /// sending a byte.
    pub fn verify<B>(&self, answer: &Response<B>) -> Result<Agreement, AnswerError> {
        let (status, headers) = (answer.status(), answer.headers());
        match &self.accept {
            Some(accept) => {
                if status != StatusCode::SWITCHING_PROTOCOLS {
                    return Err(AnswerError::Status(status));
                }
                check_upgrade(headers)?;
                check_accept(headers, accept)?;
            }
            None if !status.is_success() => return Err(AnswerError::Status(status)),
            None => {}
        }
        self.check_extensions(headers)?;
        Ok(Agreement { subprotocol: self.chosen(headers)? })
    }

    fn check_extensions(&self, headers: &HeaderMap) -> Result<(), AnswerError> {
        let answered = extension::parse_offers(headers, &self.limits).map_err(extension_fault)?;
        for (index, extension) in answered.iter().enumerate() {
            if answered[..index].iter().any(|earlier| earlier.name() == extension.name()) {
                return Err(AnswerError::RepeatedExtension);
            }
        }
        if answered.is_empty() { Ok(()) } else { Err(AnswerError::UnofferedExtension) }
    }

    /// The one subprotocol of the answer.
    fn chosen(&self, headers: &HeaderMap) -> Result<Option<Subprotocol>, AnswerError> {
        let mut lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let Some(line) = lines.next() else {
            return if self.require_subprotocol && !self.subprotocols.is_empty() {
                Err(AnswerError::MissingSubprotocol)
            } else {
                Ok(None)
            };
        };
        if lines.next().is_some() {
            return Err(AnswerError::RepeatedSubprotocol);
        }
        let name = list::trim(line.as_bytes());
        if !list::is_token(name) {
            return Err(AnswerError::InvalidSubprotocol);
        }
        let chosen = self.subprotocols.iter().find(|offer| offer.as_str().as_bytes() == name);
        chosen.cloned().map(Some).ok_or(AnswerError::UnofferedSubprotocol)
    }
}

impl fmt::Debug for ClientHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHandshake")
            .field("opening", &self.opening())
            .field("subprotocols", &self.subprotocols.len())
            .finish_non_exhaustive()
    }
}

fn check_upgrade(headers: &HeaderMap) -> Result<(), AnswerError> {
    let mut lines = headers.get_all(header::UPGRADE).iter();
    let line = lines.next().ok_or(AnswerError::MissingUpgrade)?;
    let is_websocket = list::trim(line.as_bytes()).eq_ignore_ascii_case(WEBSOCKET.as_bytes());
    if lines.next().is_some() || !is_websocket {
        return Err(AnswerError::WrongUpgrade);
    }
    if list::lists_token(headers, &header::CONNECTION, "upgrade") {
        Ok(())
    } else {
        Err(AnswerError::ConnectionLacksUpgrade)
    }
}

fn check_accept(headers: &HeaderMap, accept: &[u8; 28]) -> Result<(), AnswerError> {
    let mut lines = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    let line = lines.next().ok_or(AnswerError::MissingAccept)?;
    if lines.next().is_some() {
        return Err(AnswerError::RepeatedAccept);
    }
    if list::trim(line.as_bytes()) == accept { Ok(()) } else { Err(AnswerError::WrongAccept) }
}

/// What client and server agreed on.
#[derive(Clone, Debug)]
pub struct Agreement {
    subprotocol: Option<Subprotocol>,
}

impl Agreement {
    /// The subprotocol that the server chose, if any.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&Subprotocol> {
        self.subprotocol.as_ref()
    }

    /// Puts what was agreed on into the configuration of the socket.
    #[cfg(feature = "tokio")]
    pub fn configure(&self, config: crate::socket::Config) -> crate::socket::Config {
        let name = self.subprotocol.as_ref().map(Subprotocol::as_str);
        config.subprotocol(name.map(Into::into))
    }
}

/// Why an answer does not open a WebSocket. It never repeats what the server sent, its status aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AnswerError {
    /// The `Connection` field does not list `upgrade`.
    ConnectionLacksUpgrade,
    /// The lines of `Sec-WebSocket-Extensions` are longer than the limit.
    ExtensionsTooLong,
    /// `Sec-WebSocket-Protocol` is not one HTTP token: empty, a list, or none.
    InvalidSubprotocol,
    /// `Sec-WebSocket-Extensions` does not follow the grammar (RFC 6455, section 9.1).
    MalformedExtensions,
    /// No `Sec-WebSocket-Accept` field.
    MissingAccept,
    /// Subprotocols were offered, one is required, and the server chose none.
    MissingSubprotocol,
    /// No `Upgrade` field.
    MissingUpgrade,
    /// More than one `Sec-WebSocket-Accept` field (RFC 6455, section 11.3.3).
    RepeatedAccept,
    /// An extension that is there twice.
    RepeatedExtension,
    /// More than one `Sec-WebSocket-Protocol` field (RFC 6455, section 11.3.4).
    RepeatedSubprotocol,
    /// The server did not open the WebSocket but answered with this status, as it may: a redirect, a
    /// challenge, a refusal.
    Status(StatusCode),
    /// One extension has more parameters than the limit.
    TooManyExtensionParameters,
    /// More extensions than the limit.
    TooManyExtensions,
    /// An extension that was not offered.
    UnofferedExtension,
    /// A subprotocol that was not offered.
    UnofferedSubprotocol,
    /// `Sec-WebSocket-Accept` does not belong to the key: whatever answered has not read the request
    /// as a handshake.
    WrongAccept,
    /// `Upgrade` is something other than `websocket` alone.
    WrongUpgrade,
}

impl AnswerError {
    /// The status with which the server refused; `None` for an answer that breaks the protocol.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::ConnectionLacksUpgrade => {
                "the Connection field of the answer does not list \"upgrade\""
            }
            Self::ExtensionsTooLong => "the Sec-WebSocket-Extensions of the answer are too long",
            Self::InvalidSubprotocol => "the Sec-WebSocket-Protocol of the answer is not one name",
            Self::MalformedExtensions => "the Sec-WebSocket-Extensions of the answer are malformed",
            Self::MissingAccept => "the answer has no Sec-WebSocket-Accept",
            Self::MissingSubprotocol => "the server chose none of the offered subprotocols",
            Self::MissingUpgrade => "the answer has no Upgrade field",
            Self::RepeatedAccept => "the answer has more than one Sec-WebSocket-Accept",
            Self::RepeatedExtension => "the answer names an extension twice",
            Self::RepeatedSubprotocol => "the answer has more than one Sec-WebSocket-Protocol",
            Self::Status(status) => {
                return write!(f, "the server answered the handshake with {status}");
            }
            Self::TooManyExtensionParameters => {
                "an extension in the answer has too many parameters"
            }
            Self::TooManyExtensions => "the answer names too many extensions",
            Self::UnofferedExtension => "the answer names an extension that was not offered",
            Self::UnofferedSubprotocol => "the answer names a subprotocol that was not offered",
            Self::WrongAccept => "the Sec-WebSocket-Accept of the answer does not match the key",
            Self::WrongUpgrade => "the Upgrade field of the answer is not \"websocket\"",
        };
        f.write_str(text)
    }
}

impl Error for AnswerError {}

/// A fault in the list of extensions, which is read as a server reads it.
fn extension_fault(error: HandshakeError) -> AnswerError {
    match error {
        HandshakeError::ExtensionsTooLong => AnswerError::ExtensionsTooLong,
        HandshakeError::TooManyExtensions => AnswerError::TooManyExtensions,
        HandshakeError::TooManyExtensionParameters => AnswerError::TooManyExtensionParameters,
        _ => AnswerError::MalformedExtensions,
    }
}
