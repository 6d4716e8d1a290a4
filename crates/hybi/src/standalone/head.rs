//! The heads of HTTP/1.1 messages: where one ends, and what it says (RFC 9112, sections 2 to 5).
//!
//! A head arrives in pieces of any size, and a peer may choose the pieces. So the end is looked for
//! first, at every byte once, and nothing is parsed before it was found.

use std::{error::Error, fmt};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, request,
};
#[cfg(feature = "client")]
use http::{Response, response};

use crate::handshake::Refusal;

/// Bounds on the head of an HTTP message, the request of a client or the answer of a server.
///
/// | bound | default |
/// |---|---|
/// | bytes, up to and with the empty line | 16 KiB |
/// | fields | 100 |
///
/// A request beyond one is refused with 431 (RFC 6585, section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    bytes: usize,
    fields: usize,
}

impl HeadLimits {
    /// The default bounds.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: 16 * 1024, fields: 100 }
    }

    /// The most bytes that a head may have, the empty line at its end included. Default: 16 KiB.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// The most fields that a head may have, repeated ones included. Default: 100.
    #[must_use]
    pub const fn max_fields(mut self, fields: usize) -> Self {
        self.fields = fields;
        self
    }
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::new()
    }
}

/// What is wrong with the head of an HTTP message.
///
/// Its [`Display`](fmt::Display) text is one line that repeats nothing of what the peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HeadError {
    /// A carriage return without a line feed (RFC 9112, section 2.2).
    BareCarriageReturn,
    /// A line feed without a carriage return. Recipients may take it as the end of a line (RFC
    /// 9112, section 2.2); this one does not, since two parsers that disagree on where a line ends
    /// are how requests are smuggled.
    BareLineFeed,
    /// A line that begins with whitespace, which once continued the field above it (RFC 9112,
    /// section 5.2).
    FoldedLine,
    /// A name that is not a token, or a line without a colon (RFC 9110, section 5.1).
    InvalidFieldName,
    /// A control character in a value (RFC 9110, section 5.5).
    InvalidFieldValue,
    /// The first line of a request is not a method, a target and a version (RFC 9112, section 3).
    InvalidRequestLine,
    /// The first line of an answer is not a version and a status (RFC 9112, section 4).
    InvalidStatusLine,
    /// The target of a request is no URI, or has a fragment (RFC 9112, section 3.2).
    InvalidTarget,
    /// A NUL character (RFC 9110, section 5.5).
    Nul,
    /// Whitespace between a name and its colon (RFC 9112, section 5.1).
    SpaceBeforeColon,
    /// More bytes than [`HeadLimits::max_bytes`].
    TooLong,
    /// More fields than [`HeadLimits::max_fields`].
    TooManyFields,
    /// A version of HTTP other than 1.0 and 1.1 (RFC 9112, section 2.3).
    UnsupportedVersion,
}

impl HeadError {
    const fn explanation(self) -> &'static str {
        match self {
            Self::BareCarriageReturn => "the head has a carriage return without a line feed",
            Self::BareLineFeed => "the head has a line feed without a carriage return",
            Self::FoldedLine => "the head has a line that begins with whitespace",
            Self::InvalidFieldName => "the head has a field whose name is not a token",
            Self::InvalidFieldValue => "the head has a field with a control character in its value",
            Self::InvalidRequestLine => "the request line is not \"METHOD target HTTP/1.1\"",
            Self::InvalidStatusLine => "the status line is not \"HTTP/1.1 status reason\"",
            Self::InvalidTarget => "the request target is malformed",
            Self::Nul => "the head has a NUL character",
            Self::SpaceBeforeColon => "the head has whitespace before a colon",
            Self::TooLong => "the head is too long",
            Self::TooManyFields => "the head has too many fields",
            Self::UnsupportedVersion => "this version of HTTP is not supported; speak HTTP/1.1",
        }
    }

    /// The answer to a request with this fault.
    pub(super) fn refusal(self) -> Refusal {
        let status = match self {
            Self::TooLong | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedVersion => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        };
        Refusal::new(status).reason(self.explanation())
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.explanation())
    }
}

impl Error for HeadError {}

/// Which kind of message a head is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    #[cfg(feature = "client")]
    Response,
}

/// How every answer begins.
#[cfg(feature = "client")]
const HTTP: &[u8] = b"HTTP/";

/// Finds the end of a head in what has arrived so far.
#[derive(Debug)]
pub(super) struct Scanner {
    kind: Kind,
    limits: HeadLimits,
    /// How many bytes were looked at.
    at: usize,
    /// How many lines are complete, the first one included.
    lines: usize,
    line_is_empty: bool,
    after_cr: bool,
}

