//! Other plugins, as scripts: what they are given, and what becomes of what they answer.

#[path = "common/scratch.rs"]
mod scratch;

use bulkhead_cni::exec::{Children, ExecError, Plugin, delegate, delegate_add};
use bulkhead_cni::{Call, CniError, Code, Environment, Verb};
use scratch::Scratch;

/// Keys in an odd order and spelling: a delegate must get the very bytes.
const STDIN: &str =
    r#"{ "cniVersion":"1.1.0", "Name":"blue","ipam":{"type":"ipam"},"name":"blue" }"#;

fn call(scratch: &Scratch) -> Call {
    let environment = Environment::new([
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/nonexistent"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_ARGS", "IgnoreUnknown=1"),
        ("PATH", "/usr/bin:/bin"),
    ]);
    let environment = environment
        .with("CNI_PATH", scratch.bin())
        .with("CNI_COMMAND", "ADD");
    Call::read(Verb::Add, environment, STDIN.into()).unwrap()
}

fn refused(error: impl Into<CniError>) -> (u32, String) {
    let error = error.into();
    (error.code.0, error.msg)
}

#[test]
fn a_delegate_gets_the_environment_and_the_very_bytes() {
    let scratch = Scratch::new();
    scratch.plugin(
        "ipam",
        r#"cat >$DIR/stdin; env | grep ^CNI_ | sort >$DIR/env
echo '{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.5/24"}],"routes":[{"dst":"0.0.0.0/0","mtu":1400}]}'"#,
    );
    let result = delegate_add(&mut Children, &call(&scratch), "ipam").unwrap();
    assert_eq!(result.ips[0].address.to_string(), "10.0.0.5/24");
    assert_eq!(result.routes[0].mtu, Some(1400));
    assert_eq!(scratch.read("stdin"), STDIN);
    let bin = scratch.bin();
    assert_eq!(
        scratch.read("env"),
        format!(
            "CNI_ARGS=IgnoreUnknown=1\nCNI_COMMAND=ADD\nCNI_CONTAINERID=c1\nCNI_IFNAME=eth0\nCNI_NETNS=/nonexistent\nCNI_PATH={}\n",
            bin.display()
        )
    );
    delegate(&mut Children, &call(&scratch), "ipam", Verb::Del).unwrap();
    assert!(scratch.read("env").contains("CNI_COMMAND=DEL\n"));
}

#[test]
fn a_failed_add_is_followed_by_del_and_keeps_its_code() {
    let scratch = Scratch::new();
    scratch.plugin(
        "ipam",
        r#"echo $CNI_COMMAND >>$DIR/verbs
test $CNI_COMMAND = DEL && exit 0
echo '{"cniVersion":"1.1.0","code":11,"msg":"no leader","details":"3 of 3 down"}'; exit 1"#,
    );
    assert_eq!(
        refused(delegate_add(&mut Children, &call(&scratch), "ipam").unwrap_err()),
        (11, "plugin \"ipam\": no leader; 3 of 3 down".into())
    );
    assert_eq!(scratch.read("verbs"), "ADD\nDEL\n");
    assert_eq!(
        refused(delegate(&mut Children, &call(&scratch), "ipam", Verb::Status).unwrap_err()).0,
        11
    );
}

#[test]
fn an_answer_that_is_none_is_named() {
    let scratch = Scratch::new();
    let add = |script: &str| {
        scratch.plugin("ipam", script);
        refused(delegate_add(&mut Children, &call(&scratch), "ipam").unwrap_err())
    };
    let failed = Code::DELEGATE_FAILED.0;
    assert_eq!(
        add("echo 'panic: oh no' >&2; exit 2"),
        (
            failed,
            "plugin \"ipam\" ended with exit status: 2 and no answer; it wrote \"panic: oh no\""
                .into()
        )
    );
    assert_eq!(
        add("kill -9 $$"),
        (
            failed,
            "plugin \"ipam\" ended with signal: 9 (SIGKILL) and no answer; it wrote \"\"".into()
        )
    );
    assert_eq!(add("exit 0").0, failed);
    assert_eq!(
        add("echo nonsense"),
        (
            failed,
            "plugin \"ipam\": its result is not JSON: expected ident at line 1 column 2".into()
        )
    );
    assert_eq!(
        add(r#"echo '{"ips":[{"address":"10.0.0.5"}]}'"#),
        (
            failed,
            "plugin \"ipam\": its result is malformed: result.ips[0].address: \"10.0.0.5\" is not an address with prefix length such as 10.0.0.5/24".into()
        )
    );
}

#[test]
fn a_plugin_is_found_in_the_first_directory_and_never_by_path() {
    let scratch = Scratch::new();
    scratch.plugin("ipam", "exit 0");
    let second = scratch.0.join("second");
    std::fs::create_dir_all(second.join("dir")).unwrap();
    let dirs = [second, scratch.bin()];
    assert_eq!(
        Plugin::find("ipam", &dirs).unwrap().path(),
        scratch.bin().join("ipam")
    );
    for bad in ["", ".", "..", "../bin/ipam", "/bin/sh"] {
        assert!(
            matches!(Plugin::find(bad, &dirs), Err(ExecError::InvalidType(_))),
            "{bad}"
        );
    }
    assert!(matches!(
        Plugin::find("dir", &dirs),
        Err(ExecError::NotFound { .. })
    ));
    let error = refused(Plugin::find("ipam", &[]).unwrap_err());
    assert_eq!(
        error,
        (4, "required env variables [CNI_PATH] missing".into())
    );
}

/// More than a pipe holds, both ways, with nobody reading stdin.
#[test]
fn large_input_and_output_do_not_block() {
    let scratch = Scratch::new();
    let path = scratch.plugin(
        "big",
        "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; exit 0",
    );
    assert!(path.exists());
    let plugin = Plugin::find("big", &[scratch.bin()]).unwrap();
    let environment = Environment::new([("PATH", "/usr/bin:/bin")]);
    let stdout = plugin.run(&environment, &vec![b' '; 1 << 20]).unwrap();
    assert_eq!(stdout.len(), 300_000);
}

/// An installer that writes in place: `execve` refuses until it closes the file.
#[test]
fn a_file_being_written_is_waited_for() {
    let scratch = Scratch::new();
    let path = scratch.plugin("busy", "exit 0");
    let writer = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap();
    let installer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(writer);
    });
    let plugin = Plugin::find("busy", &[scratch.bin()]).unwrap();
    let started = std::time::Instant::now();
    plugin.run(&Environment::default(), b"").unwrap();
    assert!(started.elapsed() >= std::time::Duration::from_millis(300));
    installer.join().unwrap();
}
