//! The ways in which a socket is driven, for what holds for all of them.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use hybi::socket::{BoxError, Config, HandlerEnd, Session, WebSocket};
use tokio::{io::DuplexStream, task::JoinHandle};

type Socket = WebSocket<DuplexStream>;

/// The two ways in which a socket is driven.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Way {
    Bare,
    Session,
}

pub(crate) const WAYS: [Way; 2] = [Way::Bare, Way::Session];

impl Way {
    /// Runs `user` with a server's socket over `io`, in a task.
    pub(crate) fn run<F>(
        self,
        io: DuplexStream,
        config: Config,
        user: impl FnOnce(Socket) -> F + Send + 'static,
    ) -> JoinHandle<Result<(), BoxError>>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        match self {
            Self::Bare => tokio::spawn(user(WebSocket::new(io, config))),
            Self::Session => tokio::spawn(async move {
                match Session::new(io, config, user).await.into_handler() {
                    HandlerEnd::Returned => Ok(()),
                    HandlerEnd::Failed(error) => Err(error),
                    end => panic!("{end:?}"),
                }
            }),
        }
    }
}

pub(crate) fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(tokio::task::unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()))
}
