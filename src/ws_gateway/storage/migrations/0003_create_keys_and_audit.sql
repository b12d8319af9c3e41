-- migrate:up

-- Keys of the HTTP API. The secret itself is nowhere: only who has it can show it again.
CREATE TABLE api_keys (
    -- The readable part of the key, by which it is looked up.
    id           text        PRIMARY KEY CHECK (id ~ '^[0-9a-z]{12}$'),
    name         text        NOT NULL CHECK (char_length(name) BETWEEN 1 AND 64),
    secret_hash  bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    scopes       text[]      NOT NULL CHECK (cardinality(scopes) > 0),
    -- The services it speaks for; NULL speaks for any.
    services     text[]      CHECK (cardinality(services) > 0),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    -- The key it takes the place of, if it does.
    rotates      text        REFERENCES api_keys (id)
);

-- Who changed what, when. Nothing updates or deletes it.
CREATE TABLE audit_log (
    -- UUID version 7: rises with time, so it is the paging key as well.
    id         uuid        PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    -- No reference to api_keys: the first administrator key and the command line are no rows there.
    actor_id   text        NOT NULL,
    actor_name text        NOT NULL,
    action     text        NOT NULL,
    subject    text        NOT NULL,
    before     jsonb,
    after      jsonb,
    trace_id   text,
    address    text
);

CREATE INDEX audit_log_by_actor ON audit_log (actor_id, id);
CREATE INDEX audit_log_by_subject ON audit_log (subject, id);

-- migrate:down

DROP TABLE audit_log;
DROP TABLE api_keys;
