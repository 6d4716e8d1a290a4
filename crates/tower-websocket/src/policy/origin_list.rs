//! Pages of listed origins.

use std::{borrow::Cow, error::Error, fmt};

use super::{
    Attempt, OriginCheck, Refuse, TupleOrigin,
    authority::{is_dns_name, parse_port, split},
    origin::{normalize_scheme, without_default},
};

/// Accepts pages of the listed origins, and no others: not even those of the server itself, unless
/// they are listed.
///
/// An entry is an origin, or `scheme://*.domain[:port]`, which stands for every host below the domain
/// and not for the domain itself. Both are compared as a whole, by scheme, host and port (RFC 6454,
/// section 5). All other origins are refused with 403: so is every one if the list is empty, `null`, and
/// an `Origin` that is repeated or malformed.
///
/// ```
/// use tower_websocket::policy::AllowOrigins;
///
/// let policy = AllowOrigins::new(["https://example.com", "https://*.example.com:8443"])?;
/// assert!(AllowOrigins::new(["wss://example.com"]).is_err());
/// # let _ = policy;
/// # Ok::<(), tower_websocket::policy::InvalidOriginPattern>(())
/// ```
///
/// Below a domain is everyone who may have a name there. Do not list a domain of which strangers get
/// names.
#[derive(Clone, Debug)]
#[must_use]
pub struct AllowOrigins {
    patterns: Vec<Pattern>,
}

impl AllowOrigins {
    /// Allows these origins.
    ///
    /// # Errors
    ///
    /// When an entry is no origin. The error says what to write instead.
    pub fn new<I>(entries: I) -> Result<Self, InvalidOriginPattern>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let parse = |entry: I::Item| {
            let entry = entry.as_ref();
            Pattern::parse(entry)
                .map_err(|fault| InvalidOriginPattern { entry: entry.to_owned(), fault })
        };
        let patterns = entries.into_iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }
}

impl OriginCheck for AllowOrigins {
    fn check(&self, attempt: &Attempt) -> Result<(), Refuse> {
        let Some(origin) = attempt.origin().to_compare()? else { return Ok(()) };
        if self.patterns.iter().any(|pattern| pattern.matches(origin)) {
            return Ok(());
        }
        tracing::debug!(%origin, "a page of an origin that is not listed asks for a WebSocket");
        Err(Refuse::forbidden("the Origin is not one that this server allows"))
    }
}

/// An entry of [`AllowOrigins`] that is no origin. Its `Display` text says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOriginPattern {
    entry: String,
    fault: Fault,
}

impl fmt::Display for InvalidOriginPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let advice = match self.fault {
            Fault::Any => "to allow every origin, use `DangerouslyAnyOrigin`",
            Fault::Host => "write scheme://host or scheme://host:port",
            Fault::MissingScheme => "write the scheme of the page too, as in https://example.com",
            Fault::NotAscii => "write the host in its ASCII form, which begins with xn--",
            Fault::Null => "`null` is no origin: it stands for every page that has none",
            Fault::Path => "an origin ends with the host or the port, without a slash",
            Fault::Port => "a port is a number from 1 to 65535",
            Fault::UserInformation => "an origin has no user name",
            Fault::WebSocketScheme => {
                "an origin has the scheme of the page, http or https, not that of the WebSocket"
            }
            Fault::Wildcard => {
                "a wildcard stands for whole labels in front of a domain, as in https://*.example.com"
            }
        };
        write!(f, "{:?} is not an origin to allow: {advice}", self.entry)
    }
}

impl Error for InvalidOriginPattern {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Any,
    Host,
    MissingScheme,
    NotAscii,
    Null,
    Path,
    Port,
    UserInformation,
    WebSocketScheme,
    Wildcard,
}

#[derive(Clone, Debug)]
enum Pattern {
    Exact(TupleOrigin),
    /// All hosts that end with `suffix`, a domain with a dot in front.
    Below {
        scheme: Cow<'static, str>,
        suffix: String,
        port: Option<u16>,
    },
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, Fault> {
        match entry {
            "*" => return Err(Fault::Any),
            "null" => return Err(Fault::Null),
            _ if !entry.is_ascii() => return Err(Fault::NotAscii),
            _ => {}
        }
        let (scheme, rest) = entry.split_once("://").ok_or(Fault::MissingScheme)?;
        let scheme = normalize_scheme(scheme).ok_or(Fault::MissingScheme)?;
        if matches!(&*scheme, "ws" | "wss") {
            return Err(Fault::WebSocketScheme);
        }
        if rest.contains(['/', '?', '#']) {
            return Err(Fault::Path);
        }
        if rest.contains('@') {
            return Err(Fault::UserInformation);
        }
        let (host, port) = split(rest).ok_or(Fault::Host)?;
        let is_wildcard = host.contains('*');
        let domain = host.strip_prefix("*.").unwrap_or_default();
        if is_wildcard && (!is_dns_name(domain) || is_ipv4_like(domain)) {
            return Err(Fault::Wildcard);
        }
        let port = match port {
            None => None,
            Some(digits) => Some(parse_port(digits).ok_or(Fault::Port)?),
        };
        if is_wildcard {
            let port = without_default(&scheme, port);
            Ok(Self::Below { scheme, suffix: format!(".{}", domain.to_ascii_lowercase()), port })
        } else {
            TupleOrigin::parse(entry).map(Self::Exact).ok_or(Fault::Host)
        }
    }

    fn matches(&self, origin: &TupleOrigin) -> bool {
        match self {
            Self::Exact(exact) => exact == origin,
            Self::Below { scheme, suffix, port } => {
                // The host of an origin never begins with a dot, so that there is a label in front.
                origin.host().ends_with(suffix.as_str())
                    && scheme == origin.scheme()
                    && *port == without_default(scheme, origin.port())
            }
        }
    }
}

