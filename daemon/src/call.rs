//! One CNI call, from the socket to the answer.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bulkhead_attach::{GuardSwitch, guard_of};
use bulkhead_cni::{CniError, CniVersion, Code, Environment, Output};
use bulkhead_ipam::AttachmentRecord;
use bulkhead_ipam::wire::admin::EventKind;
use bulkhead_ipam::wire::{Answer, CallFrame, Kind, Spoken, peer_is_gone};
use bulkhead_kernel::{Deletion, Wait};
use bulkhead_model::AttachmentKey;
use serde::Deserialize;

use crate::advertise;
use crate::clock::millis;
use crate::events::{of_attachment, of_record};
use crate::host::{Container, Here, Shim};
use crate::metrics::CodeLabels;
use crate::node::Node;
use crate::server::{Admitted, Counted};
use crate::workers::Worker;

/// Longest that an answer may take to be taken: it fits into the socket's buffer.
const TAKEN: Duration = Duration::from_secs(5);

/// A call that waits for a worker, or is with one.
pub(crate) struct Call {
    pub(crate) frame: CallFrame,
    /// The version of the frame, in which it is answered.
    pub(crate) version: u16,
    /// The container's namespace.
    pub(crate) container: Option<OwnedFd>,
    pub(crate) stream: UnixStream,
    pub(crate) received: Instant,
    /// Held until it is answered.
    pub(crate) _admitted: Admitted,
    pub(crate) _in_flight: Counted,
}

/// What an error object says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    code: u32,
    msg: String,
    details: String,
}

