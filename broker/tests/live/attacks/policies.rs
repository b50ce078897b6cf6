//! Session policies that take long to read or to match, asked for and used by a tenant whose calls are refused: what a
//! call costs is counted in steps of matching, and compared with that of a plain one in CPU time.

use super::full;
use super::gauges::Watched;
use crate::http::Connection;
use crate::signed::service::{Service, credentials, relay};
use crate::signed::signer::{Call, Signer};
use crate::signed::sts::federate;
use codec::policy::{Action, Decision, Policy, Request, SESSION_POLICY_BYTES_MAX};
use serde_json::json;
use std::time::Duration;

/// Calls of each kind, whose CPU time is taken together: a thread's is known to a tick of the kernel's clock, up to 4
/// ms, and a step of a virtual machine's clock may add as much twice.
const CALLS: u32 = 1_000;

/// CPU time of a call beyond that of a plain one at most (full runs).
const EXTRA_MAX: Duration = Duration::from_micros(50);

/// The most CPU time of a call, in multiples of a plain one's, also in a build that is not optimized.
const TIMES_MAX: u32 = 8;

const ACCOUNT: &str = "123456789012";

#[test]
fn refused_calls_take_few_steps_of_matching() {
    let service = Service::start(1);
    let tenant = Signer::new("admin");
    let (mut master, mut viewer) = healthy(&service);
    let channel = format!(":{ACCOUNT}:channel/a/123456789012345");
    let region = "a".repeat(1024 - "arn:aws:kinesisvideo:".len() - channel.len());
    let arn = format!("arn:aws:kinesisvideo:{region}{channel}");
    let body = json!({"ChannelARN": arn});
    let refused = |signer: &Signer| {
        let call = Call::api(&service.broker, "/describeSignalingChannel", &body);
        Costs::of(&service, &signer.sign(call), 401)
    };
    let plain = refused(&federate(&service, &tenant, &resources("arn:aws:s3:::x", 1)).0);
    for pattern in [
        format!("arn:*{}b", "?".repeat(100)),
        format!("arn:*{}b*", "a".repeat(60)),
        format!("arn:{}b*", "*a".repeat(20)),
        "arn:*a*?b*".to_owned(),
    ] {
        let policy = resources(&pattern, usize::MAX);
        let costs = refused(&federate(&service, &tenant, &policy).0);
        let mut once = 0;
        let request = Request {
            action: Action::DescribeSignalingChannel,
            resource: &arn,
            client_id: None,
            context: &(),
        };
        let decided = Policy::parse_session(&policy).expect("a policy");
        assert_eq!(
            decided.decide(&request, &mut once, &mut None),
            Decision::NoMatch
        );
        // Decided once; that of its parent takes no step.
        assert_eq!(costs.steps, u64::from(CALLS) * once, "{pattern}");
        let words = SESSION_POLICY_BYTES_MAX.div_ceil(64);
        assert!(
            once <= (arn.len() * words) as u64,
            "{once} steps, {pattern}"
        );
        costs.hold(&plain, &pattern);
        relay(&mut master, &mut viewer);
    }
    drop((master, viewer));
    service.end();
}

#[test]
fn policies_are_read_quickly_and_once() {
    let service = Service::configured("[quotas]\noff = true\n", &credentials(), 1);
    let tenant = Signer::new("admin");
    let (mut master, mut viewer) = healthy(&service);
    let asked = |policy: &str, status| {
        let form = [
            ("Action", "GetFederationToken"),
            ("Name", "web-1"),
            ("Policy", policy),
        ];
        let call = Call::sts(&service.broker, &form);
        Costs::of(&service, &tenant.of_service("sts").sign(call), status)
    };
    let padding = " ".repeat(1900);
    let plain = asked(&(resources("*", 1) + &padding), 200);
    for (action, status) in [
        ("kinesisvideo:*e*s*".to_owned(), 200),
        ("sts:*e*".to_owned(), 200),
        (format!("kinesisvideo:{}", "e".repeat(128)), 400),
        ("kinesisvideo:GetSignalingChannelEnpdoint".to_owned(), 400),
    ] {
        asked(&actions(&action), status).hold(&plain, &action);
        relay(&mut master, &mut viewer);
    }

    // A policy that was read for the token is not read again for a request.
    let list = Call::api(&service.broker, "/listSignalingChannels", &json!({}));
    let used = |policy: &str| {
        let signer = federate(&service, &tenant, policy).0;
        Costs::of(&service, &signer.sign(list.clone()), 200)
    };
    let plain = used(&(resources("*", 1) + &padding));
    used(&actions("kinesisvideo:*e*s*")).hold(&plain, "used");
    relay(&mut master, &mut viewer);
    drop((master, viewer));
    service.end();
}

/// The costs of calls for a shard.
#[derive(Debug)]
struct Costs {
    steps: u64,
    cpu: Duration,
}

impl Costs {
    /// Of [`CALLS`] on one connection, all alike and answered with this status.
    fn of(service: &Service, call: &Call, status: u16) -> Self {
        let watched = Watched::new(&service.broker);
        let mut connection = Connection::open(service.broker.plain);
        let bytes = call.bytes();
        let mut ask = || {
            connection.send(&bytes);
            let answer = connection.answer().expect("an answer");
            assert_eq!(answer.status, status, "{}", answer.text());
        };
        ask(); // memory for the next
        let (steps, times) = (steps(service), watched.thread_times());
        (0..CALLS).for_each(|_| ask());
        let one_second = Duration::from_secs(1);
        Self {
            cpu: one_second.mul_f64(watched.busiest_since(&times, one_second)) / CALLS,
            steps: self::steps(service) - steps,
        }
    }

    fn hold(&self, plain: &Self, what: &str) {
        eprintln!("{what}: {self:?}, plain {plain:?}");
        assert!(self.cpu <= plain.cpu * TIMES_MAX, "{what}: {self:?}");
        if full() {
            assert!(self.cpu <= plain.cpu + EXTRA_MAX, "{what}: {self:?}");
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "counts of a test are small"
)]
#[expect(clippy::cast_sign_loss, reason = "a counter")]
fn steps(service: &Service) -> u64 {
    service.broker.scrape().sum("heliograph_policy_steps_total") as u64
}

/// A master and a viewer of somebody else.
fn healthy(service: &Service) -> (crate::peer::Peer, crate::peer::Peer) {
    let admin = Signer::new("admin");
    let arn = service.create(&admin, "healthy");
    let master = service.master(&admin, &arn);
    let viewer = Call::viewer(&service.broker, &arn, "v1");
    (master, service.connect(&admin.presign(viewer, 60)))
}

/// A session policy with this resource, as often as there is room, but no more than `most` times.
fn resources(resource: &str, most: usize) -> String {
    filled(r#""Action":"*","Resource""#, resource, most)
}

/// The same with an action.
fn actions(action: &str) -> String {
    filled(r#""Resource":"*","Action""#, action, usize::MAX)
}

fn filled(member: &str, entry: &str, most: usize) -> String {
    let head = format!(r#"{{"Statement":{{"Effect":"Allow",{member}:["#);
    let entry = format!("\"{entry}\"");
    let room = SESSION_POLICY_BYTES_MAX - head.len() - "]}}".len();
    let entries = vec![entry.as_str(); most.min(room / (entry.len() + 1))];
    format!("{head}{}]}}}}", entries.join(","))
}
