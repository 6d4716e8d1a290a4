//! Echo servers side by side, over loopback and in one run; also their parts, for tools that
//! measure one of them from outside.

mod cpu;
mod fairness;
mod idle;
mod running;

use std::{
    io::{self, Write},
    net::SocketAddr,
    process::ExitCode,
    time::Duration,
};

use benches::{
    client,
    load::{Client, Content, Crowd, Load},
    servers::{Server, serve_until_stdin_ends},
};
use clap::{Args, Parser, Subcommand, builder::RangedU64ValueParser};

#[derive(Parser)]
#[command(about = "Compares echo servers over loopback")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Print the processor time of every server per message: medians of alternating rounds.
    Cpu {
        /// Rounds that each server has for each load.
        #[arg(long, default_value_t = 7, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
        rounds: usize,
        /// How long each round takes.
        #[arg(long, default_value_t = 0.4)]
        seconds: f64,
        /// The servers; the second and further ones are compared to the first.
        #[arg(value_enum, default_values_t = cpu::SERVERS)]
        servers: Vec<Server>,
    },
    /// Print what an idle socket adds to the resident memory of every server.
    Idle {
        /// How many sockets are opened.
        #[arg(long, default_value_t = 5000)]
        sockets: usize,
        /// Bytes of the one message that each of them has echoed before.
        #[arg(long, default_value_t = 500)]
        size: usize,
        /// The servers.
        #[arg(value_enum, default_values_t = idle::SERVERS)]
        servers: Vec<Server>,
    },
    /// Print how long a quiet socket waits for its reply beside sockets that flood the server.
    Fairness {
        /// How long each flood lasts.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// How many sockets flood the server.
        #[arg(long, default_value_t = 1)]
        floods: usize,
        /// The servers; of each there has to be a slow one.
        #[arg(value_enum, default_values_t = fairness::SERVERS)]
        servers: Vec<Server>,
    },
    /// Serve until standard input ends; the first line printed is the address.
    Serve {
        #[arg(value_enum)]
        server: Server,
    },
    /// Have messages echoed over many connections.
    Load {
        addr: SocketAddr,
        #[command(flatten)]
        shape: Shape,
    },
    /// The same with our own client.
    Client {
        addr: SocketAddr,
        #[command(flatten)]
        shape: Shape,
    },
    /// Open and close connections, one after the other.
    Handshakes {
        addr: SocketAddr,
        #[arg(long)]
        count: usize,
    },
}

#[derive(Args)]
struct Shape {
    /// How many messages there are, of all connections together.
    #[arg(long)]
    messages: usize,
    /// How many connections take turns.
    #[arg(long, default_value_t = 64, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    connections: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Messages in flight on each connection.
    #[arg(long, default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    depth: usize,
    #[arg(long, value_enum, default_value_t = Content::Binary)]
    content: Content,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> io::Result<()> {
    match task {
        Task::Cpu { rounds, seconds, servers } => cpu::compare(&servers, rounds, time(seconds)?),
        Task::Idle { sockets, size, servers } => idle::compare(&servers, sockets, size),
        Task::Fairness { seconds, floods, servers } => {
            fairness::compare(&servers, floods, time(seconds)?)
        }
        Task::Serve { server } => serve_until_stdin_ends(server),
        Task::Load { addr, shape } => {
            let Shape { messages, connections, size, depth, content } = shape;
            let mut crowd = Crowd::open(addr, Load::new(content, size, depth)?, connections)?;
            crowd.echo(messages)?;
            crowd.close()
        }
        Task::Client { addr, shape } => {
            let Shape { messages, connections, size, depth, content } = shape;
            client::echo(addr, content, size, depth, connections, messages)
        }
        Task::Handshakes { addr, count } => {
            (0..count).try_for_each(|_| Client::connect(addr)?.close())
        }
    }
}

fn time(seconds: f64) -> io::Result<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(io::Error::other)
}
