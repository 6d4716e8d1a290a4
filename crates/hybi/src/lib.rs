#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod handshake;
pub mod proto;
#[cfg(feature = "tokio")]
pub mod socket;
#[cfg(feature = "standalone")]
pub mod standalone;

pub use bytes::Bytes;
pub use bytestring::ByteString;
