//! Programs that others wrote, from Debian.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netns_fixtures::{Ns, wait_for};

use crate::lab::{ETH0, LIMIT, Lab};

crate::on_each_ground! { lab:
    ndisc6_finds_the_gateway,
    rdisc6_hears_a_router_on_the_node,
}

/// Ends with the test.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(ns: &Ns, program: &str, args: &[&str]) -> Self {
        let mut command = ns.command(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self(
            command
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}")),
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended already has nothing left to end.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// What `ndisc6` says of `target`, once it has an answer.
#[track_caller]
fn ndisc6(ns: &Ns, target: &str) -> String {
    wait_for(&format!("an answer of {target} to ndisc6"), LIMIT, || {
        let mut command = Command::new("ndisc6");
        command.args(["-1", "-q", "-r", "1", "-w", "500", target, ETH0]);
        let output = ns
            .output(&mut command, b"", Duration::from_secs(10))
            .unwrap();
        output.status.success().then(|| {
            String::from_utf8_lossy(&output.stdout)
                .trim()
                .to_lowercase()
        })
    })
}

fn ndisc6_finds_the_gateway(lab: &Lab) {
    let gateway = lab.scene.gateway;
    for address in [gateway.v6, gateway.lla] {
        let mac = netns_fixtures::packet::mac_text(gateway.mac);
        assert_eq!(ndisc6(&lab.attacker.ns, &address.to_string()), mac);
    }
}

mod neighbours {
    use super::ndisc6_finds_a_neighbour;

    crate::on_each_ground! { segments, lab: ndisc6_finds_a_neighbour }
}

fn ndisc6_finds_a_neighbour(lab: &Lab) {
    let victim = lab.scene.v1();
    let mac = netns_fixtures::packet::mac_text(victim.mac);
    assert_eq!(ndisc6(&lab.attacker.ns, &victim.v6.to_string()), mac);
}

fn rdisc6_hears_a_router_on_the_node(lab: &Lab) {
    let path = std::env::temp_dir().join(format!("{}radvd.conf", lab.sandbox.stem()));
    let pid = path.with_extension("pid");
    let config = format!(
        "interface {} {{ AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; \
         prefix 2001:db8:77::/64 {{ }}; }};\n",
        lab.node_device()
    );
    fs::write(&path, config).unwrap();
    let [config, pid] = [&path, &pid].map(|path| path.to_string_lossy().into_owned());
    let router = Running::start(
        &lab.node,
        "radvd",
        &["-n", "-C", &config, "-p", &pid, "-m", "none"],
    );
    wait_for("an advertisement of the prefix", LIMIT, || {
        let mut command = Command::new("rdisc6");
        command.args(["-1", "-r", "1", "-w", "1000", ETH0]);
        let output = lab.attacker.ns.output(&mut command, b"", LIMIT).unwrap();
        String::from_utf8_lossy(&output.stdout)
            .contains("2001:db8:77::/64")
            .then_some(())
    });
    drop(router);
    for file in [config, pid] {
        // radvd removes its own pid file when it gets to.
        drop(fs::remove_file(file));
    }
}
