//! The client's check of the server's answer (RFC 6455, section 4.1; RFC 8441, section 5).

use std::{error::Error, fmt};

use http::{HeaderMap, Response, StatusCode, header};

#[cfg(feature = "deflate")]
use super::InvalidExtensions;
use super::{
    ExtensionOffer, HandshakeError, HandshakeLimits, Opening, Subprotocol, classify::WEBSOCKET,
    extension, list,
};
#[cfg(feature = "deflate")]
use crate::proto::{Deflate, DeflateParameters};

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
    pub(super) accept: Option<[u8; 28]>,
    pub(super) subprotocols: Vec<Subprotocol>,
    pub(super) require_subprotocol: bool,
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<Deflate>,
    #[cfg(feature = "deflate")]
    pub(super) require_deflate: bool,
    pub(super) limits: HandshakeLimits,
}

impl ClientHandshake {
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
        let extensions = self.extensions(headers)?;
        #[cfg(not(feature = "deflate"))]
        if !extensions.is_empty() {
            return Err(AnswerError::UnofferedExtension);
        }
        Ok(Agreement {
            #[cfg(feature = "deflate")]
            deflate: self.agreed_deflate(&extensions)?,
            #[cfg(feature = "deflate")]
            require_deflate: self.require_deflate && self.deflate.is_some(),
            subprotocol: self.chosen(headers)?,
        })
    }

    /// The extensions of the answer, each once.
    fn extensions(&self, headers: &HeaderMap) -> Result<Vec<ExtensionOffer>, AnswerError> {
        let answered = extension::parse_offers(headers, &self.limits).map_err(extension_fault)?;
        for (index, extension) in answered.iter().enumerate() {
            if answered[..index].iter().any(|earlier| earlier.name() == extension.name()) {
                return Err(AnswerError::RepeatedExtension);
            }
        }
        Ok(answered)
    }

    #[cfg(feature = "deflate")]
    fn agreed_deflate(
        &self,
        extensions: &[ExtensionOffer],
    ) -> Result<Option<DeflateParameters>, AnswerError> {
        match (&self.deflate, extensions) {
            (Some(deflate), extensions) => deflate.check(extensions).map_err(deflate_fault),
            (None, []) => Ok(None),
            (None, _) => Err(AnswerError::UnofferedExtension),
        }
    }

    /// The one subprotocol of the answer.
    fn chosen(&self, headers: &HeaderMap) -> Result<Option<Subprotocol>, AnswerError> {
        let mut lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let first = lines.next();
        let Some(line) = first.filter(|line| list::is_any([*line])) else {
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
    #[cfg(feature = "deflate")]
    deflate: Option<DeflateParameters>,
    #[cfg(feature = "deflate")]
    require_deflate: bool,
}

impl Agreement {
    /// The subprotocol that the server chose, if any.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&Subprotocol> {
        self.subprotocol.as_ref()
    }

    /// How messages are compressed, if they are.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    #[must_use]
    pub fn deflate(&self) -> Option<&DeflateParameters> {
        self.deflate.as_ref()
    }

    /// The extension that the request requires and the server declined. The socket is open, and the
    /// client closes it with [`CloseCode::MANDATORY_EXTENSION`](crate::proto::CloseCode) and this name
    /// as the reason (RFC 6455, section 7.4.1).
    #[must_use]
    pub fn missing_extension(&self) -> Option<&'static str> {
        #[cfg(feature = "deflate")]
        if self.require_deflate && self.deflate.is_none() {
            return Some("permessage-deflate");
        }
        None
    }

    /// Puts what was agreed on into the configuration of the socket.
    #[cfg(feature = "tokio")]
    pub fn configure(&self, config: crate::socket::Config) -> crate::socket::Config {
        #[cfg(feature = "deflate")]
        let config = config.deflate(self.deflate.clone());
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
    /// An extension does not grant what its offer demands, or takes more than the offer allows (RFC
    /// 7692, section 7).
    ExtensionDemandIgnored,
    /// The lines of `Sec-WebSocket-Extensions` are longer than the limit.
    ExtensionsTooLong,
    /// An extension with a parameter that it does not have, that stands twice, or whose value is not
    /// allowed (RFC 7692, section 7).
    InvalidExtensionParameter,
    /// `Sec-WebSocket-Protocol` is not one HTTP token: a list, or none.
    InvalidSubprotocol,
    /// `Sec-WebSocket-Extensions` does not follow the grammar (RFC 6455, section 9.1).
    MalformedExtensions,
    /// No `Sec-WebSocket-Accept` field.
    MissingAccept,
    /// An extension was required, and the server declined it: the client closes with 1010. Reported by
    /// those who open sockets; to [`verify`](ClientHandshake::verify) it is an
    /// [agreement](Agreement::missing_extension).
    MissingExtension,
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
            Self::ExtensionDemandIgnored => {
                "an extension in the answer does not grant what its offer demands"
            }
            Self::ExtensionsTooLong => "the Sec-WebSocket-Extensions of the answer are too long",
            Self::InvalidExtensionParameter => "an extension in the answer has a wrong parameter",
            Self::InvalidSubprotocol => "the Sec-WebSocket-Protocol of the answer is not one name",
            Self::MalformedExtensions => "the Sec-WebSocket-Extensions of the answer are malformed",
            Self::MissingAccept => "the answer has no Sec-WebSocket-Accept",
            Self::MissingExtension => "the server declined an extension that is required",
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

#[cfg(feature = "deflate")]
fn deflate_fault(error: InvalidExtensions) -> AnswerError {
    match error {
        InvalidExtensions::NotOffered => AnswerError::UnofferedExtension,
        InvalidExtensions::Repeated => AnswerError::RepeatedExtension,
        InvalidExtensions::DemandIgnored => AnswerError::ExtensionDemandIgnored,
        InvalidExtensions::InvalidValue
        | InvalidExtensions::RepeatedParameter
        | InvalidExtensions::UnknownParameter => AnswerError::InvalidExtensionParameter,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};
    use proptest::prelude::*;

    use super::{
        super::{ClientRequest, ServerHandshake},
        *,
    };

    const ACCEPT: HeaderName = header::SEC_WEBSOCKET_ACCEPT;
    const PROTOCOL: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
    const EXTENSIONS: HeaderName = header::SEC_WEBSOCKET_EXTENSIONS;

    /// An attempt and a right answer to it, to be spoilt.
    struct Attempt {
        handshake: ClientHandshake,
        answer: Response<()>,
    }

    impl Attempt {
        fn upgrade(request: &ClientRequest) -> Self {
            let (head, handshake) = request.upgrade().unwrap();
            let answer = answer(head, None).accept(None).unwrap();
            Self { handshake, answer }
        }

        fn extended_connect(request: &ClientRequest) -> Self {
            let (head, handshake) = request.extended_connect();
            let answer = answer(head, Some("websocket")).accept(None).unwrap();
            Self { handshake, answer }
        }

        fn both(request: &ClientRequest) -> [Self; 2] {
            [Self::upgrade(request), Self::extended_connect(request)]
        }

        fn status(mut self, status: u16) -> Self {
            *self.answer.status_mut() = StatusCode::from_u16(status).unwrap();
            self
        }

        fn set(mut self, name: HeaderName, lines: &[&str]) -> Self {
            self.answer.headers_mut().remove(&name);
            for (name, line) in std::iter::repeat_n(name, lines.len()).zip(lines) {
                let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                self.answer.headers_mut().append(name, value);
            }
            self
        }

        fn verify(&self) -> Result<Agreement, AnswerError> {
            self.handshake.verify(&self.answer)
        }

        fn error(&self) -> Option<AnswerError> {
            self.verify().err()
        }
    }

    fn answer(head: Request<()>, protocol: Option<&str>) -> ServerHandshake {
        let limits = HandshakeLimits::default();
        ServerHandshake::parse(&head.into_parts().0, protocol, &limits).unwrap()
    }

    fn asks() -> ClientRequest {
        ClientRequest::new("ws://example.com/chat").unwrap()
    }

    /// C-03, C-08, C-09, E-05, E-06, E-09: our server takes what our client asks, and the other way.
    #[test]
    fn client_and_server_agree() {
        for address in ["ws://h", "wss://h:1/a?b", "ws://[::1]:9001/"] {
            let request = ClientRequest::new(address).unwrap().subprotocols(["a", "b"]).unwrap();
            let (upgrade, handshake) = request.upgrade().unwrap();
            let server = answer(upgrade, None);
            assert_eq!(server.subprotocols(), ["a", "b"]);
            let agreed = handshake.verify(&server.accept(Some("b")).unwrap()).unwrap();
            assert_eq!(agreed.subprotocol().unwrap(), "b");

            let (connect, handshake) = request.extended_connect();
            let server = answer(connect, Some("websocket"));
            let agreed = handshake.verify(&server.accept(Some("a")).unwrap()).unwrap();
            assert_eq!(agreed.subprotocol().unwrap(), "a");
        }
        for attempt in Attempt::both(&asks()) {
            assert_eq!(attempt.verify().unwrap().subprotocol(), None);
            assert_eq!(attempt.set(PROTOCOL, &[""]).verify().unwrap().subprotocol(), None);
        }
    }

    /// C-07: such an answer is the server's right and no breach.
    #[test]
    fn another_status_is_reported_as_it_is() {
        for status in [100, 103, 200, 204, 302, 400, 401, 403, 404, 426, 429, 500, 503, 599] {
            let attempt = Attempt::upgrade(&asks()).status(status);
            let error = attempt.error().unwrap();
            assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
        }
        // RFC 8441, section 5.1: any 2xx opens it, and there is no 101.
        for status in [200, 201, 204, 299] {
            assert_eq!(Attempt::extended_connect(&asks()).status(status).error(), None);
        }
        for status in [100, 101, 103, 302, 401, 404, 503] {
            let attempt = Attempt::extended_connect(&asks()).status(status);
            let error = attempt.error().unwrap();
            assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
        }
        assert_eq!(AnswerError::WrongAccept.status(), None);
    }

    /// C-08
    #[test]
    fn upgrade_is_websocket_alone_and_connection_lists_it() {
        use AnswerError as E;

        let upgrade: [(&[&str], Option<E>); 10] = [
            (&["websocket"], None),
            (&["WebSocket"], None),
            (&[" WEBSOCKET\t"], None),
            (&[], Some(E::MissingUpgrade)),
            (&[""], Some(E::WrongUpgrade)),
            (&["websocket, foo"], Some(E::WrongUpgrade)),
            (&["websocket", "websocket"], Some(E::WrongUpgrade)),
            (&["websocket/13"], Some(E::WrongUpgrade)),
            (&["websockets"], Some(E::WrongUpgrade)),
            (&["h2c"], Some(E::WrongUpgrade)),
        ];
        for (lines, error) in upgrade {
            let attempt = Attempt::upgrade(&asks()).set(header::UPGRADE, lines);
            assert_eq!(attempt.error(), error, "{lines:?}");
        }
        let connection: [(&[&str], Option<E>); 8] = [
            (&["Upgrade"], None),
            (&["upgrade"], None),
            (&["keep-alive, upgrade"], None),
            (&["keep-alive", "x, UPGRADE"], None),
            (&[], Some(E::ConnectionLacksUpgrade)),
            (&["keep-alive"], Some(E::ConnectionLacksUpgrade)),
            (&["not-upgrade"], Some(E::ConnectionLacksUpgrade)),
            (&["up grade"], Some(E::ConnectionLacksUpgrade)),
        ];
        for (lines, error) in connection {
            let attempt = Attempt::upgrade(&asks()).set(header::CONNECTION, lines);
            assert_eq!(attempt.error(), error, "{lines:?}");
        }
    }

    /// C-09
    #[test]
    fn the_accept_value_is_there_once_and_exact() {
        use AnswerError as E;

        let attempt = Attempt::upgrade(&asks());
        let right = attempt.answer.headers()[ACCEPT].to_str().unwrap().to_owned();
        assert_eq!(attempt.error(), None);
        let attempt = attempt.set(ACCEPT, &[&format!(" {right}\t")]);
        assert_eq!(attempt.error(), None);
        let attempt = attempt.set(ACCEPT, &[]);
        assert_eq!(attempt.error(), Some(E::MissingAccept));
        let mut attempt = attempt.set(ACCEPT, &[&right, &right]);
        assert_eq!(attempt.error(), Some(E::RepeatedAccept));

        // Every single letter counts, and so does its case.
        let mut spoilt = vec![
            String::new(),
            right.trim_end_matches('=').to_owned(),
            format!("{right}="),
            format!("{right}, {right}"),
            format!("\"{right}\""),
            right.to_ascii_lowercase(),
            right.to_ascii_uppercase(),
        ];
        for index in 0..right.len() {
            let (mut other, mut case) = (right.clone().into_bytes(), right.clone().into_bytes());
            other[index] = if other[index] == b'x' { b'y' } else { b'x' };
            case[index] ^= 0x20;
            spoilt.push(String::from_utf8(other).unwrap());
            if case[index].is_ascii_alphabetic() {
                spoilt.push(String::from_utf8(case).unwrap());
            }
        }
        for value in spoilt {
            attempt = attempt.set(ACCEPT, &[&value]);
            assert_eq!(attempt.error(), Some(E::WrongAccept), "{value} for {right}");
        }
        // The answer to another attempt.
        let other = Attempt::upgrade(&asks()).answer.headers()[ACCEPT].to_str().unwrap().to_owned();
        assert_eq!(attempt.set(ACCEPT, &[&other]).error(), Some(E::WrongAccept));
    }

    /// C-09: the standard's example (RFC 6455, section 1.3).
    #[test]
    fn the_example_of_the_standard_is_right() {
        let key = b"dGhlIHNhbXBsZSBub25jZQ==";
        let mut attempt = Attempt::upgrade(&asks());
        attempt.handshake.accept = Some(super::super::accept_value(key));
        assert_eq!(attempt.error(), Some(AnswerError::WrongAccept));
        let attempt = attempt.set(ACCEPT, &["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="]);
        assert_eq!(attempt.error(), None);
        let attempt = attempt.set(ACCEPT, &["s3pPLMBiTxaQ9kYGzzhZRbK+xOO="]);
        assert_eq!(attempt.error(), Some(AnswerError::WrongAccept));
    }

    /// E-09
    #[test]
    fn over_http2_key_and_connection_fields_are_not_looked_at() {
        let attempt = Attempt::extended_connect(&asks())
            .set(ACCEPT, &["stray", "values"])
            .set(header::UPGRADE, &["h2c"])
            .set(header::CONNECTION, &["close"]);
        assert_eq!(attempt.error(), None);
    }

    /// C-11: a length on the answer changes nothing.
    #[test]
    fn length_fields_on_the_answer_are_ignored() {
        for attempt in Attempt::both(&asks()) {
            let attempt = attempt
                .set(header::CONTENT_LENGTH, &["5"])
                .set(header::TRANSFER_ENCODING, &["chunked"]);
            assert_eq!(attempt.error(), None);
        }
    }

    /// N-07, N-08, N-03, E-10
    #[test]
    fn the_answer_has_one_offered_subprotocol() {
        use AnswerError as E;

        let offers = asks().subprotocols(["a", "B"]).unwrap();
        let table: [(&[&str], Result<&str, E>); 15] = [
            (&["a"], Ok("a")),
            (&["\tB "], Ok("B")),
            (&[], Err(E::MissingSubprotocol)),
            (&["b"], Err(E::UnofferedSubprotocol)),
            (&["c"], Err(E::UnofferedSubprotocol)),
            (&["aB"], Err(E::UnofferedSubprotocol)),
            (&["a, B"], Err(E::InvalidSubprotocol)),
            (&["a,"], Err(E::InvalidSubprotocol)),
            (&["a B"], Err(E::InvalidSubprotocol)),
            (&[""], Err(E::MissingSubprotocol)),
            (&[" "], Err(E::MissingSubprotocol)),
            (&[","], Err(E::InvalidSubprotocol)),
            (&["a", "B"], Err(E::RepeatedSubprotocol)),
            (&["a", "a"], Err(E::RepeatedSubprotocol)),
            (&["\u{e4}"], Err(E::InvalidSubprotocol)),
        ];
        for (lines, expected) in table {
            for attempt in Attempt::both(&offers) {
                let agreed = attempt.set(PROTOCOL, lines).verify();
                let agreed = agreed.map(|it| it.subprotocol().unwrap().as_str().to_owned());
                assert_eq!(agreed, expected.map(str::to_owned), "{lines:?}");
            }
        }
        for attempt in Attempt::both(&asks()) {
            assert_eq!(attempt.set(PROTOCOL, &["a"]).error(), Some(E::UnofferedSubprotocol));
        }
        // N-08: told to, the client goes on without one, and still takes none that it did not offer.
        let relaxed = offers.require_subprotocol(false);
        for attempt in Attempt::both(&relaxed) {
            assert_eq!(attempt.verify().unwrap().subprotocol(), None);
            assert_eq!(attempt.set(PROTOCOL, &["c"]).error(), Some(E::UnofferedSubprotocol));
        }
    }

    /// C-10, X-03, X-07
    #[test]
    fn an_extension_that_was_not_offered_fails() {
        use AnswerError as E;

        let table: [(&[&str], E); 9] = [
            (&["x-unknown"], E::UnofferedExtension),
            (&["permessage-deflate"], E::UnofferedExtension),
            (&["x-a", "x-b"], E::UnofferedExtension),
            (&["x-a, x-b; c=1, x-a"], E::RepeatedExtension),
            (&["x-a", "x-b", "x-a"], E::RepeatedExtension),
            (&["x-a;;"], E::MalformedExtensions),
            (&["x-a; =1"], E::MalformedExtensions),
            (&["x-a; b=\"c d\""], E::MalformedExtensions),
            (&[","], E::MalformedExtensions),
        ];
        for attempt in Attempt::both(&asks()) {
            assert_eq!(attempt.set(EXTENSIONS, &[""]).error(), None, "an empty field is none");
        }
        for (lines, error) in table {
            for attempt in Attempt::both(&asks()) {
                assert_eq!(attempt.set(EXTENSIONS, lines).error(), Some(error), "{lines:?}");
            }
        }
    }

    /// C-10, X-07, X-03: all that an answer to an offer of compression can say.
    #[cfg(feature = "deflate")]
    #[test]
    fn an_answer_to_an_offer_of_compression_is_checked() {
        use AnswerError as E;

        let full = "permessage-deflate; server_no_context_takeover";
        let table: [(&[&str], Result<bool, E>); 15] = [
            (&[], Ok(false)),
            (&[full], Ok(true)),
            (&["", full, ","], Ok(true)),
            (&["permessage-deflate"], Err(E::ExtensionDemandIgnored)),
            (
                &["permessage-deflate; server_no_context_takeover; server_max_window_bits=10"],
                Ok(true),
            ),
            (&[full, "x-a"], Err(E::UnofferedExtension)),
            (&["x-a", full], Err(E::UnofferedExtension)),
            (&["Permessage-Deflate"], Err(E::UnofferedExtension)),
            (&["permessage-deflate, permessage-deflate"], Err(E::RepeatedExtension)),
            (&[full, full], Err(E::RepeatedExtension)),
            (&["permessage-deflate; server_max_window_bits=16"], Err(E::InvalidExtensionParameter)),
            (&["permessage-deflate; server_max_window_bits"], Err(E::InvalidExtensionParameter)),
            (&["permessage-deflate; what_is_this"], Err(E::InvalidExtensionParameter)),
            (
                &["permessage-deflate; server_no_context_takeover; server_no_context_takeover"],
                Err(E::InvalidExtensionParameter),
            ),
            (&["permessage-deflate;"], Err(E::MalformedExtensions)),
        ];
        let offers = asks().deflate(Deflate::new());
        for (lines, expected) in table {
            for attempt in Attempt::both(&offers) {
                let agreed = attempt.set(EXTENSIONS, lines).verify();
                assert_eq!(agreed.map(|it| it.deflate().is_some()), expected, "{lines:?}");
            }
        }
        // What our own server makes of the offer.
        let (head, handshake) = offers.upgrade().unwrap();
        let server = answer(head, None);
        let accepted = Deflate::new().accept(server.extensions()).unwrap();
        let response = server.accept_with(None, Some(&accepted)).unwrap();
        let agreed = handshake.verify(&response).unwrap();
        assert_eq!(agreed.deflate().unwrap().to_string(), accepted.to_string());
    }

    ///
    #[cfg(feature = "deflate")]
    #[test]
    fn a_required_extension_that_was_declined_is_named() {
        let full = "permessage-deflate; server_no_context_takeover";
        let offers = asks().deflate(Deflate::new());
        let name = Some("permessage-deflate");
        for (request, declined) in [
            (offers.clone(), None),
            (offers.clone().require_deflate(true), name),
            (offers.require_deflate(true).require_deflate(false), None),
            // What was not offered cannot be missed.
            (asks().require_deflate(true), None),
        ] {
            for attempt in Attempt::both(&request) {
                assert_eq!(attempt.verify().unwrap().missing_extension(), declined);
                if declined.is_some() {
                    let agreed = attempt.set(EXTENSIONS, &[full]).verify().unwrap();
                    assert_eq!(agreed.missing_extension(), None);
                }
            }
        }
    }

    /// C-15, X-10: the limits hold for answers, by default and as set.
    #[test]
    fn the_fields_of_the_answer_are_bounded() {
        use AnswerError as E;

        let long = format!("x-a; b={}", "c".repeat(8 * 1024));
        let many = |count| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        let parameters = |count| format!("x-a{}", "; b".repeat(count));
        let error = |request: &ClientRequest, line: &str| {
            Attempt::upgrade(request).set(EXTENSIONS, &[line]).error().unwrap()
        };
        let default = asks();
        assert_eq!(error(&default, &long), E::ExtensionsTooLong);
        assert_eq!(error(&default, &many(16)), E::UnofferedExtension);
        assert_eq!(error(&default, &many(17)), E::TooManyExtensions);
        assert_eq!(error(&default, &parameters(16)), E::UnofferedExtension);
        assert_eq!(error(&default, &parameters(17)), E::TooManyExtensionParameters);
        let limits =
            HandshakeLimits::new().max_field(20).max_extensions(2).max_extension_parameters(2);
        let strict = asks().limits(limits);
        assert_eq!(error(&strict, &many(2)), E::UnofferedExtension);
        assert_eq!(error(&strict, &many(3)), E::TooManyExtensions);
        assert_eq!(error(&strict, &parameters(2)), E::UnofferedExtension);
        assert_eq!(error(&strict, &parameters(3)), E::TooManyExtensionParameters);
        assert_eq!(error(&strict, &"x".repeat(21)), E::ExtensionsTooLong);
    }

    #[cfg(all(feature = "tokio", feature = "deflate"))]
    #[test]
    fn the_agreement_turns_compression_on() {
        use crate::socket::Config;

        let offers = asks().deflate(Deflate::new());
        let attempt = Attempt::upgrade(&offers);
        let config = attempt.verify().unwrap().configure(Config::client());
        assert!(config.get_deflate().is_none());
        let attempt = attempt.set(EXTENSIONS, &["permessage-deflate; server_no_context_takeover"]);
        let config = attempt.verify().unwrap().configure(Config::client());
        assert!(config.get_deflate().is_some());
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn the_agreement_configures_the_socket() {
        use crate::socket::Config;

        let offers = asks().subprotocols(["a"]).unwrap();
        let agreed = Attempt::upgrade(&offers).set(PROTOCOL, &["a"]).verify().unwrap();
        assert_eq!(agreed.configure(Config::client()).get_subprotocol(), Some("a"));
        let agreed = Attempt::upgrade(&asks()).verify().unwrap();
        assert_eq!(agreed.configure(Config::client()).get_subprotocol(), None);
    }

    proptest! {
        /// C-08, C-09, C-10, N-07: nothing in a field panics, and nothing but the right value passes.
        #[test]
        fn any_field_passes_or_fails(field in 0..5_usize, lines in prop::collection::vec("[ -~]{0,12}", 0..3)) {
            let fields = [header::UPGRADE, header::CONNECTION, ACCEPT, PROTOCOL, EXTENSIONS];
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            let request = asks().subprotocols(["a"]).unwrap();
            let attempt = Attempt::upgrade(&request).set(PROTOCOL, &["a"]);
            let attempt = attempt.set(fields[field].clone(), &lines);
            if field == 2 {
                prop_assert!(attempt.error().is_some());
            }
            let _ = attempt.verify();
        }
    }
}
