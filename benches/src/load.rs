//! The load: many connections, on each a fixed number of messages in flight, raw frames over
//! blocking `TcpStream`s so that no library's client takes part.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::Duration,
};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Bytes that may be written to a connection before any reply is read without both ends waiting
/// for each other.
const SAFE: usize = 64 * 1024;

/// No reply takes this long; a server that hangs ends the run.
const PATIENCE: Duration = Duration::from_secs(60);

/// The masking key of every frame.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Content {
    /// A binary message.
    Binary,
    /// Text in ASCII.
    Ascii,
    /// Text with characters of one to four bytes.
    Utf8,
    /// Text that the client compresses, if the server agrees to permessage-deflate.
    Deflate,
}

impl Content {
    /// The first byte of a frame and a message of `size` bytes.
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
            Self::Deflate => {
                let mut text = String::with_capacity(size + 64);
                for id in 0.. {
                    if text.len() >= size {
                        break;
                    }
                    text +=
                        &format!("{{\"id\":{id},\"price\":{}.{}}},", id * 37 % 101, id * 7 % 89);
                }
                text.truncate(size);
                (0xc1, text.into_bytes())
            }
        }
    }
}

/// A message as permessage-deflate has it (RFC 7692 section 7.2.1).
fn compress(message: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(message.len() + 64);
    Compress::new(Compression::fast(), false).compress_vec(
        message,
        &mut out,
        FlushCompress::Sync,
    )?;
    out.truncate(out.len() - 4);
    Ok(out)
}

/// A message of `size` bytes, as it was before an endpoint compressed it.
fn inflate(payload: &[u8], size: usize) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(size + 1);
    let wire = [payload, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false).decompress_vec(&wire, &mut out, FlushDecompress::Sync)?;
    Ok(out)
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
        Self::connect_with(addr, "")
    }

    /// Connects as one that compresses.
    pub fn connect_with_deflate(addr: SocketAddr) -> io::Result<Self> {
        Self::connect_with(
            addr,
            "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover; \
             server_no_context_takeover\r\n",
        )
    }

    fn connect_with(addr: SocketAddr, fields: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {fields}\r\n"
        )?;
        // A server says nothing more before it is spoken to, so nothing is lost in the reader.
        let mut head = BufReader::new(&stream);
        let mut line = String::new();
        head.read_line(&mut line)?;
        if !line.starts_with("HTTP/1.1 101") {
            return Err(io::Error::other(format!("the handshake was answered with {line:?}")));
        }
        let mut agreed = false;
        while line != "\r\n" {
            line.clear();
            if head.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            agreed |= line.to_ascii_lowercase().starts_with("sec-websocket-extensions:");
        }
        if agreed == fields.is_empty() {
            return Err(io::Error::other("the server does not agree on compression"));
        }
        Ok(Self { stream })
    }

    /// Sends one message of `load` per message in flight, and takes the replies.
    pub fn echo(&mut self, load: &Load) -> io::Result<()> {
        self.stream.write_all(&load.sent)?;
        self.receive(load, &mut vec![0; load.expected.len()])
    }

    /// Takes the replies to what was sent, and compares them to what has to come.
    fn receive(&mut self, load: &Load, reply: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(reply)?;
        if reply == load.expected { Ok(()) } else { Err(not_the_same()) }
    }

    /// Takes one message, which may come in several frames, and compares it to what has to come.
    fn receive_message(&mut self, load: &Load, message: &mut [u8]) -> io::Result<()> {
        let mut at = 0_usize;
        loop {
            let mut start = [0; 2];
            self.stream.read_exact(&mut start)?;
            let mut extended = [0; 8];
            let extended = match start[1] {
                126 => &mut extended[..2],
                127 => &mut extended[..],
                _ => &mut extended[..0],
            };
            self.stream.read_exact(extended)?;
            let len = match extended {
                [] => usize::from(start[1]),
                _ => extended.iter().fold(0, |len, &byte| len << 8 | usize::from(byte)),
            };
            let part = at..at.saturating_add(len);
            let part = message.get_mut(part).ok_or_else(not_the_same)?;
            self.stream.read_exact(part)?;
            at += len;
            if start[0] & 0x80 != 0 {
                return if *message == load.message { Ok(()) } else { Err(not_the_same()) };
            }
        }
    }

    /// Closes: our Close, the server's, and the end of the connection.
    pub fn close(mut self) -> io::Result<()> {
        self.stream.write_all(&frame(0x88, &[0x03, 0xe8], Some(KEY)))?;
        self.stream.shutdown(Shutdown::Write)?;
        // The bare upgrade does not know that this is a Close; for everybody the end comes.
        io::copy(&mut self.stream, &mut io::sink()).map(|_| ())
    }

    /// The connection, for another end of the protocol.
    #[must_use]
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// What is sent in one go over a connection, and what comes back.
#[derive(Debug)]
pub struct Load {
    content: Content,
    message: Vec<u8>,
    sent: Vec<u8>,
    expected: Vec<u8>,
    depth: usize,
}

