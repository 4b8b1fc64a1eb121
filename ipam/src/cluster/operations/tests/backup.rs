use super::*;
use crate::cluster::schema::{MetaRow, MetaState, Place};

fn written(backup: &Backup) -> String {
    let mut bytes = Vec::new();
    backup.write(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn refusal(text: &str) -> String {
    Backup::read(&mut text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_backup_is_read_as_it_was_written() {
    let cluster = Cluster::new();
    cluster.put_raw("leases/odd", b"\xff\x00");
    let backup = on(&cluster.store, &cluster.schema).backup().unwrap();
    let text = written(&backup);
    assert_eq!(Backup::read(&mut text.as_bytes()).unwrap(), backup);
    assert_eq!(backup.head().rows, 12);
    assert_eq!(backup.head().cluster, "6d1f8c52");
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with(
            r#"{"bulkhead_backup":1,"schema":1,"cluster":"6d1f8c52","revision":13,"rows":12,"sha256":""#
        ),
        "{}",
        lines[0]
    );
    assert!(
        lines.contains(&r#"{"key":"/bulkhead/v1/leases/odd","hex":"ff00"}"#),
        "{text}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with(
            r#"{"key":"/bulkhead/v1/blocks/default/0000000000000040","value":"{\"v\":1,"#
        )),
        "{text}"
    );
}

#[test]
fn a_backup_does_not_have_the_stores_prefix() {
    let cluster = Cluster {
        schema: Schema::new("/site-1").unwrap(),
        ..Cluster::new()
    };
    let meta = MetaRow {
        cluster: "c".to_owned(),
        ..MetaRow::default()
    };
    cluster.put(&Place::Meta, &meta);
    let backup = on(&cluster.store, &cluster.schema).backup().unwrap();
    assert_eq!(backup.rows()[0].key, "/bulkhead/v1/meta");
    assert_eq!(backup.rows().len(), 1);
}

#[test]
fn what_is_no_whole_backup_is_refused_by_line() {
    let cluster = Cluster::new();
    let text = written(&on(&cluster.store, &cluster.schema).backup().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    let without = |nth: usize| {
        let mut lines = lines.clone();
        lines.remove(nth);
        lines.join("\n") + "\n"
    };
    assert!(refusal("").starts_with("line 1 says of no backup: EOF"));
    assert!(refusal("{}\n").contains("missing field `bulkhead_backup`"));
    assert!(
        refusal(&without(3)).starts_with("the backup is cut off or was changed: it says 11 rows"),
        "{}",
        refusal(&without(3))
    );
    let later = text.replacen(r#""schema":1"#, r#""schema":2"#, 1);
    assert_eq!(
        refusal(&later),
        "the backup has form 1 and schema 2, this release reads 1 and 1; use the release that wrote it"
    );
    let changed = text.replace("team-a", "team-b");
    assert!(refusal(&changed).starts_with("the backup is cut off or was changed"));
    let cut = &text[..text.len() - 5];
    assert!(
        refusal(cut).starts_with("line 12 is no row: EOF"),
        "{}",
        refusal(cut)
    );
    let foreign = text.replacen("/bulkhead/v1/blocks", "/elsewhere/blocks", 1);
    assert_eq!(
        refusal(&foreign),
        "line 2 is no row: \"/elsewhere/blocks/default/0000000000000040\" is no key below /bulkhead/v1/; the file is damaged, use another backup"
    );
    let twice = format!("{text}{}\n", lines[1]);
    assert_eq!(
        refusal(&twice),
        "the backup has /bulkhead/v1/blocks/default/0000000000000040 twice; use another one"
    );
    let odd = text.replacen(r#""value":"#, r#""hex":"#, 1);
    assert!(refusal(&odd).contains("line 2 is no row: hex is not hexadecimal"));
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let cluster = Cluster::new();
    let text = written(&on(&cluster.store, &cluster.schema).backup().unwrap());
    for end in 0..text.len() {
        assert!(Backup::read(&mut &text.as_bytes()[..end]).is_err() || end == text.len() - 1);
    }
    for at in (0..text.len()).step_by(7) {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 0x41;
        drop(Backup::read(&mut bytes.as_slice()));
    }
}

#[test]
fn a_store_that_is_of_no_cluster_or_not_complete_is_not_backed_up() {
    let cluster = Cluster::new();
    cluster.delete(&Place::Meta);
    let backup = || on(&cluster.store, &cluster.schema).backup().unwrap_err();
    assert_eq!(
        backup().to_string(),
        "there is nothing to keep: no node has registered, so the store is of no cluster yet"
    );
    let filling = MetaRow {
        state: MetaState::Filling,
        from: "backup 12".to_owned(),
        ..MetaRow::default()
    };
    cluster.put(&Place::Meta, &filling);
    assert_eq!(
        backup().to_string(),
        "the rows are not complete: the store was being filled from backup 12; finish that first, or take the backup of that"
    );
}
