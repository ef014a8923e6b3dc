//! Outages of PostgreSQL: cut connections, silent servers, failover, and transactions that a pooler shares.

use std::collections::BTreeSet;

use bigin_sync::domain::failure::Remote;
use bigin_sync::store::{Accepted, Ledger, StoreError};
use futures_util::future::join_all;

use crate::cluster::{self, Cluster};
use crate::pooler::Pooler;
use crate::process::eventually;
use crate::replicas::{Replicas, delivery, store, two_stores};
use crate::world::id;

/// A view in the place of a table: what reads it meets `then`, and finds the limit of the statement in seconds.
fn read_instead_of_breakers(url: &str, then: &str) {
    let swap = format!(
        "ALTER TABLE breaker RENAME TO breakers;
        CREATE VIEW breaker AS SELECT remote,
            CAST(extract(epoch FROM CAST(current_setting('statement_timeout') AS INTERVAL)) AS BIGINT) AS failures,
            epoch, since, until, fresh_from, kind, code, what, action
        FROM (SELECT * FROM breakers UNION ALL SELECT 'bigin', 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL) AS rows, {then}"
    );
    cluster::tell(url, &swap);
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn cut_connections_lose_no_webhook() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let running = replicas.start(2).await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bigin-sync'";
    let mut acknowledged = BTreeSet::new();
    for round in 0..20 {
        let leads: Vec<String> = (0..30).map(|number| format!("nobody-{round}-{number}")).collect();
        let deliveries = leads.iter().enumerate().map(|(number, lead)| {
            let (stage, to) = (&replicas.stage, &running[number % 2]);
            async move { (lead.clone(), to.webhook(stage, lead, "r1").await) }
        });
        let server = cluster.url("postgres");
        let cutting = tokio::task::spawn_blocking(move || cluster::tell(&server, cut));
        for (lead, status) in join_all(deliveries).await {
            assert!(matches!(status, 202 | 503), "{status}");
            if status == 202 {
                acknowledged.insert(lead);
            }
        }
        cutting.await.unwrap();
    }
    let stored: BTreeSet<String> = cluster::ask(&replicas.url, "SELECT lead_id FROM sync")
        .into_iter()
        .collect();
    assert!(
        acknowledged.is_subset(&stored),
        "{:?}",
        acknowledged.difference(&stored)
    );
    assert!(acknowledged.len() > 300, "{} of 600", acknowledged.len());
    replicas.request("Ada", &running[0]).await;
    replicas.stage.until_status(&id("Ada"), "SENT").await;
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn silent_server_answers_503_in_time() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let running = replicas.start(1).await;
    cluster.freeze(true);
    // Sanity would wait for 30 s.
    let webhook = running[0].webhook(&replicas.stage, "lead-late", "r1");
    let ready = reqwest::get(format!("{}/readyz", running[0].url));
    let (webhook, ready) = tokio::join!(webhook, ready);
    assert_eq!((webhook, ready.unwrap().status().as_u16()), (503, 503));
    cluster.freeze(false);
    replicas.request("Ada", &running[0]).await;
    replicas.stage.until_status(&id("Ada"), "SENT").await;
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn outage_answers_503_and_loses_nothing() {
    let cluster = Cluster::start();
    let replicas = Replicas::on(&cluster).await;
    let running = replicas.start(2).await;
    for number in 0..20 {
        replicas.request(&format!("Lead{number}"), &running[number % 2]).await;
    }
    cluster.crash();
    for replica in &running {
        assert_eq!(replica.webhook(&replicas.stage, "lead-late", "r1").await, 503);
    }
    cluster.resume();
    for number in 0..20 {
        replicas.stage.until_status(&id(&format!("Lead{number}")), "SENT").await;
    }
    replicas.request("Late", &running[0]).await;
    replicas.stage.until_status(&id("Late"), "SENT").await;
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn standby_is_left_for_the_primary() {
    let cluster = Cluster::start();
    let ([store, _], url) = two_stores(&cluster);
    let name = url.rsplit(['/', '?']).nth(1).unwrap();
    // As a standby answers: whoever connects meanwhile can only read.
    let read_only = |word: &str| format!("ALTER DATABASE {name} SET default_transaction_read_only = {word}");
    cluster::tell(&cluster.url("postgres"), &read_only("on"));
    cluster::tell(
        &cluster.url("postgres"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bigin-sync'",
    );
    assert!(store.accept(delivery("a")).await.is_err());
    cluster::tell(&cluster.url("postgres"), &read_only("off"));
    assert!(matches!(store.accept(delivery("a")).await, Ok(Accepted::Created(_))));
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn finds_primary_after_failover() {
    let first = Cluster::start();
    let second = first.standby();
    let mut replicas = Replicas::on(&first).await;
    let name = replicas.url.rsplit(['/', '?']).nth(1).unwrap();
    replicas.url = first.url_with(&second, name);
    replicas.stage.env.insert("DATABASE_URL".into(), replicas.url.clone());
    let mut running = replicas.start(1).await;
    replicas.request("Ada", &running[0]).await;
    replicas.stage.until_status(&id("Ada"), "SENT").await;
    eventually("the standby has all of it", || async {
        let ledger = replicas.ledger().await;
        let behind = "SELECT 1 FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()";
        (ledger.in_progress == 0 && !cluster::ask(&first.url("postgres"), behind).is_empty()).then_some(())
    })
    .await;

    first.crash();
    second.promote();
    first.follow(&second);
    // Whatever has connected meanwhile connects again, and the address names the old primary first.
    cluster::tell(
        &second.url("postgres"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'bigin-sync'",
    );
    assert_eq!(running[0].webhook(&replicas.stage, "nobody", "r1").await, 202);
    replicas.request("Grace", &running[0]).await;
    replicas.stage.until_status(&id("Grace"), "SENT").await;

    running.remove(0).stop().await;
    running = replicas.start(1).await;
    replicas.request("Late", &running[0]).await;
    replicas.stage.until_status(&id("Late"), "SENT").await;
    for replica in running {
        replica.stop().await;
    }
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn logs_that_server_clock_was_set() {
    let cluster = Cluster::start();
    cluster.crash();
    cluster.set_clock("+0");
    cluster.resume();
    let replicas = Replicas::on(&cluster).await;
    let mut running = replicas.start(1).await;
    for (name, offset, says) in [
        ("Ada", "+0", ""),
        ("Grace", "+1h", "was set forward by 3600 s"),
        ("Alan", "+0", "was set back by 3600 s"),
    ] {
        cluster.set_clock(offset);
        replicas.request(name, &running[0]).await;
        replicas.stage.until_status(&id(name), "SENT").await;
        eventually(says, || async { replicas.stage.log().contains(says).then_some(()) }).await;
        eventually("its end is recorded", || async {
            (replicas.ledger().await.in_progress == 0).then_some(())
        })
        .await;
    }
    let log = replicas.stage.log();
    assert_eq!(log.matches(" clock was set ").count(), 2, "{log}");
    running.remove(0).stop().await;
    replicas.finish().await;
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn limits_hold_behind_a_pooler() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let name = url.rsplit(['/', '?']).nth(1).unwrap();
    let lazy = format!("ALTER DATABASE {name} SET synchronous_commit = off");
    cluster::tell(&cluster.url("postgres"), &lazy);
    let store = store(&Pooler::start(cluster.port).url(&url));
    let names = "synchronous_commit lock_timeout statement_timeout idle_in_transaction_session_timeout";
    let settings: Vec<String> = names
        .split(' ')
        .map(|name| format!("current_setting('{name}')"))
        .collect();
    let watch = format!(
        "CREATE TABLE seen (settings TEXT);
        CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (concat_ws(' ', {}));
            RETURN NEW;
        END $$;
        CREATE TRIGGER see BEFORE INSERT ON sync FOR EACH ROW EXECUTE FUNCTION see()",
        settings.join(", ")
    );
    cluster::tell(&url, &watch);
    for lead in ["a", "b", "c"] {
        assert!(matches!(store.accept(delivery(lead)).await, Ok(Accepted::Created(_))));
    }
    let seen = cluster::ask(&url, "SELECT settings FROM seen");
    assert_eq!(seen, ["on 22s 25s 10s"; 3]);

    read_instead_of_breakers(&url, "(SELECT 1) AS nothing");
    for _ in 0..3 {
        assert_eq!(store.breaker(Remote::Bigin).await.unwrap().failures, 25);
    }
    assert!(store.overview().await.is_ok());
}

#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn slow_writes_outlive_their_callers() {
    let cluster = Cluster::start();
    let ([store, other], url) = two_stores(&cluster);
    // Longer than a caller waits, shorter than the server's limit.
    cluster::tell(
        &url,
        "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(22.5); RETURN NEW; END $$;
        CREATE TRIGGER doze BEFORE INSERT ON sync FOR EACH ROW EXECUTE FUNCTION doze()",
    );
    read_instead_of_breakers(&url, "pg_sleep(60)");
    let left = Err(StoreError::Failed("it has not answered for 20 s".into()));
    let reads = join_all((0..4).map(|_| other.breaker(Remote::Bigin)));
    let (write, reads) = tokio::join!(store.accept(delivery("a")), reads);
    assert_eq!(write, left.clone().map(|(): ()| Accepted::Duplicate));
    for read in reads {
        assert_eq!(read.map(|_| ()), left);
    }
    eventually("it is done all the same", || async {
        matches!(other.ledger().await, Ok(Ledger { accepted: 1, .. })).then_some(())
    })
    .await;
}

/// What PostgreSQL knows of a table that was empty when it looked last is nothing, and by that it chooses its indexes.
#[actix_web::test]
#[ignore = "needs PostgreSQL"]
async fn webhook_finds_its_lead_by_index() {
    let cluster = Cluster::start();
    let url = cluster::make_database(&cluster.url("postgres"));
    let store = store(&url);
    let leads = 2_000;
    for hundred in 0..leads / 100 {
        let accepted = (0..100).map(|number| {
            let store = &store;
            async move { store.accept(delivery(&format!("lead-{hundred}-{number}"))).await }
        });
        for accepted in join_all(accepted).await {
            assert!(matches!(accepted, Ok(Accepted::Created(_))), "{accepted:?}");
        }
    }
    // A connection says what it has read when it ends.
    drop(store);
    let count = |what: &str| {
        let counted = cluster::ask(
            &url,
            &format!("SELECT CAST(sum({what}) AS TEXT) FROM pg_stat_user_indexes WHERE relname = 'sync'"),
        );
        counted[0].parse::<usize>().unwrap()
    };
    eventually("the look-ups are counted", || async {
        (count("idx_scan") >= leads).then_some(())
    })
    .await;
    let read = count("idx_tup_read");
    assert!(read < leads, "{read} entries of indexes were read for {leads} webhooks");
}
