//! Every malformed or contradictory configuration is refused with a text that names object, cause
//! and what to do. `BULKHEAD_BLESS=1` rewrites the texts, to be read in the diff.

use std::path::{Path, PathBuf};

use bulkhead_attach::Network;
use bulkhead_bridge::Config;
use bulkhead_cni::{Call, CniError, Environment, Verb};

fn parse(config: &[u8], args: &str) -> Result<Config, CniError> {
    let environment = Environment::new([
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", args),
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
    assert!(cases().len() > 30);
    for case in cases() {
        let config = std::fs::read(case.join("config.json")).unwrap();
        let error = parse(&config, "").expect_err(&format!("{} is refused", case.display()));
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
fn a_malformed_mac_in_cni_args_is_refused_by_name() {
    let config = br#"{"cniVersion":"1.0.0","name":"n","type":"bulkhead-bridge"}"#;
    let error = parse(config, "IgnoreUnknown=1;MAC=zz").unwrap_err();
    assert_eq!(error.code.0, 4);
    assert!(
        error
            .to_string()
            .starts_with("CNI_ARGS MAC: \"zz\" is not a unicast MAC address"),
        "{error}"
    );
}

#[test]
fn the_more_specific_mac_wins() {
    let config = |runtime: &str, args: &str| {
        format!(
            r#"{{"cniVersion":"1.0.0","name":"n","type":"t","runtimeConfig":{{{runtime}}},"args":{{"cni":{{{args}}}}}}}"#
        )
    };
    let mac = |text: String| {
        parse(text.as_bytes(), "MAC=02:00:00:00:00:03")
            .unwrap()
            .mac
            .unwrap()
            .to_string()
    };
    let (one, two) = (
        r#""mac":"02:00:00:00:00:01""#,
        r#""mac":"02:00:00:00:00:02""#,
    );
    assert_eq!(mac(config(one, two)), "02:00:00:00:00:01");
    assert_eq!(mac(config("", two)), "02:00:00:00:00:02");
    assert_eq!(mac(config("", "")), "02:00:00:00:00:03");
}

/// Mutations of valid configurations must be accepted or refused, never panic.
#[test]
fn mutated_configurations_never_panic() {
    let seeds: Vec<Vec<u8>> = cases()
        .iter()
        .map(|case| std::fs::read(case.join("config.json")).unwrap())
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(bound).unwrap()).unwrap()
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = seeds[next(seeds.len())].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = b"0123456789\":,{}[]truefalsn/.-"[next(29)],
                1 if bytes.len() > 2 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[next(bytes.len())]),
                _ => bytes.truncate(at.max(2)),
            }
        }
        match parse(&bytes, "") {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(accepted + refused == 20_000 && refused > 0);
}
