//! What the guard lets a port send: read from the configuration, recorded with the attachment, and made
//! into a binding with what was granted. As recorded it is found again by DEL and by everybody who loads
//! the table anew; a configuration changed since is for new attachments.

mod budgets;
mod recorded;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError, Code};
use bulkhead_ipam::{AttachmentRecord, Ipam, Names};
use bulkhead_kernel::machine_id;
use bulkhead_model::{IfName, InterfaceAddress, Mac, Prefix};
use bulkhead_plan::{
    Binding, Guard, Held, Identity, Multicast, MulticastRouter, PortFlags, Restore, Role,
    Surroundings,
};

use crate::failure::Failure;
use crate::segment;

pub use budgets::GuardBudgets;
pub use recorded::GUARD;

/// Among the other names of a record: present if the container has a prefix of its own.
pub const PREFIX: &str = "prefix";
/// Among the other names of a record: the prefixes of the node's block of a pool that its addresses are in.
const SHARE: &str = "share";
/// Among the other names of a guarded port's record: what nobody but guarded ports of this node holds.
const BLOCKS: &str = "blocks";
/// Among the other names of a guarded port's record: the node on the port's link, MACs and link-local addresses.
const NODE: &str = "node";
/// Among the other names of a record of a release without the guard: present if the port's filter
/// checked the source MAC.
const CHECKED_MAC: &str = "checkedMac";

/// The keys `guard` and `multicast` of a network, and what one attachment asks for instead.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GuardConfig {
    /// Whether frames are judged.
    pub switch: GuardSwitch,
    /// `role`.
    pub role: GuardRole,
    /// `prefixes`: what a router forwards for and announces.
    pub prefixes: BTreeSet<Prefix>,
    /// `allowedAddresses`: addresses it may use besides its own, with the MAC, or with its own one.
    pub allowed: BTreeSet<(IpAddr, Option<Mac>)>,
    /// `macs`: private MACs beside the interface's own.
    pub macs: BTreeSet<Mac>,
    /// `dhcpClient`.
    pub dhcp_client: bool,
    /// `budgets`.
    pub budgets: GuardBudgets,
    /// Whether it asks the node by `DHCPv6` for configuration: no key of `guard`, a network that answers
    /// sets it.
    pub configured: bool,
    /// `multicast`; none is the network's default.
    pub multicast: Option<Multicast>,
}

/// Whether a port's frames are judged.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GuardSwitch {
    /// They are.
    #[default]
    On,
    /// They are not: `"guard": false`.
    Off,
    /// By their source MAC alone: `"guard": false` with `macspoofchk`.
    Mac,
}

/// What a port is to its segment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum GuardRole {
    /// A host.
    #[default]
    Host,
    /// A router for prefixes of its own.
    Router,
    /// A DHCP server.
    DhcpServer,
    /// Whatever it says it is, from its own MAC.
    Trusted,
}

const KEYS: [&str; 6] = [
    "role",
    "prefixes",
    "allowedAddresses",
    "macs",
    "dhcpClient",
    "budgets",
];

impl GuardConfig {
    /// A bridge's port as it is, but judged: it has few groups, so that one cannot fill the bridge's table of
    /// them, and is never taken for a multicast router's, unless it is a router. Without the guard as it is.
    #[must_use]
    pub fn limited(&self, port: PortFlags) -> PortFlags {
        if self.switch != GuardSwitch::On {
            return port;
        }
        let routes = matches!(self.role, GuardRole::Router | GuardRole::Trusted);
        PortFlags {
            max_groups: Some(self.budgets.groups()),
            multicast_router: if routes {
                MulticastRouter::Learned
            } else {
                MulticastRouter::Never
            },
            ..port
        }
    }

