//! Reading a result in the shape of its version.

use bulkhead_model::{Family, InterfaceAddress};

use super::{CniResult, Dns, Interface, Ip, Route};
use crate::CniVersion;
use crate::json::{Field, FieldError, Object, Value};

const IP_ADDRESS: &str = "an IP address such as 10.0.0.1 or fd00::1";

impl CniResult {
    /// Reads a result. `version` decides if the result does not say `cniVersion` itself: Go's
    /// plugins refuse a result labelled with another version than the configuration, we read it.
    ///
    /// # Errors
    /// A key of the wrong type or value, named by its place under `path` (such as `prevResult`).
    pub fn parse(path: &str, value: &Value, version: CniVersion) -> Result<Self, FieldError> {
        let object = Object::rooted(path, value)?;
        let version = object.optional_parsed("cniVersion")?.unwrap_or(version);
        let mut result = Self {
            dns: Dns::parse(&object)?,
            ..Self::default()
        };
        if version < CniVersion::V0_3_0 {
            for (key, family) in [("ip4", Family::V4), ("ip6", Family::V6)] {
                result.read_family(&object, key, family)?;
            }
            return Ok(result);
        }
        for field in object.items("interfaces")? {
            result.interfaces.push(Interface::parse(&field)?);
        }
        for field in object.items("ips")? {
            result.ips.push(Ip::parse(&field)?);
        }
        for field in object.items("routes")? {
            result.routes.push(Route::parse(&field)?);
        }
        Ok(result)
    }

    /// `ip4` or `ip6` of 0.1.0 and 0.2.0.
    fn read_family(
        &mut self,
        object: &Object<'_>,
        key: &str,
        family: Family,
    ) -> Result<(), FieldError> {
        let Some(object) = object.optional_object(key)? else {
            return Ok(());
        };
        let field = object.required("ip", "an address with prefix length such as 10.0.0.5/24")?;
        let address: InterfaceAddress = field.parse()?;
        if address.family() != family {
            return Err(field.invalid(format_args!("an {family} address")));
        }
        self.ips.push(Ip {
            address,
            gateway: object.optional_as("gateway", IP_ADDRESS)?,
            interface: None,
        });
        for field in object.items("routes")? {
            self.routes.push(Route::parse(&field)?);
        }
        Ok(())
    }
}

impl Interface {
    fn parse(field: &Field<'_>) -> Result<Self, FieldError> {
        let object = field.object()?;
        let text = |key| -> Result<Option<String>, FieldError> {
            let text = object.optional_string(key)?;
            Ok(text.filter(|text| !text.is_empty()).map(str::to_owned))
        };
        Ok(Self {
            name: object
                .optional_string("name")?
                .unwrap_or_default()
                .to_owned(),
            mac: text("mac")?,
            mtu: object.optional_u32("mtu")?.filter(|mtu| *mtu != 0),
            sandbox: text("sandbox")?,
            socket_path: text("socketPath")?,
            pci_id: text("pciID")?,
        })
    }
}

impl Ip {
    fn parse(field: &Field<'_>) -> Result<Self, FieldError> {
        let object = field.object()?;
        let interface = match object.optional("interface") {
            Some(field) => Some(
                usize::try_from(field.u64()?)
                    .map_err(|_| field.invalid("an index into interfaces"))?,
            ),
            None => None,
        };
        Ok(Self {
            address: object
                .required(
                    "address",
                    "an address with prefix length such as 10.0.0.5/24",
                )?
                .parse()?,
            gateway: object.optional_as("gateway", IP_ADDRESS)?,
            interface,
        })
    }
}

impl Route {
    /// Reads a route of a result or of an `ipam.routes` list. Zero, Go's "not set", is absent for
    /// MTU, MSS and metric; host bits of the destination are cleared as Go's tools do.
    ///
    /// # Errors
    /// A key of the wrong type or value.
    pub fn parse(field: &Field<'_>) -> Result<Self, FieldError> {
        let object = field.object()?;
        let dst: InterfaceAddress = object
            .required("dst", "a prefix such as 0.0.0.0/0")?
            .parse_as("a prefix such as 0.0.0.0/0 or fd00::/64")?;
        let number = |key| -> Result<Option<u32>, FieldError> {
            Ok(object.optional_u32(key)?.filter(|number| *number != 0))
        };
        let scope = object.optional("scope").map(|field| {
            u8::try_from(field.u64()?).map_err(|_| field.invalid("a scope from 0 to 255"))
        });
        Ok(Self {
            dst: dst.prefix(),
            gw: object.optional_as("gw", IP_ADDRESS)?,
            mtu: number("mtu")?,
            advmss: number("advmss")?,
            priority: number("priority")?,
            table: object.optional_u32("table")?,
            scope: scope.transpose()?,
        })
    }
}

impl Dns {
    /// The `dns` of `object`, a result or a configuration; empty if absent.
    ///
    /// # Errors
    /// A key of the wrong type.
    pub fn parse(object: &Object<'_>) -> Result<Self, FieldError> {
        let Some(dns) = object.optional_object("dns")? else {
            return Ok(Self::default());
        };
        let domain = dns.optional_string("domain")?;
        Ok(Self {
            nameservers: dns.strings("nameservers")?,
            domain: domain
                .filter(|domain| !domain.is_empty())
                .map(str::to_owned),
            search: dns.strings("search")?,
            options: dns.strings("options")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, version: CniVersion) -> Result<CniResult, String> {
        let value = Value::parse(text.as_bytes()).unwrap();
        CniResult::parse("prevResult", &value, version).map_err(|error| error.to_string())
    }

    #[test]
    fn a_result_says_its_own_version() {
        let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.5/24"}}"#;
        assert_eq!(parse(old, CniVersion::V1_0_0).unwrap().ips.len(), 1);
        let new = r#"{"ips":[{"address":"10.0.0.5/24"}]}"#;
        assert_eq!(parse(new, CniVersion::V1_0_0).unwrap().ips.len(), 1);
        assert_eq!(parse(new, CniVersion::V0_2_0).unwrap().ips.len(), 0);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_place() {
        let error = |text| parse(text, CniVersion::V1_1_0).unwrap_err();
        assert_eq!(
            error(r#"{"ips":[{"address":"10.0.0.5"}]}"#),
            "prevResult.ips[0].address: \"10.0.0.5\" is not an address with prefix length such as 10.0.0.5/24"
        );
        assert_eq!(
            error(r#"{"ips":[{"address":"10.0.0.5/24","interface":-1}]}"#),
            "prevResult.ips[0].interface: -1 is not a whole number of 0 or more"
        );
        assert_eq!(
            error(r#"{"routes":[{"dst":"::/0","scope":256}]}"#),
            "prevResult.routes[0].scope: 256 is not a scope from 0 to 255"
        );
        assert_eq!(
            error(r#"{"cniVersion":"0.1.0","ip6":{"ip":"10.0.0.5/24"}}"#),
            "prevResult.ip6.ip: \"10.0.0.5/24\" is not an IPv6 address"
        );
        assert_eq!(error("[]"), "prevResult: [] is not an object");
    }

    #[test]
    fn loopbacks_zero_mac_is_kept_and_is_no_unicast_mac() {
        let text = r#"{"interfaces":[{"name":"lo","mac":"00:00:00:00:00:00"}]}"#;
        let result = parse(text, CniVersion::V1_0_0).unwrap();
        assert_eq!(
            result.interfaces[0].mac.as_deref(),
            Some("00:00:00:00:00:00")
        );
        assert_eq!(result.interfaces[0].unicast_mac(), None);
    }
}
