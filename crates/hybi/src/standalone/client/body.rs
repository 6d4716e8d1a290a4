//! The start of the body of an answer that refuses (RFC 9112, sections 6 and 7).

use bytes::BufMut;
use http::{HeaderMap, Response, StatusCode, header};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout_at},
};

/// How many bytes may stand between the chunks of a body, above those that are kept.
const FRAMING: usize = 16 * 1024;

const CHUNK: usize = 4 * 1024;

/// Reads as much of the body as there is until the deadline, and keeps at most `most` bytes. `bytes`
/// is what was read of it already.
///
/// It is for people and logs, so what is cut short or malformed counts as far as it goes.
pub(super) async fn read_body<T: AsyncRead + Unpin>(
    io: &mut T,
    mut bytes: Vec<u8>,
    response: &Response<()>,
    most: usize,
    deadline: Instant,
) -> Vec<u8> {
    if matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Vec::new();
    }
    let chunked = is_chunked(response.headers());
    let wanted = if chunked {
        most.saturating_add(FRAMING)
    } else {
        most.min(content_length(response.headers()).unwrap_or(usize::MAX))
    };

    let mut chunks = Chunks::default();
    let read = async {
        while bytes.len() < wanted && !(chunked && chunks.are_over(&bytes)) {
            let room = CHUNK.min(wanted - bytes.len());
            let mut chunk = (&mut bytes).limit(room);
            if !matches!(io.read_buf(&mut chunk).await, Ok(1..)) {
                return;
            }
        }
    };
    let _ = timeout_at(deadline, read).await;

    if chunked {
        bytes = unchunk(&bytes);
    }
    bytes.truncate(most.min(wanted));
    bytes
}

/// Whether the body comes in chunks. Behind another last coding it ends with the connection.
fn is_chunked(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TRANSFER_ENCODING);
    lines.iter().next_back().is_some_and(|line| {
        let codings = line.as_bytes().to_ascii_lowercase();
        codings.trim_ascii_end().ends_with(b"chunked")
    })
}

fn content_length(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Follows the chunks of a body as they arrive.
#[derive(Default)]
struct Chunks {
    /// Where the next one begins.
    at: usize,
}

impl Chunks {
    /// Whether nothing of the body follows `bytes`, which are all from its beginning: there was the
    /// last chunk, behind which only fields come, or something that is no chunk.
    fn are_over(&mut self, bytes: &[u8]) -> bool {
        while let Some(rest) = bytes.get(self.at..) {
            let (begin, size) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete((_, 0))) | Err(_) => return true,
                Ok(httparse::Status::Complete(chunk)) => chunk,
                Ok(httparse::Status::Partial) => return false,
            };
            let end = begin.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
            match rest.get(end..) {
                Some([b'\r', b'\n', ..]) => self.at += end + 2,
                Some([_, _, ..]) => return true,
                _ => return false,
            }
        }
        false
    }
}

/// What is in the chunks, up to the end or the first that is malformed.
fn unchunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((begin, size))) = httparse::parse_chunk_size(bytes) {
        let rest = &bytes[begin..];
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 || size >= rest.len() {
            body.extend(&rest[..size.min(rest.len())]);
            break;
        }
        body.extend(&rest[..size]);
        bytes = rest[size..].strip_prefix(b"\r\n").unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    async fn read(fields: &[(&'static str, &'static str)], early: &str, late: &str) -> String {
        let mut response = Response::new(());
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        let deadline = Instant::now() + Duration::from_secs(1);
        let mut late = late.as_bytes();
        let body = read_body(&mut late, early.into(), &response, 10, deadline).await;
        String::from_utf8(body).unwrap()
    }

    /// C-07
    #[tokio::test]
    async fn a_body_is_read_to_its_length_its_last_chunk_or_the_limit() {
        let length = |length| [("content-length", length)];
        assert_eq!(read(&length("5"), "", "hello world").await, "hello");
        assert_eq!(read(&length("5"), "hello world", "").await, "hello");
        assert_eq!(read(&length("5"), "he", "llo").await, "hello");
        assert_eq!(read(&length("5"), "he", "l").await, "hel");
        assert_eq!(read(&length("0"), "x", "x").await, "");
        assert_eq!(read(&length("99999999999999999999999"), "", "hello").await, "hello");
        assert_eq!(read(&length("11"), "", "hello world").await, "hello worl");
        assert_eq!(read(&[], "hello", " world").await, "hello worl");
        let chunked = [("transfer-encoding", "gzip"), ("transfer-encoding", "x, Chunked")];
        assert_eq!(read(&chunked, "5\r\nhel", "lo\r\n1;x\r\n!\r\n0\r\n\r\n").await, "hello!");
        assert_eq!(
            read(&chunked, "5\r\nhello\r\n6\r\n", " world\r\n0\r\n\r\n").await,
            "hello worl"
        );
        assert_eq!(read(&chunked, "ff\r\nhe", "llo").await, "hello");
        assert_eq!(read(&chunked, "1\r\nhello", "").await, "h");
        assert_eq!(read(&chunked, "ffffffffffffffff\r\nhello", "").await, "hello");
        assert_eq!(read(&chunked, "nonsense", "").await, "");
    }

    /// C-07: what looks like the last chunk may stand in another one.
    #[tokio::test]
    async fn only_the_last_chunk_is_the_last() {
        let chunked = [("transfer-encoding", "chunked")];
        let whole = "10\r\n\r\n0\r\n\r\nlater\r\n\r\n\r\n0\r\n\r\n";
        for cut in 0..whole.len() {
            let (early, late) = whole.split_at(cut);
            assert_eq!(read(&chunked, early, late).await, "\r\n0\r\n\r\nlat", "cut at {cut}");
        }
    }

    /// C-07: fields behind the last chunk are not waited for, and nothing is behind nonsense.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_awaited_behind_the_last_chunk() {
        for (bytes, body) in [
            ("2\r\nhi\r\n0\r\n", "hi"),
            ("2\r\nhi\r\n00;x\r\nA: b\r\n\r\n", "hi"),
            ("2\r\nhi!!0", "hi"),
            ("2\r\nhi\r\nx", "hi"),
        ] {
            let mut response = Response::new(());
            response.headers_mut().insert("transfer-encoding", "chunked".parse().unwrap());
            let (mut client, _server) = tokio::io::duplex(64);
            let begin = Instant::now();
            let deadline = begin + Duration::from_secs(1);
            let read = read_body(&mut client, bytes.into(), &response, 10, deadline).await;
            assert_eq!(read, body.as_bytes(), "{bytes:?}");
            assert_eq!(Instant::now(), begin, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn statuses_without_a_body_have_none() {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        let deadline = Instant::now() + Duration::from_secs(1);
        let body = read_body(&mut &b"x"[..], b"x".to_vec(), &response, 10, deadline).await;
        assert!(body.is_empty());
    }

    proptest! {
        #[test]
        fn chunks_never_panic(text in "([0-9a-f]{1,17}\r\n[a-z]{0,9}(\r\n)?){0,5}", bytes: Vec<u8>) {
            let _ = unchunk(text.as_bytes());
            let _ = unchunk(&bytes);
            let _ = Chunks::default().are_over(text.as_bytes());
            let _ = Chunks::default().are_over(&bytes);
        }
    }
}
