//! The same on PostgreSQL, on a server of its own on this machine; and three replicas that share it beside one.

use crate::cluster::{Cluster, make_database};
use crate::footprint;
use crate::ids::Ids;
use crate::journey::{alone, travel};
use crate::load::{Way, send, webhooks};
use crate::options::Options;
use crate::program::{Server, Services, stored_on_server};
use crate::rows::{Series, figure, table};

/// Runs the group.
pub async fn run(options: &Options) {
    let cluster = Cluster::start();
    let server = cluster.url("postgres");
    for replicas in [1, 3] {
        let ways = [
            ("64 connections", Way::Kept(64), options.pick(10_000, 200)),
            (
                "a connection each, 64 at once",
                Way::Single(64),
                options.pick(10_000, 200),
            ),
            (
                "a connection each, one at a time",
                Way::Single(1),
                options.pick(1_000, 20),
            ),
        ];
        table(&format!("A webhook on PostgreSQL: {replicas} of the program"));
        for (title, way, count) in ways {
            let (mut cpu, mut took) = (Series::default(), Series::default());
            for _ in 0..options.rounds() {
                let (busy, median) = round(&server, replicas, options.ids(), way, count).await;
                cpu.add(busy);
                took.add(median);
            }
            figure(
                &format!("{title}: processor time a webhook, all together"),
                &cpu.show("µs"),
            );
            figure(&format!("{title}: until it is answered, median"), &took.show("µs"));
        }
        for leads in options.journeys(&[1_000, 10_000, 100_000]) {
            let services = Services::start().await;
            let (programs, _folders) = start(&services, &make_database(&server), replicas).await;
            let figures = travel(&services, options.ids(), &programs, *leads).await;
            figures.show(&format!(
                "{leads} leads requested at once, on PostgreSQL: {replicas} of the program"
            ));
        }
    }
    alone(options, Some(&server)).await;
    footprint::run(options, Some(&server)).await;
}

async fn start(services: &Services, database: &str, replicas: usize) -> (Vec<Server>, Vec<tempfile::TempDir>) {
    let folders: Vec<_> = (0..replicas).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut programs = Vec::new();
    for folder in &folders {
        programs.push(Server::program(services, folder.path(), &[("DATABASE_URL", database)]).await);
    }
    (programs, folders)
}

/// The processor time of one request, and the median time to its answer; the requests are spread over the replicas.
async fn round(server: &str, replicas: usize, ids: Ids, way: Way, count: usize) -> (f64, f64) {
    let services = Services::start().await;
    let database = make_database(server);
    let (programs, _folders) = start(&services, &database, replicas).await;
    programs[0].api("POST", "/api/pause").await;
    let share = match way {
        Way::Kept(at_once) => Way::Kept(at_once / replicas),
        Way::Single(at_once) => Way::Single((at_once / replicas).max(1)),
    };
    let all = |name: &'static str, count: usize| {
        let programs = &programs;
        async move {
            let one = |nth: usize, program: &Server| {
                let address = program.address;
                let requests = webhooks(ids, &format!("{name}{nth}"), count / replicas, share);
                tokio::spawn(send(address, requests, share))
            };
            let senders: Vec<_> = programs
                .iter()
                .enumerate()
                .map(|(nth, program)| one(nth, program))
                .collect();
            let mut medians = Series::default();
            for sender in senders {
                medians.add(sender.await.unwrap().median());
            }
            medians.median()
        }
    };
    all("warmup", count / 4).await;
    let cpu = || programs.iter().map(Server::cpu).sum::<f64>();
    let before = cpu();
    let took = all("measured", count).await;
    let busy = (cpu() - before) / count as f64;
    programs.into_iter().for_each(Server::kill);
    let sent = count / replicas * replicas + count / 4 / replicas * replicas;
    assert_eq!(
        stored_on_server(&database),
        sent,
        "every acknowledged webhook is stored"
    );
    (busy, took)
}
