//! What it costs to take a webhook: the program, which stores it, beside Node and beside a server that stores nothing. Each
//! round starts every server afresh, sends it the same webhooks, kills it, and counts what its file holds.

use std::path::Path;

use crate::load::{Way, send, webhooks};
use crate::machine::Size;
use crate::program::{Server, Services, stored_in_file};
use crate::rows::{Series, at_least, at_most, figure, table};

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Program,
    VerifyOnly,
    Node,
    NodeGroup,
}

impl Who {
    const ALL: [Self; 4] = [Self::Program, Self::VerifyOnly, Self::Node, Self::NodeGroup];

    fn label(self) -> &'static str {
        match self {
            Self::Program => "bigin-sync",
            Self::VerifyOnly => "actix, signature only",
            Self::Node => "Node, a commit each",
            Self::NodeGroup => "Node, commits of whatever has come",
        }
    }

    async fn start(self, services: &Services, folder: &Path) -> Server {
        let file = folder.join("bigin-sync.db");
        match self {
            Self::Program => Server::paused_program(services, folder, &[]).await,
            Self::VerifyOnly => Server::verify_only(),
            Self::Node => Server::node(&file, "each"),
            Self::NodeGroup => Server::node(&file, "group"),
        }
    }
}

/// Runs the group.
pub async fn run(size: Size) {
    let services = Services::start().await;
    let ways = [
        ("64 connections", Way::Kept(64), size.pick(40_000, 500)),
        ("a connection each, 64 at once", Way::Single(64), size.pick(8_000, 200)),
        ("a connection each, one at a time", Way::Single(1), size.pick(3_000, 50)),
    ];
    for (title, way, count) in ways {
        let mut measured = Who::ALL.map(|who| (who, Series::default(), Series::default()));
        for _ in 0..size.pick(5, 1) {
            for (who, cpu, took) in &mut measured {
                let (busy, times) = round(*who, &services, way, count).await;
                cpu.add(busy);
                took.add(times.median());
            }
        }
        show(title, way, &measured);
    }
}

/// The processor time of one request in microseconds, and how long each took.
async fn round(who: Who, services: &Services, way: Way, count: usize) -> (f64, Series) {
    let folder = tempfile::tempdir().unwrap();
    let server = who.start(services, folder.path()).await;
    // What is made once is not what a webhook costs. Node's compiler needs some thousands to get going.
    let warm_up = webhooks("warmup", count / 4, way);
    let count = if matches!(who, Who::Node | Who::NodeGroup) {
        count / 4
    } else {
        count
    };
    let requests = webhooks("measured", count, way);
    let warmed_up = warm_up.len();
    send(server.address, warm_up, way).await;
    let before = server.cpu();
    let took = send(server.address, requests, way).await;
    let busy = server.cpu() - before;
    server.kill();
    if who != Who::VerifyOnly {
        assert_eq!(
            stored_in_file(&folder.path().join("bigin-sync.db")),
            warmed_up + count,
            "{who:?}"
        );
    }
    (busy / count as f64, took)
}

fn show(title: &str, way: Way, measured: &[(Who, Series, Series)]) {
    table(&format!("A webhook: {title}"));
    for (who, cpu, took) in measured {
        figure(&format!("{}: processor time a webhook", who.label()), &cpu.show("µs"));
        figure(
            &format!("{}: until it is answered, median", who.label()),
            &took.show("µs"),
        );
    }
    let of = |who| measured.iter().find(|(of, ..)| *of == who).unwrap().1.median();
    let beside_node = of(Who::Node) / of(Who::Program);
    let beside_group = of(Who::NodeGroup) / of(Who::Program);
    let beside_floor = of(Who::Program) / of(Who::VerifyOnly);
    let (node, floor) = (format!("{beside_node:.2} times"), format!("{beside_floor:.2} times"));
    let (node_what, floor_what) = (
        "Node's processor time beside the program's",
        "the program's beside checking alone",
    );
    if matches!(way, Way::Kept(_)) {
        at_least(node_what, &node, beside_node, 8.0, "times");
        at_most(floor_what, &floor, beside_floor, 1.5, "times");
        println!("\nAfter every round the file held every acknowledged webhook, though its owner was killed.");
    } else {
        figure(node_what, &node);
        figure(floor_what, &floor);
    }
    figure(
        "Node's with common commits beside the program's",
        &format!("{beside_group:.2} times"),
    );
}
