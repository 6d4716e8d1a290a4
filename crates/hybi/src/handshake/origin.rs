//! The `Origin` that a client sends, in its normal form (RFC 6454, section 6.2).

use url::Url;

/// `scheme://host[:port]` in lowercase, with the host in ASCII and without a default port; `null` as it
/// is. `None` for what is not the origin of a page.
pub(super) fn normalize(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !bare || matches!(url.scheme(), "ws" | "wss" | "file") {
        return None;
    }
    // Hosts behind a scheme that the parser does not know stay as they are written.
    let host = url.host_str().filter(|host| !host.is_empty())?.to_ascii_lowercase();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{host}{port}", url.scheme()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// O-09
    #[test]
    fn an_origin_is_sent_in_its_normal_form() {
        let table = [
            ("https://example.com", "https://example.com"),
            ("HTTPS://EXAMPLE.COM", "https://example.com"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("http://example.com:80/", "http://example.com"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("https://B\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("http://[2001:DB8:0::1]:81", "http://[2001:db8::1]:81"),
            ("chrome-extension://ABCdef", "chrome-extension://abcdef"),
            ("tauri://localhost:9", "tauri://localhost:9"),
            ("null", "null"),
        ];
        for (text, normal) in table {
            assert_eq!(normalize(text).as_deref(), Some(normal), "{text}");
        }
    }

    /// O-09
    #[test]
    fn what_is_not_the_origin_of_a_page_is_refused() {
        let table = [
            "",
            "example.com",
            "NULL",
            "https://",
            "https://a.example/path",
            "https://a.example?x",
            "https://a.example#x",
            "https://u@a.example",
            "https://u:p@a.example",
            "https://a.example https://b.example",
            "ws://a.example",
            "wss://a.example",
            "file:///etc/passwd",
            "data:text/plain,x",
            "about:blank",
        ];
        for text in table {
            assert_eq!(normalize(text), None, "{text}");
        }
    }
}
