//! Echo servers side by side, over loopback and in one run; also their parts, for tools that
//! measure one of them from outside.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, ExitCode, Stdio},
    time::Duration,
};

use benches::{
    load::{Client, Content, Load},
    servers::{Server, serve_until_stdin_ends},
};
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Compares echo servers over loopback")]
struct Args {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Print messages per second of every server: the median of alternating rounds, and the best,
    /// which is the one that the rest of the machine has disturbed least.
    Compare {
        /// Rounds that each server has for each load.
        #[arg(long, default_value_t = 5, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
        rounds: usize,
        /// How long each round takes.
        #[arg(long, default_value_t = 0.4)]
        seconds: f64,
        /// The servers; all without any.
        #[arg(value_enum)]
        servers: Vec<Server>,
    },
    /// Print what an idle socket adds to the resident memory of every server.
    Idle {
        /// How many sockets are opened.
        #[arg(long, default_value_t = 1000)]
        sockets: usize,
        /// The servers; all without any.
        #[arg(value_enum)]
        servers: Vec<Server>,
    },
    /// Serve until standard input ends; the first line printed is the address.
    Serve {
        #[arg(value_enum)]
        server: Server,
    },
    /// Have messages echoed over one connection.
    Load {
        addr: SocketAddr,
        #[arg(long)]
        messages: usize,
        #[arg(long, default_value_t = 16)]
        size: usize,
        #[arg(long, default_value_t = 1)]
        depth: usize,
        #[arg(long, value_enum, default_value_t = Content::Binary)]
        content: Content,
    },
    /// Open and close connections, one after the other.
    Handshakes {
        addr: SocketAddr,
        #[arg(long)]
        count: usize,
    },
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Task::Compare { rounds, seconds, servers } => {
            compare(&all_if_none(servers), rounds, seconds)
        }
        Task::Idle { sockets, servers } => idle(&all_if_none(servers), sockets),
        Task::Serve { server } => serve_until_stdin_ends(server),
        Task::Load { addr, messages, size, depth, content } => {
            load(addr, &Load::new(content, size, depth), messages)
        }
        Task::Handshakes { addr, count } => {
            (0..count).try_for_each(|_| Client::connect(addr)?.close())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn all_if_none(servers: Vec<Server>) -> Vec<Server> {
    if servers.is_empty() { Server::value_variants().to_vec() } else { servers }
}

fn load(addr: SocketAddr, load: &Load, messages: usize) -> io::Result<()> {
    let mut client = Client::connect(addr)?;
    client.echo(load, messages)?;
    client.close()
}

fn compare(servers: &[Server], rounds: usize, seconds: f64) -> io::Result<()> {
    let time = Duration::try_from_secs_f64(seconds).map_err(io::Error::other)?;
    let running =
        servers.iter().map(|&server| Running::start(server)).collect::<Result<Vec<_>, _>>()?;
    let loads = [
        ("16 B, 1 in flight", Content::Binary, 16, 1),
        ("16 B, 32 in flight", Content::Binary, 16, 32),
        ("1 KiB, 1 in flight", Content::Binary, 1024, 1),
        ("1 KiB, 32 in flight", Content::Binary, 1024, 32),
        ("1 KiB UTF-8, 32 in flight", Content::Utf8, 1024, 32),
        ("64 KiB, 1 in flight", Content::Binary, 64 * 1024, 1),
        ("64 KiB, 32 in flight", Content::Binary, 64 * 1024, 32),
    ];
    for (title, content, size, depth) in loads {
        let load = Load::new(content, size, depth);
        let mut rates = vec![Vec::with_capacity(rounds); servers.len()];
        // Alternating, so that what else the machine does meets all of them.
        for _ in 0..rounds {
            for (server, rates) in running.iter().zip(&mut rates) {
                rates.push(load.rate(server.addr, time)?);
            }
        }
        let mut out = io::stdout().lock();
        writeln!(out, "\n{title:<26} {:>10} {:>10}  of the first", "median", "best")?;
        let mut first = None;
        for (server, rates) in servers.iter().zip(&mut rates) {
            rates.sort_by(f64::total_cmp);
            let (median, best) = (rates[rates.len() / 2], rates[rates.len() - 1]);
            let (of_median, of_best) = *first.get_or_insert((median, best));
            let name = server.name();
            let (of_median, of_best) = (median / of_median, best / of_best);
            writeln!(out, "  {name:<24} {median:>10.0} {best:>10.0}  {of_median:.2} {of_best:.2}")?;
        }
    }
    Ok(())
}

fn idle(servers: &[Server], sockets: usize) -> io::Result<()> {
    let load = Load::new(Content::Binary, 500, 1);
    for &server in servers {
        let running = Running::start(server)?;
        let open = |count| {
            (0..count)
                .map(|_| {
                    let mut client = Client::connect(running.addr)?;
                    client.echo(&load, 1)?;
                    Ok(client)
                })
                .collect::<io::Result<Vec<_>>>()
        };
        // What the server allocates once is none of the sockets'.
        let warm = open(10)?;
        let before = running.resident()?;
        let clients = open(sockets)?;
        let each = running.resident()?.saturating_sub(before) / sockets.max(1);
        writeln!(io::stdout(), "{:<26} {each:>8} B", server.name())?;
        drop((warm, clients));
    }
    Ok(())
}

/// A server in a process of its own, which ends with this.
struct Running {
    process: Child,
    addr: SocketAddr,
}

impl Running {
    fn start(server: Server) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["serve", &server.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        match line.trim().parse() {
            Ok(addr) => Ok(Self { process, addr }),
            Err(error) => {
                process.kill()?;
                process.wait()?;
                Err(io::Error::other(format!("{}: {error}", server.name())))
            }
        }
    }

    /// Resident memory in bytes, as Linux tells it.
    fn resident(&self) -> io::Result<usize> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok())
            .map(|kibibytes: usize| kibibytes * 1024)
            .ok_or_else(|| io::Error::other("no resident size in /proc"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
