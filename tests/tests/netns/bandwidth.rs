//! Bandwidth: what a container receives and sends keeps to the rates it was given, and a shaped port
//! passes nothing that another would not.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use netns_fixtures::packet::{BROADCAST, Frame, Ipv4, MacOctets, Udp};
use netns_fixtures::{
    BridgeNetfilter, Capture, Captured, Ns, PacketSocket, Ping, Verb, skip_without,
};
use serde_json::{Value, json};

use crate::claims;
use crate::node::{Attachment, LIMIT, Node, WINDOW, with};

claims! {
    what_a_container_receives_keeps_to_its_rate,
    what_a_container_sends_keeps_to_its_rate,
    a_slow_container_is_still_reached,
    a_fast_container_is_not_held_back,
    a_runtime_s_limit_comes_before_the_configuration_s,
    a_shaped_port_passes_nothing_that_its_filter_drops,
    only_the_port_that_is_limited_is,
    what_shapes_goes_with_del,
    a_second_add_keeps_the_recorded_limits,
}

const MEGABIT: u64 = 1_000_000;
/// How far a measured rate may be from the one asked for.
const TOLERANCE: f64 = 0.15;
/// How often a container without limits and one that is fast are compared.
const ATTEMPTS: usize = 5;

fn limits(node: &Node, limits: &Value) -> Value {
    node.config_with(json!({"runtimeConfig": {"bandwidth": limits}}))
}

fn ingress(rate: u64) -> Value {
    json!({"ingressRate": rate, "ingressBurst": burst(rate)})
}

fn egress(rate: u64) -> Value {
    json!({"egressRate": rate, "egressBurst": burst(rate)})
}

/// Bits: 20 ms at the rate.
fn burst(rate: u64) -> u64 {
    rate / 50
}

/// What TCP brought.
struct Measured {
    /// Bits per second from the first `skip` bytes on.
    rate: f64,
    /// All of it, in bits.
    bits: f64,
    /// From before the first was sent until the last was read.
    took: Duration,
}

/// What TCP brings from `from` to `to`, an address of `holder`, in `time` from when the first `skip` bytes
/// are there: what a burst lets through at once says nothing.
fn measured(from: &Ns, holder: &Ns, to: IpAddr, skip: u64, time: Duration) -> Measured {
    let listener = holder
        .enter(|| TcpListener::bind(SocketAddr::new(to, 0)).unwrap())
        .unwrap();
    let address = listener.local_addr().unwrap();
    let begun = Instant::now();
    thread::scope(|scope| {
        let receiver = scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let mut buffer = vec![0; 1 << 18];
            let (mut total, mut first) = (0_u64, None);
            let mut last = begun;
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                total += read as u64;
                last = Instant::now();
                let (since, _) = *match &mut first {
                    None if total < skip => continue,
                    first => first.get_or_insert((last, total)),
                };
                if last - since > time {
                    break;
                }
            }
            // Nothing more is read, so that the sender ends.
            let _ = stream.shutdown(Shutdown::Both);
            let (since, before) = first.expect("more than a burst arrives");
            Measured {
                rate: bits(total - before) / (last - since).as_secs_f64(),
                bits: bits(total),
                took: last - begun,
            }
        });
        let mut stream = from.enter(|| TcpStream::connect(address).unwrap()).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        let data = vec![0x55; 1 << 16];
        while stream.write_all(&data).is_ok() {}
        drop(stream);
        receiver.join().unwrap()
    })
}

fn bits(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).unwrap()) * 8.0
}

/// What is sent from one to another, an address of whom.
struct Path<'a> {
    from: &'a Ns,
    holder: &'a Ns,
    to: IpAddr,
}

impl<'a> Path<'a> {
    fn of(from: &'a Attachment, holder: &'a Attachment, to: impl Into<IpAddr>) -> Self {
        Self {
            from: &from.container,
            holder: &holder.container,
            to: to.into(),
        }
    }

    fn measured(&self, skip: u64, time: Duration) -> Measured {
        measured(self.from, self.holder, self.to, skip, time)
    }
}

