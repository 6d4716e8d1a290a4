//! No WebSocket library: a hyper upgrade whose frames are unmasked and written back unchecked.
//!
//! This is the limit for everybody else. It holds no buffer while it waits, and never puts a message
//! together: what one read brought goes back in one write, be it the middle of a frame.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::upgrade::Upgraded;
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
};

/// The longest header of a frame: two bytes, eight of a length, four of a key.
const HEADER: usize = 14;

/// What one read brings at most. A frame of 64 KiB leaves some of it: when a read fills all, tokio
/// has to ask the kernel whether there is more.
const READ: usize = 66 * 1024;

thread_local! {
    /// What the sockets of a thread take turns to read into, and to write from.
    static SCRATCH: RefCell<[Vec<u8>; 2]> = RefCell::new([(); 2].map(|()| vec![0; HEADER + READ]));
}

pub(super) async fn echo(io: Upgraded, work: impl Fn()) -> io::Result<()> {
    let parts = auto::upgrade::downcast::<TokioIo<TcpStream>>(io)
        .map_err(|_| io::ErrorKind::Unsupported)?;
    let auto::upgrade::Parts { io, read_buf, .. } = parts;
    if !read_buf.is_empty() {
        // The load waits for the answer to its handshake.
        return Err(io::ErrorKind::Unsupported.into());
    }
    drop(read_buf);
    let mut io = io.into_inner();
    let mut echo = Echo::default();
    loop {
        let turn = |cx: &mut Context<'_>| {
            SCRATCH.with_borrow_mut(|scratch| echo.turn(&mut io, scratch, &work, cx))
        };
        match poll_fn(turn).await? {
            Turn::Written => {}
            Turn::Rest(rest) => io.write_all(&rest).await?,
            Turn::Ended => return Ok(()),
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
}

/// A frame of which a part is still to come.
#[derive(Clone, Copy)]
struct Open {
    key: u32,
    left: u64,
}

enum Turn {
    Written,
    /// What the kernel did not take.
    Rest(Vec<u8>),
    Ended,
}

impl Echo {
    /// One read and the write that answers it.
    fn turn(
        &mut self,
        io: &mut TcpStream,
        [input, reply]: &mut [Vec<u8>; 2],
        work: &impl Fn(),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Turn>> {
        let head = self.head.len();
        let mut buffer = ReadBuf::new(&mut input[head..]);
        ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
        let end = head + buffer.filled().len();
        if end == head {
            return Poll::Ready(Ok(Turn::Ended));
        }
        if head > 0 {
            input[..head].copy_from_slice(&self.head);
            self.head.clear();
        }
        let len = self.unmask(&input[..end], reply, work);
        let reply = &reply[..len];
        let written = match Pin::new(io).poll_write(cx, reply) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        Poll::Ready(Ok(if written == reply.len() {
            Turn::Written
        } else {
            Turn::Rest(reply[written..].to_vec())
        }))
    }

    /// Makes the reply to `input`. Returns how long it is.
    fn unmask(&mut self, mut input: &[u8], reply: &mut [u8], work: &impl Fn()) -> usize {
        let mut len = 0;
        if let Some(open) = self.open.take() {
            len = self.payload(&mut input, reply, open);
        }
        while let Some((&[first, second], rest)) = input.split_first_chunk() {
            let extended = match second & 0x7f {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            let Some((extended, rest)) = rest.split_at_checked(extended) else { break };
            let Some((key, mut rest)) = rest.split_first_chunk() else { break };
            let left = match extended {
                [] => u64::from(second & 0x7f),
                _ => extended.iter().fold(0, |left, &byte| left << 8 | u64::from(byte)),
            };
            reply[len..len + 2].copy_from_slice(&[first, second & 0x7f]);
            len += 2;
            if !extended.is_empty() {
                reply[len..len + extended.len()].copy_from_slice(extended);
                len += extended.len();
            }
            work();
            let open = Open { key: u32::from_ne_bytes(*key), left };
            len += self.payload(&mut rest, &mut reply[len..], open);
            input = rest;
        }
        self.head.extend_from_slice(input);
        len
    }

    /// Unmasks into `reply` what there is of a payload. Returns how much that is.
    fn payload(&mut self, input: &mut &[u8], reply: &mut [u8], open: Open) -> usize {
        let Open { key, left } = open;
        let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
        let (masked, rest) = input.split_at(len);
        *input = rest;
        let (words, bytes) = masked.as_chunks();
        let (plain_words, plain_bytes) = reply[..len].as_chunks_mut();
        let wide = u64::from(key) << 32 | u64::from(key);
        for (plain, word) in plain_words.iter_mut().zip(words) {
            *plain = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (i, (plain, byte)) in plain_bytes.iter_mut().zip(bytes).enumerate() {
            *plain = byte ^ key.to_ne_bytes()[i % 4];
        }
        if (len as u64) < left {
            let mut key = key.to_ne_bytes();
            key.rotate_left(len % 4);
            let key = u32::from_ne_bytes(key);
            self.open = Some(Open { key, left: left - len as u64 });
        }
        len
    }
}
