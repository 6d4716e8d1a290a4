//! How far back compressed data may refer, as powers of two.

/// The largest window, and what holds when nothing was agreed.
pub(super) const MAX_BITS: u8 = 15;

/// The smallest window that our compressor can keep to and that we ask a peer for.
pub(super) const MIN_BITS: u8 = 9;