    /// Reads `guard` and `multicast` of the configuration, overridden for one attachment by `guard` of
    /// `runtimeConfig`, else of `args.cni`.
    ///
    /// # Errors
    /// Code 7 naming the key, the value found and what it should be.
    pub fn parse(call: &Call) -> Result<Self, CniError> {
        let root = call.config.root();
        let (runtime, args) = (call.config.runtime_config()?, call.config.args_cni()?);
        let of_one = runtime.optional("guard").or_else(|| args.optional("guard"));
        let mut config = match of_one.or_else(|| root.optional("guard")) {
            Some(field) => Self::of(&field)?,
            None => Self::default(),
        };
        if config.switch == GuardSwitch::Off
            && root.optional_bool("macspoofchk")?.unwrap_or_default()
        {
            config.switch = GuardSwitch::Mac;
        }
        config.multicast = multicast(&root)?;
        Ok(config)
    }

    fn of(field: &Field<'_>) -> Result<Self, FieldError> {
        if let Ok(on) = field.bool() {
            let switch = if on {
                GuardSwitch::On
            } else {
                GuardSwitch::Off
            };
            return Ok(Self {
                switch,
                ..Self::default()
            });
        }
        let expected = "true, false or an object of role, prefixes, allowedAddresses, macs, dhcpClient and budgets";
        let object = field.object().map_err(|_| field.invalid(expected))?;
        if let Some((_, unknown)) = object.members().find(|(key, _)| !KEYS.contains(key)) {
            return Err(unknown.invalid(
                "known: guard has role, prefixes, allowedAddresses, macs, dhcpClient and budgets",
            ));
        }
        let config = Self {
            switch: GuardSwitch::On,
            role: role(&object)?,
            prefixes: prefixes(&object)?,
            allowed: allowed(&object)?,
            macs: macs(&object)?,
            dhcp_client: object.optional_bool("dhcpClient")?.unwrap_or_default(),
            budgets: GuardBudgets::parse(&object)?,
            configured: false,
            multicast: None,
        };
        match config.role {
            GuardRole::Router if config.prefixes.is_empty() => {
                Err(field.invalid("a router's: name the \"prefixes\" it forwards for"))
            }
            GuardRole::Router => Ok(config),
            _ if !config.prefixes.is_empty() => {
                Err(field.invalid("a host's: \"prefixes\" are for \"role\": \"router\""))
            }
            _ => Ok(config),
        }
    }

    /// The binding of a port.
    #[must_use]
    pub fn binding(&self, port: IfName, holder: &Holder) -> Binding {
        let guard = match self.switch {
            GuardSwitch::Off => Guard::Off,
            GuardSwitch::Mac => Guard::Mac(holder.mac),
            GuardSwitch::On => Guard::On(self.identity(holder)),
        };
        Binding {
            port,
            guard,
            ifb: holder.ifb,
            around: Surroundings {
                granted: holder.addresses.iter().flatten().copied().collect(),
                ..holder.around.clone()
            },
        }
    }

    fn identity(&self, holder: &Holder) -> Identity {
        let macs = self.macs.iter().copied().chain([holder.mac]);
        let unknown = self.role == GuardRole::Trusted || holder.addresses.is_none();
        let mut identity = match &holder.addresses {
            Some(addresses) if !unknown => Identity::host(macs, addresses.iter().copied()),
            _ => Identity::unknown(macs),
        };
        for (address, mac) in &self.allowed {
            identity = identity.and_address(mac.unwrap_or(holder.mac), *address);
        }
        for prefix in self.prefixes.iter().chain(&holder.prefixes) {
            identity = identity
                .clone()
                .and_prefix(holder.mac, *prefix)
                .unwrap_or(identity);
        }
        let vrrp = !self.allowed.is_empty();
        let alone = holder.addresses.is_none();
        let roles = [
            (vrrp, Role::Vrrp),
            (self.dhcp_client || alone, Role::DhcpClient),
            (self.configured, Role::Configured),
            (
                matches!(self.role, GuardRole::Router | GuardRole::Trusted),
                Role::Router,
            ),
            (
                matches!(self.role, GuardRole::DhcpServer | GuardRole::Trusted),
                Role::DhcpServer,
            ),
        ];
        for (_, role) in roles.into_iter().filter(|(has, _)| *has) {
            identity = identity.and_role(role);
        }
        let default = if alone {
            Multicast::All
        } else {
            Multicast::None
        };
        identity
            .sending_to(self.multicast.unwrap_or(default))
            .within(self.budgets.shares())
    }

