//! `bulkhead explain`: every kernel object held for an attachment, where each value comes from, and what
//! ADD and DEL would do.

use bulkhead_attach::{Explanation, Gateway, Origin, explain_guard, guard_of};
use bulkhead_cni::Verb;
use bulkhead_ipam::{Access, Ipam, StateDir};
use bulkhead_plan::Plan;
use clap::Args;
use serde::Serialize;

use crate::attachments::{Asked, Found, Looked, Subject, explain};
use crate::failure::{Failure, Outcome};
use crate::output::{Format, labels, table};
use crate::time;

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    /// CONTAINER, NETWORK/CONTAINER, NETWORK/CONTAINER/IFNAME (the container's id may be cut short), a
    /// port, an ifb device or an address.
    #[arg(value_name = "ATTACHMENT")]
    subject: Subject,

    #[command(flatten)]
    looked: Looked,
}

/// One attachment, told whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    attachment: String,
    values: Vec<Row>,
    /// What would mend it; empty if all is as it should be.
    drift: Vec<String>,
    /// What ADD would do if nothing of it stood.
    add: Vec<String>,
    /// What DEL would do now.
    del: Vec<String>,
    /// The plugins that come after ours, which may have changed more.
    later: Vec<String>,
    /// What could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    object: &'static str,
    value: String,
    source: String,
}

pub(crate) fn run(args: &ExplainArgs, format: Format) -> Outcome {
    let (found, mut failures) = match args.looked.select_with_guards(Some(&args.subject)) {
        Ok(selected) => selected,
        Err(failure) => return Err(failure).into(),
    };
    let mut all = Vec::new();
    for found in &found {
        match tell(&args.looked, found) {
            Ok(told) => all.push(told),
            Err(failure) => failures.push(failure),
        }
    }
    let stdout = format.render(&all, |_| {
        let texts: Vec<_> = all.iter().map(text).collect();
        texts.join("\n")
    });
    Outcome::partial(stdout, &failures)
}

fn tell(looked: &Looked, found: &Found) -> Result<Told, Failure> {
    if !found.has_kernel_objects() {
        return Ok(addresses_only(found));
    }
    if let Some(reason) = found.death {
        return Err(Failure::Dead {
            name: found.name(),
            reason,
        });
    }
    if found.is_guard() {
        return guard(found);
    }
    let asked = looked.call(found, Verb::Add)?;
    let state = StateDir::open(&found.state_dir, Access::Look)?;
    Ok(told(found, &asked, explain(found, &asked, &state)?))
}

fn told(found: &Found, asked: &Asked, explanation: Explanation) -> Told {
    let mut values: Vec<_> = explanation.origins.into_iter().map(Row::from).collect();
    let at = 3.min(values.len());
    values.splice(at..at, [recorded(found)].into_iter().chain(identity(found)));
    Told {
        attachment: found.name(),
        values,
        drift: lines(&explanation.inspection.remainder),
        add: lines(&explanation.rehearsal.add),
        del: lines(&explanation.rehearsal.del),
        later: asked.later.clone(),
        note: asked.blind_spot(),
    }
}

/// What another main plugin has the say on, but for its addresses.
fn addresses_only(found: &Found) -> Told {
    let record = &found.record;
    let mut values = vec![Row {
        object: "attachment",
        value: record.key.to_string(),
        source: "network, CNI_CONTAINERID and CNI_IFNAME".to_owned(),
    }];
    values.extend(record.netns.as_ref().map(|netns| Row {
        object: "namespace",
        value: netns.path.display().to_string(),
        source: "CNI_NETNS of ADD, recorded".to_owned(),
    }));
    values.push(recorded(found));
    values.extend(identity(found));
    values.extend(record.addresses.iter().map(|leased| Row {
        object: "address",
        value: leased.address.to_string(),
        source: format!(
            "lease {} of network {}",
            record.sequence, record.key.network
        ),
    }));
    Told {
        attachment: found.name(),
        values,
        drift: Vec::new(),
        add: Vec::new(),
        del: Vec::new(),
        later: Vec::new(),
        note: Some(
            "another main plugin made the interface: only the addresses are ours".to_owned(),
        ),
    }
}

