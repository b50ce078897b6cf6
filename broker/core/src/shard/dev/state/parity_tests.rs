use super::*;
use crate::journal::end_reasons::grouped;
use crate::record::{Record, Version};
use crate::shard::{Question, Reply, Shard, Start, StartDev};
use crate::{id::ShardId, machine::Machine, placement::Placement};
use codec::identifiers::ChannelArn;

const HASHER: RandomState = RandomState::with_seeds(1, 2, 3, 4);

#[test]
fn findings_have_a_bound_and_are_forgotten_by_prefix() {
    let mut parity = Parity::new("us-west-2", &HASHER, None);
    for number in 0..FINDINGS_MAX + 5 {
        parity.note(
            "viewers",
            &format!("c{number}"),
            Moment::default(),
            String::new,
        );
    }
    parity.note("viewers", "c0", Moment::default(), String::new);
    let found = parity.findings();
    assert_eq!(
        found.len(),
        FINDINGS_MAX + 1,
        "and one for all further channels"
    );
    let count = |channel: &str| {
        found
            .iter()
            .find(|it| &*it.channel == channel)
            .map(|it| it.count)
    };
    assert_eq!((count("c0"), count("")), (Some(2), Some(5)));
    parity.forget("c");
    assert_eq!(parity.findings().len(), 1);
}

#[test]
fn the_rule_of_payloads_is_named_for_the_number_of_the_table() {
    assert_eq!(
        Parity::new("", &HASHER, None).strict.limits.payload_bytes,
        10_240
    );
    assert_eq!(
        (grouped(13_014), grouped(999)),
        ("13,014".into(), "999".into())
    );
}

#[test]
fn channels_of_the_account_are_counted_on_all_shards_together() {
    let settings = Settings {
        region: "eu-west-1".into(),
        ..Settings::new(Profile::Default, true)
    };
    let account_use = Arc::new(AccountUse::new("eu-west-1", &settings.account_id));
    for _ in 0..4_998 {
        account_use.channel_came(); // on other shards
    }
    let record = |name: &str| Record {
        arn: ChannelArn::parse(
            &format!("arn:aws:kinesisvideo:eu-west-1:123456789012:channel/{name}/17"),
            false,
        )
        .unwrap(),
        ttl_seconds: 60,
        created: Wall(0),
        version: Version::draw(&mut fastrand::Rng::with_seed(1)),
        tags: Vec::new().into(),
    };
    let settings = Arc::new(settings);
    let found = |names: &[&str]| {
        let placement = Placement::new([1, 2, 3, 4], 1);
        let start = Start {
            records: names.iter().map(|name| record(name)).collect(),
            dev: StartDev {
                copies: None,
                account_use: Some(Arc::clone(&account_use)),
            },
            ..Start::bare(settings.clone(), ShardId(0), placement, [5, 6, 7, 8])
        };
        let reply = Shard::new(start).inspect(Question::Parity, Moment::default());
        let Reply::Findings(found) = reply else {
            panic!("{reply:?} is no list of findings");
        };
        found
    };
    assert_eq!(found(&["a", "b"]), []);
    let one_more = found(&["c"]);
    let says = one_more
        .iter()
        .map(|finding| (finding.rule, &*finding.says));
    let wanted = "5,001 channels of the account; the cloud service takes 5,000";
    assert_eq!(says.collect::<Vec<_>>(), [("channels", wanted)]);
}
