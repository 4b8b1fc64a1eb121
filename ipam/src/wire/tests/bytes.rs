//! Bytes to frames and messages, and what is none.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::super::{
    Answer, BODY_LONGEST, CallFrame, Decoder, Delegate, Descriptors, Frame, FrameError,
    HEADER_LENGTH, Kind, MessageError, Refusal, RefusalCode, Section, Spoken, from_json, json,
};
use super::{OLD, call, call_frame};

/// xorshift64*: what a test needs of chance, the same every time.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }
}

fn decoded(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    let mut decoder = Decoder::new(Spoken::OURS);
    decoder.feed(bytes);
    decoder.frame()
}

fn refusal() -> Refusal {
    Refusal {
        code: RefusalCode::Busy,
        text: "64 callers at once".to_owned(),
        spoken: Spoken::OURS,
    }
}

#[test]
fn the_bytes_of_a_frame_are_these() {
    let frame = Frame::new(2, Spoken::OURS, Kind::Answer, vec![Section::new(1, [7])]);
    let bytes = b"bhd\n\x02\0\x01\0\x02\0\0\0\x09\0\0\0\x01\0\0\0\x01\0\0\0\x07";
    assert_eq!(frame.encode().unwrap(), bytes);
    assert_eq!(decoded(bytes), Ok(Some(frame)));
}

#[test]
fn messages_come_back_as_they_went() {
    let (read, which) = CallFrame::from_frame(call_frame()).unwrap();
    assert_eq!(read, call());
    assert!(which.container && which.own);

    let raw = OsString::from_vec(vec![0xff, 0xfe]);
    let call = CallFrame {
        environment: vec![("X".into(), raw)],
        stdin: vec![0, 1, 2],
        ..CallFrame::default()
    };
    let frame = call.to_frame(2, Spoken::OURS, Descriptors::default());
    assert_eq!(CallFrame::from_frame(frame).unwrap().0, call);

    let answer = Answer {
        exit: 1,
        stdout: b"{}\n".to_vec(),
        stderr: vec![0xff],
    };
    let frame = answer.to_frame(2, Spoken::OURS, Kind::Delegated);
    assert_eq!(Answer::from_frame(frame, Kind::Delegated).unwrap(), answer);

    let delegate = Delegate {
        plugin: "host-local".to_owned(),
        verb: "DEL".to_owned(),
        environment: vec![("CNI_IFNAME".into(), "eth1".into())],
    };
    let frame = delegate.to_frame(1, Spoken::OURS);
    assert_eq!(Delegate::from_frame(frame).unwrap(), delegate);

    let frame = refusal().to_frame(Spoken::OURS);
    assert_eq!(Refusal::from_frame(frame).unwrap(), refusal());

    let frame = json(2, Spoken::OURS, Kind::AdminRequest, &[1, 2]);
    assert_eq!(
        from_json::<Vec<u8>>(frame, Kind::AdminRequest).unwrap(),
        [1, 2]
    );
}

#[test]
fn every_reason_has_its_number() {
    for number in 1..=8_u16 {
        let mut frame = refusal().to_frame(Spoken::OURS);
        frame.sections[0].bytes = number.to_le_bytes().to_vec();
        let code = Refusal::from_frame(frame).unwrap().code;
        assert_eq!(code.number(), number);
        assert_eq!(code == RefusalCode::Other(8), number == 8);
    }
}

#[test]
fn frames_come_out_of_bytes_in_any_pieces() {
    let frames = [call_frame(), refusal().to_frame(Spoken::OURS), call_frame()];
    let bytes: Vec<u8> = frames.iter().flat_map(|f| f.encode().unwrap()).collect();
    for piece in [1, 3, 16, 100, bytes.len()] {
        let mut decoder = Decoder::new(Spoken::OURS);
        let mut read = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.feed(piece);
            while let Some(frame) = decoder.frame().unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read, frames);
        assert!(!decoder.is_inside_frame());
    }
}

#[test]
fn a_header_is_refused_before_its_body_is_read() {
    let header = |at: usize, bytes: &[u8]| {
        let mut header = call_frame().encode().unwrap()[..HEADER_LENGTH].to_vec();
        header[at..at + bytes.len()].copy_from_slice(bytes);
        decoded(&header).unwrap_err()
    };
    assert_eq!(header(0, b"GET "), FrameError::Magic(*b"GET "));
    assert_eq!(header(8, &[9, 0]), FrameError::Kind(9));
    assert_eq!(header(10, &[1, 0]), FrameError::Reserved(1));
    let versions = FrameError::Versions {
        version: 2,
        oldest: 3,
    };
    assert_eq!(header(6, &[3, 0]), versions);
    let version = FrameError::Version {
        version: 3,
        spoken: Spoken::OURS,
    };
    assert_eq!(header(4, &[3, 0]), version);
    let long = 100_000_000_u32;
    assert_eq!(header(12, &long.to_le_bytes()), FrameError::TooLong(long));
}

