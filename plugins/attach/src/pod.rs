//! Whose container an attachment is of, as Kubernetes runtimes say it in `CNI_ARGS`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use bulkhead_cni::Call;
use bulkhead_cni::json::{Field, FieldError};
use bulkhead_ipam::cluster::schema::PortName;
use bulkhead_ipam::{Labels, PodRef};
use bulkhead_model::{Protocol, is_port_name};

use crate::capabilities::port;

/// The pod; `None` unless namespace and name are both said.
pub(crate) fn of(call: &Call) -> Option<PodRef> {
    Some(PodRef {
        namespace: call.arg("K8S_POD_NAMESPACE")?,
        name: call.arg("K8S_POD_NAME")?,
        uid: call.arg("K8S_POD_UID"),
    })
}

/// Most labels of one container.
const MOST_LABELS: usize = 256;
/// Longest key: of Kubernetes' a prefix of 253 characters, a slash and 63 more.
const LONGEST_KEY: usize = 317;
/// Longest value in bytes: Kubernetes has 63, other runtimes no bound. All of them are in each record.
const LONGEST_VALUE: usize = 1024;

/// The container's labels, as far as the runtime passes them (CNI conventions, "labels").
///
/// # Errors
/// Code 7 if they are not as the conventions want them, are too many or too long, or one key has two values:
/// policies judge by them, so none is dropped.
pub(crate) fn labels(call: &Call) -> Result<Labels, FieldError> {
    let Some(field) = call.config.args_cni()?.optional("labels") else {
        return Ok(Labels::new());
    };
    let items = field.items()?;
    if items.len() > MOST_LABELS {
        return Err(field.invalid(format!("a list of {MOST_LABELS} labels at most")));
    }
    let mut labels = Labels::new();
    for item in &items {
        let (key, value) = label(item)?;
        match labels.insert(key, value.clone()) {
            Some(before) if before != value => {
                return Err(item.invalid("a label whose key has one value"));
            }
            _ => {}
        }
    }
    Ok(labels)
}

fn label(item: &Field<'_>) -> Result<(String, String), FieldError> {
    let label = item.object()?;
    let text = |key, lengths: RangeInclusive<usize>, expected: &str| {
        let field = label.required(key, expected)?;
        let text = field.str()?;
        if !lengths.contains(&text.len()) {
            let (least, most) = (lengths.start(), lengths.end());
            return Err(field.invalid(format!("{expected} of {least} to {most} bytes")));
        }
        Ok(text.to_owned())
    };
    Ok((
        text("key", 1..=LONGEST_KEY, "a label's key")?,
        // A label may say all by being there: Kubernetes has `node-role.kubernetes.io/control-plane: ""`.
        text("value", 0..=LONGEST_VALUE, "a label's value")?,
    ))
}

/// Most ports with names of one container.
const MOST_PORTS: usize = 64;
const PORT: &str = "a port of 1 to 65535";
const PORT_NAME: &str =
    "a port's name (1 to 15 lower-case letters, digits and single '-', such as http)";

/// The ports that the container has names for, as far as the runtime passes them: Kubernetes has them in the pod
/// alone, and nobody hands those on. A key of our own, beside the labels.
///
/// # Errors
/// Code 7 if they are not `{"name", "port", "protocol"}` each, or are too many: policies speak of them, so none is
/// dropped.
pub(crate) fn ports(call: &Call) -> Result<Vec<PortName>, FieldError> {
    let Some(field) = call.config.args_cni()?.optional("ports") else {
        return Ok(Vec::new());
    };
    let items = field.items()?;
    if items.len() > MOST_PORTS {
        return Err(field.invalid(format!("a list of {MOST_PORTS} named ports at most")));
    }
    let ports: BTreeSet<PortName> = items.iter().map(named).collect::<Result<_, _>>()?;
    Ok(ports.into_iter().collect())
}

