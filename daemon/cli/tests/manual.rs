//! Completions and manual pages: of every command there is, in a form that their readers take.

mod common;

use std::fs;
use std::process::Command;

use common::Scratch;

/// Every command, as its words after `bulkhead`; found in the help texts.
fn commands(scratch: &Scratch) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut nth = 0;
    while nth < all.len() {
        let words = all[nth].clone();
        let help = scratch.bulkhead(&format!("{words} --help")).ok();
        let below = help
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty());
        // A text that needs a second line is indented further.
        let names = below
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next())
            .filter(|name| *name != "help");
        all.extend(names.map(|name| format!("{words} {name}").trim().to_owned()));
        nth += 1;
    }
    all
}

#[test]
fn every_command_has_a_manual_page() {
    let scratch = Scratch::new();
    assert_eq!(scratch.bulkhead("man --dir $DIR/man/man8").ok(), "");
    let commands = commands(&scratch);
    for known in ["", "net ls", "cni add", "install", "man"] {
        assert!(commands.iter().any(|words| words == known), "{commands:?}");
    }
    let mut pages: Vec<_> = commands
        .iter()
        .map(|words| format!("bulkhead {words}").trim().replace(' ', "-") + ".8")
        .collect();
    pages.sort();
    assert_eq!(scratch.names("man/man8"), pages);
    for page in pages {
        let text = fs::read_to_string(scratch.path("man/man8").join(&page)).unwrap();
        for part in [".TH ", ".SH NAME", ".SH SYNOPSIS", ".SH \"EXIT STATUS\""] {
            assert!(text.contains(part), "{page}: no {part}");
        }
    }
}

/// groff names what it does not understand on standard error.
#[test]
fn manual_pages_are_read_without_a_warning() {
    let scratch = Scratch::new();
    scratch.bulkhead("man --dir $DIR/man8").ok();
    for page in scratch.names("man8") {
        let ran = Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(scratch.path("man8").join(&page))
            .output();
        let Ok(output) = ran else {
            common::skip(
                "manual_pages_are_read_without_a_warning",
                "there is no groff",
            );
            return;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{page}: {said}");
    }
}

fn bash(scratch: &Scratch, script: &str) -> String {
    let output = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script])
        .env("DIR", scratch.path("."))
        .output()
        .expect("the tests' own scripts are bash's");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{script}: {said}"
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_every_command() {
    let scratch = Scratch::new();
    scratch.write("bulkhead.bash", &scratch.bulkhead("completions bash").ok());
    bash(&scratch, r#"bash -n "$DIR/bulkhead.bash""#);
    let registered = bash(&scratch, r#". "$DIR/bulkhead.bash"; complete -p bulkhead"#);
    assert!(registered.contains("-F _bulkhead"), "{registered}");
    for words in commands(&scratch).iter().filter(|words| !words.is_empty()) {
        let (before, last) = words.rsplit_once(' ').unwrap_or(("", words));
        let offered = bash(
            &scratch,
            &format!(
                r#". "$DIR/bulkhead.bash"
                COMP_WORDS=(bulkhead {before} "") COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
                _bulkhead bulkhead "" "${{COMP_WORDS[COMP_CWORD - 1]}}"
                echo "${{COMPREPLY[@]}}""#
            ),
        );
        assert!(
            offered.split_whitespace().any(|word| word == last),
            "{words}: {offered}"
        );
    }
}

#[test]
fn every_shell_has_a_script() {
    let scratch = Scratch::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = scratch.bulkhead(&format!("completions {shell}")).ok();
        assert!(script.contains("uninstall"), "{shell}");
    }
    assert_eq!(scratch.bulkhead("completions csh").refused().0, 2);
}
