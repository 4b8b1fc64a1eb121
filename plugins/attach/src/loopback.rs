//! `loopback`: brings a container's loopback interface up. containerd up to 1.6 calls a plugin of that
//! name for every pod, and takes no other.

use std::path::Path;

use bulkhead_cni::{Answer, Call, CniError, CniResult, Code, Interface, Ip, Verb};
use bulkhead_kernel::{Kernel, NetnsError};
use bulkhead_model::IfName;
use bulkhead_plan::{Ns, Switch, Want, World, plan, scope};

use crate::Host;
use crate::converge::{Before, ConvergeError, converge};
use crate::failure::Failure;

pub(crate) const ABOUT: &str = "brings a container's loopback interface up";

pub(crate) fn serve(call: &Call, host: &mut dyn Host) -> Result<Answer, CniError> {
    match call.verb {
        Verb::Add => Ok(Answer::Result(add(call, host)?)),
        Verb::Del => Ok(del(call, host)?),
        Verb::Check => Ok(check(call, host)?),
        Verb::Gc | Verb::Status | Verb::Version => Ok(Answer::Silent),
    }
}

/// A loopback interface and the namespace it is in.
struct Loopback<'h> {
    kernel: &'h mut Kernel,
    ns: Ns,
}

impl<'h> Loopback<'h> {
    fn of(netns: &Path, host: &'h mut dyn Host) -> Result<Self, NetnsError> {
        let ns = Ns::Container(netns.display().to_string());
        let opened = host.container(netns)?;
        let kernel = host.kernel();
        kernel.admit(ns.clone(), opened);
        Ok(Self { kernel, ns })
    }

    fn want(&self, up: Switch) -> Want {
        let ns = self.ns.clone();
        Want::Loopback { ns, up }
    }

    fn set(&mut self, up: Switch) -> Result<World, Failure> {
        let mut want = self.want(up);
        converge(self.kernel, &mut want, |_, _, _| Ok(Before::Apply))
    }
}

fn netns(call: &Call) -> &Path {
    call.netns.as_deref().unwrap_or(Path::new(""))
}

fn add(call: &Call, host: &mut dyn Host) -> Result<CniResult, Failure> {
    let mut loopback = Loopback::of(netns(call), host)?;
    let world = loopback.set(Switch::On)?;
    // Chained, it hands on what the plugin before it answered.
    if let Some(previous) = call.config.prev_result()? {
        return Ok(previous);
    }
    let name: IfName = "lo".parse().expect("two letters");
    let addresses = world.space(&loopback.ns).addresses.keys();
    let ip = |(_, address): &(IfName, bulkhead_model::InterfaceAddress)| Ip {
        address: *address,
        gateway: None,
        interface: Some(0),
    };
    let of_host = addresses.filter(|(on, a)| *on == name && a.address().is_loopback());
    Ok(CniResult {
        interfaces: vec![Interface {
            name: name.to_string(),
            mac: Some("00:00:00:00:00:00".to_owned()),
            sandbox: Some(netns(call).display().to_string()),
            ..Interface::default()
        }],
        ips: of_host.map(ip).collect(),
        ..CniResult::default()
    })
}

fn check(call: &Call, host: &mut dyn Host) -> Result<Answer, Failure> {
    call.config.required_prev_result()?;
    let loopback = Loopback::of(netns(call), host)?;
    let want = loopback.want(Switch::On);
    let world = loopback.kernel.observe(&scope(&want))?;
    let mend = plan(&world, &want).map_err(ConvergeError::from)?;
    if mend.is_empty() {
        return Ok(Answer::Silent);
    }
    let error = CniError::new(Code::DRIFT, "interface lo is down");
    Err(error.with_details(mend.to_string().trim_end()).into())
}

/// A namespace that is gone took its loopback with it.
fn del(call: &Call, host: &mut dyn Host) -> Result<Answer, Failure> {
    if let Ok(mut loopback) = Loopback::of(netns(call), host) {
        loopback.set(Switch::Off)?;
    }
    Ok(Answer::Silent)
}
