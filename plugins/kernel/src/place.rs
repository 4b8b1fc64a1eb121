//! The kernel as seen by one caller: its namespaces, and the sockets kept in each.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use bulkhead_model::IfName;
use bulkhead_plan::{Features, Ns, Plan, Scope, Sysctl, World};
use rustix::io::Errno;

use crate::deletion::Deletion;
use crate::error::{ApplyError, NetlinkError, ObserveError};
use crate::links::RawLink;
use crate::netns::{Identity, Netns, NetnsError};
use crate::request::{Links, get_links};
use crate::ruleset::Known;
use crate::socket::{Socket, Subsystem};
use crate::sysctls::Sysctls;
use crate::{apply, nftables, observe};

/// The kernel, as far as its namespaces are known here. Sockets are opened on first use and kept, so
/// one of these serves many plans, and the host's many calls. A socket whose exchange broke off is
/// replaced.
#[derive(Debug)]
pub struct Kernel {
    places: BTreeMap<Ns, Place>,
    pub(crate) deletion: Deletion,
    /// Set once the kernel has refused a chain bound to a device prefix.
    pub(crate) no_device_prefix: bool,
    spent: Spent,
}

impl Kernel {
    /// A kernel whose [`Ns::Host`] is the namespace of the thread that observes and applies.
    #[must_use]
    pub fn new(deletion: Deletion) -> Self {
        Self {
            places: BTreeMap::from([(Ns::Host, Place::new(None))]),
            deletion,
            no_device_prefix: false,
            spent: Spent::default(),
        }
    }

    /// Gives `ns` a meaning.
    #[must_use]
    pub fn with(mut self, ns: Ns, netns: Netns) -> Self {
        self.admit(ns, netns);
        self
    }

    /// As [`Kernel::with`].
    pub fn admit(&mut self, ns: Ns, netns: Netns) {
        self.places.insert(ns, Place::new(Some(netns)));
    }

    /// Forgets a namespace that is gone.
    pub(crate) fn dismiss_one(&mut self, ns: &Ns) {
        self.places.remove(ns);
    }

    /// Whether there is such a namespace: a network's own is opened where it is found, and one that is open
    /// is there whatever became of its path.
    pub(crate) fn finds(&mut self, ns: &Ns) -> Result<bool, ObserveError> {
        let Ns::Network(path) = ns else {
            return Ok(true);
        };
        if self.knows(ns) {
            return Ok(true);
        }
        match Netns::open(path) {
            Ok(netns) => self.admit(ns.clone(), netns),
            Err(NetnsError::Missing { .. } | NetnsError::NotANamespace { .. }) => return Ok(false),
            Err(error) => return Err(ObserveError::Named(error)),
        }
        Ok(true)
    }

    /// Whether a network's own namespace is found at its path.
    pub(crate) fn is_named(&self, ns: &Ns) -> bool {
        let (Ns::Network(path), Some(netns)) = (ns, self.netns(ns)) else {
            return false;
        };
        Identity::at(path) == Some(netns.identity())
    }

    /// Ends a call: every namespace but the host's is forgotten, and of that what was seen in it.
    pub fn dismiss(&mut self) {
        self.places.retain(|ns, _| *ns == Ns::Host);
        for place in self.places.values_mut() {
            place.indexes.clear();
            if let Some(sysctls) = &mut place.sysctls {
                sysctls.forget_links();
            }
        }
    }

    /// What is observed from here on is read, also where nothing should have changed.
    pub fn look_afresh(&mut self) {
        for place in self.places.values_mut() {
            place.ruleset.forget();
        }
    }

    /// How links are deleted from here on.
    pub fn set_deletion(&mut self, deletion: Deletion) {
        self.deletion = deletion;
    }

    /// Reads the part of the kernel that `scope` names, by key wherever the kernel can.
    ///
    /// # Errors
    /// [`ObserveError`] if a namespace is not known or cannot be entered, or the kernel does not
    /// answer. What does not exist is no error: it is absent from the world.
    pub fn observe(&mut self, scope: &Scope) -> Result<World, ObserveError> {
        let began = Instant::now();
        let world = observe::observe(self, scope);
        self.spent.observing += began.elapsed();
        world
    }

