//! A configuration as keys and values: to be printed, and to be compared with another.

use super::{Config, Listen, Log, Server, Store};

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    /// At once.
    Now,
    /// When the daemon starts again.
    Restart,
}

/// A key that another configuration sets otherwise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Change {
    /// The key.
    pub(crate) key: &'static str,
    /// Its old value.
    pub(crate) from: String,
    /// Its new value.
    pub(crate) to: String,
    /// When it takes effect.
    pub(crate) effect: Effect,
}

impl Config {
    /// Every key with its value and when a change of it takes effect. Secrets are in files, whose names
    /// are here.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String, Effect)> {
        let secs = |time: Option<std::time::Duration>| time.map_or(0, |time| time.as_secs());
        let server = self.server;
        let mut settings = vec![
            ("state_dir", path(&self.state_dir), Effect::Restart),
            ("socket", path(&self.socket), Effect::Restart),
            (
                "node.name",
                self.node.name.clone().unwrap_or_default(),
                Effect::Restart,
            ),
            ("node.labels", labels(&self.node.labels), Effect::Restart),
            (
                "log.format",
                self.log.format.as_str().to_owned(),
                Effect::Restart,
            ),
            (
                "log.level",
                self.log.level.as_str().to_lowercase(),
                Effect::Now,
            ),
            (
                "metrics.listen",
                listen(self.metrics.as_ref()),
                Effect::Restart,
            ),
            (
                "server.connections",
                server.connections.to_string(),
                Effect::Restart,
            ),
            (
                "server.read_timeout_secs",
                server.read_timeout.as_secs().to_string(),
                Effect::Now,
            ),
            (
                "server.stop_timeout_secs",
                server.stop_timeout.as_secs().to_string(),
                Effect::Now,
            ),
            ("workers.threads", self.threads.to_string(), Effect::Restart),
            (
                "collector.interval_secs",
                secs(self.collector.interval).to_string(),
                Effect::Now,
            ),
            (
                "collector.grace_secs",
                self.collector.grace.as_secs().to_string(),
                Effect::Now,
            ),
            (
                "reconcile.interval_secs",
                secs(self.reconcile).to_string(),
                Effect::Now,
            ),
            (
                "flows.interval_secs",
                secs(self.flows).to_string(),
                Effect::Now,
            ),
            (
                "policy.established",
                self.established.as_str().to_owned(),
                Effect::Now,
            ),
            (
                "audit.retention_days",
                (self.audit.age.as_secs() / 86_400).to_string(),
                Effect::Now,
            ),
            (
                "audit.network_mib",
                (self.audit.bytes >> 20).to_string(),
                Effect::Now,
            ),
            (
                "overlay.underlay",
                self.underlay.map_or_else(String::new, |it| it.to_string()),
                Effect::Restart,
            ),
        ];
        let store = self.store.settings().into_iter();
        settings.extend(store.map(|(key, value)| (key, value, Effect::Restart)));
        settings
    }

    /// `new`, but for what takes effect when the daemon starts again.
    pub(crate) fn with_what_takes_effect_now(&self, new: &Self) -> Self {
        Self {
            state_dir: self.state_dir.clone(),
            socket: self.socket.clone(),
            node: self.node.clone(),
            store: self.store.clone(),
            log: Log {
                format: self.log.format,
                level: new.log.level,
            },
            metrics: self.metrics.clone(),
            underlay: self.underlay,
            threads: self.threads,
            server: Server {
                connections: self.server.connections,
                ..new.server
            },
            ..new.clone()
        }
    }

    /// What `new` sets otherwise.
    pub(crate) fn changes(&self, new: &Self) -> Vec<Change> {
        let (old, new) = (self.settings(), new.settings());
        let value = |settings: &[(&'static str, String, Effect)], key| {
            let found = settings.iter().find(|(known, ..)| *known == key);
            found.map_or_else(String::new, |(_, value, _)| value.clone())
        };
        let gone = old
            .iter()
            .filter(|(key, ..)| !new.iter().any(|(known, ..)| known == key));
        let keys = new
            .iter()
            .chain(gone)
            .map(|(key, _, effect)| (*key, *effect));
        keys.map(|(key, effect)| Change {
            key,
            from: value(&old, key),
            to: value(&new, key),
            effect,
        })
        .filter(|change| change.from != change.to)
        .collect()
    }
}

impl Store {
    fn settings(&self) -> Vec<(&'static str, String)> {
        let Self::Etcd(etcd) = self else {
            return vec![("store.backend", "embedded".to_owned())];
        };
        let etcd = &etcd.settings;
        let ms = |ms: Option<u64>| ms.map(|ms| ms.to_string());
        let file = |file: &Option<std::path::PathBuf>| file.as_deref().map(path);
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let optional = [
            ("store.etcd.endpoints", Some(etcd.endpoints.join(", "))),
            ("store.etcd.prefix", set(&etcd.prefix)),
            ("store.etcd.ca", file(&etcd.ca)),
            ("store.etcd.cert", file(&etcd.cert)),
            ("store.etcd.key", file(&etcd.key)),
            ("store.etcd.user", etcd.user.clone()),
            ("store.etcd.password_file", file(&etcd.password_file)),
            ("store.etcd.connect_timeout_ms", ms(etcd.connect_timeout_ms)),
            ("store.etcd.timeout_ms", ms(etcd.timeout_ms)),
        ];
        let set = optional
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        [("store.backend", "etcd".to_owned())]
            .into_iter()
            .chain(set)
            .collect()
    }
}

fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}

fn labels(labels: &[(String, String)]) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    labels.join(", ")
}

fn listen(listen: Option<&Listen>) -> String {
    listen.map_or_else(|| "off".to_owned(), Listen::to_string)
}
