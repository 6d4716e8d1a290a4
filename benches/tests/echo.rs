//! Every server that is compared does what is compared.

use std::{net::SocketAddr, thread};

use benches::{
    client,
    load::{Content, Crowd, Load},
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
        for (content, size, depth, connections, messages) in [
            (Content::Binary, 0, 1, 1, 2),
            (Content::Binary, 16, 32, 3, 200),
            (Content::Ascii, 125, 2, 1, 4),
            (Content::Utf8, 1024, 3, 2, 12),
            (Content::Binary, 64 * 1024, 4, 2, 16),
            (Content::Binary, 1024 * 1024, 1, 2, 4),
        ] {
            let echoed = Load::new(content, size, depth)
                .and_then(|load| Crowd::open(addr, load, connections))
                .and_then(|mut crowd| {
                    crowd.echo(messages)?;
                    crowd.close()
                });
            echoed.unwrap_or_else(|error| panic!("{}: {content:?} {size}: {error}", server.name()));
        }
    }
}

#[test]
fn a_server_that_compresses_echoes_what_is_compressed() {
    let load = Load::new(Content::Deflate, 1024, 2).unwrap();
    let mut crowd = Crowd::open(start(Server::OursDeflate), load, 2).unwrap();
    assert_eq!(crowd.echo(8).unwrap(), 8);
    crowd.close().unwrap();
}

#[test]
fn our_client_has_its_messages_echoed() {
    let addr = start(Server::Raw);
    for (content, size) in [(Content::Binary, 16), (Content::Utf8, 1024)] {
        client::echo(addr, content, size, 4, 3, 24).unwrap();
    }
}
