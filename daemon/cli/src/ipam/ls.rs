//! `bulkhead ipam ls`: who has which address now. This node's leases are read from its own records, also
//! while its daemon is down; those of other nodes are the daemon's to tell.

use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{Filter, NodeName, Status};
use bulkhead_model::NetworkName;
use clap::Args;

use super::lease::{Dead, Lease, short};
use crate::daemon::{Daemon, Socket};
use crate::failure::{Failure, Outcome};
use crate::filter::FilterArgs;
use crate::output::{Format, Width, labels, lines, or_dash, table};
use crate::sources::{Network, Sources};
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// Only this network's.
    network: Option<NetworkName>,

    /// Print container ids in full.
    #[arg(long)]
    no_trunc: bool,

    #[command(flatten)]
    filter: FilterArgs,

    #[command(flatten)]
    socket: Socket,

    #[command(flatten)]
    sources: Sources,
}

/// How a table prints container ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ids {
    Short,
    Full,
}

pub(super) fn run(args: &LsArgs, format: Format) -> Outcome {
    let (mut leases, mut failures) = match own(args) {
        Ok(read) => read,
        Err(failure) => return Err(failure).into(),
    };
    let filter = filter(args);
    let mut columns = OF_A_NODE;
    match args.socket.named(&args.sources.state_dir) {
        Ok(Some(daemon)) => {
            columns = OF_A_CLUSTER;
            if let Err(failure) = join(&daemon, &filter, &mut leases) {
                failures.push(failure);
            }
        }
        Ok(None) => {}
        Err(failure) => failures.push(failure),
    }
    leases.retain(|lease| is_wanted(lease, &filter));
    leases.sort_by_cached_key(order);
    let ids = if args.no_trunc { Ids::Full } else { Ids::Short };
    let stdout = format.render(&leases, |width| text(&leases, columns, width, ids));
    Outcome::partial(stdout, &failures)
}

fn filter(args: &LsArgs) -> Filter {
    let filter = args.filter.filter();
    let only = args.network.as_ref().map(ToString::to_string);
    Filter {
        network: filter.network.or(only),
        ..filter
    }
}

/// Of this node's records.
fn own(args: &LsArgs) -> Result<(Vec<Lease>, Vec<Failure>), Failure> {
    // A network of the cluster need not be known to this node.
    let is_cluster = args.socket.named(&args.sources.state_dir)?.is_some();
    let only = args.network.as_ref().filter(|_| !is_cluster);
    let (networks, mut failures) = args.sources.select(only)?;
    let mut leases = Vec::new();
    for network in &networks {
        match leases_of(network) {
            Ok(found) => leases.extend(found),
            Err(failure) => failures.push(failure),
        }
    }
    Ok((leases, failures))
}

fn leases_of(network: &Network) -> Result<Vec<Lease>, Failure> {
    let Some(snapshot) = network.read()? else {
        return Ok(Vec::new());
    };
    let read = || {
        let dead = Dead::of(&snapshot)?;
        let records = snapshot.attachments()?.into_iter();
        Ok(records
            .map(|record| dead.lease(record, &network.state_dir))
            .collect())
    };
    read().map_err(|source| Failure::Store {
        network: network.name.clone(),
        source,
    })
}

/// Adds other nodes' leases, and what the cluster knows of this node's.
fn join(daemon: &Daemon, filter: &Filter, leases: &mut Vec<Lease>) -> Result<(), Failure> {
    let Status { node, .. } = daemon.status()?;
    for lease in leases.iter_mut() {
        lease.node = Some(node.name.clone());
    }
    for listed in daemon.leases(filter)? {
        let mine = listed.node.id == node.name.id;
        let known = leases
            .iter_mut()
            .find(|lease| mine && lease.key == listed.key && lease.sequence == listed.sequence);
        match known {
            Some(lease) => {
                lease.published = Some(listed.published);
                lease.labels = listed.labels;
            }
            None => leases.push(listed.into()),
        }
    }
    Ok(())
}

/// The daemon has filtered its own; this node's records have not been.
fn is_wanted(lease: &Lease, filter: &Filter) -> bool {
    let is = |wanted: &Option<String>, found: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| found == Some(wanted))
    };
    let is_node = |wanted: &String| {
        let node = lease.node.as_ref();
        node.is_some_and(|NodeName { id, name }| name == wanted || id.starts_with(wanted.as_str()))
    };
    is(&filter.network, Some(lease.key.network.as_str()))
        && is(&filter.pool, lease.pool.as_deref())
        && is(
            &filter.namespace,
            lease.pod.as_ref().map(|pod| pod.namespace.as_str()),
        )
        && is(&filter.pod, lease.pod.as_ref().map(|pod| pod.name.as_str()))
        && filter.node.as_ref().is_none_or(is_node)
}

/// By network, then by address as a number; those without any come first.
fn order(lease: &Lease) -> (String, Option<IpAddr>, String) {
    let first = lease.addresses.first();
    (
        lease.key.network.to_string(),
        first.map(|address| address.address()),
        format!("{} {}", lease.key.container, lease.key.interface),
    )
}

