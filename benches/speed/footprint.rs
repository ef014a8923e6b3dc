//! Memory, and the time from the start of the process to the first webhook that is stored.

use std::time::Duration;

use bigin_sync::clock::until;

use crate::ids::Ids;
use crate::journey::travel;
use crate::load::{Way, send, webhook, webhooks};
use crate::machine::micros;
use crate::options::Options;
use crate::program::{Place, Services};
use crate::rows::{Series, at_most, figure, table};

/// Runs the group; on a server of PostgreSQL, if one is given.
pub async fn run(options: &Options, server: Option<&str>) {
    let ids = options.ids();
    let services = Services::start().await;
    table("Memory, and the start");

    let place = Place::new(server);
    let quiet = || tokio::time::sleep(options.pick(Duration::from_secs(10), Duration::from_millis(100)));
    let program = [place.program(&services, &[("TAG_DELAY", "1s")]).await];
    quiet().await;
    let (now, most) = program[0].memory();
    let shown = format!("{now:.1} MiB (at most {most:.1})");
    at_most("resident when idle", &shown, now, 20.0, "MB");
    // What is loaded with the first lead, such as the numbering plans, stays.
    travel(&services, ids, &program, None, 100).await;
    quiet().await;
    let (now, most) = program[0].memory();
    let shown = format!("{now:.1} MiB (at most {most:.1})");
    figure("resident when idle again, after 100 leads", &shown);
    drop(program);

    let starts = options.pick(21, 2);
    let mut fresh = Series::default();
    for nth in 0..starts {
        fresh.add(start(&services, &Place::new(server), ids, nth).await);
    }
    at_most(
        "from the start to the first 202, with an empty database",
        &fresh.show("ms"),
        fresh.median(),
        100.0,
        "ms",
    );

    let waiting = options.pick(100_000, 300);
    let place = Place::new(server);
    let program = place.program(&services, &[]).await;
    program.api("POST", "/api/pause").await;
    let way = Way::Kept(64);
    send(&[program.address], webhooks(ids, "waiting", waiting, way), way).await;
    let (now, most) = program.memory();
    let shown = format!("{now:.1} MiB (at most {most:.1})");
    at_most(
        &format!("resident with {waiting} leads that wait"),
        &shown,
        now,
        64.0,
        "MB",
    );
    program.kill();
    assert_eq!(place.stored(), waiting);
    if let Some(file) = place.file() {
        let length = std::fs::metadata(file).unwrap().len() as f64;
        figure(
            "the file, a lead that waits",
            &format!("{:.0} bytes", length / waiting as f64),
        );
    }

    let mut again = Series::default();
    for nth in 0..starts {
        again.add(start(&services, &place, ids, nth).await);
    }
    let what = format!("from the start to the first 202, with {waiting} leads that wait");
    at_most(&what, &again.show("ms"), again.median(), 1000.0, "ms");
    assert_eq!(place.stored(), waiting + starts);
}

/// Milliseconds from the start of the process to the answer to a webhook that is sent as soon as it takes connections. It is
/// killed then.
async fn start(services: &Services, place: &Place, ids: Ids, nth: usize) -> f64 {
    let way = Way::Single(1);
    let webhook = webhook(&ids.lead("first", nth), &ids.revision("first", nth), way);
    let began = services.clock.now();
    let program = place.program(services, &[]).await;
    send(&[program.address], vec![webhook], way).await;
    let took = until(began, services.clock.now());
    program.kill();
    micros(took) / 1000.0
}
