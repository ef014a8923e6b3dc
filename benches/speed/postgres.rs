//! The same on PostgreSQL, on a server of its own on this machine, whose processor time is counted too; and three replicas
//! that share it beside one. The server can be as far away as one in the same data centre.

use std::time::Duration;

use bigin_sync::clock::{Clock as _, SystemClock, until};
use tempfile::TempDir;

use crate::cluster::{Cluster, make_database, tell};
use crate::footprint;
use crate::ids::Ids;
use crate::journey::{alone, travel};
use crate::load::{Way, send, ways, webhooks};
use crate::machine::micros;
use crate::options::Options;
use crate::program::{Server, Services, addresses, stored_on_server};
use crate::proxy;
use crate::rows::{Series, at_least, columns, row, table};
use crate::usage::Usage;

const REPLICAS: [usize; 2] = [1, 3];

/// A PostgreSQL server.
struct Peer {
    cluster: Cluster,
    /// Where the programs find it.
    url: String,
}

/// Runs the group.
pub async fn run(options: &Options) {
    let peer = Peer::start(options.latency);
    // In the short form enough for the kernel's clock of 10 ms, and not too many where each waits for several round trips.
    let most = if options.quick { 8_000 } else { 20_000 };
    let ways = ways(
        options.quick,
        [(most, 200), (10_000, 200), (1_000, 20)].map(|(all, few)| options.pick(all, few)),
    );
    for (title, way, count) in ways {
        let mut measured = REPLICAS.map(|_| Webhooks::default());
        for _ in 0..options.rounds() {
            for (replicas, measured) in REPLICAS.into_iter().zip(&mut measured) {
                measured.add(round(&peer, replicas, options.ids(), way, count).await);
            }
        }
        show(title, way, &measured);
    }
    for replicas in if options.quick { &REPLICAS[..1] } else { &REPLICAS[..] } {
        for leads in options.journeys(&[1_000, 10_000, 100_000]) {
            let services = Services::start().await;
            let database = make_database(&peer.url);
            let (programs, _folders) = start(&services, &database, *replicas).await;
            let figures = travel(&services, options.ids(), &programs, Some(peer.postmaster()), *leads).await;
            figures.show(&format!(
                "{leads} leads requested at once, on PostgreSQL: {replicas} of the program"
            ));
            programs.into_iter().for_each(Server::kill);
            peer.drop_database(&database);
        }
    }
    if !options.quick {
        alone(options, Some(&peer.url)).await;
        footprint::run(options, Some(&peer.url)).await;
    }
}

impl Peer {
    /// Starts one, so far away, and prints what a round trip to it takes.
    fn start(latency: Option<Duration>) -> Self {
        let cluster = Cluster::start();
        let direct = cluster.url("postgres");
        println!("round trip to PostgreSQL, median: {}", round_trip(&direct));
        let url = match latency {
            None => direct,
            Some(latency) => {
                let [server, relayed] = [cluster.port, proxy::start(cluster.port, latency)];
                let url = direct.replace(&format!(":{server}/"), &format!(":{relayed}/"));
                println!("with a latency of {latency:?}: {}", round_trip(&url));
                url
            }
        };
        Self { cluster, url }
    }

    fn postmaster(&self) -> u32 {
        self.cluster.postmaster().parse().unwrap()
    }

    /// The server visits each database from time to time, which would be counted in what is measured next.
    fn drop_database(&self, address: &str) {
        let name = address.rsplit(['/', '?']).nth(1).unwrap();
        tell(&self.url, &format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}

/// The median of the time to the answer of the smallest statement.
fn round_trip(url: &str) -> String {
    let url = url.to_owned();
    // The client waits for the server, which a task must not.
    let measure = move || {
        let clock = SystemClock::new();
        let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
        let mut took = Series::default();
        for _ in 0..301 {
            let began = clock.now();
            client.simple_query("").unwrap();
            took.add(micros(until(began, clock.now())));
        }
        format!("{:.0} µs", took.median())
    };
    std::thread::spawn(measure).join().unwrap()
}

async fn start(services: &Services, database: &str, replicas: usize) -> (Vec<Server>, Vec<TempDir>) {
    let folders: Vec<_> = (0..replicas).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut programs = Vec::new();
    for folder in &folders {
        programs.push(Server::program(services, folder.path(), &[("DATABASE_URL", database)]).await);
    }
    (programs, folders)
}

/// What a round of webhooks has cost.
struct Round {
    /// Of each webhook.
    usage: Usage,
    /// The median time to the answer, in microseconds.
    answered: f64,
    /// Webhooks a second.
    rate: f64,
    /// How many of the machine's cores were busy on average.
    cores: f64,
}

/// The rounds of one number of replicas.
#[derive(Default)]
struct Webhooks {
    programs: Series,
    server: Series,
    together: Series,
    answered: Series,
    rate: Series,
    cores: Series,
}

impl Webhooks {
    fn add(&mut self, round: Round) {
        let server = round.usage.database.unwrap();
        self.programs.add(round.usage.programs);
        self.server.add(server);
        self.together.add(round.usage.programs + server);
        self.answered.add(round.answered);
        self.rate.add(round.rate);
        self.cores.add(round.cores);
    }
}

/// Sends webhooks to an empty database, as many at once to each of the replicas.
async fn round(peer: &Peer, replicas: usize, ids: Ids, way: Way, count: usize) -> Round {
    let way = way.times(replicas);
    let services = Services::start().await;
    let database = make_database(&peer.url);
    let (programs, _folders) = start(&services, &database, replicas).await;
    programs[0].api("POST", "/api/pause").await;
    let (warm_up, requests) = (
        webhooks(ids, "warmup", count / 4, way),
        webhooks(ids, "measured", count, way),
    );
    let sent = warm_up.len() + requests.len();
    send(&addresses(&programs), warm_up, way).await;
    let usage = || Usage::now(&programs, Some(peer.postmaster()));
    let (began, before) = (services.clock.now(), usage());
    let took = send(&addresses(&programs), requests, way).await;
    let (wall, usage) = (until(began, services.clock.now()), usage().since(before));
    programs.into_iter().for_each(Server::kill);
    assert_eq!(
        stored_on_server(&database),
        sent,
        "every acknowledged webhook is stored"
    );
    peer.drop_database(&database);
    Round {
        usage: usage.each(count),
        answered: took.median(),
        rate: count as f64 / wall.as_secs_f64(),
        cores: usage.machine / micros(wall),
    }
}

fn show(title: &str, way: Way, measured: &[Webhooks; 2]) {
    columns(
        &format!("A webhook on PostgreSQL: {title}"),
        &[
            "processor time a webhook",
            "programs",
            "server",
            "together",
            "until it is answered, median",
            "webhooks a second",
            "busy cores of the machine",
        ],
    );
    for (replicas, of) in REPLICAS.into_iter().zip(measured) {
        row(&[
            &format!("{replicas} of the program"),
            &of.programs.show("µs"),
            &of.server.show("µs"),
            &of.together.show("µs"),
            &of.answered.show("µs"),
            &of.rate.show(""),
            &format!("{:.2}", of.cores.median()),
        ]);
    }
    if matches!(way, Way::Kept(_)) {
        let [one, three] = [&measured[0], &measured[1]];
        let beside = three.rate.median() / one.rate.median();
        table("Three replicas beside one");
        at_least(
            "webhooks a second, 64 connections to each",
            &format!("{beside:.2} times"),
            beside,
            1.5,
            "times",
        );
    }
}
