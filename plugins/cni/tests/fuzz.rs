//! Mutations of what real runtimes send: whatever comes in, one answer goes out and nothing panics.
//! The generator is seeded, so a failure names a case that anyone can repeat.

#[path = "common/recorded.rs"]
mod recorded;

use bulkhead_cni::json::Value;
use bulkhead_cni::{Answer, Args, Call, CniError, CniResult, CniVersion, Verb, answer};

const CASES: u64 = 20_000;

/// xorshift64* (Vigna 2016): good enough to reach everywhere, and no dependency.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Damages a text byte by byte.
fn damage_bytes(random: &mut Random, bytes: &mut Vec<u8>) {
    const TOKENS: [&str; 16] = [
        "null",
        "true",
        "-1",
        "1e999",
        "18446744073709551616",
        "\"\"",
        "{}",
        "[]",
        "\\u0000",
        "\\ud800",
        "\u{212a}",
        "::/0",
        "0.0.0.0/33",
        ",",
        "{\"",
        "\u{0}",
    ];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] = random.next().to_le_bytes()[3],
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..(at + random.below(8)).min(bytes.len()))),
            3 => drop(bytes.splice(at..at, random.pick(&TOKENS).bytes())),
            _ => {
                let from = random.below(bytes.len() + 1);
                let slice = bytes[from..(from + random.below(64)).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, slice));
            }
        }
    }
}

/// Replaces, drops, doubles or renames one value anywhere in a document that stays JSON.
fn damage_value(random: &mut Random, value: &mut Value) {
    let strange = [
        Value::Null,
        Value::from(true),
        Value::from(u64::MAX),
        Value::from(""),
        Value::from("10.0.0.1/24"),
        Value::from("ü".repeat(300)),
        Value::EMPTY,
        Value::Array(vec![Value::Null, Value::EMPTY]),
    ];
    let deeper = random.below(4) != 0;
    match value {
        Value::Object(members) if deeper && !members.is_empty() => {
            let at = random.below(members.len());
            match random.below(6) {
                0 => drop(members.remove(at)),
                1 => members.push((members[at].0.to_uppercase(), random.pick(&strange).clone())),
                _ => damage_value(random, &mut members[at].1),
            }
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = random.below(items.len());
            damage_value(random, &mut items[at]);
        }
        other => *other = random.pick(&strange).clone(),
    }
}

/// Reads everything a plugin could read.
fn plugin(call: &Call) -> Result<Answer, CniError> {
    let _ = (call.attachment(), call.args(), call.arg("MAC"));
    let _ = (
        call.config.runtime_config(),
        call.config.args_cni(),
        call.config.ipam_object(),
    );
    for (_, field) in call.config.root().members() {
        let _ = (
            field.bool(),
            field.u32(),
            field.str(),
            field.object(),
            field.items(),
        );
    }
    Ok(call
        .config
        .prev_result()?
        .map_or(Answer::Silent, Answer::Result))
}

#[test]
fn whatever_stdin_holds_one_answer_comes_out() {
    let recorded = recorded::recorded();
    let mut random = Random(0x5eed_0001);
    let (mut served, mut refused) = (0, 0);
    for case in 0..CASES {
        let call = random.pick(&recorded);
        let stdin = if case % 2 == 0 {
            let mut value = call.stdin.clone();
            for _ in 0..=random.below(3) {
                damage_value(&mut random, &mut value);
            }
            value.to_string().into_bytes()
        } else {
            let mut bytes = call.stdin.to_string().into_bytes();
            damage_bytes(&mut random, &mut bytes);
            bytes
        };
        let verb = *random.pick(&[Verb::Add, Verb::Del, Verb::Check, Verb::Gc, Verb::Status]);
        let environment = call.environment.clone().with("CNI_COMMAND", verb.as_str());
        let output = answer("p", "a", environment, &stdin[..], plugin);
        let (failed, stdout) = (output.exit != 0, output.stdout);
        let answer = Value::parse(&stdout).ok();
        assert_eq!(answer.is_some(), !stdout.is_empty(), "case {case}");
        let is_error = answer.as_ref().and_then(CniError::from_json).is_some();
        assert_eq!(
            failed,
            is_error,
            "case {case}: {}",
            String::from_utf8_lossy(&stdout)
        );
        if failed { refused += 1 } else { served += 1 }
    }
    assert!(
        served > CASES / 20 && refused > CASES / 20,
        "{served} served, {refused} refused"
    );
}

/// What is read is written and read again without loss, however strange the document was.
#[test]
fn whatever_prev_result_is_read_round_trips() {
    let mut results = Vec::new();
    for call in recorded::recorded() {
        let prev_result = call.stdin.get("prevResult").cloned();
        let answer = Some(call.stdout).filter(|answer| answer.get("cniVersion").is_some());
        let found = [prev_result, answer].into_iter().flatten();
        results.extend(found.map(|value| (call.file.clone(), value)));
    }
    let mut random = Random(0x5eed_0002);
    let mut read = 0;
    for case in 0..CASES {
        let (file, mut value) = random.pick(&results).clone();
        for _ in 0..random.below(4) {
            damage_value(&mut random, &mut value);
        }
        let version = *random.pick(&CniVersion::ALL);
        let Ok(result) = CniResult::parse("prevResult", &value, version) else {
            continue;
        };
        read += 1;
        for version in CniVersion::ALL {
            let Ok(written) = result.to_json(version) else {
                continue;
            };
            let again = CniResult::parse("prevResult", &written, version).unwrap();
            assert_eq!(
                again.to_json(version).as_ref(),
                Ok(&written),
                "case {case} of {}: {value}",
                file.display()
            );
        }
        let newest = result.to_json(CniVersion::NEWEST).unwrap();
        let again = CniResult::parse("prevResult", &newest, CniVersion::NEWEST).unwrap();
        assert_eq!(again, result, "case {case} of {}: {value}", file.display());
    }
    assert!(read > CASES / 10, "{read}");
}

#[test]
fn whatever_cni_args_holds_is_read_or_refused() {
    let mut random = Random(0x5eed_0003);
    for _ in 0..CASES {
        let mut bytes = b"IgnoreUnknown=1;K8S_POD_NAME=p;MAC=02:00:00:00:00:01".to_vec();
        damage_bytes(&mut random, &mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(args) = Args::parse(&text) {
            let lenient = Args::lenient(&text);
            assert_eq!(args, lenient, "{text}");
            let _ = args.expect_only(&["MAC"]);
        }
    }
}
