//! Handshakes that are sent to listed hosts.

use std::{error::Error, fmt};

use super::{
    Accept, Attempt, Authority, Decision, Policy, Refuse,
    authority::{is_dns_name, normalize, parse_port, split},
    origin::default_port,
};

/// Accepts handshakes that are sent to the listed hosts: the defence against DNS rebinding.
///
/// By DNS rebinding the name of an attacker's host is made to resolve to this server, so that the
/// attacker's page is of the same origin as the server. The request then names the attacker's host. A
/// server on a local machine or in a private network lists the names it really has:
///
/// ```
/// use tower_websocket::{WebSocketLayer, handler_fn, policy::AllowHosts};
///
/// let local = WebSocketLayer::new(handler_fn(|_| async {})).policy(AllowHosts::loopback());
/// let lan = AllowHosts::new(["printer.lan", "192.168.1.7:8080"])?;
/// # let _ = (local, lan);
/// # Ok::<(), tower_websocket::policy::InvalidHostPattern>(())
/// ```
///
/// An entry is `host[:port]`, compared with the [authority](Attempt::authority) of the request; without
/// a port it stands for every port. An IPv6 address is written in brackets. Other hosts are refused with
/// 403, and so is every one if the list is empty. It does not replace the check of the origin.
#[derive(Clone, Debug)]
#[must_use]
pub struct AllowHosts {
    patterns: Vec<Pattern>,
}

impl AllowHosts {
    /// Allows these hosts.
    ///
    /// # Errors
    ///
    /// When an entry is not `host[:port]`. The error says what to write instead.
    pub fn new<I>(entries: I) -> Result<Self, InvalidHostPattern>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |entry: I::Item| {
            let entry = entry.as_ref();
            Pattern::parse(entry)
                .map_err(|fault| InvalidHostPattern { entry: entry.to_owned(), fault })
        };
        Ok(Self { patterns: entries.into_iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// Allows `localhost`, `127.0.0.1` and `[::1]`, at any port.
    pub fn loopback() -> Self {
        let any_port = |host: &str| Pattern { host: host.to_owned(), port: None };
        Self { patterns: ["localhost", "127.0.0.1", "[::1]"].map(any_port).into() }
    }
}

impl Policy for AllowHosts {
    async fn decide(&self, attempt: &Attempt) -> Decision {
        let authority = attempt.authority();
        let scheme = attempt.scheme().map(|scheme| scheme.as_str());
        if self.patterns.iter().any(|pattern| pattern.matches(authority, scheme)) {
            return Accept::new().into();
        }
        tracing::debug!(%authority, "a WebSocket handshake is sent to a host that is not listed");
        Refuse::forbidden("the host of the request is not one of this server's").into()
    }
}

/// An entry of [`AllowHosts`] that is no host. Its `Display` text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidHostPattern {
    entry: String,
    fault: Fault,
}

impl fmt::Display for InvalidHostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.fault {
            Fault::Host => "write host or host:port, an IPv6 address in brackets",
            Fault::NotAscii => "write the host in its ASCII form, which begins with xn--",
            Fault::Port => "a port is a number from 1 to 65535",
            Fault::Url => "write the host and the port alone, without scheme and path",
            Fault::Wildcard => "write each host, as there are no wildcards",
        };
        write!(f, "{:?} is not a host to allow: {advice}", self.entry)
    }
}

impl Error for InvalidHostPattern {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Host,
    NotAscii,
    Port,
    Url,
    Wildcard,
}

