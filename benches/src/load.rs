//! The load: one connection, a fixed number of messages in flight, raw frames over a blocking
//! `TcpStream` so that no library's client takes part.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Bytes that may be written before any reply is read without both ends waiting for each other.
const SAFE: usize = 64 * 1024;

/// No reply takes this long; a server that hangs ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// A binary message.
    Binary,
    /// Text in ASCII.
    Ascii,
    /// Text with characters of one to four bytes.
    Utf8,
}

impl Content {
    /// The first byte of a frame and a payload of `size` bytes.
    #[must_use]
    pub fn payload(self, size: usize) -> (u8, Vec<u8>) {
        match self {
            Self::Binary => (0x82, (0..size).map(|i| (i * 7) as u8).collect()),
            Self::Ascii => (0x81, (0..size).map(|i| b'a' + (i % 26) as u8).collect()),
            Self::Utf8 => {
                let mut text = String::with_capacity(size);
                for char in "plain, käse, żółć, 漢字, 🦀. ".chars().cycle() {
                    if text.len() + char.len_utf8() > size {
                        break;
                    }
                    text.push(char);
                }
                let rest = size - text.len();
                text.extend(std::iter::repeat_n('.', rest));
                (0x81, text.into_bytes())
            }
        }
    }
}

/// A frame with a payload, masked or not.
#[must_use]
pub fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if key.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(bit | len as u8),
        len @ 126..65536 => {
            frame.push(bit | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(bit | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    match key {
        Some(key) => {
            frame.extend(key);
            frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
        None => frame.extend(payload),
    }
    frame
}

/// A connection to an echo server, past its handshake.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and does the opening handshake.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )?;
        // A server says nothing more before it is spoken to, so nothing is lost in the reader.
        let mut head = BufReader::new(&stream);
        let mut line = String::new();
        head.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 101") {
            return Err(io::Error::other(format!("the handshake was answered with {line:?}")));
        }
        while line != "\r\n" {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { stream })
    }

    /// Has `messages` echoed, `depth` at a time, and compares each reply to what was sent.
    pub fn echo(&mut self, load: &Load, messages: usize) -> io::Result<()> {
        let Load { sent, expected, depth } = load;
        let mut reply = vec![0; expected.len()];
        let rounds = messages.div_ceil(*depth);
        let mut writer = self.stream.try_clone()?;
        let mut receive = |stream: &mut TcpStream| {
            stream.read_exact(&mut reply)?;
            if reply == *expected {
                Ok(())
            } else {
                Err(io::Error::other("not the same came back"))
            }
        };
        if sent.len() <= SAFE {
            for _ in 0..rounds {
                writer.write_all(sent)?;
                receive(&mut self.stream)?;
            }
            return Ok(());
        }
        let (next, turns) = mpsc::channel();
        thread::scope(|scope| {
            let written =
                scope.spawn(move || turns.iter().try_for_each(|()| writer.write_all(sent)));
            for _ in 0..rounds {
                // If the writer is gone, the reply does not come and the timeout ends the run.
                let _ = next.send(());
                receive(&mut self.stream)?;
            }
            drop(next);
            written.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
        })
    }

    /// Closes: our Close, the server's, and the end of the connection.
    pub fn close(mut self) -> io::Result<()> {
        self.stream.write_all(&frame(0x88, &[0x03, 0xe8], Some([1, 2, 3, 4])))?;
        self.stream.shutdown(std::net::Shutdown::Write)?;
        // The bare upgrade does not know that this is a Close; for everybody the end comes.
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }
}

/// What is sent in one go, and what comes back.
#[derive(Debug)]
pub struct Load {
    sent: Vec<u8>,
    expected: Vec<u8>,
    depth: usize,
}

impl Load {
    /// Messages of `size` bytes, `depth` of them in flight.
    #[must_use]
    pub fn new(content: Content, size: usize, depth: usize) -> Self {
        let (first, payload) = content.payload(size);
        let key = [0x37, 0xfa, 0x21, 0x3d];
        Self {
            sent: frame(first, &payload, Some(key)).repeat(depth),
            expected: frame(first, &payload, None).repeat(depth),
            depth,
        }
    }

    /// Echoes for about `time` over a new connection. Returns messages per second.
    pub fn rate(&self, addr: SocketAddr, time: Duration) -> io::Result<f64> {
        let mut client = Client::connect(addr)?;
        // In pieces between which the clock is read; the first is a warm-up.
        let piece = (SAFE / self.sent.len()).clamp(1, 64) * self.depth;
        client.echo(self, piece)?;
        let start = Instant::now();
        let mut messages = 0;
        while start.elapsed() < time {
            client.echo(self, piece)?;
            messages += piece;
        }
        let rate = messages as f64 / start.elapsed().as_secs_f64();
        client.close()?;
        Ok(rate)
    }
}