/// The one key that the log needs of a configuration.
#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Call {
    /// Serves it and answers its caller. Whether the worker is still to be trusted.
    pub(crate) fn serve(&self, node: &Node, worker: &mut Worker) -> bool {
        let queued = self.received.elapsed();
        if self.is_given_up(queued) {
            tracing::warn!(
                verb = self.verb(),
                queued_ms = millis(queued),
                "the caller has given up before its call was served"
            );
            return true;
        }
        node.metrics.took(self.verb(), "queue", queued);
        let pass = node.gate.pass();
        let served = catch_unwind(AssertUnwindSafe(|| self.output(node, worker)));
        drop(pass);
        node.metrics.took(
            self.verb(),
            "serve",
            self.received.elapsed().saturating_sub(queued),
        );
        let is_sound = served.is_ok();
        let output = served.unwrap_or_else(|_| {
            node.met_bug("a call");
            bug()
        });
        let said = self.count(node, &output);
        self.identify(node);
        // Before its runtime hears of it: a container asks as soon as it runs.
        self.advertise(node, &said);
        let key = self.key();
        let _settled = key.as_ref().map(|key| node.remembered.settle(key));
        let answered = self.answer(&output);
        node.metrics
            .took(self.verb(), "total", self.received.elapsed());
        self.told(node, key.as_ref(), &said, queued, answered.err());
        is_sound
    }

    /// Whether nobody waits for it any more. Who gave up a DEL has detached the container itself and left
    /// a tombstone: by now the same name may be another one's.
    fn is_given_up(&self, queued: Duration) -> bool {
        let late = self
            .frame
            .deadline_ms
            .is_some_and(|ms| queued >= Duration::from_millis(ms));
        late || peer_is_gone(&self.stream)
    }

    fn output(&self, node: &Node, worker: &mut Worker) -> Output {
        let Some(plugin) = bulkhead_cni_bin::plugin(&self.frame.plugin) else {
            let name = &self.frame.plugin;
            let text = format!(
                "the node daemon knows no plugin {name:?}: restart bulkheadd, so that it is of the plugins' release"
            );
            return refusal(&CniError::try_again(text));
        };
        let environment = Environment::new(self.frame.environment.iter().cloned());
        let delegates = Shim {
            node,
            stream: &self.stream,
            version: self.version,
            environment: &environment,
        };
        let mut host = Here {
            node,
            verb: self.verb(),
            kernel: &mut worker.kernel,
            container: Container::Sent(self.container.as_ref()),
            delegates,
        };
        let wait = match self.container {
            // What GC is not told of may live in containers that are there.
            None if self.verb() != "GC" => Wait::Doomed,
            _ => Wait::Gone,
        };
        host.kernel
            .set_deletion(Deletion::Reaper(node.reaper.clone(), wait));
        let stdin = self.frame.stdin.as_slice();
        let output = plugin.answer(environment.clone(), stdin, &mut host);
        worker.kernel.dismiss();
        let spent = worker.kernel.take_spent();
        node.metrics.took(self.verb(), "observe", spent.observing);
        node.metrics.took(self.verb(), "apply", spent.applying);
        output
    }

    fn answer(&self, output: &Output) -> std::io::Result<()> {
        let answer = Answer {
            exit: output.exit,
            stdout: output.stdout.clone(),
            stderr: output.stderr.clone(),
        };
        let frame = answer.to_frame(self.version, Spoken::OURS, Kind::Answer);
        let bytes = frame.encode().map_err(std::io::Error::other)?;
        self.stream.set_write_timeout(Some(TAKEN))?;
        (&self.stream).write_all(&bytes)
    }

    /// Counts it; what it was answered.
    fn count(&self, node: &Node, output: &Output) -> Said {
        let said = said(output);
        let labels = CodeLabels {
            verb: self.verb().to_owned(),
            code: said.code,
        };
        node.metrics.calls.get_or_create(&labels).inc();
        node.tally.calls.fetch_add(1, Ordering::Relaxed);
        let failed = u64::from(output.exit != 0);
        node.tally.calls_failed.fetch_add(failed, Ordering::Relaxed);
        said
    }

    /// What is advertised on its port is as its record says from now on.
    fn advertise(&self, node: &Node, said: &Said) {
        let changes = matches!(self.verb(), "ADD" | "DEL") && said.code == 0;
        if changes
            && self.frame.plugin == advertise::PLUGIN
            && let Some(key) = self.key()
        {
            advertise::follow(node, &key);
        }
    }

    /// Its endpoint is as its record says from now on. A call that failed may have changed the record too.
    fn identify(&self, node: &Node) {
        match (self.verb(), self.key()) {
            ("ADD" | "DEL", Some(key)) => node.identities.changed(&key),
            ("GC", _) => node.identities.compare_soon(),
            _ => {}
        }
    }

    /// Remembers it, tells watchers, and writes its line into the log.
    fn told(
        &self,
        node: &Node,
        key: Option<&AttachmentKey>,
        said: &Said,
        queued: Duration,
        lost: Option<std::io::Error>,
    ) {
        if let (Some(key), 0) = (key, said.code) {
            self.remember(node, key);
            self.tell(node, key);
            self.tell_unguarded(node, key);
        }
        self.log(key, said, queued, lost);
    }

    /// A port that may send anything is somebody's decision, and one that others have to live with. A
    /// configuration that does not name the guard leaves it on, so that its records need not be read.
    fn tell_unguarded(&self, node: &Node, key: &AttachmentKey) {
        const NAME: &[u8] = b"\"guard\"";
        let named = self.frame.stdin.windows(NAME.len()).any(|it| it == NAME);
        if self.verb() != "ADD" || !named {
            return;
        }
        let known = node.state.network(&key.network).read().ok().flatten();
        let record = known.and_then(|known| known.find(&key.id()).ok().flatten());
        let is_off = |record: &AttachmentRecord| guard_of(&record.names).switch != GuardSwitch::On;
        if record.is_some_and(|record| record.names.port.is_some() && is_off(&record)) {
            tracing::warn!(attachment = %key, "the guard is off, and what the port sends is not judged");
        }
    }

    fn remember(&self, node: &Node, key: &AttachmentKey) {
        match self.verb() {
            "ADD" => {
                if let Err(error) = node.remembered.keep(key, &self.frame) {
                    node.failed(
                        "a call is not remembered: its attachment will not be mended",
                        &error,
                    );
                }
            }
            "DEL" => node.remembered.forget(key),
            _ => {}
        }
    }

    fn tell(&self, node: &Node, key: &AttachmentKey) {
        let recorded = || {
            let known = node.state.network(&key.network).read().ok()??;
            known.find(&key.id()).ok()?
        };
        let event = |kind| match recorded() {
            Some(record) => of_record(kind, &record, String::new()),
            None => of_attachment(kind, key, Vec::new(), String::new()),
        };
        match self.verb() {
            "ADD" => node.events.tell(|| event(EventKind::Acquired)),
            "DEL" => node.events.tell(|| event(EventKind::Released)),
            _ => {}
        }
    }

    fn log(
        &self,
        key: Option<&AttachmentKey>,
        said: &Said,
        queued: Duration,
        lost: Option<std::io::Error>,
    ) {
        let text = |key: Option<&AttachmentKey>, of: fn(&AttachmentKey) -> String| {
            key.map(of).unwrap_or_default()
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        // One line a call, whatever became of it.
        macro_rules! line {
            ($level:ident, $($rest:tt)*) => {
                tracing::$level!(
                    verb = self.verb(),
                    plugin = self.frame.plugin,
                    network = text(key, |key| key.network.to_string()),
                    container = text(key, |key| key.container.to_string()),
                    ifname = text(key, |key| key.interface.to_string()),
                    code = said.code,
                    queued_us = micros(queued),
                    duration_us = micros(self.received.elapsed()),
                    $($rest)*
                )
            };
        }
        match (said.code, lost) {
            (_, Some(error)) => line!(warn, %error, "the caller did not take the answer"),
            (0, None) => line!(info, "served"),
            _ => line!(warn, error = said.text(), "refused"),
        }
    }

    /// `CNI_COMMAND`, if it is one of the specification's; metrics are kept by it.
    fn verb(&self) -> &'static str {
        let known = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"];
        known
            .into_iter()
            .find(|verb| *verb == self.frame.verb)
            .unwrap_or("other")
    }

    fn key(&self) -> Option<AttachmentKey> {
        let variable = |name: &str| {
            let mut all = self.frame.environment.iter();
            all.find(|(known, _)| known == name)?.1.to_str()
        };
        let named: Named = serde_json::from_slice(&self.frame.stdin).ok()?;
        Some(AttachmentKey {
            network: named.name.parse().ok()?,
            container: variable("CNI_CONTAINERID")?.parse().ok()?,
            interface: variable("CNI_IFNAME")?.parse().ok()?,
        })
    }
}

impl Said {
    fn text(&self) -> String {
        if self.details.is_empty() {
            return self.msg.clone();
        }
        format!("{}; {}", self.msg, self.details)
    }
}

/// The error object of an output; code 0 without one.
fn said(output: &Output) -> Said {
    if output.exit == 0 {
        return Said::default();
    }
    let said: Said = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let code = if said.code == 0 {
        Code::INTERNAL.0
    } else {
        said.code
    };
    Said { code, ..said }
}

/// The answer to a call that met a bug. What it did stands: DEL takes it back.
fn bug() -> Output {
    let text =
        "the node daemon met a bug while serving this call; its log has the place, report it";
    refusal(&CniError::new(Code::INTERNAL, text))
}

fn refusal(error: &CniError) -> Output {
    Output {
        exit: 1,
        stdout: format!("{}\n", error.to_json(CniVersion::NEWEST)).into_bytes(),
        stderr: Vec::new(),
    }
}
