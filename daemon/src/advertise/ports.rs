//! The ports that something is advertised on, made from the records alone: a daemon that starts again
//! goes on where the last one was.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bulkhead_attach::layer3::port_mac;
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipv6::Advertisements;
use bulkhead_model::{AttachmentKey, IfName, InterfaceAddress, Mac};
use tokio::sync::Notify;

use super::budget::Budget;
use super::{dhcpv6, message};

/// Least time between two that go to all nodes of a port (`MIN_DELAY_BETWEEN_RAS`, RFC 4861 section 10).
const BETWEEN_GROUPS: Duration = Duration::from_secs(3);
/// Within how long every port that was there already is told of a daemon that has come back
/// (`MAX_INITIAL_RTR_ADVERT_INTERVAL`, RFC 4861 section 10).
const FIRST: Duration = Duration::from_secs(16);
/// All nodes of a link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    known: Mutex<Known>,
    changed: Notify,
    /// Held from before a record is read until what it says is known: the last one to read is right.
    turn: Mutex<()>,
}

#[derive(Debug, Default)]
struct Known {
    ports: HashMap<IfName, Port>,
    names: HashMap<AttachmentKey, IfName>,
}

/// One port.
#[derive(Debug)]
struct Port {
    said: Advertisements,
    /// The advertisement, whole: it is the same each time.
    message: Arc<[u8]>,
    /// The port's own MAC.
    mac: Mac,
    /// The container's link-local address.
    holder: Ipv6Addr,
    solicitations: Budget,
    requests: Budget,
    /// When all nodes were told last.
    group_at: Option<Instant>,
    /// When it is told unasked.
    unasked_at: Instant,
}

/// An advertisement, and to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Sent {
    pub(super) to: Ipv6Addr,
    pub(super) message: Arc<[u8]>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Silence {
    /// Nothing is advertised on the port.
    NotServed,
    /// It was answered often enough.
    Limited,
    /// It asks for what is not given, or not as it should.
    Invalid,
}

/// When a port is told first without having asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Since {
    /// Its container starts, and asks by itself.
    Now,
    /// The daemon starts: its container may have been without a router for long.
    Before,
}

