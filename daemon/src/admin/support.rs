//! What helps somebody who cannot look at the node. Nothing in it is secret: of the configuration the
//! names of files, of calls nothing.

use std::fs;

use bulkhead_ipam::wire::admin::{Reply, SupportPiece};

use super::{Admin, Replies, status};

/// Longest text of one piece, in bytes: far below a frame's bound, however it is escaped.
const LONGEST: usize = 1 << 20;

/// Files of the process that say what it is and may (proc(5)).
const OF_PROCESS: [&str; 3] = ["status", "limits", "mountinfo"];

impl Admin {
    pub(super) fn support(&self, replies: &Replies) -> Reply {
        let mut pieces = self.files().into_iter().flat_map(|(file, text)| {
            let parts = parts(&text).into_iter();
            let piece = move |text| SupportPiece {
                file: file.clone(),
                text,
            };
            parts.map(piece).collect::<Vec<_>>()
        });
        let mut last = pieces.next().expect("there is a status");
        for piece in pieces {
            replies.say(Reply::Piece(std::mem::replace(&mut last, piece)));
        }
        Reply::Piece(last)
    }

    fn files(&self) -> Vec<(String, String)> {
        let node = &self.node;
        crate::gauges::refresh(node);
        let status = serde_json::to_string_pretty(&status::status(node));
        let settings = node.config().settings().into_iter();
        let settings = settings.map(|(key, value, _)| format!("{key} = {value}\n"));
        let mut files = vec![
            ("status.json".to_owned(), status.unwrap_or_default()),
            ("configuration.txt".to_owned(), settings.collect()),
            ("metrics.txt".to_owned(), node.metrics.text()),
            ("networks.txt".to_owned(), self.networks()),
        ];
        for name in OF_PROCESS {
            let text = fs::read_to_string(format!("/proc/self/{name}"));
            files.push((format!("process/{name}.txt"), text.unwrap_or_default()));
        }
        files
    }

    /// What is recorded, network by network.
    fn networks(&self) -> String {
        let state = &self.node.state;
        let line = |network| {
            let told = match state.network(&network).read() {
                Ok(None) => "nothing recorded".to_owned(),
                Ok(Some(known)) => format!("{} attachments", known.live_count()),
                Err(error) => crate::told::chain(&error),
            };
            format!("{network}: {told}\n")
        };
        match state.networks() {
            Ok(networks) => networks.into_iter().map(line).collect(),
            Err(error) => crate::told::chain(&error),
        }
    }
}

/// A text in parts that fit into a reply each; one empty part for none.
fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let part = parts.last_mut().expect("there is one");
        if !part.is_empty() && part.len() + line.len() > LONGEST {
            parts.push(line.to_owned());
        } else {
            part.push_str(line);
        }
    }
    parts
}
