//! Sanity: a strict Content Lake in memory, behind real HTTP. Edit its [`Model`] as an editor would, then let it deliver its
//! webhooks. What is known of the real one is named at its place (official docs, source of Sanity's own packages); what is
//! not known is marked as an assumption.

mod doc;
mod fault;
mod groq;
mod hooks;
mod model;
mod mutate;
mod reply;
mod routes;
mod studio;
mod webhook;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix_web::web::Data;
use jiff::Timestamp;

pub use doc::{DocSwitches, WithoutContent};
pub use fault::{Fault, Faults, Kind, RetryAfter};
pub use model::{By, Call, Change, Document, Model, Transaction};
pub use studio::Impossible;
pub use webhook::{Attempt, FILTER, Message, MessageState, PROJECTION, WEBHOOK_ID, Webhooks};

use super::Server;
use crate::clock::SharedClock;
use crate::outbound;

/// The type of a lead's document.
pub const LEAD_TYPE: &str = "dbrLead";
const PROJECT_ID: &str = "inv3nted";
const DATASET: &str = "production";
const TOKEN: &str = "skInventedRobotTokenOfTheFake";
const MANAGEMENT_TOKEN: &str = "skInventedDeveloperTokenOfTheFake";
const WEBHOOK_SECRET: &str = "invented webhook secret";

/// A Content Lake with one project and one dataset, at an address of its own.
pub struct FakeSanity {
    shared: Data<Shared>,
    server: Server,
    client: reqwest::Client,
    /// Held by whoever delivers: a webhook has one request at a time (official docs, webhooks).
    delivering: tokio::sync::Mutex<()>,
}

/// What the server's thread shares with us.
struct Shared(Arc<Mutex<Model>>);

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeSanity {
    /// Starts an empty one on a free port of this machine. It keeps its time by `clock`.
    ///
    /// # Errors
    /// Where the port cannot be opened or the client for webhooks cannot be built.
    pub async fn start(clock: SharedClock) -> io::Result<Self> {
        let shared = Data::new(Shared(Arc::new(Mutex::new(Model::new(clock)))));
        let data = shared.clone();
        let server = Server::start(move |config| {
            config.app_data(data.clone());
            routes::configure(config);
        })?;
        let client = outbound::local_client("Sanity.io webhook delivery").map_err(io::Error::other)?;
        Ok(Self {
            shared,
            server,
            client,
            delivering: tokio::sync::Mutex::default(),
        })
    }

    /// The base address, for `SANITY_API_URL`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// The one project's id.
    pub fn project_id(&self) -> &str {
        PROJECT_ID
    }

    /// The one dataset's name.
    pub fn dataset(&self) -> &str {
        DATASET
    }

    /// The one token the API of documents accepts: of the role Editor, which may not see webhooks.
    pub fn token(&self) -> &str {
        TOKEN
    }

    /// The one token that may see webhooks: of the role Developer.
    pub fn management_token(&self) -> &str {
        MANAGEMENT_TOKEN
    }

    /// The secret that webhooks are signed with, unless [`Webhooks::secret`] was changed.
    pub fn webhook_secret(&self) -> &str {
        WEBHOOK_SECRET
    }

    /// The documents and the switches. The server waits while this is held: not to be held across an await.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.shared.model()
    }

    /// Sets up the webhook to call `url`. What changed before is not reported.
    pub fn set_webhook(&self, url: &str) {
        self.model().webhooks.url = Some(url.to_owned());
    }

    /// Delivers every webhook message that is due by the clock, one after the other, and those that became due meanwhile.
    /// Returns how many attempts were made.
    pub async fn deliver_due(&self) -> usize {
        let _turn = self.delivering.lock().await;
        let mut attempts = 0;
        loop {
            let due = self.due();
            if due.is_empty() {
                return attempts;
            }
            for message in due {
                attempts += usize::from(self.deliver(&message).await);
            }
        }
    }

    /// When the next message is due, be it for the first time or again.
    pub fn next_delivery(&self) -> Option<Timestamp> {
        let model = self.model();
        model.webhooks.url.as_ref()?;
        model.webhooks.pending().map(|message| message.due).min()
    }

    fn due(&self) -> Vec<String> {
        let model = self.model();
        if model.webhooks.url.is_none() {
            return Vec::new();
        }
        let messages = &model.webhooks.messages;
        let due = model.webhooks.due(model.clock.now()).into_iter();
        due.filter_map(|place| Some(messages.get(place)?.id.clone())).collect()
    }

    async fn deliver(&self, message: &str) -> bool {
        let delivery = {
            let mut model = self.model();
            let now = model.clock.now();
            model.webhooks.start(message, now)
        };
        let Some(delivery) = delivery else {
            return false;
        };
        let answer = delivery.send(&self.client).await;
        let attempt = delivery.attempt(&answer);
        let mut model = self.model();
        let now = model.clock.now();
        model.webhooks.finish(&delivery, attempt.status, now);
        model.deliveries.push(attempt);
        true
    }

    /// Stops the server: its address refuses connections from here on.
    pub async fn stop(self) {
        self.server.stop().await;
    }
}
