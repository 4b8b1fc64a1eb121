//! The steps, in order.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netns_fixtures::tell::{Teller, command, show};
use netns_fixtures::{
    EchoServer, Ns, Outside, Ping, Section, Snapshot, Transport, path_mtu, tcp_echo, udp_echo,
};
use serde_json::Value;

use crate::command_line::CommandLine;
use crate::stage::{BRIDGE, NETWORK, SUBNETS, Stage};

/// How long a packet may take.
const LIMIT: Duration = Duration::from_secs(5);
/// The port of the node that leads to the first container's port 80.
const HOST_PORT: u16 = 8080;
/// As a runtime asks for it.
const PUBLISHED: &str = r#"portMappings=[{"hostPort":8080,"containerPort":80}]"#;

/// A container's name, its namespace, and its addresses, v4 first.
struct Guest<'s> {
    name: &'static str,
    ns: &'s Ns,
    addresses: Vec<IpAddr>,
}

/// Plays everything.
///
/// # Errors
/// What keeps the demo itself from going on; a claim that fails is none.
pub(crate) fn tell(line: &CommandLine, teller: &Teller) -> Result<(), Box<dyn Error>> {
    teller.step("A node, the world outside and three containers, each a network namespace");
    let stage = Stage::build(&line.bin_dir)?;
    let uplink = stage.uplink;
    show(format!(
        "node     {} and {} on its uplink",
        uplink.node_v4, uplink.node_v6
    ));
    show(format!(
        "outside  {} and {}, no route back to containers",
        Outside::V4,
        Outside::V6
    ));
    show("alpha, beta, gamma: loopback and nothing else");

    teller.step("The network, a file as every CNI runtime reads it");
    show(format!("{:#}", stage.conflist()));

    let guests = attach(&stage, teller)?;
    list(&stage, teller)?;
    reach(&stage, teller, &guests)?;
    outside(&stage, teller, &guests[0])?;
    publish(&stage, teller, &guests)?;
    mend(&stage, teller, &guests[0])?;
    objects(&stage, teller)?;
    detach(&stage, teller)
}

fn attach<'s>(stage: &'s Stage, teller: &Teller) -> Result<Vec<Guest<'s>>, Box<dyn Error>> {
    teller.step("ADD: each container gets an interface, addresses, routes and a guarded port");
    let mut guests = Vec::new();
    for (name, container) in &stage.containers {
        let published = guests.is_empty().then_some(["--cap", PUBLISHED]);
        let option = published.map_or_else(String::new, |[cap, ports]| format!(" {cap} '{ports}'"));
        command(format!("bulkhead cni add {NETWORK} {name}{option}"));
        let path = container.path().to_string_lossy();
        let mut words = vec!["cni", "add", NETWORK, &path, "-o", "json"];
        words.extend(["--container-id", name]);
        words.extend(published.into_iter().flatten());
        let said = stage.bulkhead(&words)?;
        if !said.succeeded {
            show(&said.stderr);
        }
        let result: Value = serde_json::from_str(&said.stdout).unwrap_or_default();
        let addresses = addresses_of(&result);
        let seen: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        teller.claim(
            said.succeeded && addresses.len() == 2,
            format!(
                "{name} is attached in {:.1} ms",
                said.elapsed.as_secs_f64() * 1e3
            ),
            seen.join(", "),
        );
        if guests.is_empty() {
            show(format!("the CNI result: {result:#}"));
        }
        let ns = container;
        guests.push(Guest {
            name,
            ns,
            addresses,
        });
    }
    if guests.iter().any(|guest| guest.addresses.len() != 2) {
        return Err("without attachments there is nothing to show".into());
    }
    Ok(guests)
}

fn addresses_of(result: &Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().into_iter().flatten();
    let address = |ip: &Value| ip["address"].as_str()?.split('/').next()?.parse().ok();
    ips.filter_map(address).collect()
}

fn list(stage: &Stage, teller: &Teller) -> Result<(), Box<dyn Error>> {
    teller.step("What the operator's command says");
    for words in [["net", "ls"], ["ipam", "ls"]] {
        command(format!("bulkhead {}", words.join(" ")));
        let said = stage.bulkhead(&words)?;
        show(said.stdout + &said.stderr);
    }
    let leases = leases(stage)?;
    teller.claim(leases == 6, "six addresses are leased", leases);
    Ok(())
}

