//! A plan, run. Consecutive operations of one kind on one namespace go together: rtnetlink requests in
//! one send, links to be deleted in one deletion.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use bulkhead_model::{IfName, Mac};
use bulkhead_nft::{Command, Transaction};
use bulkhead_plan::{Dad, Flow, LinkSetting, Ns, Op, Plan, Switch, Sysctl};
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use rustix::io::Errno;

use crate::error::{ApplyError, NetlinkError, OpError};
use crate::links::RawLink;
use crate::pending::{Doomed, Failure, Pending};
use crate::place::{Kernel, Place, PlaceError};
use crate::request::{self, End};
use crate::wait::{await_addresses, await_forwarding, await_reception};
use crate::{announce, deletion, ethtool, named, nftables, xfrm};

pub(crate) fn apply(kernel: &mut Kernel, plan: &Plan) -> Result<(), ApplyError> {
    let mut run = Run {
        kernel,
        pending: Pending::default(),
        at: Ns::Host,
        lingering: Vec::new(),
        held: false,
        other_end: None,
    };
    let result = run.all(plan.ops());
    run.release();
    let result = result.and_then(|()| run.taken_in(plan.ops()));
    result.map_err(|(nth, source)| ApplyError {
        nth,
        op: one_line(&plan.ops()[nth]),
        source: in_words(&plan.ops()[nth], source),
    })
}

/// A VXLAN device opens its socket when it comes up (`vxlan_open`, `drivers/net/vxlan/vxlan_core.c`); no
/// other link has a port that could be taken.
fn in_words(op: &Op, error: OpError) -> OpError {
    match (op, error) {
        (
            Op::SetLink {
                name,
                set: LinkSetting::Up,
                ..
            },
            OpError::Netlink(NetlinkError::Refused(refusal)),
        ) if refusal.errno == Errno::ADDRINUSE => OpError::PortTaken(*name),
        (_, error) => error,
    }
}

/// A transaction's text has many lines; its refusal names the one that matters.
fn one_line(op: &Op) -> String {
    let text = op.to_string();
    match text.split_once('\n') {
        Some((first, _)) => format!("{first} ..."),
        None => text,
    }
}

struct Run<'k> {
    kernel: &'k mut Kernel,
    /// What is to be done next, all of it at `at`.
    pending: Pending,
    at: Ns,
    /// Namespaces whose nfnetlink socket has deleted something.
    lingering: Vec<Ns>,
    /// Whether a child holds the host's.
    held: bool,
    /// Where the other end of a veth pair goes that is being created, and its name.
    other_end: Option<(Ns, IfName)>,
}

