-- Times are microseconds since 1970. No table holds anything of a lead but ids, states, times, codes and keyed hashes,
-- and reasons that name fields and never values.

CREATE TABLE sync (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lead_id TEXT NOT NULL,
    state TEXT NOT NULL,
    contact_id TEXT,
    contact_created INTEGER NOT NULL DEFAULT 0,
    force_create INTEGER NOT NULL DEFAULT 0,
    action TEXT,
    hash TEXT,
    -- Keyed hashes of the unique values that were sent, between spaces.
    unique_keys TEXT,
    seen_requests INTEGER,
    seen_updated_at INTEGER,
    seen_rev TEXT,
    tag_not_before INTEGER,
    synced_at INTEGER,
    -- JSON, and what failures are grouped by.
    reason TEXT,
    reason_code TEXT,
    reason_field TEXT,
    cancelled_by TEXT,
    requests INTEGER NOT NULL,
    is_manual INTEGER NOT NULL,
    is_retry INTEGER NOT NULL,
    requested_updated_at INTEGER,
    requested_rev TEXT,
    attempts INTEGER NOT NULL DEFAULT 0,
    backoff_total INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    accepted_before INTEGER,
    edits INTEGER NOT NULL DEFAULT 0,
    contact_losses INTEGER NOT NULL DEFAULT 0,
    bisect_limit INTEGER,
    next_attempt_at INTEGER NOT NULL,
    claim_token INTEGER,
    claim_expires_at INTEGER,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    finished_at INTEGER,
    -- An operator has dealt with this failure otherwise.
    dismissed_at INTEGER
) STRICT;

-- One active sync a lead.
CREATE UNIQUE INDEX sync_active ON sync (lead_id) WHERE finished_at IS NULL;
-- What is due.
CREATE INDEX sync_due ON sync (state, next_attempt_at) WHERE finished_at IS NULL;
-- Suspects that are due.
CREATE INDEX sync_suspect ON sync (state, next_attempt_at) WHERE bisect_limit IS NOT NULL;
-- Which claims may have been lost.
CREATE INDEX sync_leased ON sync (claim_expires_at) WHERE claim_token IS NOT NULL;
-- Who waits for a contact's tag.
CREATE INDEX sync_waiting ON sync (contact_id) WHERE state = 'upserted';
-- What may be forgotten, and a lead's past.
CREATE INDEX sync_finished ON sync (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX sync_lead ON sync (lead_id);
-- The pages of the API.
CREATE INDEX sync_state ON sync (state);

-- The history of each sync. Rows are only ever added, and go with their sync.
CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sync_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- The sync's state after it.
    state TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_sync ON event (sync_id);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    idempotency_key TEXT,
    lead_id TEXT NOT NULL,
    rev TEXT,
    received_at INTEGER NOT NULL
) STRICT;
-- A revision is kept once. Deliveries without one are none of each other's repeats to it: NULL is like no other NULL.
CREATE UNIQUE INDEX delivery_revision ON delivery (lead_id, rev);

-- What outlives a lead's syncs.
CREATE TABLE lead (
    lead_id TEXT PRIMARY KEY,
    contact_id TEXT,
    sent_hash TEXT,
    synced_at INTEGER,
    seen_updated_at INTEGER,
    seen_rev TEXT,
    cancelled_at INTEGER,
    ambiguous_until INTEGER,
    created_from INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX lead_contact ON lead (contact_id) WHERE contact_id IS NOT NULL;

CREATE TABLE breaker (
    remote TEXT PRIMARY KEY,
    failures INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    since INTEGER,
    until INTEGER,
    fresh_from INTEGER,
    kind TEXT,
    code TEXT,
    what TEXT,
    action TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The sealed access token, the organisation's fields, the mark of the last check, that the operator has paused sending, what
-- was told to the alert address.
CREATE TABLE kv (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What only one of several replicas may do at a time.
CREATE TABLE lock (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Access tokens granted: Zoho allows ten in ten minutes.
CREATE TABLE token_grant (
    at INTEGER NOT NULL
) STRICT;

-- Bigin's credits that calls have cost, by the hour (in hours since 1970).
CREATE TABLE credit (
    hour INTEGER PRIMARY KEY,
    used INTEGER NOT NULL
) STRICT;
