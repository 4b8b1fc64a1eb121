//! Whose container an attachment is of, as Kubernetes runtimes say it in `CNI_ARGS`.

use bulkhead_cni::Call;
use bulkhead_ipam::PodRef;

/// The pod; `None` unless namespace and name are both said.
pub(crate) fn of(call: &Call) -> Option<PodRef> {
    Some(PodRef {
        namespace: call.arg("K8S_POD_NAMESPACE")?,
        name: call.arg("K8S_POD_NAME")?,
        uid: call.arg("K8S_POD_UID"),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use bulkhead_cni::{Environment, Verb};

    use super::*;

    fn pod(args: &str) -> Option<PodRef> {
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
        let stdin = br#"{"cniVersion": "1.1.0", "name": "blue", "type": "bridge"}"#;
        of(&Call::read(Verb::Add, environment, stdin.to_vec()).unwrap())
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
