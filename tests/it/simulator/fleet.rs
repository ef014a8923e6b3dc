//! The processes of a run and what they share: one on a file, or several replicas on a PostgreSQL server, each by a line of
//! its own.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::line::Line;
use super::plan::Dice;
use super::power::{self, Power};
use crate::cluster::{self, Cluster};
use crate::process::{Process, Stage, eventually};

/// The pause before a replica that could not start is started again, as a supervisor would.
const RESTART: Duration = Duration::from_millis(300);

/// A load balancer has noticed by then that a replica does not answer.
const NOTICED: Duration = Duration::from_millis(500);

/// What the line of the log has that says where the program listens.
const LISTENS: &str = "\"address\"";

/// The tables of the store.
const TABLES: [&str; 10] = [
    "sync",
    "event",
    "claim",
    "lead",
    "breaker",
    "counter",
    "kv",
    "lock",
    "token_grant",
    "credit",
];

/// What a run takes place on.
#[derive(Clone, Copy)]
pub enum Ground<'a> {
    /// A file.
    File,
    /// A file, with a power cut at each end of the process; or with only a look at what one would leave.
    PowerCuts { is_only_a_look: bool },
    /// A server.
    Server(&'a Cluster),
}

/// What the processes share.
enum Database<'a> {
    File { path: PathBuf, power: Option<Box<Power>> },
    Server(Server<'a>),
}

struct Server<'a> {
    cluster: &'a Cluster,
    /// The database of this run.
    url: String,
    down_until: Option<Instant>,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Crash {
    /// As it does itself when it stops at once.
    Immediate,
    /// By `kill -9`.
    Kill,
}

/// One process, over all its lives.
struct Replica {
    url: String,
    port: u16,
    log: String,
    settings: BTreeMap<String, String>,
    line: Option<Line>,
    process: Option<Process>,
    /// Where in the log the life of now begins.
    life: usize,
    /// When one that has ended starts again.
    starts_at: Instant,
    is_listening: bool,
    is_stopping: bool,
    /// Since when and until when it is stopped (SIGSTOP).
    frozen: Option<(Instant, Instant)>,
}

/// All of them.
pub struct Fleet<'a> {
    database: Database<'a>,
    replicas: Vec<Replica>,
    next: usize,
    /// Starts that failed since the database was not there.
    pub failed_starts: usize,
}

impl<'a> Fleet<'a> {
    /// One process on a file, or several replicas on a server, in a database of their own.
    pub async fn new(stage: &Stage, number: usize, ground: Ground<'a>, dice: Dice) -> Self {
        let path = stage.folder.path().canonicalize().unwrap().join("bigin-sync.db");
        let database = match ground {
            Ground::File => Database::File { path, power: None },
            Ground::PowerCuts { is_only_a_look } => Database::File {
                power: Some(Box::new(Power::new(&path, dice, is_only_a_look))),
                path,
            },
            Ground::Server(cluster) => Database::Server(Server {
                cluster,
                url: cluster::make_database(&cluster.url("postgres")),
                down_until: None,
            }),
        };
        let mut fleet = Self {
            database,
            replicas: Vec::new(),
            next: 0,
            failed_starts: 0,
        };
        for number in 0..number {
            fleet.add(stage, number).await;
        }
        for number in 0..number {
            fleet.listening(stage, number).await;
        }
        fleet.route(stage);
        fleet
    }

    async fn add(&mut self, stage: &Stage, number: usize) {
        let port = own_port();
        let mut settings = BTreeMap::from([("LISTEN_ADDR".to_owned(), format!("127.0.0.1:{port}"))]);
        let line = match &self.database {
            Database::File { .. } => None,
            Database::Server(server) => {
                let line = Line::to(server.cluster.port).await;
                let [direct, by_line] = [server.cluster.port, line.port].map(|port| format!(":{port}/"));
                settings.insert("DATABASE_URL".to_owned(), server.url.replace(&direct, &by_line));
                Some(line)
            }
        };
        self.replicas.push(Replica {
            url: format!("http://127.0.0.1:{port}"),
            port,
            log: if number == 0 {
                "log".to_owned()
            } else {
                format!("log-{number}")
            },
            settings,
            line,
            process: None,
            life: 0,
            starts_at: Instant::now(),
            is_listening: false,
            is_stopping: false,
            frozen: None,
        });
        self.start(stage, number);
    }

    fn start(&mut self, stage: &Stage, number: usize) {
        let replica = &mut self.replicas[number];
        if let Database::File { power: Some(power), .. } = &mut self.database {
            replica.settings.extend(power.begin_life());
        }
        replica.life = replica.log(stage).len();
        replica.process = Some(Process {
            child: stage.spawn(&replica.log, &replica.settings),
            url: replica.url.clone(),
        });
        replica.is_listening = false;
    }

