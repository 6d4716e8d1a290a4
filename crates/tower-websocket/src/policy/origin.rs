//! The `Origin` of a request (RFC 6454).

use std::{borrow::Cow, fmt};

use http::{HeaderMap, header};

use super::{
    Refuse,
    authority::{is_dns_name, normalize, parse_port, split},
};

/// What a request says about the page that made it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// No `Origin` field: the client is not a browser (RFC 6455, section 10.1).
    Absent,
    /// More than one, or none that is an origin: no browser sends it.
    Invalid,
    /// The literal `null`: a page without an origin, such as a sandboxed frame or a local file
    /// (RFC 6454, section 7.3). Two of them are never the same.
    Null,
    /// The origin of a page.
    Tuple(TupleOrigin),
}

impl Origin {
    /// Reads the `Origin` field.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut lines = headers.get_all(header::ORIGIN).iter();
        let line = match (lines.next(), lines.next()) {
            (None, _) => return Self::Absent,
            (Some(line), None) => line,
            (Some(_), Some(_)) => return Self::Invalid,
        };
        match line.to_str().map(|text| text.trim_matches([' ', '\t'])) {
            Ok("null") => Self::Null,
            Ok(text) => TupleOrigin::parse(text).map_or(Self::Invalid, Self::Tuple),
            Err(_) => Self::Invalid,
        }
    }

    /// Whether it is the literal `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// The origin to compare; `None` if the field is missing.
    pub(super) fn to_compare(&self) -> Result<Option<&TupleOrigin>, Refuse> {
        let reason = match self {
            Self::Tuple(origin) => return Ok(Some(origin)),
            Self::Absent => return Ok(None),
            Self::Invalid => "the Origin field is not one origin",
            Self::Null => "pages without an origin (\"Origin: null\") are not allowed",
        };
        Err(Refuse::forbidden(reason))
    }
}

/// A scheme, host and port, normalised so that two are the same origin exactly if they are equal
/// (RFC 6454, section 5): scheme and host in lowercase, an IPv6 address in canonical form, the default
/// port left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TupleOrigin {
    // Nearly always one of two, which need no memory of their own.
    scheme: Cow<'static, str>,
    host: String,
    port: Option<u16>,
}

impl TupleOrigin {
    /// The scheme of the page: `http`, `https`, or the like of `chrome-extension`. It is never that of
    /// the WebSocket.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, that of the scheme if none was written. `None` for a scheme that has no default port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port.or_else(|| default_port(&self.scheme))
    }

    /// Reads `scheme://host[:port]` and nothing else: no path, not even a slash, no user information.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let end = text.bytes().position(|byte| byte == b':')?;
        let (scheme, rest) = (&text[..end], text[end..].strip_prefix("://")?);
        let scheme = normalize_scheme(scheme)?;
        let (host, port) = split(rest)?;
        let host = normalize(host, is_dns_name)?;
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        Some(Self { port: without_default(&scheme, port), scheme, host })
    }
}

impl fmt::Display for TupleOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// The scheme in lowercase; `None` if it is not one (RFC 3986, section 3.1).
pub(super) fn normalize_scheme(scheme: &str) -> Option<Cow<'static, str>> {
    match scheme {
        "http" => return Some("http".into()),
        "https" => return Some("https".into()),
        _ => {}
    }
    let follows = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(follows);
    is_scheme.then(|| scheme.to_ascii_lowercase().into())
}

/// The port that a scheme in lowercase has without one written.
pub(super) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// The port, unless it is what the scheme has anyway.
pub(super) fn without_default(scheme: &str, port: Option<u16>) -> Option<u16> {
    port.filter(|_| port != default_port(scheme))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[&[u8]]) -> Origin {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ORIGIN, HeaderValue::from_bytes(line).unwrap());
        }
        Origin::of(&headers)
    }

    /// O-06
    #[test]
    fn an_origin_is_normalised() {
        let table = [
            ("http://example.com", "http://example.com", Some(80)),
            ("HTTPS://EXAMPLE.com", "https://example.com", Some(443)),
            ("https://example.com:443", "https://example.com", Some(443)),
            ("http://example.com:80", "http://example.com", Some(80)),
            ("http://example.com:443", "http://example.com:443", Some(443)),
            ("https://example.com:80", "https://example.com:80", Some(80)),
            ("https://example.com:65535", "https://example.com:65535", Some(65535)),
            ("http://[0:0::1]:3000", "http://[::1]:3000", Some(3000)),
            ("http://[::FFFF:1.2.3.4]", "http://[::ffff:1.2.3.4]", Some(80)),
            ("http://[::ffff:102:304]", "http://[::ffff:1.2.3.4]", Some(80)),
            ("http://127.0.0.1:1", "http://127.0.0.1:1", Some(1)),
            ("http://localhost.", "http://localhost.", Some(80)),
            ("http://my_host", "http://my_host", Some(80)),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example", Some(443)),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", None),
        ];
        for (text, normalised, port) in table {
            let Origin::Tuple(origin) = of(&[text.as_bytes()]) else {
                panic!("{text}");
            };
            assert_eq!((origin.to_string().as_str(), origin.port()), (normalised, port), "{text}");
            assert_eq!(TupleOrigin::parse(normalised), Some(origin), "{text}");
        }
        assert_eq!(of(&[b" https://example.com\t"]), of(&[b"https://example.com"]));
    }

    /// O-05: exactly `null` is null.
    #[test]
    fn absent_and_null_are_cases_of_their_own() {
        assert_eq!(of(&[]), Origin::Absent);
        assert_eq!(of(&[b"null"]), Origin::Null);
        for text in ["NULL", "null null", "null://null:", "nul"] {
            assert_eq!(of(&[text.as_bytes()]), Origin::Invalid, "{text}");
        }
    }

    /// O-07
    #[test]
    fn what_is_not_one_origin_is_invalid() {
        let table: [&[u8]; 43] = [
            b"",
            b"*",
            b"example.com",
            b"//example.com",
            b"https:example.com",
            b"https:/example.com",
            b"https:///",
            b"https://",
            b"://example.com",
            b"1http://example.com",
            b"ht tp://example.com",
            b"file://",
            b"file:///",
            b"https://example.com/",
            b"https://example.com/path",
            b"https://example.com?query",
            b"https://example.com#fragment",
            b"https://user@example.com",
            b"https://user:pass@example.com",
            b"https://example.com https://other.example",
            b"https://example.com, https://other.example",
            b"https://example.com,",
            b"https://example.com:",
            b"https://example.com:0",
            b"https://example.com:080",
            b"https://example.com:+80",
            b"https://example.com:-1",
            b"https://example.com:65536",
            b"https://example.com:99999999999999999999",
            b"https://example.com:80:80",
            b"http://a:b",
            b"https://example.com:8x",
            b"https://.example.com",
            b"https://example..com",
            b"https://example.com..",
            b"https://*.example.com",
            b"https://exa%6dple.com",
            b"https://example.com\\@evil.example",
            b"https://b\xc3\xbccher.example",
            b"http://::1",
            b"http://[::1",
            b"http://[::1]evil.example",
            b"http://[fe80::1%25eth0]",
        ];
        for text in table {
            assert_eq!(of(&[text]), Origin::Invalid, "{}", text.escape_ascii());
        }
        assert_eq!(of(&[b"https://a.example", b"https://a.example"]), Origin::Invalid);
        assert_eq!(of(&[b"null", b"https://a.example"]), Origin::Invalid);
    }
}