/// A port that another main plugin made: its guard is ours.
fn guard(found: &Found) -> Result<Told, Failure> {
    let record = &found.record;
    let plans = explain_guard(&found.state_dir, record)
        .map_err(|source| Failure::attachment(found.key(), source))?;
    let row = |object, value: String, source: &str| Row {
        object,
        value,
        source: source.to_owned(),
    };
    let names = &record.names;
    let Told { mut values, .. } = addresses_only(found);
    values.retain(|row| row.object != "address");
    values.extend(names.port.map(|port| {
        row(
            "port",
            port.to_string(),
            "the interface's other end, made by the plugin before",
        )
    }));
    let macs = [
        ("port MAC", names.port_mac),
        ("interface MAC", names.interface_mac),
    ];
    values.extend(macs.into_iter().filter_map(|(object, mac)| {
        Some(row(object, mac?.to_string(), "prevResult of ADD, recorded"))
    }));
    let addresses = record.addresses.iter();
    values.extend(addresses.map(|leased| {
        row(
            "address",
            leased.address.to_string(),
            "prevResult of ADD, recorded",
        )
    }));
    values.extend(Gateway::of_names(names).into_iter().flat_map(|gateway| {
        let told = move |address| format!("{address} at {} on {}", gateway.mac, gateway.link);
        gateway.addresses.into_iter().map(told).map(|told| {
            row(
                "gateway",
                told,
                "the link that has what prevResult names, recorded: permanent neighbours on both sides",
            )
        })
    }));
    let settings = guard_of(names).to_string();
    values.push(row("filter", settings, "guard and multicast, recorded"));
    Ok(Told {
        attachment: found.name(),
        values,
        drift: lines(&plans.drift),
        add: lines(&plans.add),
        del: lines(&plans.del),
        later: Vec::new(),
        note: Some("another main plugin made the port: only its guard is ours".to_owned()),
    })
}

fn recorded(found: &Found) -> Row {
    let record = &found.record;
    let ipam = match &record.ipam {
        Ipam::Own => "addresses of our own".to_owned(),
        Ipam::Delegated { plugin } => format!("addresses of {plugin}"),
        Ipam::None => "no addresses".to_owned(),
    };
    Row {
        object: "record",
        value: time::seconds(record.created_at_unix_ms),
        source: format!("state directory {}, {ipam}", found.state_dir.display()),
    }
}

/// What policies know it by.
fn identity(found: &Found) -> impl Iterator<Item = Row> {
    let record = &found.record;
    let row = |object, value, source: &str| Row {
        object,
        value,
        source: source.to_owned(),
    };
    let pod = record.pod.as_ref().map(|pod| {
        let value = format!("{}/{}", pod.namespace, pod.name);
        row("endpoint", value, "CNI_ARGS of ADD, recorded")
    });
    let labels = (!record.labels.is_empty()).then(|| {
        let source = "args.cni.labels of ADD, recorded";
        row("labels", labels(&record.labels), source)
    });
    pod.into_iter().chain(labels)
}

impl From<Origin> for Row {
    fn from(origin: Origin) -> Self {
        Self {
            object: origin.object,
            value: origin.value,
            source: origin.source,
        }
    }
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.ops().iter().map(ToString::to_string).collect()
}

fn text(told: &Told) -> String {
    let rows: Vec<_> = told
        .values
        .iter()
        .map(|row| vec![row.object.to_owned(), row.value.clone(), row.source.clone()])
        .collect();
    let mut lines = Vec::new();
    if !told.later.is_empty() {
        lines.push(format!("\n# chained after: {}", told.later.join(", ")));
    }
    lines.extend(told.note.as_ref().map(|note| format!("\n# {note}")));
    let drift = if told.drift.is_empty() {
        "The kernel holds all of it."
    } else {
        "The kernel does not hold all of it; this mends it:"
    };
    let parts = [
        (drift, &told.drift),
        ("ADD, if nothing of it stood:", &told.add),
        ("DEL, now:", &told.del),
    ];
    // Another plugin has the say on what has no plan.
    for (head, plan) in parts.into_iter().filter(|_| !told.add.is_empty()) {
        lines.push(format!("\n# {head}"));
        lines.extend(plan.iter().cloned());
    }
    let lines = lines.into_iter().map(|line| line + "\n");
    table(&["OBJECT", "VALUE", "FROM"], &rows) + &lines.collect::<String>()
}
