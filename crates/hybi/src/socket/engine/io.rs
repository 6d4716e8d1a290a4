//! How bytes get from the transport into the [`Core`], and out of it into the transport.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

use super::{
    Core,
    deadlines::Deadlines,
    ending::End,
    scratch::{self, Input},
    stages::Stage,
};

/// The most that one write hands to a transport that copies whatever it is given, as hyper's
/// HTTP/2 streams and TLS do.
const COALESCED: usize = 64 * 1024;

/// How much is read before other tasks have their turn.
const READ_BUDGET: u32 = 64 * 1024;

/// How much is read at once of what may be a message in parts: all of it is in memory until it was taken.
const PARTS_READ: usize = 24 * 1024;

/// What a read costs of it, however short it is.
const READ_COST: usize = 4 * 1024;

/// The transport of a socket, and its time.
pub(crate) struct Driver<T> {
    /// `None` once done.
    pub(super) io: Option<T>,
    pub(super) time: Deadlines,
    /// Bytes that may still be read before other tasks have their turn.
    budget: u32,
    vectored: bool,
    pub(super) stage: Stage,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            vectored: io.is_write_vectored(),
            io: Some(io),
            time: Deadlines::default(),
            budget: READ_BUDGET,
            stage: Stage::Running,
        }
    }

    /// The poll ends as pending, so that other tasks have their turn before more is read.
    #[inline]
    pub(crate) fn rest(&mut self) {
        self.budget = READ_BUDGET;
    }

    // ===== writing =====

    /// Writes what is queued. Ready when nothing is left, or nothing can be written any more.
    #[inline]
    pub(crate) fn poll_flush(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if core.conn.is_output_at_rest() && !core.unflushed && !core.is_gone() {
            self.time.written();
            return Poll::Ready(());
        }
        self.poll_flush_now(core, cx)
    }

    #[inline(never)]
    fn poll_flush_now(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if core.is_gone() {
            // The socket was aborted.
            self.done(core);
        }
        while core.conn.has_output() {
            let Some(io) = &mut self.io else { return Poll::Ready(()) };
            match poll_write(io, self.vectored, core, cx) {
                Poll::Ready(Ok(0)) => self.fail(core, io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(n)) => {
                    core.conn.advance(n);
                    core.unflushed = true;
                    self.time.written();
                }
                Poll::Ready(Err(error)) => self.fail(core, error),
                Poll::Pending => return self.stalled(core),
            }
        }
        if core.conn.output_failed() {
            let error = io::Error::other("the operating system gave no masking key");
            self.fail(core, error);
            return Poll::Ready(());
        }
        core.release_output();
        if core.unflushed
            && let Some(io) = &mut self.io
        {
            match Pin::new(io).poll_flush(cx) {
                Poll::Ready(Ok(())) => core.unflushed = false,
                Poll::Ready(Err(error)) => self.fail(core, error),
                Poll::Pending => return self.stalled(core),
            }
        }
        self.time.written();
        Poll::Ready(())
    }

    fn stalled(&mut self, core: &Core) -> Poll<()> {
        self.time.stalled(core.config.timeouts.write_stall);
        Poll::Pending
    }

    // ===== reading =====

    /// Reads once. Ready when something was read or the end was found.
    pub(crate) fn poll_fill(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        if core.take_pause() {
            self.exhaust();
        }
        ready!(self.poll_budget(cx));
        let Some(io) = &mut self.io else { return Poll::Pending };
        let result = if let Some(mut space) = core.conn.payload_space() {
            let result = ready!(poll_read_buf(Pin::new(io), cx, &mut space));
            if let Ok(n @ 1..) = result {
                core.payload_received(n);
            }
            result
        } else {
            let mut scratch = core.take_scratch();
            let space = scratch.space();
            let size = if core.wants_messages() { space.len() } else { PARTS_READ };
            let mut read = ReadBuf::new(&mut space[..size]);
            let polled = Pin::new(io).poll_read(cx, &mut read);
            let n = read.filled().len();
            core.set_input(Input::filled(scratch, n));
            if polled.is_pending() {
                core.keep_input();
            }
            ready!(polled).map(|()| n)
        };
        if let Ok(n) = result {
            self.spend(n);
        }
        if !matches!(result, Ok(1..)) {
            self.read_ended(core, result.map(drop));
        }
        Poll::Ready(())
    }

    /// A read brought nothing.
    #[cold]
    pub(super) fn read_ended(&mut self, core: &mut Core, result: io::Result<()>) {
        match result {
            Ok(()) => core.finish(End::Eof),
            Err(error) => self.fail(core, error),
        }
    }

    /// Pending when other tasks should have their turn before more is read.
    pub(crate) fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.budget > 0 {
            return Poll::Ready(());
        }
        // Unlike a plain wake, this lets the runtime look at its other sockets before.
        pin!(tokio::task::yield_now()).poll(cx)
    }

    /// This was enough for one turn.
    pub(crate) fn exhaust(&mut self) {
        self.budget = 0;
    }

    /// Takes note of bytes that were read.
    #[inline(always)]
    pub(super) fn spend(&mut self, read: usize) {
        self.budget = self.budget.saturating_sub(read.max(READ_COST) as u32);
        self.time.heard(read);
    }

    /// Whether more may be read in this turn.
    #[inline(always)]
    pub(crate) fn has_budget(&self) -> bool {
        self.budget > 0
    }

    /// Reads and forgets until EOF, an error, or `left` bytes.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut u32) -> Poll<()> {
        loop {
            ready!(self.poll_budget(cx));
            let Some(io) = &mut self.io else { return Poll::Ready(()) };
            let mut scratch = scratch::take();
            let mut read = ReadBuf::new(scratch.space());
            let result = Pin::new(io).poll_read(cx, &mut read);
            let n = read.filled().len();
            scratch::give(scratch);
            if ready!(result).is_err() {
                return Poll::Ready(());
            }
            self.spend(n);
            *left = left.saturating_sub(n as u32);
            if n == 0 || *left == 0 {
                return Poll::Ready(());
            }
        }
    }

    /// The transport failed.
    pub(super) fn fail(&mut self, core: &mut Core, error: io::Error) {
        core.fail(End::Io(Arc::new(error)));
        self.done(core);
    }
}

fn poll_write<T: AsyncWrite + Unpin>(
    io: &mut T,
    vectored: bool,
    core: &mut Core,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    let [head, body] = core.conn.output();
    if vectored {
        if body.is_empty() {
            return io.poll_write(cx, head);
        }
        return io.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(body)]);
    }
    if body.is_empty() || head.len() >= COALESCED {
        return io.poll_write(cx, &head[..head.len().min(COALESCED)]);
    }
    if head.is_empty() {
        return io.poll_write(cx, &body[..body.len().min(COALESCED)]);
    }
    // One write, so one DATA frame or TLS record: the header is not sent on its own.
    let mut scratch = scratch::take();
    let buffer = scratch.space();
    let body = &body[..body.len().min(COALESCED - head.len())];
    let len = head.len() + body.len();
    buffer[..head.len()].copy_from_slice(head);
    buffer[head.len()..len].copy_from_slice(body);
    let result = io.poll_write(cx, &buffer[..len]);
    scratch::give(scratch);
    result
}
