//! WebSockets over TLS, without an HTTP stack at either end.

use std::{error::Error, net::SocketAddr};

use hybi::{
    socket::WebSocket,
    standalone::{Acceptor, ClientStream, ConnectError, Connector, Proxy},
};
use tests::{
    start::{listen, soon},
    tls::{Authority, self_signed},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a server saw of one client.
struct Seen {
    sni: Option<String>,
    alpn: Option<Vec<u8>>,
    messages: u64,
}

/// Echoes to one client over TLS. An error is that of TLS.
async fn serve_one(listener: &TcpListener, tls: TlsAcceptor) -> std::io::Result<Seen> {
    let (stream, _) = listener.accept().await?;
    let stream = tls.accept(stream).await?;
    let connection = stream.get_ref().1;
    let sni = connection.server_name().map(str::to_owned);
    let alpn = connection.alpn_protocol().map(<[u8]>::to_vec);
    let incoming = Acceptor::new().read(stream).await.expect("a handshake");
    let serving = incoming.serve(|mut socket: WebSocket<TlsStream<TcpStream>>| async move {
        while let Some(message) = socket.recv().await? {
            socket.send(message).await?;
        }
        Ok(())
    });
    let ended = serving.await.expect("accepted");
    assert!(ended.failure().is_none(), "{ended:?}");
    Ok(Seen { sni, alpn, messages: ended.stats().messages_received })
}

async fn echo(mut socket: WebSocket<ClientStream>) {
    let long = "x".repeat(300_000);
    for text in ["hello", &long] {
        socket.send(text).await.unwrap();
        assert_eq!(socket.recv().await.unwrap().unwrap().as_text(), Some(text));
    }
    socket.close().await.unwrap();
    assert_eq!(socket.peer_close().unwrap().status(), 1000);
}

fn url(addr: SocketAddr) -> String {
    format!("wss://localhost:{}/x", addr.port())
}

/// S-09, C-12, R-03: both roles, over a certificate that is trusted.
#[tokio::test]
async fn both_ends_speak_over_tls() {
    let authority = Authority::new();
    let (listener, addr) = listen().await;
    let connector = Connector::new().tls_config(authority.client());
    let client = async {
        let (socket, _) = connector.connect(url(addr)).await.unwrap();
        echo(socket).await;
    };
    let server = serve_one(&listener, authority.server("localhost"));
    let (seen, ()) = soon("an echo", async { tokio::join!(server, client) }).await;
    let seen = seen.unwrap();
    assert_eq!(seen.sni.as_deref(), Some("localhost"));
    assert_eq!(seen.alpn.as_deref(), Some(&b"http/1.1"[..]), "the server would have preferred h2");
    assert_eq!(seen.messages, 2);
}

/// C-12: an address has no name to be sent, but one to be checked.
#[tokio::test]
async fn a_certificate_may_be_for_an_address() {
    let authority = Authority::new();
    let (listener, addr) = listen().await;
    let connector = Connector::new().tls_config(authority.client());
    let client = async {
        let (socket, _) = connector.connect(format!("wss://{addr}")).await.unwrap();
        assert!(format!("{socket:?}").contains("WebSocket"));
        echo(socket).await;
    };
    let server = serve_one(&listener, authority.server("127.0.0.1"));
    let (seen, ()) = soon("an echo", async { tokio::join!(server, client) }).await;
    assert_eq!(seen.unwrap().sni, None);
}

/// What a client makes of a server, and whether the server got a byte of a request.
async fn failed(tls: TlsAcceptor, connector: &Connector) -> ConnectError {
    let (listener, addr) = listen().await;
    let server = async {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(mut stream) = tls.accept(stream).await {
            let mut byte = [0];
            assert!(!matches!(stream.read(&mut byte).await, Ok(1)), "it sent something");
        }
    };
    let client = connector.connect(url(addr));
    let ((), result) = soon("a failure", async { tokio::join!(server, client) }).await;
    result.map(drop).unwrap_err()
}

/// C-12: and nothing of the handshake was sent.
#[tokio::test]
async fn a_server_that_is_not_who_it_should_be_gets_no_request() {
    let authority = Authority::new();
    let trusting = Connector::new().tls_config(authority.client());
    let table = [
        (self_signed("localhost"), &trusting, "UnknownIssuer"),
        // Of the same name, but with another key.
        (Authority::new().server("localhost"), &trusting, "BadSignature"),
        (authority.server("other.example"), &trusting, "not valid for name"),
        (authority.server("127.0.0.1"), &trusting, "not valid for name"),
        (authority.expired("localhost"), &trusting, "expired"),
    ];
    for (server, connector, says) in table {
        let error = failed(server, connector).await;
        assert!(error.is_tls() && !error.is_io() && !error.is_proxy());
        let source = error.source().unwrap().to_string();
        assert!(source.contains(says), "{says:?}: {source}");
    }
    // The system does not trust our authority; some systems trust nobody.
    let error = failed(authority.server("localhost"), &Connector::new()).await;
    let source = error.source().unwrap().to_string();
    assert!(error.is_tls());
    assert!(source.contains("UnknownIssuer") || source.contains("root certificates"), "{source}");
}

#[tokio::test]
async fn a_server_without_tls_is_an_error_of_tls() {
    let (listener, addr) = listen().await;
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
    };
    let connector = Connector::new().tls_config(Authority::new().client());
    let (result, ()) = tokio::join!(connector.connect(url(addr)), server);
    assert!(result.unwrap_err().is_tls());
}

/// R-21, E-22: the proxy sees the name and the port, and nothing of what follows.
#[tokio::test]
async fn a_proxy_carries_tls_from_end_to_end() {
    let authority = Authority::new();
    let (listener, addr) = listen().await;
    let (proxy, proxy_addr) = listen().await;
    let proxying = async {
        let (mut client, _) = proxy.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(client.read_u8().await.unwrap());
        }
        let request = String::from_utf8(request).unwrap();
        let mut server = TcpStream::connect(addr).await.unwrap();
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let _ = copy_bidirectional(&mut client, &mut server).await;
        request
    };
    let connector = Connector::new()
        .tls_config(authority.client())
        .proxy(Proxy::new(&format!("http://{proxy_addr}")).unwrap());
    let client = async {
        let (socket, _) = connector.connect(url(addr)).await.unwrap();
        echo(socket).await;
    };
    let server = serve_one(&listener, authority.server("localhost"));
    let all = async { tokio::join!(server, client, proxying) };
    let (seen, (), request) = soon("an echo", all).await;
    let authority = format!("localhost:{}", addr.port());
    assert_eq!(request, format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n"));
    assert_eq!(seen.unwrap().sni.as_deref(), Some("localhost"));
}
