//! The fuzzing entry, driven without a fuzzer: seeded inputs and the committed corpus.

use super::seeded::{self, Seeded, runs};
use codec::ws::fuzzing::{fuzz, model};
use codec::ws::{FrameRules, Side, mask};

#[test]
fn seeded_inputs() {
    let (mut items, mut errors) = (0, 0);
    let runs = runs();
    for seed in 0..runs {
        let mut random = Seeded(seed);
        let input = input(&mut random);
        let outcome = std::panic::catch_unwind(|| fuzz(&input));
        assert!(outcome.is_ok(), "seed {seed}: {input:x?}");
        let seen = meaning(&input);
        items += seen.0 as u64;
        errors += u64::from(seen.1);
    }
    // The inputs reach beyond the first header: else they would prove little.
    assert!(items > runs / 2, "{items} items");
    let rarely = runs / 10;
    assert!((rarely..runs - rarely).contains(&errors), "{errors} errors");
}

#[test]
fn committed_inputs_hold() {
    for input in seeded::corpus("ws") {
        let outcome = std::panic::catch_unwind(|| fuzz(&input));
        assert!(outcome.is_ok(), "{input:x?}");
    }
}

/// The number of items in an input's stream, and whether it ends in an error.
fn meaning(input: &[u8]) -> (usize, bool) {
    let side = if input[0] & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let rules = FrameRules {
        message_bytes: 70_000,
        fragments: 100,
    };
    let seen = model(side, &rules, &input[2 + usize::from(input[1])..]);
    (seen.items.len(), seen.error.is_some())
}

/// A plan and a stream of mostly valid frames, a few of its bytes spoilt in every second input, all of them in some.
fn input(random: &mut Seeded) -> Vec<u8> {
    let choice = random.byte();
    let cuts = random.below(6);
    let mut out = vec![choice, u8::try_from(cuts).expect("few")];
    for _ in 0..cuts {
        out.push(random.byte() >> random.below(8));
    }
    let start = out.len();
    let mut in_message = false;
    for _ in 0..1 + random.below(6) {
        in_message = push_frame(&mut out, random, choice & 1 == 0, in_message);
    }
    if random.below(2) == 0 {
        for _ in 0..1 + random.below(3) {
            let place = start + random.below(out.len() - start);
            out[place] ^= 1 << random.below(8);
        }
    }
    if random.below(4) == 0 {
        out.truncate(start + random.below(out.len() - start));
    }
    if random.below(16) == 0 {
        out[start..]
            .iter_mut()
            .for_each(|byte| *byte = random.byte());
    }
    out
}

/// Appends a frame that may come here; says whether a message is under way behind it.
fn push_frame(out: &mut Vec<u8>, random: &mut Seeded, masked: bool, in_message: bool) -> bool {
    let control = random.below(4) == 0;
    let fin = control || random.below(2) == 0;
    let opcode = match (control, in_message) {
        (true, _) => 8 + random.below(3),
        (false, true) => 0,
        (false, false) => 1 + random.below(2),
    };
    let payload = payload(random, opcode == 8, control);
    let opcode = u8::try_from(opcode).expect("four bits");
    out.push(if fin { 0x80 } else { 0 } | opcode);
    let mask_bit = if masked { 0x80 } else { 0 };
    match u8::try_from(payload.len()) {
        Ok(short) if short < 126 => out.push(mask_bit | short),
        Ok(_) | Err(_) => {
            out.push(mask_bit | 126);
            out.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        }
    }
    let key = if masked {
        [random.byte(), random.byte(), 0, random.byte()]
    } else {
        [0; 4]
    };
    if masked {
        out.extend(key);
    }
    let start = out.len();
    out.extend(payload);
    mask(&mut out[start..], key, 0);
    if control { in_message } else { !fin }
}

fn payload(random: &mut Seeded, close: bool, control: bool) -> Vec<u8> {
    if close {
        let code = [1000_u16, 1001, 1005, 3000][random.below(4)].to_be_bytes();
        return [&code[..], "au revoir \u{E0}".as_bytes()].concat();
    }
    let length = random.below(if control { 126 } else { 400 }) >> random.below(6);
    let text = "\u{FC}a\u{20AC}\u{1F600}".as_bytes();
    let shift = random.below(3) * random.below(3);
    text.iter()
        .cycle()
        .skip(shift)
        .take(length)
        .copied()
        .collect()
}
