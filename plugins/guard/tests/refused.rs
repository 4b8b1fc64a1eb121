//! What is no port to guard, and what contradicts itself, is refused with a text that names object, cause
//! and remedy.

use bulkhead_attach::{Chained, Guarded};
use bulkhead_cni::{Call, CniError, Environment, Verb};
use bulkhead_guard::Config;
use bulkhead_model::{IfName, LinkGroup, Mtu};
use bulkhead_plan::{Link, LinkKind, Ns, PortFlags, Space, World};

const PATH: &str = "/run/netns/c1";
const MAC: &str = "02:00:00:00:00:05";
const PREVIOUS: &str = r#""prevResult": {
    "cniVersion": "1.0.0",
    "interfaces": [
        {"name": "cni0", "mac": "02:00:00:00:00:01"},
        {"name": "veth7", "mac": "02:00:00:00:00:07"},
        {"name": "eth0", "mac": "02:00:00:00:00:05", "sandbox": "/run/netns/c1"}
    ],
    "ips": [
        {"address": "10.1.0.5/24", "gateway": "10.1.0.1", "interface": 2},
        {"address": "fd01::5/64", "gateway": "fd01::1", "interface": 2},
        {"address": "192.0.2.1/24", "interface": 0}
    ]
}"#;

fn call(keys: &str, args: &str) -> Result<Call, CniError> {
    let config =
        format!(r#"{{"cniVersion": "1.0.0", "name": "theirs", "type": "bulkhead-guard", {keys}}}"#);
    let environment = Environment::new([
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", PATH),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", args),
    ]);
    Call::read(Verb::Add, environment, config.into_bytes())
}

fn container() -> Ns {
    Ns::Container(PATH.to_owned())
}

fn link(kind: LinkKind, mac: &str) -> Link {
    Link {
        kind,
        mac: mac.parse().ok(),
        mtu: Mtu::ETHERNET,
        up: true,
        promiscuous: false,
        group: LinkGroup(0),
        bridge: None,
        port: PortFlags::default(),
        forms_link_local: true,
        learns_link_local: true,
        shape: None,
    }
}

fn veth(ns: Ns, name: &str) -> LinkKind {
    let peer = Some((ns, name.parse().unwrap()));
    LinkKind::Veth { peer }
}

/// A container's `eth0` whose other end is `veth7`.
fn world() -> World {
    let with = |name: &str, link: Link| {
        let mut space = Space::default();
        space.links.insert(name.parse().unwrap(), link);
        space
    };
    let port = link(veth(container(), "eth0"), "02:00:00:00:00:07");
    let inside = link(veth(Ns::Host, "veth7"), MAC);
    World {
        spaces: [
            (Ns::Host, with("veth7", port)),
            (container(), with("eth0", inside)),
        ]
        .into(),
        ..World::default()
    }
}

fn found(keys: &str, args: &str, world: &World) -> Result<Guarded, CniError> {
    let call = call(&format!("{keys} {PREVIOUS}"), args)?;
    let config = Config::parse(&call)?;
    let previous = call.config.required_prev_result()?;
    config.port("eth0".parse().unwrap(), &previous, world, &container())
}

fn eth0() -> IfName {
    "eth0".parse().unwrap()
}

#[track_caller]
fn refused(keys: &str, args: &str, world: &World, code: u32, text: &str) {
    let error = found(keys, args, world).unwrap_err();
    assert_eq!((error.code.0, error.to_string().as_str()), (code, text));
}

#[test]
fn a_port_is_found_with_whose_it_is() {
    let guarded = found("", "", &world()).unwrap();
    assert_eq!(guarded.port.as_str(), "veth7");
    assert_eq!(guarded.mac.to_string(), MAC);
    assert_eq!(guarded.port_mac.unwrap().to_string(), "02:00:00:00:00:07");
    let addresses: Vec<_> = guarded
        .addresses
        .iter()
        .map(|one| format!("{} {:?}", one.address, one.gateway.map(|g| g.to_string())))
        .collect();
    assert_eq!(
        addresses,
        [
            r#"10.1.0.5/24 Some("10.1.0.1")"#,
            r#"fd01::5/64 Some("fd01::1")"#
        ]
    );
    let asked = r#""args": {"cni": {"mac": "02:00:00:00:00:05", "ips": ["10.1.0.5/24"]}},"#;
    assert!(found(asked, "IP=fd01::5", &world()).is_ok());
    let allowed = r#""guard": {"allowedAddresses": ["10.1.0.100"]},"#;
    assert!(found(allowed, "", &world()).is_ok());
}

