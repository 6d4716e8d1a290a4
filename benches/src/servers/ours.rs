//! tower-websocket, in the ways in which a handler may use its socket.

use tower_websocket::{BoxError, WebSocket};

pub(super) async fn echo(mut socket: WebSocket, work: impl Fn()) -> Result<(), BoxError> {
    while let Some(message) = socket.recv().await? {
        work();
        socket.send(message).await?;
    }
    Ok(())
}

pub(super) async fn split(socket: WebSocket) -> Result<(), BoxError> {
    let (sender, mut receiver) = socket.split();
    while let Some(message) = receiver.recv().await? {
        sender.send(message).await?;
    }
    Ok(())
}

pub(super) async fn moved(socket: WebSocket) -> Result<(), BoxError> {
    tokio::spawn(echo(socket, || ())).await?
}
