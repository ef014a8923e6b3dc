//! A PostgreSQL server of the tests' own: made from the installed programs in a folder of its own, run by a user who is not
//! root, and gone when the test lets go of it.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bigin_sync::clock::SharedClock;
use bigin_sync::database::Database;
use bigin_sync::store::{Store, StoreSettings, postgres as postgres_store, sqlite};
use secrecy::SecretString;

/// Where a run of the stories finds the server that they are to run on, if not on SQLite.
pub const SERVER: &str = "BIGIN_SYNC_TEST_POSTGRES";

/// Who runs the server where the tests are run by root, whom PostgreSQL refuses.
const USER: &str = "postgres";

const PASSWORD: &str = "invented-password";

/// A running server.
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    /// Of this machine.
    pub port: u16,
}

impl Cluster {
    /// Makes a server and starts it, on a port of this machine.
    pub fn start() -> Self {
        Self::start_on(any_port())
    }

    /// The same on this port: one that the system gives nobody else while the server is down.
    pub fn start_on(port: u16) -> Self {
        let cluster = Self::prepare(port);
        let password = cluster.folder.path().join("password");
        let data = cluster.data();
        let mut init = cluster.program("initdb");
        init.args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]);
        run(init.arg("--pwfile").arg(password).arg("--pgdata").arg(data));
        cluster.resume();
        cluster
    }

    /// A standby of this server, with a port of its own.
    pub fn standby(&self) -> Self {
        let standby = Self::prepare(any_port());
        standby.follow(self);
        standby
    }

    /// The folder of a server that is not there yet.
    fn prepare(port: u16) -> Self {
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir_in("/tmp").unwrap();
        std::fs::write(folder.path().join("password"), PASSWORD).unwrap();
        if is_root() {
            run(Command::new("chown").args(["-R", USER]).arg(folder.path()));
        }
        Self {
            programs: programs(),
            port,
            folder,
        }
    }

    /// Makes it, while it is stopped, a standby of `primary`, and starts it as that.
    pub fn follow(&self, primary: &Self) {
        if self.data().exists() {
            std::fs::remove_dir_all(self.data()).unwrap();
        }
        let mut copy = self.program("pg_basebackup");
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--dbname"]);
        run(copy.arg(primary.url("postgres")).arg("--pgdata").arg(self.data()));
        self.resume();
    }

    /// Makes the standby the primary.
    pub fn promote(&self) {
        let mut promote = self.program("pg_ctl");
        run(promote
            .args(["promote", "--wait", "--silent", "--pgdata"])
            .arg(self.data()));
    }

    /// The address of a database of this server, with `other` as the host to try next.
    pub fn url_with(&self, other: &Self, database: &str) -> String {
        let hosts = [self, other].map(|cluster| format!("127.0.0.1:{}", cluster.port));
        self.url(database).replace(&hosts[0], &hosts.join(","))
    }

    /// Lets it speak TLS, with a certificate that it has signed itself; the path of the certificate.
    pub fn speak_tls(&self) -> PathBuf {
        let [certificate, key] = ["server.crt", "server.key"].map(|name| self.data().join(name));
        let mut make = self.wrapped(Path::new("openssl"));
        make.args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ]);
        make.args([
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        run(make.arg("-keyout").arg(&key).arg("-out").arg(&certificate));
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .unwrap();
        writeln!(settings, "ssl = on").unwrap();
        let mut reload = self.program("pg_ctl");
        run(reload
            .args(["restart", "--wait", "--silent", "--options", &self.options(), "--log"])
            .arg(self.folder.path().join("log"))
            .arg("--pgdata")
            .arg(self.data()));
        std::fs::set_permissions(self.folder.path(), Permissions::from_mode(0o755)).unwrap();
        certificate
    }

    /// Starts it again where it was, after [`Cluster::crash`].
    pub fn resume(&self) {
        let options = self.options();
        let mut start = if self.clock().exists() {
            let preload = format!("LD_PRELOAD={}", faketime().display());
            let clock = format!("FAKETIME_TIMESTAMP_FILE={}", self.clock().display());
            let mut start = self.wrapped(Path::new("env"));
            start.args([
                &preload,
                &clock,
                "FAKETIME_NO_CACHE=1",
                "FAKETIME_DONT_FAKE_MONOTONIC=1",
            ]);
            start.arg(self.programs.join("pg_ctl"));
            start
        } else {
            self.program("pg_ctl")
        };
        start.args(["start", "--wait", "--silent", "--options", &options]);
        let log = self.folder.path().join("log");
        start.arg("--log").arg(&log).arg("--pgdata").arg(self.data());
        let output = start.output().unwrap();
        let log = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(output.status.success(), "{start:?}: {output:?}: {}", log());
    }

    /// Stops it as a crash does: what was committed is found again from the log.
    pub fn crash(&self) {
        let mut stop = self.program("pg_ctl");
        run(stop
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.data()));
    }

    /// Ends it with `kill -9`, and all its connections with it.
    pub fn kill(&self) {
        let (postmaster, _) = self.processes();
        run(Command::new("kill").args(["-STOP", &postmaster]));
        // From here on it starts no other.
        wait_until(|| state(&postmaster) == Some('T'));
        let (_, children) = self.processes();
        let all = children.iter().chain([&postmaster]);
        // Where one of its children has ended meanwhile, `kill` says so, and ends the others.
        let mut kill = Command::new("kill");
        kill.arg("-KILL").args(all.clone()).stderr(Stdio::null());
        kill.status().unwrap();
        // One that has ended stays on as a zombie until somebody asks for its end.
        wait_until(|| all.clone().all(|process| matches!(state(process), None | Some('Z'))));
        // A zombie would pass for a running server.
        let lock = format!(".s.PGSQL.{}.lock", self.port);
        for lock in [self.data().join("postmaster.pid"), self.folder.path().join(lock)] {
            std::fs::remove_file(lock).unwrap();
        }
    }

    /// Holds the server and all its connections as they are, which then say nothing any more, or lets them go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { "-STOP" } else { "-CONT" };
        let (postmaster, children) = self.processes();
        run(Command::new("kill").arg(signal).arg(&postmaster).args(children));
    }

    /// The id of the server's first process.
    pub fn postmaster(&self) -> String {
        let postmaster = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        postmaster.lines().next().unwrap().to_owned()
    }

    /// That, and the ids of the processes that it has started.
    fn processes(&self) -> (String, Vec<String>) {
        let postmaster = self.postmaster();
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap();
        let children = children.split_whitespace().map(str::to_owned).collect();
        (postmaster, children)
    }

    /// Sets its clock apart from this machine's by so much, like `+1h`. One that was started before the first time goes by
    /// this machine's clock until it is started again.
    pub fn set_clock(&self, offset: &str) {
        // Never half written to a server that reads it all the time.
        let new = self.folder.path().join("clock-new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, self.clock()).unwrap();
    }

    fn clock(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// The address of a database.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://postgres:{PASSWORD}@127.0.0.1:{}/{database}?sslmode=disable",
            self.port
        )
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self) -> String {
        format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c max_connections=300",
            self.port,
            self.folder.path().display()
        )
    }

    fn program(&self, name: &str) -> Command {
        self.wrapped(&self.programs.join(name))
    }

    /// A program that is run by a user who is not root.
    fn wrapped(&self, path: &Path) -> Command {
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
                .arg(path);
            command
        } else {
            Command::new(path)
        };
        command.current_dir(self.folder.path()).env_remove("LC_ALL");
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        let stop = stop
            .args(["stop", "--mode=immediate", "--silent", "--pgdata"])
            .arg(self.data());
        // It has ended where the story was that it does.
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