impl Run<'_> {
    fn all(&mut self, ops: &[Op]) -> Result<(), Failure> {
        for (nth, op) in ops.iter().enumerate() {
            if stands_alone(op) {
                self.flush()?;
            }
            self.step(nth, op)?;
            if creates(op) {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn step(&mut self, nth: usize, op: &Op) -> Result<(), Failure> {
        let failed = |error| (nth, error);
        match op {
            Op::AddBridge { ns, name, mac, mtu } => {
                self.queue(nth, ns, request::add_bridge(*name, *mac, *mtu))
            }
            Op::AddVeth { .. } => self.add_veth(nth, op),
            Op::AddIfb { ns, name, mac, mtu } => {
                self.queue(nth, ns, request::add_ifb(*name, *mac, *mtu))
            }
            Op::AddNetns { ns } => self.add_netns(ns).map_err(failed),
            Op::DelNetns { ns } => self.del_netns(ns).map_err(failed),
            Op::AddVxlan { .. } => self.add_vxlan(nth, op),
            Op::SetShape { ns, link, shape } => {
                self.about(nth, ns, *link, |index| request::set_shape(index, shape))
            }
            Op::DelFlow { ns, flow } => self.del_flow(nth, ns, *flow),
            Op::SetLink { ns, name, set } => self.set_link(nth, ns, *name, *set),
            Op::SetPort { ns, port, flags } => {
                self.about(nth, ns, *port, |index| request::set_port(index, *flags))
            }
            Op::DelLink { ns, name } => self.del_link(nth, ns, *name),
            Op::AddAddress {
                ns,
                link,
                address,
                dad,
                on_link,
            } => self.about(nth, ns, *link, |index| {
                request::add_address(index, *address, *dad, *on_link)
            }),
            Op::DelAddress { ns, link, address } => self.about(nth, ns, *link, |index| {
                request::del_address(index, *address)
            }),
            Op::AddRoute { ns, route } => self.about(nth, ns, route.link, |index| {
                request::add_route(index, route)
            }),
            Op::ReplaceRoute { ns, route } => self.about(nth, ns, route.link, |index| {
                request::replace_route(index, route)
            }),
            Op::DelRoute { ns, route } => self.about(nth, ns, route.link, |index| {
                request::del_route(index, route)
            }),
            Op::AddBlackhole { ns, destination } => {
                self.queue(nth, ns, request::add_blackhole(*destination))
            }
            Op::DelBlackhole { ns, destination } => {
                self.queue(nth, ns, request::del_blackhole(*destination))
            }
            Op::SetNeighbour {
                ns,
                link,
                neighbour,
            } => self.about(nth, ns, *link, |index| {
                request::set_neighbour(index, *neighbour)
            }),
            Op::DelNeighbour { ns, link, address } => self.about(nth, ns, *link, |index| {
                request::del_neighbour(index, *address)
            }),
            Op::SetFdb {
                ns,
                link,
                mac,
                remote,
            } => self.about(nth, ns, *link, |index| {
                request::set_fdb(index, *mac, *remote)
            }),
            Op::DelFdb { ns, link, mac } => {
                self.about(nth, ns, *link, |index| request::del_fdb(index, *mac))
            }
            Op::AddSa { ns, .. }
            | Op::DelSa { ns, .. }
            | Op::AddPolicy { ns, .. }
            | Op::DelPolicy { ns, .. } => self.queue_ipsec(nth, ns, xfrm::request(op)),
            Op::AddFlood { ns, link, remote } => {
                self.about(nth, ns, *link, |index| request::add_flood(index, *remote))
            }
            Op::SetStation { ns, port, mac } => {
                self.about(nth, ns, *port, |index| request::set_station(index, *mac))
            }
            Op::SetSysctl { ns, sysctl, value } => {
                self.set_sysctl(ns, sysctl, value).map_err(failed)
            }
            Op::Nft {
                ns,
                transaction,
                generation,
            } => self.commit(ns, transaction, *generation).map_err(failed),
            Op::AwaitForwarding { ns, port } => self
                .place(ns)
                .and_then(|place| await_forwarding(place, ns, *port))
                .map_err(failed),
            Op::AwaitAddresses { ns, link } => self
                .place(ns)
                .and_then(|place| await_addresses(place, ns, *link))
                .map_err(failed),
            Op::Announce {
                ns, interface, mac, ..
            } => self.announce(ns, *interface, *mac).map_err(failed),
        }
    }

    /// Waits until the IPv6 addresses that were added are taken in; those that are probed are waited for by
    /// an operation of their own.
    fn taken_in(&mut self, ops: &[Op]) -> Result<(), Failure> {
        for (nth, op) in ops.iter().enumerate() {
            let Op::AddAddress {
                ns,
                link,
                address,
                dad: Dad::Skip,
                ..
            } = op
            else {
                continue;
            };
            let IpAddr::V6(own) = address.address() else {
                continue;
            };
            // Which link is meant by it no route tells.
            if own.is_unicast_link_local() {
                continue;
            }
            self.place(ns)
                .and_then(|place| await_reception(place, ns, *link, own.into()))
                .map_err(|error| (nth, error))?;
        }
        Ok(())
    }

    fn place(&mut self, ns: &Ns) -> Result<&mut Place, OpError> {
        self.kernel
            .place(ns)
            .ok_or_else(|| OpError::Unknown(ns.clone()))
    }

    fn queue(&mut self, nth: usize, ns: &Ns, request: Vec<u8>) -> Result<(), Failure> {
        match &mut self.pending {
            Pending::Requests(some) if self.at == *ns => some.push((nth, request)),
            _ => self.begin(ns, Pending::Requests(vec![(nth, request)]))?,
        }
        Ok(())
    }

    fn queue_ipsec(&mut self, nth: usize, ns: &Ns, request: Vec<u8>) -> Result<(), Failure> {
        match &mut self.pending {
            Pending::Ipsec(some) if self.at == *ns => some.push((nth, request)),
            _ => self.begin(ns, Pending::Ipsec(vec![(nth, request)]))?,
        }
        Ok(())
    }

    fn del_link(&mut self, nth: usize, ns: &Ns, name: IfName) -> Result<(), Failure> {
        let index = self.index(nth, ns, name)?;
        let doomed = Doomed { name, index };
        match &mut self.pending {
            Pending::Links(some) if self.at == *ns => some.push((nth, doomed)),
            _ => self.begin(ns, Pending::Links(vec![(nth, doomed)]))?,
        }
        Ok(())
    }

    fn del_flow(&mut self, nth: usize, ns: &Ns, flow: Flow) -> Result<(), Failure> {
        match &mut self.pending {
            Pending::Flows(some) if self.at == *ns => some.push((nth, flow)),
            _ => self.begin(ns, Pending::Flows(vec![(nth, flow)]))?,
        }
        Ok(())
    }

    /// Does what is pending and begins with something else.
    fn begin(&mut self, ns: &Ns, next: Pending) -> Result<(), Failure> {
        self.flush()?;
        self.at = ns.clone();
        self.pending = next;
        Ok(())
    }

    /// Queues a request about a link, by its index.
    fn about(
        &mut self,
        nth: usize,
        ns: &Ns,
        link: IfName,
        request: impl FnOnce(u32) -> Vec<u8>,
    ) -> Result<(), Failure> {
        let index = self.index(nth, ns, link)?;
        self.queue(nth, ns, request(index))
    }

    fn index(&mut self, nth: usize, ns: &Ns, link: IfName) -> Result<u32, Failure> {
        self.place(ns)
            .and_then(|place| index_of(place, ns, link))
            .map_err(|error| (nth, error))
    }

    fn add_netns(&mut self, ns: &Ns) -> Result<(), OpError> {
        let Ns::Network(path) = ns else {
            return Err(OpError::Unknown(ns.clone()));
        };
        let made = named::add(Path::new(path), self.kernel.netns(ns))?;
        if let Some(made) = made {
            self.kernel.admit(ns.clone(), made);
        }
        Ok(())
    }

    fn del_netns(&mut self, ns: &Ns) -> Result<(), OpError> {
        let Ns::Network(path) = ns else {
            return Err(OpError::Unknown(ns.clone()));
        };
        named::remove(Path::new(path))?;
        self.kernel.dismiss_one(ns);
        Ok(())
    }

    fn add_vxlan(&mut self, nth: usize, op: &Op) -> Result<(), Failure> {
        let Op::AddVxlan {
            ns,
            below,
            name,
            mac,
            mtu,
            vxlan,
        } = op
        else {
            return Ok(());
        };
        if !self.kernel.knows(ns) {
            return Err((nth, OpError::Unknown(ns.clone())));
        }
        let netns = (ns != below).then(|| self.kernel.netns(ns)).flatten();
        let (name, mac) = (*name, *mac);
        let request = request::add_vxlan(
            &End { name, mac },
            *mtu,
            vxlan,
            netns.map(std::os::fd::AsFd::as_fd),
        );
        self.queue(nth, below, request)
    }

    fn add_veth(&mut self, nth: usize, op: &Op) -> Result<(), Failure> {
        let Op::AddVeth {
            ns,
            port,
            port_mac,
            bridge,
            container,
            interface,
            mac,
            mtu,
        } = op
        else {
            return Ok(());
        };
        if !self.kernel.knows(container) {
            return Err((nth, OpError::Unknown(container.clone())));
        }
        let bridge = match bridge {
            Some(bridge) => Some(self.index(nth, ns, *bridge)?),
            None => None,
        };
        // A descriptor is of use to the kernel for the length of the call; `None` is the socket's own
        // namespace, which is where a pair inside one namespace goes.
        let netns = (ns != container)
            .then(|| self.kernel.netns(container))
            .flatten();
        self.other_end = Some((container.clone(), *interface));
        let (port, interface) = (
            End {
                name: *port,
                mac: *port_mac,
            },
            End {
                name: *interface,
                mac: *mac,
            },
        );
        let request = request::add_veth(
            &port,
            &interface,
            *mtu,
            bridge,
            netns.map(std::os::fd::AsFd::as_fd),
        );
        self.queue(nth, ns, request)
    }

    fn set_link(
        &mut self,
        nth: usize,
        ns: &Ns,
        name: IfName,
        set: LinkSetting,
    ) -> Result<(), Failure> {
        let index = self.index(nth, ns, name)?;
        let request = match set {
            LinkSetting::TxChecksum(switch) => {
                return self
                    .place(ns)
                    .and_then(|place| {
                        ethtool::set_tx_checksum(place, name, index, switch)
                            .map_err(|error| in_space(ns, error))
                    })
                    .map_err(|error| (nth, error));
            }
            LinkSetting::Up => request::set_flag(index, LinkFlags::Up, Switch::On),
            LinkSetting::Down => request::set_flag(index, LinkFlags::Up, Switch::Off),
            LinkSetting::Promiscuous(switch) => {
                request::set_flag(index, LinkFlags::Promisc, switch)
            }
            LinkSetting::Mtu(mtu) => request::set_link(index, LinkAttribute::Mtu(mtu.bytes())),
            LinkSetting::Mac(mac) => {
                request::set_link(index, LinkAttribute::Address(mac.octets().to_vec()))
            }
            LinkSetting::Bridge(bridge) => {
                let bridge = self.index(nth, ns, bridge)?;
                request::set_link(index, LinkAttribute::Controller(bridge))
            }
            LinkSetting::NoBridge => request::set_link(index, LinkAttribute::Controller(0)),
            LinkSetting::Groups(groups) => request::set_groups(index, groups),
            LinkSetting::NoLinkLocal => request::no_link_local(index),
            LinkSetting::NoLinkLocalLearning => request::no_link_local_learning(index),
        };
        self.queue(nth, ns, request)
    }

    /// Does what is pending.
    fn flush(&mut self) -> Result<(), Failure> {
        let pending = std::mem::take(&mut self.pending);
        let Some(first) = pending.first() else {
            return Ok(());
        };
        let (at, policy) = (self.at.clone(), self.kernel.deletion.clone());
        let place = self.place(&at).map_err(|error| (first, error))?;
        let done = pending.run(place, &at, &policy)?;
        self.held |= done.held;
        for link in done.created {
            self.learn(&at, &link);
        }
        self.other_end = None;
        Ok(())
    }

    /// Remembers the index of a link that was created, and of its other end.
    fn learn(&mut self, at: &Ns, link: &RawLink) {
        if let Ok(place) = self.place(at) {
            place.indexes.insert(link.name, link.index);
        }
        if let (Some((ns, interface)), Some(index)) = (self.other_end.clone(), link.related)
            && let Ok(place) = self.place(&ns)
        {
            place.indexes.insert(interface, index);
        }
    }

    fn announce(&mut self, ns: &Ns, interface: IfName, mac: Mac) -> Result<(), OpError> {
        let place = self.place(ns)?;
        let index = index_of(place, ns, interface)?;
        announce::announce(place, ns, interface, index, mac)
    }

    fn set_sysctl(&mut self, ns: &Ns, sysctl: &Sysctl, value: &str) -> Result<(), OpError> {
        self.place(ns)?
            .write_sysctl(sysctl, value)
            .map_err(|source| OpError::Sysctl {
                sysctl: sysctl.to_string(),
                source,
            })
    }

    fn commit(
        &mut self,
        ns: &Ns,
        transaction: &Transaction,
        generation: Option<u32>,
    ) -> Result<(), OpError> {
        let place = self.place(ns)?;
        let devices = transaction.devices().into_iter();
        let indexes: BTreeMap<_, _> = devices
            .map(|device| Ok((device, index_of(place, ns, device)?)))
            .collect::<Result<_, OpError>>()?;
        let index_of = |device: IfName| indexes.get(&device).copied().unwrap_or(0);
        let (socket, known) = place
            .netfilter_and_ruleset()
            .map_err(|error| in_space(ns, error))?;
        match nftables::commit(socket, transaction, generation, &index_of) {
            Ok(()) => {
                known.committed(transaction);
                if deletes(transaction) {
                    self.lingering.push(ns.clone());
                }
                Ok(())
            }
            Err(NetlinkError::Refused(refusal))
                if matches!(refusal.errno, Errno::INVAL | Errno::OPNOTSUPP)
                    && nftables::binds_prefix(transaction) =>
            {
                known.forget();
                self.kernel.no_device_prefix = true;
                Err(OpError::NoDevicePrefix(refusal))
            }
            Err(error) => {
                known.forget();
                Err(error.into())
            }
        }
    }

    /// Leaves the last close of an nfnetlink socket that deleted something to a child.
    fn release(&mut self) {
        let policy = self.kernel.deletion.clone();
        let lingering = std::mem::take(&mut self.lingering);
        if self.held || !lingering.contains(&Ns::Host) {
            return;
        }
        if let Ok(place) = self.place(&Ns::Host) {
            deletion::hold(place, &policy);
        }
    }
}

/// Whether everything before it must be acknowledged first: it opens something, waits, or goes with no
/// other. What goes with others of another kind waits for those before it anyway.
fn stands_alone(op: &Op) -> bool {
    match op {
        Op::SetLink { set, .. } => matches!(
            set,
            LinkSetting::Up | LinkSetting::Bridge(_) | LinkSetting::TxChecksum(_)
        ),
        Op::AddAddress { .. }
        | Op::DelAddress { .. }
        | Op::AddRoute { .. }
        | Op::ReplaceRoute { .. }
        | Op::DelRoute { .. }
        | Op::SetFdb { .. }
        | Op::DelFdb { .. }
        | Op::AddFlood { .. }
        | Op::SetStation { .. }
        | Op::AddBlackhole { .. }
        | Op::DelBlackhole { .. }
        | Op::SetNeighbour { .. }
        | Op::DelNeighbour { .. }
        | Op::SetPort { .. }
        | Op::SetShape { .. }
        | Op::DelLink { .. }
        | Op::AddSa { .. }
        | Op::DelSa { .. }
        | Op::AddPolicy { .. }
        | Op::DelPolicy { .. }
        | Op::DelFlow { .. } => false,
        Op::AddNetns { .. }
        | Op::DelNetns { .. }
        | Op::AddBridge { .. }
        | Op::AddVeth { .. }
        | Op::AddIfb { .. }
        | Op::AddVxlan { .. }
        | Op::SetSysctl { .. }
        | Op::Nft { .. }
        | Op::AwaitForwarding { .. }
        | Op::AwaitAddresses { .. }
        | Op::Announce { .. } => true,
    }
}

/// Whether what follows must wait for it: had it been refused because a stranger's link has the name,
/// the rest of the batch would act on that link.
fn creates(op: &Op) -> bool {
    matches!(
        op,
        Op::AddBridge { .. } | Op::AddVeth { .. } | Op::AddIfb { .. } | Op::AddVxlan { .. }
    )
}

fn deletes(transaction: &Transaction) -> bool {
    transaction.0.iter().any(|command| {
        !matches!(
            command,
            Command::AddElements { .. } | Command::AddChain { .. }
        )
    })
}

/// The index of the link that was observed or created under that name, else of the one there now.
pub(crate) fn index_of(place: &mut Place, ns: &Ns, link: IfName) -> Result<u32, OpError> {
    if let Some(index) = place.indexes.get(&link) {
        return Ok(*index);
    }
    let found = place.link(link).map_err(|error| in_space(ns, error))?;
    found.map(|found| found.index).ok_or(OpError::NoLink(link))
}

pub(crate) fn in_space(ns: &Ns, error: PlaceError) -> OpError {
    match error {
        PlaceError::Entering(source) => OpError::Netns {
            ns: ns.clone(),
            source,
        },
        PlaceError::Netlink(error) => error.into(),
    }
}
