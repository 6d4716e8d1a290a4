//! Where a client connects to: the `ws` and `wss` addresses (RFC 6455, section 3).

use std::{convert::Infallible, error::Error, fmt, str::FromStr};

use http::{
    Uri,
    uri::{Authority, PathAndQuery, Scheme},
};
use url::Url;

/// A `ws` or `wss` address (RFC 6455, section 3).
///
/// It is read as browsers read it: an international host becomes its ASCII form, what may not stand in
/// a path is percent-encoded, `..` is resolved, and `http` and `https` mean `ws` and `wss`. There is
/// neither a fragment nor user information in it.
///
/// [`Display`](fmt::Display) writes the whole address, and [`FromStr`] reads it back. `Debug` leaves
/// the query out, because it is where tokens stand.
///
/// ```
/// use hybi::handshake::Address;
///
/// let address: Address = "WSS://Bücher.example:443/a b?x=1".parse()?;
/// assert_eq!(address.to_string(), "wss://xn--bcher-kva.example/a%20b?x=1");
/// assert!(address.is_secure());
/// assert_eq!(address.port(), 443);
/// # Ok::<(), hybi::handshake::AddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    secure: bool,
    /// Without a default port.
    authority: Authority,
    path_and_query: PathAndQuery,
}

impl Address {
    /// Whether the scheme is `wss`: TLS comes before the handshake.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The host as a resolver or a certificate names it: a name in its ASCII form or an IP address,
    /// which for IPv6 stands without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.authority.host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port to connect to: where none is written, 80 for `ws` and 443 for `wss`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.secure { 443 } else { 80 })
    }

    /// The value of `Host` and of `:authority`: an IPv6 address in brackets, and the port only where
    /// it is not the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The target of the request: the path, which is `/` at least, and the query unless it is empty
    /// (RFC 6455, section 3).
    #[must_use]
    pub fn path_and_query(&self) -> &PathAndQuery {
        &self.path_and_query
    }

    /// The same resource as HTTP names it: an absolute URI with the scheme `http` or `https`.
    #[must_use]
    pub fn to_http_uri(&self) -> Uri {
        let scheme = if self.secure { Scheme::HTTPS } else { Scheme::HTTP };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(self.path_and_query.clone());
        Uri::from_parts(parts).expect("a scheme, an authority and a path are a URI")
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "wss" } else { "ws" }
    }
}

impl TryFrom<&Url> for Address {
    type Error = AddressError;

    fn try_from(url: &Url) -> Result<Self, AddressError> {
        let secure = match url.scheme() {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(AddressError::Scheme),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(AddressError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(AddressError::Fragment);
        }
        let host = url.host_str().ok_or(AddressError::Malformed(url::ParseError::EmptyHost))?;
        // The parser has left out the default ports of all four schemes.
        let authority = match url.port() {
            Some(port) => Authority::try_from(format!("{host}:{port}")),
            None => Authority::try_from(host),
        };
        let path_and_query = match url.query() {
            None | Some("") => PathAndQuery::try_from(url.path()),
            Some(query) => PathAndQuery::try_from(format!("{}?{query}", url.path())),
        };
        match (authority, path_and_query) {
            (Ok(authority), Ok(path_and_query)) => Ok(Self { secure, authority, path_and_query }),
            _ => Err(AddressError::NotHttp),
        }
    }
}

impl TryFrom<Url> for Address {
    type Error = AddressError;

