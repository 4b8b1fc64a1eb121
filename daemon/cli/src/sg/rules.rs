//! A group's rules on the command line, and the object that they make.

use std::fmt::Write;

/// Who may talk, on which ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    /// The peer as it stands in an object; `None` for anybody.
    peer: Option<String>,
    /// All of them if there are none.
    ports: Vec<String>,
}

/// The words for what is neither a group nor a network nor a prefix.
const ENTITIES: [&str; 4] = ["own-node", "any-node", "world", "gateway"];

/// `PEER [PORT,...]`. What the parts mean is the daemon's to say.
pub(super) fn rule(text: &str) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let peer = words.next().ok_or("empty: write PEER [PORTS]")?;
    let ports = words.next().unwrap_or_default();
    if words.next().is_some() {
        return Err("more than a peer and ports: write PORT,PORT without blanks".to_owned());
    }
    let quoted = |key: &str, value: &str| Some(format!("{key}: {value:?}"));
    let peer = match peer.split_once(':') {
        _ if peer == "any" => None,
        _ if ENTITIES.contains(&peer) => quoted("entity", peer),
        Some(("group", name)) => quoted("group", name),
        Some(("network", name)) => quoted("network", name),
        _ if peer.starts_with(|c: char| c.is_ascii_hexdigit() || c == ':') => quoted("cidr", peer),
        _ => {
            let known = ENTITIES.join(", ");
            return Err(format!(
                "{peer:?} is no peer: write any, group:NAME, network:NAME, {known}, or a prefix"
            ));
        }
    };
    let ports = ports.split(',').filter(|port| !port.is_empty());
    Ok(Rule {
        peer,
        ports: ports.map(|port| format!("{port:?}")).collect(),
    })
}

/// The object.
pub(super) fn document(group: &str, ingress: &[Rule], egress: &[Rule]) -> String {
    let mut text = format!(
        "apiVersion: bulkhead/v1\nkind: SecurityGroup\nmetadata:\n  name: {group:?}\nspec:\n"
    );
    for (direction, other, rules) in [("ingress", "from", ingress), ("egress", "to", egress)] {
        if rules.is_empty() {
            let _ = writeln!(text, "  {direction}: []");
            continue;
        }
        let _ = writeln!(text, "  {direction}:");
        for rule in rules {
            let peer = rule
                .peer
                .as_ref()
                .map(|peer| format!("{other}: [{{{peer}}}]"));
            let ports =
                (!rule.ports.is_empty()).then(|| format!("ports: [{}]", rule.ports.join(", ")));
            let said: Vec<String> = peer.into_iter().chain(ports).collect();
            let _ = writeln!(text, "  - {{{}}}", said.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_a_command_line_are_an_object() {
        let ingress = ["group:web 5432/tcp", "fd00:4::/64 80/tcp,443/tcp", "any"];
        let egress = ["world 53/udp", "network:blue"];
        let [ingress, egress] = [&ingress[..], &egress[..]]
            .map(|all| all.iter().map(|one| rule(one).unwrap()).collect::<Vec<_>>());
        assert_eq!(
            document("db", &ingress, &egress),
            "\
apiVersion: bulkhead/v1
kind: SecurityGroup
metadata:
  name: \"db\"
spec:
  ingress:
  - {from: [{group: \"web\"}], ports: [\"5432/tcp\"]}
  - {from: [{cidr: \"fd00:4::/64\"}], ports: [\"80/tcp\", \"443/tcp\"]}
  - {}
  egress:
  - {to: [{entity: \"world\"}], ports: [\"53/udp\"]}
  - {to: [{network: \"blue\"}]}
"
        );
        assert!(document("db", &[], &[]).ends_with("  ingress: []\n  egress: []\n"));
    }

    #[test]
    fn what_is_no_rule_is_a_wrong_command_line() {
        for bad in ["", "nobody 80/tcp", "any 80/tcp 90/tcp"] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }
}