/// Whether the last label is a number, which no domain has, and nothing is below an address.
fn is_ipv4_like(domain: &str) -> bool {
    let last = domain.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
    last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::{attempt, checked};

    fn accepts(list: &AllowOrigins, origin: &str) -> bool {
        checked(list, &attempt(&[("host", "example.com"), ("origin", origin)]))
    }

    /// O-06
    #[test]
    fn an_entry_matches_its_scheme_host_and_port_and_nothing_else() {
        let table = [
            ("https://example.com", "https://example.com", true),
            ("HTTPS://Example.com:443", "https://example.com", true),
            ("https://example.com", "https://EXAMPLE.com:443", true),
            ("http://[0::1]:3000", "http://[::1]:3000", true),
            ("chrome-extension://abcdef", "chrome-extension://abcdef", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com:8443", "https://example.com", false),
            ("https://example.com", "https://a.example.com", false),
            ("https://example.com", "https://example.com.evil.example", false),
            ("https://example.com", "https://evil-example.com", false),
            ("https://example.com", "https://examplexcom", false),
            ("https://example.com", "https://example.co", false),
            ("https://example.com", "https://example.com.", false),
            ("https://example.com", "wss://example.com", false),
            ("http://localhost:3000", "http://127.0.0.1:3000", false),
        ];
        for (entry, origin, allowed) in table {
            let policy = AllowOrigins::new([entry]).unwrap();
            assert_eq!(accepts(&policy, origin), allowed, "{entry} {origin}");
        }
    }

    /// O-06
    #[test]
    fn a_wildcard_covers_whole_labels_below_the_domain() {
        let table = [
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://b.a.example.com", true),
            ("https://*.EXAMPLE.com:443", "https://A.example.com", true),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://badexample.com", false),
            ("https://*.example.com", "https://.example.com", false),
            ("https://*.example.com", "https://a.examplexcom", false),
            ("https://*.example.com", "https://a.example.com.evil.example", false),
            ("https://*.example.com", "https://a.example.com.", false),
            ("https://*.example.com", "http://a.example.com", false),
            ("https://*.example.com", "http://a.example.com:443", false),
            ("https://*.example.com", "https://a.example.com:8443", false),
            ("https://*.example.com:8443", "https://a.example.com", false),
        ];
        for (entry, origin, allowed) in table {
            let policy = AllowOrigins::new([entry]).unwrap();
            assert_eq!(accepts(&policy, origin), allowed, "{entry} {origin}");
        }
    }

    /// O-03 (origins are compared): the list replaces the check of the same origin.
    #[test]
    fn only_the_listed_are_allowed_and_an_empty_list_allows_none() {
        let policy = AllowOrigins::new(["https://a.example", "https://b.example"]).unwrap();
        assert!(accepts(&policy, "https://a.example") && accepts(&policy, "https://b.example"));
        assert!(!accepts(&policy, "https://example.com"), "the server's own");

        let empty = AllowOrigins::new(Vec::<String>::new()).unwrap();
        assert!(!accepts(&empty, "https://example.com") && !accepts(&empty, "null"));
    }

    /// O-05, O-07
    #[test]
    fn null_and_malformed_origins_are_refused() {
        let policy = AllowOrigins::new(["https://a.example", "https://*.a.example"]).unwrap();
        for origin in ["null", "", "https://a.example/", "https://*.a.example", "a.example"] {
            assert!(!accepts(&policy, origin), "{origin}");
        }
        let twice = attempt(&[("origin", "https://a.example"), ("origin", "https://a.example")]);
        assert!(!checked(&policy, &twice));
    }

    /// O-06: a mistake in the list fails when the server starts, and never open.
    #[test]
    fn an_entry_that_is_no_origin_is_refused_with_advice() {
        let table = [
            ("*", Fault::Any),
            ("null", Fault::Null),
            ("", Fault::MissingScheme),
            ("example.com", Fault::MissingScheme),
            ("//example.com", Fault::MissingScheme),
            ("*://example.com", Fault::MissingScheme),
            (" https://example.com", Fault::MissingScheme),
            ("ws://example.com", Fault::WebSocketScheme),
            ("WSS://example.com", Fault::WebSocketScheme),
            ("https://example.com/", Fault::Path),
            ("https://example.com/chat", Fault::Path),
            ("https://example.com?x", Fault::Path),
            ("file:///", Fault::Path),
            ("https://me@example.com", Fault::UserInformation),
            ("https://example.com:", Fault::Port),
            ("https://example.com:0", Fault::Port),
            ("https://example.com:65536", Fault::Port),
            ("https://example.com:*", Fault::Port),
            ("https://", Fault::Host),
            ("file://", Fault::Host),
            ("https://example.com https://b.example", Fault::Path),
            ("https://exa mple.com", Fault::Host),
            ("https://example..com", Fault::Host),
            ("https://[::1", Fault::Host),
            ("https://[example.com]", Fault::Host),
            ("https://*", Fault::Wildcard),
            ("https://*.", Fault::Wildcard),
            ("https://*example.com", Fault::Wildcard),
            ("https://a.*.example.com", Fault::Wildcard),
            ("https://*.*.example.com", Fault::Wildcard),
            ("https://*.0.0.1", Fault::Wildcard),
            ("https://*.[::1]", Fault::Wildcard),
            ("https://bücher.example", Fault::NotAscii),
        ];
        for (entry, fault) in table {
            let error = AllowOrigins::new(["https://good.example", entry]).unwrap_err();
            assert_eq!(error.fault, fault, "{entry}");
            assert!(error.to_string().contains(&format!("{entry:?}")), "{error}");
        }
    }
}
