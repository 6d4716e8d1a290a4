//! What stands alone has no HTTP stack below it.

use std::process::Command;

///
#[test]
fn a_stand_alone_handshake_needs_no_http_stack() {
    for features in ["standalone", "standalone,client,deflate"] {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "-p", "hybi", "--no-default-features", "-F", features])
            .args(["-e", "normal", "--prefix", "none", "--format", "{p}"])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .expect("cargo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).expect("UTF-8");
        let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(names.contains(&"hybi") && names.contains(&"httparse"), "{names:?}");
        let stacks = ["hyper", "tower", "axum", "h2", "reqwest"];
        let found: Vec<_> = names
            .iter()
            .filter(|name| stacks.iter().any(|stack| name.starts_with(stack)))
            .collect();
        assert!(found.is_empty(), "{features}: {found:?}");
    }
}