#[derive(Clone, Debug)]
struct Pattern {
    host: String,
    port: Option<u16>,
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, Fault> {
        if !entry.is_ascii() {
            return Err(Fault::NotAscii);
        }
        if entry.contains('/') {
            return Err(Fault::Url);
        }
        if entry.contains('*') {
            return Err(Fault::Wildcard);
        }
        let (host, port) = split(entry).ok_or(Fault::Host)?;
        let host = normalize(host, is_dns_name).ok_or(Fault::Host)?;
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits).ok_or(Fault::Port)?),
        };
        Ok(Self { host, port })
    }

    /// A request that names no port goes to the default port of its scheme, and to either default port
    /// where the scheme is not known.
    fn matches(&self, authority: &Authority, scheme: Option<&str>) -> bool {
        self.host == authority.host()
            && self.port.is_none_or(|port| match (authority.port(), scheme) {
                (Some(named), _) => named == port,
                (None, Some(scheme)) => default_port(scheme) == Some(port),
                (None, None) => matches!(port, 80 | 443),
            })
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::policy::tests::{attempt, decide, http2, refused};

    fn accepts(policy: &AllowHosts, attempt: &Attempt) -> bool {
        let decision = decide(policy, attempt);
        if decision.is_accept() {
            return true;
        }
        assert_eq!(refused(&decision), StatusCode::FORBIDDEN);
        false
    }

    /// S-02
    #[test]
    fn an_entry_matches_its_host_and_port_or_every_port() {
        let table = [
            ("localhost", "localhost", true),
            ("localhost", "LOCALHOST:3000", true),
            ("LocalHost:3000", "localhost:3000", true),
            ("[0::1]", "[::1]:3000", true),
            ("[::1]:3000", "[0:0:0:0:0:0:0:1]:3000", true),
            ("127.0.0.1", "127.0.0.1:80", true),
            ("example.com:443", "example.com", true),
            ("example.com:80", "example.com", true),
            ("localhost:3000", "localhost", false),
            ("localhost:3000", "localhost:3001", false),
            ("localhost", "localhost.evil.example", false),
            ("localhost", "evil.example", false),
            ("localhost", "127.0.0.1", false),
            ("localhost", "notlocalhost", false),
            ("127.0.0.1", "127.0.0.1.evil.example", false),
            ("example.com", "a.example.com", false),
            ("example.com", "example.com.", false),
        ];
        for (entry, host, allowed) in table {
            let policy = AllowHosts::new([entry]).unwrap();
            assert_eq!(accepts(&policy, &attempt(&[("host", host)])), allowed, "{entry} {host}");
        }
    }

    /// E-06: the port of an authority without one is known where the scheme is.
    #[test]
    fn the_authority_of_http2_counts_with_its_schemes_port() {
        let policy = AllowHosts::new(["example.com:443"]).unwrap();
        assert!(accepts(&policy, &http2("https://example.com/", &[])));
        assert!(!accepts(&policy, &http2("http://example.com/", &[])));
        assert!(accepts(&policy, &http2("http://example.com:443/", &[])));
    }

    #[test]
    fn only_the_listed_are_allowed_and_an_empty_list_allows_none() {
        let loopback = AllowHosts::loopback();
        for host in ["localhost:3000", "127.0.0.1", "[::1]:1"] {
            assert!(accepts(&loopback, &attempt(&[("host", host)])), "{host}");
        }
        assert!(!accepts(&loopback, &attempt(&[("host", "evil.example")])));
        let empty = AllowHosts::new(Vec::<String>::new()).unwrap();
        assert!(!accepts(&empty, &attempt(&[("host", "localhost")])));
    }

    #[test]
    fn an_entry_that_is_no_host_is_refused_with_advice() {
        let table = [
            ("", Fault::Host),
            (":80", Fault::Host),
            ("::1", Fault::Host),
            ("[::1", Fault::Host),
            ("[::1]x", Fault::Host),
            ("me@example.com", Fault::Host),
            ("example..com", Fault::Host),
            (".example.com", Fault::Host),
            ("a b", Fault::Host),
            ("a,b", Fault::Host),
            ("localhost:", Fault::Port),
            ("localhost:0", Fault::Port),
            ("localhost:65536", Fault::Port),
            ("localhost:http", Fault::Port),
            ("localhost:80:80", Fault::Port),
            ("http://localhost", Fault::Url),
            ("localhost/", Fault::Url),
            ("*", Fault::Wildcard),
            ("*.example.com", Fault::Wildcard),
            ("localhost:*", Fault::Wildcard),
            ("bücher.example", Fault::NotAscii),
        ];
        for (entry, fault) in table {
            let error = AllowHosts::new(["localhost", entry]).unwrap_err();
            assert_eq!(error.fault, fault, "{entry}");
            assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        }
    }
}
