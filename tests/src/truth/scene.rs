//! The world of a case, and how it is changed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bulkhead_model::Protocol;

use super::{Ask, Case, Step};

/// A case that is being written.
pub struct Draft {
    name: String,
    namespaces: BTreeMap<String, String>,
    pods: BTreeMap<(String, String), Pod>,
    policies: BTreeMap<String, String>,
    ports: Vec<(Protocol, u16)>,
    does: Vec<String>,
    steps: Vec<Step>,
}

struct Pod {
    labels: String,
    address: Ipv4Addr,
}

/// A case in the usual world: namespaces x, y and z with the label `ns` of their name, each with pods a, b
/// and c with the label `pod` of theirs, and ports 80 and 81 of TCP, UDP and SCTP, called `serve-80-tcp`.
/// The address of x/a is 10.0.1.1, of z/c 10.0.3.3.
#[must_use]
pub fn case(name: &str) -> Draft {
    let ports = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| [(protocol, 80), (protocol, 81)]);
    Draft::of(name, &["x", "y", "z"], &["a", "b", "c"], ports.collect())
}

impl Draft {
    /// A case in a world of such namespaces, pods and ports.
    #[must_use]
    pub fn of(name: &str, namespaces: &[&str], pods: &[&str], ports: Vec<(Protocol, u16)>) -> Self {
        let mut draft = Self {
            name: name.to_owned(),
            namespaces: BTreeMap::new(),
            pods: BTreeMap::new(),
            policies: BTreeMap::new(),
            ports,
            does: Vec::new(),
            steps: Vec::new(),
        };
        for (n, namespace) in (1..).zip(namespaces) {
            draft
                .namespaces
                .insert((*namespace).to_owned(), format!("ns: {namespace}"));
            for (p, pod) in (1..).zip(pods) {
                let labels = format!("pod: {pod}");
                let address = Ipv4Addr::new(10, 0, n, p);
                let key = ((*namespace).to_owned(), (*pod).to_owned());
                draft.pods.insert(key, Pod { labels, address });
            }
        }
        draft
    }

