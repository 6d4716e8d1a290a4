//! The heads of HTTP/1.1 messages as they are written (RFC 9112, sections 3 to 5).

use http::{HeaderMap, HeaderName, response};

/// The head of an answer, with its empty line.
pub(super) fn response_head(parts: &response::Parts) -> Vec<u8> {
    let reason = parts.status.canonical_reason().unwrap_or("");
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", parts.status.as_u16()).into_bytes();
    fields(&mut head, &parts.headers);
    head
}

/// The head of a request in origin form, with its empty line.
#[cfg(feature = "client")]
pub(super) fn request_head(parts: &http::request::Parts) -> Vec<u8> {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\n", parts.method).into_bytes();
    fields(&mut head, &parts.headers);
    head
}

/// The fields and the empty line behind them.
pub(super) fn fields(head: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        field_name(head, name);
        head.extend(b": ");
        head.extend(value.as_bytes());
        head.extend(b"\r\n");
    }
    head.extend(b"\r\n");
}

/// Writes the name in the usual spelling, because not every peer ignores the case of names.
fn field_name(head: &mut Vec<u8>, name: &HeaderName) {
    for (index, word) in name.as_str().split('-').enumerate() {
        if index > 0 {
            head.push(b'-');
        }
        match word {
            "websocket" => head.extend(b"WebSocket"),
            "www" => head.extend(b"WWW"),
            _ => {
                let start = head.len();
                head.extend(word.as_bytes());
                if let Some(first) = head.get_mut(start) {
                    first.make_ascii_uppercase();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Response, StatusCode};

    use super::*;

    ///
    #[test]
    fn an_answer_is_written_with_usual_names_and_every_line_of_a_field() {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        for (name, value) in [
            ("sec-websocket-accept", "x="),
            ("upgrade", "websocket"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
            ("www-authenticate", "Basic"),
            ("x--y-", ""),
        ] {
            parts.headers.append(name, HeaderValue::from_static(value));
        }
        let head = response_head(&parts);
        let head = str::from_utf8(&head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head:?}");
        assert!(head.ends_with("\r\n\r\n"));
        let mut lines: Vec<_> = head.trim_end_matches("\r\n").split("\r\n").skip(1).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "Sec-WebSocket-Accept: x=",
                "Set-Cookie: a",
                "Set-Cookie: b",
                "Upgrade: websocket",
                "WWW-Authenticate: Basic",
                "X--Y-: ",
            ]
        );
    }

    #[cfg(feature = "client")]
    #[test]
    fn a_request_is_written_in_origin_form() {
        let request = http::Request::get("ws://a.example:81/b?c=d").header("host", "a.example:81");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(request_head(&parts), b"GET /b?c=d HTTP/1.1\r\nHost: a.example:81\r\n\r\n");
    }
}