    async fn listening(&mut self, stage: &Stage, number: usize) {
        let replica = &mut self.replicas[number];
        eventually("the program listens", || {
            let ended = replica.process.as_mut().unwrap().child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {}", replica.log(stage));
            let listens = replica.listens(stage).then_some(());
            async move { listens }
        })
        .await;
        replica.is_listening = true;
    }

    /// What is due: a server and processes that start again, replicas that go on. Then the webhook leads to the next replica.
    pub async fn tend(&mut self, stage: &Stage) {
        let now = Instant::now();
        if let Database::Server(server) = &mut self.database
            && server.down_until.is_some_and(|until| until <= now)
        {
            server.cluster.resume();
            server.down_until = None;
        }
        for number in 0..self.replicas.len() {
            let replica = &mut self.replicas[number];
            if replica.frozen.is_some_and(|(_, until)| until <= now) {
                replica.signal(Signal::CONT);
                replica.frozen = None;
            }
            if replica.process.is_some() {
                self.look_after(stage, number);
            } else if replica.starts_at <= now {
                self.start(stage, number);
                if matches!(self.database, Database::File { .. }) {
                    self.listening(stage, number).await;
                }
            }
        }
        self.route(stage);
    }

    /// Whether it has begun to listen, or has ended by itself.
    fn look_after(&mut self, stage: &Stage, number: usize) {
        let replica = &mut self.replicas[number];
        if let Some(status) = replica.process.as_mut().unwrap().child.try_wait().unwrap() {
            if replica.is_stopping {
                assert!(status.success(), "it did not stop well: {}", replica.log(stage));
            } else {
                let life = replica.log(stage).split_off(replica.life);
                assert!(!life.contains(LISTENS), "{status}, by itself: {life}");
                assert!(life.contains("the database at"), "{status}, for another reason: {life}");
                self.failed_starts += 1;
                replica.starts_at = Instant::now() + RESTART;
            }
            replica.process = None;
            replica.is_stopping = false;
            replica.is_listening = false;
            // It was stopped after its end.
            replica.frozen = None;
        } else if !replica.is_listening {
            replica.is_listening = replica.listens(stage);
        }
    }

    /// The next replica that a load balancer takes for well gets the next webhooks.
    fn route(&mut self, stage: &Stage) {
        if let Some(url) = self.next_url() {
            stage.sanity.set_webhook(&format!("{url}/webhooks/sanity"));
        }
    }

    /// The address of the next replica that a load balancer takes for well.
    pub fn next_url(&mut self) -> Option<String> {
        let number = self.replicas.len();
        self.next += 1;
        let mut in_turn = (0..number).map(|step| &self.replicas[(self.next + step) % number]);
        let found = in_turn.find(|replica| {
            let is_seen_frozen = replica.frozen.is_some_and(|(since, _)| since.elapsed() > NOTICED);
            replica.is_listening && !is_seen_frozen
        });
        found.map(|replica| replica.url.clone())
    }

    /// Whether this replica runs at all.
    pub fn is_running(&self, number: usize) -> bool {
        self.replicas[number].process.is_some()
    }

    pub fn kill(&mut self, number: usize, down_for: Duration) {
        let replica = &mut self.replicas[number];
        if let Some(process) = replica.process.take() {
            process.kill();
            self.database.end_life();
        }
        let replica = &mut self.replicas[number];
        replica.starts_at = Instant::now() + down_for;
        replica.is_listening = false;
        replica.is_stopping = false;
        replica.frozen = None;
    }

    /// Stops it gently. On a file it is started again at once; a replica when it has ended.
    pub async fn stop(&mut self, stage: &Stage, number: usize) {
        let replica = &mut self.replicas[number];
        let Some(process) = &replica.process else { return };
        match &self.database {
            Database::File { .. } => {
                replica.process.take().unwrap().stop().await;
                self.database.end_life();
                self.start(stage, number);
                self.listening(stage, number).await;
            }
            Database::Server(_) if replica.is_listening => {
                process.terminate();
                replica.is_stopping = true;
                replica.is_listening = false;
                replica.starts_at = Instant::now();
            }
            // One that does not listen yet would not end well.
            Database::Server(_) => {}
        }
    }

    /// Stops it where it is (SIGSTOP) for a time.
    pub fn freeze(&mut self, number: usize, time: Duration) {
        let replica = &mut self.replicas[number];
        if replica.process.is_some() && replica.frozen.is_none() {
            replica.signal(Signal::STOP);
            replica.frozen = Some((Instant::now(), Instant::now() + time));
        }
    }

