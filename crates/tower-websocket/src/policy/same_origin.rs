//! Pages of the host that the handshake is sent to.

use std::{borrow::Cow, fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, uri::Scheme};

use super::{Attempt, Authority, OriginCheck, Refuse, TupleOrigin, origin::default_port};

const FORWARDED_HOST: &str = "x-forwarded-host";
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// Accepts pages of the host and port that the handshake is sent to. The default of
/// [`WebSocketLayer::origin`](crate::WebSocketLayer::origin).
///
/// The `Origin` is compared with the [authority](Attempt::authority) of the request: the host, and the
/// port, which is that of the Origin's scheme if the request names none. The scheme is compared too
/// where it is known: on HTTP/2, in a target in absolute form, by [`scheme`](Self::scheme) or by a
/// [trusted proxy](Self::trusted_proxies). Everything else is refused with 403: other sites, `null`, and
/// an `Origin` that is repeated or malformed.
///
/// ```
/// use http::uri::Scheme;
/// use tower_websocket::policy::SameOrigin;
///
/// // Behind a proxy that ends TLS and passes `Host` on.
/// let policy = SameOrigin::new().scheme(Scheme::HTTPS);
/// # let _ = policy;
/// ```
///
/// # What it does not stop
///
/// * Clients that are not browsers: they send any `Origin`, or none.
/// * DNS rebinding: the page of an attacker's host, whose name then resolves to this server, is of the
///   same origin. Servers on a local machine or network list their hosts in
///   [`AllowHosts`](super::AllowHosts).
/// * On HTTP/1.1, where the scheme is not known by itself, the unencrypted page of a host at port 80,
///   when the server is reached by TLS at port 443. Set [`scheme`](Self::scheme).
///
/// # Behind a proxy
///
/// A proxy that sends another `Host` than the browser did makes every page one of another site. Let it
/// pass `Host` on, trust it by [`trusted_proxies`](Self::trusted_proxies), or list the pages' origins
/// in [`AllowOrigins`](super::AllowOrigins) instead.
#[derive(Clone, Default)]
#[must_use]
pub struct SameOrigin {
    scheme: Option<Scheme>,
    is_trusted_proxy: Option<Arc<dyn Fn(IpAddr) -> bool + Send + Sync>>,
}

impl SameOrigin {
    /// Trusts no proxy.
    pub fn new() -> Self {
        Self::default()
    }

    /// The scheme by which browsers reach the server, `http` or `https`. Default: what the request
    /// says, if it says it. What a [trusted proxy](Self::trusted_proxies) says comes before both.
    pub fn scheme(mut self, scheme: Scheme) -> Self {
        self.scheme = Some(scheme);
        self
    }

    /// Believes the proxies at these addresses what they say in `X-Forwarded-Host` and
    /// `X-Forwarded-Proto`. Default: none is believed, as every client can send these fields.
    ///
    /// ```
    /// use std::net::{IpAddr, Ipv4Addr};
    ///
    /// use tower_websocket::policy::SameOrigin;
    ///
    /// const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    /// let policy = SameOrigin::new().trusted_proxies(|address| address == PROXY);
    /// # let _ = policy;
    /// ```
    ///
    /// The address is that of the connection's peer, which is known if the request has a
    /// [`PeerAddr`](super::PeerAddr); an IPv4 address is never in IPv6 form. A proxy has to replace
    /// what the client sent in these fields: a list, or a value that is no host or no scheme, is
    /// refused with 403. A field that is missing says nothing, and the request counts.
    pub fn trusted_proxies<F>(mut self, is_trusted: F) -> Self
    where
        F: Fn(IpAddr) -> bool + Send + Sync + 'static,
    {
        self.is_trusted_proxy = Some(Arc::new(is_trusted));
        self
    }

    fn comes_from_trusted_proxy(&self, attempt: &Attempt) -> bool {
        let (Some(is_trusted), Some(peer)) = (&self.is_trusted_proxy, attempt.peer_addr()) else {
            return false;
        };
        is_trusted(peer.ip().to_canonical())
    }

    /// Where browsers sent the request to, and by which scheme.
    fn target<'a>(&'a self, attempt: &'a Attempt) -> Result<Target<'a>, Refuse> {
        let mut target = Target {
            authority: Cow::Borrowed(attempt.authority()),
            scheme: self.scheme.as_ref().or(attempt.scheme()).map(Scheme::as_str),
        };
        if self.comes_from_trusted_proxy(attempt) {
            if let Some(host) = only(attempt.headers(), FORWARDED_HOST)? {
                let host = Authority::parse(host).ok_or_else(|| unusable(FORWARDED_HOST))?;
                target.authority = Cow::Owned(host);
            }
            if let Some(proto) = only(attempt.headers(), FORWARDED_PROTO)? {
                let scheme = page_scheme(proto).ok_or_else(|| unusable(FORWARDED_PROTO))?;
                target.scheme = Some(scheme);
            }
        }
        Ok(target)
    }
}

