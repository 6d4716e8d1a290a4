//! The fuzz targets, run for a moment without a fuzzer: over the inputs that are kept, and over changes of
//! them that are the same each time. `tests/fuzz/run.sh` goes on from there.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

/// Inputs made from those that are kept, for each target.
const CHANGED: usize = 1500;

/// A generator that gives the same numbers everywhere (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n.max(1) as u64).expect("below a usize")
    }

    fn byte(&mut self) -> u8 {
        self.below(256) as u8
    }
}

/// What a fuzzer does to an input, in small.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        match random.below(6) {
            0 => input.insert(at, random.byte()),
            1 if at < input.len() => drop(input.remove(at)),
            2 if at < input.len() => input[at] ^= 1 << random.below(8),
            3 if at < input.len() => input[at] = random.byte(),
            4 => input.truncate(at),
            _ => {
                let from = random.below(other.len() + 1);
                let len = random.below(other.len() - from + 1);
                input.splice(at..at, other[from..from + len].iter().copied());
            }
        }
    }
}

fn smoke(name: &str) {
    let (_, target) = targets::TARGETS.into_iter().find(|(it, _)| *it == name).expect("a target");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a corpus")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    let inputs: Vec<_> = files.iter().map(|path| fs::read(path).expect("readable")).collect();
    assert!(inputs.len() > 3, "a few to begin with");
    target(&[]);
    inputs.iter().for_each(|input| target(input));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..CHANGED {
        let mut input = inputs[random.below(inputs.len())].clone();
        let other = &inputs[random.below(inputs.len())];
        change(&mut input, other, &mut random);
        target(&input);
    }
}

/// F-07, F-11, U-02, U-03
#[test]
fn frames() {
    smoke("frame");
}

/// R-04, F-10, G-01, L-07, L-09
#[test]
fn connections() {
    smoke("connection");
}

/// D-16, D-19
#[test]
fn compressed_connections() {
    smoke("connection_deflate");
}

/// H-14, S-08
#[test]
fn heads_of_handshakes() {
    smoke("handshake_head");
}

///
#[test]
fn extensions() {
    smoke("extensions");
}

/// L-03, L-04
#[test]
fn closes() {
    smoke("close");
}

/// R-02 (one stream, only frames), R-05 (messages in parts)
#[test]
fn sockets() {
    smoke("socket");
}

/// A target without a test, or a corpus without a target.
#[test]
fn each_target_has_a_corpus_and_a_program() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    for (folder, extension) in [("corpus", ""), ("fuzz_targets", ".rs")] {
        let mut found: Vec<_> = fs::read_dir(fuzz.join(folder))
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8"))
            .collect();
        found.sort();
        let mut named: Vec<_> =
            targets::TARGETS.iter().map(|(name, _)| format!("{name}{extension}")).collect();
        named.sort();
        assert_eq!(found, named);
    }
}
