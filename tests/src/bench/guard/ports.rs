//! The rules of many ports: the guard's as elements of its sets, a naive filter's as rules.

use std::fmt::Write;
use std::io;
use std::net::IpAddr;

use bulkhead_kernel::{Deletion, Kernel};
use bulkhead_nft::{Command, Elements, Transaction};
use bulkhead_plan::{Binding, Guard, Identity, Ns, Op, Plan, Surroundings, filter_table};

use super::lane::Stop;

/// Ports whose elements go into one transaction.
const AT_ONCE: usize = 500;

/// Puts bindings of these ports into the guard's sets, as their ADDs would; on a thread that is in the
/// node's namespace.
pub(super) fn fill_guard(ports: &[Stop]) -> io::Result<()> {
    let mut kernel = Kernel::new(Deletion::Blocking);
    for some in ports.chunks(AT_ONCE) {
        let commands = some.iter().flat_map(|stop| {
            let entries = binding(stop).entries().into_iter();
            entries.map(|(set, keys)| Command::AddElements {
                table: filter_table(),
                set,
                elements: Elements::Keys(keys),
            })
        });
        let op = Op::Nft {
            ns: Ns::Host,
            transaction: Transaction(commands.collect()),
            generation: None,
        };
        let applied = kernel.apply(&Plan::new(vec![op]));
        applied.map_err(io::Error::other)?;
    }
    Ok(())
}

fn binding(stop: &Stop) -> Binding {
    let addresses: [IpAddr; 2] = [stop.v4.into(), stop.v6.into()];
    Binding {
        port: stop.port,
        guard: Guard::On(Identity::host([stop.mac], addresses)),
        ifb: None,
        around: Surroundings {
            granted: addresses.into(),
            ..Surroundings::default()
        },
    }
}

/// One chain on both real ports that lets pass what is each port's own, and nothing else: MAC and address
/// alone, so less than the guard. The real ports stand in the middle, as on average.
pub(super) fn script(others: &[Stop], real: [&Stop; 2]) -> String {
    let (before, after) = others.split_at(others.len() / 2);
    let [one, two] = real.map(|stop| stop.port);
    let mut script = format!(
        "table netdev linear {{ chain in {{ type filter hook ingress devices = {{ \"{one}\", \
         \"{two}\" }} priority -300; policy drop;\n"
    );
    for stop in before.iter().chain(real).chain(after) {
        rules(&mut script, stop);
    }
    script + "}\n}\n"
}

fn rules(script: &mut String, stop: &Stop) {
    let Stop { port, mac, v4, v6 } = stop;
    let link_local = mac.link_local();
    let from = format!("iifname \"{port}\" ether saddr {mac}");
    for own in [
        format!("ip saddr {v4}"),
        format!("ip6 saddr {v6}"),
        format!("ip6 saddr {link_local}"),
        format!("arp saddr ether {mac} arp saddr ip {v4}"),
    ] {
        writeln!(script, "{from} {own} accept").expect("a text takes any length");
    }
}