impl Scanner {
    pub(super) fn new(kind: Kind, limits: HeadLimits) -> Self {
        Self { kind, limits, at: 0, lines: 0, line_is_empty: true, after_cr: false }
    }

    /// Goes on where the last call stopped. `bytes` is everything from the beginning; the result is
    /// the length of the head, once it is whole.
    pub(super) fn scan(&mut self, bytes: &[u8]) -> Result<Option<usize>, HeadError> {
        for &byte in &bytes[self.at..] {
            if self.at == self.limits.bytes {
                return Err(HeadError::TooLong);
            }
            self.at += 1;
            // A server that speaks something else, such as mail, may wait for us after its first line.
            #[cfg(feature = "client")]
            if self.kind == Kind::Response && HTTP.get(self.at - 1).is_some_and(|&it| it != byte) {
                return Err(HeadError::InvalidStatusLine);
            }
            match byte {
                b'\n' if self.after_cr => {
                    self.after_cr = false;
                    if self.line_is_empty && !self.is_before_request() {
                        return Ok(Some(self.at));
                    }
                    if !self.line_is_empty {
                        self.lines += 1;
                        self.line_is_empty = true;
                    }
                    if self.fields() > self.limits.fields {
                        return Err(HeadError::TooManyFields);
                    }
                }
                _ if self.after_cr => return Err(HeadError::BareCarriageReturn),
                b'\r' => self.after_cr = true,
                b'\n' => return Err(HeadError::BareLineFeed),
                0 => return Err(HeadError::Nul),
                _ => self.line_is_empty = false,
            }
        }
        Ok(None)
    }

    /// How many field lines have been found.
    pub(super) fn fields(&self) -> usize {
        self.lines.saturating_sub(1)
    }

    /// Servers skip empty lines before a request (RFC 9112, section 2.2).
    fn is_before_request(&self) -> bool {
        self.kind == Kind::Request && self.lines == 0
    }
}

/// What a whole head of a request says. It has `fields` fields.
pub(super) fn parse_request(head: &[u8], fields: usize) -> Result<request::Parts, HeadError> {
    let mut lines = vec![httparse::EMPTY_HEADER; fields];
    let mut parsed = httparse::Request::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        // The head is whole, so what is missing is missing from the first line.
        Ok(httparse::Status::Partial) => return Err(HeadError::InvalidRequestLine),
        Err(error) => return Err(explain(error, head, HeadError::InvalidRequestLine)),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(HeadError::InvalidRequestLine);
    };
    // `Uri` drops a fragment without a word.
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(HeadError::InvalidTarget);
    }

    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| HeadError::InvalidRequestLine)?;
    parts.uri = Uri::try_from(target).map_err(|_| HeadError::InvalidTarget)?;
    parts.version = http_version(version);
    parts.headers = header_map(parsed.headers)?;
    Ok(parts)
}

/// What a whole head of an answer says. It has `fields` fields.
#[cfg(feature = "client")]
pub(super) fn parse_response(head: &[u8], fields: usize) -> Result<response::Parts, HeadError> {
    let mut lines = vec![httparse::EMPTY_HEADER; fields];
    let mut parsed = httparse::Response::new(&mut lines);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(HeadError::InvalidStatusLine),
        Err(error) => return Err(explain(error, head, HeadError::InvalidStatusLine)),
    }
    let (Some(version), Some(status)) = (parsed.version, parsed.code) else {
        return Err(HeadError::InvalidStatusLine);
    };
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.version = http_version(version);
    parts.status = StatusCode::from_u16(status).map_err(|_| HeadError::InvalidStatusLine)?;
    parts.headers = header_map(parsed.headers)?;
    Ok(parts)
}

fn http_version(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Copies the fields, so that what keeps one of them does not keep the whole buffer.
fn header_map(lines: &[httparse::Header<'_>]) -> Result<HeaderMap, HeadError> {
    // A map has a limit of its own, above which it would panic.
    let mut headers =
        HeaderMap::try_with_capacity(lines.len()).map_err(|_| HeadError::TooManyFields)?;
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes())
            .map_err(|_| HeadError::InvalidFieldName)?;
        let value =
            HeaderValue::from_bytes(line.value).map_err(|_| HeadError::InvalidFieldValue)?;
        headers.try_append(name, value).map_err(|_| HeadError::TooManyFields)?;
    }
    Ok(headers)
}