/// A path has the rate `asked`: never more, and no less where the machine carries twice as much on one that is
/// alike and `free` of limits.
#[track_caller]
fn assert_rate(path: &Path, free: &Path, asked: u64) {
    let wanted = f64::from(u32::try_from(asked).unwrap());
    // A slow link needs longer to show its rate above its burst and TCP's start.
    let time = Duration::from_millis(if asked <= MEGABIT { 2300 } else { 900 });
    let skip = burst(asked) / 8 + 20_000;
    let most_at_once = f64::from(u32::try_from(burst(asked)).unwrap());
    let (mut seen, until) = (Vec::new(), Instant::now() + LIMIT);
    while seen.is_empty() || Instant::now() < until {
        let measured = path.measured(skip, time);
        // A reader without time finds more than came in its own: all of it counts, from the beginning.
        let most = most_at_once + wanted * (1.0 + TOLERANCE) * measured.took.as_secs_f64();
        assert!(
            measured.bits <= most,
            "{:.0} bits in {:?}, {asked} bit/s asked for",
            measured.bits,
            measured.took
        );
        if measured.rate >= wanted * (1.0 - TOLERANCE) {
            return;
        }
        let carried = free.measured(1 << 20, Duration::from_millis(300)).rate;
        if measured.rate >= wanted.min(carried / 2.0) * (1.0 - TOLERANCE) {
            return;
        }
        seen.push((measured.rate, carried));
    }
    panic!("{seen:.0?} bit/s with the limit and without, {asked} asked for");
}

fn what_a_container_receives_keeps_to_its_rate(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Tbf);
    let node = Node::new(setting);
    let [peer, free] = ["peer", "free"].map(|name| node.attach(&node.config(), name));
    let free = Path::of(&peer, &free, free.v4());
    for rate in [MEGABIT, 100 * MEGABIT, 1000 * MEGABIT] {
        let shaped = node.attach(&limits(&node, &ingress(rate)), &format!("in{rate}"));
        assert_rate(&Path::of(&peer, &shaped, shaped.v4()), &free, rate);
        if rate == 100 * MEGABIT {
            assert_rate(&Path::of(&peer, &shaped, shaped.v6()), &free, rate);
        }
        node.detach(&shaped);
    }
}

fn what_a_container_sends_keeps_to_its_rate(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let [peer, free] = ["peer", "free"].map(|name| node.attach(&node.config(), name));
    let free = Path::of(&free, &peer, peer.v4());
    for rate in [MEGABIT, 100 * MEGABIT, 1000 * MEGABIT] {
        let shaped = node.attach(&limits(&node, &egress(rate)), &format!("out{rate}"));
        assert_rate(&Path::of(&shaped, &peer, peer.v4()), &free, rate);
        if rate == 100 * MEGABIT {
            assert_rate(&Path::of(&shaped, &peer, peer.v6()), &free, rate);
        }
        node.detach(&shaped);
    }
}

fn both(rate: u64, burst: u64) -> Value {
    json!({
        "ingressRate": rate, "ingressBurst": burst,
        "egressRate": rate, "egressBurst": burst,
    })
}

/// A burst of one bit would let no packet pass at all.
fn a_slow_container_is_still_reached(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let peer = node.attach(&node.config(), "peer");
    let slow = node.attach(&limits(&node, &both(64_000, 1)), "slow");
    for address in slow.addresses() {
        let ping = Ping::new(address).limit(LIMIT);
        assert!(ping.from(&peer.container).unwrap(), "{address}");
        let whole = Ping::new(address).unfragmented(1500).limit(LIMIT);
        assert!(whole.from(&peer.container).unwrap(), "{address}");
    }
}

/// At 10 Gbit/s a burst too small for the timers would cost most of the rate; what this machine can
/// carry without limits is the measure.
fn a_fast_container_is_not_held_back(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let peer = node.attach(&node.config(), "peer");
    let free = node.attach(&node.config(), "free");
    let fast = node.attach(
        &limits(&node, &both(10_000 * MEGABIT, u64::from(u32::MAX))),
        "fast",
    );
    let time = Duration::from_millis(500);
    let rate = |of: &Attachment| {
        let to = IpAddr::from(of.v4());
        measured(&peer.container, &of.container, to, 1 << 20, time).rate
    };
    let best = (0..ATTEMPTS)
        .map(|_| rate(&fast) / rate(&free).min(1e10))
        .fold(0.0, f64::max);
    assert!(best > 0.3, "{best:.2} of what passes without a limit");
}

fn a_runtime_s_limit_comes_before_the_configuration_s(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Tbf);
    let node = Node::new(setting);
    let configured = json!({"bandwidth": ingress(5 * MEGABIT)});
    let a = node.attach(&node.config_with(configured.clone()), "a");
    assert_eq!(root(&node.host, &a.port()), "tbf 5Mbit");
    let asked = json!({"runtimeConfig": {"bandwidth": ingress(7 * MEGABIT)}});
    let config = with(node.config_with(configured), asked);
    let b = node.attach(&config, "b");
    assert_eq!(root(&node.host, &b.port()), "tbf 7Mbit");
}

