//! Where a namespace of a network's own plays the node's part, everything is planned the same, and nothing
//! touches the host's.

use bulkhead_plan::{LinkKind, Ns, Want, plan};

use crate::cases;

fn ns() -> Ns {
    Ns::Network("/run/netns/bhn-blue".to_owned())
}

#[test]
fn an_attachment_in_a_namespace_of_the_network_s_is_planned_as_on_the_node() {
    for case in cases::all() {
        let on_host = case.before();
        let mut within = on_host.clone();
        let node = within.spaces.remove(&Ns::Host).unwrap();
        within.spaces.insert(ns(), node);
        for space in within.spaces.values_mut() {
            for link in space.links.values_mut() {
                if let LinkKind::Veth {
                    peer: Some((at, _)),
                } = &mut link.kind
                    && *at == Ns::Host
                {
                    *at = ns();
                }
            }
        }
        let mut want = cases::attached(&case);
        let expected = plan(&on_host, &want).map(|plan| plan.ops().len());
        if let Want::Attached(want) = &mut want {
            want.node = ns();
        }
        let found = plan(&within, &want);
        match (expected, found) {
            (Ok(expected), Ok(found)) => {
                assert_eq!(found.ops().len(), expected, "{}", case.name);
                let mut after = within.clone();
                after
                    .apply(&found)
                    .unwrap_or_else(|it| panic!("{}: {it}", case.name));
                assert!(!after.spaces.contains_key(&Ns::Host), "{}", case.name);
            }
            (expected, found) => assert_eq!(expected.is_ok(), found.is_ok(), "{}", case.name),
        }
    }
}
