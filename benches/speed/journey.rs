//! What a lead costs on its whole way, from its webhook to `SENT`: the program's processor time, the calls, the credits, and
//! the time beyond the tag's delay; and how soon a lead that comes alone is on its way.

use std::path::Path;
use std::time::Duration;

use bigin_sync::clock::until;
use bigin_sync::domain::lead::{REQUESTED, SENT};
use bigin_sync::fake::bigin::CallKind;
use serde_json::json;

use crate::ids::Ids;
use crate::load::{self, Way, send};
use crate::machine::micros;
use crate::options::Options;
use crate::program::{Place, Server, Services, addresses};
use crate::rows::{Series, at_most, columns, figure, row, table, word};
use crate::usage::Usage;

/// The tag's delay where nothing else is set.
const TAG_DELAY: Duration = Duration::from_secs(15);

/// No journey takes longer, on whatever machine, with a hundred thousand leads and a remote database.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs the group.
pub async fn run(options: &Options) {
    for count in options.journeys(&[1_000, 10_000]) {
        let folder = tempfile::tempdir().unwrap();
        let services = Services::start().await;
        let program = [Server::program(&services, folder.path(), &[]).await];
        let figures = travel(&services, options.ids(), &program, None, *count).await;
        figures.show(&format!("{count} leads requested at once"));
        program.into_iter().for_each(Server::kill);
        let each = file_of(folder.path()) / *count as f64;
        figure("the file, a lead that is done", &format!("{each:.0} bytes"));
    }
    if !options.quick {
        alone(options, None).await;
    }
}

/// The length of the program's file, once what is still in the log beside it has been moved there.
fn file_of(folder: &Path) -> f64 {
    let file = folder.join("bigin-sync.db");
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    std::fs::metadata(&file).unwrap().len() as f64
}

/// What a journey of many leads has cost.
pub struct Figures {
    leads: usize,
    /// Of each lead.
    usage: Usage,
    took: Duration,
    credits: u32,
    calls: usize,
    grants: usize,
    memory: f64,
}

/// Requests that many leads at once, and waits until all of them are `SENT`. Counts the processor time of a PostgreSQL server
/// too, if its first process is given.
pub async fn travel(
    services: &Services,
    ids: Ids,
    programs: &[Server],
    postmaster: Option<u32>,
    leads: usize,
) -> Figures {
    let way = Way::Kept(32);
    let requests = (0..leads).map(|nth| request(services, ids, nth, way)).collect();
    let (began, before) = (services.clock.now(), Usage::now(programs, postmaster));
    send(&addresses(programs), requests, way).await;
    let all_sent = until_sent(services, leads);
    tokio::time::timeout(PATIENCE, all_sent)
        .await
        .expect("all leads are sent");
    let took = until(began, services.clock.now());
    let usage = Usage::now(programs, postmaster).since(before);
    let mut bigin = services.bigin.model();
    Figures {
        leads,
        usage: usage.each(leads),
        took,
        credits: bigin.credits_used(),
        calls: bigin.calls.len(),
        grants: bigin.grants(),
        memory: programs.iter().map(|program| program.memory().1).fold(0.0, f64::max),
    }
}

/// A lead that asks to be sent, with a conversation of the usual length; and its webhook.
fn request(services: &Services, ids: Ids, nth: usize, way: Way) -> Vec<u8> {
    let id = ids.lead("b3f1c0de", nth);
    let say = |minute: usize| {
        let from = if minute.is_multiple_of(2) { "ai" } else { "lead" };
        let time = format!("2026-07-01T09:{minute:02}:00Z");
        json!({ "timestamp": time, "from": from, "message": "An invented sentence of about as many words as people write." })
    };
    let lead = json!({
        "_id": id, "firstName": "Ada", "secondName": format!("Example{nth}"),
        "emailAddress": format!("lead{nth}@example.org"), "phoneNumber": format!("07700 900{:03}", nth % 1000),
        "postcode": "PO16 7GZ", "address": "1 Invented Street", "contactStatus": "HOT",
        "conversationHistory": (0..10).map(say).collect::<Vec<_>>(), "crmStatus": REQUESTED,
    });
    let rev = services.sanity.model().seed(lead).unwrap();
    load::webhook(&id, &rev, way)
}

