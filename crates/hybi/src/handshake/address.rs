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
