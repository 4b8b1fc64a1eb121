//! What each attachment's ADD was called with: whoever compares it with its want later needs the
//! configuration that it was made by. One small file for each, `calls/<id>` in the state directory,
//! written once the runtime has its answer; who asks meanwhile waits for it. Without one the attachment
//! is left as it stands.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bulkhead_attach::{Turn, UnderWay};
use bulkhead_cni::{Call, CniError, Environment, Verb};
use bulkhead_ipam::wire::CallFrame;
use bulkhead_model::{AttachmentId, AttachmentKey};
use serde::{Deserialize, Serialize};

/// The directory.
#[derive(Debug)]
pub(crate) struct Remembered {
    dir: PathBuf,
    /// The attachments whose call is answered and not yet noted.
    unsettled: UnderWay,
}

/// A call.
#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    /// For people.
    key: AttachmentKey,
    plugin: String,
    /// The specification's variables; others may be secrets.
    environment: BTreeMap<String, String>,
    stdin: String,
}

impl Remembered {
    /// In that state directory.
    ///
    /// # Errors
    /// If the directory can neither be found nor made.
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let dir = state_dir.join("calls");
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self {
                dir,
                unsettled: UnderWay::default(),
            }),
        }
    }

    /// Begun before a runtime has its answer, and held until what follows from the call is noted: its next
    /// call about the attachment may be there by then, and is noted after this one.
    pub(crate) fn settle(&self, key: &AttachmentKey) -> Turn {
        self.unsettled.begin(key)
    }

    /// Keeps the call that made an attachment.
    ///
    /// # Errors
    /// What the system says; the one before is kept then.
    pub(crate) fn keep(&self, key: &AttachmentKey, call: &CallFrame) -> io::Result<()> {
        let variables = call.environment.iter().filter_map(|(name, value)| {
            let name = name.to_str().filter(|name| name.starts_with("CNI_"))?;
            Some((name.to_owned(), value.to_str()?.to_owned()))
        });
        let kept = Kept {
            key: key.clone(),
            plugin: call.plugin.clone(),
            environment: variables.collect(),
            stdin: String::from_utf8_lossy(&call.stdin).into_owned(),
        };
        let text = serde_json::to_vec(&kept).expect("a call has text keys");
        let path = self.path(&key.id());
        let mut options = fs::OpenOptions::new();
        options.write(true).mode(0o600);
        // What a crash leaves of a file that was none before is the same as none.
        match options.create_new(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return io::Write::write_all(&mut made?, &text),
        }
        // The same call again changes nothing: runtimes repeat ADD.
        if fs::read(&path).is_ok_and(|known| known == text) {
            return Ok(());
        }
        let aside = path.with_extension("new");
        options.create_new(false).create(true).truncate(true);
        io::Write::write_all(&mut options.open(&aside)?, &text)?;
        fs::rename(&aside, &path)
    }

    /// Forgets an attachment.
    pub(crate) fn forget(&self, key: &AttachmentKey) {
        // One that is kept too long is pruned.
        let _ = fs::remove_file(self.path(&key.id()));
    }

    /// The call that made an attachment, as one for `verb`; `None` if it is not known.
    ///
    /// # Errors
    /// As [`Call::read`], if what is kept is damaged or of a later release.
    pub(crate) fn call(&self, key: &AttachmentKey, verb: Verb) -> Result<Option<Call>, CniError> {
        drop(self.settle(key));
        let path = self.path(&key.id());
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CniError::io(path.display(), &error)),
        };
        let kept: Kept = match serde_json::from_slice(&text) {
            Ok(kept) => kept,
            // The machine went down before it was on the disk.
            Err(error) if error.is_eof() => return Ok(None),
            Err(error) => return Err(CniError::io(path.display(), &error.into())),
        };
        let environment = Environment::new(kept.environment).with("CNI_COMMAND", verb.as_str());
        Call::read(verb, environment, kept.stdin.into_bytes()).map(Some)
    }

    /// Forgets what is none of `known`; how many were. What was written after `listed`, when these were
    /// all there were, may be of an attachment that came later.
    pub(crate) fn prune(
        &self,
        known: &HashSet<AttachmentId>,
        listed: SystemTime,
    ) -> io::Result<usize> {
        let known: HashSet<String> = known.iter().map(AttachmentId::to_string).collect();
        let mut pruned = 0;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_known = || name.to_str().is_some_and(|name| known.contains(name));
            let is_old = |at: io::Result<fs::Metadata>| Ok(at?.modified()? < listed);
            // A DEL may be quicker.
            let gone = match is_old(entry.metadata()) {
                Ok(old) if old && !is_known() => fs::remove_file(entry.path()),
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            match gone {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => {
                    other?;
                    pruned += 1;
                }
            }
        }
        Ok(pruned)
    }

    fn path(&self, id: &AttachmentId) -> PathBuf {
        self.dir.join(id.to_string())
    }
}