fn any_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Makes an empty database on the server of this address, and returns the address of the database.
pub fn make_database(server: &str) -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    let name = format!("t{}_{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
    let address = server.replace("/postgres?", &format!("/{name}?"));
    assert_ne!(address, server, "it is the address of the database postgres");
    tell(server, &format!("CREATE DATABASE {name}"));
    address
}

/// Has the server carry out a statement.
pub fn tell(server: &str, statement: &str) {
    ask(server, statement);
}

/// The first column of what a statement finds.
pub fn ask(server: &str, statement: &str) -> Vec<String> {
    // The client waits for the server, which a task must not.
    std::thread::scope(|scope| {
        let ask = || {
            let mut client = postgres::Client::connect(server, postgres::NoTls).unwrap();
            let found = client.simple_query(statement).unwrap();
            let rows = found.iter().filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            rows.collect()
        };
        scope.spawn(ask).join().unwrap()
    })
}

/// The server that the stories are to run on, if not on SQLite.
#[expect(
    clippy::disallowed_methods,
    reason = "the tests' own switch, set by the test that runs them once more"
)]
pub fn server() -> Option<String> {
    std::env::var(SERVER).ok()
}

/// The database of a story: a file in its folder, or an empty one on the server that the stories are to run on.
pub fn database(folder: &Path) -> Database {
    match server() {
        None => Database::Sqlite(folder.join("bigin-sync.db")),
        Some(server) => {
            drop_databases_of_ended_stories(&server);
            let address = make_database(&server);
            let name = address.rsplit(['/', '?']).nth(1).unwrap().to_owned();
            OF_STORIES.lock().unwrap().push((folder.to_owned(), name));
            Database::parse(&SecretString::from(address)).unwrap()
        }
    }
}

/// The folders of the stories on a server, with the names of their databases.
static OF_STORIES: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// A story's database goes with its folder, as the file would: hundreds of them, of 8 MB each, fill a small disk.
fn drop_databases_of_ended_stories(server: &str) {
    let mut of_stories = OF_STORIES.lock().unwrap();
    let ended: Vec<_> = of_stories.extract_if(.., |(folder, _)| !folder.exists()).collect();
    drop(of_stories);
    for (_, name) in ended {
        tell(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
    }
}

/// Opens a store, whatever its engine.
pub fn open(database: &Database, clock: SharedClock, settings: StoreSettings) -> Store {
    try_open(database, clock, settings).unwrap()
}

pub fn try_open(database: &Database, clock: SharedClock, settings: StoreSettings) -> anyhow::Result<Store> {
    match database {
        Database::Sqlite(path) => Ok(sqlite::open(path, clock, Arc::default(), settings)?),
        // It waits for the server, which a task must not.
        Database::Postgres(address) => std::thread::scope(|scope| {
            let open = || postgres_store::open(address, clock, Arc::default(), settings);
            Ok(scope.spawn(open).join().unwrap()?)
        }),
    }
}

/// The folder of the newest installed server's programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed");
    let programs = versions.map(|version| version.unwrap().path().join("bin"));
    programs
        .filter(|path| path.join("initdb").exists())
        .max()
        .expect("PostgreSQL's server is installed")
}

/// What is loaded before a program to tell it another time.
pub fn faketime() -> PathBuf {
    let library = std::fs::read_dir("/usr/lib").unwrap().filter_map(|folder| {
        let library = folder.unwrap().path().join("faketime/libfaketime.so.1");
        library.exists().then_some(library)
    });
    library.last().expect("libfaketime is installed")
}

/// What a process does: running, sleeping, stopped; `None` where there is none.
fn state(process: &str) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(") ").next()?.chars().next()
}

fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