/// Which fault the parser means; `first_line` is the one of a malformed first line.
fn explain(error: httparse::Error, head: &[u8], first_line: HeadError) -> HeadError {
    match error {
        httparse::Error::HeaderName => field_name_error(head),
        httparse::Error::HeaderValue => HeadError::InvalidFieldValue,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::Version if has_other_version(head) => HeadError::UnsupportedVersion,
        _ => first_line,
    }
}

/// Which of the faults that a name can have the first bad field has.
fn field_name_error(head: &[u8]) -> HeadError {
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        if matches!(line, [b' ' | b'\t', ..]) {
            return HeadError::FoldedLine;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        if matches!(line[..colon], [.., b' ' | b'\t']) {
            return HeadError::SpaceBeforeColon;
        }
    }
    HeadError::InvalidFieldName
}

/// Whether a first line names a version of HTTP that is not ours, at either end.
fn has_other_version(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\r').find(|line| !matches!(line, [] | [b'\n']));
    line.is_some_and(|line| {
        line.split(|byte| matches!(byte, b' ' | b'\n'))
            .filter_map(|word| word.strip_prefix(b"HTTP/"))
            .any(|version| match version {
                b"1.0" | b"1.1" => false,
                [major, b'.', minor] => major.is_ascii_digit() && minor.is_ascii_digit(),
                _ => false,
            })
    })
}

#[cfg(test)]
mod tests {
    use http::header;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &[u8] = b"GET /chat?a=b HTTP/1.1\r\nHost: a.example\r\nX: \t two words \t\r\n\r\n";

    /// Scans and parses as a reader does, from input that comes in two pieces.
    fn read_cut(bytes: &[u8], cut: usize, limits: HeadLimits) -> Result<Request<()>, HeadError> {
        let mut scanner = Scanner::new(Kind::Request, limits);
        let end = match scanner.scan(&bytes[..cut])? {
            Some(end) => end,
            None => scanner.scan(bytes)?.expect("a whole head"),
        };
        let parts = parse_request(&bytes[..end], scanner.fields())?;
        Ok(Request::from_parts(parts, ()))
    }

    fn read(bytes: &[u8]) -> Result<Request<()>, HeadError> {
        read_cut(bytes, 0, HeadLimits::new())
    }

    #[test]
    fn a_request_is_read_the_same_wherever_it_is_cut() {
        for cut in 0..=GOOD.len() {
            let request = read_cut(GOOD, cut, HeadLimits::new()).unwrap();
            assert_eq!(request.method(), Method::GET);
            assert_eq!(request.uri(), "/chat?a=b");
            assert_eq!(request.version(), Version::HTTP_11);
            assert_eq!(request.headers().len(), 2);
            assert_eq!(request.headers()[header::HOST], "a.example");
            assert_eq!(request.headers()["x"], "two words");
        }
    }

    #[test]
    fn the_scan_stops_at_the_end_of_the_head() {
        let bytes = [GOOD, b"\0 whatever follows \n\r"].concat();
        let mut scanner = Scanner::new(Kind::Request, HeadLimits::new());
        for n in 0..GOOD.len() {
            assert_eq!(scanner.scan(&bytes[..n]), Ok(None));
        }
        assert_eq!(scanner.scan(&bytes), Ok(Some(GOOD.len())));
    }

    /// RUSTSEC-2023-0065: a head that arrives byte by byte costs no more than one that does not.
    #[test]
    fn every_byte_is_looked_at_once() {
        let limits = HeadLimits::new().max_bytes(usize::MAX);
        let long = [b"GET / HTTP/1.1\r\nX: ", &*vec![b'x'; 8 << 20]].concat();
        let mut scanner = Scanner::new(Kind::Request, limits);
        for n in 0..long.len() {
            assert_eq!(scanner.scan(&long[..n]), Ok(None));
        }
    }

