//! The log of a run, kept in memory.

use std::io;
use std::sync::{Arc, Mutex};

use bigin_sync::clock::Clock as _;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::world::VirtualClock;

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

struct VirtualTime(Arc<VirtualClock>);

impl FormatTime for VirtualTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        write!(writer, "{:.3}", self.0.now())
    }
}

impl Log {
    pub fn subscriber(&self, clock: Arc<VirtualClock>) -> impl Subscriber + Send + Sync + use<> {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_timer(VirtualTime(clock))
            .with_env_filter(EnvFilter::new("info"))
            .with_writer(self.clone())
            .finish()
    }

    pub fn bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