#[test]
fn what_has_no_port_is_refused_by_its_kind() {
    for (kind, named) in [
        ("macvlan", "macvlan"),
        ("ipvlan", "ipvlan"),
        ("", "device of the host's"),
    ] {
        let mut world = world();
        let inside = world.spaces.get_mut(&container()).unwrap();
        inside.links.get_mut(&eth0()).unwrap().kind = LinkKind::Other(kind.to_owned());
        refused(
            "",
            "",
            &world,
            7,
            &format!(
                "interface eth0 is a {named}, which has no port on the host to guard: remove bulkhead-guard, or make the network with bridge, ptp or a plugin of Bulkhead"
            ),
        );
    }
}

#[test]
fn a_port_that_is_not_the_container_s_is_refused() {
    let mut unnamed = world();
    let inside = unnamed.spaces.get_mut(&container()).unwrap();
    inside.links.get_mut(&eth0()).unwrap().kind = LinkKind::Veth { peer: None };
    refused(
        "",
        "",
        &unnamed,
        7,
        "prevResult.interfaces: the other end of eth0 is none of those on this host (cni0, veth7), put bulkhead-guard behind a plugin that names its port",
    );
    let mut gone = world();
    let inside = gone.spaces.get_mut(&container()).unwrap();
    inside.links.clear();
    refused(
        "",
        "",
        &gone,
        7,
        "prevResult.interfaces: eth0 is not in the container, run ADD of the network again",
    );
    let mut ours = world();
    let host = ours.spaces.get_mut(&Ns::Host).unwrap();
    let port = host.links.get_mut(&"veth7".parse().unwrap()).unwrap();
    port.group = LinkGroup::OWNED;
    refused(
        "",
        "",
        &ours,
        7,
        "port veth7 was made by a plugin of Bulkhead, which guards it itself: remove bulkhead-guard from \"plugins\", and set \"guard\" of that one",
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut moved = world();
    let inside = moved.spaces.get_mut(&container()).unwrap();
    inside.links.get_mut(&eth0()).unwrap().mac = "02:00:00:00:00:66".parse().ok();
    refused(
        "",
        "",
        &moved,
        7,
        "interface eth0 has MAC 02:00:00:00:00:66 and prevResult says 02:00:00:00:00:05: put what changes it before bulkhead-guard, and have it answered",
    );
    refused(
        "",
        "MAC=02:00:00:00:00:77",
        &world(),
        7,
        "interface eth0 has MAC 02:00:00:00:00:05 and the runtime's \"mac\" says 02:00:00:00:00:77: put what changes it before bulkhead-guard, and have it answered",
    );
    refused(
        "",
        "IP=10.1.0.200",
        &world(),
        7,
        "address 10.1.0.200 was asked for and prevResult does not give it to eth0: have the plugin before bulkhead-guard give it, or do not ask",
    );
    refused(
        r#""guard": {"allowedAddresses": ["192.0.2.9"]},"#,
        "",
        &world(),
        7,
        "guard.allowedAddresses: 192.0.2.9 is outside of the network's 10.1.0.0/24, fd01::/64, name one inside",
    );
    refused(
        r#""guard": {"role": "router"},"#,
        "",
        &world(),
        7,
        "guard: {\"role\":\"router\"} is not a router's: name the \"prefixes\" it forwards for",
    );
    refused(
        r#""blocks": ["10.1.0.0/24", "::/0"],"#,
        "",
        &world(),
        7,
        "blocks[1]: \"::/0\" is not a prefix of the network's own, such as its subnet",
    );
    refused(
        r#""ipam": {"type": "host-local"},"#,
        "",
        &world(),
        2,
        "ipam: {\"type\":\"host-local\"} is not supported: the addresses are those the plugin before it gave; remove the key",
    );
    refused(
        "",
        "IP=nowhere",
        &world(),
        4,
        "CNI_ARGS IP: \"nowhere\" is no IP address",
    );
    let mut bare = world();
    let inside = bare.spaces.get_mut(&container()).unwrap();
    inside.links.get_mut(&eth0()).unwrap().mac = None;
    refused(
        "",
        "",
        &bare,
        7,
        "interface eth0 has no MAC, and the guard knows ports by it: use an Ethernet interface",
    );
}

#[test]
fn what_the_runtime_says_of_one_attachment_goes_first() {
    let settings = |keys: &str| {
        let call = call(&format!("{PREVIOUS}, {keys}"), "").unwrap();
        Config::parse(&call).unwrap().guard.to_string()
    };
    let args = r#""args": {"cni": {"guard": {"role": "dhcp-server"}}}"#;
    let runtime = r#""runtimeConfig": {"guard": {"role": "trusted"}}"#;
    assert_eq!(settings(r#""guard": false"#), "off");
    assert_eq!(
        settings(&format!(r#""guard": false, {args}"#)),
        "on dhcp-server"
    );
    assert_eq!(
        settings(&format!(r#""guard": false, {args}, {runtime}"#)),
        "on trusted"
    );
}
