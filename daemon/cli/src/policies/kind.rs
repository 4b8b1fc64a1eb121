//! Kinds of objects, as operators write them.

/// Every kind with the short words for it.
const KINDS: [(&str, &[&str]); 6] = [
    ("NetworkPolicy", &["netpol"]),
    ("ClusterNetworkPolicy", &["cnp"]),
    ("Policy", &[]),
    ("SecurityGroup", &["sg"]),
    ("Namespace", &["ns"]),
    ("Network", &["net"]),
];

/// A kind, in whatever case, or a short word for it.
pub(super) fn kind(text: &str) -> Result<String, String> {
    let lower = text.to_lowercase();
    let found = KINDS
        .iter()
        .find(|(kind, short)| kind.to_lowercase() == lower || short.contains(&lower.as_str()));
    found.map(|(kind, _)| (*kind).to_owned()).ok_or_else(|| {
        let known: Vec<_> = KINDS.iter().map(|(kind, _)| *kind).collect();
        format!("not a kind: write one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_in_any_case_and_by_its_short_word() {
        assert_eq!(kind("networkpolicy").unwrap(), "NetworkPolicy");
        assert_eq!(kind("SG").unwrap(), "SecurityGroup");
        assert!(
            kind("Pod")
                .unwrap_err()
                .contains("write one of NetworkPolicy")
        );
    }
}
