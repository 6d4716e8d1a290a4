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
