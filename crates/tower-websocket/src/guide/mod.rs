//! Guides: what belongs around the layer, and what it protects from.
//!
//! The other end of the connection is described where it is, in the module `client` (a feature of that
//! name).

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("serving.md")]
pub mod serving {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}
