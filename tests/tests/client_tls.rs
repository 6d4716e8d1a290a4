//! The client over TLS, which is a byte stream like any other.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tests::{
    dial::is_echo,
    start::{echo, inner, listen, soon},
    tls::{Authority, self_signed},
};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tower::{Layer, Service, service_fn};
use tower_websocket::{
    WebSocketLayer,
    client::{ClientOptions, Connector, WebSocketClient},
    handler_fn,
    handshake::Address,
};

/// A server of ours behind TLS, and the ALPN of each of its connections.
async fn server(tls: TlsAcceptor) -> (SocketAddr, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let (listener, addr) = listen().await;
    let (seen, alpn) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = tls.accept(stream).await else {
                seen.send("failed".into()).unwrap();
                continue;
            };
            let alpn = stream.get_ref().1.alpn_protocol().unwrap_or_default();
            seen.send(String::from_utf8_lossy(alpn).into_owned()).unwrap();
            tokio::spawn(async move {
                let layer = WebSocketLayer::new(handler_fn(echo)).layer(service_fn(inner));
                let mut http = auto::Builder::new(TokioExecutor::new());
                http.http2().enable_connect_protocol();
                let service = TowerToHyperService::new(layer);
                let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
                let _ = connection.await;
            });
        }
    });
    (addr, alpn)
}

/// What makes byte streams with TLS, as a user writes it.
fn connector(
    mut config: ClientConfig,
    alpn: &str,
) -> Connector<
    impl Service<Address, Response = TlsStream<TcpStream>, Error = io::Error, Future: Send + 'static>,
> {
    config.alpn_protocols = vec![alpn.into()];
    let tls = TlsConnector::from(Arc::new(config));
    Connector::new(service_fn(move |address: Address| {
        let tls = tls.clone();
        async move {
            let name = ServerName::try_from(address.host().to_owned()).map_err(io::Error::other)?;
            let stream = TcpStream::connect((address.host(), address.port())).await?;
            stream.set_nodelay(true)?;
            tls.connect(name, stream).await
        }
    }))
}

/// C-12, R-03: over both versions of HTTP, with the ALPN of each.
#[tokio::test]
async fn wss_sockets_open_over_both_versions() {
    let authority = Authority::new();
    let (server, mut seen) = server(authority.server("localhost")).await;
    let uri = format!("wss://localhost:{}/", server.port());
    for (alpn, status) in [("http/1.1", 101), ("h2", 200)] {
        let options = ClientOptions::new().extended_connect(alpn == "h2");
        let mut client = WebSocketClient::new(connector(authority.client(), alpn)).options(options);
        let response = soon("a socket", client.connect(&uri)).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(seen.recv().await.unwrap(), alpn);
        is_echo(response.into_body()).await;
    }
}

/// C-12: a server that has not proven who it is hears nothing.
#[tokio::test]
async fn a_server_that_is_not_trusted_hears_nothing() {
    let authority = Authority::new();
    for tls in [
        self_signed("localhost"),
        authority.server("other.example"),
        authority.expired("localhost"),
        Authority::new().server("localhost"),
    ] {
        let (server, mut seen) = server(tls).await;
        let uri = format!("wss://localhost:{}/", server.port());
        let mut client = WebSocketClient::new(connector(authority.client(), "http/1.1"));
        let error = soon("an outcome", client.connect(&uri)).await.unwrap_err();
        assert!(error.is_http(), "{error}");
        assert_eq!(seen.recv().await.unwrap(), "failed");
    }
}
