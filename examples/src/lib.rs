//! Runnable programs are in `examples/`: `cargo run -p examples --example NAME`.
