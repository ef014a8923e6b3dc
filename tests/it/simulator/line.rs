//! The line between one replica and the PostgreSQL server: passes bytes on, and is cut, goes silent or becomes slow.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How a replica ends a transaction that writes (`Db::commit`).
const COMMIT: &[u8] = b"nothing_failed; COMMIT";

/// What happens to a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Every connection is closed at once.
    Cut,
    /// What is sent in these directions is taken, and does not arrive before the line is well again.
    Silent { requests: bool, answers: bool },
    /// Whatever is sent takes so long.
    Slow(Duration),
    /// The next connection that commits is cut: before the server has heard of it, or before its answer arrives.
    AtCommit { carried_out: bool },
}

/// What holds on a line.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// A connection ends when this has grown.
    cuts: usize,
    requests: bool,
    answers: bool,
    delay: Duration,
    at_commit: Option<bool>,
}

/// A line. It ends, with all its connections, when it is dropped.
pub struct Line {
    /// Where the replica finds the server.
    pub port: u16,
    state: Arc<watch::Sender<State>>,
    struck: Arc<[AtomicUsize; 2]>,
}

impl Line {
    /// A line to the server on this port of this machine.
    pub async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            state: Arc::new(watch::Sender::default()),
            struck: Arc::default(),
        };
        let end = Connection {
            server,
            state: line.state.subscribe(),
            // The line ends with the last of those who can change it.
            sender: Arc::downgrade(&line.state),
            struck: Arc::clone(&line.struck),
        };
        tokio::spawn(async move {
            let mut ends = end.state.clone();
            let over = async { while ends.changed().await.is_ok() {} };
            let accept = async {
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    tokio::spawn(end.clone().pass(client));
                }
            };
            tokio::select! { () = over => {}, () = accept => {} }
        });
        line
    }

    pub fn strike(&self, fault: Fault) {
        self.state.send_modify(|state| match fault {
            Fault::Cut => state.cuts += 1,
            Fault::Silent { requests, answers } => (state.requests, state.answers) = (requests, answers),
            Fault::Slow(delay) => state.delay = delay,
            Fault::AtCommit { carried_out } => state.at_commit = Some(carried_out),
        });
    }

    /// The line is well again; what was held back arrives now.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            *state = State {
                cuts: state.cuts,
                at_commit: state.at_commit,
                ..State::default()
            }
        });
    }

    /// Nothing more is to happen.
    pub fn forgive(&self) {
        self.state.send_modify(|state| state.at_commit = None);
        self.heal();
    }

    /// Commits that did not arrive, and commits whose answer did not.
    pub fn struck(&self) -> [usize; 2] {
        [0, 1].map(|which| self.struck[which].load(Ordering::Relaxed))
    }
}

#[derive(Clone)]
struct Connection {
    server: u16,
    state: watch::Receiver<State>,
    sender: std::sync::Weak<watch::Sender<State>>,
    struck: Arc<[AtomicUsize; 2]>,
}

impl Connection {
    /// Passes on what both ends say, until one of them or the line ends.
    async fn pass(self, client: TcpStream) {
        let cuts = self.state.borrow().cuts;
        // As if nobody listened, where the server is down.
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)).await else {
            return;
        };
        let mut state = self.state.clone();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let is_deaf = AtomicBool::new(false);
        tokio::select! {
            // Whatever ends it ends both directions; there is nothing to be told.
            _ = self.requests(from_client, to_server, &is_deaf) => {}
            _ = self.answers(from_server, to_client, &is_deaf) => {}
            _ = state.wait_for(|state| state.cuts != cuts) => {}
        }
    }

    async fn requests(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_deaf: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).await?;
            if read == 0 {
                return Ok(());
            }
            if bytes[..read].windows(COMMIT.len()).any(|window| window == COMMIT) {
                match self.at_commit() {
                    Some(false) => return Ok(()),
                    Some(true) => is_deaf.store(true, Ordering::Relaxed),
                    None => {}
                }
            }
            self.wait(|state| state.requests).await;
            to.write_all(&bytes[..read]).await?;
        }
    }

    async fn answers(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        is_deaf: &AtomicBool,
    ) -> std::io::Result<()> {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = from.read(&mut bytes).await?;
            if read == 0 || is_deaf.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.wait(|state| state.answers).await;
            to.write_all(&bytes[..read]).await?;
        }
    }

    /// Waits as long as the line takes.
    async fn wait(&self, is_held: impl Fn(&State) -> bool) {
        let mut state = self.state.clone();
        // Where the line has ended, the select above ends this too.
        let _ = state.wait_for(|state| !is_held(state)).await;
        let delay = state.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Whether this commit is to be struck, and if so whether it is carried out.
    fn at_commit(&self) -> Option<bool> {
        let sender = self.sender.upgrade()?;
        let mut strike = None;
        sender.send_if_modified(|state| {
            strike = state.at_commit.take();
            strike.is_some()
        });
        let carried_out = strike?;
        self.struck[usize::from(carried_out)].fetch_add(1, Ordering::Relaxed);
        Some(carried_out)
    }
}
