//! What it costs to take a webhook: the program, which stores it, beside Node and beside a server that stores nothing. Each
//! round starts every server afresh, sends it the same webhooks, kills it, and counts what its file holds.

use std::path::Path;

use crate::ids::Ids;
use crate::load::{Way, send, ways, webhooks};
use crate::options::Options;
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
    const ALL: &[Self] = &[Self::Program, Self::VerifyOnly, Self::Node, Self::NodeGroup];

    /// What shows the effect of a change. Checking alone does not change with the program, only with the machine's load.
    const QUICK: &[Self] = &[Self::Program, Self::VerifyOnly];

    fn label(self) -> &'static str {
        match self {
            Self::Program => "bigin-sync",
            Self::VerifyOnly => "actix, signature only",
            Self::Node => "Node, a commit each",
            Self::NodeGroup => "Node, commits of whatever has come",
        }
    }

    /// Where it stores webhooks.
    fn table(self) -> Option<&'static str> {
        match self {
            Self::Program => Some("sync"),
            Self::VerifyOnly => None,
            Self::Node | Self::NodeGroup => Some("delivery"),
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
pub async fn run(options: &Options) {
    let services = Services::start().await;
    let ways = ways(
        options.quick,
        [(40_000, 500), (8_000, 200), (3_000, 50)].map(|(all, few)| options.pick(all, few)),
    );
    let measured = if options.quick { Who::QUICK } else { Who::ALL };
    for (title, way, count) in ways {
        let mut measured: Vec<_> = measured
            .iter()
            .map(|who| (*who, Series::default(), Series::default()))
            .collect();
        for _ in 0..options.rounds() {
            for (who, cpu, took) in &mut measured {
                let (busy, times) = round(*who, &services, options.ids(), way, count).await;
                cpu.add(busy);
                took.add(times.median());
            }
        }
        show(title, way, &measured);
    }
}

/// The processor time of one request in microseconds, and how long each took. Every server gets the same webhooks.
async fn round(who: Who, services: &Services, ids: Ids, way: Way, count: usize) -> (f64, Series) {
    let folder = tempfile::tempdir().unwrap();
    let server = who.start(services, folder.path()).await;
    // What is made once is not what a webhook costs. Node's compiler needs some thousands to get going.
    let warm_up = webhooks(ids, "warmup", count / 4, way);
    let requests = webhooks(ids, "measured", count, way);
    let warmed_up = warm_up.len();
    send(&[server.address], warm_up, way).await;
    let before = server.cpu();
    let took = send(&[server.address], requests, way).await;
    let busy = server.cpu() - before;
    server.kill();
    if let Some(table) = who.table() {
        let stored = stored_in_file(&folder.path().join("bigin-sync.db"), table);
        assert_eq!(stored, warmed_up + count, "{who:?}");
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
    let median = |wanted| {
        let found = measured.iter().find(|(who, ..)| *who == wanted);
        found.map(|(_, cpu, _)| cpu.median())
    };
    let is_target = matches!(way, Way::Kept(_));
    let beside = |who, other| Some(median(who)? / median(other)?);
    let times = |beside: f64| format!("{beside:.2} times");
    if let Some(node) = beside(Who::Node, Who::Program) {
        let what = "Node's processor time beside the program's";
        if is_target {
            at_least(what, &times(node), node, 8.0, "times");
        } else {
            figure(what, &times(node));
        }
    }
    if let Some(group) = beside(Who::NodeGroup, Who::Program) {
        figure("Node's with common commits beside the program's", &times(group));
    }
    if let Some(floor) = beside(Who::Program, Who::VerifyOnly) {
        let what = "the program's beside checking alone";
        if is_target {
            at_most(what, &times(floor), floor, 1.5, "times");
        } else {
            figure(what, &times(floor));
        }
    }
    if is_target {
        println!("\nAfter every round the file held every acknowledged webhook, though its owner was killed.");
    }
}
