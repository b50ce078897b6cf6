use super::*;
use crate::settings::{Profile, Settings};

const ICE: Metered = Metered::Call(Operation::GetIceServerConfig);

fn caller(number: u64) -> Option<CallerId> {
    Some(CallerId::of_hash(number))
}

fn key(what: Metered, caller: Option<CallerId>) -> RateKey {
    RateKey { what, caller }
}

/// Tries to take a token a hundred times. Returns how often it succeeded.
fn taken(rates: &mut Rates, what: Metered, caller: Option<CallerId>, now: u64) -> usize {
    let quotas = Settings::default().quotas;
    (0..100)
        .filter(|_| rates.take(key(what, caller), &quotas, Now(now)))
        .count()
}

#[test]
fn each_thing_has_its_own_bucket() {
    let rates = &mut Rates::default();
    let describe = Metered::Call(Operation::DescribeSignalingChannel);
    assert_eq!(taken(rates, Metered::ConnectAsMaster, None, 5), 15);
    assert_eq!(taken(rates, Metered::ConnectAsViewer, None, 5), 15);
    assert_eq!(taken(rates, describe, None, 5), 25);
    let list = Metered::Call(Operation::ListSignalingChannels);
    assert_eq!(taken(rates, list, None, 5), 100);
    let quotas = Settings::default().quotas;
    assert!(!rates.has(key(Metered::ConnectAsMaster, None), &quotas, Now(5)));
}

#[test]
fn a_caller_has_half_and_the_master_all_of_its_own() {
    let rates = &mut Rates::default();
    assert_eq!(taken(rates, ICE, caller(1), 0), 12, "half of the burst");
    assert_eq!(taken(rates, ICE, caller(1), 400), 1, "half of the rate");
    let as_master = Metered::CallAsMaster(Operation::GetIceServerConfig);
    assert_eq!(taken(rates, as_master, None, 400), 25);
    assert_eq!(taken(rates, ICE, caller(2), 400), 12);
    // The channel's bucket limits all callers together; otherwise, each of the 27 callers would have taken twelve
    // tokens.
    let others = (3..30).map(|number| taken(rates, ICE, caller(number), 400));
    assert_eq!(others.sum::<usize>(), 2, "25 and the two since, less 25");
}

#[test]
fn who_is_least_in_debt_is_forgotten_for_the_next_caller() {
    let mut quotas = Settings::default().quotas;
    quotas.ice_server_config.burst = 1000;
    let mut rates = Rates::default();
    let mut take = |number, now| rates.take(key(ICE, caller(number)), &quotas, Now(now));
    for _ in 0..500 {
        assert!(take(0, 0));
    }
    assert!(!take(0, 0), "its part");
    for number in 1..=200 {
        assert!(take(number, number), "the channel has some left");
    }
    assert!(!take(0, 200), "it is remembered");
    assert_eq!(rates.callers.len(), CALLER_BUCKETS_MAX);
}

#[test]
fn full_buckets_are_forgotten() {
    let quotas = Settings::default().quotas;
    let mut rates = Rates::default();
    let describe = Metered::Call(Operation::DescribeSignalingChannel);
    assert!(rates.take(key(Metered::ConnectAsMaster, None), &quotas, Now(0)));
    assert!(rates.take(key(describe, caller(1)), &quotas, Now(0)));
    assert_eq!(rates.settle(&quotas, Now(100)), Some(Now(400)));
    assert_eq!((rates.channel.len(), rates.callers.len()), (2, 1));
    assert_eq!(rates.settle(&quotas, Now(334)), Some(Now(400)));
    assert_eq!((rates.channel.len(), rates.callers.len()), (0, 1));
    assert_eq!(rates.settle(&quotas, Now(400)), None);
    assert!(rates.callers.is_empty());
}

#[test]
fn quotas_that_are_off_limit_nothing() {
    let quotas = Settings::new(Profile::Default, true).quotas;
    let mut rates = Rates::default();
    let what = Metered::ConnectAsViewer;
    assert!((0..1000).all(|_| rates.take(key(what, caller(1)), &quotas, Now(0))));
    assert!(rates.channel.is_empty() && rates.callers.is_empty());
}

/// Returns `true` if a bucket with these earlier takings has `weight` tokens left. Either the bucket is full again, or
/// for every moment, the tokens taken since then plus these do not exceed a full bucket plus the tokens refilled since
/// then. Counts in thousandths of a token.
fn has_left(takings: &[u64], rate: Rate, weight: u64, now: u64) -> bool {
    let since = |(before, at): (usize, &u64)| {
        let taken = (takings.len() - before) as u64 * weight * 1000;
        (taken, (now - at) * u64::from(rate.rate))
    };
    let (mut full, mut fits) = (true, u64::from(rate.burst) >= weight);
    for (taken, came_back) in takings.iter().enumerate().map(since) {
        full &= taken <= came_back;
        fits &= taken + weight * 1000 <= u64::from(rate.burst) * 1000 + came_back;
    }
    full || fits
}

#[test]
fn callers_get_their_parts_and_what_one_leaves_is_the_others() {
    let mut refusals = [0; 3];
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut quotas = Settings::default().quotas;
        let rate = Rate {
            rate: random.u32(1..20),
            burst: random.u32(1..40),
        };
        quotas.connect_viewer = rate;
        let callers = random.u64(1..6);
        let (mut rates, mut all) = (Rates::default(), Vec::new());
        let mut each = vec![Vec::new(); 6];
        let mut now = 1_000;
        for _ in 0..600 {
            now += random.u64(0..4) * random.u64(0..200);
            let number = random.u64(0..callers);
            let own: &mut Vec<u64> = &mut each[usize::try_from(number).unwrap()];
            let of_all = has_left(&all, rate, 1, now);
            let of_own = has_left(own, rate, 2, now);
            let what = Metered::ConnectAsViewer;
            let may = rates.take(key(what, caller(number)), &quotas, Now(now));
            assert_eq!(may, of_all && of_own, "seed {seed}: {of_all} {of_own}");
            if may {
                all.push(now);
                own.push(now);
            }
            refusals[usize::from(!of_all) + 2 * usize::from(of_all && !of_own)] += 1;
            if random.u8(..4) == 0 {
                rates.settle(&quotas, Now(now));
            }
        }
    }
    assert!(refusals.iter().all(|count| *count > 1000), "{refusals:?}");
}

#[test]
fn one_caller_alone_never_uses_up_what_another_may_take() {
    for seed in 0..100 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut quotas = Settings::default().quotas;
        quotas.connect_viewer = Rate {
            rate: random.u32(1..20),
            burst: random.u32(2..40),
        };
        let pause = u64::from(2000 / quotas.connect_viewer.rate) + 1;
        let (mut rates, mut patient) = (Rates::default(), 0);
        let mut take = |number, now| {
            let what = Metered::ConnectAsViewer;
            rates.take(key(what, caller(number)), &quotas, Now(now))
        };
        for now in 0..20_000 {
            take(0, now);
            if now >= patient {
                assert!(take(1, now), "at {now}, {:?}", quotas.connect_viewer);
                patient = now + pause + random.u64(0..100);
            }
        }
    }
}
