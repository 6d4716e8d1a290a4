//! A socket in all the ways in which it can be used, whole and in halves, for what holds for all of them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;

use hybi::{
    proto::{CloseCode, Message, Role},
    socket::{
        BoxError, Closed, Closing, Config, Error, HandlerEnd, Pongs, Receiver, RoundTrip, Sender,
        Session, WebSocket,
    },
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream},
    task::JoinHandle,
};

use crate::support::{close_body, masked, unmasked};

/// Who moves the socket, and what its user has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drive {
    /// A handler, whose session moves it.
    Session,
    /// A handler that has split it.
    SessionHalves,
    /// Another task than its session's, for which the handler waits.
    Moved,
    /// A socket that moves while it is used.
    Bare,
    /// Its halves.
    Halves,
}

impl Drive {
    pub(crate) const ALL: [Self; 5] =
        [Self::Session, Self::SessionHalves, Self::Moved, Self::Bare, Self::Halves];

    /// Those in which the socket moves by itself.
    pub(crate) const DRIVEN: [Self; 4] =
        [Self::Session, Self::SessionHalves, Self::Moved, Self::Halves];

    /// Runs `body` with a socket over `io`, in a task.
    pub(crate) fn run<T, F>(
        self,
        io: T,
        config: Config,
        body: impl FnOnce(User<T>) -> F + Send + 'static,
    ) -> JoinHandle<Result<(), BoxError>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        if self == Self::Bare || self == Self::Halves {
            return tokio::spawn(async move {
                let socket = WebSocket::new(io, config);
                body(if self == Self::Bare { User::Whole(socket) } else { User::split(socket) })
                    .await
            });
        }
        let session = Session::new(io, config, move |socket: WebSocket<T>| async move {
            match self {
                Self::SessionHalves => body(User::split(socket)).await,
                Self::Moved => tokio::spawn(async move { body(User::Whole(socket)).await }).await?,
                _ => body(User::Whole(socket)).await,
            }
        });
        tokio::spawn(async move {
            match session.await.into_handler() {
                HandlerEnd::Returned => Ok(()),
                HandlerEnd::Failed(error) => Err(error),
                HandlerEnd::Dropped => Err("the handler was dropped".into()),
                HandlerEnd::Panicked(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

/// A socket or its halves.
#[derive(Debug)]
pub(crate) enum User<T = DuplexStream> {
    Whole(WebSocket<T>),
    Halves(Sender, Receiver),
}

macro_rules! either {
    ($user:expr, $whole:ident, $sender:ident, $receiver:ident => $of_whole:expr, $of_halves:expr) => {
        match $user {
            User::Whole($whole) => $of_whole,
            User::Halves($sender, $receiver) => $of_halves,
        }
    };
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> User<T> {
    pub(crate) fn split(socket: WebSocket<T>) -> Self {
        let (sender, receiver) = socket.split();
        Self::Halves(sender, receiver)
    }

    pub(crate) async fn recv(&mut self) -> Result<Option<Message>, Error> {
        either!(self, it, _s, r => it.recv().await, r.recv().await)
    }

    pub(crate) async fn send(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        either!(self, it, s, _r => it.send(message).await, s.send(message).await)
    }

    pub(crate) async fn feed(&mut self, message: impl Into<Message>) -> Result<(), Error> {
        either!(self, it, s, _r => it.feed(message).await, s.feed(message).await)
    }

    pub(crate) async fn ping(&mut self, payload: &'static [u8]) -> Result<(), Error> {
        either!(self, it, s, _r => it.ping(payload).await, s.ping(payload).await)
    }

    pub(crate) async fn close(&mut self) -> Result<(), Error> {
        either!(self, it, s, _r => it.close().await, s.close().await)
    }

    pub(crate) fn start_close(&mut self, code: CloseCode) -> Result<(), Error> {
        either!(self, it, s, _r => it.start_close(code, ""), s.start_close(code, ""))
    }

    pub(crate) fn abort(&mut self) {
        either!(self, it, s, _r => it.abort(), s.abort());
    }

    pub(crate) fn closing(&self) -> Closing {
        either!(self, it, s, _r => it.closing(), s.closing())
    }

    pub(crate) fn closed(&self) -> Closed {
        either!(self, it, s, _r => it.closed(), s.closed())
    }

    pub(crate) fn round_trip(&self) -> Option<RoundTrip> {
        either!(self, it, _s, r => it.round_trip(), r.round_trip())
    }

    pub(crate) fn pongs(&self) -> Pongs {
        either!(self, it, _s, r => it.pongs(), r.pongs())
    }

    /// The next message, read in parts.
    pub(crate) async fn read_in_parts(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        let mut bytes = Vec::new();
        match self {
            Self::Whole(socket) => match socket.next_message().await? {
                Some(mut message) => message.read_to_end(&mut bytes).await?,
                None => return Ok(None),
            },
            Self::Halves(_, receiver) => match receiver.next_message().await? {
                Some(mut message) => message.read_to_end(&mut bytes).await?,
                None => return Ok(None),
            },
        };
        Ok(Some(bytes))
    }

    /// Receives until the end.
    pub(crate) async fn drain(&mut self) -> Result<(), BoxError> {
        while self.recv().await?.is_some() {}
        Ok(())
    }
}

pub(crate) const ROLES: [Role; 2] = [Role::Server, Role::Client];

pub(crate) fn config(role: Role) -> Config {
    match role {
        Role::Server => Config::server(),
        Role::Client => Config::client(),
    }
}

/// A frame of the peer of `role`.
pub(crate) fn frame_to(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    match role {
        Role::Server => masked(first, payload),
        Role::Client => unmasked(first, payload),
    }
}

/// A Close of the peer of `role`.
pub(crate) fn close_to(role: Role, code: u16) -> Vec<u8> {
    frame_to(role, 0x88, &close_body(code, ""))
}
