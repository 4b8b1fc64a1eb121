use std::net::IpAddr;

use bulkhead_model::{Encryption, Mtu, VXLAN_PORT, Vni};

use super::cluster::pool_row;
use super::*;
use crate::cluster::name::OverlayName;
use crate::cluster::schema::{
    KeysRow, OverlayMode, OverlayRow, Place, PoolRow, Salt, SealRow, Secret, VtepRow,
};

fn network(name: &str) -> OverlayName {
    name.parse().unwrap()
}

fn ask(name: &str, vni: u32, pools: &[&str]) -> OverlayAsk {
    OverlayAsk {
        network: network(name),
        overlay: OverlayRow {
            vni: Vni::new(vni).unwrap(),
            port: VXLAN_PORT,
            mode: OverlayMode::Routed,
            pools: pools.iter().map(|name| pool(name)).collect(),
            encryption: Encryption::None,
            by: node("n1"),
            created_at_unix_ms: NOW,
        },
        secret: None,
    }
}

fn end(name: &str, underlay: &str) -> VtepRow {
    VtepRow {
        name: name.to_owned(),
        epoch: 0,
        underlay: underlay.parse::<IpAddr>().unwrap(),
        mac: "02:5e:00:53:00:01".parse().unwrap(),
        link_mac: None,
        mtu: Mtu::new(1450).unwrap(),
        seal: None,
        version: "0.1.0".to_owned(),
        at_unix_ms: 0,
        attempt: Attempt::default(),
    }
}

fn join(cluster: &Cluster, ask: &OverlayAsk, end: &VtepRow) -> Result<(), OverlayError> {
    let operator = Operator {
        writer: node(&end.name),
        ..operator(&format!("{}-{}", end.name, ask.network))
    };
    on(&cluster.store, &cluster.schema).join_overlay(&operator, ask, end)
}

fn leave(cluster: &Cluster, name: &str, of: &str) {
    let operator = Operator {
        writer: node(name),
        ..operator(&format!("{name}-leaves"))
    };
    on(&cluster.store, &cluster.schema)
        .leave_overlay(&operator, &network(of))
        .unwrap();
}

#[test]
fn nodes_that_say_the_same_have_a_network_together_and_the_last_takes_it_away() {
    let cluster = Cluster::new();
    let pods = ask("pods", 4096, &["default"]);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    join(&cluster, &pods, &end("n2", "2001:db8::12")).unwrap();
    let operations = on(&cluster.store, &cluster.schema);
    let ends = operations.ends_of(&network("pods")).unwrap();
    let told: Vec<_> = ends
        .iter()
        .map(|end| (end.row.name.as_str(), end.row.epoch, end.row.underlay))
        .collect();
    let at = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(
        told,
        [("n1", 1, at("192.0.2.11")), ("n2", 1, at("2001:db8::12"))]
    );
    leave(&cluster, "n1", "pods");
    assert!(
        cluster
            .value::<OverlayRow>(&Place::Overlay(network("pods")))
            .is_some()
    );
    leave(&cluster, "n2", "pods");
    leave(&cluster, "n2", "pods");
    assert_eq!(operations.overlays().unwrap(), []);
}

#[test]
fn joining_again_writes_nothing_until_something_is_new() {
    let cluster = Cluster::new();
    let pods = ask("pods", 4096, &["default"]);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    let before = cluster.contents();
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    assert_eq!(cluster.contents(), before);
    join(&cluster, &pods, &end("n1", "192.0.2.99")).unwrap();
    let place = Place::Vtep {
        network: network("pods"),
        node: node("n1"),
    };
    let row: VtepRow = cluster.value(&place).unwrap();
    assert_eq!(row.underlay, "192.0.2.99".parse::<IpAddr>().unwrap());
}

#[test]
fn a_pool_more_is_taken_up_and_none_is_lost() {
    let cluster = Cluster::new();
    cluster.put(&Place::Pool(pool("more")), &pool_row(&["10.5.0.0/16"]));
    let both = ask("pods", 4096, &["default", "more"]);
    join(&cluster, &both, &end("n1", "192.0.2.11")).unwrap();
    let one = ask("pods", 4096, &["default"]);
    join(&cluster, &one, &end("n2", "192.0.2.12")).unwrap();
    let row: OverlayRow = cluster.value(&Place::Overlay(network("pods"))).unwrap();
    assert_eq!(row.pools, [pool("default"), pool("more")]);
}

