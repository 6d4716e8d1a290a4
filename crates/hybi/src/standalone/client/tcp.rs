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
        Ok(connect_first(interleave(addrs)).await.map_err(Kind::Tcp)?)
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
async fn connect_first(addrs: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut addrs = addrs.into_iter();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(addr) = addrs.next() {
            attempts.spawn(TcpStream::connect(addr));
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
    use tokio::net::TcpListener;

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
            let stream = connect_first(addrs).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), good);
        }
        let error = connect_first(vec![bad, bad]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
