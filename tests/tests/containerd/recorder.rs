//! What containerd really asks of a plugin: wrappers that write down each call and its end.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use bulkhead_tests::{Scratch, Suite};
use netns_fixtures::Sandbox;
use serde_json::Value;

/// One call of the wrapped plugin.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) verb: String,
    pub(crate) netns: String,
    /// The plugin's exit status.
    pub(crate) code: String,
    pub(crate) stdin: Value,
}

/// A directory of plugins in which the bridge plugin is recorded.
pub(crate) struct Recorder {
    dir: Scratch,
}

impl Recorder {
    pub(crate) fn new(sandbox: &Sandbox, suite: &Suite) -> Self {
        let dir = Scratch::new(sandbox, "recorder");
        let bridge = suite.bridge();
        let plugins = dir.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        for entry in fs::read_dir(suite.dir()).unwrap().flatten() {
            let at = plugins.join(entry.file_name());
            if entry.path() != bridge {
                symlink(entry.path(), at).unwrap();
            }
        }
        let wrapper = plugins.join(bridge.file_name().unwrap());
        let calls = dir.path().join("calls");
        // libcni sends JSON on one line, and a short line is appended as a whole.
        let script = format!(
            "#!/bin/bash\n\
             stdin=$(cat)\n\
             '{}' <<<\"$stdin\"\n\
             code=$?\n\
             printf '%s\\t%s\\t%s\\t%s\\n' \"$CNI_COMMAND\" \"$CNI_NETNS\" $code \"$stdin\" >>'{}'\n\
             exit $code\n",
            bridge.display(),
            calls.display(),
        );
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        Self { dir }
    }

    /// The directory for containerd's `bin_dir`.
    pub(crate) fn plugins(&self) -> PathBuf {
        self.dir.path().join("plugins")
    }

    /// The calls that have ended, in that order, but for those of other verbs than ADD and DEL.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = read(&self.dir.path().join("calls"));
        calls
            .into_iter()
            .filter(|call| ["ADD", "DEL"].contains(&call.verb.as_str()))
            .collect()
    }
}

fn read(path: &Path) -> Vec<Call> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let call = |line: &str| {
        let mut fields = line.splitn(4, '\t').map(str::to_owned);
        let mut next = || fields.next().expect("the wrapper writes four fields");
        Call {
            verb: next(),
            netns: next(),
            code: next(),
            stdin: serde_json::from_str(&next()).unwrap(),
        }
    };
    text.lines().map(call).collect()
}
