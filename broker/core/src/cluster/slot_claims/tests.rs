use super::*;
use crate::cluster::limits::Spans;
use crate::cluster::message::{CallId, NodeInput, NodeOutput, Reply, WatchId};
use crate::cluster::types::{
    Address, Change, EtcdId, Kinship, LeaseId, Owner, Revision, SlotRecord, Snapshot, Value,
    fixtures::{change, incarnation, registration},
};
use crate::cluster::{Config, Memory};

const TICK_MS: u64 = 250;

/// A node that is registered in an unused etcd, which refuses the node's claims.
struct Refusing {
    cluster: Cluster,
    revision: u64,
    keys: Vec<Change>,
    now: u64,
    /// The times at which claims were made.
    claims: Vec<u64>,
    /// Whether claims fail because one of their slots has changed, which the next read shows.
    others_claim: bool,
}

impl Refusing {
    fn new(others_claim: bool) -> Self {
        let incarnation = incarnation(1, 1);
        let config = Config {
            me: Owner {
                node: NodeId(0),
                incarnation,
            },
            address: Address(1),
            slots: 8,
            spans: Spans::of_lease(5_000),
            memory: Memory::default(),
            seed: 1,
        };
        Self {
            cluster: Cluster::new(&config, Now(0)),
            revision: 1,
            keys: Vec::new(),
            now: 0,
            claims: Vec::new(),
            others_claim,
        }
    }

    fn runs_until(&mut self, end: u64) {
        while self.now < end {
            self.now += TICK_MS;
            self.input(NodeInput::Tick { stuck: false });
        }
    }

    fn input(&mut self, input: NodeInput) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.cluster.handle(input, Now(self.now));
            while let Some(output) = self.cluster.poll_output() {
                if let NodeOutput::Etcd(id, call) = output {
                    inputs.extend(self.called(id, call));
                }
            }
            let fine = self.claims.len() < 100;
            assert!(fine, "at {}: {:?}", self.now, self.claims);
        }
    }

    fn called(&mut self, id: CallId, call: Call) -> Option<NodeInput> {
        let reply = match call {
            Call::Grant => Reply::Granted(LeaseId(1), 10_000),
            Call::KeepAlive(_) | Call::Revoke(_) => Reply::KeptAlive,
            Call::Read => Reply::Snapshot(self.snapshot()),
            Call::Watch { watch, .. } => {
                assert!(watch > WatchId(0));
                return None;
            }
            Call::Progress(_) => Reply::Progress(Revision(self.revision)),
            Call::Transaction(transaction) => self.transaction(&transaction),
        };
        Some(NodeInput::Reply(id, reply))
    }

    /// Commits registrations and refuses claims.
    fn transaction(&mut self, transaction: &Transaction) -> Reply {
        let is_claim = matches!(transaction.puts[..], [(Key::Slot(_), _), ..]);
        if is_claim {
            self.claims.push(self.now);
        }
        if is_claim && self.others_claim {
            let incarnation = incarnation(2, 1);
            let owner = Owner {
                node: NodeId(1),
                incarnation,
            };
            let (key, _) = transaction.puts[0];
            self.put(key, owned(Some(owner), None, SlotRecord::default()));
        }
        if !is_claim {
            for &(key, value) in &transaction.puts {
                self.put(key, value);
            }
        }
        Reply::Outcome {
            committed: !is_claim,
            revision: Revision(self.revision),
            etcd: EtcdId(1),
            snapshot: transaction.reads.then(|| self.snapshot()),
        }
    }

    fn put(&mut self, key: Key, value: Value) {
        self.revision += 1;
        self.keys.retain(|change| change.key != key);
        self.keys.push(Change {
            revision: Revision(self.revision),
            key,
            value: Some(value),
        });
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: Revision(self.revision),
            etcd: EtcdId(1),
            entries: self.keys.clone(),
        }
    }
}

/// The node asks for a shorter lease than it is granted.
#[test]
fn the_lease_that_etcd_grants_counts() {
    let mut node = Refusing::new(false);
    assert_eq!(node.cluster.spans.lease_ms(), 5_000);
    node.runs_until(2 * TICK_MS);
    assert_eq!(node.cluster.spans, Spans::of_lease(10_000));
    let reach = node.cluster.valid_until().since(Now(node.now));
    assert!((7_000..=8_000).contains(&reach), "{reach}");
}

#[test]
fn a_claim_that_fails_for_no_visible_reason_is_repeated_ever_more_seldom() {
    let mut node = Refusing::new(false);
    node.runs_until(40_000);
    let first = node.claims[0];
    assert!((10_000..11_000).contains(&first), "{first}");
    let within = |from: u64, to: u64| {
        let span = first + from..first + to;
        node.claims.iter().filter(|at| span.contains(*at)).count()
    };
    assert!(within(0, 1_000) <= 4, "{:?}", node.claims);
    for second in 2..25 {
        let claims = within(1_000 * second, 1_000 * (second + 1));
        assert_eq!(claims, 1, "{second} s later: {:?}", node.claims);
    }
}

#[test]
fn a_claim_that_lost_against_another_is_repeated_at_once_without_what_was_lost() {
    let mut node = Refusing::new(true);
    node.runs_until(12_000);
    // The other node gets one slot after another.
    assert_eq!(node.claims, vec![node.claims[0]; 8]);
}

#[test]
fn the_registration_of_an_owner_is_part_of_what_is_compared() {
    let mut view = View::new(1, Revision(0), None);
    let key = Key::Registration(NodeId(1));
    let mut claims = SlotClaims::default();
    claims.sends(&[at(Key::Slot(Slot(0)), Revision(0)), at(key, Revision(0))]);
    assert!(!claims.is_paused(&view, Now(0)), "it is under way");
    claims.failed(Now(1_000));
    assert!(claims.is_paused(&view, Now(1_000 + CLAIM_PAUSE_MS - 1)));
    assert!(!claims.is_paused(&view, Now(1_000 + CLAIM_PAUSE_MS)));
    let incarnation = incarnation(1, 1);
    let change = change(5, key, registration(incarnation, Kinship::Peer));
    view.apply_changes(&[change], Now(1_000));
    assert!(!claims.is_paused(&view, Now(1_000)));
}