    /// Runs `plan` in order and stops at the first refusal; what ran stands. Operations on one
    /// namespace may share a message batch with the next ones, but never with one that opens
    /// something (brings a link up, joins a bridge): that is sent only when all before it is
    /// acknowledged.
    ///
    /// # Errors
    /// [`ApplyError`] with the operation that was refused; [`ApplyError::is_stale`] tells whether to
    /// observe and plan again.
    pub fn apply(&mut self, plan: &Plan) -> Result<(), ApplyError> {
        let began = Instant::now();
        let applied = apply::apply(self, plan);
        self.spent.applying += began.elapsed();
        applied
    }

    /// What was spent since this was asked last.
    pub fn take_spent(&mut self) -> Spent {
        std::mem::take(&mut self.spent)
    }

    /// What the kernel can do. Whether it binds chains to a device prefix is taken from its release
    /// until a transaction with such a chain has been refused; probing beforehand would cost an
    /// aborted transaction, which waits out an RCU grace period under the commit mutex.
    #[must_use]
    pub fn features(&self) -> Features {
        Features {
            device_prefix: !self.no_device_prefix && nftables::release_binds_prefixes(),
            // An older one passes over the attribute without a word, so that nothing is to be probed.
            group_limit: nftables::is_release((6, 3)),
            reaps: matches!(self.deletion, Deletion::Reaper(..)),
        }
    }

    pub(crate) fn place(&mut self, ns: &Ns) -> Option<&mut Place> {
        self.places.get_mut(ns)
    }

    /// The descriptor of `ns`, if it is another namespace than the caller's.
    pub(crate) fn netns(&self, ns: &Ns) -> Option<&Netns> {
        self.places.get(ns)?.netns.as_ref()
    }

    /// Whether two roles are played by one namespace, as a runtime may insist on.
    pub(crate) fn are_one(&self, one: &Ns, two: &Ns) -> bool {
        let identity = |ns| match self.netns(ns) {
            Some(netns) => Some(netns.identity()),
            None => Identity::current(),
        };
        one == two || identity(one) == identity(two)
    }

    pub(crate) fn knows(&self, ns: &Ns) -> bool {
        self.places.contains_key(ns)
    }
}

/// Time spent with the kernel.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Spent {
    /// Reading.
    pub observing: Duration,
    /// Changing, and waiting until it is so.
    pub applying: Duration,
}

/// One namespace.
#[derive(Debug)]
pub(crate) struct Place {
    netns: Option<Netns>,
    route: Option<Socket>,
    netfilter: Option<Socket>,
    generic: Option<Socket>,
    xfrm: Option<Socket>,
    sysctls: Option<Sysctls>,
    ruleset: Known,
    /// Of links observed or created, by name.
    pub(crate) indexes: HashMap<IfName, u32>,
}

/// Why a place could not be used.
#[derive(Debug)]
pub(crate) enum PlaceError {
    Entering(Errno),
    Netlink(NetlinkError),
}

impl From<NetlinkError> for PlaceError {
    fn from(error: NetlinkError) -> Self {
        Self::Netlink(error)
    }
}

impl Place {
    fn new(mut netns: Option<Netns>) -> Self {
        let inside = netns.as_mut().and_then(Netns::take_inside);
        let (route, sysctls) = match inside {
            Some(inside) => (inside.route, Some(inside.sysctls)),
            None => (None, None),
        };
        Self {
            netns,
            route,
            netfilter: None,
            generic: None,
            xfrm: None,
            sysctls,
            ruleset: Known::default(),
            indexes: HashMap::new(),
        }
    }

    /// Runs `body` inside.
    pub(crate) fn within<R>(&self, body: impl FnOnce() -> R) -> Result<R, Errno> {
        match &self.netns {
            Some(netns) => netns.within(body),
            None => Ok(body()),
        }
    }

    pub(crate) fn route(&mut self) -> Result<&mut Socket, PlaceError> {
        if self.route.as_ref().is_none_or(Socket::is_broken) {
            self.route = Some(self.open(Subsystem::Route)?);
        }
        Ok(self.route.as_mut().expect("opened above"))
    }

    pub(crate) fn netfilter(&mut self) -> Result<&mut Socket, PlaceError> {
        if self.netfilter.as_ref().is_none_or(Socket::is_broken) {
            self.netfilter = Some(self.open(Subsystem::Netfilter)?);
        }
        Ok(self.netfilter.as_mut().expect("opened above"))
    }

