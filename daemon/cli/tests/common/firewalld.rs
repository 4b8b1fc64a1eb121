//! firewalld on a node of a test's own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use netns_fixtures::wait_for;

use super::node::Node;

/// Programs that end with the test.
pub(crate) struct Daemons(Vec<Child>);

impl Drop for Daemons {
    fn drop(&mut self) {
        for daemon in &mut self.0 {
            // One that has ended meanwhile is what is wanted.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A bus and firewalld on the node, with directories of their own.
pub(crate) fn firewalld(node: &mut Node) -> Daemons {
    let dir = node.scratch.text("firewalld");
    node.scratch.write(
        "firewalld/bus.conf",
        &format!(
            r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={dir}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/><allow user="*"/></policy></busconfig>"#
        ),
    );
    node.scratch.write("firewalld/system/zones/.keep", "");
    node.scratch.write("firewalld/run/.keep", "");
    node.environment.push((
        "DBUS_SYSTEM_BUS_ADDRESS".to_owned(),
        format!("unix:path={dir}/bus"),
    ));
    let start = |program: &str, args: &[String]| {
        // Their directories below /run are of their own too.
        let mount = format!("mount --bind {dir}/run /run && exec \"$@\"");
        let mut command = node.host.command("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                &mount,
                "sh",
            ])
            .arg(program)
            .args(args)
            .envs(node.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let bus = [
        "--nofork".to_owned(),
        format!("--config-file={dir}/bus.conf"),
    ];
    let mut daemons = Daemons(vec![start("dbus-daemon", &bus)]);
    let limit = Duration::from_secs(30);
    let bus = node.scratch.path("firewalld/bus");
    wait_for("the bus", limit, || bus.exists().then_some(()));
    daemons.0.push(start(
        "firewalld",
        &[
            "--nofork".to_owned(),
            "--nopid".to_owned(),
            format!("--system-config={dir}/system"),
            format!("--log-file={dir}/log"),
        ],
    ));
    wait_for("firewalld", limit, || {
        let mut command = Command::new("firewall-cmd");
        let asked = command
            .arg("--state")
            .envs(node.environment.iter().cloned());
        node.host.run(asked, b"").ok()
    });
    daemons
}
