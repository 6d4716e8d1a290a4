//! How much time of a processor a message takes from the server, the kernel's share included.

use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

use benches::{
    load::{Content, Crowd, Load},
    servers::Server,
};

use crate::running::Running;

pub(crate) const SERVERS: [Server; 6] = [
    Server::Raw,
    Server::Ours,
    Server::OursPerMessage,
    Server::AxumWs,
    Server::Fastwebsockets,
    Server::TokioWebsockets,
];

/// Title, content, size, messages in flight on a connection, connections.
const LOADS: [(&str, Content, usize, usize, usize); 7] = [
    ("16 B, p1", Content::Binary, 16, 1, 64),
    ("16 B, p32", Content::Binary, 16, 32, 64),
    ("1 KiB, p1", Content::Binary, 1024, 1, 64),
    ("1 KiB, p32", Content::Binary, 1024, 32, 64),
    ("UTF-8 1 KiB, p32", Content::Utf8, 1024, 32, 64),
    ("64 KiB, p1", Content::Binary, 64 * 1024, 1, 8),
    ("1 MiB, p1", Content::Binary, 1024 * 1024, 1, 8),
];

pub(crate) fn compare(servers: &[Server], rounds: usize, time: Duration) -> io::Result<()> {
    for (title, content, size, depth, connections) in LOADS {
        let mut under_load = servers
            .iter()
            .map(|&server| UnderLoad::start(server, Load::new(content, size, depth)?, connections))
            .collect::<io::Result<Vec<_>>>()?;
        let mut figures = vec![Vec::with_capacity(rounds); servers.len()];
        // Alternating, so that what else the machine does meets all of them.
        for _ in 0..rounds {
            for (server, figures) in under_load.iter_mut().zip(&mut figures) {
                figures.push(server.round(time)?);
            }
        }
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "\n{:<26} {:>14} {:>14} {:>16}",
            title, "us per message", "of the first", "messages per s"
        )?;
        let firsts = figures[0].clone();
        for (server, figures) in servers.iter().zip(&figures) {
            // Of the same round, so that a slow one counts for both.
            let ratios = figures.iter().zip(&firsts).map(|(each, first)| each.cpu / first.cpu);
            writeln!(
                out,
                "  {:<24} {:>14.3} {:>14.2} {:>16.0}",
                server.name(),
                median(figures.iter().map(|each| each.cpu)) * 1e6,
                median(ratios),
                median(figures.iter().map(|each| each.rate)),
            )?;
        }
    }
    Ok(())
}

/// A server, and the connections that load it.
struct UnderLoad {
    server: Running,
    crowd: Crowd,
    /// Messages between two looks at the clock.
    piece: usize,
}

/// What a round showed.
#[derive(Clone, Copy)]
struct Figures {
    /// Seconds per message.
    cpu: f64,
    /// Messages per second.
    rate: f64,
}

impl UnderLoad {
    fn start(server: Server, load: Load, connections: usize) -> io::Result<Self> {
        let server = Running::start(server)?;
        let mut crowd = Crowd::open(server.addr, load, connections)?;
        // One round is a warm-up, and tells how many messages a round has.
        let piece = crowd.echo(1)? * 4;
        Ok(Self { server, crowd, piece })
    }

    fn round(&mut self, time: Duration) -> io::Result<Figures> {
        let (start, before) = (Instant::now(), self.server.cpu()?);
        let mut messages = 0;
        while start.elapsed() < time {
            messages += self.crowd.echo(self.piece)?;
        }
        let (elapsed, after) = (start.elapsed(), self.server.cpu()?);
        let messages = messages as f64;
        Ok(Figures {
            cpu: (after - before).as_secs_f64() / messages,
            rate: messages / elapsed.as_secs_f64(),
        })
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
