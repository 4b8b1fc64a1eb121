//! What an attachment was granted: its record, and what only the configuration or an IPAM plugin's
//! answer says.

use std::net::IpAddr;
use std::path::Path;

use bulkhead_cni::exec::{self, Delegates};
use bulkhead_cni::json::Value;
use bulkhead_cni::{Call, CniError, CniResult, CniVersion, Code, Dns, Ip, Route, Verb};
use bulkhead_ipam::config::PoolSource;
use bulkhead_ipam::{
    Acquired, AttachmentRecord, Draft, Ipam, LeasedAddress, LockedStore, Names, Netns, Pool,
    Snapshot, StateDir,
};
use bulkhead_kernel::{Identity, Kernel, machine_id};
use bulkhead_model::{AttachmentId, AttachmentKey, Family, IfName, InterfaceAddress, Mtu, Prefix};
use bulkhead_plan::{Forward, Ns, Sysctl};

use crate::failure::Failure;
use crate::host_ports::Reservation;
use crate::lease::{self, Leased};
use crate::{Addressing, Host, Network, Source, claims, host_ports, overlays, pod, policies};

/// Everything a want is made from, besides the configuration.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Network, container and interface.
    pub key: AttachmentKey,
    /// Their digest.
    pub id: AttachmentId,
    /// The store's number of its lease.
    pub sequence: u64,
    /// The container's namespace.
    pub container: Ns,
    /// The names recorded for it.
    pub names: Names,
    /// Its addresses.
    pub addresses: Vec<GrantedAddress>,
    /// Every subnet of the network, as far as it is known.
    pub subnets: Vec<Prefix>,
    /// The IPAM's routes.
    pub routes: Vec<Route>,
    /// The IPAM's resolver settings.
    pub dns: Dns,
    /// The machine's id.
    pub node: String,
    /// Links whose IPv6 default route came from a router advertisement, if this attachment may be
    /// the one that makes the node a router.
    pub ra_uplinks: Vec<IfName>,
}

/// One address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GrantedAddress {
    /// The address, with the length of its subnet.
    pub address: InterfaceAddress,
    /// The gateway its IPAM names.
    pub gateway: Option<IpAddr>,
}

/// Whether the attachment was known before this call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Age {
    /// This call recorded it, so that a failure takes it back.
    New,
    /// It was recorded before and may be live: a failure leaves it.
    Known,
}

/// What an IPAM plugin answered, kept in the record so that a second ADD answers the same.
const IPAM_ANSWER: &str = "ipamAnswer";

/// What [`acquire`] recorded.
pub(crate) struct Recorded {
    pub(crate) record: AttachmentRecord,
    pub(crate) age: Age,
    /// Locked until the record's host ports are claimed.
    host_ports: Option<Reservation>,
    /// Whether it is the network's only attachment.
    first: bool,
    /// The network's pool as recorded.
    pool: Option<Pool>,
}

/// Gives the attachment its addresses and records it, durably, with every name that will be used.
pub(crate) fn acquire<N: Network>(
    host: &mut dyn Host,
    network: &N,
    call: &Call,
    state: &StateDir,
    netns: Identity,
) -> Result<Recorded, Failure> {
    let key = call.attachment()?;
    let path = call.netns.clone().unwrap_or_default();
    let mut names = names(network, &key);
    if let Some(ask) = network.overlay() {
        let end = overlays::of(host, call)?.join(&key, ask)?;
        end.note(&mut names);
    }
    let host_ports = Reservation::of(state, &key, &names.host_ports)?;
    if let Some(reservation) = &host_ports {
        names.host_ports.clone_from(&reservation.mine);
    }
    let draft = Draft {
        names,
        key: key.clone(),
        kind: N::KIND.to_owned(),
        netns: Some(Netns {
            path,
            device: Some(netns.dev),
            inode: Some(netns.ino),
        }),
        config_digest: String::new(),
        pod: pod::of(call),
        labels: pod::labels(call)?,
        ports: pod::ports(call)?,
        pool: None,
    };
    let store = state.network(&key.network);
    let leased = match network.addressing() {
        Addressing::None => {
            let mut store = store.lock()?;
            refuse_taken_mac(&store, &draft)?;
            let acquired = store.record(draft, Vec::new(), Ipam::None)?;
            Leased::of(acquired, &store)
        }
        Addressing::Own(source) => lease::acquire(host, call, &store, draft, source)?,
        Addressing::Delegated { plugin, .. } => {
            delegated(host.delegates(), call, &store, draft, plugin)?
        }
    };
    let (record, age) = match leased.acquired {
        Acquired::New(record) => (record, Age::New),
        Acquired::Renewed(record) | Acquired::Existing(record) => (record, Age::Known),
    };
    Ok(Recorded {
        record,
        age,
        host_ports,
        first: leased.first,
        pool: leased.pool,
    })
}

