//! The opening handshake on `http` types.
