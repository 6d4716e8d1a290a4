//! Benchmarks live in `benches/`; see `README.md` beside this package for figures and commands.
