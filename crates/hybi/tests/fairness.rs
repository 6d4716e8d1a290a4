//! No socket, peer or handler keeps other tasks from their turn, or a session from its own work.

mod support;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hybi::{
    proto::CloseCode,
    socket::{Config, Session, WebSocket},
};
use support::{Peer, masked, settle, within_ten_seconds};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

type Socket = WebSocket<DuplexStream>;

/// A transport that takes whatever it is given, always has these frames to read, if there are any,
/// and takes part in no runtime's budget, as the stream of an HTTP/2 connection whose own task runs
/// on another thread.
struct Flood {
    frames: Vec<u8>,
}

impl AsyncRead for Flood {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.frames.is_empty() {
            return Poll::Pending;
        }
        buffer.put_slice(&self.frames);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Flood {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Reads of 16 KiB, the length of an HTTP/2 frame and of a TLS record, do not fill the buffer.
#[test]
fn a_session_yields_to_other_tasks_however_short_its_reads_are() {
    within_ten_seconds(|| async {
        let frames: Vec<_> = (0..100).flat_map(|_| masked(0x82, &[0; 100])).collect();
        let session = tokio::spawn(Session::new(
            Flood { frames },
            Config::server(),
            |mut socket: WebSocket<Flood>| async move {
                while socket.recv().await?.is_some() {}
                Ok(())
            },
        ));
        settle().await;
        session.abort();
    });
}

/// The same with pings alone, and without a session.
#[test]
fn a_socket_without_a_session_yields_to_other_tasks_under_pings() {
    within_ten_seconds(|| async {
        let frames: Vec<_> = (0..100).flat_map(|_| masked(0x89, &[0; 100])).collect();
        let socket = tokio::spawn(async move {
            let mut socket = WebSocket::new(Flood { frames }, Config::server());
            socket.recv().await
        });
        settle().await;
        socket.abort();
    });
}

/// What a handler does that has always something else to do, as forwarding from a busy channel:
/// it uses up all that the runtime lets its task do before others have their turn.
async fn busy() {
    loop {
        tokio::task::consume_budget().await;
    }
}

/// B-05: pings are answered while the handler is busy.
#[test]
fn a_handler_that_uses_up_its_tasks_budget_does_not_keep_pongs_from_going_out() {
    within_ten_seconds(|| async {
        let (io, mut peer) = Peer::pair(1 << 16);
        let session = tokio::spawn(Session::new(io, Config::server(), |socket: Socket| async {
            let _socket = socket;
            busy().await;
            Ok(())
        }));
        peer.send_raw(&masked(0x89, b"there?")).await;
        assert_eq!(peer.recv().await, (0x8a, b"there?".to_vec()));
        session.abort();
    });
}

/// L-06: no handler keeps the close timeout from passing.
#[test]
fn a_handler_that_uses_up_its_tasks_budget_does_not_keep_deadlines_from_passing() {
    within_ten_seconds(|| async {
        tokio::time::pause();
        let (io, _peer) = Peer::pair(1 << 16);
        let mut closed = None;
        let session = Session::new(io, Config::server(), |socket: Socket| {
            closed = Some(socket.closed());
            async {
                let _socket = socket;
                busy().await;
                Ok(())
            }
        });
        session.control().close(CloseCode::GOING_AWAY.into());
        let session = tokio::spawn(session);
        settle().await;
        tokio::time::advance(Duration::from_secs(6)).await;
        closed.unwrap().await;
        session.abort();
    });
}

/// Messages that are received one by one are one flood.
#[test]
fn a_socket_without_a_session_yields_to_other_tasks_under_messages() {
    within_ten_seconds(|| async {
        let frames: Vec<_> = (0..100).flat_map(|_| masked(0x82, &[0; 100])).collect();
        let socket = tokio::spawn(async move {
            let mut socket = WebSocket::new(Flood { frames }, Config::server());
            while socket.recv().await.unwrap().is_some() {}
        });
        settle().await;
        socket.abort();
    });
}

/// L-06: the close timeout is absolute, whatever else arrives.
#[test]
fn messages_that_never_stop_do_not_extend_the_close_timeout_of_a_socket_without_a_session() {
    within_ten_seconds(|| async {
        tokio::time::pause();
        let frames: Vec<_> = (0..100).flat_map(|_| masked(0x82, &[0; 100])).collect();
        let mut socket = WebSocket::new(Flood { frames }, Config::server());
        socket.start_close(CloseCode::NORMAL, "").unwrap();
        assert!(socket.recv().await.unwrap().is_some());
        while socket.recv().await.is_ok() {
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    });
}

/// A handler that waits in `send` yields, however fast its messages leave.
#[test]
fn a_session_yields_to_other_tasks_while_its_handler_sends_without_end() {
    within_ten_seconds(|| async {
        let session = tokio::spawn(Session::new(
            Flood { frames: Vec::new() },
            Config::server(),
            |mut socket: WebSocket<Flood>| async move {
                loop {
                    socket.send(vec![0; 1000]).await?;
                }
            },
        ));
        settle().await;
        session.abort();
    });
}
