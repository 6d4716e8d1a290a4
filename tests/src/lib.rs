//! Support for the tests of the whole: an accept loop as the documentation recommends it.

pub mod client;
pub mod dial;
pub mod h2;
pub mod heap;
pub mod script;
pub mod serve;
pub mod start;
pub mod tls;
pub mod wire;
