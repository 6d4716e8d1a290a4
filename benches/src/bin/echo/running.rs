//! A server in a process of its own, and what Linux tells about that process.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use benches::servers::Server;

/// A server that ends with this.
pub(crate) struct Running {
    process: Child,
    pub(crate) addr: SocketAddr,
}

impl Running {
    pub(crate) fn start(server: Server) -> io::Result<Self> {
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

    /// How long its main thread, which does everything, has been running: user and system.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/schedstat", self.process.id()))?;
        let nanos = stat.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos.map(Duration::from_nanos).ok_or_else(|| io::Error::other("no time in schedstat"))
    }

    /// Resident memory in bytes.
    pub(crate) fn resident(&self) -> io::Result<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
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
