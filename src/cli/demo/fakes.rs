//! Simulated Sanity and Bigin without the service: for a first `bigin-sync setup` without any account.

use std::sync::Arc;
use std::time::Duration;

use super::fixtures::{self, Leads};
use super::{DELIVERY_INTERVAL, Deliveries, LATENCY};
use crate::cli::print;
use crate::clock::{SharedClock, SystemClock};
use crate::domain::lead::REQUESTED;
use crate::fake::bigin::FakeBigin;
use crate::fake::sanity::FakeSanity;

/// Zoho's codes are valid for ten minutes at most, which is short for a first try.
const CODE_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs both without end, and generates a new code when the last one was used.
pub(super) async fn run() -> anyhow::Result<()> {
    let clock: SharedClock = Arc::new(SystemClock::new());
    let sanity = Arc::new(FakeSanity::start(SharedClock::clone(&clock)).await?);
    let bigin = FakeBigin::start(clock).await?;
    Leads::new(0).seed(&mut sanity.model())?;
    {
        let mut crm = bigin.model();
        crm.switches.latency = LATENCY;
        fixtures::seed_contacts(&mut crm);
    }
    let _deliveries = Deliveries::start(Arc::clone(&sanity));
    let mut code = bigin.model().generate_code_for(CODE_LIFETIME);
    print(&introduction(&sanity, &bigin, &code))?;
    loop {
        tokio::time::sleep(DELIVERY_INTERVAL).await;
        let mut model = bigin.model();
        if !model.is_unused(&code) {
            code = model.generate_code_for(CODE_LIFETIME);
            print(&format!("That code was used. New code: {code}\n"))?;
        }
    }
}

fn introduction(sanity: &FakeSanity, bigin: &FakeBigin, code: &str) -> String {
    let (lake, crm) = (sanity.url(), bigin.url());
    let (project, token, developer) = (sanity.project_id(), sanity.token(), sanity.management_token());
    let (client, secret) = (bigin.client_id(), bigin.client_secret());
    let curl = fixtures::curl_request(sanity, &[("crmStatus", REQUESTED)]);
    format!(
        "Simulated Sanity and Bigin are running on this machine until Ctrl-C, with
fictional people.

In another terminal and an empty folder, point the settings at them:

  cat > .env <<'END'
SANITY_API_URL={lake}
BIGIN_ACCOUNTS_URL={crm}
BIGIN_API_DOMAIN={crm}
END

Then run `bigin-sync setup`. It asks for these values, which you would find in
your own accounts:

  Sanity project ID   {project}
  Editor token        {token}
  Developer token     {developer}
  Public URL          http://127.0.0.1:8080
  Client ID           {client}
  Client secret       {secret}
  Code                {code}

Start the service with `bigin-sync serve`. Then request a lead, as an editor
does in Sanity:

{curl}

"
    )
}
