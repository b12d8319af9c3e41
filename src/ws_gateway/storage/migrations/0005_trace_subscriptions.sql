-- migrate:up

-- The trace of the request that stored a wish: it stands in the log lines and in the audit trail
-- too. NULL where no request did, or before this column was there.
ALTER TABLE subscriptions
    ADD COLUMN trace_id text CHECK (trace_id ~ '^[0-9a-f]{32}$');

-- migrate:down

ALTER TABLE subscriptions DROP COLUMN trace_id;