/// A heading, and what stands below it.
type Column = (&'static str, fn(&Lease, Ids) -> String);

const NETWORK: Column = ("NETWORK", |lease, _| lease.key.network.to_string());
const ADDRESS: Column = ("ADDRESS", |lease, _| lines(&lease.addresses));
const CONTAINER: Column = ("CONTAINER", |lease, ids| match ids {
    Ids::Short => short(&lease.key.container).to_owned(),
    Ids::Full => lease.key.container.to_string(),
});
const INTERFACE: Column = ("INTERFACE", |lease, _| lease.key.interface.to_string());
const NETNS: Column = ("NETNS", |lease, _| {
    let netns = lease.netns.as_ref();
    or_dash(netns.map(|path| path.display().to_string()))
});
const SINCE: Column = ("SINCE", |lease, _| time::seconds(lease.since_unix_ms));
const STATE: Column = ("STATE", |lease, _| lease.state.as_str().to_owned());
const POD: Column = ("POD", |lease, _| {
    or_dash(lease.pod.as_ref().map(super::pod))
});
const NODE: Column = ("NODE", |lease, _| {
    or_dash(lease.node.as_ref().map(|node| node.name.clone()))
});
const POOL: Column = ("POOL", |lease, _| or_dash(lease.pool.clone()));
const KIND: Column = ("KIND", |lease, _| or_dash(lease.kind.clone()));
const IPAM: Column = ("IPAM", |lease, _| lease.ipam.clone());
const SEQUENCE: Column = ("SEQUENCE", |lease, _| lease.sequence.to_string());
const PUBLISHED: Column = ("PUBLISHED", |lease, _| {
    let word = |published| if published { "yes" } else { "no" }.to_owned();
    or_dash(lease.published.map(word))
});
const LABELS: Column = ("LABELS", |lease, _| labels(&lease.labels));

/// Of a narrow table: without a node daemon, and with one.
const OF_A_NODE: &[Column] = &[NETWORK, ADDRESS, CONTAINER, INTERFACE, NETNS, SINCE, STATE];
const OF_A_CLUSTER: &[Column] = &[
    NETWORK, ADDRESS, POD, CONTAINER, INTERFACE, NODE, SINCE, STATE,
];
const ALL: &[Column] = &[
    NETWORK, ADDRESS, POD, CONTAINER, INTERFACE, NODE, SINCE, STATE, POOL, NETNS, IPAM, KIND,
    SEQUENCE, PUBLISHED, LABELS,
];

fn text(leases: &[Lease], narrow: &[Column], width: Width, ids: Ids) -> String {
    let columns = match width {
        Width::Narrow => narrow,
        Width::All => ALL,
    };
    let headings: Vec<_> = columns.iter().map(|(heading, _)| *heading).collect();
    let rows: Vec<_> = leases
        .iter()
        .map(|lease| columns.iter().map(|(_, cell)| cell(lease, ids)).collect())
        .collect();
    table(&headings, &rows)
}

#[cfg(test)]
mod tests {
    use bulkhead_ipam::wire::admin::ListedLease;
    use serde_json::json;

    use super::*;

    fn lease() -> Lease {
        let listed: ListedLease = serde_json::from_value(json!({
            "network": "blue", "container": "5".repeat(64), "interface": "eth0",
            "pool": "default", "ordinal": 9, "addresses": ["10.4.0.9/22", "fd00:4::9/118"],
            "nodeId": "b7f3", "node": "node-2", "sequence": 7,
            "pod": {"namespace": "web", "name": "shop-0"}, "labels": {"app": "shop"},
            "sinceUnixMs": 1_772_352_000_000_u64, "state": "remote", "published": true,
        }))
        .unwrap();
        listed.into()
    }

    #[test]
    fn a_lease_of_another_node_is_a_row() {
        assert_eq!(
            text(&[lease()], OF_A_CLUSTER, Width::Narrow, Ids::Short),
            "\
NETWORK  ADDRESS        POD         CONTAINER     INTERFACE  NODE    SINCE                 STATE
blue     10.4.0.9/22    web/shop-0  555555555555  eth0       node-2  2026-03-01T08:00:00Z  other node
         fd00:4::9/118
"
        );
        let wide = text(&[lease()], OF_A_CLUSTER, Width::All, Ids::Full);
        assert!(
            wide.contains("default  -      bulkhead  -     7         yes        app=shop"),
            "{wide}"
        );
        let json = serde_json::to_value(lease()).unwrap();
        assert_eq!(json["node"], "node-2");
        assert_eq!(json["stateDir"], json!(null));
    }

    #[test]
    fn a_filter_is_all_of_its_parts() {
        let of = |change: fn(&mut Filter)| {
            let mut filter = Filter {
                pool: Some("default".to_owned()),
                namespace: Some("web".to_owned()),
                pod: Some("shop-0".to_owned()),
                network: Some("blue".to_owned()),
                node: Some("b7".to_owned()),
            };
            change(&mut filter);
            is_wanted(&lease(), &filter)
        };
        assert!(of(|_| ()));
        assert!(of(|filter| filter.node = Some("node-2".to_owned())));
        assert!(!of(|filter| filter.node = Some("node-1".to_owned())));
        assert!(!of(|filter| filter.pool = Some("other".to_owned())));
        assert!(!of(|filter| filter.namespace = Some("we".to_owned())));
        assert!(!of(|filter| filter.pod = Some("shop".to_owned())));
        assert!(!of(|filter| filter.network = Some("red".to_owned())));
    }
}
