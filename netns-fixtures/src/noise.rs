//! What changes by itself in a namespace and is therefore no part of a snapshot.

use serde_json::Value;

/// Attributes of `ip -d -j` and friends that are positions, timers or counters.
const NOISY_KEYS: &[&str] = &[
    "ifindex",
    "link_index",
    "link_netnsid",
    "ifi",
    "age",
    "used",
    "updated",
    "expires",
    "refcnt",
    "probes",
    "stats",
    "stats64",
    "cache",
    "cacheinfo",
    "parent_idx",
    "topology_change",
    "topology_change_detected",
    "config_pending",
];

/// Sysctls that are counters, secrets or triggers, by the end of their path.
const NOISY_SYSCTLS: &[&str] = &[
    "net/netfilter/nf_conntrack_count",
    "net/ipv4/tcp_fastopen_key",
    "net/ipv4/route/flush",
    "net/ipv6/route/flush",
    "/stable_secret",
];

/// Removes the noise from an object, at every depth.
pub(crate) fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| {
                let noisy = NOISY_KEYS.contains(&key.as_str())
                    || key.ends_with("_timer")
                    || key.ends_with("life_time")
                    || (key == "handle" && is_of_kernel(value));
                !noisy
            });
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Whether the kernel chose this handle of a qdisc: one of `8001:` and more (`qdisc_alloc_handle`,
/// `net/sched/sch_api.c`), another one each time.
fn is_of_kernel(handle: &Value) -> bool {
    let major = handle.as_str().and_then(|text| text.strip_suffix(':'));
    let number = major.and_then(|major| u16::from_str_radix(major, 16).ok());
    number.is_some_and(|number| number > 0x8000)
}

/// Whether the sysctl at this path below `/proc/sys` moves by itself.
pub(crate) fn is_noisy_sysctl(key: &str) -> bool {
    NOISY_SYSCTLS.iter().any(|noisy| key.ends_with(noisy))
}

/// Whether a neighbour entry was learned (and will age) rather than set.
pub(crate) fn is_learned_neighbour(entry: &Value) -> bool {
    let set = |word: &str| {
        entry["state"]
            .as_array()
            .is_some_and(|states| states.iter().any(|s| s == word))
    };
    let flagged = |flag: &str| entry.get(flag).is_some();
    !(set("PERMANENT") || flagged("proxy") || flagged("extern_learn") || flagged("managed"))
        // The kernel's own entries for multicast and loopback destinations come and go.
        || set("NOARP")
}

/// Whether an FDB entry was learned (and will age) rather than set.
pub(crate) fn is_learned_fdb(entry: &Value) -> bool {
    let state = entry["state"].as_str().unwrap_or_default();
    let flags = entry["flags"].as_array();
    let flagged = |word: &str| flags.is_some_and(|flags| flags.iter().any(|f| f == word));
    !(state == "permanent" || state == "static" || flagged("self") || flagged("extern_learn"))
}
