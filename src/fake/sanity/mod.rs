//! Sanity: a strict Content Lake in memory, behind real HTTP. Edit its [`Model`] as an editor would, then let it deliver its
//! webhooks. What is known of the real one is named at its place (official docs, source of Sanity's own packages); what is
//! not known is marked as an assumption.

mod doc;
mod document;
mod editor;
mod fault;
mod gate;
mod groq;
mod hooks;
mod ids;
mod model;
mod mutate;
mod options;
mod project;
mod reply;
mod routes;
mod signature;
mod webhook;

use std::io;
use std::sync::MutexGuard;

use actix_web::web::Data;
use jiff::Timestamp;
use serde_json::Value;

pub use document::{Change, Document};
pub use editor::Impossible;
pub use fault::{Fault, Faults, Kind, RetryAfter};
pub use model::{By, Call, Model, Transaction};
pub use options::{DocSwitches, WithoutContent};
pub use project::LEAD_TYPE;
pub use webhook::{Attempt, Delivery, FILTER, Message, MessageState, PROJECTION, WEBHOOK_ID, Webhooks};

use self::model::Shared;
use self::project::{DATASET, MANAGEMENT_TOKEN, PROJECT_ID, TOKEN, WEBHOOK_SECRET};
use super::server::{Answered, Server};
use crate::clock::SharedClock;

/// Where one without a socket seems to be.
const NOWHERE: &str = "http://127.0.0.1:2";

/// A Content Lake with one project and one dataset, at an address of its own.
pub struct FakeSanity {
    shared: Data<Shared>,
    server: Option<Server>,
    client: Option<reqwest::Client>,
    /// Held during a delivery: a webhook has one request at a time (official docs, webhooks).
    delivering: tokio::sync::Mutex<()>,
}

impl FakeSanity {
    /// Starts an empty one on a free port of this machine. It keeps its time by `clock`.
    ///
    /// # Errors
    /// Where the port cannot be opened or the client for webhooks cannot be built.
    pub async fn start(clock: SharedClock) -> io::Result<Self> {
        let shared = Data::new(Shared::new(clock));
        let data = shared.clone();
        let server = Server::start(move |config| {
            config.app_data(data.clone());
            routes::configure(config);
        })?;
        let client = webhook::client().map_err(io::Error::other)?;
        Ok(Self {
            shared,
            server: Some(server),
            client: Some(client),
            delivering: tokio::sync::Mutex::default(),
        })
    }

    /// One without a socket: the owner of a request lets it [answer](Self::answer), and delivers what [is due](Self::due_delivery).
    pub fn without_socket(clock: SharedClock) -> Self {
        Self {
            shared: Data::new(Shared::new(clock)),
            server: None,
            client: None,
            delivering: tokio::sync::Mutex::default(),
        }
    }

    /// Carries out a request at once, whatever the switches say of latency: the answer, or `None` where the connection is
    /// to be cut.
    pub fn answer(&self, request: &reqwest::Request) -> Option<Answered> {
        routes::answer(&self.shared, request).into_answer()
    }

    /// Takes the next message that is due and not on its way yet, to be delivered by the caller. A webhook has one request at a
    /// time.
    pub fn due_delivery(&self) -> Option<Delivery> {
        let mut model = self.model();
        let now = model.clock.now();
        let webhooks = &mut model.webhooks;
        let is_queued = |place: &usize| webhooks.messages[*place].state == MessageState::Queued;
        let place = webhooks.due(now).into_iter().find(is_queued)?;
        webhooks.start_at(place, now)
    }

    /// Records how a delivery ended: the status of its answer, or `None` where there was none.
    pub fn delivered(&self, delivery: &Delivery, status: Option<u16>, answer: Option<Value>) {
        let attempt = delivery.attempt(status, answer);
        let mut model = self.model();
        let now = model.clock.now();
        model.webhooks.finish(delivery, status, now);
        model.deliveries.push(attempt);
    }

    /// The base address, for `SANITY_API_URL`.
    pub fn url(&self) -> String {
        self.server.as_ref().map_or_else(|| NOWHERE.to_owned(), Server::url)
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
        let (Some(delivery), Some(client)) = (delivery, &self.client) else {
            return false;
        };
        let (status, answer) = delivery.send(client).await.ok().unzip();
        self.delivered(&delivery, status, answer.flatten());
        true
    }

    /// Stops the server: its address refuses connections from here on.
    pub async fn stop(self) {
        if let Some(server) = self.server {
            server.stop().await;
        }
    }
}
