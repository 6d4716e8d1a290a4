//! The protocol without IO.