impl Load {
    /// Messages of `size` bytes, `depth` of them in flight on each connection.
    pub fn new(content: Content, size: usize, depth: usize) -> io::Result<Self> {
        let (first, message) = content.payload(size);
        let compressed = if content == Content::Deflate { Some(compress(&message)?) } else { None };
        let payload = compressed.as_ref().unwrap_or(&message);
        let sent = frame(first, payload, Some(KEY)).repeat(depth);
        let expected = frame(first, payload, None).repeat(depth);
        Ok(Self { content, message, sent, expected, depth })
    }
}

/// Connections that all carry the same load.
#[derive(Debug)]
pub struct Crowd {
    clients: Vec<Client>,
    load: Load,
}

impl Crowd {
    /// Opens `connections`, one after the other.
    pub fn open(addr: SocketAddr, mut load: Load, connections: usize) -> io::Result<Self> {
        let deflate = load.content == Content::Deflate;
        let connect = if deflate { Client::connect_with_deflate } else { Client::connect };
        let mut clients =
            (0..connections).map(|_| connect(addr)).collect::<io::Result<Vec<_>>>()?;
        if deflate {
            // How well it compresses is the server's choice.
            for client in &mut clients {
                load.expected = learn(&mut client.stream, &load)?;
            }
        }
        Ok(Self { clients, load })
    }

    /// Has at least `messages` echoed: in each round every connection gets its messages before any
    /// reply is taken. Returns how many it were.
    pub fn echo(&mut self, messages: usize) -> io::Result<usize> {
        let Self { clients, load } = self;
        let in_flight = clients.len() * load.depth;
        let rounds = messages.div_ceil(in_flight);
        if load.sent.len() <= SAFE {
            let mut reply = vec![0; load.expected.len()];
            for _ in 0..rounds {
                for client in &mut *clients {
                    client.stream.write_all(&load.sent)?;
                }
                for client in &mut *clients {
                    client.receive(load, &mut reply)?;
                }
            }
        } else {
            echo_large(clients, load, rounds)?;
        }
        Ok(rounds * in_flight)
    }

    /// Closes each connection, one after the other.
    pub fn close(self) -> io::Result<()> {
        self.clients.into_iter().try_for_each(Client::close)
    }
}

/// Where too much is in flight to be written before something is read, another thread writes.
fn echo_large(clients: &mut [Client], load: &Load, rounds: usize) -> io::Result<()> {
    let mut writers = clients
        .iter()
        .map(|client| client.stream.try_clone())
        .collect::<io::Result<Vec<TcpStream>>>()?;
    let mut message = vec![0; load.message.len()];
    let (next, turns) = mpsc::channel();
    thread::scope(|scope| {
        let written = scope.spawn(move || {
            turns.iter().try_for_each(|()| {
                writers.iter_mut().try_for_each(|writer| writer.write_all(&load.sent))
            })
        });
        for _ in 0..rounds {
            // If the writer is gone, the reply does not come and the timeout ends the run.
            let _ = next.send(());
            for client in &mut *clients {
                for _ in 0..load.depth {
                    client.receive_message(load, &mut message)?;
                }
            }
        }
        drop(next);
        written.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    })
}

/// Has one round of `load` echoed by a server that compresses. Returns what came back, which each
/// later reply has to be equal to.
fn learn(stream: &mut TcpStream, load: &Load) -> io::Result<Vec<u8>> {
    stream.write_all(&load.sent)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let [first, 126, len @ ..] = head else {
        return Err(io::Error::other("not of a length that a compressed message would have"));
    };
    let mut payload = vec![0; usize::from(u16::from_be_bytes(len))];
    stream.read_exact(&mut payload)?;
    if first != load.sent[0] || inflate(&payload, load.message.len())? != load.message {
        return Err(not_the_same());
    }
    let replies = frame(first, &payload, None).repeat(load.depth);
    stream.read_exact(&mut vec![0; replies.len() - head.len() - payload.len()])?;
    Ok(replies)
}

fn not_the_same() -> io::Error {
    io::Error::other("not the same came back")
}
