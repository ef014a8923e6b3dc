-- Times are microseconds since 1970. No table holds anything of a lead but ids, states, times, codes and keyed hashes,
-- and reasons that name fields and never values. What the columns of `sync` are is said in sqlite-1.sql.

CREATE TABLE sync (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lead_id TEXT COLLATE "C" NOT NULL,
    state TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    next_attempt_at BIGINT NOT NULL,
    finished_at BIGINT,
    source TEXT COLLATE "C" NOT NULL,
    requests BIGINT NOT NULL,
    is_manual BIGINT NOT NULL,
    is_retry BIGINT NOT NULL,
    requested_updated_at BIGINT,
    requested_rev TEXT COLLATE "C",
    webhook_marks TEXT COLLATE "C",
    attempts BIGINT NOT NULL DEFAULT 0,
    backoff_total BIGINT NOT NULL DEFAULT 0,
    last_error TEXT COLLATE "C",
    accepted_before BIGINT,
    edits BIGINT NOT NULL DEFAULT 0,
    contact_losses BIGINT NOT NULL DEFAULT 0,
    bisect_limit BIGINT,
    contact_id TEXT COLLATE "C",
    contact_created BIGINT NOT NULL DEFAULT 0,
    force_create BIGINT NOT NULL DEFAULT 0,
    action TEXT COLLATE "C",
    hash TEXT COLLATE "C",
    unique_keys TEXT COLLATE "C",
    seen_requests BIGINT,
    seen_updated_at BIGINT,
    seen_rev TEXT COLLATE "C",
    tag_not_before BIGINT,
    synced_at BIGINT,
    reason TEXT COLLATE "C",
    reason_code TEXT COLLATE "C",
    reason_field TEXT COLLATE "C",
    cancelled_by TEXT COLLATE "C",
    dismissed_at BIGINT,
    link_contact_id TEXT COLLATE "C",
    link_sent_hash TEXT COLLATE "C",
    link_synced_at BIGINT,
    link_seen_updated_at BIGINT,
    link_seen_rev TEXT COLLATE "C",
    link_cancelled_at BIGINT,
    link_ambiguous_until BIGINT,
    link_created_from BIGINT
);

-- One active sync a lead.
CREATE UNIQUE INDEX sync_active ON sync (lead_id) WHERE finished_at IS NULL;
-- A lead's syncs.
CREATE INDEX sync_lead ON sync (lead_id);
-- What is due: all that is not finished, said so that no look for a lead's active sync can go through all of it. What
-- PostgreSQL knows of a table may be of when it was empty, and then one index is as good as the other.
CREATE INDEX sync_due ON sync (state, next_attempt_at, id) WHERE state IN ('requested', 'upserted', 'tagged', 'rejected');
-- Suspects that are due.
CREATE INDEX sync_suspect ON sync (state, next_attempt_at, id) WHERE bisect_limit IS NOT NULL;
-- Who waits for a contact's tag, and whose a contact is.
CREATE INDEX sync_contact ON sync (contact_id) WHERE contact_id IS NOT NULL;
-- What may be deleted, and what ended when.
CREATE INDEX sync_finished ON sync (finished_at) WHERE finished_at IS NOT NULL;
-- The pages of the API.
CREATE INDEX sync_state ON sync (state) WHERE finished_at IS NOT NULL;

-- The syncs that a worker has in hand, until it records their outcome or the lease expires.
CREATE TABLE claim (
    -- Random: the proof of the claim.
    token BIGINT PRIMARY KEY,
    stage TEXT COLLATE "C" NOT NULL,
    -- Their ids, between spaces.
    syncs TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL
);

-- The history of each sync. Rows are only ever added, and go with their sync.
CREATE TABLE event (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sync_id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    -- The sync's state after it; NULL where it is called like the event.
    state TEXT COLLATE "C",
    -- JSON; NULL where there is nothing more to say, and where a request came by webhook.
    detail TEXT COLLATE "C"
);
CREATE INDEX event_sync ON event (sync_id);

-- What outlives a lead's syncs: written when one of them is deleted. The newest sync, if there is one, knows better.
CREATE TABLE lead (
    lead_id TEXT COLLATE "C" PRIMARY KEY,
    contact_id TEXT COLLATE "C",
    sent_hash TEXT COLLATE "C",
    synced_at BIGINT,
    seen_updated_at BIGINT,
    seen_rev TEXT COLLATE "C",
    cancelled_at BIGINT,
    ambiguous_until BIGINT,
    created_from BIGINT
);
CREATE INDEX lead_contact ON lead (contact_id) WHERE contact_id IS NOT NULL;

CREATE TABLE breaker (
    remote TEXT COLLATE "C" PRIMARY KEY,
    failures BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    since BIGINT,
    until BIGINT,
    fresh_from BIGINT,
    kind TEXT COLLATE "C",
    code TEXT COLLATE "C",
    what TEXT COLLATE "C",
    action TEXT COLLATE "C"
);

CREATE TABLE counter (
    name TEXT COLLATE "C" NOT NULL,
    -- A counter has several rows, whose sum counts: transactions that count beside each other would wait for each other's row.
    shard BIGINT NOT NULL,
    value BIGINT NOT NULL,
    -- When it was counted last.
    at BIGINT NOT NULL,
    PRIMARY KEY (name, shard)
);

-- The sealed access token, the organisation's fields, the mark of the last check, that the operator has paused sending, what
-- was told to the alert address.
CREATE TABLE kv (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL,
    at BIGINT NOT NULL
);

-- What only one of several replicas may do at a time.
CREATE TABLE lock (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Access tokens granted: Zoho allows ten in ten minutes.
CREATE TABLE token_grant (
    at BIGINT NOT NULL
);

-- Bigin's credits that calls have cost, by the hour (in hours since 1970).
CREATE TABLE credit (
    hour BIGINT PRIMARY KEY,
    used BIGINT NOT NULL
);