    fn try_from(url: Url) -> Result<Self, AddressError> {
        Self::try_from(&url)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match Url::parse(text) {
            // `localhost:3000/chat` is a URL with the scheme `localhost`.
            Ok(url) if url.cannot_be_a_base() => Err(AddressError::MissingScheme),
            Ok(url) => Self::try_from(&url),
            Err(url::ParseError::RelativeUrlWithoutBase) => Err(AddressError::MissingScheme),
            Err(error) => Err(AddressError::Malformed(error)),
        }
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<&Uri> for Address {
    type Error = AddressError;

    fn try_from(uri: &Uri) -> Result<Self, AddressError> {
        uri.to_string().parse()
    }
}

impl TryFrom<Uri> for Address {
    type Error = AddressError;

    fn try_from(uri: Uri) -> Result<Self, AddressError> {
        Self::try_from(&uri)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path_and_query)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme(), self.authority, self.path_and_query.path())?;
        if self.path_and_query.query().is_some() { f.write_str("?..") } else { Ok(()) }
    }
}

/// Why a text is no address of a WebSocket. It never repeats the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// A fragment, even an empty one (RFC 6455, section 3).
    Fragment,
    /// Not a URL.
    Malformed(url::ParseError),
    /// No scheme, and so nothing that says whether to use TLS.
    MissingScheme,
    /// A URL that does not fit into an HTTP request, because it is longer than 64 KiB or has
    /// characters that HTTP does not know.
    NotHttp,
    /// A scheme other than `ws`, `wss`, `http` and `https`.
    Scheme,
    /// A user name or a password. Where the server asks for one, send an `Authorization` field.
    UserInfo,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Fragment => "a WebSocket address has no fragment (#)",
            Self::Malformed(error) => return write!(f, "the WebSocket address is no URL: {error}"),
            Self::MissingScheme => "a WebSocket address begins with ws:// or wss://",
            Self::NotHttp => "the WebSocket address does not fit into an HTTP request",
            Self::Scheme => "the scheme of a WebSocket address is ws or wss",
            Self::UserInfo => {
                "a WebSocket address has no user name and no password: \
                 send them in an Authorization field"
            }
        };
        f.write_str(text)
    }
}

impl Error for AddressError {}

