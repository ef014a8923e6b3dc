//! Sanity and Bigin played alone: for a first `bigin-sync setup` without any account.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{self, Cast};
use super::{DELIVERY, Deliveries, LATENCY};
use crate::clock::{SharedClock, SystemClock};
use crate::domain::lead::REQUESTED;
use crate::fake::bigin::FakeBigin;
use crate::fake::sanity::FakeSanity;

/// Zoho's are valid for ten minutes at most; whoever tries things out may take longer.
const CODE_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Plays both, for ever, and generates a new code whenever the last one was used.
pub(super) async fn play() -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let sanity = Arc::new(FakeSanity::start(SharedClock::clone(&clock)).await?);
    let bigin = FakeBigin::start(clock).await?;
    Cast::new(0).settle(&mut sanity.model())?;
    {
        let mut crm = bigin.model();
        crm.switches.latency = LATENCY;
        fixtures::settle_contacts(&mut crm);
    }
    let _deliveries = Deliveries::start(Arc::clone(&sanity));
    let mut code = bigin.model().generate_code_for(CODE_LIFE);
    show(&introduction(&sanity, &bigin, &code));
    loop {
        tokio::time::sleep(DELIVERY).await;
        let mut model = bigin.model();
        if !model.is_unused(&code) {
            code = model.generate_code_for(CODE_LIFE);
            show(&format!("That code is used up. Another one: {code}\n"));
        }
    }
}

/// Whoever has closed the other end of the pipe has read enough.
fn show(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn introduction(sanity: &FakeSanity, bigin: &FakeBigin, code: &str) -> String {
    let (lake, crm) = (sanity.url(), bigin.url());
    let (project, token, developer) = (sanity.project_id(), sanity.token(), sanity.management_token());
    let (client, secret) = (bigin.client_id(), bigin.client_secret());
    let (lead, dataset) = (fixtures::NEW, sanity.dataset());
    format!(
        "Sanity and Bigin are played on this machine until Ctrl-C, and everybody in them is invented.

In another terminal, and an empty folder, say where they are instead of in the internet:

  cat > .env <<'END'
SANITY_API_URL={lake}
BIGIN_ACCOUNTS_URL={crm}
BIGIN_API_DOMAIN={crm}
END

then set an installation up with `bigin-sync setup`. This is what it asks for, and what you would find in your own accounts:

  Sanity project id   {project}
  Token (Editor)      {token}
  Token (Developer)   {developer}
  Address             http://127.0.0.1:8080
  Client id           {client}
  Client secret       {secret}
  Code                {code}

Start it with `bigin-sync serve`, then ask for a lead, as an editor does in Sanity:

  curl -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{{\"mutations\":[{{\"patch\":{{\"id\":\"{lead}\",\"set\":{{\"crmStatus\":\"{REQUESTED}\"}}}}}}]}}' {lake}/v2025-02-19/data/mutate/{dataset}

"
    )
}