    /// Refuses a bound on groups where no bridge of ours keeps them.
    ///
    /// # Errors
    /// Code 2 naming the key.
    pub fn refuse_groups(self) -> Result<Self, CniError> {
        if self.budgets.groups.is_none() {
            return Ok(self);
        }
        Err(CniError::new(
            Code::UNSUPPORTED_FIELD,
            "guard.budgets.groups is not supported: no bridge of this plugin keeps the groups of its ports; remove the key, or use bulkhead-bridge",
        ))
    }

    /// Refuses addresses that are none of the network's.
    ///
    /// # Errors
    /// Code 7 naming the address and the network's subnets.
    pub fn refuse_outside(&self, subnets: &[Prefix]) -> Result<(), CniError> {
        if subnets.is_empty() {
            return Ok(());
        }
        let inside = |address: IpAddr| subnets.iter().any(|subnet| subnet.contains(address));
        let Some((outside, _)) = self.allowed.iter().find(|(address, _)| !inside(*address)) else {
            return Ok(());
        };
        let subnets: Vec<_> = subnets.iter().map(ToString::to_string).collect();
        Err(CniError::invalid_config(format!(
            "guard.allowedAddresses: {outside} is outside of the network's {}, name one inside",
            subnets.join(", ")
        )))
    }
}

/// Who a port's frames come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Holder {
    /// The interface's MAC.
    pub mac: Mac,
    /// Its addresses; `None` where nobody gave it any.
    pub addresses: Option<Vec<IpAddr>>,
    /// Prefixes of its own.
    pub prefixes: Vec<Prefix>,
    /// The ifb device that shapes what it sends.
    pub ifb: Option<IfName>,
    /// What there is around it.
    pub around: Surroundings,
}

fn role(object: &Object<'_>) -> Result<GuardRole, FieldError> {
    let Some(field) = object.optional("role") else {
        return Ok(GuardRole::Host);
    };
    match field.str()? {
        "host" => Ok(GuardRole::Host),
        "router" => Ok(GuardRole::Router),
        "dhcp-server" => Ok(GuardRole::DhcpServer),
        "trusted" => Ok(GuardRole::Trusted),
        _ => Err(field.invalid("\"host\", \"router\", \"dhcp-server\" or \"trusted\"")),
    }
}

fn prefixes(object: &Object<'_>) -> Result<BTreeSet<Prefix>, FieldError> {
    let mac = Mac::new([2, 0, 0, 0, 0, 0]).expect("a unicast address");
    let read = |field: &Field<'_>| {
        let prefix: Prefix = field.parse()?;
        match Held::within(mac, prefix) {
            Some(_) => Ok(prefix),
            None => {
                Err(field.invalid("an IPv4 prefix of /24 to /32, or an IPv6 prefix of /56 to /64"))
            }
        }
    };
    object.items("prefixes")?.iter().map(read).collect()
}

/// `"10.1.0.100"`, or `{"address": "10.1.0.100", "mac": "00:00:5e:00:01:33"}`.
fn allowed(object: &Object<'_>) -> Result<BTreeSet<(IpAddr, Option<Mac>)>, FieldError> {
    const EXPECTED: &str = "a unicast IP address, or an object of address and mac";
    let address = |field: &Field<'_>| {
        let address: IpAddr = field.parse_as(EXPECTED)?;
        if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
            return Err(field.invalid(EXPECTED));
        }
        Ok(address)
    };
    let read = |field: &Field<'_>| {
        if field.str().is_ok() {
            return Ok((address(field)?, None));
        }
        let pair = field.object().map_err(|_| field.invalid(EXPECTED))?;
        let mac = pair.optional_parsed("mac")?;
        Ok((address(&pair.required("address", EXPECTED)?)?, mac))
    };
    object.items("allowedAddresses")?.iter().map(read).collect()
}

