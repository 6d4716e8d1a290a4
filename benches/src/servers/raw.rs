//! No WebSocket library: a hyper upgrade whose frames are unmasked and written back unchecked.
//!
//! This is the limit for everybody else. It reads and writes as little as is possible, holds no
//! buffer while it waits, and never puts a message together: what one read brought goes back in one
//! write, be it the middle of a frame.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What one read brings at most.
const READ: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What the sockets of a thread take turns to read into and to write from.
#[derive(Default)]
struct Scratch {
    input: Vec<u8>,
    reply: Vec<u8>,
}

pub(super) async fn echo(io: Upgraded, work: impl Fn()) -> io::Result<()> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(io)
        .map_err(|_| io::ErrorKind::Unsupported)?;
    let mut io = parts.io.into_inner();
    let mut echo = Echo { head: parts.read_buf.to_vec(), ..Echo::default() };
    loop {
        poll_fn(|cx| SCRATCH.with_borrow_mut(|scratch| echo.poll(&mut io, scratch, &work, cx)))
            .await?;
        if !echo.unwritten.is_empty() {
            io.write_all(&echo.unwritten).await?;
            echo.unwritten = Vec::new();
        }
        if echo.ended {
            return Ok(());
        }
    }
}

/// What a socket has to remember between two reads.
#[derive(Default)]
struct Echo {
    /// The beginning of a frame's header.
    head: Vec<u8>,
    /// The frame that the last read ended in.
    open: Option<Open>,
    /// What the kernel did not take.
    unwritten: Vec<u8>,
    ended: bool,
}

/// A frame of which a part is still to come.
#[derive(Clone, Copy)]
struct Open {
    key: [u8; 8],
    rest: u64,
}

impl Echo {
    /// One read and the write that answers it.
    fn poll(
        &mut self,
        io: &mut TcpStream,
        scratch: &mut Scratch,
        work: &impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Scratch { input, reply } = scratch;
        input.clear();
        input.extend_from_slice(&self.head);
        input.reserve(READ);
        self.ended = ready!(pin!(io.read_buf(input)).poll(cx))? == 0;
        reply.clear();
        let used = self.unmask(input, reply, work);
        self.head.clear();
        self.head.extend_from_slice(&input[used..]);
        let written = match pin!(io.write(reply)).poll(cx) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.unwritten.extend_from_slice(&reply[written..]);
        Poll::Ready(Ok(()))
    }

    /// Echoes `input` into `reply`. Returns where a header begins that is not whole.
    fn unmask(&mut self, input: &mut [u8], reply: &mut Vec<u8>, work: &impl Fn()) -> usize {
        let mut at = 0;
        if let Some(open) = self.open.take() {
            at = self.payload(input, reply, open);
        }
        loop {
            let Some(&[first, second]) = input.get(at..at + 2) else { return at };
            let extra = match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let Some(extended) = input.get(at + 2..at + 2 + extra) else { return at };
            let rest = match extended {
                [] => u64::from(second & 0x7f),
                bytes => bytes.iter().fold(0, |len, &byte| len << 8 | u64::from(byte)),
            };
            let start = at + 2 + extra + 4;
            let Some(key) = input.get(start - 4..start) else { return at };
            let key = std::array::from_fn(|i| key[i % 4]);
            reply.extend_from_slice(&[first, second & 0x7f]);
            reply.extend_from_slice(extended);
            work();
            at = start + self.payload(&mut input[start..], reply, Open { key, rest });
        }
    }

    /// Unmasks what there is of a payload. Returns how much that is.
    fn payload(&mut self, input: &mut [u8], reply: &mut Vec<u8>, open: Open) -> usize {
        let Open { mut key, rest } = open;
        let len = usize::try_from(rest).map_or(input.len(), |rest| rest.min(input.len()));
        let body = &mut input[..len];
        let (words, bytes) = body.as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(key)).to_ne_bytes();
        }
        for (byte, key) in bytes.iter_mut().zip(key) {
            *byte ^= key;
        }
        reply.extend_from_slice(body);
        if (len as u64) < rest {
            key.rotate_left(len % 4);
            self.open = Some(Open { key, rest: rest - len as u64 });
        }
        len
    }
}
