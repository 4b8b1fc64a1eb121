//! What the kernel tells of changes, by tools that share no code with ours.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use netns_fixtures::{Ns, wait_for};

use super::{LIMIT, Scratch};

/// `ip monitor` and `nft monitor` in a namespace.
pub(crate) struct Monitor {
    ns: Ns,
    dir: Scratch,
    children: Vec<Child>,
}

impl Monitor {
    /// Begins to listen.
    pub(crate) fn start(ns: &Ns) -> Self {
        let dir = Scratch::new();
        let listen = |file: &str, program: &str, args: &[&str]| {
            let mut command: Command = ns.command(program);
            let out = File::create(dir.path(file)).unwrap();
            command.args(args).stdin(Stdio::null()).stdout(out);
            command.spawn().unwrap()
        };
        // Neighbours learned and aged are nobody's doing.
        let objects = ["monitor", "link", "address", "route", "rule", "nexthop"];
        let children = vec![
            listen("ip", "ip", &objects),
            listen("nft", "nft", &["monitor"]),
        ];
        let mut monitor = Self {
            ns: ns.clone(),
            dir,
            children,
        };
        monitor.mark("begin");
        monitor
    }

    /// All that was told since the start.
    pub(crate) fn told(mut self) -> String {
        self.mark("end");
        let text = |file: &str| fs::read_to_string(self.dir.path(file)).unwrap();
        let changes = |text: &str| {
            let mut told = between_marks(text);
            told.retain(|line| !line.starts_with("# new generation"));
            told.join("\n")
        };
        changes(&text("ip")) + &changes(&text("nft"))
    }

    /// Makes and removes something, so that each monitor is known to have told all before.
    fn mark(&mut self, name: &str) {
        let told = |file: &str, text: &str| {
            let path = self.dir.path(file);
            let told = || {
                fs::read_to_string(&path)
                    .unwrap()
                    .contains(text)
                    .then_some(())
            };
            wait_for(&format!("{text} of {file} monitor"), LIMIT, told);
        };
        // A monitor that has only just started may miss the first.
        let (link, table) = (format!("mark{name}"), format!("mark{name}"));
        let make = || {
            self.ns.ip(&format!("link add {link} type bridge")).unwrap();
            self.ns.ip(&format!("link del {link}")).unwrap();
            self.ns
                .nft(&format!("add table ip {table}; delete table ip {table}"))
                .unwrap();
            self.ns.nft(&format!("add table ip {table}")).unwrap();
            self.ns.nft(&format!("delete table ip {table}")).unwrap();
        };
        wait_for("the monitors to listen", LIMIT, || {
            make();
            let heard = |file: &str, text: &str| {
                fs::read_to_string(self.dir.path(file))
                    .unwrap()
                    .contains(text)
            };
            (heard("ip", &link) && heard("nft", &format!("delete table ip {table}"))).then_some(())
        });
        told("ip", &link);
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The lines after the last of the first mark and before the first of the second. A line that begins
/// with a space belongs to the one before it.
fn between_marks(text: &str) -> Vec<String> {
    let (mut told, mut of_mark) = (Vec::new(), true);
    for line in text.lines() {
        of_mark = line.contains("mark") || of_mark && line.starts_with(' ');
        match line {
            _ if line.contains("markend") => break,
            _ if line.contains("markbegin") => told.clear(),
            _ if !of_mark => told.push(line.to_owned()),
            _ => {}
        }
    }
    told
}