    /// Ends the server, for a time.
    pub fn crash(&mut self, how: Crash, down_for: Duration) {
        if let Database::Server(server) = &mut self.database
            && server.down_until.is_none()
        {
            match how {
                Crash::Immediate => server.cluster.crash(),
                Crash::Kill => server.cluster.kill(),
            }
            server.down_until = Some(Instant::now() + down_for);
        }
    }

    pub fn line(&self, number: usize) -> &Line {
        self.replicas[number].line.as_ref().unwrap()
    }

    /// When the last of those that have ended, or are held, is there again.
    pub fn is_whole(&self) -> bool {
        let has_server = !matches!(&self.database, Database::Server(server) if server.down_until.is_some());
        let is_well = |replica: &Replica| replica.is_listening && replica.frozen.is_none();
        has_server && self.replicas.iter().all(is_well)
    }

    /// All lines are well, and stay so.
    pub fn forgive(&self) {
        for line in self.replicas.iter().filter_map(|replica| replica.line.as_ref()) {
            line.forgive();
        }
    }

    /// The first column of what is found; nothing where the server is down.
    pub fn look(&self, sql: &str) -> Vec<String> {
        match &self.database {
            Database::File { path, power } => {
                // What is left of a life, the next one is to find as it is.
                let copy = power
                    .as_ref()
                    .filter(|_| !self.is_running(0))
                    .map(|_| power::copied(path));
                let path = copy.as_ref().map_or(path, |(_, path)| path);
                let database = Connection::open(path).unwrap();
                let mut query = database.prepare(sql).unwrap();
                let rows = query.query_map([], |row| row.get(0)).unwrap();
                rows.map(|row| row.unwrap()).collect()
            }
            Database::Server(server) if server.down_until.is_some() => Vec::new(),
            Database::Server(server) => cluster::ask(&server.url, sql),
        }
    }

    pub fn tell(&self, sql: &str) {
        match &self.database {
            Database::File { path, .. } => Connection::open(path).unwrap().execute_batch(sql).unwrap(),
            Database::Server(server) => cluster::tell(&server.url, sql),
        }
    }

    /// All that is stored on the server; a file is looked at as it is.
    pub fn stored(&self) -> String {
        match &self.database {
            Database::File { .. } => String::new(),
            Database::Server(_) => {
                let rows = TABLES.map(|table| {
                    self.look(&format!("SELECT CAST({table} AS TEXT) FROM {table}"))
                        .join("\n")
                });
                rows.join("\n")
            }
        }
    }

    /// Commits that did not arrive, and commits whose answer did not.
    pub fn struck_commits(&self) -> [usize; 2] {
        let lines = self.replicas.iter().filter_map(|replica| replica.line.as_ref());
        lines.fold([0, 0], |[lost, unknown], line| {
            let struck = line.struck();
            [lost + struck[0], unknown + struck[1]]
        })
    }

    /// Stops all of them gently; what power cuts did.
    pub async fn end(mut self) -> power::Report {
        for replica in self.replicas {
            replica.process.unwrap().stop().await;
        }
        self.database.end_life();
        match self.database {
            Database::File { power, .. } => power.map(|power| power.report).unwrap_or_default(),
            Database::Server(server) => {
                let name = server.url.rsplit(['/', '?']).nth(1).unwrap();
                let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                cluster::tell(&server.cluster.url("postgres"), &drop);
                power::Report::default()
            }
        }
    }
}

impl Database<'_> {
    /// A process has ended, and the power with it where it is cut.
    fn end_life(&mut self) {
        if let Self::File { power: Some(power), .. } = self {
            power.end_life();
        }
    }
}

impl Replica {
    fn log(&self, stage: &Stage) -> String {
        std::fs::read_to_string(stage.folder.path().join(&self.log)).unwrap_or_default()
    }

    /// Whether it takes requests, and will stop gently where it is told to.
    fn listens(&self, stage: &Stage) -> bool {
        TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.log(stage)[self.life..].contains(LISTENS)
    }

    fn signal(&self, signal: Signal) {
        let child = &self.process.as_ref().unwrap().child;
        kill_process(Pid::from_child(child), signal).unwrap();
    }
}

/// A port that the program keeps over its lives, and that nobody is given who asks the system for any: else the webhooks for
/// a program that has been killed would reach the next one to be started, of another seed.
pub fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 12_000 + u16::try_from(std::process::id() % 80).unwrap() * 200;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 200;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