/// The network's names and what the runtime asked for.
fn names<N: Network>(network: &N, key: &AttachmentKey) -> Names {
    let asked = network.capabilities();
    let ifb = asked.bandwidth.egress.map(|_| key.id().ifb());
    let mut names = Names {
        host_ports: asked.host_ports.clone(),
        bandwidth: asked.bandwidth,
        ifb,
        ..network.names(key)
    };
    if network.is_policed() {
        policies::note(&mut names);
    }
    names
}

/// A MAC that was asked for may be another attachment's; a derived one is not.
pub(crate) fn refuse_taken_mac(known: &Snapshot, draft: &Draft) -> Result<(), Failure> {
    let id = draft.key.id();
    let asked = draft.names.interface_mac;
    let Some(mac) = asked.filter(|mac| *mac != id.interface_mac()) else {
        return Ok(());
    };
    let mut others = known.attachments()?.into_iter();
    let taken =
        |other: &AttachmentRecord| other.key != draft.key && other.names.interface_mac == Some(mac);
    match others.find(taken) {
        Some(other) => {
            let text = format!(
                "MAC {mac} is taken by attachment {}; choose another",
                other.key
            );
            Err(CniError::new(Code::ADDRESS_TAKEN, text).into())
        }
        None => Ok(()),
    }
}

/// What the recorded attachment is granted.
pub(crate) fn granted<N: Network>(
    kernel: &mut Kernel,
    network: &N,
    call: &Call,
    mut recorded: Recorded,
) -> Result<Grant, Failure> {
    if let Some(reservation) = recorded.host_ports.take() {
        reservation.claim(&recorded.record)?;
    }
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    let mut grant = Grant::of(network, recorded.record, recorded.pool.as_ref(), netns)?;
    if recorded.first || !claims::ipv6_forwards(kernel)? {
        grant.ra_uplinks = kernel.ra_uplinks()?;
    }
    Ok(grant)
}

/// Asks an IPAM plugin. A live attachment is not asked for twice: the plugin would refuse, or give
/// another address.
fn delegated(
    delegates: &mut dyn Delegates,
    call: &Call,
    store: &bulkhead_ipam::NetworkStore,
    mut draft: Draft,
    plugin: &str,
) -> Result<Leased, Failure> {
    if let Some(record) = store
        .read()?
        .map(|known| known.find(&draft.key.id()))
        .transpose()?
        .flatten()
    {
        let mut locked = store.lock()?;
        let (addresses, ipam) = (record.addresses.clone(), record.ipam.clone());
        draft.names = record.names.clone();
        let acquired = locked.record(draft, addresses, ipam)?;
        return Ok(Leased::of(acquired, &locked));
    }
    let answer = exec::delegate_add(delegates, call, plugin)?;
    let text = answer
        .to_json(CniVersion::NEWEST)
        .map(|json| json.to_string());
    let recorded = text.map_err(Failure::from).and_then(|text| {
        draft.names.other.insert(IPAM_ANSWER.to_owned(), text);
        let addresses = answer.ips.iter().map(leased).collect();
        let ipam = Ipam::Delegated {
            plugin: plugin.to_owned(),
        };
        let mut locked: LockedStore = store.lock()?;
        refuse_taken_mac(&locked, &draft)?;
        let acquired = locked.record(draft, addresses, ipam)?;
        Ok(Leased::of(acquired, &locked))
    });
    recorded.map_err(
        |error| match exec::delegate(delegates, call, plugin, Verb::Del) {
            Ok(()) => error,
            Err(also) => error.and(&format!("and its addresses were not released: {also}")),
        },
    )
}

fn leased(ip: &Ip) -> LeasedAddress {
    LeasedAddress {
        address: ip.address,
        gateway: ip.gateway,
        range: 0,
    }
}

impl Grant {
    /// The path of the container's namespace.
    pub(crate) fn netns(&self) -> &str {
        match &self.container {
            Ns::Container(path) | Ns::Network(path) => path,
            Ns::Host => "",
        }
    }

    /// Where its host ports lead.
    ///
    /// # Errors
    /// Code 7 if one is open on addresses of a family that the container has none of.
    pub fn forwards(&self) -> Result<Vec<Forward>, CniError> {
        let addresses = self.addresses.iter();
        let addresses: Vec<_> = addresses.map(|granted| granted.address.address()).collect();
        let owner = self.names.port.unwrap_or_else(|| self.id.port());
        host_ports::leading(&self.names.host_ports, &addresses, owner)
    }

