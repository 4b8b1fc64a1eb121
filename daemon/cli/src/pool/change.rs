//! `bulkhead pool add|set|drain|enable|disable|rm`.

use std::net::IpAddr;

use bulkhead_ipam::wire::admin::{PoolChange, PoolSpec, PoolState, Request};
use bulkhead_model::Prefix;
use clap::{Args, ValueEnum};

use crate::daemon::Reach;
use crate::done::Done;
use crate::failure::Failure;

#[derive(Args, Debug)]
pub(crate) struct AddArgs {
    /// The pool's name.
    pool: String,

    #[command(flatten)]
    prefixes: Prefixes,

    /// An address inside a prefix that is kept for the gateway; one of a family at most.
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<IpAddr>,

    #[command(flatten)]
    settings: Settings,

    /// Never given out: an address, a prefix, or a span FIRST-LAST; may be repeated.
    #[arg(long = "reserve", value_name = "SPAN")]
    reserved: Vec<String>,

    /// The first address of each block is of the node that has it, which sends from it in an overlay and is
    /// reached by it. Blocks keep their size then.
    #[arg(long)]
    node_addresses: bool,

    /// Of this network of bulkhead-vxlan alone, whose mode is bridged: its addresses may be those of other
    /// pools too.
    #[arg(long, value_name = "NETWORK")]
    tenant: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The pool's name.
    pool: String,

    #[command(flatten)]
    prefixes: OtherPrefixes,

    #[command(flatten)]
    settings: Settings,

    /// No node label has to match any more.
    #[arg(long, conflicts_with = "node_labels")]
    any_node: bool,

    /// Pods of every namespace may have addresses again.
    #[arg(long, conflicts_with = "namespaces")]
    any_namespace: bool,

    /// Never given out from now on; what is leased there stays. May be repeated.
    #[arg(long = "reserve", value_name = "SPAN")]
    reserve: Vec<String>,

    /// Given out again, in the words it was reserved in; may be repeated.
    #[arg(long = "unreserve", value_name = "SPAN")]
    unreserve: Vec<String>,

    #[command(flatten)]
    reach: Reach,
}

/// What a new pool has: one of them, or both as pairs.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
struct Prefixes {
    /// The IPv4 addresses.
    #[arg(long, value_name = "PREFIX")]
    v4: Option<Prefix>,

    /// The IPv6 addresses.
    #[arg(long, value_name = "PREFIX")]
    v6: Option<Prefix>,
}

#[derive(Args, Debug)]
struct OtherPrefixes {
    /// Other IPv4 addresses: those of every block among them.
    #[arg(long, value_name = "PREFIX")]
    v4: Option<Prefix>,

    /// Other IPv6 addresses: those of every block among them.
    #[arg(long, value_name = "PREFIX")]
    v6: Option<Prefix>,
}

#[derive(Args, Debug)]
struct Settings {
    /// Addresses of a new block, a power of two; 64 if never set.
    #[arg(long, value_name = "ADDRESSES", value_parser = block_bits)]
    block_size: Option<u8>,

    /// A label that a node must have to claim blocks, KEY=VALUE; may be repeated.
    #[arg(long = "node-label", value_name = "LABEL", value_parser = label)]
    node_labels: Vec<(String, String)>,

    /// A namespace whose pods may have addresses; may be repeated. Every one if none is named.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,

    /// Of several pools that fit, the one of the highest priority is taken first.
    #[arg(long, allow_negative_numbers = true)]
    priority: Option<i32>,

    /// The least time for which a freed address rests, in seconds; 30 if never set.
    #[arg(long, value_name = "SECONDS")]
    cooldown: Option<u64>,

    /// What a node without a free address gets.
    #[arg(long, value_enum)]
    when_full: Option<WhenFull>,
}

/// What a node without a free address gets, if no block is left to claim.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum WhenFull {
    /// A part of another node's block.
    Borrow,
    /// Nothing.
    Refuse,
}

#[derive(Args, Debug)]
pub(crate) struct NamedArgs {
    /// The pool's name.
    pool: String,

    #[command(flatten)]
    reach: Reach,
}

impl AddArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let notes = self
            .reach
            .daemon()?
            .done(&Request::PoolAdd { pool: self.spec() })?;
        Ok(done(&self.pool, "added", notes))
    }

    fn spec(&self) -> PoolSpec {
        let settings = &self.settings;
        PoolSpec {
            name: self.pool.clone(),
            v4: self.prefixes.v4,
            v6: self.prefixes.v6,
            gateways: self.gateways.clone(),
            block_bits: settings.block_size,
            node_labels: settings.node_labels.iter().cloned().collect(),
            namespaces: settings.namespaces.clone(),
            reserved: self.reserved.clone(),
            priority: settings.priority.unwrap_or_default(),
            cooldown_secs: settings.cooldown,
            strict: settings.when_full == Some(WhenFull::Refuse),
            node_addresses: self.node_addresses,
            tenant: self.tenant.clone(),
        }
    }
}

