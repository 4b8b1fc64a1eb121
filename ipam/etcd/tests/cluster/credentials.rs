//! TLS and authentication: what is wrong is said with what to do, and is right again without a restart
//! once the files are.

use std::fs;
use std::path::PathBuf;

use bulkhead_ipam::cluster::ClusterStore;
use bulkhead_ipam::cluster::{KeyRange, KvError, Revision};
use bulkhead_ipam_etcd::{EtcdSettings, EtcdStore};
use netns_fixtures::{
    Authority, CertificateFiles, Etcd, EtcdLogin, EtcdOptions, Ns, Sandbox, Validity, wait_for,
};

use super::{PATIENCE, client, list, put, settings, wait_for_answer};

/// One member with TLS, client certificates and a user who may use `/t/`.
struct Guarded {
    etcd: Etcd,
    ns: Ns,
    dir: PathBuf,
    _sandbox: Sandbox,
}

impl Guarded {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let ns = sandbox.ns("etcd").unwrap();
        let dir = std::env::temp_dir().join(format!("{}files", sandbox.stem()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("password"), "right\n").unwrap();
        let options = EtcdOptions {
            tls: Some(Authority::new(&dir.join("authority"))),
            login: Some(EtcdLogin {
                user: "bulkhead".to_owned(),
                password: "right".to_owned(),
                prefix: "/t/".to_owned(),
            }),
            ..EtcdOptions::default()
        };
        let etcd = Etcd::on_loopback(&sandbox, &ns, 1, options).unwrap();
        Self {
            etcd,
            ns,
            dir,
            _sandbox: sandbox,
        }
    }

    fn authority(&self) -> &Authority {
        self.etcd.authority().unwrap()
    }

    fn certificate(&self, validity: Validity) -> CertificateFiles {
        self.authority().issue("node", &[], validity)
    }

    fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    /// Settings that are right.
    fn settings(&self) -> EtcdSettings {
        let files = self.certificate(Validity::Now);
        EtcdSettings {
            ca: Some(self.authority().certificate()),
            cert: Some(files.certificate),
            key: Some(files.key),
            user: Some("bulkhead".to_owned()),
            password_file: Some(self.password()),
            ..settings(self.etcd.urls())
        }
    }

    fn client(&self, change: impl FnOnce(&mut EtcdSettings)) -> EtcdStore {
        let mut settings = self.settings();
        change(&mut settings);
        client(&self.ns, settings)
    }