impl Ports {
    /// An attachment's port is as `read` finds its record, from now on; it is gone if there is none.
    ///
    /// # Errors
    /// Those of `read`; what was known stands then.
    pub(super) fn follow<E>(
        &self,
        key: &AttachmentKey,
        since: Since,
        read: impl FnOnce() -> Result<Option<AttachmentRecord>, E>,
    ) -> Result<(), E> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let port = read()?.and_then(|record| Some((record.names.port?, Port::of(&record, since)?)));
        let mut known = self.known();
        let changes = match port {
            Some((name, port)) => known.insert(key, name, port),
            None => known.remove(key),
        };
        drop(known);
        if changes {
            self.changed.notify_waiters();
        }
        Ok(())
    }

    /// Every attachment whose port is served.
    pub(super) fn keys(&self) -> Vec<AttachmentKey> {
        self.known().names.keys().cloned().collect()
    }

    /// Waits until something is advertised somewhere.
    pub(super) async fn some(&self, is: fn(&Advertisements) -> bool) {
        loop {
            let changed = self.changed.notified();
            if self.are_some(is) {
                return;
            }
            changed.await;
        }
    }

    /// Whether something is advertised so somewhere.
    pub(super) fn are_some(&self, is: fn(&Advertisements) -> bool) -> bool {
        self.known().ports.values().any(|port| is(&port.said))
    }

    /// Waits until a port comes or goes.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The names of the ports that are advertised so.
    pub(super) fn names(&self, is: fn(&Advertisements) -> bool) -> Vec<IfName> {
        let known = self.known();
        let ports = known.ports.iter().filter(|(_, port)| is(&port.said));
        ports.map(|(name, _)| *name).collect()
    }

    /// The answer to a solicitation that came in on `name`.
    pub(super) fn solicited(
        &self,
        name: IfName,
        solicitation: &[u8],
        source: Ipv6Addr,
        hop_limit: Option<u8>,
    ) -> Result<Sent, Silence> {
        let now = Instant::now();
        let mut known = self.known();
        let port = known.ports.get_mut(&name).ok_or(Silence::NotServed)?;
        if !message::is_solicitation(solicitation, source, hop_limit) {
            return Err(Silence::Invalid);
        }
        if !port.solicitations.take(now) {
            return Err(Silence::Limited);
        }
        if !source.is_unspecified() {
            // Only a link-local address is surely behind the port.
            let is_near = source.is_unicast_link_local();
            return Ok(port.sent(if is_near { source } else { port.holder }));
        }
        if port
            .group_at
            .is_some_and(|last| now < last + BETWEEN_GROUPS)
        {
            return Err(Silence::Limited);
        }
        port.group_at = Some(now);
        Ok(port.sent(ALL_NODES))
    }

    /// The ports that are to be told unasked by `now`.
    pub(super) fn due(&self, now: Instant) -> Vec<(IfName, Sent)> {
        let mut known = self.known();
        let due = known
            .ports
            .iter_mut()
            .filter(|(_, port)| now >= port.unasked_at);
        let due = due.map(|(name, port)| {
            port.unasked_at = now + port.interval();
            (*name, port.sent(port.holder))
        });
        due.collect()
    }

    /// The answer to a datagram to the servers' port that came in on `name`.
    pub(super) fn requested(&self, name: IfName, message: &[u8]) -> Result<Vec<u8>, Silence> {
        let mut known = self.known();
        let port = known.ports.get_mut(&name).ok_or(Silence::NotServed)?;
        let refresh_secs = port.said.refresh_secs.ok_or(Silence::NotServed)?;
        let request = dhcpv6::request(message, port.mac).ok_or(Silence::Invalid)?;
        if !port.requests.take(Instant::now()) {
            return Err(Silence::Limited);
        }
        Ok(dhcpv6::reply(&request, &port.said, refresh_secs, port.mac))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether that is new.
    fn insert(&mut self, key: &AttachmentKey, name: IfName, port: Port) -> bool {
        self.names.insert(key.clone(), name);
        match self.ports.get(&name) {
            // What it has asked for counts on.
            Some(standing) if standing.is_as(&port) => false,
            _ => {
                self.ports.insert(name, port);
                true
            }
        }
    }

    /// Whether it was there.
    fn remove(&mut self, key: &AttachmentKey) -> bool {
        let name = self.names.remove(key);
        name.is_some_and(|name| self.ports.remove(&name).is_some())
    }
}

impl Port {
    /// Whether it says the same, to the same container.
    fn is_as(&self, other: &Self) -> bool {
        self.said == other.said && self.message == other.message && self.holder == other.holder
    }

