//! The real service as a process of its own, which can be killed and started again. It sees nothing of the user's: an
//! empty environment but for its settings, and an empty folder to run in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;

/// A start takes well under a second; a machine that is busy building something may take longer.
const START: Duration = Duration::from_secs(20);

/// Lines of the log that are shown where something went wrong.
const TAIL: usize = 15;

/// Another program may hold the port for a moment after the restart.
const TRIES: usize = 30;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// The service, and what it has logged in all its lives.
pub(super) struct Service {
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
    address: SocketAddr,
    // Killed when dropped.
    child: Child,
    log: Log,
}

/// Lines of JSON.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    /// All lines so far.
    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The last lines, for somebody who has to find out what went wrong.
    pub(super) fn tail(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        last.join("\n")
    }
}

impl Service {
    /// Starts it in `folder` with these settings, on a port that the system chooses, and waits until it listens.
    pub(super) async fn start(
        folder: PathBuf,
        settings: Vec<(&'static str, String)>,
        log: Log,
    ) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (child, address) = spawn(&folder, &settings, any, &log).await?;
        Ok(Self {
            folder,
            settings,
            address,
            child,
            log,
        })
    }

    /// `http://127.0.0.1:PORT`, the same in every life.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it with SIGKILL, which no process can catch or delay, and waits until it is dead.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("the service could not be killed")
    }

    /// Starts it again on the same files and the same port.
    pub(super) async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut tries = 1;
        loop {
            match spawn(&self.folder, &self.settings, self.address, &self.log).await {
                Ok((child, _)) => {
                    self.child = child;
                    return Ok(());
                }
                Err(error) if tries == TRIES => return Err(error),
                Err(_) => tokio::time::sleep(BETWEEN_TRIES).await,
            }
            tries += 1;
        }
    }
}

async fn spawn(
    folder: &PathBuf,
    settings: &[(&'static str, String)],
    listen: SocketAddr,
    log: &Log,
) -> anyhow::Result<(Child, SocketAddr)> {
    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let mut child = Command::new(program)
        .arg("serve")
        .env_clear()
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .env("LISTEN_ADDR", listen.to_string())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the service cannot be started")?;
    let lines = child.stderr.take().context("the service has no log")?;
    let (listens, heard) = oneshot::channel();
    tokio::spawn(read(lines, log.clone(), listens));
    // The sender is dropped when the log ends, which it does with the process.
    match tokio::time::timeout(START, heard).await {
        Ok(Ok(address)) => Ok((child, address)),
        Ok(Err(_)) => anyhow::bail!("the service ended right after its start"),
        Err(_) => anyhow::bail!("the service did not listen within {} s", START.as_secs()),
    }
}

/// Keeps the log, and tells of the address that it names.
async fn read(lines: ChildStderr, log: Log, listens: oneshot::Sender<SocketAddr>) {
    let mut lines = BufReader::new(lines).lines();
    let mut listens = Some(listens);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = listens.is_some().then(|| address(&line)).flatten()
            && let Some(listens) = listens.take()
        {
            // Nobody waits for it any more once the start has taken too long.
            let _ = listens.send(address);
        }
        log.add(line);
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("address")?.as_str()?.parse().ok()
}
