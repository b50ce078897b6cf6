use super::*;
use crate::settings::{Profile, Settings};
use crate::shard::{Question, Shard, Start};
use crate::{id::ShardId, machine::Machine, placement::Placement, record::Version};
use std::sync::Arc;

fn record(region: &str, name: &str) -> Record {
    let arn = format!("arn:aws:kinesisvideo:{region}:123456789012:channel/{name}/1700000000000");
    Record {
        arn: ChannelArn::parse(&arn, false).unwrap(),
        ttl_seconds: 60,
        created: Wall(0),
        version: Version::draw(&mut fastrand::Rng::with_seed(1)),
        tags: Vec::new().into(),
    }
}

fn shard(channels: &[(&str, &str)]) -> Shard {
    let settings = Arc::new(Settings::new(Profile::Default, true));
    let placement = Placement::new([1, 2, 3, 4], 1);
    let records = channels.iter();
    let start = Start {
        records: records.map(|(region, name)| record(region, name)).collect(),
        ..Start::bare(settings, ShardId(0), placement, [5, 6, 7, 8])
    };
    Shard::new(start)
}

/// Returns all pages of `limit` channels each, with channels written as `region:name`.
fn pages(shard: &mut Shard, prefix: &str, limit: usize) -> Vec<Vec<String>> {
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let question = Question::Page {
            prefix: prefix.into(),
            after: after.take(),
            limit,
            viewer: None,
            presence: false,
        };
        let Reply::Page(lines, more) = shard.inspect(question, Moment::default()) else {
            panic!("a page is answered by a page");
        };
        let shown = |line: &ChannelLine| format!("{}:{}", line.arn.region(), line.arn.name());
        pages.push(lines.iter().map(shown).collect());
        if !more {
            return pages;
        }
        after = lines.last().map(|line| line.identity.clone());
    }
}

#[test]
fn channels_of_several_regions_are_one_list_by_name() {
    let mut shard = shard(&[
        ("us-west-2", "b"),
        ("us-west-2", "a"),
        ("eu-west-1", "c"),
        ("eu-west-1", "a"),
        ("us-west-20", "a"),
        ("us-west-2", "ab"),
    ]);
    let all = [
        "eu-west-1:a",
        "us-west-20:a",
        "us-west-2:a",
        "us-west-2:ab",
        "us-west-2:b",
        "eu-west-1:c",
    ];
    assert_eq!(pages(&mut shard, "", 100), [all]);
    for limit in 1..6 {
        assert_eq!(
            pages(&mut shard, "", limit).concat(),
            all,
            "pages of {limit}"
        );
    }
    assert_eq!(pages(&mut shard, "a", 2).concat(), all[..4]);
    assert_eq!(pages(&mut shard, "ab", 1), [[all[3]]]);
    assert_eq!(pages(&mut shard, "zz", 1).concat(), Vec::<String>::new());
}

#[test]
fn a_page_after_a_channel_that_is_gone_goes_on_behind_it() {
    let mut shard = shard(&[("us-west-2", "a"), ("us-west-2", "c")]);
    let question = Question::Page {
        prefix: "".into(),
        after: Some(Identity::new("us-west-2", "123456789012", "b")),
        limit: 9,
        viewer: None,
        presence: false,
    };
    let Reply::Page(lines, more) = shard.inspect(question, Moment::default()) else {
        panic!("a page is answered by a page");
    };
    assert_eq!((lines.len(), lines[0].arn.name(), more), (1, "c", false));
}
