//! What every store obeys, whichever keeps it: each law runs on each backend.

mod compares;
mod limits;
mod listings;
mod transactions;
mod watches;

use std::time::Duration;

use bulkhead_ipam::cluster::{
    ClusterStore, Committed, Compare, EmbeddedStore, Event, Key, KeyRange, Listing, MemoryStore,
    Revision, Txn, Watch, Write,
};
use bulkhead_ipam_etcd::{EtcdConfig, EtcdSettings, EtcdStore};
use netns_fixtures::{Authority, Etcd, EtcdLogin, EtcdOptions, Sandbox, Validity};

/// Long enough for anything that comes at all.
const PATIENCE: Duration = Duration::from_secs(30);

type Law = fn(&Bench);

/// A store under test, and a corner of it that no other law uses.
struct Bench<'a> {
    store: &'a dyn ClusterStore,
    compact: &'a (dyn Fn(Revision) + Sync),
    corner: &'a str,
}

impl Bench<'_> {
    fn key(&self, name: &str) -> Key {
        Key::new(format!("{}{name}", self.corner)).expect("a plain name")
    }

    /// The keys that begin with `name`.
    fn under(&self, name: &str) -> KeyRange {
        KeyRange::prefix(&format!("{}{name}", self.corner))
    }

    fn put(&self, name: &str, value: &str) -> Write {
        Write::Put(self.key(name), value.into())
    }

    fn delete(&self, name: &str) -> Write {
        Write::Delete(self.key(name))
    }

    fn commit(&self, when: &[Compare], writes: &[Write]) -> Committed {
        let txn = Txn {
            when: when.to_vec(),
            writes: writes.to_vec(),
        };
        self.store.commit(&txn).unwrap()
    }

    /// Writes without a condition; the revision of that.
    fn write(&self, writes: &[Write]) -> Revision {
        let committed = self.commit(&[], writes);
        assert!(committed.held);
        committed.revision
    }

    fn list(&self, range: &KeyRange) -> Listing {
        self.store.range(range, 0).unwrap()
    }

    /// Every row of the corner, as `name=value`.
    fn rows(&self) -> Vec<String> {
        let listing = self.list(&self.under(""));
        let text = |row: &bulkhead_ipam::cluster::Row| {
            let value = String::from_utf8_lossy(&row.value).into_owned();
            format!("{}={value}", &row.key.as_str()[self.corner.len()..])
        };
        listing.rows.iter().map(text).collect()
    }

    fn now(&self) -> Revision {
        self.list(&self.under("")).revision
    }

    fn watch(&self, name: &str, after: Revision) -> Box<dyn Watch> {
        self.store.watch(&self.under(name), after).unwrap()
    }

    /// An event as `name=value@revision`, or `name-@revision` for a deletion.
    fn told(&self, event: &Event) -> String {
        let name = &event.key.as_str()[self.corner.len()..];
        let revision = event.revision.0;
        match &event.row {
            Some(row) => format!("{name}={}@{revision}", String::from_utf8_lossy(&row.value)),
            None => format!("{name}-@{revision}"),
        }
    }

    /// The next `count` events.
    fn events(&self, watch: &mut dyn Watch, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        while told.len() < count {
            let events = watch.next(PATIENCE).unwrap();
            assert!(!events.is_empty(), "only {told:?} within {PATIENCE:?}");
            told.extend(events.iter().map(|event| self.told(event)));
        }
        told
    }
}

fn obeys_every_law(store: &dyn ClusterStore, compact: &(dyn Fn(Revision) + Sync)) {
    let laws = [
        compares::LAWS,
        limits::LAWS,
        listings::LAWS,
        transactions::LAWS,
        watches::LAWS,
    ];
    for (name, law) in laws.concat() {
        // The harness prints it if the law panics.
        println!("law: {name}");
        let corner = format!("/laws/{name}/");
        law(&Bench {
            store,
            compact,
            corner: &corner,
        });
    }
}

/// Laws by their names.
macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        pub(crate) const LAWS: &[(&str, crate::Law)] = &[$((stringify!($law), $law)),*];
    };
}
pub(crate) use laws;

#[test]
fn memory_obeys_every_law() {
    let store = MemoryStore::new(100_000);
    obeys_every_law(&store, &|revision| store.compact(revision));
}

#[test]
fn embedded_obeys_every_law() {
    let sandbox = Sandbox::new();
    let dir = std::env::temp_dir().join(format!("{}embedded", sandbox.stem()));
    let store = EmbeddedStore::open(&dir).unwrap();
    obeys_every_law(&store, &|revision| store.compact(revision));
    let before = store.range(&KeyRange::prefix("/"), 0).unwrap();
    drop(store);
    let again = EmbeddedStore::open(&dir).unwrap();
    assert_eq!(again.range(&KeyRange::prefix("/"), 0).unwrap(), before);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What every key of the laws begins with in etcd.
const PREFIX: &str = "/elsewhere";

fn obeys_in_etcd(options: EtcdOptions, complete: impl FnOnce(&Etcd, &mut EtcdSettings)) {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("etcd").unwrap();
    let etcd = Etcd::on_loopback(&sandbox, &ns, 1, options).unwrap();
    let mut settings = EtcdSettings {
        endpoints: etcd.urls(),
        prefix: PREFIX.to_owned(),
        ..EtcdSettings::default()
    };
    complete(&etcd, &mut settings);
    let config = EtcdConfig::try_from(settings).unwrap();
    let store = ns.enter(|| EtcdStore::start(config)).unwrap().unwrap();
    obeys_every_law(&store, &|revision| {
        let revision = revision.0.to_string();
        etcd.etcdctl(&["compact", "--physical", &revision]).unwrap();
    });
}

#[test]
fn etcd_obeys_every_law() {
    obeys_in_etcd(EtcdOptions::default(), |_, _| ());
}

#[test]
fn etcd_with_certificates_and_a_login_obeys_every_law() {
    let dir = std::env::temp_dir().join(format!("{}guarded", Sandbox::new().stem()));
    let options = EtcdOptions {
        tls: Some(Authority::new(&dir)),
        login: Some(EtcdLogin {
            user: "bulkhead".to_owned(),
            password: "secret".to_owned(),
            prefix: PREFIX.to_owned(),
        }),
        ..EtcdOptions::default()
    };
    let password = dir.join("password");
    std::fs::write(&password, "secret\n").unwrap();
    obeys_in_etcd(options, |etcd, settings| {
        let authority = etcd.authority().unwrap();
        let node = authority.issue("node", &[], Validity::Now);
        settings.ca = Some(authority.certificate());
        settings.cert = Some(node.certificate);
        settings.key = Some(node.key);
        settings.user = Some("bulkhead".to_owned());
        settings.password_file = Some(password);
    });
    std::fs::remove_dir_all(dir).unwrap();
}
