//! The `host[:port]` of `Host` and of a request's target (RFC 9112, section 3.2; RFC 3986, section
//! 3.2).

use std::net::Ipv6Addr;

use http::{Uri, uri::Scheme};

use super::{HandshakeError, fields::Field, list};

/// Checks what an HTTP/1.1 request says about where it goes.
///
/// An absolute-form target is used instead of `Host`, which must be there all the same.
pub(super) fn check_upgrade(uri: &Uri, host: Field<'_>) -> Result<(), HandshakeError> {
    match (uri.scheme(), uri.authority()) {
        (None, None) => {}
        (Some(scheme), Some(authority)) => {
            check_scheme(scheme)?;
            HostPort::parse(authority.as_str().as_bytes())
                .ok_or(HandshakeError::InvalidAuthority)?;
        }
        // The authority-form, which only a plain CONNECT may have.
        _ => return Err(HandshakeError::InvalidTarget),
    }
    check_path(uri)?;
    host_field(host)?.ok_or(HandshakeError::MissingHost)?;
    Ok(())
}

/// Checks what an extended CONNECT says about where it goes.
pub(super) fn check_extended_connect(uri: &Uri, host: Field<'_>) -> Result<(), HandshakeError> {
    let authority = uri.authority().ok_or(HandshakeError::MissingAuthority)?;
    let scheme = uri.scheme().ok_or(HandshakeError::InvalidScheme)?;
    check_scheme(scheme)?;
    check_path(uri)?;
    let authority =
        HostPort::parse(authority.as_str().as_bytes()).ok_or(HandshakeError::InvalidAuthority)?;
    match host_field(host)? {
        Some(host) if !host.is_same(&authority, scheme) => Err(HandshakeError::HostMismatch),
        _ => Ok(()),
    }
}

fn check_scheme(scheme: &Scheme) -> Result<(), HandshakeError> {
    if *scheme == Scheme::HTTP || *scheme == Scheme::HTTPS {
        Ok(())
    } else {
        Err(HandshakeError::InvalidScheme)
    }
}

fn check_path(uri: &Uri) -> Result<(), HandshakeError> {
    if uri.path().starts_with('/') { Ok(()) } else { Err(HandshakeError::InvalidTarget) }
}

/// The one `Host` field, if there is one.
fn host_field(host: Field<'_>) -> Result<Option<HostPort<'_>>, HandshakeError> {
    let line = match host {
        Field::Absent => return Ok(None),
        Field::One(line) => line,
        Field::Several => return Err(HandshakeError::RepeatedHost),
    };
    let host = HostPort::parse(list::trim(line.as_bytes())).ok_or(HandshakeError::InvalidHost)?;
    Ok(Some(host))
}

/// A host and the port that is written behind it.
struct HostPort<'a> {
    host: &'a [u8],
    port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads `host[:port]`; user information, an empty host and a port past 65535 are none.
    fn parse(authority: &'a [u8]) -> Option<Self> {
        let end = if authority.first() == Some(&b'[') {
            let end = authority.iter().position(|&byte| byte == b']')?;
            let literal = str::from_utf8(&authority[1..end]).ok()?;
            literal.parse::<Ipv6Addr>().ok()?;
            end + 1
        } else {
            reg_name_len(authority)?
        };
        let (host, rest) = authority.split_at(end);
        let port = match rest {
            // A colon alone stands for the default port (RFC 3986, section 3.2.3).
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            _ => return None,
        };
        Some(Self { host, port })
    }

    fn is_same(&self, other: &Self, scheme: &Scheme) -> bool {
        let default = if *scheme == Scheme::HTTPS { 443 } else { 80 };
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    // `u16::from_str` would take a plus sign, and read text.
    let mut port = 0_u16;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        port = port.checked_mul(10)?.checked_add(value.into())?;
    }
    Some(port)
}

