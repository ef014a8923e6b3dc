//! Tests with several of Zoho's data centers.

use serde_json::{Value, json};

use super::*;
use crate::testing::stub_server::{Reply, StubServer};

async fn tries(answers: &[Value]) -> (anyhow::Result<Option<&'static str>>, usize) {
    let (mut servers, mut accounts) = (Vec::new(), Vec::new());
    for (answer, (name, _)) in answers.iter().cloned().zip(DATA_CENTERS) {
        let server = StubServer::start(move |_| Reply::Json(200, answer.clone())).await;
        accounts.push((Some(name), server.url.clone()));
        servers.push(server);
    }
    let secret = SecretString::from("secret");
    let found = exchange_at_any(&accounts, "1000.A", &secret, "1000.code").await;
    let asked = servers
        .iter()
        .map(|server| server.requests("/oauth/v2/token").len())
        .sum();
    (found.map(|(name, _)| name), asked)
}

#[tokio::test]
async fn finds_data_center_and_uses_the_code_once() {
    let unknown = || json!({ "error": "invalid_client" });
    let granted = json!({ "access_token": "1000.a", "refresh_token": "1000.r" });
    let (found, asked) = tries(&[unknown(), granted.clone(), unknown()]).await;
    assert_eq!((found.unwrap(), asked), (Some("eu"), 2));
    let (found, asked) = tries(&[unknown(), json!({ "error": "invalid_code" }), granted]).await;
    assert!(found.unwrap_err().to_string().starts_with("Zoho rejected the code"));
    assert_eq!(asked, 2, "the client's own data center has answered");
    let (found, asked) = tries(&[unknown(), unknown()]).await;
    assert!(
        found
            .unwrap_err()
            .to_string()
            .starts_with("no data center knows this client ID")
    );
    assert_eq!(asked, 2);
}