impl OriginCheck for SameOrigin {
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        let Some(origin) = attempt.origin().to_compare()? else { return Ok(()) };
        let target = self.target(attempt)?;
        if target.is_origin(origin) {
            return Ok(());
        }
        tracing::debug!(
            %origin,
            authority = %target.authority,
            scheme = target.scheme,
            "a page of another origin asks for a WebSocket"
        );
        Err(Refuse::forbidden(
            "the Origin is not that of this server; \
             if a proxy in between changed Host, let it pass Host on",
        ))
    }
}

impl fmt::Debug for SameOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SameOrigin")
            .field("scheme", &self.scheme)
            .field("trusts_proxies", &self.is_trusted_proxy.is_some())
            .finish()
    }
}

struct Target<'a> {
    authority: Cow<'a, Authority>,
    scheme: Option<&'a str>,
}

impl Target<'_> {
    fn is_origin(&self, origin: &TupleOrigin) -> bool {
        // Only http and https have a default port, so that no other scheme is ever the same.
        let Some(default) = default_port(origin.scheme()) else {
            return false;
        };
        origin.host() == self.authority.host()
            && origin.port() == Some(self.authority.port().unwrap_or(default))
            && self.scheme.is_none_or(|scheme| scheme == origin.scheme())
    }
}

/// The one line of a field that a proxy sets.
fn only<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Refuse> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(None),
        (Some(line), None) => match line.to_str() {
            Ok(text) => Ok(Some(text.trim_matches([' ', '\t']))),
            Err(_) => Err(unusable(name)),
        },
        (Some(_), Some(_)) => Err(unusable(name)),
    }
}

fn unusable(name: &'static str) -> Refuse {
    Refuse::forbidden(format!(
        "the {name} field is not one value; let the proxy replace it and not append to it"
    ))
}

