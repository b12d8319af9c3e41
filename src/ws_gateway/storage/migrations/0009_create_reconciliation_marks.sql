-- migrate:up

-- Up to where an account's facts are known to be delivered: whoever reads them over REST again
-- after a lost connection or a restart begins there.
CREATE TABLE reconciliation_marks (
    account    text        NOT NULL CHECK (account <> ''),
    topic      text        NOT NULL CHECK (topic <> ''),
    -- Product line; empty where the topic has none.
    category   text        NOT NULL,
    -- Exchange time: what happened before was confirmed by the broker, or is in the spool.
    through    timestamptz NOT NULL,
    -- Digests of 8 bytes of what lies close before it, or behind, and was delivered.
    seen       bytea       NOT NULL,
    -- Orders that lived then, or positions that were not flat.
    living     text[]      NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account, topic, category)
);

-- migrate:down

DROP TABLE reconciliation_marks;
