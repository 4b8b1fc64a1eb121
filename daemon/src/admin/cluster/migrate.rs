//! The cluster's rows, moved into another store.

use bulkhead_ipam::cluster::operations::{Migration as Move, Operations};
use bulkhead_ipam::cluster::schema::Schema;
use bulkhead_ipam::cluster::{EmbeddedError, EmbeddedStore};
use bulkhead_ipam::wire::admin::{MigrateReport, Migration, Reason, Reply, RequestError};
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings, EtcdStore};

use super::refusal::{because, invalid, refused};
use super::words::tell;
use crate::admin::{Admin, Replies, failed};
use crate::cluster::Backend;
use crate::config::Store;

impl Admin {
    pub(super) fn store_migrate(
        &self,
        to: &Migration,
        dry_run: bool,
        replies: &Replies,
    ) -> Result<Reply, RequestError> {
        let target = self.target(to)?;
        let schema = Schema::default();
        let moved = Move::new(self.operations(), Operations::new(target.store(), &schema));
        if dry_run {
            let preview = moved.preview();
            let preview = preview.map_err(|trouble| refused(trouble.reason(), &trouble))?;
            return Ok(Reply::Migrated(MigrateReport {
                copied: preview.rows,
                same: preview.same,
                obstacles: preview.obstacles,
                configuration: String::new(),
            }));
        }
        let report = moved.run(&mut tell(replies));
        let report = report.map_err(|error| refused(error.reason(), &error))?;
        tracing::warn!(
            to = target.store().describe(),
            copied = report.copied,
            "the cluster's rows have moved; configure that store and restart bulkheadd"
        );
        Ok(Reply::Migrated(MigrateReport {
            copied: report.copied,
            same: report.same,
            obstacles: Vec::new(),
            configuration: self.configuration(to),
        }))
    }

    /// The other store; the embedded one if no endpoint is named.
    fn target(&self, to: &Migration) -> Result<Backend, RequestError> {
        if !to.endpoints.is_empty() {
            let config = EtcdConfig::try_from(settings(to)).map_err(|error| invalid(&error))?;
            return EtcdStore::start(config)
                .map(Backend::Etcd)
                .map_err(|error| failed(&error));
        }
        let dir = self.node.state.path().join("cluster");
        if matches!(self.node.config().store, Store::Embedded) {
            let text = format!(
                "the rows are in the embedded store {} already; name an etcd to move them to",
                dir.display()
            );
            return Err(because(Reason::Invalid, text));
        }
        EmbeddedStore::open(&dir)
            .map(Backend::Embedded)
            .map_err(|error| because(code(&error), crate::told::chain(&error)))
    }

    /// What the configuration has to say from now on.
    fn configuration(&self, to: &Migration) -> String {
        let path = self.node.config_path.display();
        let everywhere = "on every node, then restart bulkheadd";
        if to.endpoints.is_empty() {
            return format!("# {path}, then restart bulkheadd\n[store]\nbackend = \"embedded\"\n");
        }
        let file = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map(|path| path.display().to_string())
        };
        let mut lines = format!(
            "# {path}, {everywhere}\n[store]\nbackend = \"etcd\"\n\n[store.etcd]\nendpoints = {:?}\n",
            to.endpoints
        );
        let prefix = Some(to.prefix.clone()).filter(|prefix| !prefix.is_empty());
        let keys = [
            ("prefix", prefix),
            ("ca", file(&to.ca_file)),
            ("cert", file(&to.cert_file)),
            ("key", file(&to.key_file)),
            ("user", to.user.clone()),
            ("password_file", file(&to.password_file)),
        ];
        for (key, value) in keys {
            lines.extend(value.map(|value| format!("{key} = {value:?}\n")));
        }
        lines
    }
}

const fn code(error: &EmbeddedError) -> Reason {
    match error {
        EmbeddedError::InUse(_) => Reason::Conflict,
        _ => Reason::Failed,
    }
}

fn settings(to: &Migration) -> EtcdSettings {
    EtcdSettings {
        endpoints: to.endpoints.clone(),
        prefix: to.prefix.clone(),
        ca: to.ca_file.clone(),
        cert: to.cert_file.clone(),
        key: to.key_file.clone(),
        user: to.user.clone(),
        password_file: to.password_file.clone(),
        ..EtcdSettings::default()
    }
}
