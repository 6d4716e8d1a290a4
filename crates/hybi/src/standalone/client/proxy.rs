//! The way through an HTTP proxy (RFC 9110, section 9.3.6; RFC 6455, section 4.1).

use std::{error::Error, fmt};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    error::{ConnectError, Kind, Stage},
    open::{Bounds, ask, refused, within},
};
use crate::{
    handshake::{Address, AddressError, is_reserved},
    standalone::encode,
};

/// An HTTP proxy that connects to servers for its clients, by CONNECT.
///
/// It is spoken to without TLS. What goes through it to a `wss` server is encrypted from end to end;
/// the proxy sees the server's name and port.
///
/// ```
/// use http::HeaderValue;
/// use hybi::standalone::Proxy;
///
/// let credentials = HeaderValue::from_static("Basic dXNlcjpwYXNzd29yZA==");
/// let proxy = Proxy::new("http://proxy.example.com:3128")?.authorization(credentials);
/// # let _ = proxy;
/// # Ok::<(), hybi::standalone::InvalidProxy>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Proxy {
    address: Address,
    headers: HeaderMap,
}

impl Proxy {
    /// The proxy at an `http` address; port 80 where there is none.
    ///
    /// # Errors
    ///
    /// When it is no address, has a path or a query, or asks for TLS to the proxy. User information
    /// is an error too: see [`authorization`](Self::authorization).
    pub fn new(address: &str) -> Result<Self, InvalidProxy> {
        let address: Address = address.parse().map_err(InvalidProxy::Address)?;
        if address.is_secure() {
            return Err(InvalidProxy::Secure);
        }
        if address.path_and_query() != "/" {
            return Err(InvalidProxy::Path);
        }
        Ok(Self { address, headers: HeaderMap::new() })
    }

    /// What the proxy asks to see, as a `Proxy-Authorization` field (RFC 9110, section 11.7.2).
    /// The server does not get it.
    pub fn authorization(mut self, mut credentials: HeaderValue) -> Self {
        credentials.set_sensitive(true);
        self.headers.insert(header::PROXY_AUTHORIZATION, credentials);
        self
    }

    /// Adds a field for the proxy, such as `User-Agent`.
    ///
    /// `Host` and those about the connection ([`is_reserved`]) are ignored.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if !is_reserved(&name) && name != header::HOST {
            self.headers.append(name, value);
        }
        self
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Has the proxy connect `io` to the server.
    pub(super) async fn tunnel<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        io: &mut T,
        server: &Address,
        bounds: &Bounds,
        deadline: Instant,
    ) -> Result<(), ConnectError> {
        let request = self.request(server);
        let answer = ask(io, &request, bounds);
        let (response, early) = within(deadline, Stage::Http, answer).await?;
        if !response.status().is_success() {
            return Err(refused(io, response, early, bounds, deadline).await);
        }
        // Whatever a length field says: there is no body (RFC 9110, section 9.3.6). The server speaks
        // when it is spoken to, so that these bytes would be taken for its answer and are not.
        if early.is_empty() { Ok(()) } else { Err(Kind::EarlyBytes.into()) }
    }

    fn request(&self, server: &Address) -> Vec<u8> {
        // With the port, even where it is the scheme's own.
        let authority = format!("{}:{}", server.authority().host(), server.port());
        let mut head =
            format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n").into_bytes();
        encode::fields(&mut head, &self.headers);
        head
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why an address is none of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// It is no address, or has user information or a fragment.
    Address(AddressError),
    /// It has a path or a query.
    Path,
    /// It asks for TLS to the proxy.
    Secure,
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address(AddressError::UserInfo) => {
                "the address of a proxy has no user name and no password: \
                 send them in a Proxy-Authorization field"
            }
            Self::Address(AddressError::Malformed(_)) => "the address of the proxy is no URL",
            Self::Address(_) => "the address of a proxy is http://host:port",
            Self::Path => "the address of a proxy has neither a path nor a query",
            Self::Secure => "a proxy is spoken to without TLS: its address begins with http://",
        })
    }
}

impl Error for InvalidProxy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_host_and_port() {
        for good in ["http://p", "http://p:3128", "http://p:3128/", "http://[::1]:8080"] {
            assert!(Proxy::new(good).is_ok(), "{good}");
        }
        let table = [
            ("https://p", InvalidProxy::Secure),
            ("http://p/x", InvalidProxy::Path),
            ("http://p/?x", InvalidProxy::Path),
            ("http://a:b@p", InvalidProxy::Address(AddressError::UserInfo)),
            ("http://p#x", InvalidProxy::Address(AddressError::Fragment)),
            ("socks5://p", InvalidProxy::Address(AddressError::Scheme)),
            ("p:3128", InvalidProxy::Address(AddressError::MissingScheme)),
        ];
        for (bad, expected) in table {
            assert_eq!(Proxy::new(bad).unwrap_err(), expected, "{bad}");
        }
    }

    /// R-21, E-22: and an IPv6 address stands in brackets.
    #[test]
    fn the_request_names_the_server_with_its_port() {
        let proxy = Proxy::new("http://p")
            .unwrap()
            .authorization(HeaderValue::from_static("Basic x"))
            .header(header::HOST, HeaderValue::from_static("other"))
            .header(header::CONNECTION, HeaderValue::from_static("close"))
            .header(header::USER_AGENT, HeaderValue::from_static("me"));
        for (address, authority) in [
            ("ws://a.example/x?y", "a.example:80"),
            ("wss://[::1]", "[::1]:443"),
            ("ws://a:81", "a:81"),
        ] {
            let request = proxy.request(&address.parse().unwrap());
            let request = String::from_utf8(request).unwrap();
            let mut lines: Vec<_> = request.trim_end().split("\r\n").collect();
            lines.sort_unstable();
            let connect = format!("CONNECT {authority} HTTP/1.1");
            let host = format!("Host: {authority}");
            let expected = [&connect, &host, "Proxy-Authorization: Basic x", "User-Agent: me"];
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn debug_shows_no_credentials() {
        let proxy = Proxy::new("http://p").unwrap();
        let proxy = proxy.authorization(HeaderValue::from_static("Basic secret"));
        assert!(!format!("{proxy:?}").contains("secret"));
    }
}
