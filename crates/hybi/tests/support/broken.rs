//! A transport that can be reset.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Default)]
struct State {
    is_reset: bool,
    waker: Option<Waker>,
}

/// Resets the transport that it was made with.
pub(crate) struct Breaker(Arc<Mutex<State>>);

impl Breaker {
    pub(crate) fn reset(&self) {
        let mut state = self.0.lock().unwrap();
        state.is_reset = true;
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

/// Every read and write of it fails once it was reset.
pub(crate) struct Broken<T> {
    io: T,
    state: Arc<Mutex<State>>,
}

impl<T> Broken<T> {
    pub(crate) fn new(io: T) -> (Self, Breaker) {
        let state = Arc::<Mutex<State>>::default();
        (Self { io, state: Arc::clone(&state) }, Breaker(state))
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.waker = Some(cx.waker().clone());
        if state.is_reset { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Broken<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Broken<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