fn leases(stage: &Stage) -> Result<usize, Box<dyn Error>> {
    let said = stage.bulkhead(&["ipam", "ls", "-o", "json"])?;
    let leases: Value = serde_json::from_str(&said.stdout)?;
    let addresses = leases.as_array().into_iter().flatten().map(|lease| {
        // A row is an attachment with its addresses, or one address.
        lease["addresses"].as_array().map_or(1, Vec::len)
    });
    Ok(addresses.sum())
}

/// ICMP, TCP and UDP, each of which `to`, an address of `holder`, must answer; how `to` sees `from`.
fn exchange(from: &Ns, holder: &Ns, to: IpAddr) -> Result<Option<IpAddr>, Box<dyn Error>> {
    let any = SocketAddr::new(to, 0);
    let tcp = EchoServer::start(holder, Transport::Tcp, any)?;
    let udp = EchoServer::start(holder, Transport::Udp, any)?;
    let pinged = Ping::new(to).limit(LIMIT).from(from)?;
    let over_tcp = tcp_echo(from, tcp.address(), &vec![b'x'; 100_000], LIMIT).ok();
    let over_udp = udp_echo(from, udp.address(), b"hello", LIMIT).ok();
    Ok(over_tcp.filter(|_| pinged && over_tcp == over_udp))
}

