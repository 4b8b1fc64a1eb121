//! Network lists: how they are found, what each plugin is given, what is kept.

#[path = "common/scratch.rs"]
mod scratch;

use bulkhead_cni::json::Value;
use bulkhead_cni::list::{
    Attachment, Cache, LoadError, NetworkList, OnFailure, RunError, Runtime, load, load_all,
};
use bulkhead_cni::{CniError, CniVersion, Code, Environment, GcAttachment};
use scratch::Scratch;

fn network(scratch: &Scratch, name: &str) -> Result<NetworkList, LoadError> {
    load(&scratch.0.join("net.d"), &name.parse().unwrap())
}

fn chain(error: &dyn std::error::Error) -> String {
    CniError::from_chain(Code::INTERNAL, error).msg
}

/// Plugin names of the list, in order.
fn types(list: &NetworkList) -> Vec<&str> {
    list.plugins
        .iter()
        .map(|plugin| plugin.plugin_type.as_str())
        .collect()
}

#[test]
fn a_network_is_the_first_list_of_its_name_and_else_a_single_configuration() {
    let scratch = Scratch::new();
    scratch.write(
        "net.d/20-b.conflist",
        r#"{"name":"blue","plugins":[{"type":"second"}]}"#,
    );
    scratch.write(
        "net.d/10-a.conflist",
        r#"{"name":"blue","plugins":[{"type":"first"}]}"#,
    );
    scratch.write("net.d/05-s.conf", r#"{"name":"blue","type":"single"}"#);
    scratch.write(
        "net.d/06-s.json",
        r#"{"cniVersion":"0.3.1","name":"green","type":"single"}"#,
    );
    scratch.write("net.d/00.txt", "not a network");
    scratch.write("net.d/01-broken.conflist", "{");
    assert_eq!(types(&network(&scratch, "blue").unwrap()), ["first"]);
    let green = network(&scratch, "green").unwrap();
    assert_eq!(
        (types(&green), green.version),
        (vec!["single"], CniVersion::V0_3_1)
    );
    assert!(chain(&network(&scratch, "red").unwrap_err()).contains("01-broken.conflist: not JSON"));
    std::fs::remove_file(scratch.0.join("net.d/01-broken.conflist")).unwrap();
    let error = chain(&network(&scratch, "red").unwrap_err());
    assert!(error.starts_with("no network red in "), "{error}");
    let all = load_all(&scratch.0.join("net.d")).unwrap();
    let all: Vec<_> = all
        .iter()
        .map(|list| types(list.as_ref().unwrap())[0])
        .collect();
    assert_eq!(all, ["single", "single", "first", "second"]);
    assert!(load_all(&scratch.0.join("nowhere")).unwrap().is_empty());
}

#[test]
fn the_newest_version_we_speak_is_chosen() {
    let scratch = Scratch::new();
    let version = |keys: &str| {
        let text = format!("{{\"name\":\"n\",{keys}\"plugins\":[{{\"type\":\"t\"}}]}}");
        scratch.write("net.d/n.conflist", &text);
        network(&scratch, "n")
            .map(|list| list.version)
            .map_err(|error| chain(&error))
    };
    assert_eq!(version(""), Ok(CniVersion::V0_1_0));
    assert_eq!(version(r#""cniVersion":"0.4.0","#), Ok(CniVersion::V0_4_0));
    let newer = r#""cniVersion":"1.0.0","cniVersions":["0.3.1","1.1.0","1.2.0"],"#;
    assert_eq!(version(newer), Ok(CniVersion::V1_1_0));
    assert_eq!(
        version(r#""cniVersion":"1.0.0","cniVersions":["0.4.0"],"#),
        Ok(CniVersion::V1_0_0)
    );
    for bad in [
        r#""cniVersion":"1.2.0","#,
        r#""cniVersions":["2.0.0"],"#,
        r#""cniVersions":[1],"#,
    ] {
        assert!(
            version(bad)
                .unwrap_err()
                .contains("n.conflist: not a network: cniVersion"),
            "{bad}"
        );
    }
}

#[test]
fn drop_ins_follow_the_inlined_plugins_unless_refused() {
    let scratch = Scratch::new();
    scratch.write("net.d/blue/20.conf", r#"{"type":"late"}"#);
    scratch.write("net.d/blue/10.conf", r#"{"type":"early"}"#);
    scratch.write("net.d/blue/15.json", r#"{"type":"not a conf"}"#);
    let list = |keys: &str| {
        scratch.write("net.d/n.conflist", &format!("{{\"name\":\"blue\"{keys}}}"));
        network(&scratch, "blue").map_err(|error| chain(&error))
    };
    let inlined = r#","plugins":[{"type":"inlined"}]"#;
    assert_eq!(types(&list(inlined).unwrap()), ["inlined", "early", "late"]);
    assert_eq!(types(&list("").unwrap()), ["early", "late"]);
    let only = format!(r#","loadOnlyInlinedPlugins":"true"{inlined}"#);
    assert_eq!(types(&list(&only).unwrap()), ["inlined"]);
    let error = list(r#","loadOnlyInlinedPlugins":true"#).unwrap_err();
    assert!(
        error.ends_with("plugins: missing, set it to the list of plugins"),
        "{error}"
    );
    assert!(
        list(r#","plugins":[]"#)
            .unwrap_err()
            .ends_with("plugins: [] is not a list with plugins")
    );
    std::fs::remove_dir_all(scratch.0.join("net.d/blue")).unwrap();
    assert!(
        list("")
            .unwrap_err()
            .contains("no plugins, neither in `plugins` nor in ")
    );
}

/// Each plugin logs its verb and keeps its stdin as `<type>.<verb>`; on ADD it adds an interface to
/// prevResult's shape.
const LOGGER: &str = r#"T=$(basename $0); echo "$CNI_COMMAND $T" >>$DIR/log
cat >$DIR/$T.$CNI_COMMAND
env | grep ^CNI_ | sort >$DIR/$T.env
test -e $DIR/fail.$T.$CNI_COMMAND && { echo '{"code":42,"msg":"told to"}'; exit 1; }
test $CNI_COMMAND = ADD && echo '{"interfaces":[{"name":"'$T'","mtu":1400}],"ips":[{"address":"10.0.0.5/24","interface":0}]}'
exit 0"#;

struct Bench {
    scratch: Scratch,
    runtime: Runtime,
    list: NetworkList,
    attachment: Attachment,
}

fn bench(version: &str) -> Bench {
    let scratch = Scratch::new();
    for name in ["one", "two"] {
        scratch.plugin(name, LOGGER);
    }
    scratch.write(
        "net.d/n.conflist",
        &format!(
            r#"{{"cniVersion":"{version}","name":"blue","plugins":[{{"type":"one","args":{{"cni":{{"keep":1}}}}}},
            {{"type":"two","name":"other","capabilities":{{"mac":true,"ips":false}}}}]}}"#
        ),
    );
    let environment = [
        ("PATH", "/usr/bin:/bin"),
        ("CNI_IFNAME", "stale"),
        ("CNI_NETNS_OVERRIDE", "1"),
    ];
    Bench {
        list: network(&scratch, "blue").unwrap(),
        runtime: Runtime {
            plugin_dirs: vec![scratch.bin()],
            cache: Cache::new(&scratch.0.join("cache")),
            environment: Environment::new(environment),
        },
        attachment: Attachment {
            container: "c1".parse().unwrap(),
            netns: Some("/run/netns/c1".into()),
            interface: "eth0".parse().unwrap(),
            args: vec![
                ("IgnoreUnknown".into(), "1".into()),
                ("A".into(), "b".into()),
            ],
            capabilities: vec![
                ("mac".into(), "02:00:00:00:00:01".into()),
                ("ips".into(), Value::EMPTY),
            ],
            args_cni: vec![("labels".into(), Value::EMPTY)],
        },
        scratch,
    }
}

impl Bench {
    fn stdin(&self, name: &str) -> Value {
        Value::parse(self.scratch.read(name).as_bytes()).unwrap()
    }

    fn log(&self) -> String {
        let log = self.scratch.read("log").replace('\n', ", ");
        let _ = std::fs::remove_file(self.scratch.0.join("log"));
        log
    }

    fn cached(&self) -> String {
        self.scratch.read("cache/results/blue-c1-eth0")
    }
}

#[test]
fn add_chains_results_and_del_goes_back_with_the_last() {
    let bench = bench("1.0.0");
    let result = bench
        .runtime
        .add(&bench.list, &bench.attachment, OnFailure::Leave)
        .unwrap();
    assert_eq!(result.interfaces[0].name, "two");
    assert_eq!(bench.log(), "ADD one, ADD two, ");
    assert_eq!(
        bench.stdin("one.ADD").to_string(),
        r#"{"type":"one","name":"blue","cniVersion":"1.0.0","args":{"cni":{"keep":1,"labels":{}}}}"#
    );
    assert_eq!(
        bench.stdin("two.ADD").to_string(),
        r#"{"type":"two","capabilities":{"mac":true,"ips":false},"name":"blue","cniVersion":"1.0.0","prevResult":{"cniVersion":"1.0.0","interfaces":[{"name":"one"}],"ips":[{"interface":0,"address":"10.0.0.5/24"}]},"runtimeConfig":{"mac":"02:00:00:00:00:01"},"args":{"cni":{"labels":{}}}}"#
    );
    assert_eq!(
        bench.scratch.read("two.env"),
        format!(
            "CNI_ARGS=IgnoreUnknown=1;A=b\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/c1\nCNI_NETNS_OVERRIDE=1\nCNI_PATH={}\n",
            bench.scratch.bin().display()
        )
    );
    bench.runtime.check(&bench.list, &bench.attachment).unwrap();
    assert_eq!(bench.log(), "CHECK one, CHECK two, ");
    bench.runtime.del(&bench.list, &bench.attachment).unwrap();
    assert_eq!(bench.log(), "DEL two, DEL one, ");
    let last = r#"{"cniVersion":"1.0.0","interfaces":[{"name":"two"}],"ips":[{"interface":0,"address":"10.0.0.5/24"}]}"#;
    for verb in ["CHECK", "DEL"] {
        assert_eq!(
            bench
                .stdin(&format!("one.{verb}"))
                .get("prevResult")
                .unwrap()
                .to_string(),
            last
        );
    }
    assert_eq!(bench.cached(), "");
    bench.runtime.del(&bench.list, &bench.attachment).unwrap();
    assert_eq!(bench.stdin("one.DEL").get("prevResult"), None);
}

#[test]
fn the_cache_is_libcnis_and_an_empty_file_is_none() {
    let bench = bench("0.4.0");
    bench
        .runtime
        .add(&bench.list, &bench.attachment, OnFailure::Leave)
        .unwrap();
    let cached = Value::parse(bench.cached().as_bytes()).unwrap();
    let text = |key: &str| cached.get(key).map(ToString::to_string).unwrap();
    assert_eq!(text("kind"), "\"cniCacheV1\"");
    assert_eq!(
        text("networkName") + &text("containerId") + &text("ifName"),
        "\"blue\"\"c1\"\"eth0\""
    );
    assert_eq!(text("netns"), "\"/run/netns/c1\"");
    assert_eq!(text("cniArgs"), r#"[["IgnoreUnknown","1"],["A","b"]]"#);
    assert_eq!(
        text("capabilityArgs"),
        r#"{"mac":"02:00:00:00:00:01","ips":{}}"#
    );
    assert!(text("config").starts_with("\"eyJjbmlWZXJzaW9uIjoi"));
    assert_eq!(
        text("result"),
        r#"{"cniVersion":"0.4.0","interfaces":[{"name":"two"}],"ips":[{"version":"4","interface":0,"address":"10.0.0.5/24"}],"dns":{}}"#
    );
    let names: Vec<_> = std::fs::read_dir(bench.scratch.0.join("cache/results"))
        .unwrap()
        .collect();
    assert_eq!(names.len(), 1, "no draft stays behind");
    for content in ["", "{", "{\"kind\":\"other\"}"] {
        bench.scratch.write("cache/results/blue-c1-eth0", content);
        let error = bench
            .runtime
            .check(&bench.list, &bench.attachment)
            .unwrap_err();
        assert_eq!(
            matches!(error, RunError::NotAdded(_)),
            content.is_empty(),
            "{error}"
        );
        bench.runtime.del(&bench.list, &bench.attachment).unwrap();
        assert_eq!(bench.stdin("one.DEL").get("prevResult"), None);
    }
}

#[test]
fn a_failed_add_is_left_or_undone_as_asked() {
    let bench = bench("1.0.0");
    bench.scratch.write("fail.two.ADD", "");
    let error = bench
        .runtime
        .add(&bench.list, &bench.attachment, OnFailure::Leave)
        .unwrap_err();
    assert_eq!(chain(&error), "network blue, ADD: plugin \"two\": told to");
    assert_eq!(bench.log(), "ADD one, ADD two, ");
    assert_eq!(bench.cached(), "");
    bench
        .runtime
        .add(&bench.list, &bench.attachment, OnFailure::Undo)
        .unwrap_err();
    assert_eq!(bench.log(), "ADD one, ADD two, DEL two, DEL one, ");
}

#[test]
fn a_failed_del_stops_the_chain_and_keeps_the_record() {
    let bench = bench("1.0.0");
    bench
        .runtime
        .add(&bench.list, &bench.attachment, OnFailure::Leave)
        .unwrap();
    bench.log();
    bench.scratch.write("fail.two.DEL", "");
    bench
        .runtime
        .del(&bench.list, &bench.attachment)
        .unwrap_err();
    assert_eq!(bench.log(), "DEL two, ");
    assert_ne!(bench.cached(), "");
}

#[test]
fn gc_deletes_what_is_not_valid_and_tells_the_plugins() {
    let bench = bench("1.1.0");
    let mut other = bench.attachment.clone();
    other.interface = "eth1".parse().unwrap();
    for attachment in [&bench.attachment, &other] {
        bench
            .runtime
            .add(&bench.list, attachment, OnFailure::Leave)
            .unwrap();
    }
    bench.log();
    let keys = ["cni.dev/valid-attachments", "cni.dev/attachments"];
    bench.runtime.gc(&bench.list, None).unwrap();
    assert_eq!(bench.log(), "GC one, GC two, ");
    assert!(
        keys.iter()
            .all(|key| bench.stdin("one.GC").get(key).is_none())
    );
    assert!(!bench.scratch.read("one.env").contains("CNI_CONTAINERID"));

    let valid = GcAttachment {
        container: other.container.clone(),
        interface: other.interface,
    };
    bench.scratch.write("fail.one.GC", "");
    let error = bench.runtime.gc(&bench.list, Some(&[valid])).unwrap_err();
    assert!(matches!(error, RunError::Several(all) if all.len() == 1));
    assert_eq!(bench.log(), "DEL two, DEL one, GC one, GC two, ");
    for key in keys {
        let list = bench.stdin("two.GC").get(key).unwrap().to_string();
        assert_eq!(list, r#"[{"containerID":"c1","ifname":"eth1"}]"#);
    }
    assert_eq!(bench.cached(), "");
    assert_ne!(bench.scratch.read("cache/results/blue-c1-eth1"), "");

    let mut disabled = bench.list.clone();
    disabled.disable_gc = true;
    bench.runtime.gc(&disabled, Some(&[])).unwrap();
    assert_eq!(bench.log(), "");
}

#[test]
fn a_verb_is_run_only_where_the_version_has_it() {
    let old = bench("1.0.0");
    let error = old.runtime.status(&old.list).unwrap_err();
    assert_eq!(
        error.to_string(),
        "network blue: version 1.0.0 has no STATUS, set cniVersion to 1.1.0 or later"
    );
    old.runtime.gc(&old.list, Some(&[])).unwrap();
    assert_eq!(old.log(), "");
    let new = bench("1.1.0");
    new.runtime.status(&new.list).unwrap();
    assert_eq!(new.log(), "STATUS one, STATUS two, ");
    let mut quiet = new.list.clone();
    quiet.disable_check = true;
    new.runtime.check(&quiet, &new.attachment).unwrap();
    assert_eq!(new.log(), "");
    let oldest = bench("0.3.1");
    assert!(matches!(
        oldest.runtime.check(&oldest.list, &oldest.attachment),
        Err(RunError::Version { .. })
    ));
    oldest
        .runtime
        .add(&oldest.list, &oldest.attachment, OnFailure::Leave)
        .unwrap();
    oldest
        .runtime
        .del(&oldest.list, &oldest.attachment)
        .unwrap();
    assert_eq!(oldest.stdin("one.DEL").get("prevResult"), None);
}