impl From<Infallible> for AddressError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    /// C-01, C-02: what is written, the address, host, port, authority and target.
    #[test]
    fn an_address_is_taken_apart() {
        let table = [
            ("ws://h", "ws://h/", "h", 80, "h", "/"),
            ("WSS://H", "wss://h/", "h", 443, "h", "/"),
            ("wS://h:80/", "ws://h/", "h", 80, "h", "/"),
            ("wss://h:443/", "wss://h/", "h", 443, "h", "/"),
            ("ws://h:443/", "ws://h:443/", "h", 443, "h:443", "/"),
            ("wss://h:80/", "wss://h:80/", "h", 80, "h:80", "/"),
            ("ws://h:", "ws://h/", "h", 80, "h", "/"),
            ("http://h:80/a", "ws://h/a", "h", 80, "h", "/a"),
            ("HTTPS://h:443/a", "wss://h/a", "h", 443, "h", "/a"),
            ("https://h:8443", "wss://h:8443/", "h", 8443, "h:8443", "/"),
            ("ws://h?x=1", "ws://h/?x=1", "h", 80, "h", "/?x=1"),
            ("ws://h/?", "ws://h/", "h", 80, "h", "/"),
            ("ws://h/a?", "ws://h/a", "h", 80, "h", "/a"),
            ("ws://h/a?b?c", "ws://h/a?b?c", "h", 80, "h", "/a?b?c"),
            ("ws://h/a/../b/./c", "ws://h/b/c", "h", 80, "h", "/b/c"),
            ("ws://h//a", "ws://h//a", "h", 80, "h", "//a"),
            ("ws://h/ä b?ö", "ws://h/%C3%A4%20b?%C3%B6", "h", 80, "h", "/%C3%A4%20b?%C3%B6"),
            ("ws://h/%2f%41", "ws://h/%2f%41", "h", 80, "h", "/%2f%41"),
            (
                "ws://h/{\"a\"}?{'b'}",
                "ws://h/%7B%22a%22%7D?{%27b%27}",
                "h",
                80,
                "h",
                "/%7B%22a%22%7D?{%27b%27}",
            ),
            ("ws://h/|[]^`", "ws://h/|[]^%60", "h", 80, "h", "/|[]^%60"),
            ("ws://[::1]:9001/", "ws://[::1]:9001/", "::1", 9001, "[::1]:9001", "/"),
            (
                "wss://[2001:DB8:0:0::1]",
                "wss://[2001:db8::1]/",
                "2001:db8::1",
                443,
                "[2001:db8::1]",
                "/",
            ),
            (
                "ws://127.0.0.1:9001",
                "ws://127.0.0.1:9001/",
                "127.0.0.1",
                9001,
                "127.0.0.1:9001",
                "/",
            ),
            (
                "wss://B\u{fc}cher.example",
                "wss://xn--bcher-kva.example/",
                "xn--bcher-kva.example",
                443,
                "xn--bcher-kva.example",
                "/",
            ),
            ("ws://%65xample.com.", "ws://example.com./", "example.com.", 80, "example.com.", "/"),
            ("ws://a_b.example", "ws://a_b.example/", "a_b.example", 80, "a_b.example", "/"),
        ];
        for (text, whole, host, port, authority, target) in table {
            let address = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.to_string(), whole, "{text}");
            assert_eq!(address.host(), host, "{text}");
            assert_eq!(address.port(), port, "{text}");
            assert_eq!(address.authority(), authority, "{text}");
            assert_eq!(address.path_and_query(), target, "{text}");
            assert_eq!(address.is_secure(), whole.starts_with("wss:"), "{text}");
            assert_eq!(parse(&address.to_string()), Ok(address), "{text}");
        }
    }

    /// C-01
    #[test]
    fn what_is_no_address_is_named() {
        use AddressError as E;

        let table = [
            ("ws://h/#", E::Fragment),
            ("ws://h/#x", E::Fragment),
            ("ws://h#x", E::Fragment),
            ("ws://u@h/", E::UserInfo),
            ("ws://u:p@h/", E::UserInfo),
            ("wss://:p@h/", E::UserInfo),
            ("ftp://h/", E::Scheme),
            ("wsss://h/", E::Scheme),
            ("localhost:9001/chat", E::MissingScheme),
            ("example.com/chat", E::MissingScheme),
            ("/chat", E::MissingScheme),
            ("//h/chat", E::MissingScheme),
            ("", E::MissingScheme),
            ("ws://", E::Malformed(url::ParseError::EmptyHost)),
            ("ws://h:65536/", E::Malformed(url::ParseError::InvalidPort)),
            ("ws://h:-1/", E::Malformed(url::ParseError::InvalidPort)),
            ("ws://[::1/", E::Malformed(url::ParseError::InvalidIpv6Address)),
            ("ws://1.2.3.456/", E::Malformed(url::ParseError::InvalidIpv4Address)),
            ("ws://a b/", E::Malformed(url::ParseError::IdnaError)),
        ];
        for (text, error) in table {
            assert_eq!(parse(text), Err(error), "{text:?}");
        }
        let long = format!("ws://h/{}", "a".repeat(70_000));
        assert_eq!(parse(&long), Err(E::NotHttp));
    }

    /// C-01: nothing that is written can end the line of a request.
    #[test]
    fn line_breaks_never_reach_the_target() {
        for text in ["ws://h/a\r\nX: y", "ws://h/?a\r\nX:y", " ws://h/\r\n\r\n"] {
            let target = parse(text).unwrap().path_and_query().to_string();
            assert!(target.bytes().all(|byte| byte.is_ascii_graphic()), "{target:?}");
        }
    }

    #[test]
    fn an_address_is_made_from_each_type_that_holds_one() {
        let address = parse("wss://h:1/a?b").unwrap();
        let text = "wss://h:1/a?b";
        let url = Url::parse(text).unwrap();
        let uri: Uri = text.parse().unwrap();
        assert_eq!(Address::try_from(text), Ok(address.clone()));
        assert_eq!(Address::try_from(text.to_owned()), Ok(address.clone()));
        assert_eq!(Address::try_from(&text.to_owned()), Ok(address.clone()));
        assert_eq!(Address::try_from(&url), Ok(address.clone()));
        assert_eq!(Address::try_from(url), Ok(address.clone()));
        assert_eq!(Address::try_from(&uri), Ok(address.clone()));
        assert_eq!(Address::try_from(uri), Ok(address.clone()));
        assert_eq!(address.to_http_uri(), "https://h:1/a?b");
        assert_eq!(Address::try_from(address.to_http_uri()), Ok(address));
        assert_eq!(Address::try_from(Uri::from_static("/a")), Err(AddressError::MissingScheme));
    }

    #[test]
    fn the_debug_text_leaves_the_query_out() {
        let address = parse("ws://h/a?token=secret").unwrap();
        assert_eq!(format!("{address:?}"), "ws://h/a?..");
        assert_eq!(format!("{:?}", parse("wss://h:1/a").unwrap()), "wss://h:1/a");
    }

    proptest! {
        /// C-01, C-02: whatever is taken makes a request, and reads back as itself.
        #[test]
        fn any_text_is_an_address_or_an_error(text in "(ws|wss|http)?(://)?[^a]{0,20}[a-z/:?#@\\[\\].%]{0,20}") {
            if let Ok(address) = parse(&text) {
                prop_assert!(address.path_and_query().as_str().starts_with('/'));
                prop_assert!(address.to_http_uri().authority().is_some());
                prop_assert!(!address.host().is_empty());
                prop_assert_eq!(parse(&address.to_string()), Ok(address));
            }
        }
    }
}
