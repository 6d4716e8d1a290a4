//! How a TCP connection is made to a host that may have many addresses.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    error::{ConnectError, Kind, Stage},
    open::within,
};
use crate::handshake::Address;

/// How long one address is waited for before the next is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first address of the host that takes the connection.
pub(super) async fn connect(
    address: &Address,
    deadline: Instant,
) -> Result<TcpStream, ConnectError> {
    let addrs = within(deadline, Stage::Dns, resolve(address)).await?;
    let stream = within(deadline, Stage::Tcp, async {
        let first = connect_first(interleave(addrs), TcpStream::connect);
        Ok(first.await.map_err(Kind::Tcp)?)
    });
    let stream = stream.await?;
    // Frames are written whole, so that waiting for more gains nothing.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn resolve(address: &Address) -> Result<Vec<SocketAddr>, ConnectError> {
    let (host, port) = (address.host(), address.port());
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let addrs: Vec<_> = lookup_host((host, port)).await.map_err(Kind::Dns)?.collect();
    if addrs.is_empty() {
        let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        return Err(Kind::Dns(error).into());
    }
    Ok(addrs)
}

/// The addresses of both families by turns, beginning with that of the first (RFC 8305, section 4).
fn interleave(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addrs.first().map(SocketAddr::is_ipv6) else { return addrs };
    let (preferred, others): (Vec<_>, Vec<_>) =
        addrs.into_iter().partition(|addr| addr.is_ipv6() == first);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut addrs = Vec::new();
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return addrs;
        }
        addrs.extend(pair.into_iter().flatten());
    }
}

/// Tries the addresses in order, and the next one as soon as one fails or makes it wait. All that
/// still wait are dropped when one has taken the connection.
async fn connect_first<T, F>(
    addrs: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let mut addrs = addrs.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(addr) = addrs.next() {
            attempts.spawn(connect(addr));
        }
        let ended = if addrs.len() > 0 {
            match timeout(STAGGER, attempts.join_next()).await {
                Ok(ended) => ended,
                Err(_) => continue,
            }
        } else {
            attempts.join_next().await
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = error.into(),
            None => return Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, time::sleep};

    use super::*;

    #[test]
    fn families_take_turns() {
        let addrs = |ips: &[&str]| -> Vec<SocketAddr> {
            ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 80)).collect()
        };
        let given = addrs(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]);
        let expected = addrs(&["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]);
        assert_eq!(interleave(given), expected);
        assert_eq!(interleave(addrs(&["1.1.1.1", "::1"])), addrs(&["1.1.1.1", "::1"]));
        assert_eq!(interleave(Vec::new()), []);
    }

    #[tokio::test]
    async fn every_address_is_tried_and_the_last_failure_reported() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bad = closed.local_addr().unwrap();
        drop(closed);
        for addrs in [vec![good], vec![bad, bad, good], vec![good, bad]] {
            let stream = connect_first(addrs, TcpStream::connect).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
        let error = connect_first(vec![bad, bad], TcpStream::connect).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// Ports stand for what the addresses do: answer after so many milliseconds, or fail if the
    /// number is odd.
    #[tokio::test(start_paused = true)]
    async fn an_address_that_makes_it_wait_does_not_hold_up_the_next() {
        let connect = |addr: SocketAddr| async move {
            sleep(Duration::from_millis(addr.port().into())).await;
            if addr.port().is_multiple_of(2) {
                Ok(addr.port())
            } else {
                Err(io::ErrorKind::Other.into())
            }
        };
        let table = [
            (&[60_000, 10][..], Some(10), 260),
            (&[60_000, 60_001, 10], Some(10), 510),
            (&[300, 100], Some(300), 300),
            (&[11, 10], Some(10), 21),
            (&[60_000, 11, 13, 10], Some(10), 250 + 11 + 13 + 10),
            (&[11, 401], None, 11 + 401),
        ];
        for (ports, expected, millis) in table {
            let addrs = ports.iter().map(|&port| SocketAddr::from(([127, 0, 0, 1], port)));
            let begin = Instant::now();
            let first = connect_first(addrs.collect(), connect).await;
            assert_eq!(first.ok(), expected, "{ports:?}");
            assert_eq!(begin.elapsed().as_millis(), millis, "{ports:?}");
        }
    }
}
