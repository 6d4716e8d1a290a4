//! Guides: what belongs around the layer, and what it protects from.

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("serving.md")]
pub mod serving {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}
