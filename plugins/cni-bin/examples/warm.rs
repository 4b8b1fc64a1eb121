//! What a call costs in a process that stays: ADD and DEL of one container after another, with no plugin
//! and no socket before them. The arguments are how many, how many attachments stay beside
//! them, and how many threads serve; several only add.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bulkhead_attach::{Host, Plugin, PoolLeases, Successors, UnderWay};
use bulkhead_cni::exec::{Children, Delegates};
use bulkhead_cni::{Call, CniError, Environment, Verb};
use bulkhead_ipam::{Access, OpenError, StateDir};
use bulkhead_kernel::{Deletion, Kernel, Netns, NetnsError, Reaper, Wait};
use bulkhead_plan::{Ns, Op, Plan};
use netns_fixtures::{Container, Sandbox};

/// The kernel's deletions are over by then.
const SETTLE: Duration = Duration::from_millis(25);

struct Here {
    kernel: Kernel,
    state: Arc<StateDir>,
    container: Option<OwnedFd>,
    children: Children,
    under_way: UnderWay,
}

impl Host for Here {
    fn state(&self, _: &Path, _: Access) -> Result<Arc<StateDir>, OpenError> {
        Ok(Arc::clone(&self.state))
    }

    fn refuse_own_netns(&self, _: &Call) -> Result<(), CniError> {
        Ok(())
    }

    fn container(&self, path: &Path) -> Result<Netns, NetnsError> {
        let sent = self.container.as_ref().expect("every call has one");
        Netns::from_fd(sent.try_clone().expect("a descriptor is free"), path)
    }

    fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    fn delegates(&mut self) -> &mut dyn Delegates {
        &mut self.children
    }

    fn under_way(&self) -> Option<UnderWay> {
        Some(self.under_way.clone())
    }

    fn pools(&self) -> Option<Arc<dyn PoolLeases>> {
        None
    }

    fn overlays(&self) -> Option<Arc<dyn bulkhead_attach::Overlays>> {
        None
    }
}

fn config(state: &Path) -> String {
    format!(
        r#"{{"cniVersion":"1.0.0","name":"net","type":"bulkhead-bridge","bridge":"br0",
        "isDefaultGateway":true,"stateDir":"{}","ipam":{{"type":"bulkhead-ipam",
        "cooldownSecs":0,"ranges":[[{{"subnet":"10.77.0.0/16"}}],[{{"subnet":"fd77::/64"}}]]}}}}"#,
        state.display()
    )
}

fn call(
    host: &mut Here,
    plugin: &Plugin,
    verb: &str,
    container: &Container,
    state: &Path,
) -> Duration {
    let stdin = config(state);
    let netns = container.path().display().to_string();
    let start = Instant::now();
    let environment = Environment::new([
        ("CNI_COMMAND", verb),
        ("CNI_CONTAINERID", container.name()),
        ("CNI_NETNS", &netns),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
        ),
    ]);
    host.container = Some(std::fs::File::open(&netns).expect("it is mounted").into());
    let output = plugin.answer(environment, stdin.as_bytes(), host);
    host.kernel.dismiss();
    let took = start.elapsed();
    assert_eq!(
        output.exit,
        0,
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    took
}

/// What ADD does to the kernel, from nothing.
fn rehearsed(state: &StateDir, container: &Container, path: &Path) -> Plan {
    let environment = Environment::new([
        ("CNI_CONTAINERID", container.name()),
        ("CNI_NETNS", &container.path().display().to_string()),
        ("CNI_IFNAME", "eth0"),
    ]);
    let call = Call::read(Verb::Add, environment, config(path).into()).expect("as of ADD");
    let network = state
        .network(&"net".parse().expect("a name"))
        .read()
        .expect("it is there");
    let id = call.attachment().expect("it names one").id();
    let record = network.and_then(|known| known.find(&id).expect("it is whole"));
    let record = record.expect("it is attached");
    bulkhead_attach::explain::<bulkhead_bridge::Config>(&call, state, &record, Successors::None)
        .expect("it is attached")
        .rehearsal
        .add
}