    fn of(record: &AttachmentRecord, since: Since) -> Option<Self> {
        let said = Advertisements::recorded(&record.names)?;
        let mac = record.names.port_mac.unwrap_or_else(port_mac);
        let interface_mac = record.names.interface_mac;
        let interface_mac = interface_mac.unwrap_or_else(|| record.id().interface_mac());
        let addresses = record.addresses.iter().map(|leased| leased.address);
        let prefix = addresses
            .filter(|address| address.address().is_ipv6())
            .map(InterfaceAddress::prefix)
            .next();
        let now = Instant::now();
        let mut port = Self {
            message: message::advertisement(&said, prefix, mac).into(),
            said,
            mac,
            holder: interface_mac.link_local(),
            solicitations: Budget::full(now),
            requests: Budget::full(now),
            group_at: None,
            unasked_at: now,
        };
        port.unasked_at += match since {
            Since::Now => port.interval(),
            // Not all of them at once.
            Since::Before => FIRST * u32::from(interface_mac.octets()[5]) / 256,
        };
        Some(port)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.said.interval_secs().into())
    }

    fn sent(&self, to: Ipv6Addr) -> Sent {
        Sent {
            to,
            message: Arc::clone(&self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::json;

    use super::*;

    const BARE: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

    fn record(said: &str) -> AttachmentRecord {
        let record = json!({
            "key": {"network": "n", "container": "c", "interface": "eth0"},
            "sequence": 1, "boot_id": "00000000-0000-0000-0000-000000000000",
            "created_at_unix_ms": 0, "kind": "ipv6", "ipam": "own",
            "names": {
                "port": "bhpaaaaaaaaaaaa", "interface_mac": "02:00:00:00:00:80",
                "other": {"routerAdvertisements": said},
            },
            "addresses": [{"address": "fd00::5/64", "range": 0}],
        });
        serde_json::from_value(record).unwrap()
    }

    fn name() -> IfName {
        "bhpaaaaaaaaaaaa".parse().unwrap()
    }

    fn ports(since: Since) -> Ports {
        let ports = Ports::default();
        followed(&ports, since, Some("lifetime=1800 mtu=1500"));
        ports
    }

    fn followed(ports: &Ports, since: Since, said: Option<&str>) {
        let key = record("").key;
        let read = || Ok::<_, Infallible>(said.map(record));
        ports.follow(&key, since, read).unwrap();
    }

    #[test]
    fn a_port_is_told_unasked_every_third_of_the_lifetime() {
        let start = Instant::now();
        let ports = ports(Since::Now);
        let secs = Duration::from_secs;
        assert_eq!(ports.due(start + secs(590)), []);
        let holder: Ipv6Addr = "fe80::ff:fe00:80".parse().unwrap();
        let told = ports.due(start + secs(601));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].0, told[0].1.to), (name(), holder));
        assert_eq!(ports.due(start + secs(1190)), []);
        assert_eq!(ports.due(start + secs(1202)).len(), 1);
    }

    #[test]
    fn a_daemon_that_comes_back_tells_every_port_soon() {
        let ports = ports(Since::Before);
        let start = Instant::now();
        assert_eq!(ports.due(start), [], "not all at once");
        assert_eq!(ports.due(start + FIRST).len(), 1);
    }

    #[test]
    fn what_came_from_nobody_is_answered_to_all_and_seldom() {
        let ports = ports(Since::Now);
        let ask = |source| ports.solicited(name(), &BARE, source, Some(255));
        assert_eq!(ask(Ipv6Addr::UNSPECIFIED).unwrap().to, ALL_NODES);
        assert_eq!(ask(Ipv6Addr::UNSPECIFIED), Err(Silence::Limited));
        let source = "fe80::9".parse().unwrap();
        assert_eq!(ask(source).unwrap().to, source);
        let elsewhere = ask("fd00::5".parse().unwrap()).unwrap();
        assert!(elsewhere.to.is_unicast_link_local(), "the holder's own");
    }

    #[test]
    fn a_record_that_is_read_again_gives_nobody_more() {
        let ports = ports(Since::Now);
        let ask = || ports.solicited(name(), &BARE, "fe80::9".parse().unwrap(), Some(255));
        while ask().is_ok() {}
        followed(&ports, Since::Now, Some("lifetime=1800 mtu=1500"));
        assert_eq!(ask(), Err(Silence::Limited));
        followed(&ports, Since::Now, Some("lifetime=900 mtu=1500"));
        assert!(ask().is_ok(), "it says something else now");
        followed(&ports, Since::Now, None);
        assert_eq!(ask(), Err(Silence::NotServed));
    }

    #[test]
    fn dhcpv6_is_answered_where_it_is_asked_for() {
        let ports = ports(Since::Now);
        let request = [11, 0, 0, 1];
        assert_eq!(ports.requested(name(), &request), Err(Silence::NotServed));
        followed(&ports, Since::Now, Some("lifetime=0 mtu=1500 refresh=600"));
        assert!(ports.requested(name(), &request).is_ok());
        assert_eq!(
            ports.requested(name(), &[1, 0, 0, 1]),
            Err(Silence::Invalid)
        );
    }
}
