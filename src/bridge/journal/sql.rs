//! Tables, and how values are spelled in them.

use alloy::primitives::{Address, B256};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::schema::{AuthorizationId, RequestId, Sha256Digest, ToolName};

/// Tables whose rows are small lie in their own primary key: one page less that a commit writes.
pub(super) const SCHEMA: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE requests (
    request_id TEXT PRIMARY KEY,
    authorization_id TEXT NOT NULL UNIQUE,
    request_hash TEXT NOT NULL,
    action_hash TEXT NOT NULL,
    tool_name TEXT NOT NULL,
    risk_bps INTEGER NOT NULL,
    request BLOB NOT NULL,
    requester TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL,
    slot INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    -- the open nonce whose transaction is about it
    busy INTEGER,
    -- its decision is answered
    answered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX requests_free ON requests (state, received_at_ms) WHERE busy IS NULL;
CREATE INDEX requests_busy ON requests (busy) WHERE busy IS NOT NULL;
CREATE INDEX requests_unanswered ON requests (state, received_at_ms) WHERE answered = 0;
CREATE INDEX requests_expiring ON requests (expires_at) WHERE state IN ('received', 'pending', 'approved');
CREATE TABLE state_counts (state TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TRIGGER requests_in AFTER INSERT ON requests BEGIN
    INSERT INTO state_counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER requests_out AFTER DELETE ON requests BEGIN
    UPDATE state_counts SET n = n - 1 WHERE state = old.state;
END;
CREATE TRIGGER requests_on AFTER UPDATE OF state ON requests WHEN old.state <> new.state BEGIN
    UPDATE state_counts SET n = n - 1 WHERE state = old.state;
    INSERT INTO state_counts VALUES (new.state, 1) ON CONFLICT (state) DO UPDATE SET n = n + 1;
END;
-- ids of requests that were pruned or refused unread: seen, so a replay
CREATE TABLE seen (request_id TEXT PRIMARY KEY, request_hash TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE votes (
    authorization_id TEXT NOT NULL,
    approver TEXT NOT NULL,
    approve INTEGER NOT NULL,
    note TEXT NOT NULL,
    signature BLOB NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (authorization_id, approver, approve)
) STRICT, WITHOUT ROWID;
CREATE INDEX votes_held ON votes (authorization_id) WHERE state = 'held';
CREATE TABLE chain_votes (
    authorization_id TEXT NOT NULL,
    approver TEXT NOT NULL,
    approve INTEGER NOT NULL,
    note TEXT NOT NULL,
    tx_hash TEXT NOT NULL,
    block_number INTEGER NOT NULL,
    PRIMARY KEY (authorization_id, approver, approve)
) STRICT, WITHOUT ROWID;
CREATE INDEX chain_votes_by_block ON chain_votes (block_number);
CREATE TABLE consumes (
    request_id TEXT NOT NULL,
    claim TEXT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (request_id, claim)
) STRICT;
CREATE INDEX consumes_waiting ON consumes (request_id) WHERE state = 'waiting';
CREATE TABLE outcomes (
    request_id TEXT PRIMARY KEY,
    claim TEXT NOT NULL,
    outcome INTEGER NOT NULL,
    outcome_hash TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT;
CREATE INDEX outcomes_waiting ON outcomes (request_id) WHERE state = 'waiting';
CREATE TABLE events (
    authorization_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    tx_hash TEXT NOT NULL,
    block_hash TEXT NOT NULL,
    block_number INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (authorization_id, kind)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_by_block ON events (block_number);
-- canonical blocks up to which events are applied: the highest is the cursor
CREATE TABLE blocks (number INTEGER PRIMARY KEY, hash TEXT NOT NULL) STRICT;
CREATE TABLE nonces (
    nonce INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    first_sent_ms INTEGER NOT NULL,
    mined_hash TEXT,
    mined_block INTEGER
) STRICT;
CREATE INDEX nonces_open ON nonces (nonce) WHERE state = 'open';
CREATE INDEX nonces_by_block ON nonces (mined_block) WHERE mined_block IS NOT NULL;
CREATE TABLE attempts (
    nonce INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    tx_hash TEXT NOT NULL UNIQUE,
    raw BLOB NOT NULL,
    max_fee_wei TEXT NOT NULL,
    priority_fee_wei TEXT NOT NULL,
    signed_at_ms INTEGER NOT NULL,
    PRIMARY KEY (nonce, attempt)
) STRICT;
CREATE TABLE items (
    nonce INTEGER NOT NULL,
    position INTEGER NOT NULL,
    authorization_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (nonce, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX items_by_id ON items (authorization_id);
CREATE TABLE responses (
    name TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    bytes BLOB NOT NULL,
    slot INTEGER NOT NULL,
    published INTEGER NOT NULL,
    written_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX responses_by_request ON responses (request_id);
CREATE INDEX responses_unpublished ON responses (published) WHERE published = 0;
";

macro_rules! text_sql {
    ($wrapper:ident, $type:ty) => {
        /// A value that the journal keeps in its one text spelling.
        pub(super) struct $wrapper(pub $type);
        impl ToSql for $wrapper {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.0.to_string().into())
            }
        }
        impl FromSql for $wrapper {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                text.parse()
                    .map($wrapper)
                    .map_err(|_| FromSqlError::Other(format!("not a {}: {text}", stringify!($type)).into()))
            }
        }
    };
}
text_sql!(SqlId, AuthorizationId);
text_sql!(SqlRequestId, RequestId);
text_sql!(SqlDigest, Sha256Digest);
text_sql!(SqlHash, B256);
text_sql!(SqlAddress, Address);
text_sql!(SqlFee, u128);
text_sql!(SqlToolName, ToolName);