fn macs(object: &Object<'_>) -> Result<BTreeSet<Mac>, FieldError> {
    object.items("macs")?.iter().map(Field::parse).collect()
}

fn multicast(root: &Object<'_>) -> Result<Option<Multicast>, FieldError> {
    let Some(field) = root.optional("multicast") else {
        return Ok(None);
    };
    match field.str()? {
        "none" => Ok(Some(Multicast::None)),
        "link-local" => Ok(Some(Multicast::LinkLocal)),
        "all" => Ok(Some(Multicast::All)),
        _ => Err(field.invalid("\"none\", \"link-local\" or \"all\"")),
    }
}

/// What a recorded port may send, as the filter knows it.
#[must_use]
pub fn recorded_binding(record: &AttachmentRecord) -> Option<Binding> {
    let port = record.names.port?;
    let addresses = record.addresses.iter();
    let addresses: Vec<_> = addresses.map(|leased| leased.address.address()).collect();
    let Some(mac) = record.names.interface_mac else {
        return Some(Binding {
            port,
            guard: Guard::Off,
            ifb: record.names.ifb,
            around: Surroundings::default(),
        });
    };
    let holder = Holder {
        mac,
        addresses: (record.ipam != Ipam::None).then_some(addresses),
        prefixes: own_prefixes(&record.names, record.addresses.iter().map(|a| &a.address)),
        ifb: record.names.ifb,
        around: recorded_surroundings(record),
    };
    Some(of_names(&record.names).binding(port, &holder))
}

/// What a record says of what there is around its port. Who guards another plugin's port knows the node's
/// addresses from that one's result alone, and its blocks from the configuration. On a segment of many nodes
/// every node is the pool's gateway.
fn recorded_surroundings(record: &AttachmentRecord) -> Surroundings {
    let on_segment = segment::of_names(&record.names).is_some();
    let knows = record.kind == GUARD || on_segment;
    let named = record.addresses.iter().filter(|_| knows);
    let (node_macs, node_links) = recorded_node(record, on_segment);
    Surroundings {
        own_blocks: prefixes_in(&record.names, BLOCKS),
        shares: share(&record.names),
        bridge: record.names.bridge.filter(|_| !on_segment),
        gateways: named.filter_map(|leased| leased.gateway).collect(),
        node_macs,
        node_links,
        ..Surroundings::default()
    }
}

/// The node as the frames of a recorded port reach it: by its bridge or the port, of which the MACs are derived
/// where the plugin makes them.
fn recorded_node(
    record: &AttachmentRecord,
    on_segment: bool,
) -> (BTreeSet<Mac>, BTreeSet<Ipv6Addr>) {
    let (names, network) = (&record.names, &record.key.network);
    if record.kind == GUARD {
        let words = names.other.get(NODE).map_or("", String::as_str);
        let words = || words.split_whitespace();
        let macs = words().filter_map(|word| word.parse().ok());
        let links = words().filter_map(|word| word.parse().ok());
        return (macs.collect(), links.collect());
    }
    let bridge = match names.bridge {
        _ if on_segment => Some(network.gateway_mac()),
        Some(_) => machine_id().ok().map(|node| network.bridge_mac(&node)),
        None => None,
    };
    let on_segment = segment::of_names(names).and_then(|segment| segment.link);
    let links = bridge.iter().map(|mac| mac.link_local()).chain(on_segment);
    let macs = bridge.iter().chain(&names.port_mac).copied();
    (macs.collect(), links.collect())
}

/// The gateways and blocks that a record names.
pub(crate) fn named(record: &AttachmentRecord) -> impl Iterator<Item = Restore> {
    let around = recorded_surroundings(record);
    let blocks = around.own_blocks.into_iter();
    let blocks = blocks.map(|prefix| Restore::Block { prefix });
    let gateways = around.gateways.into_iter();
    blocks.chain(gateways.map(|address| Restore::Gateway { address }))
}

