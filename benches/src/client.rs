//! Our own client under load: the figures of a process that holds nothing else.

use std::{io, net::SocketAddr};

use hybi::{
    proto::Message,
    socket::{BoxError, Config, WebSocket},
};
use tokio::{net::TcpStream, task::JoinSet};

use crate::load::{Client, Content};

/// Has at least `messages` echoed over `connections`, `depth` of them in flight on each.
pub fn echo(
    addr: SocketAddr,
    content: Content,
    size: usize,
    depth: usize,
    connections: usize,
    messages: usize,
) -> io::Result<()> {
    let (_, payload) = content.payload(size);
    let message = match content {
        Content::Binary => Message::binary(payload),
        _ => Message::text(String::from_utf8(payload).map_err(io::Error::other)?),
    };
    let rounds = messages.div_ceil(connections * depth);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = JoinSet::new();
        for _ in 0..connections {
            let stream = Client::connect(addr)?.into_stream();
            stream.set_nonblocking(true)?;
            let socket = WebSocket::new(TcpStream::from_std(stream)?, Config::client());
            sockets.spawn(echo_over(socket, message.clone(), depth, rounds));
        }
        while let Some(ended) = sockets.join_next().await {
            ended?.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

async fn echo_over(
    mut socket: WebSocket<TcpStream>,
    message: Message,
    depth: usize,
    rounds: usize,
) -> Result<(), BoxError> {
    for _ in 0..rounds {
        for _ in 1..depth {
            socket.feed(message.clone()).await?;
        }
        socket.send(message.clone()).await?;
        for _ in 0..depth {
            if socket.recv().await?.as_ref() != Some(&message) {
                return Err("not the same came back".into());
            }
        }
    }
    socket.abort();
    Ok(())
}
