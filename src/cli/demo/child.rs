//! The real service as a child process, which can be killed and restarted. Its environment has its settings only, and its folder
//! is empty, so that nothing of the user's has an effect.

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

/// A start takes less than a second, but longer on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Lines of the log that are shown after a failure.
const TAIL_LINES: usize = 15;

/// Another program may use the port for a moment.
const MAX_STARTS: usize = 30;
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The service, and its log through all restarts.
pub(super) struct Service {
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
    address: SocketAddr,
    // Killed when dropped.
    child: Child,
    log: Log,
}

/// JSON lines.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The last lines, to find the cause of a failure.
    pub(super) fn tail(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default();
        last.join("\n")
    }
}

impl Service {
    /// Starts it in `folder` on a port that the system chooses, and waits until it listens.
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

    /// `http://127.0.0.1:PORT`, the same after a restart.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Kills it with SIGKILL, which no process can catch or delay, and waits for its end.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot kill the service")
    }

    /// Restarts it with the same files and port.
    pub(super) async fn restart(&mut self) -> anyhow::Result<()> {
        let mut tries = 1;
        loop {
            match spawn(&self.folder, &self.settings, self.address, &self.log).await {
                Ok((child, _)) => {
                    self.child = child;
                    return Ok(());
                }
                Err(error) if tries == MAX_STARTS => return Err(error),
                Err(_) => tokio::time::sleep(RETRY_INTERVAL).await,
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
    let program = std::env::current_exe().context("cannot find the program's own file")?;
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
        .context("cannot start the service")?;
    let lines = child.stderr.take().context("the service has no log")?;
    let (listens, listening) = oneshot::channel();
    tokio::spawn(read(lines, log.clone(), listens));
    // The sender is dropped when the log ends with the process.
    match tokio::time::timeout(START_TIMEOUT, listening).await {
        Ok(Ok(address)) => Ok((child, address)),
        Ok(Err(_)) => anyhow::bail!("the service stopped right after its start"),
        Err(_) => anyhow::bail!(
            "the service did not start to listen within {} s",
            START_TIMEOUT.as_secs()
        ),
    }
}

/// Stores the log, and sends the address that its first lines contain.
async fn read(lines: ChildStderr, log: Log, listens: oneshot::Sender<SocketAddr>) {
    let mut lines = BufReader::new(lines).lines();
    let mut listens = Some(listens);
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(address) = listens.is_some().then(|| address(&line)).flatten()
            && let Some(listens) = listens.take()
        {
            // After the timeout there is no receiver.
            let _ = listens.send(address);
        }
        log.add(line);
    }
}

fn address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("address")?.as_str()?.parse().ok()
}