/// How much of `text` is a registered name or an IPv4 address; `None` for nothing of it, and for an
/// escape that is none.
fn reg_name_len(text: &[u8]) -> Option<usize> {
    const UNESCAPED: [bool; 256] = list::alphanumeric_or(b"-._~!$&'()*+,;=");
    let mut len = 0;
    while let Some(&byte) = text.get(len) {
        match text[len..] {
            _ if UNESCAPED[usize::from(byte)] => len += 1,
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                len += 3;
            }
            [b'%', ..] => return None,
            _ => break,
        }
    }
    (len > 0).then_some(len)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};
    use proptest::prelude::*;

    use super::{super::fields::Fields, *};

    fn hosts(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::HOST, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn check_upgrade(uri: &Uri, headers: &HeaderMap) -> Result<(), HandshakeError> {
        super::check_upgrade(uri, Fields::of(headers).host)
    }

    fn check_extended_connect(uri: &Uri, headers: &HeaderMap) -> Result<(), HandshakeError> {
        super::check_extended_connect(uri, Fields::of(headers).host)
    }

    /// H-02
    #[test]
    fn an_upgrade_has_exactly_one_valid_host() {
        let good: [&[u8]; 10] = [
            b"example.com",
            b"EXAMPLE.com:8080",
            b" example.com ",
            b"example.com:",
            b"example.com.",
            b"127.0.0.1:1",
            b"[::1]",
            b"[2001:db8::1]:65535",
            b"my_host",
            b"a%2db",
        ];
        for host in good {
            let checked = check_upgrade(&Uri::from_static("/"), &hosts(&[host]));
            assert_eq!(checked, Ok(()), "{}", host.escape_ascii());
        }
        let bad: [&[u8]; 21] = [
            b"",
            b":80",
            b"user@example.com",
            b"user:pass@example.com",
            b"example.com:80:80",
            b"example.com:+80",
            b"example.com:65536",
            b"example.com:http",
            b"example.com, other.example",
            b"example.com/path",
            b"example com",
            b"http://example.com",
            b"example.com?",
            b"example.com#",
            b"ex%zzmple.com",
            b"example%2",
            b"::1",
            b"[::1",
            b"[::1]x",
            b"[fe80::1%25eth0]",
            b"b\xc3\xbccher.example",
        ];
        for host in bad {
            let checked = check_upgrade(&Uri::from_static("/"), &hosts(&[host]));
            assert_eq!(checked, Err(HandshakeError::InvalidHost), "{}", host.escape_ascii());
        }
        let uri = Uri::from_static("/");
        assert_eq!(check_upgrade(&uri, &hosts(&[])), Err(HandshakeError::MissingHost));
        assert_eq!(check_upgrade(&uri, &hosts(&[b"a", b"a"])), Err(HandshakeError::RepeatedHost));
    }

    /// H-16: an absolute-form target replaces `Host`, which is checked all the same.
    #[test]
    fn an_upgrade_may_have_an_absolute_target() {
        let table = [
            ("http://a.example/chat", Ok(())),
            ("https://a.example:8443/chat?x", Ok(())),
            ("http://a.example", Ok(())),
            ("ws://a.example/chat", Err(HandshakeError::InvalidScheme)),
            ("wss://a.example/chat", Err(HandshakeError::InvalidScheme)),
            ("http://user@a.example/chat", Err(HandshakeError::InvalidAuthority)),
            ("a.example:80", Err(HandshakeError::InvalidTarget)),
            ("*", Err(HandshakeError::InvalidTarget)),
        ];
        for (uri, expected) in table {
            let checked = check_upgrade(&uri.parse().unwrap(), &hosts(&[b"b.example"]));
            assert_eq!(checked, expected, "{uri}");
        }
        let uri = Uri::from_static("http://a.example/chat");
        assert_eq!(check_upgrade(&uri, &hosts(&[])), Err(HandshakeError::MissingHost));
        assert_eq!(check_upgrade(&uri, &hosts(&[b"b b"])), Err(HandshakeError::InvalidHost));
    }

    /// E-05, E-06, E-08
    #[test]
    fn an_extended_connect_has_scheme_path_and_authority_and_no_other_host() {
        type Row = (&'static str, &'static [&'static [u8]], Result<(), HandshakeError>);
        let table: [Row; 16] = [
            ("https://a.example/chat", &[], Ok(())),
            ("http://a.example/chat", &[b"a.example"], Ok(())),
            ("https://a.example/chat", &[b"A.example:443"], Ok(())),
            ("https://a.example:443/chat", &[b"a.example"], Ok(())),
            ("http://a.example:80/chat", &[b"a.example:"], Ok(())),
            ("https://[::1]:1/chat", &[b"[::1]:1"], Ok(())),
            ("https://a.example/", &[b"b.example"], Err(HandshakeError::HostMismatch)),
            ("https://a.example/", &[b"a.example:80"], Err(HandshakeError::HostMismatch)),
            ("https://a.example:444/", &[b"a.example"], Err(HandshakeError::HostMismatch)),
            (
                "https://a.example/",
                &[b"a.example", b"a.example"],
                Err(HandshakeError::RepeatedHost),
            ),
            ("https://a.example/", &[b"a example"], Err(HandshakeError::InvalidHost)),
            ("wss://a.example/", &[], Err(HandshakeError::InvalidScheme)),
            ("ws://a.example/", &[], Err(HandshakeError::InvalidScheme)),
            ("a.example:443", &[], Err(HandshakeError::InvalidScheme)),
            ("/chat", &[b"a.example"], Err(HandshakeError::MissingAuthority)),
            ("https://me@a.example/", &[], Err(HandshakeError::InvalidAuthority)),
        ];
        for (uri, lines, expected) in table {
            let checked = check_extended_connect(&uri.parse().unwrap(), &hosts(lines));
            assert_eq!(checked, expected, "{uri} {lines:?}");
        }
    }

    proptest! {
        #[test]
        fn reading_an_authority_never_panics(bytes: Vec<u8>, text in "[\\[\\]:%a0@.]{0,12}") {
            let _ = HostPort::parse(&bytes);
            let _ = HostPort::parse(text.as_bytes());
        }
    }
}