fn named(item: &Field<'_>) -> Result<PortName, FieldError> {
    let item = item.object()?;
    let mut members = item.members();
    let known = |key: &str| ["name", "port", "protocol"].contains(&key);
    if let Some((_, field)) = members.find(|(key, _)| !known(key)) {
        return Err(field.unsupported("a named port has name, port and protocol; remove the key"));
    }
    let name = item.required("name", PORT_NAME)?;
    let text = name.str()?;
    if !is_port_name(text) {
        return Err(name.invalid(PORT_NAME));
    }
    let protocol = item.optional_parsed("protocol")?.unwrap_or(Protocol::Tcp);
    Ok(PortName {
        name: text.to_owned(),
        protocol: protocol.to_string(),
        port: port(&item.required("port", PORT)?)?.get(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use bulkhead_cni::{Environment, Verb};

    use super::*;

    fn call(args: &str, stdin: &str) -> Call {
        let variables = [
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", args),
        ];
        let variables =
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let environment = Environment::new(variables);
        Call::read(Verb::Add, environment, stdin.into()).unwrap()
    }

    fn pod(args: &str) -> Option<PodRef> {
        of(&call(
            args,
            r#"{"cniVersion": "1.1.0", "name": "blue", "type": "bridge"}"#,
        ))
    }

    #[test]
    fn labels_are_read_as_the_conventions_write_them() {
        let with = |cni: &str| {
            let head = r#""cniVersion": "1.1.0", "name": "blue", "type": "bridge""#;
            labels(&call(
                "",
                &format!(r#"{{{head}, "args": {{"cni": {cni}}}}}"#),
            ))
        };
        let app = ("app".to_owned(), "cart".to_owned());
        assert_eq!(
            with(r#"{"labels": [{"key": "app", "value": "cart"}]}"#),
            Ok(Labels::from([app.clone()]))
        );
        let twice =
            r#"{"labels": [{"key": "app", "value": "cart"}, {"key": "app", "value": "VALUE"}]}"#;
        assert_eq!(
            with(&twice.replace("VALUE", "cart")),
            Ok(Labels::from([app]))
        );
        assert_eq!(with("{}"), Ok(Labels::new()));
        assert_eq!(
            with(r#"{"labels": [{"key": "app", "value": ""}]}"#),
            Ok(Labels::from([("app".to_owned(), String::new())]))
        );
        let many = vec![r#"{"key": "app", "value": "cart"}"#; MOST_LABELS + 1].join(",");
        for (cni, said) in [
            (
                r#"{"labels": [{"key": "app"}]}"#,
                "args.cni.labels[0].value: missing, set it to a label's value",
            ),
            (twice, "is not a label whose key has one value"),
            (
                &format!(r#"{{"labels": [{many}]}}"#),
                "is not a list of 256 labels at most",
            ),
            (
                &format!(
                    r#"{{"labels": [{{"key": "app", "value": "{}"}}]}}"#,
                    "x".repeat(1025)
                ),
                "is not a label's value of 0 to 1024 bytes",
            ),
        ] {
            let error = with(cni).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn ports_have_names_of_the_runtime() {
        let with = |cni: &str| {
            let head = r#""cniVersion": "1.1.0", "name": "blue", "type": "bridge""#;
            ports(&call(
                "",
                &format!(r#"{{{head}, "args": {{"cni": {cni}}}}}"#),
            ))
        };
        let named = |name: &str, protocol: &str, port| PortName {
            name: name.to_owned(),
            protocol: protocol.to_owned(),
            port,
        };
        assert_eq!(with("{}"), Ok(Vec::new()));
        let dns = r#"{"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns", "port": 53},
            {"name": "dns", "port": 53, "protocol": "tcp"}, {"name": "alt", "port": 8053}]}"#;
        assert_eq!(
            with(dns),
            Ok(vec![
                named("alt", "tcp", 8053),
                named("dns", "tcp", 53),
                named("dns", "udp", 53),
            ])
        );
        let many = vec![r#"{"name": "http", "port": 80}"#; MOST_PORTS + 1].join(",");
        for (list, said) in [
            (
                r#"{"name": "http"}"#,
                "args.cni.ports[0].port: missing, set it to a port of 1 to 65535",
            ),
            (
                r#"{"name": "HTTP", "port": 80}"#,
                "is not a port's name (1 to 15 lower-case letters",
            ),
            (
                r#"{"name": "http", "port": 0}"#,
                "is not a port of 1 to 65535",
            ),
            (
                r#"{"name": "http", "port": 80, "protocol": "gre"}"#,
                "is not a protocol (tcp, udp or sctp)",
            ),
            (
                r#"{"name": "http", "hostPort": 80}"#,
                "a named port has name, port and protocol; remove the key",
            ),
            (many.as_str(), "is not a list of 64 named ports at most"),
        ] {
            let error = with(&format!(r#"{{"ports": [{list}]}}"#)).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn a_pod_is_known_by_namespace_and_name() {
        let cart = |uid: Option<&str>| {
            Some(PodRef {
                namespace: "shop".to_owned(),
                name: "cart-0".to_owned(),
                uid: uid.map(str::to_owned),
            })
        };
        let named = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0";
        assert_eq!(pod(named), cart(None));
        assert_eq!(
            pod(&format!("{named};K8S_POD_UID=7f0c")),
            cart(Some("7f0c"))
        );
        assert_eq!(pod("K8S_POD_NAMESPACE=shop;K8S_POD_NAME="), None);
        assert_eq!(pod("nonsense"), None);
    }
}