/// Waits until that many leads say `SENT`, by what has been committed to the fake.
async fn until_sent(services: &Services, leads: usize) {
    let (mut seen, mut sent) = (0, 0);
    while sent < leads {
        {
            let model = services.sanity.model();
            let changes = model.transactions[seen..]
                .iter()
                .flat_map(|transaction| &transaction.documents);
            let says_sent = |text: &serde_json::Value| text == SENT;
            sent += changes
                .filter(|change| {
                    change
                        .after
                        .as_ref()
                        .and_then(|lead| lead.get("crmStatus"))
                        .is_some_and(says_sent)
                })
                .count();
            seen = model.transactions.len();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Figures {
    /// Prints the table, and asserts what does not depend on the machine.
    pub fn show(&self, title: &str) {
        let credits = f64::from(self.credits) / self.leads as f64;
        self.show_cpu(title);
        let beyond = self.took.saturating_sub(TAG_DELAY);
        let each = micros(beyond) / self.leads as f64;
        figure(
            "time beyond the tag's delay",
            &format!("{:.2} s, {each:.0} µs a lead", beyond.as_secs_f64()),
        );
        at_most("credits of Bigin a lead", &format!("{credits:.3}"), credits, 0.25, "");
        figure("calls to Bigin and its accounts server", &self.calls.to_string());
        at_most(
            "access tokens granted",
            &self.grants.to_string(),
            self.grants as f64,
            1.0,
            "",
        );
        figure("most memory resident meanwhile", &format!("{:.1} MiB", self.memory));
        assert_eq!(self.grants, 1, "one access token for all");
        // A few calls, of hundreds of leads each, are made whatever their number.
        assert!(credits <= 0.25 || self.leads < 1_000, "{credits} credits a lead");
    }

    /// Prints the heading and the rows of the processor time; a database's has a column of its own.
    fn show_cpu(&self, title: &str) {
        const LIMIT: f64 = 150.0;
        let programs = self.usage.programs;
        let show = |cpu: f64| format!("{cpu:.0} µs");
        if let Some(database) = self.usage.database {
            columns(
                &format!("{title}: processor time"),
                &["what", "programs", "server", "together", "limit of the programs", ""],
            );
            row(&[
                "processor time a lead",
                &show(programs),
                &show(database),
                &show(programs + database),
                &format!("≤ {LIMIT} µs"),
                word(programs <= LIMIT),
            ]);
            table(title);
        } else {
            table(title);
            at_most("processor time a lead", &show(programs), programs, LIMIT, "µs");
        }
        figure(
            "processor time of the simulated services, the sender and the relay",
            &show(self.usage.bench),
        );
    }
}

/// Leads that come one by one while nothing else happens; on a server of PostgreSQL, if one is given.
pub async fn alone(options: &Options, server: Option<&str>) {
    let ids = options.ids();
    let place = Place::new(server);
    let services = Services::start().await;
    let program = [place.program(&services, &[("TAG_DELAY", "1s")]).await];
    // What is asked at the start has been answered by then.
    travel(&services, ids, &program, None, 1).await;
    let before = services.bigin.model().credits_used();
    let way = Way::Single(1);
    send(
        &[program[0].address],
        vec![request(&services, ids, 1_000_000, way)],
        way,
    )
    .await;
    until_sent(&services, 2).await;
    let credits = services.bigin.model().credits_used() - before;

    let mut took = Series::default();
    for nth in 0..options.pick(101, 3) {
        let webhook = request(&services, ids, 2_000_000 + nth, way);
        let upserts = || {
            services
                .bigin
                .model()
                .calls
                .iter()
                .filter(|call| call.kind == CallKind::Upsert)
                .count()
        };
        let known = upserts();
        let began = services.clock.now();
        send(&[program[0].address], vec![webhook], way).await;
        while upserts() == known {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let last = services
            .bigin
            .model()
            .calls
            .iter()
            .rev()
            .find(|call| call.kind == CallKind::Upsert)
            .unwrap()
            .at;
        took.add(micros(until(began, last)) / 1000.0);
        // Until it is quiet again.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    table("A lead that comes alone");
    at_most(
        "credits of a lead with an email",
        &credits.to_string(),
        f64::from(credits),
        2.0,
        "",
    );
    assert_eq!(credits, 2, "an upsert and a tag");
    let shown = format!("{:.2} ms, 95th percentile {:.2} ms", took.median(), took.percentile(95));
    at_most(
        "from the webhook until Bigin has the upsert, median",
        &shown,
        took.median(),
        5.0,
        "ms",
    );
}
