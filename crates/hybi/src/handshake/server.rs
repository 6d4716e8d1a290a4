//! The server's side: a request that asks for a WebSocket, and the answer that opens it (RFC 6455,
//! section 4.2).

use std::fmt;

use http::{HeaderValue, Response, StatusCode, header, request::Parts};

use super::{
    ExtensionOffer, HandshakeError, HandshakeLimits, Opening, Refusal, RequestKind, Subprotocol,
    SubprotocolNotOffered, accept_value, authority,
    classify::{WEBSOCKET, classify_by},
    extension,
    fields::{Field, Fields},
    key::{self, Key},
    list, refusal, subprotocol,
};

/// A request that asks for a WebSocket in due form.
///
/// It holds copies: a header value of the request shares the HTTP server's read buffer and would
/// keep the whole of it alive. Its `Debug` text shows neither the key nor what the client offered,
/// because some clients put credentials there.
#[derive(Clone)]
pub struct ServerHandshake {
    /// None for an extended CONNECT, which has no key.
    key: Option<Key>,
    subprotocols: Vec<Subprotocol>,
    extensions: Vec<ExtensionOffer>,
}

impl ServerHandshake {
    /// Checks the head of a request against the standards and copies what it says.
    ///
    /// `protocol` is the `:protocol` pseudo-header field of an extended CONNECT, as for
    /// [`classify`](super::classify()).
    ///
    /// | checked | HTTP/1.1 (RFC 6455, section 4.2.1) | HTTP/2, HTTP/3 (RFC 8441, section 5) |
    /// |---|---|---|
    /// | `Connection`, `Upgrade` | list `upgrade` and `websocket` | absent |
    /// | content | none announced | none announced |
    /// | target | path, or absolute `http(s)` URI | `:scheme` http or https, `:path`, `:authority` |
    /// | `Host` | one, `host[:port]` | absent, or the same as `:authority` |
    /// | `Sec-WebSocket-Version` | 13 | 13 |
    /// | `Sec-WebSocket-Key` | one, base64 of 16 bytes | ignored |
    /// | `Sec-WebSocket-Protocol` | tokens, within `limits` | the same |
    /// | `Sec-WebSocket-Extensions` | the grammar of section 9.1, within `limits` | the same |
    ///
    /// # Errors
    ///
    /// The answer to send instead: 400, or 426 for another version of the protocol. A request that
    /// is no handshake at all gets [`upgrade_required`](super::upgrade_required).
    pub fn parse(
        parts: &Parts,
        protocol: Option<&str>,
        limits: &HandshakeLimits,
    ) -> Result<Self, Refusal> {
        let fields = Fields::of(&parts.headers);
        let asks_to_upgrade = || fields.upgrade_lists(WEBSOCKET);
        match classify_by(&parts.method, parts.version, protocol, asks_to_upgrade) {
            RequestKind::Handshake(opening) => {
                Ok(Self::parse_opening(opening, parts, &fields, limits)?)
            }
            RequestKind::Other => Err(refusal::upgrade_required(parts)),
        }
    }

    /// How the request opens the WebSocket.
    #[must_use]
    pub fn opening(&self) -> Opening {
        match self.key {
            Some(_) => Opening::Upgrade,
            None => Opening::ExtendedConnect,
        }
    }

    /// The subprotocols that the client offers, in its order of preference, each once.
    #[must_use]
    pub fn subprotocols(&self) -> &[Subprotocol] {
        &self.subprotocols
    }

    /// The extensions that the client offers, in its order of preference.
    #[must_use]
    pub fn extensions(&self) -> &[ExtensionOffer] {
        &self.extensions
    }