fn reach(stage: &Stage, teller: &Teller, guests: &[Guest<'_>]) -> Result<(), Box<dyn Error>> {
    teller.step("Containers reach each other and their gateway: ICMP, TCP and UDP");
    let pairs = [(0, 1), (1, 2), (2, 0)].map(|(from, to)| (&guests[from], &guests[to]));
    for (from, to) in pairs {
        for (own, address) in from.addresses.iter().zip(&to.addresses) {
            let seen = exchange(from.ns, to.ns, *address)?;
            let claim = format!("{} reaches {} at {address}", from.name, to.name);
            teller.claim(seen == Some(*own), claim, "");
        }
    }
    let alpha = &guests[0];
    for gateway in ["10.85.0.1", "fd85::1"] {
        let gateway: IpAddr = gateway.parse()?;
        let seen = exchange(alpha.ns, &stage.host, gateway)?;
        teller.claim(
            seen.is_some(),
            format!("alpha reaches its gateway {gateway}"),
            "",
        );
    }
    for address in &guests[1].addresses {
        let mtu = path_mtu(alpha.ns, *address, 2000)?;
        let claim = format!("packets of 1500 bytes and no more pass to {address}");
        teller.claim(mtu == Some(1500), claim, "");
    }
    Ok(())
}

fn outside(stage: &Stage, teller: &Teller, alpha: &Guest<'_>) -> Result<(), Box<dyn Error>> {
    teller.step("Containers reach the outside, which sees the node's address");
    let uplink = stage.uplink;
    let paths: [(IpAddr, IpAddr); 2] = [
        (Outside::V4.into(), uplink.node_v4.into()),
        (Outside::V6.into(), uplink.node_v6.into()),
    ];
    for (to, node) in paths {
        let seen = exchange(alpha.ns, &stage.outside, to)?;
        let detail = seen.map_or("no answer".to_owned(), |seen| format!("it sees {seen}"));
        teller.claim(seen == Some(node), format!("alpha reaches {to}"), detail);
    }
    Ok(())
}

/// Whether `from` is answered at `to`, a host port that leads to `holder`, port 80.
fn answered(from: &Ns, to: SocketAddr) -> bool {
    tcp_echo(from, to, b"published", LIMIT).is_ok()
}

fn publish(stage: &Stage, teller: &Teller, guests: &[Guest<'_>]) -> Result<(), Box<dyn Error>> {
    teller.step("alpha's port 80 is the node's port 8080");
    command("bulkhead ports ls");
    show(stage.bulkhead(&["ports", "ls"])?.stdout);
    let alpha = &guests[0];
    for own in &alpha.addresses {
        let _web = EchoServer::start(alpha.ns, Transport::Tcp, SocketAddr::new(*own, 80))?;
        let node: IpAddr = match own {
            IpAddr::V4(_) => stage.uplink.node_v4.into(),
            IpAddr::V6(_) => stage.uplink.node_v6.into(),
        };
        let to = SocketAddr::new(node, HOST_PORT);
        let from: [(&str, &Ns); 3] = [
            ("the outside", &stage.outside),
            ("beta", guests[1].ns),
            ("alpha itself", alpha.ns),
        ];
        for (who, ns) in from {
            teller.claim(answered(ns, to), format!("{who} is answered at {to}"), "");
        }
        if own.is_ipv4() {
            let to = SocketAddr::new([127, 0, 0, 1].into(), HOST_PORT);
            let is = answered(&stage.host, to);
            teller.claim(is, format!("the node itself is answered at {to}"), "");
        }
    }
    Ok(())
}

fn mend(stage: &Stage, teller: &Teller, alpha: &Guest<'_>) -> Result<(), Box<dyn Error>> {
    teller.step("Somebody flushes the node's firewall, and it is mended");
    command("nft flush ruleset");
    stage.host.sh("nft flush ruleset")?;
    command("bulkhead check");
    let found = stage.bulkhead(&["check"])?;
    teller.claim(!found.succeeded, "check finds what is missing", "");
    command("bulkhead check --repair");
    let mended = stage.bulkhead(&["check", "--repair"])?;
    teller.claim(
        mended.succeeded,
        "repair puts it back",
        mended.stderr.trim(),
    );
    let checked = stage.bulkhead(&["check"])?;
    show(&checked.stdout);
    teller.claim(checked.succeeded, "check finds nothing more", "");
    let Some(own) = alpha.addresses.first() else {
        return Ok(());
    };
    let _web = EchoServer::start(alpha.ns, Transport::Tcp, SocketAddr::new(*own, 80))?;
    let to = SocketAddr::new(stage.uplink.node_v4.into(), HOST_PORT);
    let is = answered(&stage.outside, to);
    teller.claim(is, format!("the outside is answered at {to} again"), "");
    Ok(())
}

fn objects(stage: &Stage, teller: &Teller) -> Result<(), Box<dyn Error>> {
    teller.step("What stands in the node's kernel");
    let now = Snapshot::take(&stage.host)?;
    command("ip -br link show");
    show(stage.host.ip("-br link show")?);
    let of_filter = now.value(Section::Nft, "netdev bulkhead");
    if let Some(body) = of_filter {
        command("nft list table netdev bulkhead");
        show(body.replace('\t', "  "));
    }
    teller.claim(of_filter.is_some(), "a filter stands on every port", "");
    let forwards = stage.host.sysctl("net/ipv4/ip_forward")?;
    teller.claim(forwards == "1", "the node forwards", "it did not before");
    Ok(())
}

fn detach(stage: &Stage, teller: &Teller) -> Result<(), Box<dyn Error>> {
    teller.step("DEL: nothing is left");
    for (name, container) in &stage.containers {
        command(format!("bulkhead cni del {NETWORK} {name}"));
        let path = container.path().to_string_lossy();
        let said = stage.bulkhead(&["cni", "del", NETWORK, &path, "--container-id", name])?;
        let gone = !container.has_link("eth0")?;
        let claim = format!(
            "{name} is detached in {:.1} ms",
            said.elapsed.as_secs_f64() * 1e3
        );
        teller.claim(said.succeeded && gone, claim, said.stderr.trim());
    }
    let left = stage.before.left_in(&stage.host, LIMIT)?;
    show(left.join("\n"));
    let claim = format!(
        "{BRIDGE}, ports, addresses of {}, routes, tables and sysctls are as before",
        SUBNETS.join(" and ")
    );
    let detail = if left.is_empty() {
        "no difference".to_owned()
    } else {
        format!("{} differences", left.len())
    };
    teller.claim(left.is_empty(), claim, detail);
    let leases = leases(stage)?;
    teller.claim(leases == 0, "no address is leased", leases);
    Ok(())
}