#[test]
fn a_segment_takes_no_pool_more() {
    let cluster = Cluster::new();
    for (nth, name) in ["small", "more"].into_iter().enumerate() {
        let range = format!("10.{}.0.0/20", 6 + nth);
        cluster.put(&Place::Pool(pool(name)), &pool_row(&[&range]));
    }
    let bridged = |pools: &[&str]| {
        let mut ask = ask("blue", 4097, pools);
        ask.overlay.mode = OverlayMode::Bridged;
        ask
    };
    let refused = "network blue: pool small is its segment's, and more would be a second one, whose containers the gateway would have to look for; name small in \"ipam\", or set \"mode\": \"routed\" on every node";
    let joins = |pools: &[&str]| join(&cluster, &bridged(pools), &end("n1", "192.0.2.11"));
    assert_eq!(joins(&["small", "more"]).unwrap_err().to_string(), refused);
    joins(&["small"]).unwrap();
    let before = cluster.contents();
    assert_eq!(joins(&["more"]).unwrap_err().to_string(), refused);
    assert_eq!(cluster.contents(), before);
    joins(&["small"]).unwrap();
}

#[test]
fn what_two_parties_cannot_both_have_is_refused_and_names_both() {
    let cluster = Cluster::new();
    cluster.put(&Place::Pool(pool("more")), &pool_row(&["10.5.0.0/16"]));
    join(
        &cluster,
        &ask("pods", 4096, &["default"]),
        &end("n1", "192.0.2.11"),
    )
    .unwrap();
    let other_port = OverlayAsk {
        overlay: OverlayRow {
            port: 8472,
            ..ask("pods", 4096, &["default"]).overlay
        },
        ..ask("pods", 4096, &["default"])
    };
    let small = VtepRow {
        mtu: Mtu::new(1230).unwrap(),
        ..end("n2", "192.0.2.12")
    };
    let namesake = VtepRow {
        name: "n1".to_owned(),
        ..end("n2", "192.0.2.12")
    };
    let before = cluster.contents();
    for (ask, end, expected) in [
        (
            ask("blue", 4096, &["more"]),
            end("n2", "192.0.2.12"),
            "network blue: VNI 4096 is that of network pods; set another \"vni\" for one of them, on every node",
        ),
        (
            ask("blue", 4097, &["default"]),
            end("n2", "192.0.2.12"),
            "network blue: pool default is that of network pods, and a block is behind one VTEP; name a pool of its own in \"ipam\"",
        ),
        (
            ask("blue", 4097, &["gone"]),
            end("n2", "192.0.2.12"),
            "network blue: there is no pool gone; add it with `bulkhead pool add gone`",
        ),
        (
            ask("pods", 4099, &["default"]),
            end("n2", "192.0.2.12"),
            "network pods: \"vni\" is 4099 here and 4096 on node n1; make the configuration the same on every node",
        ),
        (
            other_port,
            end("n2", "192.0.2.12"),
            "network pods: \"port\" is 8472 here and 4789 on node n1; make the configuration the same on every node",
        ),
        (
            ask("pods", 4096, &["default"]),
            small,
            "network pods: an underlay at 192.0.2.12 leaves 1230 bytes for packets, and IPv6 needs 1280 (RFC 8200 section 5); raise its MTU to 1330, or name pools without IPv6",
        ),
        (
            ask("pods", 4096, &["default"]),
            end("n2", "192.0.2.11"),
            "network pods: 192.0.2.11 is the underlay address of node n1 too; give n2 one of its own in [overlay] of bulkheadd.toml, or declare the other lost",
        ),
    ] {
        let refused = join(&cluster, &ask, &end).unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert_eq!(cluster.contents(), before, "{expected}");
    }
    let operator = Operator {
        writer: node("n2"),
        ..operator("namesake")
    };
    let pods = ask("pods", 4096, &["default"]);
    let refused = on(&cluster.store, &cluster.schema).join_overlay(&operator, &pods, &namesake);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "network pods: two nodes are called n1, one at 192.0.2.11; set another node.name in bulkheadd.toml, or declare the other lost"
    );
}

