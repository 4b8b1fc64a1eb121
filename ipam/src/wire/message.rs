//! A CNI call and its answer, and what is delegated in between.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::frame::{Frame, Kind, Section, Spoken};
use super::sections::{MessageError, Sections};

/// Tags of a call's sections.
mod call {
    pub(super) const PLUGIN: u16 = 1;
    pub(super) const VERB: u16 = 2;
    pub(super) const ENVIRONMENT: u16 = 3;
    pub(super) const STDIN: u16 = 4;
    pub(super) const DESCRIPTORS: u16 = 5;
    /// Since version 2.
    pub(super) const DEADLINE: u16 = 6;
}

/// Tags of an answer's sections, and of a delegated plugin's.
mod answer {
    pub(super) const EXIT: u16 = 1;
    pub(super) const STDOUT: u16 = 2;
    pub(super) const STDERR: u16 = 3;
}

/// Tags of a delegation's sections.
mod delegate {
    pub(super) const PLUGIN: u16 = 1;
    pub(super) const VERB: u16 = 2;
    pub(super) const ENVIRONMENT: u16 = 3;
}

/// The version in which calls have a deadline.
const SINCE_DEADLINE: u16 = 2;

/// A CNI call as the runtime made it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CallFrame {
    /// The name the plugin was called by.
    pub plugin: String,
    /// `CNI_COMMAND`.
    pub verb: String,
    /// Every variable. A name is not empty and has no `=` but for its first byte, and nothing has a
    /// NUL, as `environ(7)` has it.
    pub environment: Vec<(OsString, OsString)>,
    /// Standard input, verbatim.
    pub stdin: Vec<u8>,
    /// How long the caller will wait, in milliseconds; `None` if it does not say.
    pub deadline_ms: Option<u64>,
}

/// Which descriptors come with a call, in this order.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Descriptors {
    /// The container's network namespace. Absent if `CNI_NETNS` is empty or cannot be opened.
    pub container: bool,
    /// The caller's own network namespace.
    pub own: bool,
}

/// What a plugin ends with.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// Its exit code.
    pub exit: u8,
    /// What it prints.
    pub stdout: Vec<u8>,
    /// What it says to the operator.
    pub stderr: Vec<u8>,
}

/// What the daemon asks of a plugin during a call: run this foreign IPAM plugin on the call's own
/// environment and input. Garbage collection takes down attachments that its call does not name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Delegate {
    /// Its `type`.
    pub plugin: String,
    /// The verb.
    pub verb: String,
    /// Variables that are to be others than the call's, besides the verb's.
    pub environment: Vec<(OsString, OsString)>,
}

impl CallFrame {
    /// The frame, with `descriptors` beside it.
    #[must_use]
    pub fn to_frame(&self, version: u16, spoken: Spoken, descriptors: Descriptors) -> Frame {
        let which = u8::from(descriptors.container) | u8::from(descriptors.own) << 1;
        let mut sections = vec![
            Section::new(call::PLUGIN, self.plugin.as_bytes()),
            Section::new(call::VERB, self.verb.as_bytes()),
            Section::new(call::ENVIRONMENT, joined(&self.environment)),
            Section::new(call::STDIN, self.stdin.as_slice()),
            Section::new(call::DESCRIPTORS, [which]),
        ];
        if let Some(deadline) = self.deadline_ms.filter(|_| version >= SINCE_DEADLINE) {
            sections.push(Section::new(call::DEADLINE, deadline.to_le_bytes()));
        }
        Frame::new(version, spoken, Kind::Call, sections)
    }

