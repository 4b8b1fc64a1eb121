//! What CHECK, `bulkhead check` and `bulkhead doctor overlay` say of a node's end, and by which lines.

use std::fs;

use bulkhead_tests::nodes::{LIMIT, NETWORK, Node, Nodes};
use netns_fixtures::{CniAnswer, Container, Verb, wait_for};
use serde_json::{Value, json};

use super::reaches;

/// The code of what is not as it should be, and of what stands in the way.
const DRIFT: u64 = 103;
const CONFLICT: u64 = 102;

/// A container with an attachment of a network, and its CHECK.
struct Checked<'n> {
    node: &'n Node,
    container: &'n Container,
    network: Value,
}

impl<'n> Checked<'n> {
    fn of(node: &'n Node, container: &'n Container, network: &Value) -> Self {
        let mut network = network.clone();
        network["prevResult"] = node.call(Verb::Add, container, &network).result();
        Self {
            node,
            container,
            network,
        }
    }

    fn check(&self) -> CniAnswer {
        self.node.call(Verb::Check, self.container, &self.network)
    }

    fn is_sound(&self) {
        wait_for("CHECK to be content", LIMIT, || {
            self.check().succeeded().then_some(())
        });
    }

    /// Waits until CHECK fails, and returns what it says.
    fn refused(&self, code: u64) -> String {
        let mut last = String::new();
        wait_for("CHECK to find it", LIMIT, || {
            let answer = self.check();
            last = format!("{answer:?}");
            (answer.error_code() == Some(code)).then_some(())
        });
        last
    }

    /// `bulkhead check` of the container; what it printed.
    fn look(&self, more: &[&str]) -> String {
        let directory = self.node.state().with_extension("conf");
        fs::create_dir_all(&directory).expect("a directory");
        let mut plugin = self.network.clone();
        plugin.as_object_mut().expect("keys").remove("prevResult");
        let name = plugin["name"].as_str().expect("a name").to_owned();
        let list = json!({"cniVersion": "1.1.0", "name": name, "plugins": [plugin]});
        fs::write(directory.join("net.conflist"), list.to_string()).expect("a file");
        let path = directory.to_str().expect("text");
        let words = ["check", self.container.name(), "--conf-dir", path];
        let said = self.node.say(&[&words[..], more].concat());
        fs::remove_dir_all(&directory).expect("it was made");
        String::from_utf8_lossy(&said.expect("it runs").stdout).into_owned()
    }
}

#[test]
fn a_check_names_what_of_the_node_s_end_differs_and_the_line_that_mends_it() {
    let mut nodes = Nodes::start(2);
    let (_to, at) = nodes.container(1, "to");
    let from = nodes.bare(0, "from");
    {
        let node = &nodes.all[0];
        let checked = Checked::of(node, &from, &node.network());
        reaches(&from, &at);
        checked.is_sound();
        // Somebody else's route in the place of ours.
        let device = node.device();
        let routes = node.host.ip_json(&format!("-4 route show dev {device}"));
        let routes = routes.expect("ip runs");
        let mut routes = routes.as_array().expect("routes").iter();
        let block = routes.find_map(|route| route["dst"].as_str().filter(|to| to.contains('/')));
        let block = block.expect("the other's block");
        let gateway = node.pair.gateway_v4;
        let foreign = format!("route replace {block} via {gateway} proto static");
        node.host.ip(&foreign).expect("ip does it");
        let said = checked.refused(DRIFT);
        let line = format!("ip route del {block} via {gateway}");
        assert!(said.contains(&line), "{said}");
        let own = format!("route del {block} via {gateway} proto static");
        node.host.ip(&own).expect("ip does it");
        checked.is_sound();
        // Our device under another name: what it is cannot be made a second time.
        node.host
            .ip_batch(&[
                format!("link set {device} down"),
                format!("link set {device} name stolen0"),
            ])
            .expect("ip does it");
        let said = checked.refused(CONFLICT);
        assert!(said.contains("stolen0"), "{said}");
        node.host.ip("link delete stolen0").expect("ip does it");
        checked.is_sound();
        let said = checked.look(&["--repair"]);
        assert!(said.contains("as it should be"), "{said}");
    }
    // Without a daemon there is what the attachment's record says.
    nodes.all[0].kill();
    let node = &nodes.all[0];
    let checked = Checked {
        node,
        container: &from,
        network: node.network(),
    };
    let links = node.host.ip_json("link show type vxlan").expect("ip runs");
    let device = links[0]["ifname"].as_str().expect("a device").to_owned();
    let delete = format!("link delete {device}");
    node.host.ip(&delete).expect("ip does it");
    let said = checked.look(&[]);
    let line = format!("ip link add name {device} ");
    assert!(
        said.contains(&line) && said.contains(" type vxlan "),
        "{said}"
    );
    nodes.all[0].start();
    reaches(&from, &at);
    assert!(
        nodes.all[0]
            .must_say(&["overlay", "show", NETWORK])
            .contains(&device)
    );
}
