//! The servers that are measured, each a process of its own: the program as it is released, and those beside it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::{SharedClock, SystemClock};
use bigin_sync::fake::bigin::FakeBigin;
use bigin_sync::fake::sanity::FakeSanity;
use clap::ValueEnum as _;
use tempfile::TempDir;

use crate::cluster::make_database;
use crate::load::{self, ADMIN_TOKEN, SECRET};
use crate::machine::{cpu_of, memory_of};
use crate::options::Group;

/// The program.
const PROGRAM: &str = env!("CARGO_BIN_EXE_bigin-sync");

/// Both services as the program finds them, in this process.
pub struct Services {
    pub bigin: FakeBigin,
    pub sanity: FakeSanity,
    pub clock: SharedClock,
}

impl Services {
    pub async fn start() -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        Self {
            bigin: FakeBigin::start(clock.clone()).await.unwrap(),
            sanity: FakeSanity::start(clock.clone()).await.unwrap(),
            clock,
        }
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("SANITY_PROJECT_ID", self.sanity.project_id().to_owned()),
            ("SANITY_API_URL", self.sanity.url()),
            ("SANITY_API_WRITE_TOKEN", self.sanity.token().to_owned()),
            ("SANITY_WEBHOOK_SECRET", SECRET.to_owned()),
            ("BIGIN_CLIENT_ID", self.bigin.client_id()),
            ("BIGIN_CLIENT_SECRET", self.bigin.client_secret()),
            ("BIGIN_REFRESH_TOKEN", self.bigin.refresh_token()),
            ("BIGIN_ACCOUNTS_URL", self.bigin.url()),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ])
    }
}

/// A folder for the program to run in, and its database: a file there, or one of its own on a server.
pub struct Place {
    pub folder: TempDir,
    database: Option<String>,
}

impl Place {
    pub fn new(server: Option<&str>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            database: server.map(make_database),
        }
    }

    /// Starts the program there.
    pub async fn program(&self, services: &Services, settings: &[(&str, &str)]) -> Server {
        let database = self.database.as_deref().map(|url| ("DATABASE_URL", url));
        let settings: Vec<_> = settings.iter().copied().chain(database).collect();
        Server::program(services, self.folder.path(), &settings).await
    }

    /// The file, where the database is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.database
            .is_none()
            .then(|| self.folder.path().join("bigin-sync.db"))
    }

    /// How many webhooks the database holds, after whatever happened to the program: a sync each.
    pub fn stored(&self) -> usize {
        match &self.database {
            None => stored_in_file(&self.folder.path().join("bigin-sync.db"), "sync"),
            Some(database) => stored_on_server(database),
        }
    }
}

/// How many webhooks a file holds in a table, after whatever happened to its owner. Each is of another lead.
pub fn stored_in_file(file: &Path, table: &str) -> usize {
    let database = rusqlite::Connection::open(file).unwrap();
    let count = format!("SELECT count(DISTINCT lead_id) FROM {table}");
    database.query_row(&count, [], |row| row.get(0)).unwrap()
}

/// The same of a database on a server.
pub fn stored_on_server(database: &str) -> usize {
    let database = database.to_owned();
    // The client waits for the server, which a task must not.
    let count = move || {
        let mut client = postgres::Client::connect(&database, postgres::NoTls).unwrap();
        let row = client
            .query_one("SELECT count(DISTINCT lead_id) FROM sync", &[])
            .unwrap();
        usize::try_from(row.get::<_, i64>(0)).unwrap()
    };
    std::thread::spawn(count).join().unwrap()
}

/// Where these servers are.
pub fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

/// A server that runs; killed when it is dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
}

impl Server {
    /// Starts the program in a folder and waits until it takes connections. Everything that is not in `settings` is as it is
    /// by default; its log goes to a file, as under most hosts.
    pub async fn program(services: &Services, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("serve").env_clear().envs(services.settings());
        command
            .env("LISTEN_ADDR", port.to_string())
            .envs(settings.iter().copied());
        let child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let mut server = Self {
            child: child.unwrap(),
            address: port,
        };
        while load::connect(server.address).await.is_err() {
            assert!(
                server.child.try_wait().unwrap().is_none(),
                "the program has ended: see its log"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server
    }

    /// The same, while a person has paused all work: requests are stored and nothing else happens.
    pub async fn paused_program(services: &Services, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let server = Self::program(services, folder, settings).await;
        server.api("POST", "/api/pause").await;
        server
    }

    /// The program that Node is measured by. `mode` may be `group`; see benches/node/server.mjs.
    pub fn node(file: &Path, mode: &str) -> Self {
        let peer = Path::new(PROGRAM).ancestors().nth(2).unwrap().join("bench-node");
        assert!(peer.join("node_modules").exists(), "run benches/node/install first");
        let own = peer.join("venv/bin/node");
        let node = if own.exists() { own } else { PathBuf::from("node") };
        // What PyPI brings is a program that starts Node, whose time would not be Node's.
        let itself = Command::new(node)
            .args(["-p", "process.execPath"])
            .output()
            .unwrap()
            .stdout;
        let mut command = Command::new(String::from_utf8(itself).unwrap().trim());
        command.arg(peer.join("server.mjs")).arg(file).arg(mode);
        command
            .env("NODE_ENV", "production")
            .env("SANITY_WEBHOOK_SECRET", SECRET);
        Self::that_prints_its_address(command)
    }

    /// The server that checks signatures and stores nothing.
    pub fn verify_only() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(Group::VerifyOnly.to_possible_value().unwrap().get_name());
        Self::that_prints_its_address(command)
    }

    fn that_prints_its_address(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.trim().strip_prefix("http://").expect("it prints its address");
        Self {
            address: address.parse().unwrap(),
            child,
        }
    }

    /// Asks the program's API for something, which must be done.
    pub async fn api(&self, method: &str, path: &str) {
        let mut stream = load::connect(self.address).await.unwrap();
        let status = load::exchange(&mut stream, &load::api(method, path)).await.unwrap();
        assert!((200..300).contains(&status), "{path} is answered {status}");
    }

    /// Its processor time so far, in microseconds.
    pub fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// Memory that is its own or shared and resident, in MiB: now, and the most it has been.
    pub fn memory(&self) -> (f64, f64) {
        let pid = self.child.id();
        (memory_of(pid, "VmRSS"), memory_of(pid, "VmHWM"))
    }

    /// Ends it from one instruction to the next.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended where it was killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
