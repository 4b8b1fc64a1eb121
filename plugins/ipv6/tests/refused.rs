//! Every malformed or contradictory configuration is refused with a text that names object, cause
//! and what to do. `BULKHEAD_BLESS=1` rewrites the texts, to be read in the diff.

use std::path::{Path, PathBuf};

use bulkhead_attach::Network;
use bulkhead_cni::{Call, CniError, Environment, Verb};
use bulkhead_ipv6::Config;

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
fn a_configuration_of_one_family_or_two_is_taken() {
    let config = |ranges: &str, keys: &str| {
        format!(
            r#"{{"cniVersion":"1.1.0","name":"n","type":"bulkhead-ipv6","ipam":{{"type":"bulkhead-ipam","ranges":[{ranges}]}}{keys}}}"#
        )
    };
    let (v4, v6) = (
        r#"[{"subnet":"10.1.0.0/24"}]"#,
        r#"[{"subnet":"fd01::/48"}]"#,
    );
    let both = format!("{v4},{v6}");
    for (ranges, keys) in [
        (v4, ""),
        (v6, ""),
        (both.as_str(), r#","multicast":"none","mtu":1280"#),
        (
            both.as_str(),
            r#","prefixPerContainer":true,"policy":true,"ipMasq":{"ipv4":true}"#,
        ),
        (v4, r#","mtu":1279"#),
        (v6, r#","routerAdvertisements":true"#),
        (v4, r#","routerAdvertisements":false"#),
        (
            v6,
            r#","prefixPerContainer":true,"routerAdvertisements":{"lifetime":0,"preference":"low","other":false,"autonomous":false,"preferredLifetime":60,"validLifetime":90,"dns":["2001:db8::53"],"search":["example.org"],"dhcpv6":true,"refreshTime":600}"#,
        ),
    ] {
        let text = config(ranges, keys);
        parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
}

#[test]
fn resolvers_of_the_network_are_advertised_unless_others_are_named() {
    let advertised = |keys: &str| {
        let text = format!(
            r#"{{"cniVersion":"1.1.0","name":"n","type":"bulkhead-ipv6","ipam":{{"type":"bulkhead-ipam","ranges":[[{{"subnet":"fd01::/64"}}]]}},"dns":{{"nameservers":["10.0.0.1","2001:db8::53"],"search":["example.org","a b"]}},"routerAdvertisements":{keys}}}"#
        );
        parse(text.as_bytes())
            .unwrap()
            .advertisements
            .unwrap()
            .to_string()
    };
    assert_eq!(
        advertised("true"),
        "lifetime=1800 mtu=1500 dns=2001:db8::53 search=example.org"
    );
    assert_eq!(
        advertised(r#"{"dns":["2001:db8::1"],"search":[],"dhcpv6":true}"#),
        "lifetime=1800 mtu=1500 other dns=2001:db8::1 refresh=86400"
    );
}
