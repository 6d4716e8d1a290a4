//! Where a handshake goes to: a host and a port (RFC 3986, section 3.2).

use std::{fmt, net::Ipv6Addr};

use http::{HeaderMap, Uri, header};

/// The host and port that a handshake is sent to.
///
/// It is normalised: the host in lowercase, an IPv6 address in its canonical form. Compare it by
/// [`host`](Self::host) and [`port`](Self::port), or as a whole by `==`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port if the request names one; `None` stands for the default port of the scheme.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Reads `host[:port]`. User information is none of it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = split(text)?;
        let host = normalize(host, is_reg_name)?;
        let port = match port {
            // A colon alone stands for the default port.
            None | Some("") => None,
            Some(digits) => Some(parse_digits(digits)?),
        };
        Some(Self { host, port })
    }

    /// The authority of a target in absolute form or of `:authority` if there is one, else `Host`
    /// (RFC 9112, section 3.3).
    pub(super) fn effective(uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        if let Some(authority) = uri.authority() {
            return Self::parse(authority.as_str());
        }
        let mut lines = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (lines.next(), lines.next()) else {
            return None;
        };
        Self::parse(host.to_str().ok()?.trim_matches([' ', '\t']))
    }

    /// What stands for a handshake without a valid authority: a host that is equal to none.
    pub(super) fn unknown() -> Self {
        Self { host: String::new(), port: None }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Cuts `host[:port]` behind the host.
pub(super) fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let end = if text.starts_with('[') {
        text.find(']')? + 1
    } else {
        text.bytes().position(|byte| byte == b':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at(end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// The host in lowercase, an IPv6 address in canonical form; `None` if it is not a host.
pub(super) fn normalize(host: &str, is_name: fn(&str) -> bool) -> Option<String> {
    if let Some(literal) = host.strip_prefix('[') {
        let address: Ipv6Addr = literal.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    is_name(host).then(|| host.to_ascii_lowercase())
}

/// Whether `host` is a name as it stands in DNS, or an IPv4 address: labels of letters, digits, `-`
/// and `_`, none of them empty but a last one.
pub(super) fn is_dns_name(host: &str) -> bool {
    let mut in_label = false;
    for byte in host.bytes() {
        in_label = match byte {
            b'.' if in_label => false,
            b'-' | b'_' => true,
            _ if byte.is_ascii_alphanumeric() => true,
            _ => return false,
        };
    }
    !host.is_empty()
}

/// A port as it is written in a configuration and in an origin: 1 to 65535, without a leading zero.
pub(super) fn parse_port(text: &str) -> Option<u16> {
    if text.starts_with('0') { None } else { parse_digits(text) }
}

fn parse_digits(text: &str) -> Option<u16> {
    // `u16::from_str` alone would take a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether `host` is a registered name as RFC 3986 has it, and not empty. It is wider than
/// [`is_dns_name`], so that all that the handshake lets through has an authority.
fn is_reg_name(host: &str) -> bool {
    !host.is_empty()
        && host.bytes().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.'
                        | b'_'
                        | b'~'
                        | b'!'
                        | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b','
                        | b';'
                        | b'='
                        | b'%'
                )
        })
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// O-06, H-02
    #[test]
    fn an_authority_is_normalised() {
        let table = [
            ("example.com", Some(("example.com", None))),
            ("EXAMPLE.com:8080", Some(("example.com", Some(8080)))),
            ("example.com:", Some(("example.com", None))),
            ("127.0.0.1:80", Some(("127.0.0.1", Some(80)))),
            ("[0:0:0:0:0:0:0:1]:3000", Some(("[::1]", Some(3000)))),
            ("[2001:DB8::1]", Some(("[2001:db8::1]", None))),
            ("my_host.", Some(("my_host.", None))),
            ("", None),
            (":80", None),
            ("user@example.com", None),
            ("example.com:80:80", None),
            ("example.com:+80", None),
            ("example.com:65536", None),
            ("example.com/", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[::1]x:80", None),
            ("[fe80::1%25eth0]", None),
            ("[example.com]", None),
        ];
        for (text, expected) in table {
            let authority = Authority::parse(text);
            let found = authority.as_ref().map(|found| (found.host(), found.port()));
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_dns_name_has_no_empty_label_but_the_last() {
        for name in ["a", "a.b", "a.b.", "A-1_.x", "127.0.0.1", "-", "xn--a"] {
            assert!(is_dns_name(name), "{name}");
        }
        for name in ["", ".", "..", ".a", "a..", "a..b", "a b", "a:1", "a/", "%61", "\u{e4}", "a."]
        {
            assert_eq!(is_dns_name(name), name == "a.", "{name}");
        }
    }

    /// H-16, E-06: a target's authority comes before `Host`, and of two `Host` lines neither counts.
    #[test]
    fn the_effective_authority_is_the_targets_or_else_the_only_host() {
        let table: [(&str, &[&'static str], Option<&str>); 6] = [
            ("/chat", &["a.example:1"], Some("a.example:1")),
            ("/chat", &[" a.example\t"], Some("a.example")),
            ("http://b.example:2/chat", &["a.example:1"], Some("b.example:2")),
            ("https://b.example/chat", &[], Some("b.example")),
            ("/chat", &[], None),
            ("/chat", &["a.example", "b.example"], None),
        ];
        for (uri, hosts, expected) in table {
            let name = |host: &&'static str| (header::HOST, HeaderValue::from_static(host));
            let mut headers = HeaderMap::new();
            for (name, host) in hosts.iter().map(name) {
                headers.append::<HeaderName>(name, host);
            }
            let found = Authority::effective(&uri.parse().unwrap(), &headers);
            assert_eq!(
                found.map(|found| found.to_string()).as_deref(),
                expected,
                "{uri} {hosts:?}"
            );
        }
    }
}
