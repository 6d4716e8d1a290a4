//! How long a quiet socket waits while other sockets of its thread have always something to do.

use std::{
    io::{self, Write},
    net::{Shutdown, TcpStream},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use benches::{
    load::{Client, Content, Load, frame},
    servers::Server,
};

use crate::running::Running;

pub(crate) const SERVERS: [Server; 4] =
    [Server::Raw, Server::Ours, Server::Fastwebsockets, Server::TokioWebsockets];

/// What the quiet socket does between a reply and its next message.
const PAUSE: Duration = Duration::from_millis(3);

/// Until a flood has filled the buffers of the kernel.
const WARM_UP: Duration = Duration::from_millis(300);

/// At least this much of a flood's frames is written at once.
const BLOCK: usize = 64 * 1024;

/// Title, bytes of a message, whether the handler is slow. Without bytes there is no flood.
const FLOODS: [(&str, Option<usize>, bool); 4] = [
    ("no flood", None, false),
    ("16 B", Some(16), false),
    ("0 B, 10 us each", Some(0), true),
    ("1 MiB", Some(1024 * 1024), false),
];

pub(crate) fn compare(servers: &[Server], floods: usize, time: Duration) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "p50 / p99 / worst in milliseconds, of so many round trips")?;
    write!(out, "{:<18}", "")?;
    for (title, ..) in FLOODS {
        write!(out, " {title:>32}")?;
    }
    writeln!(out)?;
    for &server in servers {
        write!(out, "{:<18}", server.name())?;
        for (_, size, slow) in FLOODS {
            let server = if slow { server.slow() } else { Some(server) };
            let server = server.ok_or_else(|| io::Error::other("it has no slow handler"))?;
            let mut waits = round_trips(server, size, floods, time)?;
            waits.sort();
            let at = |share: f64| {
                waits[((waits.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0
            };
            let (median, p99, worst) = (at(0.5), at(0.99), at(1.0));
            let figures = format!("{median:.2} / {p99:.2} / {worst:.2} of {}", waits.len());
            write!(out, " {figures:>32}")?;
            out.flush()?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// How long each message of a quiet socket took, there and back.
fn round_trips(
    server: Server,
    size: Option<usize>,
    floods: usize,
    time: Duration,
) -> io::Result<Vec<Duration>> {
    let running = Running::start(server)?;
    let load = Load::new(Content::Binary, 16, 1)?;
    let mut quiet = Client::connect(running.addr)?;
    quiet.echo(&load)?;
    let floods = size
        .map(|size| {
            (0..floods).map(|_| Flood::start(&running, size)).collect::<io::Result<Vec<_>>>()
        })
        .transpose()?;
    thread::sleep(WARM_UP);
    let start = Instant::now();
    let mut waits = Vec::new();
    while start.elapsed() < time {
        thread::sleep(PAUSE);
        let sent = Instant::now();
        quiet.echo(&load)?;
        waits.push(sent.elapsed());
    }
    for flood in floods.into_iter().flatten() {
        flood.end()?;
    }
    Ok(waits)
}

/// A socket that writes as fast as it can and takes what comes back.
struct Flood {
    stream: TcpStream,
    threads: [JoinHandle<io::Result<u64>>; 2],
}

impl Flood {
    fn start(server: &Running, size: usize) -> io::Result<Self> {
        let stream = Client::connect(server.addr)?.into_stream();
        let (mut writer, mut reader) = (stream.try_clone()?, stream.try_clone()?);
        let (first, payload) = Content::Binary.payload(size);
        let frame = frame(first, &payload, Some([1, 2, 3, 4]));
        let block = frame.repeat(BLOCK.div_ceil(frame.len()));
        let threads = [
            thread::spawn(move || {
                loop {
                    writer.write_all(&block)?;
                }
            }),
            thread::spawn(move || io::copy(&mut reader, &mut io::sink())),
        ];
        Ok(Self { stream, threads })
    }

    /// Ends it. It has to have lasted until now.
    fn end(self) -> io::Result<()> {
        if self.threads.iter().any(JoinHandle::is_finished) {
            return Err(io::Error::other("the server has ended the flood"));
        }
        self.stream.shutdown(Shutdown::Both)?;
        for thread in self.threads {
            let _ = thread.join();
        }
        Ok(())
    }
}
