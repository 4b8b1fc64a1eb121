//! Every configuration that is refused, with its exact text: `tests/cases/<name>/config.json` and
//! `error.txt`. `BULKHEAD_BLESS=1` writes the texts anew; read them in the diff.

use std::path::Path;
use std::{env, fs};

use bulkhead_ipam::PoolConfig;
use bulkhead_ipam::config::{AutomaticV6, ClusterConfig, Dns, PoolChoice, PoolSource};
use serde_json::{Value, json};

/// Of the cluster's pools, or else of its own.
fn parse_any(config: &Value) -> Result<Result<ClusterConfig, PoolConfig>, String> {
    let runtime = &config["runtimeConfig"];
    let ips = runtime["ips"].as_array().into_iter().flatten();
    let requested: Vec<String> = ips.map(|ip| ip.as_str().unwrap().to_owned()).collect();
    let network = "blue".parse().unwrap();
    let (ipam, ranges) = (&config["ipam"], runtime.get("ipRanges"));
    let cluster = ClusterConfig::from_cni(&network, ipam, ranges, &requested);
    if let Some(cluster) = cluster.map_err(|error| error.to_string())? {
        return Ok(Ok(cluster));
    }
    let own = PoolConfig::from_cni(&network, ipam, ranges, &requested);
    own.map(Err).map_err(|error| error.to_string())
}

fn parse(config: &Value) -> Result<PoolConfig, String> {
    parse_any(config).map(Result::unwrap_err)
}

fn cluster(ipam: &Value) -> ClusterConfig {
    parse_any(&json!({ "ipam": ipam })).unwrap().unwrap()
}

fn named(ipam: &Value) -> bulkhead_ipam::Pool {
    match parse(&json!({ "ipam": ipam })).unwrap().source {
        PoolSource::Named(pool) => pool,
        PoolSource::Automatic(automatic) => panic!("{automatic:?}"),
    }
}

#[test]
fn every_refused_configuration_says_what_is_wrong() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let bless = env::var_os("BULKHEAD_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for case in fs::read_dir(cases).unwrap() {
        let case = case.unwrap().path();
        let config = fs::read(case.join("config.json")).unwrap();
        let error = match parse_any(&serde_json::from_slice(&config).unwrap()) {
            Err(error) => format!("{error}\n"),
            Ok(config) => panic!("{} is accepted: {config:?}", case.display()),
        };
        let golden = case.join("error.txt");
        if bless {
            fs::write(&golden, &error).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if error != expected {
            wrong.push(format!("{}:\n  {expected}  {error}", case.display()));
        }
        count += 1;
    }
    assert!(count >= 50, "only {count} cases were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_pool_of_the_cluster_is_named_or_any() {
    let named =
        |names: &[&str]| PoolChoice::Named(names.iter().map(|n| n.parse().unwrap()).collect());
    assert_eq!(
        cluster(&json!({"pool": "default"})).pools,
        named(&["default"])
    );
    let both = cluster(&json!({"pool": ["b", "a"], "sticky": true, "routes": [{"dst": "::/0"}]}));
    assert_eq!(
        (&both.pools, both.sticky, both.routes.len()),
        (&named(&["b", "a"]), true, 1)
    );
    let any = cluster(&json!({"POOL": "*", "sticky": false, "dataDir": "/run/x"}));
    assert_eq!((&any.pools, any.sticky), (&PoolChoice::Any, false));
    assert_eq!(any.data_dir, Some("/run/x".into()));
    assert_eq!(both.pools.to_string(), "pools b, a");
}

#[test]
fn host_locals_configuration_moves_over() {
    let config = parse(&json!({
        "ipam": {
            "type": "host-local",
            "dataDir": "/run/leases",
            "Subnet": "10.9.0.0/24",
            "RANGES": [
                [{"subnet": "10.1.0.0/16", "rangeStart": "10.1.5.10", "rangeEnd": "10.1.5.20",
                  "gateway": "10.1.0.254"}, {"subnet": "10.2.0.0/24"}],
                [{"subnet": "fd00::/64"}]
            ],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "fd01::/64", "gw": "fd00::7", "mtu": 1400,
                        "advmss": 1360, "priority": 5, "table": 7, "scope": 253}],
            "someday": true
        },
        "runtimeConfig": {"ipRanges": [[{"subnet": "10.77.0.0/24"}]], "ips": ["10.9.0.4/24", "fd00::9"]}
    }))
    .unwrap();
    let PoolSource::Named(pool) = config.source else {
        panic!("it names its ranges")
    };
    let ranges: Vec<_> = pool
        .ranges()
        .map(|(set, range)| {
            let gateway = range.gateway.unwrap();
            format!("{set} {} {} {gateway}", range.subnet, range.span)
        })
        .collect();
    let expected = [
        "0 10.77.0.0/24 10.77.0.1-10.77.0.254 10.77.0.1",
        "1 10.9.0.0/24 10.9.0.1-10.9.0.254 10.9.0.1",
        "2 10.1.0.0/16 10.1.5.10-10.1.5.20 10.1.0.254",
        "2 10.2.0.0/24 10.2.0.1-10.2.0.254 10.2.0.1",
        "3 fd00::/64 fd00::1-fd00::ffff:ffff:ffff:ffff fd00::1",
    ];
    assert_eq!(ranges, expected);
    assert_eq!(config.data_dir.unwrap().to_str(), Some("/run/leases"));
    assert_eq!(config.requested.len(), 2);
    assert_eq!(config.routes[1].scope, Some(253));
    assert_eq!(config.routes[0].gw, None);
}

