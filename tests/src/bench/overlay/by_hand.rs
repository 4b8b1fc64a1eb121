//! What somebody makes with `ip` and `bridge`: two nodes behind a router, a container on each, and either
//! routes or a VXLAN device between them. No filter judges a packet, but what flannel has beside its device.

use std::net::IpAddr;

use netns_fixtures::{Container, End, Host, NsError, Outside, Sandbox, veth};

/// Two nodes made by hand.
pub(super) struct ByHand {
    pub(super) client: Container,
    pub(super) server: Container,
    /// The server's.
    pub(super) address: IpAddr,
    pub(super) mtu: u32,
    /// What stands between them.
    _hosts: [Host; 2],
}

/// How packets go from node to node.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Between {
    Routes,
    Vxlan,
    Flannel,
}

impl ByHand {
    /// The router knows the way to the containers.
    pub(super) fn routed(sandbox: &Sandbox) -> Result<Self, NsError> {
        Self::new(sandbox, "routed", Between::Routes)
    }

    /// A VXLAN device on each node: no learning, one neighbour, forwarding entry and route for the other
    /// (what flannel makes).
    pub(super) fn tunnelled(sandbox: &Sandbox) -> Result<Self, NsError> {
        Self::new(sandbox, "tunnel", Between::Vxlan)
    }

    /// The same device with what else flannel and the plugins that it delegates to set up by default: the
    /// containers on a bridge, masquerade of what leaves the cluster, forwarding of what is of it accepted.
    pub(super) fn flannel(sandbox: &Sandbox) -> Result<Self, NsError> {
        Self::new(sandbox, "flannel", Between::Flannel)
    }

    fn new(sandbox: &Sandbox, name: &str, between: Between) -> Result<Self, NsError> {
        let outside = sandbox.outside(&format!("{name}-out"))?;
        let mtu = 1450;
        let mut hosts = Vec::new();
        let mut containers = Vec::new();
        for nth in 1..=2_u8 {
            let host = sandbox.host(&format!("{name}{nth}"))?;
            outside.link(&host, nth)?;
            host.forward()?;
            let container = sandbox.container(&format!("{name}{nth}-c"))?;
            if between == Between::Flannel {
                on_bridge(&host, &container, nth, mtu)?;
            } else {
                point_to_point(&host, &container, nth, mtu)?;
            }
            hosts.push(host);
            containers.push(container);
        }
        match between {
            Between::Routes => outside.ip_batch(&[
                "route add 10.9.1.0/24 via 192.0.1.2",
                "route add 10.9.2.0/24 via 192.0.2.2",
            ])?,
            Between::Vxlan | Between::Flannel => {
                for (nth, host) in (1..=2).zip(&hosts) {
                    tunnel(host, nth, 3 - nth, mtu)?;
                    if between == Between::Flannel {
                        host.nft(&rules(nth))?;
                    }
                }
                String::new()
            }
        };
        let mut containers = containers.into_iter();
        let mut hosts = hosts.into_iter();
        let mut next = || containers.next().expect("two containers");
        let mut host = || hosts.next().expect("two nodes");
        Ok(Self {
            client: next(),
            server: next(),
            address: IpAddr::from([10, 9, 2, 2]),
            mtu,
            _hosts: [host(), host()],
        })
    }
}

fn point_to_point(host: &Host, container: &Container, nth: u8, mtu: u32) -> Result<(), NsError> {
    veth(
        &End::new(host, "c0").address("169.254.1.1/32").mtu(mtu),
        &End::new(container, "eth0")
            .address(&format!("10.9.{nth}.2/32"))
            .mtu(mtu),
    )?;
    host.ip(&format!("route add 10.9.{nth}.2/32 dev c0"))?;
    container.ip_batch(&[
        "route add 169.254.1.1/32 dev eth0",
        "route add default via 169.254.1.1",
    ])?;
    Ok(())
}

fn on_bridge(host: &Host, container: &Container, nth: u8, mtu: u32) -> Result<(), NsError> {
    host.bridge("cni0", &[&format!("10.9.{nth}.1/24")])?;
    veth(
        &End::new(host, "c0").mtu(mtu),
        &End::new(container, "eth0")
            .address(&format!("10.9.{nth}.2/24"))
            .mtu(mtu),
    )?;
    host.ip("link set c0 master cni0")?;
    container.ip(&format!("route add default via 10.9.{nth}.1"))?;
    Ok(())
}

/// What flannel asks of the kernel beside its device, for one node's block of 10.9.0.0/16.
fn rules(nth: u8) -> String {
    format!(
        "table ip flannel {{
            chain postrtg {{
                type nat hook postrouting priority srcnat;
                ip saddr 10.9.0.0/16 ip daddr 10.9.0.0/16 return
                ip saddr 10.9.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
                ip saddr != 10.9.0.0/16 ip daddr 10.9.{nth}.0/24 return
                ip saddr != 10.9.0.0/16 ip daddr 10.9.0.0/16 masquerade fully-random
            }}
            chain forward {{
                type filter hook forward priority filter;
                ip saddr 10.9.0.0/16 accept
                ip daddr 10.9.0.0/16 accept
            }}
        }}"
    )
}

fn tunnel(host: &Host, own: u8, other: u8, mtu: u32) -> Result<(), NsError> {
    let uplink = Outside::UPLINK;
    let mac = |nth: u8| format!("02:00:00:00:09:{nth:02x}");
    let vtep = |nth: u8| format!("10.9.{nth}.0");
    host.ip_batch(&[
        format!(
            "link add vx type vxlan id 9 dstport 4789 local 192.0.{own}.2 dev {uplink} nolearning"
        ),
        format!("link set vx address {} mtu {mtu} up", mac(own)),
        format!("address add {}/32 dev vx", vtep(own)),
        format!(
            "neighbour add {} lladdr {} dev vx nud permanent",
            vtep(other),
            mac(other)
        ),
        format!(
            "route add 10.9.{other}.0/24 via {} dev vx onlink",
            vtep(other)
        ),
    ])?;
    host.sh(&format!(
        "bridge fdb add {} dev vx dst 192.0.{other}.2",
        mac(other)
    ))
    .map(drop)
}
