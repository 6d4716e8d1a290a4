//! The plain paths: whole messages in, whole messages out, and nothing else under way.
//!
//! While a session finds only those, it lends the core a [`Scratch`] for the length of a poll. That it is
//! there is the one condition of everything here. Any other operation first [leaves](Core::leave_plain) the
//! plain paths, which gives the core its input and output in the ordinary form.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Core, Driver,
    scratch::{self, Input, Scratch},
};
use crate::{
    proto::{Connection, Message},
    socket::session::Wait,
};

impl Core {
    /// Whether nothing is under way but whole messages, for the handler, which waits for one in the task of
    /// `own`.
    pub(crate) fn is_plain(&self, own: &Waker) -> bool {
        self.waits.is_only_own_recv()
            && self.task.will_wake(own)
            && self.over.is_none()
            && !self.gone
            && !self.discard
            && !self.unflushed
            && !self.is_user_gone
            && self.incoming.is_none()
            && !self.has_ready()
            && !self.has_input()
            && self.config.limits.output_mark >= scratch::WRITE_SIZE
            && self.conn.is_plain()
    }

    /// The plain paths begin.
    #[inline(always)]
    pub(crate) fn enter_plain(&mut self) {
        let mut scratch = scratch::take().with_write_buffer();
        scratch.streak = self.streak;
        self.fast = Some(scratch);
    }

    #[inline(always)]
    pub(crate) fn is_in_plain(&self) -> bool {
        self.fast.is_some()
    }

    /// The plain paths end, with nothing left in the scratch.
    #[inline(always)]
    pub(crate) fn rest_plain(&mut self) {
        if let Some(scratch) = self.fast.take() {
            debug_assert!(scratch.start == scratch.end && scratch.written == 0);
            scratch::give(scratch);
        }
    }

    /// The ordinary paths take over what is in the scratch.
    #[inline(always)]
    pub(crate) fn leave_plain(&mut self) {
        if self.fast.is_some() {
            self.leave_plain_now();
        }
    }

    #[cold]
    #[inline(never)]
    fn leave_plain_now(&mut self) {
        self.is_calm = false;
        let Some(mut scratch) = self.fast.take() else { return };
        self.streak = scratch.streak;
        if scratch.written > 0 {
            self.lend_output();
            self.conn.adopt_output(&scratch.write[..scratch.written], scratch.half_written);
        }
        scratch.written = 0;
        scratch.half_written = false;
        if scratch.start == scratch.end {
            scratch::give(scratch);
        } else {
            self.set_input(Input::lent(scratch));
        }
    }

    /// The next message.
    #[inline(always)]
    pub(crate) fn next_plain(&mut self) -> Option<Message> {
        let Scratch { read, start, end, arena, streak, .. } = self.fast.as_deref_mut()?;
        let left = streak.checked_sub(1)?;
        let message = self.conn.receive_plain(read.get_mut(*start..*end)?, start, arena)?;
        *streak = left;
        self.stats.messages_received += 1;
        self.stats.bytes_received += message.len() as u64;
        Some(message)
    }

    /// The handler waits for a message, and there is none. `None` where the ordinary way is to find out.
    #[inline(always)]
    pub(crate) fn wait_plain(&mut self, waker: &Waker) -> Option<()> {
        let scratch = self.fast.as_deref_mut()?;
        if scratch.start != scratch.end || !self.task.will_wake(waker) {
            return None;
        }
        self.waits.add_own(Wait::Recv);
        Some(())
    }

    /// Queues a message. `None` where it is not for the plain path.
    #[inline(always)]
    pub(crate) fn send_plain(&mut self, message: &Message) -> Option<()> {
        let scratch = self.fast.as_deref_mut()?;
        let space = scratch.write.get_mut(scratch.written..)?;
        scratch.written += Connection::send_plain(space, message)?;
        self.count_sent(message);
        Some(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Reads into the scratch. Ready with `false` where the ordinary way is to go on.
    #[inline(always)]
    pub(crate) fn read_plain(&mut self, core: &mut Core, cx: &mut Context<'_>) -> Poll<bool> {
        let (Some(io), Some(scratch)) = (&mut self.io, core.fast.as_deref_mut()) else {
            return Poll::Ready(false);
        };
        let mut read = ReadBuf::new(&mut scratch.read);
        let result = ready!(Pin::new(io).poll_read(cx, &mut read));
        let n = read.filled().len();
        scratch.start = 0;
        scratch.end = n;
        if result.is_ok() && n > 0 {
            self.spend(n);
            return Poll::Ready(true);
        }
        self.read_ended(core, result);
        Poll::Ready(false)
    }

    /// Writes what is in the scratch. `false` where the ordinary way is to go on.
    #[inline(always)]
    pub(crate) fn write_plain(&mut self, core: &mut Core, cx: &mut Context<'_>) -> bool {
        let (Some(io), Some(scratch)) = (&mut self.io, core.fast.as_deref_mut()) else {
            return false;
        };
        if scratch.written == 0 {
            return true;
        }
        let mut io = Pin::new(io);
        let result = match io.as_mut().poll_write(cx, &scratch.write[..scratch.written]) {
            Poll::Ready(Ok(n)) if n == scratch.written => {
                scratch.written = 0;
                io.poll_flush(cx)
            }
            Poll::Ready(Ok(n)) => {
                scratch.half_written = n > 0;
                scratch.write.copy_within(n..scratch.written, 0);
                scratch.written -= n;
                core.unflushed |= n > 0;
                return false;
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => return false,
        };
        match result {
            Poll::Ready(Ok(())) => return true,
            Poll::Ready(Err(error)) => self.fail(core, error),
            Poll::Pending => core.unflushed = true,
        }
        false
    }
}