impl SetArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let change = self.change();
        if change == PoolChange::default() {
            return Err(Failure::NothingToSet(self.pool.clone()));
        }
        let request = Request::PoolSet {
            pool: self.pool.clone(),
            change,
        };
        let notes = self.reach.daemon()?.done(&request)?;
        Ok(done(&self.pool, "changed", notes))
    }

    fn change(&self) -> PoolChange {
        let settings = &self.settings;
        let labels = settings.node_labels.iter().cloned().collect();
        PoolChange {
            block_bits: settings.block_size,
            node_labels: given(labels, self.any_node || !settings.node_labels.is_empty()),
            namespaces: given(
                settings.namespaces.clone(),
                self.any_namespace || !settings.namespaces.is_empty(),
            ),
            reserve: self.reserve.clone(),
            unreserve: self.unreserve.clone(),
            priority: settings.priority,
            cooldown_secs: settings.cooldown,
            strict: settings.when_full.map(|when| when == WhenFull::Refuse),
            v4: self.prefixes.v4,
            v6: self.prefixes.v6,
        }
    }
}

fn given<T>(value: T, is_given: bool) -> Option<T> {
    is_given.then_some(value)
}

pub(super) fn drain(args: &NamedArgs) -> Result<Done, Failure> {
    put(args, PoolState::Draining, "draining")
}

pub(super) fn enable(args: &NamedArgs) -> Result<Done, Failure> {
    put(args, PoolState::Enabled, "enabled")
}

pub(super) fn disable(args: &NamedArgs) -> Result<Done, Failure> {
    put(args, PoolState::Disabled, "disabled")
}

fn put(args: &NamedArgs, state: PoolState, said: &'static str) -> Result<Done, Failure> {
    let request = Request::PoolState {
        pool: args.pool.clone(),
        state,
    };
    let notes = args.reach.daemon()?.done(&request)?;
    Ok(done(&args.pool, said, notes))
}

pub(super) fn remove(args: &NamedArgs) -> Result<Done, Failure> {
    let request = Request::PoolRemove {
        pool: args.pool.clone(),
    };
    let notes = args.reach.daemon()?.done(&request)?;
    Ok(done(&args.pool, "removed", notes))
}

fn done(pool: &str, said: &'static str, notes: Vec<String>) -> Done {
    Done::new(format!("pool {pool}"), said, notes)
}

/// The power of two that a block's size is.
fn block_bits(text: &str) -> Result<u8, String> {
    let size: u64 = text
        .parse()
        .map_err(|_| "not a number of addresses".to_owned())?;
    if !size.is_power_of_two() {
        return Err("not a power of two: 16, 32, 64, 128, ...".to_owned());
    }
    Ok(u8::try_from(size.ilog2()).expect("a u64 has 64 bits"))
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not a label: write KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Parser)]
    struct Add {
        #[command(flatten)]
        args: AddArgs,
    }

    #[derive(Parser)]
    struct Set {
        #[command(flatten)]
        args: SetArgs,
    }

    fn added(line: &str) -> Result<Value, clap::Error> {
        let words = ["add"].into_iter().chain(line.split_whitespace());
        let Add { args } = Add::try_parse_from(words)?;
        Ok(serde_json::to_value(args.spec()).unwrap())
    }

    fn changed(line: &str) -> Result<Value, clap::Error> {
        let words = ["set"].into_iter().chain(line.split_whitespace());
        let Set { args } = Set::try_parse_from(words)?;
        Ok(serde_json::to_value(args.change()).unwrap())
    }

    #[test]
    fn a_pool_is_what_its_options_say() {
        assert_eq!(
            added("p --v4 10.4.0.0/16 --v6 fd00::/64 --gateway 10.4.0.1 --block-size 32 --node-label rack=3 --node-label zone= --namespace web --reserve 10.4.0.2-10.4.0.9 --priority -5 --cooldown 90 --when-full refuse").unwrap(),
            json!({
                "name": "p", "v4": "10.4.0.0/16", "v6": "fd00::/64", "gateways": ["10.4.0.1"],
                "blockBits": 5, "nodeLabels": {"rack": "3", "zone": ""}, "namespaces": ["web"],
                "reserved": ["10.4.0.2-10.4.0.9"], "priority": -5, "cooldownSecs": 90, "strict": true,
            })
        );
        assert_eq!(
            added("p --v4 10.4.0.0/16").unwrap(),
            json!({"name": "p", "v4": "10.4.0.0/16", "priority": 0, "strict": false})
        );
    }

    #[test]
    fn what_is_no_pool_is_a_wrong_command_line() {
        for line in [
            "p",
            "--v4 10.4.0.0/16",
            "p --v4 10.4.0.1/16",
            "p --v4 10.4.0.0/16 --block-size 48",
            "p --v4 10.4.0.0/16 --block-size 0",
            "p --v4 10.4.0.0/16 --node-label rack",
            "p --v4 10.4.0.0/16 --node-label =3",
        ] {
            let refused = added(line).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn a_change_has_what_is_said_and_no_more() {
        assert_eq!(changed("p").unwrap(), json!({}));
        assert_eq!(
            changed("p --block-size 256 --when-full borrow").unwrap(),
            json!({"blockBits": 8, "strict": false})
        );
        assert_eq!(
            changed("p --any-node --any-namespace --unreserve 10.4.0.7 --v4 10.0.0.0/8").unwrap(),
            json!({"nodeLabels": {}, "namespaces": [], "unreserve": ["10.4.0.7"], "v4": "10.0.0.0/8"})
        );
        let both = changed("p --any-node --node-label a=b").unwrap_err();
        assert_eq!(both.exit_code(), 2);
    }
}
