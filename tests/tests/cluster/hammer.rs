//! The hammer, for seconds; `make soak` lets it go on for as long as one wants.

use std::process::Command;

#[test]
fn five_daemons_under_the_hammer_give_no_address_twice_and_lose_and_leak_none() {
    let output = Command::new(env!("CARGO_BIN_EXE_hammer"))
        .args(["--seed", "4", "--duration", "15s"])
        .output()
        .expect("it is built with the tests");
    let said = String::from_utf8_lossy(&output.stdout);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{told}");
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("soak: operations="), "{last}");
    assert!(last.ends_with(" duplicates=0 lost=0 leaked=0"), "{last}");
    let faults = last
        .split_whitespace()
        .find_map(|word| word.strip_prefix("faults="));
    assert_ne!(faults, Some("0"), "nothing went wrong: {last}");
}
