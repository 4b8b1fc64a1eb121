//! `bulkhead ipam reserve|unreserve|reservations`: addresses kept for somebody, or for nobody.

use bulkhead_ipam::wire::admin::{Filter, PodName, Request, Reservation, ReservedFor};
use clap::Args;

use crate::daemon::Reach;
use crate::done::Done;
use crate::failure::Failure;
use crate::output::{Format, table};
use crate::pool::{RESERVATIONS, label, reservation};

#[derive(Args, Debug)]
pub(crate) struct ReserveArgs {
    /// The reservation's name.
    name: String,

    /// An address, a prefix, or a span FIRST-LAST. Of a pool of both families one says both.
    #[arg(required = true, value_name = "SPAN")]
    spans: Vec<String>,

    /// The pool; by default the one that has the addresses.
    #[arg(long)]
    pool: Option<String>,

    /// For this pod, NAMESPACE/NAME, which gets one of them; for nobody by default.
    #[arg(long, value_name = "POD", value_parser = pod_name)]
    for_pod: Option<PodName>,

    /// For pods with this label, KEY=VALUE; may be repeated, and then all have to match.
    #[arg(long = "for-label", value_name = "LABEL", value_parser = label, conflicts_with = "for_pod")]
    for_labels: Vec<(String, String)>,

    /// Why, for people.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct UnreserveArgs {
    /// The reservation's name.
    name: String,

    #[command(flatten)]
    reach: Reach,
}

#[derive(Args, Debug)]
pub(crate) struct ReservationsArgs {
    /// Only those of this pool.
    #[arg(long)]
    pool: Option<String>,

    #[command(flatten)]
    reach: Reach,
}

impl ReserveArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let request = Request::Reserve {
            reservation: self.reservation(),
        };
        let notes = self.reach.daemon()?.done(&request)?;
        Ok(Done::new(
            format!("reservation {}", self.name),
            "made",
            notes,
        ))
    }

    fn reservation(&self) -> Reservation {
        let labels = || self.for_labels.iter().cloned().collect();
        let pod = self.for_pod.clone().map(ReservedFor::Pod);
        let of_labels = (!self.for_labels.is_empty()).then(|| ReservedFor::Labels(labels()));
        Reservation {
            name: self.name.clone(),
            pool: self.pool.clone(),
            spans: self.spans.clone(),
            kept_for: pod.or(of_labels),
            reason: self.reason.clone(),
        }
    }
}

impl UnreserveArgs {
    pub(super) fn run(&self) -> Result<Done, Failure> {
        let request = Request::Unreserve {
            name: self.name.clone(),
        };
        let notes = self.reach.daemon()?.done(&request)?;
        Ok(Done::new(
            format!("reservation {}", self.name),
            "ended",
            notes,
        ))
    }
}

pub(super) fn list(args: &ReservationsArgs, format: Format) -> Result<String, Failure> {
    let filter = Filter {
        pool: args.pool.clone(),
        ..Filter::default()
    };
    let rows = args.reach.daemon()?.reservations(&filter)?;
    Ok(format.render(&rows, |_| {
        let rows: Vec<_> = rows.iter().map(reservation).collect();
        table(&RESERVATIONS, &rows)
    }))
}

/// `NAMESPACE/NAME`.
pub(super) fn pod_name(text: &str) -> Result<PodName, String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(PodName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err("not a pod: write NAMESPACE/NAME".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Reserve {
        #[command(flatten)]
        args: ReserveArgs,
    }

    fn parsed(line: &str) -> Result<serde_json::Value, clap::Error> {
        let words = ["reserve"].into_iter().chain(line.split_whitespace());
        let Reserve { args } = Reserve::try_parse_from(words)?;
        Ok(serde_json::to_value(args.reservation()).unwrap())
    }

    #[test]
    fn a_reservation_is_what_its_options_say() {
        assert_eq!(
            parsed("db 10.4.1.0/30 10.4.2.1-10.4.2.3 --for-pod web/db-0 --pool p --reason why")
                .unwrap(),
            json!({
                "name": "db", "pool": "p", "spans": ["10.4.1.0/30", "10.4.2.1-10.4.2.3"],
                "for": {"pod": {"namespace": "web", "name": "db-0"}}, "reason": "why",
            })
        );
        assert_eq!(
            parsed("db 10.4.1.1 --for-label app=db --for-label tier=").unwrap(),
            json!({"name": "db", "spans": ["10.4.1.1"], "for": {"labels": {"app": "db", "tier": ""}}})
        );
        assert_eq!(
            parsed("printer 10.4.1.1").unwrap(),
            json!({"name": "printer", "spans": ["10.4.1.1"]})
        );
    }

    #[test]
    fn what_is_no_reservation_is_a_wrong_command_line() {
        for line in [
            "",
            "db",
            "db 10.4.1.1 --for-pod db-0",
            "db 10.4.1.1 --for-pod /db-0",
            "db 10.4.1.1 --for-pod a/b/c",
            "db 10.4.1.1 --for-label app",
            "db 10.4.1.1 --for-pod a/b --for-label a=b",
        ] {
            assert_eq!(parsed(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