    /// Reads a call and which descriptors come with it.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_frame(frame: Frame) -> Result<(Self, Descriptors), MessageError> {
        let tags = call::PLUGIN..=call::DEADLINE;
        let mut sections = Sections::of(frame, Kind::Call, |tag| tags.contains(&tag))?;
        let [which] = sections.fixed(call::DESCRIPTORS, "descriptors")?;
        let deadline = sections.optional_fixed(call::DEADLINE, "deadline")?;
        let call = Self {
            plugin: sections.text(call::PLUGIN, "plugin")?,
            verb: sections.text(call::VERB, "verb")?,
            environment: split(&sections.bytes(call::ENVIRONMENT, "environment")?)
                .map_err(|why| sections.malformed("environment", why))?,
            stdin: sections.bytes(call::STDIN, "standard input")?,
            deadline_ms: deadline.map(u64::from_le_bytes),
        };
        let descriptors = Descriptors {
            container: which & 1 != 0,
            own: which & 2 != 0,
        };
        Ok((call, descriptors))
    }
}

impl Answer {
    /// The frame: [`Kind::Answer`] from the daemon, [`Kind::Delegated`] to it.
    #[must_use]
    pub fn to_frame(&self, version: u16, spoken: Spoken, kind: Kind) -> Frame {
        let sections = vec![
            Section::new(answer::EXIT, [self.exit]),
            Section::new(answer::STDOUT, self.stdout.as_slice()),
            Section::new(answer::STDERR, self.stderr.as_slice()),
        ];
        Frame::new(version, spoken, kind, sections)
    }

    /// Reads an answer of that kind.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_frame(frame: Frame, kind: Kind) -> Result<Self, MessageError> {
        let tags = answer::EXIT..=answer::STDERR;
        let mut sections = Sections::of(frame, kind, |tag| tags.contains(&tag))?;
        let [exit] = sections.fixed(answer::EXIT, "exit code")?;
        Ok(Self {
            exit,
            stdout: sections.bytes(answer::STDOUT, "standard output")?,
            stderr: sections.bytes(answer::STDERR, "standard error")?,
        })
    }
}

impl Delegate {
    /// The frame.
    #[must_use]
    pub fn to_frame(&self, version: u16, spoken: Spoken) -> Frame {
        let sections = vec![
            Section::new(delegate::PLUGIN, self.plugin.as_bytes()),
            Section::new(delegate::VERB, self.verb.as_bytes()),
            Section::new(delegate::ENVIRONMENT, joined(&self.environment)),
        ];
        Frame::new(version, spoken, Kind::Delegate, sections)
    }

    /// Reads what is asked.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_frame(frame: Frame) -> Result<Self, MessageError> {
        let tags = delegate::PLUGIN..=delegate::ENVIRONMENT;
        let mut sections = Sections::of(frame, Kind::Delegate, |tag| tags.contains(&tag))?;
        Ok(Self {
            plugin: sections.text(delegate::PLUGIN, "plugin")?,
            verb: sections.text(delegate::VERB, "verb")?,
            environment: split(&sections.bytes(delegate::ENVIRONMENT, "environment")?)
                .map_err(|why| sections.malformed("environment", why))?,
        })
    }
}

/// `NAME=value` and a NUL for each variable.
fn joined(environment: &[(OsString, OsString)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in environment {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(b'=');
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
    }
    bytes
}

fn split(bytes: &[u8]) -> Result<Vec<(OsString, OsString)>, String> {
    let Some(bytes) = bytes.strip_suffix(b"\0") else {
        return if bytes.is_empty() {
            Ok(Vec::new())
        } else {
            Err("it does not end with a NUL".to_owned())
        };
    };
    let variable = |text: &[u8]| {
        let shown = OsStr::from_bytes(text).display();
        // A name may begin with `=`, as the standard library reads them.
        let equals = text.iter().skip(1).position(|byte| *byte == b'=');
        let at = equals.ok_or_else(|| format!("{shown:?} is no NAME=value"))? + 1;
        let own = |part: &[u8]| OsString::from_vec(part.to_vec());
        Ok((own(&text[..at]), own(&text[at + 1..])))
    };
    bytes.split(|byte| *byte == 0).map(variable).collect()
}
