//! How the transport is ended.
//!
//! ```text
//!            our Close and the peer's, a violation's Close,
//!            or the peer's EOF: core is settled
//!  Running ───────────────────────────────────────────► Flushing
//!     │                                                    │ all written
//!     │                                     client, closed │        server, or failed
//!     │                                 AwaitingEof ◄──────┴──────► ShuttingDown
//!     │                                     │ EOF, 2 s                 │ our FIN is out
//!     │                                     └────► ShuttingDown        ▼
//!     │ transport failed, deadline, abort                          Lingering
//!     └──────────────────────────► Done ◄──────────────────────────────┘ EOF, 1 s, 256 KiB
//! ```
//!
//! Flushing lasts as long as the peer takes what is written: what was sent before an orderly end arrives.
//! Only the Close of a violation has a deadline of its own. Every later stage has one, at which the transport
//! is dropped.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{Core, Driver, ending::End};
use crate::{proto::Role, socket::error::Timeout};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    Flushing,
    AwaitingEof,
    ShuttingDown,
    /// So many bytes may still be read.
    Lingering {
        left: u32,
    },
    Done,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Drops the transport at once.
    pub(crate) fn abort(&mut self, core: &mut Core) {
        core.abort();
        self.done(core);
    }

    pub(super) fn time_out(&mut self, core: &mut Core, timeout: Timeout) {
        core.fail(End::TimedOut(timeout));
        self.done(core);
    }

    pub(super) fn done(&mut self, core: &mut Core) {
        core.set_gone();
        self.stage = Stage::Done;
        self.time.connection_is_over();
        self.io = None;
    }

    /// Ends the transport once the time has come. Whether anything has come of it.
    #[inline]
    pub(crate) fn poll_end(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        (self.stage != Stage::Running || core.is_settled()) && self.poll_end_now(core, cx)
    }

    #[inline(never)]
    fn poll_end_now(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let before = self.stage;
        let _ = self.poll_stages(core, cx);
        self.stage != before
    }

    fn poll_stages(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<()> {
        let config = Arc::clone(&core.config);
        let timeouts = &config.timeouts;
        let is_client = config.role == Role::Client;
        loop {
            match self.stage {
                Stage::Running => match core.end() {
                    Some(end) if core.is_settled() => {
                        let within = match end {
                            End::Violation(_) => Some(timeouts.violation_flush),
                            _ => None,
                        };
                        self.stage = Stage::Flushing;
                        self.time.enter_stage(within);
                    }
                    _ => return Poll::Pending,
                },
                Stage::Flushing => {
                    ready!(self.poll_flush(core, cx));
                    if self.is_done() {
                        continue;
                    }
                    let (next, within) = if is_client && matches!(core.end(), Some(End::Close)) {
                        (Stage::AwaitingEof, timeouts.server_end)
                    } else {
                        (Stage::ShuttingDown, timeouts.linger)
                    };
                    self.stage = next;
                    self.time.enter_stage(Some(within));
                }
                Stage::AwaitingEof => {
                    let mut unlimited = u32::MAX;
                    ready!(self.poll_discard(cx, &mut unlimited));
                    self.stage = Stage::ShuttingDown;
                    self.time.enter_stage(Some(timeouts.linger));
                }
                Stage::ShuttingDown => {
                    let Some(io) = &mut self.io else { return Poll::Ready(()) };
                    let result = ready!(Pin::new(io).poll_shutdown(cx));
                    let at_eof = matches!(core.end(), Some(End::Eof));
                    if result.is_err() || at_eof || is_client {
                        self.done(core);
                    } else {
                        self.stage = Stage::Lingering {
                            left: config.limits.linger_bytes.try_into().unwrap_or(u32::MAX),
                        };
                        self.time.enter_stage(Some(timeouts.linger));
                    }
                }
                Stage::Lingering { mut left } => {
                    let result = self.poll_discard(cx, &mut left);
                    self.stage = Stage::Lingering { left };
                    ready!(result);
                    self.done(core);
                }
                Stage::Done => return Poll::Ready(()),
            }
        }
    }
}
