//! Every server that is compared does what is compared.

use std::{net::SocketAddr, thread};

use benches::{
    load::{Client, Content, Load},
    servers::Server,
};
use clap::ValueEnum;

/// The server ends with the test's process.
fn start(server: Server) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || runtime.block_on(server.serve(listener)));
    addr
}

#[test]
fn every_server_echoes_every_load_and_closes() {
    for &server in Server::value_variants() {
        let addr = start(server);
        for (content, size, depth, messages) in [
            (Content::Binary, 0, 1, 2),
            (Content::Binary, 16, 32, 64),
            (Content::Ascii, 125, 2, 4),
            (Content::Utf8, 1024, 3, 6),
            (Content::Binary, 64 * 1024, 4, 8),
        ] {
            let mut client = Client::connect(addr).unwrap();
            let load = Load::new(content, size, depth);
            let echoed = client.echo(&load, messages).and_then(|()| client.close());
            echoed.unwrap_or_else(|error| panic!("{}: {content:?} {size}: {error}", server.name()));
        }
    }
}
