//! The configuration of `bulkhead-bridge` (the keys of the reference plugin, and some of our own:
//! `adopt`, `guard`, `multicast`, `policy`, `portFilter`, `segmentation`, `stateDir`).

use bulkhead_attach::{Addressing, Capabilities, GuardConfig, Masquerade, keys, policies};
use bulkhead_cni::json::{Field, FieldError, Object};
use bulkhead_cni::{Call, CniError};
use bulkhead_model::{IfName, Mac, Mtu};
use bulkhead_plan::{Dad, Foreign, Hook, OtherGateways, PortFlags};

/// The bridge's name if none is given, as in the reference plugin.
const DEFAULT_BRIDGE: &str = "cni0";

/// A configuration with nothing wrong in it.
#[derive(Clone, Debug)]
pub struct Config {
    /// `bridge`: its name.
    pub bridge: IfName,
    /// `isGateway`, `isDefaultGateway`.
    pub gateway: Gateway,
    /// `forceAddress`.
    pub other_gateways: OtherGateways,
    /// `ipMasq`.
    pub masquerade: Masquerade,
    /// `mtu`; `None` takes the bridge's.
    pub mtu: Option<Mtu>,
    /// `hairpinMode`, `portIsolation`.
    pub port: PortFlags,
    /// `segmentation`.
    pub segmentation: Segmentation,
    /// `promiscMode`.
    pub promiscuous: bool,
    /// `guard`, `multicast`, and `macspoofchk` where the guard is off.
    pub guard: GuardConfig,
    /// `enabledad`.
    pub dad: Dad,
    /// `disableContainerInterface`: the interface is left down.
    pub interface_up: bool,
    /// `adopt`.
    pub foreign: Foreign,
    /// `portFilter`.
    pub hook: Hook,
    /// `runtimeConfig.mac`, else `args.cni.mac`, else `MAC` of `CNI_ARGS`.
    pub mac: Option<Mac>,
    /// `ipam`.
    pub addressing: Addressing,
    /// `runtimeConfig`.
    pub capabilities: Capabilities,
    /// `policy`.
    pub policed: bool,
}

/// What a container can reach without the node.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Segmentation {
    /// Every container on the bridge.
    #[default]
    Layer2,
    /// None: ports are isolated, and everything goes by the gateway.
    Layer3,
}

/// What the bridge is to its containers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gateway {
    /// A segment, no more.
    None,
    /// It carries the gateway's address and the node forwards.
    OnLink,
    /// And containers get a default route to it.
    Default,
}

/// Reads the configuration of a call.
///
/// # Errors
/// Code 7 naming the key, the value found and what it should be; code 2 for VLAN keys.
pub(crate) fn parse(call: &Call) -> Result<Config, CniError> {
    let root = call.config.root();
    let flag = |key| root.optional_bool(key).map(Option::unwrap_or_default);
    refuse_vlans(&root)?;
    keys::refuse_prefixes(&root)?;
    bulkhead_attach::state_dir(call)?;
    let port = PortFlags {
        hairpin: flag("hairpinMode")?,
        isolated: flag("portIsolation")?,
        ..PortFlags::default()
    };
    let segmentation = segmentation(&root)?;
    let port = PortFlags {
        isolated: port.isolated || segmentation == Segmentation::Layer3,
        ..port
    };
    let promiscuous = flag("promiscMode")?;
    if port.hairpin && promiscuous {
        let text = "hairpinMode and promiscMode: both are true, set one of them to false";
        return Err(CniError::invalid_config(text));
    }
    let addressing = Addressing::parse(call)?;
    let interface_up = !flag("disableContainerInterface")?;
    if !interface_up && !matches!(addressing, Addressing::None) {
        let text =
            "disableContainerInterface: true leaves the interface down, remove \"ipam\" with it";
        return Err(CniError::invalid_config(text));
    }
    let config = Config {
        bridge: bridge_name(&root)?,
        gateway: gateway(&root)?,
        other_gateways: if flag("forceAddress")? {
            OtherGateways::Replace
        } else {
            OtherGateways::Refuse
        },
        masquerade: keys::masquerade(&root)?,
        mtu: keys::mtu(&root, &addressing)?,
        port,
        segmentation,
        promiscuous,
        guard: GuardConfig::parse(call)?,
        dad: if flag("enabledad")? {
            Dad::Probe
        } else {
            Dad::Skip
        },
        interface_up,
        foreign: if flag("adopt")? {
            Foreign::Adopt
        } else {
            Foreign::Join
        },
        hook: keys::hook(&root)?,
        mac: keys::mac(call)?,
        addressing,
        capabilities: Capabilities::parse(call)?,
        policed: policed(&root, segmentation)?,
    };
    Ok(config)
}

