//! What the stock policies promise together, and what the tests of this module share.

use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper::ext::Protocol;

use super::*;

/// An HTTP/1.1 handshake with these fields, and a `Host` if there is none among them.
pub(super) fn get(fields: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.version_mut() = Version::HTTP_11;
    let due = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    append(&mut request, &due);
    append(&mut request, fields);
    if !request.headers().contains_key(header::HOST) {
        append(&mut request, &[("host", "example.com")]);
    }
    request
}

/// An HTTP/2 handshake to `uri` with these fields.
pub(super) fn connect(uri: &str, fields: &[(&'static str, &str)]) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = Method::CONNECT;
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri.parse().unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    append(&mut request, &[("sec-websocket-version", "13")]);
    append(&mut request, fields);
    request
}

pub(super) fn attempt(fields: &[(&'static str, &str)]) -> Attempt {
    Attempt::from_request(&get(fields)).unwrap()
}

pub(super) fn http2(uri: &str, fields: &[(&'static str, &str)]) -> Attempt {
    Attempt::from_request(&connect(uri, fields)).unwrap()
}

/// The decision of a policy that does not wait.
pub(super) fn decide(policy: &impl Policy, attempt: &Attempt) -> Decision {
    policy.decide(attempt).now_or_never().expect("the policy decides at once")
}

/// Whether the page is accepted; others are answered with 403.
pub(super) fn checked(check: &impl OriginCheck, attempt: &Attempt) -> bool {
    check
        .check(attempt)
        .map_err(|refuse| assert_eq!(refuse.status(), StatusCode::FORBIDDEN))
        .is_ok()
}

/// The status of a refusal.
pub(super) fn refused(decision: &Decision) -> StatusCode {
    match decision {
        Decision::Refuse(refuse) => refuse.status(),
        other => panic!("not refused: {other:?}"),
    }
}

fn append(request: &mut Request<()>, fields: &[(&'static str, &str)]) {
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
}

/// What an attacker's page or its network sends, against each way to configure a server.
///
/// The server is reached as `https://app.example.com`. O-02 to O-07, S-02.
#[test]
fn hijackers_of_other_sites_are_refused_by_every_check_of_origins() {
    let same = SameOrigin::new().scheme(http::uri::Scheme::HTTPS);
    let list = AllowOrigins::new(["https://app.example.com"]).unwrap();
    let table = [
        ("other_site", "https://evil.example"),
        ("suffix_trick", "https://app.example.com.evil.example"),
        ("suffix_trick_glued", "https://evil-app.example.com"),
        ("prefix_trick", "https://app.example.co"),
        ("prefix_trick_short", "https://app.example"),
        ("subdomain", "https://x.app.example.com"),
        ("parent_domain", "https://example.com"),
        ("sibling", "https://blog.example.com"),
        ("scheme_downgrade", "http://app.example.com"),
        ("scheme_downgrade_port", "http://app.example.com:443"),
        ("websocket_scheme", "wss://app.example.com"),
        ("port_mismatch", "https://app.example.com:8443"),
        ("port_of_http", "https://app.example.com:80"),
        ("dot_wildcard", "https://appxexample.com"),
        ("star", "*"),
        ("null", "null"),
        ("null_upper", "NULL"),
        ("file_scheme", "file://"),
        ("file_scheme_host", "file://app.example.com"),
        ("empty", ""),
        ("port_junk", "http://a:b"),
        ("port_junk_right_host", "https://app.example.com:b"),
        ("port_empty", "https://app.example.com:"),
        ("ipv6_loopback", "http://[::1]"),
        ("ipv4_loopback", "http://127.0.0.1"),
        ("localhost", "http://localhost"),
        ("any_address", "http://0.0.0.0"),
        ("userinfo", "https://app.example.com@evil.example"),
        ("userinfo_reversed", "https://evil.example@app.example.com"),
        ("backslash", "https://evil.example\\.app.example.com"),
        ("path", "https://app.example.com/"),
        ("query", "https://app.example.com?https://evil.example"),
        ("list", "https://app.example.com https://evil.example"),
        ("comma_list", "https://app.example.com, https://evil.example"),
        ("non_ascii", "https://app.example.c\u{43e}m"),
        ("no_scheme", "app.example.com"),
        ("trailing_dot", "https://app.example.com."),
        ("extension", "chrome-extension://app.example.com"),
    ];
    let good = ("origin", "https://app.example.com");
    for (name, origin) in table {
        let fields = [("host", "app.example.com"), ("origin", origin)];
        let (h1, h2) = (attempt(&fields), http2("https://app.example.com/", &fields[1..]));
        let mut twice = fields.to_vec();
        twice.push(good);
        for attempt in [h1, h2, attempt(&twice)] {
            assert!(!checked(&same, &attempt) && !checked(&list, &attempt), "{name}");
        }
    }
    for attempt in
        [attempt(&[("host", "app.example.com"), good]), http2("https://app.example.com/", &[good])]
    {
        assert!(checked(&same, &attempt) && checked(&list, &attempt));
    }
}

/// `dns_rebinding_host`, `host_spoof_same_origin`: the attacker's page and the request agree, as the
/// name of the attacker's host resolves to this server. Only the list of hosts tells.
#[test]
fn dns_rebinding_is_stopped_by_the_list_of_hosts() {
    let rebound = [("host", "evil.example:3000"), ("origin", "http://evil.example:3000")];
    let own = [("host", "localhost:3000"), ("origin", "http://localhost:3000")];
    let mixed = [("host", "localhost:3000"), ("origin", "http://evil.example:3000")];

    assert!(checked(&SameOrigin::new(), &attempt(&rebound)), "documented");
    assert!(!checked(&SameOrigin::new(), &attempt(&mixed)));

    for policy in [AllowHosts::loopback(), AllowHosts::new(["localhost:3000"]).unwrap()] {
        assert_eq!(refused(&decide(&policy, &attempt(&rebound))), StatusCode::FORBIDDEN);
        assert!(decide(&policy, &attempt(&own)).is_accept());
        assert!(decide(&policy, &attempt(&[("host", "localhost:3000")])).is_accept());
        assert!(decide(&policy, &attempt(&[("host", "evil.example")])).is_refuse());
    }
}

/// O-03 (origins are compared): nothing but the ugly name lets every page in.
#[test]
fn the_default_check_refuses_pages_of_other_sites() {
    let evil = attempt(&[("origin", "https://evil.example")]);
    assert!(!checked(&SameOrigin::default(), &evil));
    assert!(checked(&DangerouslyAnyOrigin, &evil));
}

#[test]
fn policies_and_what_they_are_given_go_to_other_threads() {
    fn is_shared<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    is_shared::<Attempt>();
    is_shared::<Decision>();
    is_shared::<BoxPolicy>();
    is_shared::<And<Paths, Or<AllowHosts, Subprotocols>>>();
    is_shared::<EitherOrigin<SameOrigin, AllowOrigins>>();
    is_shared::<DangerouslyAnyOrigin>();
}
