//! Echo servers to compare and the load to compare them under; `README.md` beside this package has
//! the figures and the commands.

pub mod client;
pub mod load;
pub mod servers;