    /// H-17
    #[test]
    fn what_smuggles_requests_is_refused() {
        use HeadError as E;

        let table: [(&[u8], E); 22] = [
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", E::SpaceBeforeColon),
            (b"GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", E::SpaceBeforeColon),
            (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", E::FoldedLine),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\tX: b\r\n\r\n", E::FoldedLine),
            (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", E::FoldedLine),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", E::BareCarriageReturn),
            (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", E::BareCarriageReturn),
            (b"GET / HTTP/1.1\rHost: a\r\n\r\n", E::BareCarriageReturn),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", E::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", E::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", E::BareLineFeed),
            (b"\nGET / HTTP/1.1\r\n\r\n", E::BareLineFeed),
            (b"GET / HTTP/1.1\r\nHost: a\0\r\n\r\n", E::Nul),
            (b"GET /\0 HTTP/1.1\r\n\r\n", E::Nul),
            (b"\x16\x03\x01\x00\xf4 a TLS record", E::Nul),
            (b"GET / HTTP/1.1\r\nHost: a\x0b\r\n\r\n", E::InvalidFieldValue),
            (b"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", E::InvalidFieldValue),
            (b"GET / HTTP/1.1\r\nHost: \x01\r\n\r\n", E::InvalidFieldValue),
            (b"GET / HTTP/1.1\r\nHost\r\n\r\n", E::InvalidFieldName),
            (b"GET / HTTP/1.1\r\n: a\r\n\r\n", E::InvalidFieldName),
            (b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", E::InvalidFieldName),
            (b"GET / HTTP/1.1\r\nH\xc3\xb6st: a\r\n\r\n", E::InvalidFieldName),
        ];
        for (bytes, expected) in table {
            for cut in 0..bytes.len() {
                let error = read_cut(bytes, cut, HeadLimits::new()).unwrap_err();
                assert_eq!(error, expected, "{} cut at {cut}", bytes.escape_ascii());
            }
            assert_eq!(expected.refusal().status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn a_malformed_request_line_is_refused() {
        use HeadError as E;

        let table = [
            ("GET", E::InvalidRequestLine),
            ("GET /", E::InvalidRequestLine),
            ("GET  / HTTP/1.1", E::InvalidRequestLine),
            (" GET / HTTP/1.1", E::InvalidRequestLine),
            ("G(T / HTTP/1.1", E::InvalidRequestLine),
            ("GET /  HTTP/1.1", E::InvalidRequestLine),
            ("GET / HTTP/1.1 ", E::InvalidRequestLine),
            ("GET / http/1.1", E::InvalidRequestLine),
            ("GET / HTTP/1", E::InvalidRequestLine),
            ("GET / HTTP/11.1", E::InvalidRequestLine),
            ("GET / HTTP/1.2", E::UnsupportedVersion),
            ("GET / HTTP/3.0", E::UnsupportedVersion),
            ("PRI * HTTP/2.0", E::UnsupportedVersion),
            ("\r\nPRI * HTTP/2.0", E::UnsupportedVersion),
            ("GET /#a HTTP/1.1", E::InvalidTarget),
            ("GET /\u{e9} HTTP/1.1", E::InvalidTarget),
            ("GET http://[ HTTP/1.1", E::InvalidTarget),
            ("GET ht\\tp HTTP/1.1", E::InvalidTarget),
        ];
        for (line, expected) in table {
            let head = format!("{line}\r\nHost: a\r\n\r\n");
            assert_eq!(read(head.as_bytes()).unwrap_err(), expected, "{line:?}");
        }
        let status = E::UnsupportedVersion.refusal().status();
        assert_eq!(status, StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }

    #[test]
    fn harmless_oddities_are_taken() {
        let table: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"OPTIONS * HTTP/1.1\r\n\r\n",
            b"GET http://a.example/x?y HTTP/1.1\r\nHost:a\r\n\r\n",
            b"GET / HTTP/1.1\r\nX:\r\nY: \t\r\nZ: \xff\r\n\r\n",
        ];
        for bytes in table {
            assert!(read(bytes).is_ok(), "{}", bytes.escape_ascii());
        }
    }

    /// H-18: at the bound, one past it, and at a second bound.
    #[test]
    fn the_bytes_of_a_head_are_bounded() {
        for bound in [16 * 1024, 100] {
            let limits = HeadLimits::new().max_bytes(bound);
            let padding = "x".repeat(bound - "GET / HTTP/1.1\r\nX: \r\n\r\n".len());
            let head = format!("GET / HTTP/1.1\r\nX: {padding}\r\n\r\n");
            assert_eq!(head.len(), bound);
            assert!(read_cut(head.as_bytes(), bound - 1, limits).is_ok());
            let longer = head.replace("X:", "XY:");
            let error = read_cut(longer.as_bytes(), 0, limits).unwrap_err();
            assert_eq!(error, HeadError::TooLong);
            assert_eq!(error.refusal().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            // An unfinished one is not waited for.
            let mut scanner = Scanner::new(Kind::Request, limits);
            let endless = vec![b'x'; bound + 1];
            assert_eq!(scanner.scan(&endless[..bound]), Ok(None));
            assert_eq!(scanner.scan(&endless), Err(HeadError::TooLong));
        }
        assert_eq!(HeadLimits::default(), HeadLimits::new().max_bytes(16 * 1024));
    }

    /// H-18: at the bound, one past it, and at a second bound.
    #[test]
    fn the_fields_of_a_head_are_bounded() {
        for bound in [100, 2] {
            let limits = HeadLimits::new().max_fields(bound);
            let head = |fields| format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(fields));
            let request = read_cut(head(bound).as_bytes(), 9, limits).unwrap();
            assert_eq!(request.headers().len(), bound);
            let error = read_cut(head(bound + 1).as_bytes(), 9, limits).unwrap_err();
            assert_eq!(error, HeadError::TooManyFields);
            assert_eq!(error.refusal().status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        assert_eq!(HeadLimits::default(), HeadLimits::new().max_fields(100));
        // More than a `HeaderMap` can hold.
        let limits = HeadLimits::new().max_fields(usize::MAX).max_bytes(usize::MAX);
        let mut head = String::from("GET / HTTP/1.1\r\n");
        for n in 0..40_000 {
            head.push_str(&format!("x{n}:\r\n"));
        }
        head.push_str("\r\n");
        assert_eq!(read_cut(head.as_bytes(), 0, limits).unwrap_err(), HeadError::TooManyFields);
    }

    #[cfg(feature = "client")]
    #[test]
    fn the_head_of_an_answer_is_read() {
        let read = |bytes: &[u8]| {
            let mut scanner = Scanner::new(Kind::Response, HeadLimits::new());
            let end = scanner.scan(bytes)?.expect("a whole head");
            parse_response(&bytes[..end], scanner.fields())
        };
        let parts = read(b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\na: c\r\n\r\n\x81").unwrap();
        assert_eq!((parts.status.as_u16(), parts.version), (101, Version::HTTP_11));
        assert_eq!(parts.headers.get_all("a").iter().count(), 2);
        for line in ["HTTP/1.1 101", "HTTP/1.1 101 ", "HTTP/1.0 999 \u{e9}"] {
            assert!(read(format!("{line}\r\n\r\n").as_bytes()).is_ok(), "{line:?}");
        }
        let table = [
            ("", HeadError::InvalidStatusLine),
            ("\r\nHTTP/1.1 101", HeadError::InvalidStatusLine),
            ("HTTP/1.1", HeadError::InvalidStatusLine),
            ("HTTP/1.1  101", HeadError::InvalidStatusLine),
            ("HTTP/1.1 10", HeadError::InvalidStatusLine),
            ("HTTP/1.1 1011", HeadError::InvalidStatusLine),
            ("HTTP/1.1 099", HeadError::InvalidStatusLine),
            ("HTTP/2.0 101", HeadError::UnsupportedVersion),
            ("ICY 101", HeadError::InvalidStatusLine),
            ("HTTP/1.1 101\r\nA : b", HeadError::SpaceBeforeColon),
            ("HTTP/1.1 101\r\nA: b\r\n c", HeadError::FoldedLine),
            ("HTTP/1.1 101\r\nA: b\nB: c", HeadError::BareLineFeed),
            ("HTTP/1.1 101\r\nA: \0", HeadError::Nul),
        ];
        for (head, expected) in table {
            let error = read(format!("{head}\r\n\r\n").as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(
            mut bytes: Vec<u8>,
            text in "(GET / HTTP/1.1\r\n)?[ -~\t\r\n\u{80}-\u{ff}]{0,60}",
        ) {
            bytes.extend(b"\r\n\r\n");
            for bytes in [bytes, format!("{text}\r\n\r\n").into_bytes()] {
                let mut scanner = Scanner::new(Kind::Request, HeadLimits::new());
                if let Ok(Some(end)) = scanner.scan(&bytes) {
                    let _ = parse_request(&bytes[..end], scanner.fields());
                    #[cfg(feature = "client")]
                    let _ = parse_response(&bytes[..end], scanner.fields());
                }
            }
        }

        /// However it arrives, the same is found, fault or end.
        #[test]
        fn how_a_head_is_cut_changes_nothing(text in "[a: \r\n\0]{0,40}", fields in 0_usize..4) {
            let bytes = text.as_bytes();
            let limits = HeadLimits::new().max_bytes(30).max_fields(fields);
            let whole = Scanner::new(Kind::Request, limits).scan(bytes);
            let mut scanner = Scanner::new(Kind::Request, limits);
            let mut bytewise = Ok(None);
            for n in 0..=bytes.len() {
                bytewise = scanner.scan(&bytes[..n]);
                if bytewise != Ok(None) {
                    break;
                }
            }
            prop_assert_eq!(whole, bytewise);
        }
    }
}
