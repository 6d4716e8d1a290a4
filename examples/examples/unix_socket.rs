//! A WebSocket between two programs of one machine, over a Unix socket: no port, and the file system
//! says who may connect.
//!
//! ```text
//! cargo run -p examples --example unix_socket -- /tmp/echo.sock            # serves
//! cargo run -p examples --example unix_socket -- /tmp/echo.sock hello      # says hello
//! ```

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), hybi::socket::BoxError> {
    let mut args = std::env::args().skip(1);
    match (args.next(), args.next(), args.next()) {
        (Some(path), None, None) => unix::serve(unix::bind(&path)?).await?,
        (Some(path), Some(text), None) => println!("{}", unix::say(&path, &text).await?),
        _ => return Err("usage: unix_socket PATH [TEXT]".into()),
    }
    Ok(())
}

#[cfg(not(unix))]
fn main() -> Result<(), &'static str> {
    Err("there are no Unix sockets here")
}

#[cfg(unix)]
mod unix {
    use std::{
        io,
        os::unix::{fs::FileTypeExt, net},
        path::Path,
        time::Duration,
    };

    use hybi::{
        socket::{BoxError, WebSocket},
        standalone::{AcceptError, Acceptor, connect_over},
    };
    use tokio::{
        net::{UnixListener, UnixStream},
        time::sleep,
    };

    /// Binds to `path`, in place of a socket that a program which is gone has left there.
    pub(super) fn bind(path: impl AsRef<Path>) -> io::Result<UnixListener> {
        let path = path.as_ref();
        let is_socket = path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket());
        if is_socket
            && let Err(error) = net::UnixStream::connect(path)
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            std::fs::remove_file(path)?;
        }
        UnixListener::bind(path)
    }

    /// Echoes until the program ends.
    pub(super) async fn serve(listener: UnixListener) -> io::Result<()> {
        let acceptor = Acceptor::new();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        if let Err(error) = echo(stream, &acceptor).await {
                            eprintln!("{error}");
                        }
                    });
                }
                // Most likely there are too many open files, and some will be closed.
                Err(error) => {
                    eprintln!("cannot accept: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn echo(stream: UnixStream, acceptor: &Acceptor) -> Result<(), AcceptError> {
        // A browser cannot get here, so there is no page whose origin would have to be checked.
        let incoming = acceptor.read(stream).await?;
        let ended = incoming.serve(|mut socket: WebSocket<_>| async move {
            while let Some(message) = socket.recv().await? {
                socket.send(message).await?;
            }
            Ok(())
        });
        ended.await?;
        Ok(())
    }

    /// Sends `text` and gives what comes back.
    pub(super) async fn say(path: impl AsRef<Path>, text: &str) -> Result<String, BoxError> {
        let stream = UnixStream::connect(path).await?;
        // The address says what is wanted of whom; that the way there is a file is our business.
        let (mut socket, _) = connect_over(stream, "ws://localhost/echo").await?;
        socket.send(text).await?;
        let message = socket.recv().await?.ok_or("the server closed without an answer")?;
        let text = message.as_text().ok_or("the answer is no text")?.to_owned();
        socket.close().await?;
        Ok(text)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::unix::{bind, say, serve};

    #[tokio::test]
    async fn what_is_said_comes_back_and_a_stale_socket_is_no_obstacle() {
        let path = std::env::temp_dir().join(format!("unix_socket_{}.sock", std::process::id()));
        for text in ["hello", "hello again"] {
            let serving = tokio::spawn(serve(bind(&path).unwrap()));
            assert_eq!(say(&path, text).await.unwrap(), text);
            assert!(bind(&path).is_err(), "a live server keeps its socket");
            serving.abort();
            let _ = serving.await;
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[tokio::test]
    async fn a_socket_of_another_kind_that_lives_is_left_alone() {
        let path = std::env::temp_dir().join(format!("unix_socket_{}.dgram", std::process::id()));
        let other = tokio::net::UnixDatagram::bind(&path).unwrap();
        assert!(bind(&path).is_err());
        assert!(path.exists());
        drop(other);
        std::fs::remove_file(&path).unwrap();
    }
}
