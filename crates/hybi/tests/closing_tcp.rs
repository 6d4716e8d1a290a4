//! How a socket ends over TCP: who goes first, and what a reset must not take along.

mod support;

use hybi::{
    proto::Limits,
    socket::{Config, WebSocket},
};
use support::{close_body, masked};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (server, client) = tokio::join!(listener.accept(), client);
    (server.unwrap().0, client.unwrap())
}

/// L-10: the server ends the transport first, so that the wait for stray packets is its own.
#[tokio::test]
async fn the_server_ends_tcp_first() {
    let (io, mut client) = tcp().await;
    let socket = tokio::spawn(async move {
        let mut socket = WebSocket::new(io, Config::server());
        assert!(socket.recv().await.unwrap().is_none());
    });
    client.write_all(&masked(0x88, &close_body(1000, ""))).await.unwrap();
    let mut wire = Vec::new();
    // The client has not ended its side: this returns only when the server has.
    client.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire, [&[0x88, 2][..], &1000u16.to_be_bytes()].concat());
    drop(client);
    socket.await.unwrap();
}

/// L-13: unread input does not turn our Close into a reset.
#[tokio::test]
async fn a_peer_that_sends_a_megabyte_while_we_close_still_gets_our_close() {
    let (io, client) = tcp().await;
    tokio::spawn(async move {
        let limits = Limits::default().linger_bytes(2 << 20);
        let mut socket = WebSocket::new(io, Config::server().limits(limits));
        let _ = socket.recv().await;
    });
    let (mut read, mut write) = client.into_split();
    let flood = tokio::spawn(async move {
        let mut bytes = vec![0x83, 0x80];
        bytes.extend(vec![0; 1 << 20]);
        let _ = write.write_all(&bytes).await;
        write
    });
    // Read only once all is written: what is lost by then is lost.
    let _write = flood.await.unwrap();
    let mut wire = Vec::new();
    read.read_to_end(&mut wire).await.unwrap();
    assert_eq!(wire[0], 0x88);
    assert_eq!(wire[2..4], 1002u16.to_be_bytes());
}