#[test]
fn the_smallest_subnets_are_all_usable() {
    for (subnet, size) in [
        ("10.1.0.0/31", 2),
        ("10.1.0.0/32", 1),
        ("fd00::/127", 2),
        ("fd00::/128", 1),
    ] {
        let pool = named(&json!({ "subnet": subnet }));
        assert_eq!(pool.size(&pool.sets[0]), size, "{subnet}");
        assert_eq!(pool.sets[0].ranges[0].gateway, None, "{subnet}");
    }
    let pool = named(&json!({ "subnet": "10.1.0.0/31", "gateway": "10.1.0.0" }));
    assert_eq!(pool.size(&pool.sets[0]), 1);
    let pool = named(&json!({ "subnet": "10.1.0.0/30" }));
    assert_eq!(pool.size(&pool.sets[0]), 1);
}

#[test]
fn ranges_far_larger_than_a_64_are_counted() {
    let pool = named(&json!({ "subnet": "fd00::/8", "exclude": ["fd00::/64", "fd00::5-fd00::9"] }));
    // Without the anycast address; the gateway is inside what is excluded.
    assert_eq!(pool.size(&pool.sets[0]), (1 << 120) - (1 << 64));
    let pool = named(&json!({ "subnet": "::/0" }));
    assert_eq!(pool.size(&pool.sets[0]), u128::MAX - 1);
}

#[test]
fn a_network_or_broadcast_address_as_an_end_is_not_given_out() {
    let pool = named(&json!({
        "subnet": "10.1.0.0/24", "rangeStart": "10.1.0.0", "rangeEnd": "10.1.0.255"
    }));
    assert_eq!(
        pool.sets[0].ranges[0].span.to_string(),
        "10.1.0.1-10.1.0.254"
    );
}

#[test]
fn a_link_local_gateway_serves_any_ipv6_subnet() {
    let pool = named(&json!({ "subnet": "fd00::/64", "gateway": "fe80::1" }));
    let gateway = pool.sets[0].ranges[0].gateway.unwrap();
    assert_eq!(gateway.to_string(), "fe80::1");
}

#[test]
fn auto_has_both_families_unless_told_otherwise() {
    let auto = |auto: Value| match parse(&json!({ "ipam": { "auto": auto } })).unwrap().source {
        PoolSource::Automatic(automatic) => automatic,
        PoolSource::Named(pool) => panic!("{pool:?}"),
    };
    for on in [json!(true), json!("true"), json!({})] {
        let automatic = auto(on);
        assert_eq!(automatic.ipv4[0].to_string(), "10.128.0.0/9");
        assert_eq!(
            (automatic.ipv4_len, automatic.ipv6),
            (24, AutomaticV6::UniqueLocal)
        );
        assert_eq!(automatic.cooldown_secs, 10);
    }
    let v6 = auto(json!({ "ipv4": false, "ipv6": "fd12::/32" }));
    assert!(v6.ipv4.is_empty());
    assert_eq!(v6.ipv6, AutomaticV6::Inside("fd12::/32".parse().unwrap()));
}

#[test]
fn resolv_conf_is_read_as_the_resolver_reads_it() {
    let text = "# top\n; also\nnameserver 10.0.0.1\nnameserver fd00::53\nsearch a b\nsearch c\n\
                domain d.example\noptions ndots:5 rotate\nsortlist 10.0.0.0\n";
    let expected = Dns {
        nameservers: vec!["10.0.0.1".into(), "fd00::53".into()],
        domain: Some("d.example".into()),
        search: vec!["c".into()],
        options: vec!["ndots:5".into(), "rotate".into()],
    };
    assert_eq!(Dns::parse(text), expected);
}
