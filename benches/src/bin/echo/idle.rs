//! What a socket that says nothing holds of the server's memory.

use std::io::{self, Write};

use benches::{
    load::{Content, Crowd, Load},
    servers::Server,
};

use crate::running::Running;

pub(crate) const SERVERS: [Server; 7] = [
    Server::Raw,
    Server::Ours,
    Server::OursPerMessage,
    Server::OursAxum,
    Server::AxumWs,
    Server::Fastwebsockets,
    Server::TokioWebsockets,
];

/// Files that each process has open beside its sockets, generously.
const FILES: usize = 64;

pub(crate) fn compare(servers: &[Server], sockets: usize, size: usize) -> io::Result<()> {
    // The servers inherit it.
    let limit = rlimit::increase_nofile_limit((sockets + FILES) as u64)?;
    if limit < (sockets + FILES) as u64 {
        return Err(io::Error::other(format!("no more than {limit} files may be open")));
    }
    for &server in servers {
        let running = Running::start(server)?;
        let open = |count| {
            let mut crowd = Crowd::open(running.addr, Load::new(Content::Binary, size, 1)?, count)?;
            crowd.echo(count)?;
            Ok::<_, io::Error>(crowd)
        };
        // What the server allocates once is none of the sockets'.
        let warm = open(10)?;
        let before = running.resident()?;
        let crowd = open(sockets)?;
        let each = running.resident()?.saturating_sub(before) / sockets.max(1);
        writeln!(io::stdout(), "{:<26} {each:>8} B", server.name())?;
        drop((warm, crowd));
    }
    Ok(())
}
