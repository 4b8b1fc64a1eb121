//! Whose container an attachment is of, as Kubernetes runtimes say it in `CNI_ARGS`.

use bulkhead_cni::Call;
use bulkhead_cni::json::{Field, FieldError};
use bulkhead_ipam::PodRef;

/// The pod; `None` unless namespace and name are both said.
pub(crate) fn of(call: &Call) -> Option<PodRef> {
    Some(PodRef {
        namespace: call.arg("K8S_POD_NAMESPACE")?,
        name: call.arg("K8S_POD_NAME")?,
        uid: call.arg("K8S_POD_UID"),
    })
}

/// The container's labels, as far as the runtime passes them (CNI conventions, "labels").
///
/// # Errors
/// Code 7 if they are not as the conventions want them.
pub(crate) fn labels(call: &Call) -> Result<Vec<(String, String)>, FieldError> {
    let items = call.config.args_cni()?.items("labels")?;
    let label = |item: &Field<'_>| {
        let label = item.object()?;
        let text = |key, expected| label.required_string(key, expected).map(str::to_owned);
        Ok((
            text("key", "a label's key")?,
            text("value", "a label's value")?,
        ))
    };
    items.iter().map(label).collect()
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
            Ok(vec![app])
        );
        assert_eq!(with("{}"), Ok(Vec::new()));
        let error = with(r#"{"labels": [{"key": "app"}]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "args.cni.labels[0].value: missing, set it to a label's value"
        );
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