#[test]
fn a_node_that_is_declared_lost_has_no_end_any_more() {
    let cluster = Cluster::new();
    let pods = ask("pods", 4096, &["default"]);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    join(&cluster, &pods, &end("n2", "192.0.2.12")).unwrap();
    let operations = on(&cluster.store, &cluster.schema);
    operations
        .node_lost(&operator("lost"), &node("n1"), "it burnt", &mut |_| ())
        .unwrap();
    let ends = operations.ends_of(&network("pods")).unwrap();
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].row.name, "n2");
    let refused = join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap_err();
    assert!(matches!(refused, OverlayError::Unregistered { .. }));
}

/// The same, encrypted; `with` is what its first key would be.
fn encrypted(ask: OverlayAsk, with: u8) -> OverlayAsk {
    OverlayAsk {
        overlay: OverlayRow {
            encryption: Encryption::Ipsec,
            ..ask.overlay
        },
        secret: Some(Secret::new([with; 32])),
        ..ask
    }
}

fn keys(cluster: &Cluster, name: &str) -> Option<KeysRow> {
    cluster.value(&Place::Keys(network(name)))
}

fn rekey(cluster: &Cluster, name: &str, with: u8, at_unix_ms: u64) -> Result<u64, RekeyError> {
    let operator = Operator {
        at_unix_ms,
        ..operator(&format!("rekey-{with}"))
    };
    let secret = Secret::new([with; 32]);
    on(&cluster.store, &cluster.schema).rekey_overlay(&operator, &network(name), &secret)
}

#[test]
fn the_first_node_of_an_encrypted_network_keys_it_and_the_last_takes_the_keys_away() {
    let cluster = Cluster::new();
    let pods = ask("pods", 4096, &["default"]);
    join(
        &cluster,
        &encrypted(pods.clone(), 1),
        &end("n1", "192.0.2.11"),
    )
    .unwrap();
    join(&cluster, &encrypted(pods, 2), &end("n2", "192.0.2.12")).unwrap();
    let row = keys(&cluster, "pods").unwrap();
    assert_eq!(row.epochs.len(), 1);
    assert_eq!(row.epochs[0].secret, Secret::new([1; 32]));
    leave(&cluster, "n1", "pods");
    assert!(keys(&cluster, "pods").is_some());
    leave(&cluster, "n2", "pods");
    assert_eq!(keys(&cluster, "pods"), None);
}

#[test]
fn a_network_whose_keys_are_gone_is_keyed_anew() {
    let cluster = Cluster::new();
    let pods = encrypted(ask("pods", 4096, &["default"]), 1);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    cluster.delete(&Place::Keys(network("pods")));
    let again = OverlayAsk {
        secret: Some(Secret::new([9; 32])),
        ..pods
    };
    join(&cluster, &again, &end("n1", "192.0.2.11")).unwrap();
    let row = keys(&cluster, "pods").unwrap();
    assert_eq!(row.epochs[0].secret, Secret::new([9; 32]));
}

#[test]
fn a_new_key_begins_an_epoch_and_the_one_before_is_kept_beside_it() {
    let cluster = Cluster::new();
    let pods = encrypted(ask("pods", 4096, &["default"]), 1);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    assert_eq!(rekey(&cluster, "pods", 2, NOW + 1), Ok(2));
    // The same attempt again, whose answer did not come.
    assert_eq!(rekey(&cluster, "pods", 2, NOW + 1), Ok(2));
    let soon = |after: u64| {
        let refused = rekey(&cluster, "pods", 3, NOW + 1 + after).unwrap_err();
        refused.to_string()
    };
    assert_eq!(
        soon(60_000),
        "network pods: nodes are going over to epoch 2 of its keys (n1 not yet); try again in 660 s"
    );
    let applied = VtepRow {
        seal: Some(SealRow {
            salt: Salt::new([1; 16]),
            applied: 2,
        }),
        ..end("n1", "192.0.2.11")
    };
    join(&cluster, &pods, &applied).unwrap();
    assert_eq!(
        soon(10_000),
        "network pods: nodes are going over to epoch 2 of its keys (all have it); try again in 20 s"
    );
    assert_eq!(rekey(&cluster, "pods", 3, NOW + 1 + REKEY_REST), Ok(3));
    assert_eq!(
        rekey(&cluster, "pods", 4, NOW + 1 + REKEY_REST + REKEY_WAIT),
        Ok(4)
    );
    let epochs: Vec<_> = keys(&cluster, "pods").unwrap().epochs;
    let shown: Vec<_> = epochs.iter().map(|key| key.epoch).collect();
    assert_eq!(shown, [3, 4]);
    assert_eq!(epochs[1].secret, Secret::new([4; 32]));
}

