//! WebSockets as tower middleware.

pub mod policy;
