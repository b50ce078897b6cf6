//! Lists that one tenant asks for on many connections, beside a tenant of another account.

use super::resident_bytes;
use crate::http::Connection;
use crate::process::until;
use crate::signed_service::Service;
use crate::signed_signer::{Call, Signer};
use serde_json::json;
use std::thread;

/// Channels of the attacker, and connections that ask for all of them.
const CHANNELS: usize = 600;
const CONNECTIONS: usize = 500;

/// Channels of the neighbour, and how often it asks meanwhile.
const OWN: usize = 5;
const ASKS: usize = 40;

/// What lists may take of memory, beyond what the process had. The parts of all that are asked for would take twice as
/// much.
const GROWTH_MAX: u64 = 40 << 20;

#[test]
fn lists_of_a_tenant_take_no_memory_and_no_places_of_another() {
    let service = Service::start(2);
    let (tenant, neighbour) = (Signer::new("admin"), Signer::new("neighbour"));
    fill(&service, &tenant, "theirs", CHANNELS);
    fill(&service, &neighbour, "own", OWN);
    let before = resident_bytes(&service.broker);
    let list = list_of(&service, &tenant);
    let mut callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| Connection::open(service.broker.plain))
        .collect();
    callers.iter_mut().for_each(|caller| caller.send(&list));
    let mut peak = 0;
    let mut own = Connection::open(service.broker.plain);
    for number in 0..ASKS {
        own.send(&list_of(&service, &neighbour));
        let page = own.answer().expect("an answer").ok();
        let infos = page["ChannelInfoList"].as_array().map(Vec::len);
        assert_eq!(infos, Some(OWN), "{page}");
        let body = json!({"ChannelName": format!("own-{}", number % OWN)});
        let call = Call::api(&service.broker, "/describeSignalingChannel", &body);
        own.send(&neighbour.sign(call).bytes());
        own.answer().expect("an answer").ok();
        peak = peak.max(resident_bytes(&service.broker));
    }
    for caller in &mut callers {
        let answer = caller.answer().expect("an answer");
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
        peak = peak.max(resident_bytes(&service.broker));
    }
    let growth = peak.saturating_sub(before);
    assert!(growth <= GROWTH_MAX, "{} MiB more", growth >> 20);
    drop((callers, own));
    service.end();
}

#[test]
fn lists_of_callers_who_hung_up_are_not_made() {
    let service = Service::start(2);
    let tenant = Signer::new("admin");
    fill(&service, &tenant, "theirs", CHANNELS);
    let read = || service.broker.scrape().sum("heliograph_records_read_total");
    let before = read();
    let list = list_of(&service, &tenant);
    let callers: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut caller = Connection::open(service.broker.plain);
            caller.send(&list);
            caller.finish();
            caller
        })
        .collect();
    drop(callers);
    until("the end of all connections", || {
        let scrape = service.broker.scrape();
        (scrape.sum("heliograph_connections{role=\"http\"}") == 0.0).then_some(())
    });
    let lists = (read() - before) / CHANNELS as f64;
    assert!(lists < CONNECTIONS as f64 / 2.0, "{lists} lists were made");
    service.end();
}

fn list_of(service: &Service, signer: &Signer) -> Vec<u8> {
    let body = json!({"MaxResults": 999});
    let call = Call::api(&service.broker, "/listSignalingChannels", &body);
    signer.sign(call).bytes()
}

fn fill(service: &Service, signer: &Signer, name: &str, channels: usize) {
    let path = "/createSignalingChannel";
    let broker = &service.broker;
    let call = |number| {
        let body = json!({"ChannelName": format!("{name}-{number}")});
        signer.sign(Call::api(broker, path, &body)).bytes()
    };
    thread::scope(|scope| {
        for caller in 0..8 {
            let mut connection = Connection::open(broker.plain);
            let call = &call;
            scope.spawn(move || {
                for number in (caller..channels).step_by(8) {
                    connection.send(&call(number));
                    connection.answer().expect("an answer").ok();
                }
            });
        }
    });
}
