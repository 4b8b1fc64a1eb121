//! The protocol, from bytes to calls.

mod bytes;
mod skew;
mod stream;

use super::{CallFrame, Descriptors, Frame, Spoken};

/// A release before this one, and this one.
const OLD: Spoken = Spoken {
    oldest: 1,
    newest: 1,
};

fn call() -> CallFrame {
    CallFrame {
        plugin: "bulkhead-bridge".to_owned(),
        verb: "ADD".to_owned(),
        environment: vec![
            ("CNI_COMMAND".into(), "ADD".into()),
            ("CNI_ARGS".into(), "A=1;B=2".into()),
            ("=odd".into(), "".into()),
        ],
        stdin: br#"{"name":"blue"}"#.to_vec(),
        deadline_ms: Some(2500),
    }
}

fn call_frame() -> Frame {
    let both = Descriptors {
        container: true,
        own: true,
    };
    call().to_frame(2, Spoken::OURS, both)
}
