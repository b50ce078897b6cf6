//! What is wrong, by cause: a night with one revoked key and single troubles, its repair, and marks.

use crate::http::{Connection, admin, get};
use crate::peer::Peer;
use crate::signed::reload::write;
use crate::signed::service::{Service, of_all};
use crate::signed::signer::{Call, Signer};
use serde_json::{Value, json};
use testkit::{until, until_true};

/// Cameras with the key of the fleet, and those with a key each.
pub(super) const FLEET: usize = 30;
const SINGLES: usize = 8;
/// Further channels, on which all is well.
const WELL: usize = 2;

pub(super) fn file(fleet: bool) -> String {
    let singles: Vec<_> = (0..SINGLES)
        .map(|number| format!("single{number}"))
        .collect();
    let singles = singles.iter().map(String::as_str);
    let names = singles.chain(["well"]).chain(fleet.then_some("fleet"));
    of_all(&names.collect::<Vec<_>>())
}

/// The channels of the fleet, those with a trouble each, and those on which all is well.
pub(super) struct Channels {
    fleet: Vec<String>,
    singles: Vec<String>,
    well: Vec<String>,
}

impl Channels {
    pub(super) fn create(service: &Service) -> Self {
        let create = |name: &str, count| -> Vec<String> {
            let names = (0..count).map(|number| format!("{name}{number}"));
            names
                .map(|name| service.create(&Signer::new("well"), &name))
                .collect()
        };
        Self {
            fleet: create("cam-", FLEET),
            singles: create("s", SINGLES),
            well: create("well-", WELL),
        }
    }

    /// The key of the fleet is revoked, and eight cameras have clocks that are late: the row of the fleet.
    pub(super) fn outage(&self, service: &Service, fleet: &Signer) -> Value {
        write(service, "credentials.toml", &file(false));
        for arn in &self.fleet {
            until_true("it is refused", || refused(service, fleet, arn) == 403);
        }
        for (number, arn) in self.singles.iter().enumerate() {
            let late = Signer::new(&format!("single{number}")).ahead(-3600);
            assert_eq!(refused(service, &late, arn), 403);
        }
        until("the rows", || {
            let seen = problems(service, "&ended=false");
            let row = (*of_check(&seen, "unknown_key").first()?).clone();
            let is_whole = row["channels"] == FLEET && row["cause"]["value"] == fleet.id;
            (is_whole && of_check(&seen, "url_expired").len() == SINGLES).then_some(row)
        })
    }

    /// The key counts again, and the cameras of the fleet connect. Each shard applies the file by itself.
    pub(super) fn come_back(&self, service: &Service, fleet: &Signer) -> Vec<Peer> {
        write(service, "credentials.toml", &file(true));
        let comes_back = |arn: &String| {
            until("the key counts again", || {
                let call = fleet.presign(Call::master(&service.broker, arn), 60);
                let (answer, connection) = service.open(&call);
                (answer.status == 101).then(|| Peer::after_upgrade(connection))
            })
        };
        self.fleet.iter().map(comes_back).collect()
    }
}

/// The status of a refused connect as the master of a channel.
fn refused(service: &Service, signer: &Signer, arn: &str) -> u16 {
    let mut connection = Connection::open(service.broker.plain);
    connection.send(
        &signer
            .presign(Call::master(&service.broker, arn), 60)
            .bytes(),
    );
    connection.answer().expect("an answer").status
}

fn problems(service: &Service, query: &str) -> Value {
    get(
        service.broker.admin,
        &format!("/problems?limit=1000{query}"),
    )
    .json()
}

/// The rows of a check.
pub(super) fn of_check<'d>(document: &'d Value, check: &str) -> Vec<&'d Value> {
    let rows = document["problems"].as_array().expect("a list").iter();
    rows.filter(|row| row["check"] == check).collect()
}

#[test]
fn a_revoked_key_is_one_row_until_all_its_cameras_are_back() {
    let service = Service::with(&file(true), &[], 2);
    let (fleet, well) = (Signer::new("fleet"), Signer::new("well"));
    let channels = Channels::create(&service);
    let connected = channels.well.iter().map(|arn| service.master(&well, arn));
    let connected: Vec<_> = connected.collect();
    let id = channels.outage(&service, &fleet)["id"].clone();
    assert!(
        service
            .broker
            .scrape()
            .sum("heliograph_problems{look=\"bad\"}")
            >= 9.0
    );
    let back = channels.come_back(&service, &fleet);
    let ended = until("its end", || {
        let seen = problems(&service, "&ended=true");
        of_check(&seen, "unknown_key")
            .first()
            .map(|row| (*row).clone())
    });
    assert_eq!(ended["id"], id);
    assert_eq!(ended["endedBy"], "camera back");
    // The cameras that are well beside: all of the fleet again, and the others.
    let path = format!("/problems/{}", id.as_str().expect("an id"));
    let row = get(service.broker.admin, &path).json();
    let shared = row["shared"].as_array().expect("a list").iter();
    let of_key = shared.filter(|it| it["what"] == "key" || it["what"] == "principal");
    let healthy: Vec<_> = of_key
        .map(|it| [&it["healthy"], &it["ofHealthy"]])
        .collect();
    let wanted = [&json!(FLEET), &json!(FLEET + WELL)];
    assert!(
        !healthy.is_empty() && healthy.iter().all(|it| *it == wanted),
        "{row}"
    );
    drop((connected, back));
    service.end();
}

#[test]
fn an_operator_says_that_a_problem_is_known() {
    let service = Service::with(&file(true), &[], 1);
    let arn = service.create(&Signer::new("well"), "cam");
    assert_eq!(
        refused(&service, &Signer::new("single0").ahead(-3600), &arn),
        403
    );
    let id = until("the row", || {
        let seen = problems(&service, "");
        let id = of_check(&seen, "url_expired").first()?["id"].as_str()?;
        Some(id.to_owned())
    });
    let path = format!("/problems/{id}/known");
    let mark = |body: &str| admin(service.broker.admin, "POST", &path, body);
    for body in [
        "",
        r#"{"until":"2020-01-01T00:00:00Z","why":"a move"}"#,
        r#"{"until":"2999-01-01T00:00:00Z","why":""}"#,
    ] {
        assert_eq!(mark(body).status, 400, "{body}");
    }
    let marked = mark(r#"{"until":"2999-01-01T00:00:00Z","why":"a move"}"#).json();
    assert_eq!(
        marked["known"],
        json!({ "until": "2999-01-01T00:00:00.000Z", "by": "token", "why": "a move" })
    );
    let overview = || get(service.broker.admin, "/overview").json();
    assert_eq!(
        of_check(&overview(), "url_expired")[0]["known"]["why"],
        "a move"
    );
    let known = overview()["problemsOpen"].as_u64();
    assert_eq!(admin(service.broker.admin, "DELETE", &path, "").status, 200);
    assert_eq!(overview()["problemsOpen"].as_u64(), known.map(|it| it + 1));
    for operation in ["MarkProblem", "UnmarkProblem"] {
        service.broker.logged(&[operation], 1);
    }
    assert_eq!(
        admin(service.broker.admin, "DELETE", "/problems/0/known", "").status,
        404
    );
    service.end();
}