/// A link's root queueing discipline, as tc names it, and its rate.
fn root(ns: &Ns, link: &str) -> String {
    let text = ns.sh(&format!("tc qdisc show dev {link} root")).unwrap();
    let words: Vec<_> = text.split_whitespace().collect();
    let rate = words.iter().position(|word| *word == "rate");
    match rate {
        Some(at) => format!("{} {}", words[1], words[at + 1]),
        None => words.get(1).unwrap_or(&"none").to_string(),
    }
}

fn ifbs(ns: &Ns) -> Vec<String> {
    let links = ns.ip_json("link show type ifb").unwrap();
    let links = links.as_array().into_iter().flatten();
    let names = links.filter_map(|link| link["ifname"].as_str().map(str::to_owned));
    names.filter(|name| name.starts_with("bhi")).collect()
}

fn datagram(src: MacOctets, port: u16) -> Frame {
    let udp = Udp {
        src_port: 9,
        dst_port: port,
        data: Vec::new(),
    };
    let [from, to] = ["10.1.0.200", "10.1.0.255"].map(|text| text.parse().unwrap());
    Frame::new(src, BROADCAST, Ipv4::new(from, to, udp))
}

fn to_port(port: u16) -> impl Fn(&Captured) -> bool {
    move |frame| {
        let udp = frame.ok().and_then(Frame::udp);
        udp.is_some_and(|udp| udp.dst_port == port)
    }
}

fn a_shaped_port_passes_nothing_that_its_filter_drops(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let peer = node.attach(&node.config(), "peer");
    let limits = json!({"bandwidth": egress(100 * MEGABIT)});
    let config =
        node.config_with(json!({"guard": false, "macspoofchk": true, "runtimeConfig": limits}));
    let shaped = node.attach(&config, "shaped");
    let [ifb] = &ifbs(&node.host)[..] else {
        panic!("one ifb device");
    };
    let heard = Capture::start(&peer.container, "eth0").unwrap();
    let on_ifb = Capture::start(&node.host, ifb).unwrap();
    let sender = PacketSocket::open(&shaped.container, "eth0").unwrap();
    let mut forged = shaped.mac();
    forged[5] ^= 1;
    for _ in 0..20 {
        sender.send(&datagram(forged, 4001)).unwrap();
    }
    sender.send(&datagram(shaped.mac(), 4002)).unwrap();
    for capture in [heard, on_ifb] {
        capture
            .none_before("a forged frame", LIMIT, to_port(4001), to_port(4002))
            .unwrap();
        capture
            .none_within("a forged frame", WINDOW, to_port(4001))
            .unwrap();
    }
}

fn only_the_port_that_is_limited_is(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let [a, b] = node.attach_two(&node.config());
    let _slow = node.attach(&limits(&node, &both(MEGABIT, burst(MEGABIT))), "slow");
    let to = IpAddr::from(b.v4());
    let rate = measured(
        &a.container,
        &b.container,
        to,
        1 << 20,
        Duration::from_millis(300),
    )
    .rate;
    assert!(
        rate > 20e6,
        "{rate:.0} bit/s beside a container with 1 Mbit/s"
    );
}

fn what_shapes_goes_with_del(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Ifb);
    let node = Node::new(setting);
    let limited = limits(&node, &both(MEGABIT, burst(MEGABIT)));
    let [a, b] = node.attach_two(&limited);
    assert_eq!(ifbs(&node.host).len(), 2);
    node.detach(&a);
    assert_eq!(ifbs(&node.host).len(), 1);
    // With nothing but the three names.
    let call = node.call(Verb::Del, &node.config(), &b.container, "eth0");
    let call = call.without("CNI_NETNS");
    node.silent(&call);
    node.silent(&call);
    node.assert_nothing_left();
}

fn a_second_add_keeps_the_recorded_limits(setting: BridgeNetfilter) {
    skip_without!(netns_fixtures::Feature::Tbf);
    let node = Node::new(setting);
    let a = node.attach(&limits(&node, &ingress(MEGABIT)), "a");
    let again = node.attach_to(&limits(&node, &ingress(9 * MEGABIT)), &a.container, "eth0");
    assert_eq!(again.result, a.result);
    assert_eq!(root(&node.host, &a.port()), "tbf 1Mbit");
    let checked = node.check(&a);
    assert!(checked.succeeded(), "{checked:#?}");
}
