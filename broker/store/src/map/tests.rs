use super::*;
use crate::{commit::Change, disk::Call};
use std::collections::BTreeMap;
use std::sync::mpsc;

/// A power failure during a commit may leave any part of what was not synced, in any order. The state that is found
/// must be the one before that commit or the one after it. Everything that was there when a commit was confirmed must
/// be found.
#[test]
fn a_power_cut_at_any_moment_leaves_a_whole_state() {
    // Uses memory if possible, because the power cut is simulated and each image is opened.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.into()
    } else {
        std::env::temp_dir()
    };
    let dir = parent.join(format!("store-power-{}", std::process::id()));
    let cut = dir.join("cut");
    fs::create_dir_all(&cut).unwrap();
    let store = Store::open(&dir).unwrap();
    let disk = Arc::clone(&store.disk);
    let (log, calls) = crossbeam_channel::unbounded();
    let (tell, told) = mpsc::channel();
    let on_done = move |done: Done<()>| {
        let _ = tell.send(done.result.is_ok());
    };
    let writer = store.start(on_done, || {}).unwrap();
    let mut random = fastrand::Rng::with_seed(2);
    let mut expected = Rows::new();
    let mut commit = |expected: &mut Rows| {
        let (key, value) = (
            format!("{}", random.u8(..40)),
            vec![random.u8(..); random.usize(..9000)],
        );
        expected.insert(key.clone(), value.clone());
        let change = Change {
            ticket: (),
            key: key.into(),
            value: Some(value.into()),
        };
        writer.committer().submit(change).unwrap();
        assert!(told.recv().unwrap());
    };
    (0..60).for_each(|_| commit(&mut expected));

    let mut image = fs::read(dir.join(FILE_NAME)).unwrap();
    disk.breakage.log.set(log).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    let (mut befores, mut afters) = (0, 0);
    for _ in 0..25 {
        let before = expected.clone();
        commit(&mut expected);
        let calls: Vec<Call> = calls.try_iter().collect();
        for epoch in calls.split_inclusive(|call| matches!(call, Call::Sync)) {
            for _ in 0..6 {
                let mut torn = image.clone();
                let keep = random.f64();
                epoch
                    .iter()
                    .filter(|_| random.f64() < keep)
                    .for_each(|call| apply(&mut torn, call));
                let found = find(&cut, &torn);
                assert!(
                    found == before || found == expected,
                    "neither before nor after"
                );
                befores += u32::from(found == before);
                afters += u32::from(found == expected);
            }
            epoch.iter().for_each(|call| apply(&mut image, call));
        }
        assert!(find(&cut, &image) == expected, "a confirmed change is lost");
    }
    assert!(
        befores > 20 && afters > 20,
        "{befores} before, {afters} after"
    );
    drop(writer);
    fs::remove_dir_all(dir).unwrap();
}

type Rows = BTreeMap<String, Vec<u8>>;

fn find(dir: &Path, image: &[u8]) -> Rows {
    fs::write(dir.join(FILE_NAME), image).unwrap();
    let mut found = Rows::new();
    let store = Store::open(dir).unwrap();
    let row = |key: &str, value: &[u8]| drop(found.insert(key.into(), value.into()));
    store.load(row).unwrap();
    found
}

fn apply(image: &mut Vec<u8>, call: &Call) {
    match call {
        Call::Write(at, data) => {
            let at = usize::try_from(*at).unwrap();
            image.resize(image.len().max(at + data.len()), 0);
            image[at..at + data.len()].copy_from_slice(data);
        }
        Call::SetLen(len) => image.resize(usize::try_from(*len).unwrap(), 0),
        Call::Sync => {}
    }
}