/// The scheme of a page whose WebSocket was opened by `proto`: some proxies write that of the page,
/// some that of the WebSocket.
fn page_scheme(proto: &str) -> Option<&'static str> {
    const SCHEMES: [(&str, &str); 4] =
        [("http", "http"), ("https", "https"), ("ws", "http"), ("wss", "https")];
    let (_, scheme) = SCHEMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(proto))?;
    Some(scheme)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::policy::{
        PeerAddr,
        tests::{attempt, checked, get, http2},
    };

    /// O-03, O-06
    #[test]
    fn host_and_port_are_compared_with_the_requests() {
        let table = [
            ("example.com", "http://example.com", true),
            ("example.com", "https://example.com", true),
            ("example.com", "https://example.com:443", true),
            ("EXAMPLE.com", "HTTPS://example.COM", true),
            ("example.com:443", "https://example.com", true),
            ("example.com:80", "http://example.com", true),
            ("example.com:8443", "https://example.com:8443", true),
            ("[::1]:3000", "http://[0:0:0:0:0:0:0:1]:3000", true),
            ("localhost:3000", "http://localhost:3000", true),
            ("example.com:80", "https://example.com", false),
            ("example.com:443", "http://example.com", false),
            ("example.com:8443", "https://example.com", false),
            ("example.com", "https://example.com:8443", false),
            ("example.com:0", "http://example.com", false),
            ("example.com", "https://www.example.com", false),
            ("www.example.com", "https://example.com", false),
            ("example.com", "https://example.com.evil.example", false),
            ("example.com", "https://evil-example.com", false),
            ("example.com", "https://example.com.", false),
            ("localhost:3000", "http://127.0.0.1:3000", false),
            ("127.0.0.1:3000", "http://localhost:3000", false),
            ("example.com", "ws://example.com", false),
            ("example.com", "chrome-extension://example.com", false),
        ];
        for (host, origin, same) in table {
            let attempt = attempt(&[("host", host), ("origin", origin)]);
            assert_eq!(checked(&SameOrigin::new(), &attempt), same, "{host} {origin}");
        }
    }

    /// O-03: HTTP/2 tells the scheme, HTTP/1.1 needs the setting, which comes first.
    #[test]
    fn the_scheme_is_compared_where_it_is_known() {
        let (secure, plain) = ("https://example.com", "http://example.com");
        let with = |origin| attempt(&[("host", "example.com"), ("origin", origin)]);
        let https = SameOrigin::new().scheme(Scheme::HTTPS);
        assert!(checked(&https, &with(secure)) && !checked(&https, &with(plain)));
        let http = SameOrigin::new().scheme(Scheme::HTTP);
        assert!(!checked(&http, &with(secure)) && checked(&http, &with(plain)));

        let with = |uri, origin| http2(uri, &[("origin", origin)]);
        let policy = SameOrigin::new();
        for (uri, origin, same) in [
            ("https://example.com/", secure, true),
            ("https://example.com/", plain, false),
            ("http://example.com/", secure, false),
            ("http://example.com/", plain, true),
        ] {
            assert_eq!(checked(&policy, &with(uri, origin)), same, "{uri} {origin}");
        }
        assert!(checked(&https, &with("http://example.com/", secure)));
    }

    /// H-16: the authority of an absolute target, not the `Host` beside it.
    #[test]
    fn the_effective_authority_counts() {
        let mut request = get(&[("host", "b.example"), ("origin", "http://b.example")]);
        *request.uri_mut() = "http://a.example/chat".parse().unwrap();
        assert!(!checked(&SameOrigin::new(), &Attempt::from_request(&request).unwrap()));
        request.headers_mut().insert("origin", "http://a.example".parse().unwrap());
        assert!(checked(&SameOrigin::new(), &Attempt::from_request(&request).unwrap()));
    }

    /// O-05 (null), O-07 (malformed or repeated)
    #[test]
    fn null_and_a_malformed_or_repeated_origin_are_refused() {
        let check = SameOrigin::new();
        for origin in ["null", "", "http://localhost/", "http://localhost http://localhost"] {
            let attempt = attempt(&[("host", "localhost"), ("origin", origin)]);
            assert!(!checked(&check, &attempt), "{origin}");
        }
        let twice = [("host", "a.example"), ("origin", "http://a.example")];
        assert!(!checked(&check, &attempt(&[twice[0], twice[1], twice[1]])));
    }

    fn from_peer(peer: Option<&str>, fields: &[(&'static str, &str)]) -> Attempt {
        let mut all = vec![("host", "internal:8080"), ("origin", "https://example.com")];
        all.extend_from_slice(fields);
        let mut request = get(&all);
        if let Some(peer) = peer {
            request.extensions_mut().insert(PeerAddr(peer.parse::<SocketAddr>().unwrap()));
        }
        Attempt::from_request(&request).unwrap()
    }

    /// O-08
    #[test]
    fn forwarded_fields_change_nothing_unless_a_trusted_proxy_sent_them() {
        let proxy: IpAddr = "10.0.0.2".parse().unwrap();
        let trusting = SameOrigin::new().trusted_proxies(move |address| address == proxy);
        let forged = [("x-forwarded-host", "example.com"), ("x-forwarded-proto", "https")];

        assert!(!checked(&SameOrigin::new(), &from_peer(Some("10.0.0.2:1"), &forged)));
        assert!(!checked(&trusting, &from_peer(None, &forged)));
        assert!(!checked(&trusting, &from_peer(Some("10.0.0.3:1"), &forged)));
        assert!(checked(&trusting, &from_peer(Some("10.0.0.2:1"), &forged)));
        assert!(checked(&trusting, &from_peer(Some("[::ffff:10.0.0.2]:1"), &forged)));

        // And what an untrusted peer forwards does not take away what its request says.
        let honest = [("origin", "http://internal:8080"), ("x-forwarded-host", "evil.example")];
        let mut request = get(&[("host", "internal:8080"), honest[0], honest[1]]);
        let peer: SocketAddr = "10.0.0.3:1".parse().unwrap();
        request.extensions_mut().insert(PeerAddr(peer));
        assert!(checked(&trusting, &Attempt::from_request(&request).unwrap()));
    }

    /// O-08
    #[test]
    fn a_trusted_proxy_says_where_browsers_sent_the_request_in_one_value() {
        let policy = SameOrigin::new().trusted_proxies(|_| true).scheme(Scheme::HTTP);
        let (host, proto) = (FORWARDED_HOST, FORWARDED_PROTO);
        let table: [(&[(&'static str, &str)], bool); 13] = [
            (&[(host, "example.com"), (proto, "https")], true),
            (&[(host, "Example.com:443"), (proto, "HTTPS")], true),
            (&[(host, "example.com"), (proto, "wss")], true),
            (&[(host, "example.com"), (proto, "http")], false),
            (&[(host, "example.com"), (proto, "ws")], false),
            (&[(host, "example.com")], false),
            (&[(proto, "https")], false),
            (&[], false),
            (&[(host, "other.example"), (proto, "https")], false),
            (&[(host, "example.com, example.com"), (proto, "https")], false),
            (&[(host, "example.com"), (host, "example.com"), (proto, "https")], false),
            (&[(host, "example.com"), (proto, "https,https")], false),
            (&[(host, ""), (proto, "https")], false),
        ];
        for (fields, same) in table {
            let attempt = from_peer(Some("10.0.0.2:1"), fields);
            assert_eq!(checked(&policy, &attempt), same, "{fields:?}");
        }
    }
}
