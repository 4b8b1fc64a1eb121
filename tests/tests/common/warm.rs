//! The part of a node daemon that serves calls, in the test's own process, on a node of its own: the
//! built plugins are its clients by the socket, as they are the daemon's.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use bulkhead_attach::{Host, PoolLeases, UnderWay};
use bulkhead_cni::exec::Delegates;
use bulkhead_cni::json::Value;
use bulkhead_cni::{Call, CniError, Environment};
use bulkhead_ipam::wire::{Answer, CallFrame, Decoder, Delegate, Frame, Kind, Spoken, receive};
use bulkhead_ipam::{Access, Managed, OpenError, StateDir};
use bulkhead_kernel::{Deletion, Kernel, Netns, NetnsError, Reaper, Wait};
use netns_fixtures::Ns;

const WORKERS: usize = 2;

/// A daemon in place of the plugins' own processes.
pub(crate) struct Warm {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared {
    socket: PathBuf,
    listener: UnixListener,
    state: Arc<StateDir>,
    pools: Option<Arc<dyn PoolLeases>>,
    under_way: UnderWay,
    reaper: Reaper,
    stopped: AtomicBool,
    served: AtomicUsize,
}

impl Warm {
    /// Takes `state` over and serves from threads on `node`.
    pub(crate) fn start(node: &Ns, state: &Path, pools: Option<Arc<dyn PoolLeases>>) -> Self {
        let socket = state.join("socket");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let managed = Managed {
            socket: socket.clone(),
            ..Managed::default()
        };
        managed.write(state).unwrap();
        let shared = Arc::new(Shared {
            socket,
            listener,
            state: Arc::new(StateDir::open(state, Access::Exclusive).unwrap()),
            pools,
            under_way: UnderWay::default(),
            reaper: Reaper::new(),
            stopped: AtomicBool::new(false),
            served: AtomicUsize::new(0),
        });
        let worker = |_| {
            let (node, shared) = (node.clone(), Arc::clone(&shared));
            thread::spawn(move || node.enter(|| shared.work()).unwrap())
        };
        Self {
            workers: (0..WORKERS).map(worker).collect(),
            shared,
        }
    }

    /// How many calls it has served.
    pub(crate) fn served(&self) -> usize {
        self.shared.served.load(Ordering::Relaxed)
    }

    /// The state directory, which nobody else may write.
    pub(crate) fn state(&self) -> &StateDir {
        &self.shared.state
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // Whoever waits for a caller is given one.
            while !worker.is_finished() && UnixStream::connect(&self.shared.socket).is_ok() {
                thread::yield_now();
            }
            let ended = worker.join();
            assert!(ended.is_ok() || thread::panicking(), "a worker panicked");
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut kernel = Kernel::new(Deletion::Blocking);
        while let Ok((stream, _)) = self.listener.accept() {
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            if let Some((frame, descriptors)) = read(&stream, Kind::Call) {
                self.serve(&stream, frame, descriptors, &mut kernel);
            }
        }
    }

    fn serve(
        &self,
        stream: &UnixStream,
        frame: Frame,
        descriptors: Vec<OwnedFd>,
        kernel: &mut Kernel,
    ) {
        let version = frame.version;
        let (call, which) = CallFrame::from_frame(frame).unwrap();
        let container = descriptors.into_iter().next().filter(|_| which.container);
        let wait = if container.is_some() {
            Wait::Gone
        } else {
            Wait::Doomed
        };
        kernel.set_deletion(Deletion::Reaper(self.reaper.clone(), wait));
        let environment = Environment::new(call.environment);
        let mut host = Here {
            shared: self,
            kernel,
            container,
            delegates: Shim {
                stream,
                version,
                environment: environment.clone(),
            },
        };
        let plugin = bulkhead_cni_bin::plugin(&call.plugin).unwrap();
        let output = plugin.answer(environment, call.stdin.as_slice(), &mut host);
        kernel.dismiss();
        self.served.fetch_add(1, Ordering::Relaxed);
        let answer = Answer {
            exit: output.exit,
            stdout: output.stdout,
            stderr: output.stderr,
        };
        // Who has hung up does not want it.
        let _ = say(
            stream,
            &answer.to_frame(version, Spoken::OURS, Kind::Answer),
        );
    }
}

struct Here<'a> {
    shared: &'a Shared,
    kernel: &'a mut Kernel,
    container: Option<OwnedFd>,
    delegates: Shim<'a>,
}

impl Host for Here<'_> {
    fn state(&self, path: &Path, _: Access) -> Result<Arc<StateDir>, OpenError> {
        assert_eq!(path, self.shared.state.path());
        Ok(Arc::clone(&self.shared.state))
    }

    fn refuse_own_netns(&self, _: &Call) -> Result<(), CniError> {
        Ok(())
    }

    fn container(&self, path: &Path) -> Result<Netns, NetnsError> {
        match &self.container {
            Some(fd) => Netns::from_fd(fd.try_clone().unwrap(), path),
            None => Err(NetnsError::Missing {
                path: path.to_owned(),
            }),
        }
    }

    fn kernel(&mut self) -> &mut Kernel {
        self.kernel
    }

    fn delegates(&mut self) -> &mut dyn Delegates {
        &mut self.delegates
    }

    fn under_way(&self) -> Option<UnderWay> {
        Some(self.shared.under_way.clone())
    }

    fn pools(&self) -> Option<Arc<dyn PoolLeases>> {
        self.shared.pools.clone()
    }

    fn overlays(&self) -> Option<Arc<dyn bulkhead_attach::Overlays>> {
        None
    }
}

/// The plugin that called: it runs IPAM plugins.
struct Shim<'a> {
    stream: &'a UnixStream,
    version: u16,
    environment: Environment,
}

impl Delegates for Shim<'_> {
    fn run(
        &mut self,
        plugin: &str,
        environment: &Environment,
        _: &[u8],
    ) -> Result<Vec<u8>, CniError> {
        let own = |variable| self.environment.variables().any(|own| own == variable);
        let others = environment.variables().filter(|variable| !own(*variable));
        let ask = Delegate {
            plugin: plugin.to_owned(),
            verb: environment
                .text("CNI_COMMAND")?
                .unwrap_or_default()
                .to_owned(),
            environment: others
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        };
        say(self.stream, &ask.to_frame(self.version, Spoken::OURS)).unwrap();
        let (frame, _) = read(self.stream, Kind::Delegated).unwrap();
        let answer = Answer::from_frame(frame, Kind::Delegated).unwrap();
        if answer.exit == 0 {
            return Ok(answer.stdout);
        }
        Err(CniError::from_json(&Value::parse(&answer.stdout).unwrap()).unwrap())
    }
}

fn say(mut stream: &UnixStream, frame: &Frame) -> std::io::Result<()> {
    stream.write_all(&frame.encode().unwrap())
}

/// The next frame and what came beside it; `None` if the caller has gone.
fn read(stream: &UnixStream, kind: Kind) -> Option<(Frame, Vec<OwnedFd>)> {
    let mut decoder = Decoder::new(Spoken::OURS);
    let (mut buffer, mut beside) = ([0; 8 << 10], Vec::new());
    loop {
        if let Some(frame) = decoder.frame().unwrap() {
            assert_eq!(frame.kind, kind);
            return Some((frame, beside));
        }
        let received = receive(stream, &mut buffer).ok()?;
        if received.length == 0 {
            return None;
        }
        beside.extend(received.descriptors);
        decoder.feed(&buffer[..received.length]);
    }
}

/// How many descriptors this process holds.
#[allow(dead_code, reason = "not every test counts them")]
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
