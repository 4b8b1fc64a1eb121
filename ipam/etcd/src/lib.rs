//! A cluster's store in etcd (v3 API, 3.4 and later): the only crate that knows it.
//!
//! [`EtcdSettings`] are an operator's words, [`EtcdConfig`] is what they parse to, and [`EtcdStore`] is a
//! [`ClusterStore`] that speaks to the members named there. It keeps a client for each member and decides
//! itself which one is asked, because a member that is dead must not cost every fourth request.
//!
//! Everything here blocks its caller; what is asynchronous runs on a thread of its own, in the network
//! namespace that the store was started in.

mod config;
mod credentials;
mod diagnosis;
mod endpoint;
mod failure;
mod list;
mod pool;
mod shared;
mod translate;
mod watch;

use std::sync::Arc;

use bulkhead_ipam::cluster::{
    ClusterStore, Committed, KeyRange, KvError, Listing, Revision, Txn, Watch,
};
use etcd_client::{Error, ResponseHeader, TxnResponse};

pub use config::{ConfigError, EtcdConfig, EtcdSettings};
pub use endpoint::{EndpointHealth, EndpointState};
use endpoint::{Member, revision};
use pool::{Call, Pool};
use shared::Shared;
use translate::Prefix;

/// A store in etcd. Clones share its connections.
#[derive(Clone)]
pub struct EtcdStore(Arc<Shared>);

impl EtcdStore {
    /// Starts to connect, and waits for nothing: what cannot be reached now may be later.
    ///
    /// # Errors
    /// If the system gives no thread or no event queue.
    pub fn start(config: EtcdConfig) -> std::io::Result<Self> {
        Ok(Self(Arc::new(Shared::start(Pool::new(config))?)))
    }

    /// How each member is, in the order of the configuration.
    #[must_use]
    pub fn health(&self) -> Vec<EndpointHealth> {
        self.0.pool.health()
    }

    /// Whether no member is known to serve, after all of them have failed: connections that end are
    /// noticed at once, also when nothing is asked.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.0.pool.is_away()
    }
}

/// A transaction in etcd's terms.
struct Commit(etcd_client::Txn);

impl Call for Commit {
    type Answer = TxnResponse;

    const REPEATABLE: bool = false;

    async fn make(&self, mut member: Member) -> Result<TxnResponse, Error> {
        member.kv.txn(self.0.clone()).await
    }

    fn header(answer: &TxnResponse) -> Option<&ResponseHeader> {
        answer.header()
    }
}

impl ClusterStore for EtcdStore {
    fn range(&self, range: &KeyRange, limit: usize) -> Result<Listing, KvError> {
        let (pool, range) = (Arc::clone(&self.0.pool), range.clone());
        self.0
            .run(async move { list::list(&pool, &range, limit).await })
    }

    fn commit(&self, txn: &Txn) -> Result<Committed, KvError> {
        let pool = Arc::clone(&self.0.pool);
        txn.check(&pool.name)?;
        let commit = Commit(Prefix(&pool.config.prefix).txn(txn));
        let answer = self.0.run(async move { pool.ask(&commit).await })?;
        let header = answer.header().map(|header| revision(header.revision()));
        Ok(Committed {
            held: answer.succeeded(),
            revision: header.unwrap_or_default(),
        })
    }

    fn watch(&self, range: &KeyRange, after: Revision) -> Result<Box<dyn Watch>, KvError> {
        Ok(Box::new(watch::Followed::start(&self.0, range, after)))
    }

    fn describe(&self) -> String {
        self.0.pool.name.clone()
    }
}
