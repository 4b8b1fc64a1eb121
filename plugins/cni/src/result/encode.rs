//! Writing a result in the shape of any version, key for key as the reference's Go types marshal it.

use bulkhead_model::Family;

use super::{CniResult, Dns, Interface, Ip, Route};
use crate::CniVersion;
use crate::json::Value;

/// A result that the request's version has no shape for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "cannot convert the result to {version}: no valid IP addresses; set cniVersion to 0.3.0 or later or configure ipam"
)]
pub struct ConvertError {
    /// The version asked for.
    pub version: CniVersion,
}

impl CniResult {
    /// The result as `version` writes it. Before 0.3.0 that is the first address of each family
    /// with the routes of its family; before 1.0.0 addresses carry their family and `dns` is always
    /// there; before 1.1.0 link and route attributes are left out.
    ///
    /// # Errors
    /// No address, and `version` is 0.1.0 or 0.2.0, whose results are nothing but addresses. Ask
    /// before anything is made.
    pub fn to_json(&self, version: CniVersion) -> Result<Value, ConvertError> {
        let mut members = Members::default();
        members.text("cniVersion", &version);
        if version < CniVersion::V0_3_0 {
            if self.ips.is_empty() {
                return Err(ConvertError { version });
            }
            for (key, family) in [("ip4", Family::V4), ("ip6", Family::V6)] {
                members.put_some(key, self.family_to_json(family));
            }
        } else {
            let interfaces = self.interfaces.iter().map(|link| link.to_json(version));
            members.list("interfaces", interfaces.collect());
            members.list(
                "ips",
                self.ips.iter().map(|ip| ip.to_json(version)).collect(),
            );
            let routes = self.routes.iter().map(|route| route.to_json(version));
            members.list("routes", routes.collect());
        }
        if version < CniVersion::V1_0_0 || !self.dns.is_empty() {
            members.put("dns", self.dns.to_json());
        }
        Ok(members.object())
    }

    fn family_to_json(&self, family: Family) -> Option<Value> {
        let ip = self.ips.iter().find(|ip| ip.address.family() == family)?;
        let mut members = Members::default();
        members.text("ip", &ip.address);
        members.text_some("gateway", ip.gateway);
        let routes = self
            .routes
            .iter()
            .filter(|route| route.dst.family() == family);
        members.list(
            "routes",
            routes
                .map(|route| route.to_json(CniVersion::V0_2_0))
                .collect(),
        );
        Some(members.object())
    }
}

impl Interface {
    fn to_json(&self, version: CniVersion) -> Value {
        let mut members = Members::default();
        members.text("name", &self.name);
        members.text_some("mac", self.mac.as_deref());
        let newest = version >= CniVersion::V1_1_0;
        members.put_some("mtu", self.mtu.filter(|_| newest));
        members.text_some("sandbox", self.sandbox.as_deref());
        members.text_some("socketPath", self.socket_path.as_deref().filter(|_| newest));
        members.text_some("pciID", self.pci_id.as_deref().filter(|_| newest));
        members.object()
    }
}

impl Ip {
    fn to_json(&self, version: CniVersion) -> Value {
        let mut members = Members::default();
        if version < CniVersion::V1_0_0 {
            let family = match self.address.family() {
                Family::V4 => "4",
                Family::V6 => "6",
            };
            members.text("version", &family);
        }
        // Zero is an index like any other and must be written.
        members.put_some("interface", self.interface.map(|index| index as u64));
        members.text("address", &self.address);
        members.text_some("gateway", self.gateway);
        members.object()
    }
}

impl Route {
    fn to_json(&self, version: CniVersion) -> Value {
        let mut members = Members::default();
        members.text("dst", &self.dst);
        members.text_some("gw", self.gw);
        if version >= CniVersion::V1_1_0 {
            members.put_some("mtu", self.mtu);
            members.put_some("advmss", self.advmss);
            members.put_some("priority", self.priority);
            members.put_some("table", self.table);
            members.put_some("scope", self.scope.map(u32::from));
        }
        members.object()
    }
}

impl Dns {
    fn to_json(&self) -> Value {
        let list = |texts: &[String]| texts.iter().map(|text| text.as_str().into()).collect();
        let mut members = Members::default();
        members.list("nameservers", list(&self.nameservers));
        members.text_some("domain", self.domain.as_deref());
        members.list("search", list(&self.search));
        members.list("options", list(&self.options));
        members.object()
    }
}

/// An object under construction; what is absent is left out.
#[derive(Default)]
struct Members(Vec<(String, Value)>);

impl Members {
    fn put(&mut self, key: &str, value: impl Into<Value>) {
        self.0.push((key.to_owned(), value.into()));
    }

    fn put_some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn text(&mut self, key: &str, value: &impl ToString) {
        self.put(key, value.to_string());
    }

    fn text_some(&mut self, key: &str, value: Option<impl ToString>) {
        self.put_some(key, value.map(|value| value.to_string()));
    }

    fn list(&mut self, key: &str, items: Vec<Value>) {
        if !items.is_empty() {
            self.put(key, Value::Array(items));
        }
    }

    fn object(self) -> Value {
        Value::Object(self.0)
    }
}