    /// The head of the answer that opens the WebSocket: 101 for [`Opening::Upgrade`], 200 for
    /// [`Opening::ExtendedConnect`].
    ///
    /// `subprotocol` is the one the server chose, if any. All offered extensions are declined.
    ///
    /// # Errors
    ///
    /// When the client did not offer `subprotocol`; names are compared byte for byte.
    pub fn accept(&self, subprotocol: Option<&str>) -> Result<Response<()>, SubprotocolNotOffered> {
        let mut response = Response::new(());
        let headers = response.headers_mut();
        if let Some(name) = subprotocol {
            let offered = self.subprotocols.iter().any(|offer| offer.as_str() == name);
            let value = HeaderValue::from_str(name).ok().filter(|_| offered);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value.ok_or(SubprotocolNotOffered(()))?);
        }
        if let Some(key) = &self.key {
            let accept =
                HeaderValue::from_bytes(&accept_value(key)).expect("base64 is visible ASCII");
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            headers.insert(header::UPGRADE, const { HeaderValue::from_static(WEBSOCKET) });
            headers.insert(header::CONNECTION, const { HeaderValue::from_static("Upgrade") });
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        }
        Ok(response)
    }

    /// As [`accept`](Self::accept), with the answer to the client's offer of compression.
    ///
    /// `deflate` is what [`Deflate::accept`](crate::proto::Deflate::accept) made of this handshake's
    /// [`extensions`](Self::extensions); the connection has to be given it too. `None` declines.
    ///
    /// # Errors
    ///
    /// When the client did not offer `subprotocol`; names are compared byte for byte.
    #[cfg(feature = "deflate")]
    #[cfg_attr(docsrs, doc(cfg(feature = "deflate")))]
    pub fn accept_with(
        &self,
        subprotocol: Option<&str>,
        deflate: Option<&crate::proto::DeflateParameters>,
    ) -> Result<Response<()>, SubprotocolNotOffered> {
        let mut response = self.accept(subprotocol)?;
        if let Some(agreed) = deflate {
            response.headers_mut().insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed.header_value());
        }
        Ok(response)
    }

    fn parse_opening(
        opening: Opening,
        parts: &Parts,
        fields: &Fields<'_>,
        limits: &HandshakeLimits,
    ) -> Result<Self, HandshakeError> {
        match opening {
            Opening::Upgrade => {
                // First, because a proxy that drops this field is the commonest fault of all.
                if !fields.connection_lists("Upgrade") {
                    return Err(HandshakeError::ConnectionLacksUpgrade);
                }
                check_no_content(fields)?;
                authority::check_upgrade(&parts.uri, fields.host)?;
            }
            Opening::ExtendedConnect => {
                if !fields.connection.is_absent() || !fields.upgrade.is_absent() {
                    return Err(HandshakeError::ConnectionFieldNotAllowed);
                }
                check_no_content(fields)?;
                authority::check_extended_connect(&parts.uri, fields.host)?;
            }
        }
        // Before the key: another version may have another kind of key.
        check_version(fields.version)?;
        let key = match opening {
            Opening::Upgrade => Some(parse_key(fields.key)?),
            Opening::ExtendedConnect => None,
        };
        let mut handshake = Self { key, subprotocols: Vec::new(), extensions: Vec::new() };
        if !fields.subprotocols.is_absent() {
            handshake.subprotocols = subprotocol::parse_offers(&parts.headers, limits)?;
        }
        if !fields.extensions.is_absent() {
            handshake.extensions = extension::parse_offers(&parts.headers, limits)?;
        }
        Ok(handshake)
    }
}

impl fmt::Debug for ServerHandshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandshake")
            .field("opening", &self.opening())
            .field("subprotocols", &self.subprotocols.len())
            .field("extensions", &self.extensions.len())
            .finish_non_exhaustive()
    }
}

/// A request with content would leave its bytes where the first frame is expected.
fn check_no_content(fields: &Fields<'_>) -> Result<(), HandshakeError> {
    let is_zero = |line: &HeaderValue| {
        let digits = list::trim(line.as_bytes());
        !digits.is_empty() && digits.iter().all(|&digit| digit == b'0')
    };
    let no_length = match fields.content_length {
        Field::Absent => true,
        Field::One(line) => is_zero(line),
        Field::Several => fields.headers().get_all(header::CONTENT_LENGTH).iter().all(is_zero),
    };
    if no_length && fields.transfer_encoding.is_absent() {
        Ok(())
    } else {
        Err(HandshakeError::BodyNotAllowed)
    }
}

/// One line that is `13`.
fn check_version(version: Field<'_>) -> Result<(), HandshakeError> {
    let line = match version {
        Field::Absent => return Err(HandshakeError::MissingVersion),
        Field::One(line) => line,
        Field::Several => return Err(HandshakeError::MalformedVersion),
    };
    match list::trim(line.as_bytes()) {
        b"13" => Ok(()),
        other if is_version(other) => Err(HandshakeError::UnsupportedVersion),
        _ => Err(HandshakeError::MalformedVersion),
    }
}