    /// Whether it has an address of `family`.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        let mut addresses = self.addresses.iter();
        addresses.any(|granted| granted.address.family() == family)
    }

    /// The node's sysctls by which it forwards for the attachment. IPv6 forwarding makes the node a
    /// router, which would drop its own route learned from advertisements, unless `accept_ra` is 2
    /// there first (`ip-sysctl.rst`).
    #[must_use]
    pub fn forwarding(&self) -> Vec<(Sysctl, String)> {
        let mut all = Vec::new();
        if self.has(Family::V4) {
            all.push((Sysctl::ipv4_forwarding(), "1".to_owned()));
        }
        if self.has(Family::V6) {
            let keeps_routes = |uplink: &IfName| {
                (
                    Sysctl::ipv6_conf(uplink.as_str(), "accept_ra"),
                    "2".to_owned(),
                )
            };
            all.extend(self.ra_uplinks.iter().map(keeps_routes));
            all.push((Sysctl::ipv6_forwarding(), "1".to_owned()));
        }
        all
    }

    /// Refuses an MTU under which IPv6 does not work, where some was granted.
    ///
    /// # Errors
    /// Code 7.
    pub fn refuse_small_mtu(&self, mtu: Option<Mtu>) -> Result<(), CniError> {
        let mut addresses = self.addresses.iter();
        let v6 = addresses.find(|granted| granted.address.family() == Family::V6);
        match (mtu, v6) {
            (Some(mtu), Some(granted)) if mtu < Mtu::minimum(Family::V6) => {
                let address = granted.address;
                let text = format!(
                    "mtu: {mtu} does not carry IPv6 and {address} was granted, set 1280 or more"
                );
                Err(CniError::invalid_config(text))
            }
            _ => Ok(()),
        }
    }

    /// What `record` grants, in the container whose namespace is at `netns`.
    pub(crate) fn of<N: Network>(
        network: &N,
        record: AttachmentRecord,
        pool: Option<&Pool>,
        netns: &Path,
    ) -> Result<Self, Failure> {
        let answer = ipam_answer(&record)?;
        let (routes, dns) = match (network.addressing(), answer) {
            (Addressing::Own(source), _) => source.settings(),
            (_, Some(answer)) => (answer.routes, answer.dns),
            (_, None) => (Vec::new(), Dns::default()),
        };
        let addresses: Vec<_> = record
            .addresses
            .iter()
            .map(|leased| GrantedAddress {
                address: leased.address,
                gateway: leased.gateway,
            })
            .collect();
        let mut subnets = subnets(network.addressing(), pool);
        for prefix in addresses.iter().map(|granted| granted.address.prefix()) {
            // Of a network that gives whole prefixes each is a part of its range.
            let within =
                |subnet: &Prefix| subnet.len() <= prefix.len() && subnet.contains(prefix.address());
            if !subnets.iter().any(within) {
                subnets.push(prefix);
            }
        }
        Ok(Self {
            id: record.id(),
            sequence: record.sequence,
            key: record.key,
            container: Ns::Container(netns.display().to_string()),
            names: record.names,
            addresses,
            subnets,
            routes,
            dns,
            node: machine_id()?,
            ra_uplinks: Vec::new(),
        })
    }
}

fn ipam_answer(record: &AttachmentRecord) -> Result<Option<CniResult>, Failure> {
    let Some(text) = record.names.other.get(IPAM_ANSWER) else {
        return Ok(None);
    };
    let value = Value::parse(text.as_bytes())
        .map_err(|error| CniError::invalid_config(format!("recorded IPAM answer: {error}")))?;
    Ok(Some(CniResult::parse(
        "recorded IPAM answer",
        &value,
        CniVersion::NEWEST,
    )?))
}

/// Every subnet, in the configuration's order, so that a network's table is the same for each of
/// its attachments.
fn subnets(addressing: &Addressing, pool: Option<&Pool>) -> Vec<Prefix> {
    let of = |pool: &Pool| {
        let mut all = Vec::new();
        for (_, range) in pool.ranges() {
            if !all.contains(&range.subnet) {
                all.push(range.subnet);
            }
        }
        all
    };
    match addressing {
        Addressing::None => Vec::new(),
        Addressing::Own(Source::Ranges(config)) => match &config.source {
            PoolSource::Named(named) => of(named),
            PoolSource::Automatic(_) => pool.map(of).unwrap_or_default(),
        },
        Addressing::Own(Source::Pools(_)) => pool.map(of).unwrap_or_default(),
        Addressing::Delegated { subnets, .. } => subnets.clone(),
    }
}