#[test]
fn a_refusal_of_any_version_is_read() {
    let mut frame = refusal().to_frame(Spoken::OURS);
    frame.version = 9;
    assert_eq!(decoded(&frame.encode().unwrap()), Ok(Some(frame)));
    let to_old = refusal().to_frame(OLD);
    assert_eq!(to_old.version, 1);
}

#[test]
fn a_broken_stream_stays_broken() {
    let mut decoder = Decoder::new(Spoken::OURS);
    decoder.feed(b"GET / HTTP/1.1\r\n");
    let error = decoder.frame().unwrap_err();
    decoder.feed(&call_frame().encode().unwrap());
    assert_eq!(decoder.frame(), Err(error));
}

#[test]
fn sections_that_nobody_knows_are_passed_over_unless_they_are_critical() {
    let mut frame = call_frame();
    frame.sections.push(Section::new(99, "later"));
    assert_eq!(CallFrame::from_frame(frame.clone()).unwrap().0, call());
    frame.sections.last_mut().unwrap().critical = true;
    let unknown = MessageError::Unknown {
        kind: Kind::Call,
        tag: 99,
    };
    assert_eq!(CallFrame::from_frame(frame), Err(unknown));
}

#[test]
fn a_message_that_lacks_a_section_or_has_a_malformed_one_is_refused() {
    let without = |at: usize| {
        let mut frame = call_frame();
        frame.sections.remove(at);
        CallFrame::from_frame(frame)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(without(0), "the call frame lacks its plugin");
    assert_eq!(without(4), "the call frame lacks its descriptors");
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = call_frame();
        frame.sections[at].bytes = bytes.to_vec();
        CallFrame::from_frame(frame)
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(with(1, b"\xff").starts_with("the call frame's verb is malformed: "));
    assert_eq!(
        with(2, b"NAME\0"),
        "the call frame's environment is malformed: \"NAME\" is no NAME=value"
    );
    assert_eq!(
        with(2, b"A=b"),
        "the call frame's environment is malformed: it does not end with a NUL"
    );
    assert_eq!(
        with(5, b"1"),
        "the call frame's deadline is malformed: 1 bytes in place of 8"
    );
}

#[test]
fn a_message_too_large_for_a_frame_is_not_sent() {
    let call = CallFrame {
        stdin: vec![0; BODY_LONGEST as usize],
        ..call()
    };
    let frame = call.to_frame(2, Spoken::OURS, Descriptors::default());
    assert!(matches!(frame.encode(), Err(FrameError::TooLong(_))));
    let sections = vec![Section::new(1, []); 65];
    let frame = Frame::new(2, Spoken::OURS, Kind::Call, sections);
    assert_eq!(frame.encode(), Err(FrameError::TooMany));
}

/// Reads bytes as a daemon and a client would, in pieces, and lets every message be read out.
fn survive(bytes: &[u8], chance: &mut Chance) -> usize {
    let mut decoder = Decoder::new(Spoken::OURS);
    let mut frames = 0;
    for piece in bytes.chunks(1 + chance.below(64)) {
        decoder.feed(piece);
        while let Ok(Some(frame)) = decoder.frame() {
            frames += 1;
            let again = frame.encode().unwrap();
            assert_eq!(decoded(&again), Ok(Some(frame.clone())));
            let _ = CallFrame::from_frame(frame.clone());
            let _ = Answer::from_frame(frame.clone(), Kind::Answer);
            let _ = Delegate::from_frame(frame.clone());
            let _ = Refusal::from_frame(frame.clone());
            let _ = from_json::<serde_json::Value>(frame, Kind::AdminRequest);
        }
    }
    frames
}

#[test]
fn no_bytes_make_the_reader_panic() {
    let seeds = [
        call_frame(),
        refusal().to_frame(Spoken::OURS),
        json(2, Spoken::OURS, Kind::AdminRequest, &[1, 2]),
        Answer::default().to_frame(2, Spoken::OURS, Kind::Answer),
    ];
    let seeds = seeds.map(|frame| frame.encode().unwrap());
    let mut chance = Chance(4);
    let mut frames = 0;
    for round in 0..50_000 {
        let mut bytes = seeds[chance.below(seeds.len())].clone();
        match round % 4 {
            0 => bytes.truncate(chance.below(bytes.len())),
            1 => bytes = (0..chance.below(200)).map(|_| chance.byte()).collect(),
            2 => bytes.extend_from_slice(&seeds[chance.below(seeds.len())]),
            _ => {}
        }
        for _ in 0..chance.below(4) {
            if !bytes.is_empty() {
                let at = chance.below(bytes.len());
                bytes[at] = chance.byte();
            }
        }
        frames += survive(&bytes, &mut chance);
    }
    assert!(frames > 10_000, "only {frames} were frames at all");
}
