//! The client's handshake on a stream: one request, one final answer.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout_at},
};

use super::{
    body::read_body,
    error::{ConnectError, Kind, Stage},
};
use crate::{
    handshake::{Agreement, ClientRequest},
    standalone::{
        HeadError, HeadLimits,
        encode::request_head,
        head::{self, parse_response},
        wire::{self, RawHead, read_head},
    },
};

/// The most interim answers that are skipped; servers send one or two.
const MAX_INTERIM: usize = 16;

/// What bounds the answers to a request.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) head: HeadLimits,
    pub(super) refusal: usize,
    pub(super) refusal_timeout: Duration,
}

/// An accepted handshake.
pub(super) struct Opened {
    pub(super) response: Response<()>,
    pub(super) agreement: Agreement,
    /// What was read behind the answer's head: the first frames.
    pub(super) early: Vec<u8>,
}

/// When `timeout` will be over. One that is too long to tell is not over for a generation.
pub(super) fn deadline_after(timeout: Duration) -> Instant {
    const GENERATION: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    Instant::now() + timeout.min(GENERATION)
}

/// Waits for `step` until the deadline.
pub(super) async fn within<T>(
    deadline: Instant,
    stage: Stage,
    step: impl Future<Output = Result<T, ConnectError>>,
) -> Result<T, ConnectError> {
    timeout_at(deadline, step).await.map_err(|_| ConnectError::from(Kind::TimedOut(stage)))?
}

/// Opens a WebSocket on a stream to the server.
pub(super) async fn open<T: AsyncRead + AsyncWrite + Unpin>(
    io: &mut T,
    request: &ClientRequest,
    bounds: &Bounds,
    deadline: Instant,
) -> Result<Opened, ConnectError> {
    let (request, handshake) = request.upgrade()?;
    let (parts, ()) = request.into_parts();
    let head = request_head(&parts);
    let answer = ask(io, &head, bounds);
    let (response, early) = within(deadline, Stage::Http, answer).await?;

    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(io, response, early, bounds, deadline).await);
    }
    // Only HTTP/1.1 knows the status.
    if response.version() < Version::HTTP_11 {
        return Err(Kind::Head(HeadError::UnsupportedVersion).into());
    }
    let agreement = handshake.verify(&response).map_err(Kind::Answer)?;
    Ok(Opened { response, agreement, early })
}

/// Sends a request and reads the head of its final answer, with what came behind it. Nothing
/// follows the request.
pub(super) async fn ask<T: AsyncRead + AsyncWrite + Unpin>(
    io: &mut T,
    request: &[u8],
    bounds: &Bounds,
) -> Result<(Response<()>, Vec<u8>), ConnectError> {
    wire::write(io, request).await.map_err(Kind::Io)?;
    let mut early = Vec::new();
    for _ in 0..=MAX_INTERIM {
        let head = read_head(io, early, head::Kind::Response, bounds.head).await?;
        let response = response(&head)?;
        early = head.into_early();
        let status = response.status();
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, early));
        }
    }
    Err(Kind::Interim.into())
}

/// The error for an answer that refuses, with the start of its body.
pub(super) async fn refused<T: AsyncRead + Unpin>(
    io: &mut T,
    response: Response<()>,
    early: Vec<u8>,
    bounds: &Bounds,
    deadline: Instant,
) -> ConnectError {
    let deadline = deadline.min(deadline_after(bounds.refusal_timeout));
    let body = read_body(io, early, &response, bounds.refusal, deadline).await;
    Kind::Refused(response.map(|()| Bytes::from(body))).into()
}

fn response(head: &RawHead) -> Result<Response<()>, ConnectError> {
    let parts = parse_response(head.head(), head.fields()).map_err(Kind::Head)?;
    Ok(Response::from_parts(parts, ()))
}