/// Whether `text` is a number from 0 to 255 without leading zeros (RFC 6455, section 4.3).
fn is_version(text: &[u8]) -> bool {
    match text {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            str::from_utf8(text).is_ok_and(|digits| digits.parse::<u8>().is_ok())
        }
        _ => false,
    }
}

fn parse_key(key: Field<'_>) -> Result<Key, HandshakeError> {
    match key {
        Field::Absent => Err(HandshakeError::MissingKey),
        Field::One(line) => key::parse(line.as_bytes()).ok_or(HandshakeError::InvalidKey),
        Field::Several => Err(HandshakeError::RepeatedKey),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderName, Method, Request, Version};
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const KEY_FIELD: HeaderName = header::SEC_WEBSOCKET_KEY;
    const VERSION_FIELD: HeaderName = header::SEC_WEBSOCKET_VERSION;
    const PROTOCOL_FIELD: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;
    const EXTENSIONS_FIELD: HeaderName = header::SEC_WEBSOCKET_EXTENSIONS;

    /// A handshake in due form, to be spoilt.
    struct Head {
        parts: Parts,
        protocol: Option<&'static str>,
    }

    impl Head {
        fn upgrade() -> Self {
            let request = Request::get("/chat").version(Version::HTTP_11).body(()).unwrap();
            Self { parts: request.into_parts().0, protocol: None }
                .set(header::HOST, &["example.com"])
                .set(header::UPGRADE, &["websocket"])
                .set(header::CONNECTION, &["Upgrade"])
                .set(KEY_FIELD, &[KEY])
                .set(VERSION_FIELD, &["13"])
        }

        fn extended_connect() -> Self {
            let request = Request::connect("https://example.com/chat").version(Version::HTTP_2);
            let parts = request.body(()).unwrap().into_parts().0;
            Self { parts, protocol: Some("websocket") }.set(VERSION_FIELD, &["13"])
        }

        /// Both forms, for what is the same in both.
        fn both() -> [fn() -> Self; 2] {
            [Self::upgrade, Self::extended_connect]
        }

        fn set(mut self, name: HeaderName, lines: &[&str]) -> Self {
            self.parts.headers.remove(&name);
            for (name, line) in std::iter::repeat_n(name, lines.len()).zip(lines) {
                let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
                self.parts.headers.append(name, value);
            }
            self
        }

        fn parse(&self) -> Result<ServerHandshake, Refusal> {
            ServerHandshake::parse(&self.parts, self.protocol, &HandshakeLimits::default())
        }

        fn error(&self) -> Option<HandshakeError> {
            self.parse().err().map(|refusal| *refusal.error().unwrap())
        }

        fn accepted(&self) -> Response<()> {
            self.parse().unwrap().accept(None).unwrap()
        }
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    /// H-10, H-11
    #[test]
    fn an_upgrade_is_accepted_with_101_and_three_fields() {
        let response = Head::upgrade().accepted();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers();
        assert_eq!(names(headers), ["connection", "sec-websocket-accept", "upgrade"]);
        assert_eq!(headers[header::UPGRADE], "websocket");
        assert_eq!(headers[header::CONNECTION], "Upgrade");
        assert_eq!(headers[header::SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(Head::upgrade().parse().unwrap().opening(), Opening::Upgrade);
    }

    /// E-09, E-12
    #[test]
    fn an_extended_connect_is_accepted_with_200_and_no_field() {
        for version in [Version::HTTP_2, Version::HTTP_3] {
            let mut head = Head::extended_connect();
            head.parts.version = version;
            for head in [head, Head::extended_connect().set(KEY_FIELD, &["stray", "key"])] {
                let response = head.accepted();
                assert_eq!(response.status(), StatusCode::OK);
                assert!(response.headers().is_empty(), "{:?}", response.headers());
                assert_eq!(head.parse().unwrap().opening(), Opening::ExtendedConnect);
            }
        }
    }

    /// H-04: and the fault is named, because it is a proxy's.
    #[test]
    fn an_upgrade_without_the_connection_option_is_refused() {
        let table: [&[&str]; 5] =
            [&[], &["keep-alive"], &["close"], &["not-upgrade"], &["upgrade-insecure", "x"]];
        for lines in table {
            let head = Head::upgrade().set(header::CONNECTION, lines);
            assert_eq!(head.error(), Some(HandshakeError::ConnectionLacksUpgrade), "{lines:?}");
        }
        let head = Head::upgrade().set(header::CONNECTION, &["keep-alive", "x, Upgrade"]);
        assert_eq!(head.error(), None);
    }

    /// What a `Connection` field lists is for this hop, which is us: listing the handshake's own
    /// fields neither hides nor spoils them, and a long list costs no more than its length.
    #[test]
    fn connection_options_that_name_other_fields_change_nothing() {
        let names = "sec-websocket-key, sec-websocket-version, host, origin, cookie";
        let options = format!("{names}, {}upgrade", "x, ".repeat(100_000));
        let head = Head::upgrade().set(header::CONNECTION, &[&options]);
        assert_eq!(head.accepted().headers(), Head::upgrade().accepted().headers());
    }

    /// H-13
    #[test]
    fn a_request_with_content_is_refused() {
        let bad: [(HeaderName, &[&str]); 10] = [
            (header::CONTENT_LENGTH, &["5"]),
            (header::CONTENT_LENGTH, &["0", "5"]),
            (header::CONTENT_LENGTH, &["+0"]),
            (header::CONTENT_LENGTH, &["-0"]),
            (header::CONTENT_LENGTH, &["0x0"]),
            (header::CONTENT_LENGTH, &["0, 0"]),
            (header::CONTENT_LENGTH, &[""]),
            (header::TRANSFER_ENCODING, &["chunked"]),
            (header::TRANSFER_ENCODING, &["identity"]),
            (header::TRANSFER_ENCODING, &[""]),
        ];
        for make in Head::both() {
            for (name, lines) in &bad {
                let head = make().set(name.clone(), lines);
                assert_eq!(head.error(), Some(HandshakeError::BodyNotAllowed), "{name} {lines:?}");
            }
            assert_eq!(make().set(header::CONTENT_LENGTH, &["0"]).error(), None);
            assert_eq!(make().set(header::CONTENT_LENGTH, &["00", "0"]).error(), None);
            assert_eq!(make().set(header::EXPECT, &["100-continue"]).error(), None);
        }
    }

    /// H-02, H-16: the rows stand with the parser; these show that it is asked.
    #[test]
    fn an_upgrade_is_refused_for_its_host_and_target() {
        let error = |lines: &[&str]| Head::upgrade().set(header::HOST, lines).error();
        assert_eq!(error(&[]), Some(HandshakeError::MissingHost));
        assert_eq!(error(&["a", "b"]), Some(HandshakeError::RepeatedHost));
        assert_eq!(error(&["me@a"]), Some(HandshakeError::InvalidHost));
        let mut head = Head::upgrade();
        head.parts.uri = "ws://example.com/".parse().unwrap();
        assert_eq!(head.error(), Some(HandshakeError::InvalidScheme));
        head.parts.uri = "http://other.example/chat".parse().unwrap();
        assert_eq!(head.error(), None);
    }

    /// E-05, E-06, E-08
    #[test]
    fn an_extended_connect_is_refused_for_its_target_and_for_connection_fields() {
        let mut head = Head::extended_connect();
        head.parts.uri = "wss://example.com/".parse().unwrap();
        assert_eq!(head.error(), Some(HandshakeError::InvalidScheme));
        head.parts.uri = "/chat".parse().unwrap();
        assert_eq!(head.error(), Some(HandshakeError::MissingAuthority));

        let error = |name, line| Head::extended_connect().set(name, &[line]).error();
        let not_allowed = Some(HandshakeError::ConnectionFieldNotAllowed);
        assert_eq!(error(header::CONNECTION, "upgrade"), not_allowed);
        assert_eq!(error(header::UPGRADE, "websocket"), not_allowed);
        assert_eq!(error(header::HOST, "other.example"), Some(HandshakeError::HostMismatch));
        assert_eq!(error(header::HOST, "example.com"), None);
    }

    /// H-08, H-09, E-10
    #[test]
    fn the_version_is_13_on_one_line() {
        use HandshakeError as E;

        let table: [(&[&str], Option<E>); 22] = [
            (&["13"], None),
            (&[" 13\t"], None),
            (&[], Some(E::MissingVersion)),
            (&["0"], Some(E::UnsupportedVersion)),
            (&["7"], Some(E::UnsupportedVersion)),
            (&["8"], Some(E::UnsupportedVersion)),
            (&["14"], Some(E::UnsupportedVersion)),
            (&["255"], Some(E::UnsupportedVersion)),
            (&["256"], Some(E::MalformedVersion)),
            (&["777"], Some(E::MalformedVersion)),
            (&["99999999999999999999"], Some(E::MalformedVersion)),
            (&["013"], Some(E::MalformedVersion)),
            (&["00"], Some(E::MalformedVersion)),
            (&["+13"], Some(E::MalformedVersion)),
            (&["-13"], Some(E::MalformedVersion)),
            (&["13.0"], Some(E::MalformedVersion)),
            (&["13, 8"], Some(E::MalformedVersion)),
            (&["1 3"], Some(E::MalformedVersion)),
            (&["x"], Some(E::MalformedVersion)),
            (&[""], Some(E::MalformedVersion)),
            (&["13", "13"], Some(E::MalformedVersion)),
            (&["13", "8"], Some(E::MalformedVersion)),
        ];
        for make in Head::both() {
            for (lines, expected) in table {
                assert_eq!(make().set(VERSION_FIELD, lines).error(), expected, "{lines:?}");
            }
        }
        // A client of another version may not know our kind of key: it is told about the version.
        let head = Head::upgrade().set(VERSION_FIELD, &["8"]).set(KEY_FIELD, &[]);
        assert_eq!(head.error(), Some(E::UnsupportedVersion));
    }

    /// H-06, H-07
    #[test]
    fn an_upgrade_has_exactly_one_valid_key() {
        use HandshakeError as E;

        let table: [(&[&str], Option<E>); 7] = [
            (&[KEY], None),
            (&["AQIDBAUGBwgJCgsMDQ4PEC=="], None),
            (&[], Some(E::MissingKey)),
            (&[KEY, KEY], Some(E::RepeatedKey)),
            (&[""], Some(E::InvalidKey)),
            (&["dGhlIHNhbXBsZSBub25j"], Some(E::InvalidKey)),
            (&["dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="], Some(E::InvalidKey)),
        ];
        for (lines, expected) in table {
            assert_eq!(Head::upgrade().set(KEY_FIELD, lines).error(), expected, "{lines:?}");
        }
        let spare = Head::upgrade().set(KEY_FIELD, &["AQIDBAUGBwgJCgsMDQ4PEC=="]).accepted();
        assert_eq!(
            spare.headers()[header::SEC_WEBSOCKET_ACCEPT].as_bytes(),
            accept_value(b"AQIDBAUGBwgJCgsMDQ4PEC==")
        );
    }

    /// N-02, N-03
    #[test]
    fn only_an_offered_subprotocol_is_answered_on_one_line() {
        for make in Head::both() {
            let handshake = make().set(PROTOCOL_FIELD, &["b, a", "c"]).parse().unwrap();
            assert_eq!(handshake.subprotocols(), ["b", "a", "c"]);
            for name in ["a", "b", "c"] {
                let response = handshake.accept(Some(name)).unwrap();
                let lines: Vec<_> = response.headers().get_all(PROTOCOL_FIELD).iter().collect();
                assert_eq!(lines, [name]);
            }
            for name in ["d", "A", "", "b, a", "a\r\nx: y"] {
                assert_eq!(handshake.accept(Some(name)).unwrap_err(), SubprotocolNotOffered(()));
            }
            let silent = handshake.accept(None).unwrap();
            assert!(!silent.headers().contains_key(PROTOCOL_FIELD));
            assert!(make().parse().unwrap().accept(Some("a")).is_err());
        }
    }

    /// N-06, X-01, E-10
    #[test]
    fn malformed_offers_are_refused() {
        for make in Head::both() {
            let error = |name, line| make().set(name, &[line]).error();
            assert_eq!(error(PROTOCOL_FIELD, "a b"), Some(HandshakeError::InvalidSubprotocol));
            assert_eq!(error(PROTOCOL_FIELD, ","), Some(HandshakeError::EmptySubprotocols));
            assert_eq!(error(EXTENSIONS_FIELD, "foo;"), Some(HandshakeError::MalformedExtensions));
        }
    }

    ///
    #[test]
    fn offered_extensions_are_readable_and_declined_silently() {
        for make in Head::both() {
            let head = make().set(EXTENSIONS_FIELD, &["foo, bar; baz", "permessage-deflate"]);
            let handshake = head.parse().unwrap();
            let offers: Vec<_> = handshake.extensions().iter().map(ToString::to_string).collect();
            assert_eq!(offers, ["foo", "bar; baz", "permessage-deflate"]);
            assert!(!head.accepted().headers().contains_key(EXTENSIONS_FIELD));
        }
    }

    /// each bound is asked for.
    #[test]
    fn limits_apply() {
        let head =
            Head::upgrade().set(PROTOCOL_FIELD, &["aa, bb"]).set(EXTENSIONS_FIELD, &["e;a;b, f"]);
        let error = |limits: HandshakeLimits| {
            let parsed = ServerHandshake::parse(&head.parts, None, &limits);
            parsed.err().map(|refusal| *refusal.error().unwrap())
        };
        let limits = HandshakeLimits::new();
        assert_eq!(error(limits), None);
        assert_eq!(error(limits.max_field(8)), None);
        assert_eq!(error(limits.max_field(7)), Some(HandshakeError::ExtensionsTooLong));
        assert_eq!(error(limits.max_field(5)), Some(HandshakeError::SubprotocolsTooLong));
        let too_many = [
            (limits.max_subprotocols(1), HandshakeError::TooManySubprotocols),
            (limits.max_extensions(1), HandshakeError::TooManyExtensions),
            (limits.max_extension_parameters(1), HandshakeError::TooManyExtensionParameters),
        ];
        for (limits, expected) in too_many {
            assert_eq!(error(limits), Some(expected));
        }
    }

    /// the table of `classify` decides; nothing else is parsed.
    #[test]
    fn a_request_that_is_no_handshake_is_told_to_upgrade() {
        let mut post = Head::upgrade();
        post.parts.method = Method::POST;
        let mut tunnel = Head::extended_connect();
        tunnel.protocol = None;
        for head in [post, tunnel, Head::upgrade().set(header::UPGRADE, &["h2c"])] {
            assert_eq!(head.parse().unwrap_err().status(), StatusCode::UPGRADE_REQUIRED);
        }
    }

    /// N-10: clients put credentials into offers.
    #[test]
    fn debug_shows_neither_the_key_nor_what_was_offered() {
        let head = Head::upgrade()
            .set(PROTOCOL_FIELD, &["bearer-secret"])
            .set(EXTENSIONS_FIELD, &["x-secret"]);
        let shown = format!("{:?}", head.parse().unwrap());
        assert!(!shown.contains("secret") && !shown.contains(KEY), "{shown}");
    }

    /// A header value shares the server's read buffer; nothing of it may outlive the request.
    #[test]
    fn nothing_of_the_request_is_retained() {
        let buffer = Bytes::from(b"dGhlIHNhbXBsZSBub25jZQ==chat, talkfoo; a=b".to_vec());
        let mut head = Head::upgrade();
        for (name, range) in
            [(KEY_FIELD, 0..24), (PROTOCOL_FIELD, 24..34), (EXTENSIONS_FIELD, 34..42)]
        {
            let value = HeaderValue::from_maybe_shared(buffer.slice(range)).unwrap();
            head.parts.headers.insert(name, value);
        }
        let handshake = head.parse().unwrap();
        assert!(!buffer.is_unique());
        drop(head);
        assert!(buffer.is_unique());
        let response = handshake.accept(Some("talk")).unwrap();
        assert!(buffer.is_unique());
        assert_eq!(response.headers()[PROTOCOL_FIELD], "talk");
    }

    proptest! {
        /// H-05: the order of the fields does not matter, nor fields nobody knows.
        #[test]
        fn field_order_and_unknown_fields_change_nothing(
            fields in Just(Head::upgrade().set(header::FROM, &["x"]).parts.headers)
                .prop_map(|headers| headers.into_iter().collect::<Vec<_>>())
                .prop_shuffle(),
        ) {
            let mut head = Head::upgrade();
            head.parts.headers =
                fields.into_iter().filter_map(|(name, value)| Some((name?, value))).collect();
            prop_assert_eq!(head.error(), None);
        }

        #[test]
        fn parsing_a_head_never_panics(
            fields in proptest::collection::vec((0_usize..9, "[ -~\t\u{80}-\u{ff}]{0,40}"), 0..8),
        ) {
            let names = [
                header::HOST,
                header::UPGRADE,
                header::CONNECTION,
                header::CONTENT_LENGTH,
                header::TRANSFER_ENCODING,
                KEY_FIELD,
                VERSION_FIELD,
                PROTOCOL_FIELD,
                EXTENSIONS_FIELD,
            ];
            for make in Head::both() {
                let mut head = make();
                for (name, value) in &fields {
                    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                    head.parts.headers.append(&names[*name], value);
                }
                let _ = head.parse();
            }
        }
    }
}