#[test]
fn what_has_no_keys_gets_no_new_one() {
    let cluster = Cluster::new();
    let pods = ask("pods", 4096, &["default"]);
    join(&cluster, &pods, &end("n1", "192.0.2.11")).unwrap();
    assert_eq!(
        rekey(&cluster, "pods", 2, NOW).unwrap_err().to_string(),
        "network pods is not encrypted, and has no keys to change"
    );
    assert_eq!(
        rekey(&cluster, "gone", 2, NOW).unwrap_err().to_string(),
        "there is no network gone that nodes have together; `bulkhead overlay ls` lists them"
    );
}

#[test]
fn a_node_that_would_speak_in_the_clear_is_refused_and_both_are_named() {
    let cluster = Cluster::new();
    cluster.put(&Place::Pool(pool("more")), &pool_row(&["10.5.0.0/16"]));
    let pods = ask("pods", 4096, &["default"]);
    join(
        &cluster,
        &encrypted(pods.clone(), 1),
        &end("n1", "192.0.2.11"),
    )
    .unwrap();
    let blue = ask("blue", 4097, &["more"]);
    let small = VtepRow {
        mtu: Mtu::new(1279).unwrap(),
        ..end("n2", "192.0.2.12")
    };
    let before = cluster.contents();
    for (ask, end, expected) in [
        (
            pods.clone(),
            end("n2", "192.0.2.12"),
            "network pods: \"encryption\" is none here and ipsec on node n1; make the configuration the same on every node",
        ),
        (
            blue.clone(),
            end("n2", "192.0.2.12"),
            "network blue: UDP port 4789 is that of network pods too, and one of them is encrypted, which the kernel tells by the port; give network blue a \"port\" of its own",
        ),
        (
            encrypted(pods, 2),
            small,
            "network pods: an underlay at 192.0.2.12 leaves 1279 bytes for packets, and IPv6 needs 1280 (RFC 8200 section 5); raise its MTU to 1364, or name pools without IPv6",
        ),
    ] {
        let refused = join(&cluster, &ask, &end).unwrap_err();
        assert_eq!(refused.to_string(), expected);
        assert_eq!(cluster.contents(), before, "{expected}");
    }
    let own_port = OverlayAsk {
        overlay: OverlayRow {
            port: 4790,
            ..blue.overlay
        },
        ..blue
    };
    join(&cluster, &own_port, &end("n2", "192.0.2.12")).unwrap();
}

#[test]
fn a_tenant_s_pool_is_of_its_network_and_a_segment_s_alone() {
    let cluster = Cluster::new();
    for (name, prefix) in [("blue", "10.4.0.0/16"), ("large", "10.0.0.0/12")] {
        let row = PoolRow {
            tenant: Some(network("blue")),
            ..pool_row(&[prefix])
        };
        let added =
            on(&cluster.store, &cluster.schema).pool_add(&operator(name), &pool(name), &row);
        assert_eq!(added.is_ok(), name == "blue", "{added:?}");
    }
    let row = pool_row(&["10.16.0.0/12"]);
    let added =
        on(&cluster.store, &cluster.schema).pool_add(&operator("huge"), &pool("huge"), &row);
    added.unwrap();
    let bridged = |name: &str, pools: &[&str]| {
        let mut ask = ask(name, 7, pools);
        ask.overlay.mode = OverlayMode::Bridged;
        ask
    };
    let end = end("n1", "192.0.2.11");
    for (ask, expected) in [
        (
            ask("blue", 7, &["blue"]),
            "network blue: pool blue was added with --tenant, and may have the addresses of others",
        ),
        (
            bridged("red", &["blue"]),
            "network red: pool blue is of network blue alone",
        ),
        (
            bridged("red", &["huge"]),
            "network red: pool huge has 1048576 addresses, and on a segment every node is told of each: name one of at most 65536",
        ),
    ] {
        let refused = join(&cluster, &ask, &end).unwrap_err().to_string();
        assert!(refused.starts_with(expected), "{refused}");
    }
    join(&cluster, &bridged("blue", &["blue"]), &end).unwrap();
    let refused = join(&cluster, &ask("blue", 7, &["blue"]), &end).unwrap_err();
    let expected = "network blue: \"mode\" is routed here and bridged on node n1";
    assert!(refused.to_string().starts_with(expected), "{refused}");
}