    /// Why nothing can be done, of which all is refused.
    fn refusal(&self, store: &EtcdStore) -> String {
        let why = |error: KvError| match error {
            KvError::Refused { why, .. } => why,
            other => panic!("{other}"),
        };
        let told = why(list(store).unwrap_err());
        assert_eq!(why(put(store, "row", b"x").unwrap_err()), told);
        told.replace(&self.etcd.urls()[0], "URL")
            .replace(&self.dir.display().to_string(), "DIR")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

#[test]
fn an_expired_certificate_of_the_member_is_told_and_a_renewed_one_is_taken() {
    let guarded = Guarded::new();
    guarded.etcd.issue(0, Validity::Expired);
    let store = guarded.client(|_| ());
    let why = guarded.refusal(&store);
    assert!(
        why.starts_with("URL: the member's certificate has expired (certificate expired"),
        "{why}"
    );
    assert!(
        why.ends_with("): renew it, and see that this node's clock is right"),
        "{why}"
    );
    guarded.etcd.issue(0, Validity::Now);
    wait_for_answer(&store);
    put(&store, "row", b"x").unwrap();
}

#[test]
fn a_member_of_an_unknown_authority_is_told() {
    let guarded = Guarded::new();
    let other = Authority::new(&guarded.dir.join("other"));
    let store = guarded.client(|settings| settings.ca = Some(other.certificate()));
    assert_eq!(
        guarded.refusal(&store),
        "URL: the member's certificate is not from an authority in ca \
         (UnknownIssuer): add that authority to it"
    );
    let namesake = Authority::new(&guarded.dir.join("anew/authority"));
    let store = guarded.client(|settings| settings.ca = Some(namesake.certificate()));
    assert_eq!(
        guarded.refusal(&store),
        "URL: the member's certificate is not from an authority in ca \
         (BadSignature): add that authority to it"
    );
}

#[test]
fn a_certificate_of_ours_that_the_member_refuses_is_told_and_a_renewed_one_is_taken() {
    let guarded = Guarded::new();
    let refused = "URL: the member refuses our certificate (BadCertificate): see that there is one in \
                   cert, valid now and from an authority that etcd trusts (--trusted-ca)";
    let other = Authority::new(&guarded.dir.join("other"));
    let strange = other.issue("node", &[], Validity::Now);
    let store = guarded.client(|settings| {
        settings.cert = Some(strange.certificate);
        settings.key = Some(strange.key);
    });
    assert_eq!(guarded.refusal(&store), refused);
    let store = guarded.client(|_| ());
    wait_for_answer(&store);
    let none = guarded.client(|settings| {
        settings.cert = None;
        settings.key = None;
    });
    let why = guarded.refusal(&none);
    let asked = "URL: the member asks for a client certificate: set cert and key";
    assert!(why == asked || why == refused, "{why}");
    let settings = guarded.settings();
    guarded.certificate(Validity::Expired);
    let expired = client(&guarded.ns, settings);
    assert_eq!(guarded.refusal(&expired), refused);
    guarded.certificate(Validity::Now);
    wait_for_answer(&expired);
}

#[test]
fn a_wrong_password_is_told_and_a_changed_one_is_taken() {
    let guarded = Guarded::new();
    fs::write(guarded.password(), "wrong\n").unwrap();
    let store = guarded.client(|_| ());
    assert_eq!(
        guarded.refusal(&store),
        "authentication failed, invalid user ID or password: correct user or the password in password_file"
    );
    fs::write(guarded.password(), "right\n").unwrap();
    list(&store).unwrap();
    // Changing it voids the tokens that were given for the old one.
    let passwd = ["user", "passwd", "--interactive=false", "bulkhead"];
    let changed = guarded.etcd.etcdctl_with_input(&passwd, b"changed\n");
    changed.unwrap();
    fs::write(guarded.password(), "changed\n").unwrap();
    wait_for_answer(&store);
    put(&store, "row", b"x").unwrap();
}

#[test]
fn files_that_are_missing_or_of_another_kind_are_named() {
    let guarded = Guarded::new();
    let store = guarded.client(|settings| settings.ca = Some(guarded.dir.join("none.pem")));
    assert_eq!(
        guarded.refusal(&store),
        "URL: cannot read DIR/none.pem, which must be there whenever etcd is connected to: \
         No such file or directory (os error 2)"
    );
    let store = guarded.client(|settings| settings.ca = Some(guarded.password()));
    let why = guarded.refusal(&store);
    assert_eq!(
        why,
        "URL: DIR/password holds no certificate in PEM: put one there"
    );
    let store = guarded.client(|settings| settings.key = Some(guarded.password()));
    let why = guarded.refusal(&store);
    assert_eq!(
        why,
        "URL: DIR/password holds no private key in PEM: put one there"
    );
    fs::write(guarded.password(), "\nright").unwrap();
    let why = guarded.refusal(&guarded.client(|_| ()));
    assert_eq!(
        why,
        "URL: DIR/password has no password in its first line: put it there"
    );
}

#[test]
fn a_user_without_the_permission_is_told_which_it_needs() {
    let guarded = Guarded::new();
    let store = guarded.client(|settings| settings.prefix = "/elsewhere".to_owned());
    assert_eq!(
        guarded.refusal(&store),
        "permission denied: grant the user, which is the certificate's common name if none is set, a role \
         with readwrite permission on the prefix, as docs/store.md says"
    );
    let mut watch = store.watch(&KeyRange::prefix("/t/"), Revision(1)).unwrap();
    match watch.next(PATIENCE) {
        Err(KvError::Refused { why, .. }) => assert!(why.contains("permission denied"), "{why}"),
        other => panic!("{other:?}"),
    }
    // Without a user, etcd takes the certificate's name for one.
    let nobody = guarded.client(|settings| {
        settings.user = None;
        settings.password_file = None;
    });
    assert!(guarded.refusal(&nobody).contains("permission denied"));
}

#[test]
fn nobody_where_authentication_is_on_is_told() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("etcd").unwrap();
    let login = EtcdLogin {
        user: "bulkhead".to_owned(),
        password: "right".to_owned(),
        prefix: "/t/".to_owned(),
    };
    let options = EtcdOptions {
        login: Some(login),
        ..EtcdOptions::default()
    };
    let etcd = Etcd::on_loopback(&sandbox, &ns, 1, options).unwrap();
    let why = list(&client(&ns, settings(etcd.urls())))
        .unwrap_err()
        .to_string();
    assert!(
        why.ends_with(
            "user name is empty: etcd has authentication enabled; set user and password_file"
        ),
        "{why}"
    );
}

#[test]
fn a_user_where_authentication_is_off_is_told() {
    let sandbox = Sandbox::new();
    let ns = sandbox.ns("etcd").unwrap();
    let etcd = Etcd::on_loopback(&sandbox, &ns, 1, EtcdOptions::default()).unwrap();
    let password = std::env::temp_dir().join(format!("{}password", sandbox.stem()));
    fs::write(&password, "x").unwrap();
    let store = client(
        &ns,
        EtcdSettings {
            user: Some("bulkhead".to_owned()),
            password_file: Some(password.clone()),
            ..settings(etcd.urls())
        },
    );
    let why = list(&store).unwrap_err().to_string();
    fs::remove_file(password).unwrap();
    assert!(
        why.ends_with(
            "authentication is not enabled: leave out user and password_file, or enable it with `etcdctl auth enable`"
        ),
        "{why}"
    );
}

#[test]
fn a_token_that_is_lost_is_asked_for_again() {
    let mut guarded = Guarded::new();
    let store = guarded.client(|_| ());
    put(&store, "row", b"1").unwrap();
    let begin = list(&store).unwrap().revision;
    let mut watch = store.watch(&KeyRange::prefix("/t/"), begin).unwrap();
    // Tokens are in a member's memory; a restart forgets them.
    guarded.etcd.restart(0).unwrap();
    wait_for_answer(&store);
    let revision = put(&store, "row", b"2").unwrap().revision;
    let events = wait_for("the event", PATIENCE, || {
        Some(watch.next(PATIENCE).unwrap()).filter(|events| !events.is_empty())
    });
    assert_eq!(events[0].revision, revision);
}