    pub(crate) fn generic(&mut self) -> Result<&mut Socket, PlaceError> {
        if self.generic.as_ref().is_none_or(Socket::is_broken) {
            self.generic = Some(self.open(Subsystem::Generic)?);
        }
        Ok(self.generic.as_mut().expect("opened above"))
    }

    pub(crate) fn xfrm(&mut self) -> Result<&mut Socket, PlaceError> {
        if self.xfrm.as_ref().is_none_or(Socket::is_broken) {
            self.xfrm = Some(self.open(Subsystem::Xfrm)?);
        }
        Ok(self.xfrm.as_mut().expect("opened above"))
    }

    /// The same, and what is known of the ruleset.
    pub(crate) fn netfilter_and_ruleset(
        &mut self,
    ) -> Result<(&mut Socket, &mut Known), PlaceError> {
        self.netfilter()?;
        let socket = self.netfilter.as_mut().expect("opened above");
        Ok((socket, &mut self.ruleset))
    }

    /// The nfnetlink socket, if it was ever needed.
    pub(crate) const fn opened_netfilter(&self) -> Option<&Socket> {
        self.netfilter.as_ref()
    }

    fn open(&self, subsystem: Subsystem) -> Result<Socket, PlaceError> {
        self.within(|| Socket::open(subsystem))
            .map_err(PlaceError::Entering)?
            .map_err(PlaceError::Netlink)
    }

    /// The link of that name, and its index remembered.
    pub(crate) fn link(&mut self, name: IfName) -> Result<Option<RawLink>, PlaceError> {
        let answer = self.route()?.get(get_links(&Links::Named(name)))?;
        let link = answer.and_then(|message| RawLink::decode(&message.body));
        match &link {
            Some(link) => self.indexes.insert(name, link.index),
            None => self.indexes.remove(&name),
        };
        Ok(link)
    }

    /// The name of the link with that index.
    pub(crate) fn name_of(&mut self, index: u32) -> Result<Option<IfName>, PlaceError> {
        Ok(self.link_of(index)?.map(|link| link.name))
    }

    /// The link with that index.
    pub(crate) fn link_of(&mut self, index: u32) -> Result<Option<RawLink>, PlaceError> {
        let answer = self.route()?.get(get_links(&Links::Indexed(index)))?;
        Ok(answer.and_then(|message| RawLink::decode(&message.body)))
    }
}

impl Place {
    fn sysctls(&mut self) -> io::Result<&mut Sysctls> {
        if self.sysctls.is_none() {
            self.sysctls = Some(self.within(Sysctls::open)?);
        }
        Ok(self.sysctls.as_mut().expect("opened above"))
    }

    /// Whether the namespace has IPv6 at all.
    pub(crate) fn has_ipv6(&mut self) -> io::Result<bool> {
        Ok(self.sysctls()?.have_ipv6())
    }

    /// Reads a sysctl; `None` if there is no such file.
    pub(crate) fn read_sysctl(&mut self, sysctl: &Sysctl) -> io::Result<Option<String>> {
        self.sysctls()?.read(sysctl)
    }

    /// Writes a sysctl.
    pub(crate) fn write_sysctl(&mut self, sysctl: &Sysctl, value: &str) -> io::Result<()> {
        self.sysctls()?.write(sysctl, value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_whose_exchange_broke_off_is_replaced() {
        let mut place = Place::new(None);
        let socket = place.route().unwrap();
        socket.wait_at_most(Duration::from_millis(1)).unwrap();
        assert!(matches!(socket.receive(), Err(NetlinkError::Silent)));
        let lo: IfName = "lo".parse().unwrap();
        assert!(!place.route().unwrap().is_broken());
        assert!(place.link(lo).unwrap().is_some());
    }

    #[test]
    fn sequence_numbers_begin_anew_before_they_run_out() {
        let mut place = Place::new(None);
        let socket = place.route().unwrap();
        socket.reserve(1 << 31);
        let lo: IfName = "lo".parse().unwrap();
        for _ in 0..2 {
            assert!(place.link(lo).unwrap().is_some());
        }
        assert_eq!(place.route().unwrap().reserve(1), 3);
    }
}
