//! The plans themselves, as golden files; `BULKHEAD_BLESS=1` rewrites them.

#![expect(clippy::disallowed_methods, reason = "golden plans are files")]

use std::path::Path;

use bulkhead_model::Mtu;
use bulkhead_plan::{Interface, Link, LinkKind, Ns, Plan, Space, Switch, Want};

use crate::cases::{all, attached, detached, dual, foreign};
use crate::{converged, gone, in_use, planned};

#[test]
fn plans_read_as_the_lines_an_operator_would_type() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    for case in all() {
        let add = planned(&case.before(), &attached(&case));
        let del = planned(&in_use(&case), &gone(detached(&case)));
        let last = match case.company {
            None => " of the last attachment",
            Some(_) => "",
        };
        let text = format!("# ADD\n{add}\n# DEL{last}\n{del}");
        let text = without_the_guards_chains(&text);
        let file = folder.join(format!("{}.txt", case.name));
        if std::env::var_os("BULKHEAD_BLESS").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        let file = file.display();
        assert_eq!(text, golden, "{file} differs; BULKHEAD_BLESS=1 rewrites it");
    }
}

/// The chains and empty sets of the guard are the same wherever the table is loaded; `guard.nft` has
/// them once.
fn without_the_guards_chains(text: &str) -> String {
    let (mut kept, mut guard) = (String::new(), false);
    let mut blocks = text.split_inclusive('\n').peekable();
    while let Some(line) = blocks.next() {
        let word = |nth| line.split_whitespace().nth(nth).unwrap_or_default();
        if !line.starts_with('\t') {
            guard = line == "table netdev bulkhead {\n";
        }
        let inside = guard && line.starts_with('\t') && line.ends_with(" {\n");
        let own = match word(0) {
            "chain" => !["bound", "pod"].contains(&word(1)) && !word(1).starts_with("port-"),
            "set" => true,
            _ => false,
        };
        if !(inside && own) {
            kept.push_str(line);
            continue;
        }
        let mut block = line.to_owned();
        for line in blocks.by_ref() {
            block.push_str(line);
            if line == "\t}\n" {
                break;
            }
        }
        if block.contains("elements = ") {
            kept.push_str(&block);
        }
    }
    kept
}

#[test]
fn every_golden_plan_is_a_case_s() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let names: Vec<_> = all().into_iter().map(|case| case.name).collect();
    let unique: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(unique.len(), names.len(), "{names:?}");
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(names.contains(&stem), "{stem}");
    }
}

#[test]
fn the_loopback_interface_is_raised_and_lowered() {
    let ns = dual().container();
    let loopback = |up| Want::Loopback { ns: ns.clone(), up };
    let mut world = dual().before();
    assert!(planned(&world, &loopback(Switch::On)).is_empty());
    let lo = Link {
        up: false,
        mac: None,
        ..foreign(LinkKind::Other(String::new()))
    };
    let inside = world.spaces.get_mut(&ns).unwrap();
    inside.links.insert("lo".parse().unwrap(), lo);
    for up in [Switch::On, Switch::Off] {
        let plan = planned(&world, &loopback(up));
        let line = match up {
            Switch::On => "ip -n c1 link set dev lo up\n",
            Switch::Off => "ip -n c1 link set dev lo down\n",
        };
        assert_eq!(plan.to_string(), line);
        world = converged(&world, &loopback(up));
        assert_eq!(planned(&world, &loopback(up)), Plan::default());
    }
    assert!(world.space(&Ns::Host).links.is_empty());
}

/// `case` once attached, with the interface inside as `change` leaves it, and what mends that.
#[track_caller]
fn mended(change: impl FnOnce(&mut Space), want: impl FnOnce(&mut Interface)) -> String {
    let case = dual();
    let mut world = converged(&case.before(), &attached(&case));
    change(world.spaces.get_mut(&case.container()).unwrap());
    let Want::Attached(mut wanted) = attached(&case) else {
        panic!("not attached");
    };
    want(&mut wanted.interface);
    let wanted = Want::Attached(wanted);
    let plan = planned(&world, &wanted);
    let after = converged(&world, &wanted);
    assert_eq!(planned(&after, &wanted), Plan::default());
    plan.to_string()
}

#[test]
fn flushed_routes_come_back_with_those_they_lead_over() {
    let flushed = |inside: &mut Space| {
        inside.routes.clear();
        for address in inside.addresses.values_mut() {
            address.unrouted = true;
        }
    };
    let lines = "ip -n c1 route add 10.1.0.0/24 dev eth0 metric 0 proto 98\n\
                 ip -n c1 -6 route add fd01::/64 dev eth0 metric 256 proto 98\n\
                 ip -n c1 -6 route add fe80::/64 dev eth0 metric 256 proto 98\n\
                 ip -n c1 route add 0.0.0.0/0 via 10.1.0.1 dev eth0 metric 0 proto 98\n\
                 ip -n c1 -6 route add ::/0 via fd01::1 dev eth0 metric 1024 proto 98\n";
    assert_eq!(mended(flushed, |_| ()), lines);
}

#[test]
fn what_a_later_plugin_made_of_the_interface_is_wanted_of_it_alone() {
    let mac = "02:00:00:00:00:77".parse().unwrap();
    let tuned = |inside: &mut Space| {
        let link = inside.links.get_mut(&"eth0".parse().unwrap()).unwrap();
        (link.mac, link.mtu) = (Some(mac), Mtu::new(1400).unwrap());
    };
    let as_tuned = |interface: &mut Interface| {
        (interface.mac, interface.mtu) = (mac, Mtu::new(1400));
    };
    assert_eq!(mended(tuned, as_tuned), "");
    let undone = "ip -n c1 link set dev eth0 address 02:00:00:00:00:77\n\
                  ip -n c1 link set dev eth0 mtu 1400\n";
    assert_eq!(mended(|_| (), as_tuned), undone);
}
