//! The real program as a child process, on real time, with nothing of this machine's settings.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bigin_sync::clock::{SharedClock, SystemClock};
use bigin_sync::domain::retry::RetryPolicy;
use bigin_sync::fake::bigin::FakeBigin;
use bigin_sync::fake::sanity::FakeSanity;
use bigin_sync::signature::{self, sign};
use bigin_sync::store::{Ledger, Store, StoreSettings, sqlite};
use serde_json::{Value, json};

use crate::cluster;
use crate::world::{ADMIN_TOKEN, client, no_tag_before_its_time, secs, with};

/// What a program that works does well within.
const PATIENCE: Duration = Duration::from_secs(40);

/// The delay of these tests.
pub const TAG_DELAY: Duration = Duration::from_secs(1);

pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_bigin-sync"))
}

/// Both fakes on real time, and a folder for the program.
pub struct Stage {
    pub bigin: FakeBigin,
    pub sanity: FakeSanity,
    pub folder: tempfile::TempDir,
    pub env: BTreeMap<String, String>,
    pub program: PathBuf,
}

impl Stage {
    pub async fn new() -> Self {
        let clock: SharedClock = Arc::new(SystemClock::new());
        let bigin = FakeBigin::start(clock.clone()).await.unwrap();
        let sanity = FakeSanity::start(clock).await.unwrap();
        let env = [
            ("SANITY_PROJECT_ID", sanity.project_id().to_owned()),
            ("SANITY_API_URL", sanity.url()),
            ("SANITY_API_WRITE_TOKEN", sanity.token().to_owned()),
            ("SANITY_WEBHOOK_SECRET", sanity.webhook_secret().to_owned()),
            ("BIGIN_CLIENT_ID", bigin.client_id()),
            ("BIGIN_CLIENT_SECRET", bigin.client_secret()),
            ("BIGIN_REFRESH_TOKEN", bigin.refresh_token()),
            ("BIGIN_ACCOUNTS_URL", bigin.url()),
            ("ADMIN_TOKEN", ADMIN_TOKEN.to_owned()),
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
            ("TAG_DELAY", "1s".to_owned()),
            ("LEASE_DURATION", "3s".to_owned()),
            ("RETRY_BASE_DELAY", "50ms".to_owned()),
            ("RECONCILE_INTERVAL", "0s".to_owned()),
            ("LOG_FORMAT", "json".to_owned()),
        ];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self {
            bigin,
            sanity,
            folder: tempfile::tempdir().unwrap(),
            env,
            program: env!("CARGO_BIN_EXE_bigin-sync").into(),
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .env_clear()
            .envs(&self.env)
            .current_dir(self.folder.path());
        command
    }

    /// Starts the program, and waits until it listens.
    pub async fn serve(&self) -> Process {
        self.serve_by(self.command()).await
    }

    /// The same, with a wall clock that is wrong by so much.
    pub async fn serve_at(&self, offset: &str) -> Process {
        let mut command = self.command();
        command
            .env("LD_PRELOAD", cluster::faketime())
            .env("FAKETIME", offset)
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        self.serve_by(command).await
    }

    /// The same, behind a shell that first sets limits.
    pub async fn serve_limited(&self, limits: &str) -> Process {
        self.serve_after(Command::new("/bin/sh"), limits).await
    }

    /// The same, with a disk of so many bytes in the folder, which nobody but the program sees.
    pub async fn serve_on_disk_of(&self, bytes: usize) -> (Process, PathBuf) {
        let disk = self.folder.path().join("disk");
        std::fs::create_dir(&disk).unwrap();
        let mut shell = Command::new("unshare");
        shell.args(["--user", "--map-root-user", "--mount", "/bin/sh"]);
        let process = self
            .serve_after(shell, &format!("mount -t tmpfs -o size={bytes} disk disk"))
            .await;
        let seen = PathBuf::from(format!("/proc/{}/root{}", process.child.id(), disk.display()));
        (process, seen)
    }

    /// Has a shell do something before it becomes the program.
    async fn serve_after(&self, mut command: Command, before: &str) -> Process {
        let program = env!("CARGO_BIN_EXE_bigin-sync");
        command.args(["-c", &format!("{before}; exec '{program}' serve")]);
        command.env_clear().envs(&self.env).current_dir(self.folder.path());
        self.serve_by(command).await
    }

    /// Starts the program with further settings and a log file of its own, and does not wait for it: a replica among others.
    pub fn spawn(&self, log: &str, settings: &BTreeMap<String, String>) -> Child {
        let mut command = self.command();
        command.envs(settings);
        self.child(command, log)
    }

    fn child(&self, mut command: Command, log: &str) -> Child {
        let mut file = std::fs::OpenOptions::new();
        let file = file
            .create(true)
            .append(true)
            .open(self.folder.path().join(log))
            .unwrap();
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command.spawn().unwrap()
    }

    async fn serve_by(&self, command: Command) -> Process {
        let started = self.log().len();
        let child = self.child(command, "log");
        let mut process = Process {
            child,
            url: String::new(),
        };
        let url = eventually("the program listens", || {
            assert!(process.child.try_wait().unwrap().is_none(), "it ended: {}", self.log());
            let log = self.log();
            let mut lines = log[started..]
                .lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let address = lines.find_map(|line| line["address"].as_str().map(str::to_owned));
            async { address }
        })
        .await;
        process.url = format!("http://{url}");
        self.sanity.set_webhook(&format!("{}/webhooks/sanity", process.url));
        process
    }

    /// Publishes a lead that asks to be sent, and delivers the webhook.
    pub async fn request(&self, lead: Value) {
        self.sanity
            .model()
            .publish(with(lead, json!({ "crmStatus": "REQUESTED" })))
            .unwrap();
        self.sanity.deliver_due().await;
    }

    /// A signed webhook to the program at this address; the status and the answer's body, where it answers.
    pub async fn webhook_to(&self, url: &str, lead: &str, rev: &str) -> Option<(u16, Value)> {
        let body = json!({ "_id": lead, "_type": "dbrLead", "_rev": rev, "crmStatus": "REQUESTED" }).to_string();
        let secret = self.sanity.webhook_secret().as_bytes();
        let signature = sign(body.as_bytes(), 1_795_000_000_000, secret);
        let request = client()
            .post(format!("{url}/webhooks/sanity"))
            .header(signature::HEADER, signature);
        let answer = request.body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        Some((status, answer.json().await.unwrap_or_default()))
    }

    pub fn says(&self, lead: &str, field: &str) -> Option<String> {
        self.sanity.model().text(lead, field).map(str::to_owned)
    }

    /// Waits until the lead says this status.
    pub async fn until_status(&self, lead: &str, status: &str) {
        let what = format!("{lead} says {status}");
        eventually(&what, || async {
            (self.says(lead, "crmStatus").as_deref() == Some(status)).then_some(())
        })
        .await;
    }

    /// What the program has stored, read after it has ended.
    pub async fn ledger(&self) -> Ledger {
        open(&self.folder.path().join("bigin-sync.db")).ledger().await.unwrap()
    }

    /// What must hold at the end of every one of these stories.
    pub async fn finish(self) {
        let ledger = self.ledger().await;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!(ledger.in_progress, 0, "{ledger:?}");
        no_tag_before_its_time(&self.bigin.model().changes, TAG_DELAY);
        nothing_personal_in(&self.log(), &self.bigin.refresh_token());
    }
}

pub fn nothing_personal_in(log: &str, refresh_token: &str) {
    let personal = ["example.org", "7700900", "07700 900", "Invented Street", "Tell me more"];
    for text in personal.into_iter().chain([refresh_token]) {
        assert!(!log.contains(text), "{text:?} is in the log: {log}");
    }
}

pub fn settings() -> StoreSettings {
    let retry = RetryPolicy {
        base_delay: secs(1),
        max_delay: secs(1),
        give_up_after: secs(1),
    };
    StoreSettings {
        lease: secs(3),
        tag_delay: TAG_DELAY,
        ambiguity_delay: TAG_DELAY,
        retry,
    }
}

pub fn open(path: &Path) -> Store {
    sqlite::open(path, Arc::new(SystemClock::new()), Arc::default(), settings()).unwrap()
}

/// The running program; killed when the test lets go of it.
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Process {
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub async fn ended(mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the program ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    /// Stops it gently, which must end well.
    pub async fn stop(self) {
        self.terminate();
        assert!(self.ended().await.success());
    }

    /// A signed webhook for a lead of this id; `rev` makes it distinct.
    pub async fn webhook(&self, stage: &Stage, lead: &str, rev: &str) -> u16 {
        self.try_webhook(stage, lead, rev).await.expect("it answers")
    }

    /// The same; `None` where nobody answers.
    pub async fn try_webhook(&self, stage: &Stage, lead: &str, rev: &str) -> Option<u16> {
        let (status, _) = stage.webhook_to(&self.url, lead, rev).await?;
        Some(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended where the story went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `look` finds something. Real programs take real time, so this is the one place that looks again and again.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("still not so after {PATIENCE:?}: {what}"),
    }
}

/// Runs a command that ends by itself; its exit code, standard output and standard error.
pub fn run(mut command: Command) -> (i32, String, String) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (child.wait().unwrap().code().unwrap(), out, err)
}
