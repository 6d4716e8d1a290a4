//! TLS for `wss` (RFC 6455, section 4.1).

use std::{
    io,
    sync::{Arc, OnceLock},
};

use tokio::{net::TcpStream, task::spawn_blocking};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

use crate::handshake::Address;

/// What was read of the system, once.
static NATIVE: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Encrypts a connection to the server, whose certificate has to be for the address's host.
pub(super) async fn encrypt(
    stream: TcpStream,
    address: &Address,
    config: Option<&Arc<ClientConfig>>,
) -> io::Result<TlsStream<TcpStream>> {
    let config = match config {
        Some(config) => Arc::clone(config),
        None => native_config().await?,
    };
    let name = ServerName::try_from(address.host().to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(config).connect(name, stream).await
}

/// Sets the one protocol that is spoken inside.
pub(super) fn with_alpn(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// A configuration that trusts what the system trusts.
async fn native_config() -> io::Result<Arc<ClientConfig>> {
    if let Some(config) = NATIVE.get() {
        return Ok(Arc::clone(config));
    }
    // It reads files.
    let config = spawn_blocking(load_native).await??;
    Ok(Arc::clone(NATIVE.get_or_init(|| config)))
}

fn load_native() -> io::Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        let text = match found.errors.first() {
            Some(error) => format!("the system's root certificates cannot be read: {error}"),
            None => "the system has no root certificates".to_owned(),
        };
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(with_alpn(&config))
}
