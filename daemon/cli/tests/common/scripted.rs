//! A daemon that says what a test wants, to be asked by commands: for what no real one can be brought to
//! say at will.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bulkhead_ipam::wire::admin::Request;
use bulkhead_ipam::wire::{Decoder, Kind, Spoken, from_json, json, last};
use serde_json::Value;

/// What is answered to a request: replies, the last of which is marked so.
type Answers = dyn Fn(&Request) -> Vec<Value> + Send + Sync;

/// The daemon; it goes with the test's process.
pub(crate) struct Scripted {
    dir: PathBuf,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    pub(crate) fn start(answers: impl Fn(&Request) -> Vec<Value> + Send + Sync + 'static) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        // Paths of sockets are short (unix(7)).
        let name = format!("bulkhead-scripted-{}-{nth}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let listener = UnixListener::bind(dir.join("sock")).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answers) = (asked.clone(), Arc::new(answers));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (seen, answers) = (seen.clone(), answers.clone());
                thread::spawn(move || serve(stream.unwrap(), &*answers, &seen));
            }
        });
        Self { dir, asked }
    }

    pub(crate) fn socket(&self) -> String {
        self.dir.join("sock").display().to_string()
    }

    /// Every request so far.
    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn serve(mut stream: UnixStream, answers: &Answers, asked: &Mutex<Vec<Request>>) {
    let mut decoder = Decoder::new(Spoken::OURS);
    let mut buffer = [0; 8192];
    let frame = loop {
        if let Some(frame) = decoder.frame().unwrap() {
            break frame;
        }
        match stream.read(&mut buffer).unwrap() {
            0 => return,
            read => decoder.feed(&buffer[..read]),
        }
    };
    let request: Request = from_json(frame, Kind::AdminRequest).unwrap();
    asked.lock().unwrap().push(request.clone());
    let replies = answers(&request);
    let many = replies.len();
    for (nth, reply) in replies.iter().enumerate() {
        let frame = json(Spoken::OURS.newest, Spoken::OURS, Kind::AdminReply, reply);
        let is_last = nth + 1 == many && reply["more"] != true;
        let frame = if is_last { last(frame) } else { frame };
        // Who has seen enough goes away.
        if stream.write_all(&frame.encode().unwrap()).is_err() {
            return;
        }
    }
}