/// Records the block of a pool that an attachment's addresses are in.
pub(crate) fn note_share(names: &mut Names, block: &[Prefix]) {
    note(names, SHARE, block);
}

/// Records what nobody but guarded ports of this node holds.
pub(crate) fn note_blocks(names: &mut Names, blocks: &BTreeSet<Prefix>) {
    note(names, BLOCKS, blocks);
}

/// Records how a guarded port's frames reach the node.
pub(crate) fn note_node(names: &mut Names, macs: &BTreeSet<Mac>, links: &BTreeSet<Ipv6Addr>) {
    let macs = macs.iter().map(ToString::to_string);
    let words: Vec<_> = macs.chain(links.iter().map(ToString::to_string)).collect();
    if !words.is_empty() {
        names.other.insert(NODE.to_owned(), words.join(" "));
    }
}

/// The names but for that.
pub(crate) fn without_node(names: &Names) -> Names {
    let mut names = names.clone();
    names.other.remove(NODE);
    names
}

fn note<'a>(names: &mut Names, what: &str, prefixes: impl IntoIterator<Item = &'a Prefix>) {
    let words: Vec<_> = prefixes.into_iter().map(ToString::to_string).collect();
    if !words.is_empty() {
        names.other.insert(what.to_owned(), words.join(" "));
    }
}

/// The prefixes of the node's block of a pool that an attachment's addresses are in.
#[must_use]
pub fn share(names: &Names) -> BTreeSet<Prefix> {
    prefixes_in(names, SHARE)
}

fn prefixes_in(names: &Names, what: &str) -> BTreeSet<Prefix> {
    let words = names.other.get(what).into_iter();
    let words = words.flat_map(|text| text.split(' '));
    words.filter_map(|word| word.parse().ok()).collect()
}

/// Addresses that an attachment was allowed besides its own, and that one of the others holds too: a
/// virtual router's, of which the other one has more need now.
pub(crate) fn shared(
    record: &AttachmentRecord,
    others: impl FnOnce() -> Result<Vec<AttachmentRecord>, Failure>,
) -> Result<BTreeSet<IpAddr>, Failure> {
    let allowed = of_names(&record.names).allowed;
    if allowed.is_empty() {
        return Ok(BTreeSet::new());
    }
    let others = others()?.into_iter().filter(|it| it.key != record.key);
    let held: BTreeSet<_> = others
        .filter_map(|it| recorded_binding(&it))
        .flat_map(|it| addresses(&it))
        .collect();
    let allowed = allowed.into_iter().map(|(address, _)| address);
    Ok(allowed.filter(|address| held.contains(address)).collect())
}

/// The single addresses that a port holds.
fn addresses(binding: &Binding) -> BTreeSet<IpAddr> {
    let granted = binding.around.granted.iter().copied();
    match &binding.guard {
        Guard::On(identity) => granted.chain(identity.addresses()).collect(),
        Guard::Off | Guard::Mac(_) => granted.collect(),
    }
}

/// The prefixes that are an attachment's own, whole.
#[must_use]
pub fn own_prefixes<'a>(
    names: &Names,
    addresses: impl IntoIterator<Item = &'a InterfaceAddress>,
) -> Vec<Prefix> {
    if !names.other.contains_key(PREFIX) {
        return Vec::new();
    }
    let addresses = addresses.into_iter();
    let v6 = addresses.filter(|address| address.address().is_ipv6());
    v6.map(|address| address.prefix()).collect()
}

/// The settings in an attachment's names. One of a release without the guard goes on as it was made.
#[must_use]
pub fn of_names(names: &Names) -> GuardConfig {
    let recorded = names.other.get(GUARD).and_then(|text| text.parse().ok());
    recorded.unwrap_or_else(|| GuardConfig {
        switch: if names.other.contains_key(CHECKED_MAC) {
            GuardSwitch::Mac
        } else {
            GuardSwitch::Off
        },
        ..GuardConfig::default()
    })
}
