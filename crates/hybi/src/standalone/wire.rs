//! How heads get off and onto a byte stream, and how a stream ends so that its last bytes arrive.

use std::{io, time::Duration};

use bytes::BufMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::head::{HeadError, HeadLimits, Kind, Scanner};

/// The most that is read at once before the head is whole, and so the most that is read behind it.
const CHUNK: usize = 4 * 1024;

/// The room for a head at first, which is enough for most.
const USUAL: usize = 1024;

/// Why there is no head.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// The stream ended before the head did.
    Eof,
    Head(HeadError),
}

/// A whole head, and the bytes that were read behind it.
#[derive(Debug)]
pub(super) struct RawHead {
    bytes: Vec<u8>,
    end: usize,
    fields: usize,
}

impl RawHead {
    pub(super) fn head(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// What is behind the head.
    pub(super) fn into_early(mut self) -> Vec<u8> {
        self.bytes.split_off(self.end)
    }
}

/// Reads a head, of which `bytes` were read already.
pub(super) async fn read_head<T: AsyncRead + Unpin>(
    io: &mut T,
    mut bytes: Vec<u8>,
    kind: Kind,
    limits: HeadLimits,
) -> Result<RawHead, ReadError> {
    let mut scanner = Scanner::new(kind, limits);
    loop {
        if let Some(end) = scanner.scan(&bytes).map_err(ReadError::Head)? {
            return Ok(RawHead { bytes, end, fields: scanner.fields() });
        }
        // By itself the vector would make room for 64 bytes at first, and so for many small reads.
        if bytes.len() == bytes.capacity() {
            bytes.reserve(USUAL);
        }
        let mut chunk = (&mut bytes).limit(CHUNK);
        if io.read_buf(&mut chunk).await.map_err(ReadError::Io)? == 0 {
            return Err(ReadError::Eof);
        }
    }
}

/// Writes `bytes`, all the way out.
pub(super) async fn write<T: AsyncWrite + Unpin>(io: &mut T, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// Writes the last bytes of a connection and ends it. What the peer still sends is read and
/// discarded meanwhile, because input that nobody reads makes TCP reset the connection, and a reset
/// destroys what the peer has not read yet.
///
/// Writing and discarding take at most `patience` each.
pub(super) async fn write_last<T: AsyncRead + AsyncWrite + Unpin>(
    io: &mut T,
    bytes: &[u8],
    patience: Duration,
    linger_bytes: usize,
) -> io::Result<()> {
    let written = timeout(patience, async {
        write(io, bytes).await?;
        io.shutdown().await
    });
    written.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Whether the peer ends in time, and how, makes no difference.
    let _ = timeout(patience, discard(io, linger_bytes)).await;
    Ok(())
}

async fn discard<T: AsyncRead + Unpin>(io: &mut T, mut most: usize) {
    let mut bytes = vec![0; CHUNK];
    while let Ok(n @ 1..) = io.read(&mut bytes).await {
        most = most.saturating_sub(n);
        if most == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::ReadBuf;

    use super::*;

    /// Bytes that are all there, and how often they were asked for.
    struct Counted<'a> {
        bytes: &'a [u8],
        reads: usize,
    }

    impl AsyncRead for Counted<'_> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.reads += 1;
            Pin::new(&mut self.bytes).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn a_usual_head_is_read_at_once_and_little_behind_it() {
        let head = format!("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(800));
        let long = head.replace("Cookie: ", &format!("Cookie: {}", "y".repeat(10_000)));
        for (head, reads) in [(head, 1), (long, 5)] {
            let mut bytes = head.clone().into_bytes();
            bytes.resize(100_000, b'f');
            let mut io = Counted { bytes: &bytes, reads: 0 };
            let raw = read_head(&mut io, Vec::new(), Kind::Request, HeadLimits::new()).await;
            let raw = raw.unwrap();
            assert_eq!(raw.head(), head.as_bytes());
            assert!(io.reads <= reads, "{} reads", io.reads);
            assert!(raw.into_early().len() < CHUNK);
        }
    }
}