fn bare(kernel: &mut Kernel, add: &Plan, container: &Container) -> Duration {
    let start = Instant::now();
    let netns = Netns::open(container.path()).expect("it is mounted");
    kernel.admit(Ns::Container(container.path().display().to_string()), netns);
    let without_bridge = add
        .ops()
        .iter()
        .filter(|op| !matches!(op, Op::AddBridge { .. }));
    kernel
        .apply(&Plan::new(without_bridge.cloned().collect()))
        .expect("nothing is there");
    kernel.dismiss();
    start.elapsed()
}

/// One worker's part of the containers: how long ADD, DEL and the messages of ADD alone took.
fn work(mut host: Here, containers: &[Container], path: &Path, what: What) -> [Vec<Duration>; 3] {
    let plugin = bulkhead_cni_bin::plugin("bulkhead-bridge").expect("it is one of ours");
    let mut timed = [Vec::new(), Vec::new(), Vec::new()];
    for container in containers {
        timed[0].push(call(&mut host, &plugin, "ADD", container, path));
        if what == What::AddsAlone {
            continue;
        }
        let add = rehearsed(&host.state, container, path);
        timed[1].push(call(&mut host, &plugin, "DEL", container, path));
        std::thread::sleep(SETTLE);
        timed[2].push(bare(&mut host.kernel, &add, container));
        call(&mut host, &plugin, "DEL", container, path);
        std::thread::sleep(SETTLE);
    }
    timed
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    Everything,
    AddsAlone,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |or| args.next().map_or(or, |arg| arg.parse().expect("a number"));
    let (rounds, beside, workers) = (number(100), number(1), number(1));
    let sandbox = Sandbox::new();
    let node = sandbox.host("node").expect("root");
    let path = std::env::temp_dir().join(format!("{}warm", sandbox.stem()));
    std::fs::create_dir(&path).expect("it is fresh");
    let state = Arc::new(StateDir::open(&path, Access::Exclusive).expect("it is fresh"));
    let made = |name: &str, count: usize| -> Vec<Container> {
        let names = (0..count).map(|nth| format!("{name}{nth}"));
        let container = |name: String| sandbox.container(&name).expect("root");
        names.map(container).collect()
    };
    let (containers, others) = (made("c", rounds), made("o", beside));
    let (reaper, under_way) = (Reaper::new(), UnderWay::default());
    let host = || Here {
        kernel: Kernel::new(Deletion::Reaper(reaper.clone(), Wait::Gone)),
        state: Arc::clone(&state),
        container: None,
        children: Children,
        under_way: under_way.clone(),
    };
    let inside = node.enter(|| work(host(), &others, &path, What::AddsAlone));
    inside.expect("the node is there");
    let what = if workers > 1 {
        What::AddsAlone
    } else {
        What::Everything
    };
    let start = Instant::now();
    let mut timed: [Vec<Duration>; 3] = Default::default();
    std::thread::scope(|scope| {
        let parts = containers.chunks(rounds.div_ceil(workers));
        let (node, host, path) = (&node, &host, path.as_path());
        let worker = |part| scope.spawn(move || node.enter(|| work(host(), part, path, what)));
        for part in parts.map(worker).collect::<Vec<_>>() {
            let part = part.join().expect("no panic").expect("the node is there");
            for (all, some) in timed.iter_mut().zip(part) {
                all.extend(some);
            }
        }
    });
    println!("{rounds} in {:?}", start.elapsed());
    for (verb, mut times) in ["ADD", "DEL", "its messages alone"].iter().zip(timed) {
        times.sort_unstable();
        let at = |percent: usize| {
            let nth = times.len().saturating_sub(1) * percent / 100;
            times.get(nth).map_or(0, Duration::as_micros)
        };
        let [least, half, most, all] = [10, 50, 90, 99].map(at);
        println!("{verb} us: p10 {least} p50 {half} p90 {most} p99 {all}");
    }
    drop(state);
    std::fs::remove_dir_all(&path).expect("it is ours");
}