    /// Creates or updates a `NetworkPolicy`.
    #[must_use]
    pub fn policy(mut self, namespace: &str, name: &str, spec: &str) -> Self {
        let key = format!("{namespace}/{name}");
        let verb = if self.policies.contains_key(&key) {
            "update"
        } else {
            "create"
        };
        self.does.push(format!("{verb} policy {key}"));
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
        );
        self.policies.insert(key, text);
        self
    }

    /// Creates or updates a `ClusterNetworkPolicy`.
    #[must_use]
    pub fn cluster(mut self, name: &str, spec: &str) -> Self {
        self.does.push(format!("create cluster policy {name}"));
        let text = format!(
            "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: {name}}}\nspec: {spec}\n"
        );
        self.policies.insert(name.to_owned(), text);
        self
    }

    /// Deletes a policy: `NAMESPACE/NAME`, or the name of one of the cluster.
    #[must_use]
    pub fn delete(mut self, key: &str) -> Self {
        self.does.push(format!("delete policy {key}"));
        self.policies.remove(key);
        self
    }

    /// Creates a pod, or gives it other labels.
    #[must_use]
    pub fn pod(mut self, namespace: &str, name: &str, labels: &str) -> Self {
        let key = (namespace.to_owned(), name.to_owned());
        let free = (1..=250)
            .map(|last| Ipv4Addr::new(10, 0, 9, last))
            .find(|address| {
                let mut pods = self.pods.values();
                pods.all(|pod| pod.address != *address)
            });
        let known = self.pods.get(&key).map(|pod| pod.address);
        let address = known.or(free).expect("a case has few pods");
        let labels = labels.to_owned();
        self.does
            .push(format!("set pod {namespace}/{name}: {labels}"));
        self.pods.insert(key, Pod { labels, address });
        self
    }

    /// Deletes a pod.
    #[must_use]
    pub fn delete_pod(mut self, namespace: &str, name: &str) -> Self {
        self.does.push(format!("delete pod {namespace}/{name}"));
        self.pods.remove(&(namespace.to_owned(), name.to_owned()));
        self
    }

    /// Creates a namespace, or gives it other labels.
    #[must_use]
    pub fn namespace(mut self, name: &str, labels: &str) -> Self {
        self.does.push(format!("set namespace {name}: {labels}"));
        self.namespaces.insert(name.to_owned(), labels.to_owned());
        self
    }

    /// Deletes a namespace, its pods and its policies.
    #[must_use]
    pub fn delete_namespace(mut self, name: &str) -> Self {
        self.does.push(format!("delete namespace {name}"));
        self.namespaces.remove(name);
        self.pods.retain(|(namespace, _), _| namespace != name);
        let prefix = format!("{name}/");
        self.policies.retain(|key, _| !key.starts_with(&prefix));
        self
    }

    /// What is denied now, where it arrives and where it leaves.
    #[must_use]
    pub fn step(
        mut self,
        ingress: impl Fn(&Ask<'_>) -> bool + 'static,
        egress: impl Fn(&Ask<'_>) -> bool + 'static,
    ) -> Self {
        let pods = self.pods.iter().map(|((namespace, name), pod)| {
            (format!("{namespace}/{name}"), IpAddr::V4(pod.address))
        });
        self.steps.push(Step {
            does: self.does.join(", "),
            objects: self.objects(),
            pods: pods.collect(),
            ports: self.ports.clone(),
            ingress: Box::new(ingress),
            egress: Box::new(egress),
            hairpins: false,
        });
        self.does.clear();
        self
    }

    /// In the last step, pods reach themselves by way of a service too, which hands what it gets to them.
    #[must_use]
    pub fn with_hairpins(mut self) -> Self {
        if let Some(step) = self.steps.last_mut() {
            step.hairpins = true;
        }
        self
    }

    /// The case.
    #[must_use]
    pub fn end(self) -> Case {
        Case {
            name: self.name,
            steps: self.steps,
        }
    }

    fn objects(&self) -> String {
        let mut text = String::from(
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nstatus: {addresses: [{type: InternalIP, address: '192.0.2.1'}]}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: n2, labels: {role: gate}}\nstatus: {addresses: [{type: InternalIP, address: '192.0.2.2'}]}\n",
        );
        let ports = self.ports.iter().map(|(protocol, port)| {
            let kind = protocol.to_string().to_uppercase();
            format!("{{name: serve-{port}-{protocol}, containerPort: {port}, protocol: {kind}}}")
        });
        let ports: Vec<String> = ports.collect();
        let ports = ports.join(", ");
        // Writing to a string does not fail.
        for (name, labels) in &self.namespaces {
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"
            );
        }
        for ((namespace, name), pod) in &self.pods {
            let Pod { labels, address } = pod;
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{{labels}}}}}\nspec: {{nodeName: n1, containers: [{{name: c, ports: [{ports}]}}]}}\nstatus: {{phase: Running, podIPs: [{{ip: '{address}'}}]}}\n"
            );
        }
        for policy in self.policies.values() {
            let _ = write!(text, "---\n{policy}");
        }
        text
    }
}

/// The same text in the world of IPv6: every address and prefix of IPv4 is mapped into `fd00::/96`, and
/// `0.0.0.0/0` to `::/0`.
#[must_use]
pub fn twin(text: &str) -> String {
    let mut mapped = String::with_capacity(text.len());
    let is_part = |c: char| c.is_ascii_digit() || c == '.' || c == '/';
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c| !is_part(c)).unwrap_or(from.len());
        let (token, after) = from.split_at(end);
        mapped.push_str(before);
        mapped.push_str(&of_v6(token).unwrap_or_else(|| token.to_owned()));
        rest = after;
    }
    mapped + rest
}

fn of_v6(token: &str) -> Option<String> {
    let (address, len) = match token.split_once('/') {
        Some((address, len)) => (address, Some(len.parse::<u8>().ok()?)),
        None => (token, None),
    };
    let address: Ipv4Addr = address.parse().ok()?;
    Some(match len {
        Some(0) => "::/0".to_owned(),
        Some(len) => format!("{}/{}", address_of_v6(address), 96 + len),
        None => address_of_v6(address).to_string(),
    })
}

/// The twin of an address.
#[must_use]
fn address_of_v6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(address.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twin_has_the_other_familys_addresses_and_nothing_else_of_its_own() {
        assert_eq!(
            twin("ip: '10.0.1.2', port: 80"),
            "ip: 'fd00::a00:102', port: 80"
        );
        assert_eq!(twin("cidr: 10.0.1.0/24"), "cidr: fd00::a00:100/120");
        assert_eq!(twin("cidr: 0.0.0.0/0, v1alpha2"), "cidr: ::/0, v1alpha2");
        assert_eq!(twin("serve-80-tcp v1"), "serve-80-tcp v1");
    }
}
