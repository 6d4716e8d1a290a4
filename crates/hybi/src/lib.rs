#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "client")]
mod backoff;
pub mod handshake;
pub mod proto;
#[cfg(feature = "tokio")]
pub mod socket;
#[cfg(feature = "standalone")]
pub mod standalone;

#[cfg(feature = "client")]
pub use self::backoff::Backoff;
pub use bytes::Bytes;
pub use bytestring::ByteString;
