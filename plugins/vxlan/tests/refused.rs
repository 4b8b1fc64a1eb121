//! Every malformed or contradictory configuration is refused with a text that names object, cause
//! and what to do. `BULKHEAD_BLESS=1` rewrites the texts, to be read in the diff.

use std::path::{Path, PathBuf};

use bulkhead_attach::Network;
use bulkhead_cni::{Call, CniError, Environment, Verb};
use bulkhead_vxlan::Config;

fn parse(config: &[u8]) -> Result<Config, CniError> {
    let environment = Environment::new([
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
    ]);
    Config::parse(&Call::read(Verb::Add, environment, config.to_vec())?)
}

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/refused");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

#[test]
fn a_wrong_configuration_is_refused_with_its_text() {
    assert!(cases().len() > 20);
    for case in cases() {
        let config = std::fs::read(case.join("config.json")).unwrap();
        let error = parse(&config).expect_err(&format!("{} is refused", case.display()));
        let text = format!("{} {error}\n", error.code.0);
        let golden = case.join("error.txt");
        if std::env::var_os("BULKHEAD_BLESS").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        assert_eq!(
            text,
            std::fs::read_to_string(&golden).unwrap_or_default(),
            "{}",
            case.display()
        );
    }
}

#[test]
fn a_configuration_of_pools_is_taken_and_its_identifier_derived() {
    let config = |pools: &str, keys: &str| {
        format!(
            r#"{{"cniVersion":"1.1.0","name":"pods","type":"bulkhead-vxlan","ipam":{{"type":"bulkhead-ipam","pool":{pools}}}{keys}}}"#
        )
    };
    let taken =
        |text: String| parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    let plain = taken(config(r#""a""#, "")).overlay;
    assert_eq!(plain.port, 4789);
    assert_eq!(plain.vni, taken(config(r#"["a","b"]"#, "")).overlay.vni);
    for keys in [
        r#","mode":"routed","vni":16777215,"port":8472"#,
        r#","underlay":"192.0.2.11","directRouting":true"#,
        r#","underlay":"eth1","mtu":1280,"ipMasq":true"#,
        r#","underlay":"2001:db8::11","guard":{"role":"host"}"#,
        r#","mssClamp":true,"txChecksum":false"#,
        r#","encryption":"ipsec","port":4790"#,
        r#","encryption":"none","directRouting":true"#,
        r#","mode":"bridged","ipMasq":{"ipv4":true},"guard":{"role":"router","prefixes":["10.7.0.0/24"]}"#,
        r#","mode":"bridged","replication":true,"multicast":"link-local""#,
    ] {
        taken(config(r#""a""#, keys));
    }
}
