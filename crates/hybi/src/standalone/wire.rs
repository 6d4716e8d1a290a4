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
