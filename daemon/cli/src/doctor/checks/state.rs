//! The state directories: whether ADD can record what it does, and what is recorded is whole.

use crate::doctor::finding::{Finding, Id, Severity};
use crate::doctor::node::{Lock, Node, Store};

const MIB: u64 = 1 << 20;
/// A journal and its checkpoint, written beside the old ones.
const BYTES_NEEDED: u64 = 16 * MIB;
const BYTES_FEW: u64 = 128 * MIB;
const INODES_NEEDED: u64 = 64;
const INODES_FEW: u64 = 1024;

pub(super) fn check(node: &Node) -> Vec<Finding> {
    let mut findings = Vec::new();
    for store in &node.stores {
        let all = [
            damage(store),
            lock(store),
            permissions(store),
            room(store),
            pools(store),
            dead(store),
        ];
        findings.extend(all.into_iter().flatten());
    }
    findings
}

fn damage(store: &Store) -> Vec<Finding> {
    if store.damaged.is_empty() && matches!(store.lock, Lock::Free | Lock::Held) {
        let seen = format!("what is recorded in {} is whole", store.dir.display());
        return vec![Finding::ok(Id::StateDamaged, seen)];
    }
    let findings = store.damaged.iter().map(|told| {
        Finding::problem(Id::StateDamaged, told.clone())
            .why("ADD and DEL of the network fail until it is mended: nothing that was recorded is dropped silently")
            .help("restore the directory from a backup")
            .help("or delete the network's containers, remove its directory below networks/, and start them again")
    });
    findings.collect()
}

fn lock(store: &Store) -> Vec<Finding> {
    let dir = store.dir.display();
    match (store.lock, store.managed) {
        (Lock::Unreadable, _) => vec![
            Finding::problem(
                Id::StatePermissions,
                format!("{dir}/lock cannot be opened"),
            )
            .why("no ADD can record anything")
            .help("run `bulkhead doctor` as root")
            .help(format!("or, if that is who you are: ls -lZ {dir}")),
        ],
        (Lock::Held, true) => vec![Finding::ok(
            Id::StateManaged,
            format!("a node daemon owns {dir}"),
        )],
        (Lock::Held, false) => vec![
            Finding::warn(Id::StateLocked, format!("somebody holds the lock of {dir} alone"))
                .why("ADD and DEL wait for it")
                .help(format!("see who: fuser -v {dir}/lock")),
        ],
        (Lock::None | Lock::Free, true) => vec![
            Finding::problem(
                Id::StateManaged,
                format!("{dir}/managed says that a node daemon owns the directory, and none holds its lock"),
            )
            .why("ADD without the daemon answers code 11, try again later")
            .help("systemctl start bulkheadd")
            .help(format!("or, if the node has no daemon any more: rm {dir}/managed")),
        ],
        (Lock::None | Lock::Free, false) => Vec::new(),
    }
}

fn permissions(store: &Store) -> Vec<Finding> {
    const OTHERS_WRITE: u32 = 0o022;
    let Some(owner) = store.owner else {
        return Vec::new();
    };
    let dir = store.dir.display();
    let seen = format!(
        "{dir} belongs to user {} and has mode {:o}",
        owner.uid, owner.mode
    );
    if owner.uid == 0 && owner.mode & OTHERS_WRITE == 0 {
        return vec![Finding::ok(Id::StatePermissions, seen)];
    }
    vec![
        Finding::warn(Id::StatePermissions, seen)
            .why("who can write there decides what root does to the node's links and rules")
            .help(format!("chown root {dir} && chmod 700 {dir}")),
    ]
}

fn room(store: &Store) -> Vec<Finding> {
    let Some(room) = store.room else {
        return Vec::new();
    };
    let dir = store.dir.display();
    let inodes = room.inodes.unwrap_or(u64::MAX);
    let counted = room
        .inodes
        .map_or(String::new(), |inodes| format!(" and {inodes} inodes"));
    let seen = format!("{} MiB{counted} are free for {dir}", room.bytes / MIB);
    let severity = if room.bytes < BYTES_NEEDED || inodes < INODES_NEEDED {
        Severity::Problem
    } else if room.bytes < BYTES_FEW || inodes < INODES_FEW {
        Severity::Warn
    } else {
        return vec![Finding::ok(Id::StateDiskFull, seen)];
    };
    let finding = match severity {
        Severity::Problem => Finding::problem(Id::StateDiskFull, seen),
        Severity::Warn | Severity::Ok => Finding::warn(Id::StateDiskFull, seen),
    };
    vec![
        finding
            .why(
                "an ADD that cannot record is refused; a DEL that cannot leaves its addresses held",
            )
            .help(format!("make room: df -h {dir}; df -i {dir}")),
    ]
}

fn pools(store: &Store) -> Vec<Finding> {
    let findings = store.full.iter().map(|(network, set)| {
        let cooling = match set.cooling {
            0 => String::new(),
            cooling => format!(", {cooling} cool down"),
        };
        let seen = format!("{} has no free address: {} are held{cooling}", set.ranges, set.held);
        Finding::problem(Id::PoolFull, seen)
            .of([network])
            .why("the next ADD is refused with code 100, or takes the address of an attachment of an earlier boot")
            .help(format!("bulkhead ipam gc {network} --dry-run"))
            .help("or add a range to \"ranges\" of the network's \"ipam\"")
    });
    findings.collect()
}

fn dead(store: &Store) -> Vec<Finding> {
    let findings = store.dead.iter().map(|(network, number)| {
        let seen = format!("{number} recorded attachments cannot be alive");
        Finding::warn(Id::DeadAttachments, seen)
            .of([network])
            .why("their containers ended without a DEL; their addresses and host ports are held")
            .help(format!("bulkhead ipam gc {network}"))
    });
    findings.collect()
}