/// Without a gateway there is no way from container to container, and no way for groups at all.
fn segmentation(root: &Object<'_>) -> Result<Segmentation, FieldError> {
    let Some(field) = root.optional("segmentation") else {
        return Ok(Segmentation::Layer2);
    };
    match field.str()? {
        "l2" => return Ok(Segmentation::Layer2),
        "l3" => {}
        _ => return Err(field.invalid("\"l2\" or \"l3\"")),
    }
    if gateway(root)? == Gateway::None || root.optional("ipam").is_none() {
        return Err(field.invalid(
            "\"l2\" where the bridge is no gateway: set isGateway or isDefaultGateway, and \"ipam\"",
        ));
    }
    match root.optional("multicast") {
        Some(groups) if groups.str()? != "none" => Err(groups.unsupported(
            "with \"segmentation\": \"l3\" nothing sends groups from port to port; set \"none\", or \"l2\"",
        )),
        _ => Ok(Segmentation::Layer3),
    }
}

/// Neighbours on a segment reach each other past the node, and nothing there could be enforced.
fn policed(root: &Object<'_>, segmentation: Segmentation) -> Result<bool, FieldError> {
    let is_asked = policies::is_asked(root)?;
    let on_segment = is_asked && segmentation != Segmentation::Layer3;
    if let Some(field) = root.optional("policy").filter(|_| on_segment) {
        return Err(field.unsupported(
            "neighbours on a segment reach each other past the node, where nothing is enforced; set \"segmentation\": \"l3\"",
        ));
    }
    Ok(is_asked)
}

fn bridge_name(root: &Object<'_>) -> Result<IfName, FieldError> {
    let name = root.optional_parsed("bridge")?;
    let default = || DEFAULT_BRIDGE.parse().expect("cni0 is an interface name");
    let name: IfName = name.unwrap_or_else(default);
    if name.as_str().starts_with("bhp") {
        let field = root.required("bridge", "a bridge's name")?;
        return Err(field.invalid("a bridge's name: those that begin with bhp are ports"));
    }
    Ok(name)
}

fn gateway(root: &Object<'_>) -> Result<Gateway, FieldError> {
    let default = root.optional_bool("isDefaultGateway")?.unwrap_or_default();
    let on_link = root.optional_bool("isGateway")?.unwrap_or_default();
    Ok(match (default, on_link) {
        (true, _) => Gateway::Default,
        (false, true) => Gateway::OnLink,
        (false, false) => Gateway::None,
    })
}

/// A bridge port's VLANs need `CONFIG_BRIDGE_VLAN_FILTERING`; what cannot be kept is not accepted.
fn refuse_vlans(root: &Object<'_>) -> Result<(), FieldError> {
    const REASON: &str =
        "bridges here do not filter VLANs; remove the key, or give each VLAN a bridge of its own";
    if let Some(vlan) = root.optional("vlan") {
        match vlan.u32()? {
            0 => {}
            1..=4094 => return Err(vlan.unsupported(REASON)),
            _ => return Err(vlan.invalid("a VLAN id of 0 to 4094")),
        }
    }
    if let Some(trunk) = root.optional("vlanTrunk") {
        for item in &trunk.items()? {
            trunk_ids(&item.object()?)?;
        }
        if !trunk.items()?.is_empty() {
            return Err(trunk.unsupported(REASON));
        }
    }
    match root.optional("preserveDefaultVlan") {
        Some(field) if field.bool()? => Err(field.unsupported(REASON)),
        _ => Ok(()),
    }
}

fn trunk_ids(item: &Object<'_>) -> Result<(), FieldError> {
    let expected = "a VLAN id of 1 to 4094";
    let id = |key| {
        let field = item.optional(key);
        let checked = |field: Field<'_>| match field.u32()? {
            id @ 1..=4094 => Ok(id),
            _ => Err(field.invalid(expected)),
        };
        field.map(checked).transpose()
    };
    match (id("id")?, id("minID")?, id("maxID")?) {
        (_, Some(min), Some(max)) if min > max => Err(item
            .required("minID", expected)?
            .invalid("a VLAN id up to maxID")),
        (None, None, None) => item.required("id", expected).map(drop),
        (_, Some(_), None) => item.required("maxID", expected).map(drop),
        (_, None, Some(_)) => item.required("minID", expected).map(drop),
        _ => Ok(()),
    }
}
