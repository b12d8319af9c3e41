-- migrate:up

-- Which event a row was written from: `topic`, `epoch` and `sequence` are the gateway's numbers,
-- which decide between two states of one seq and one millisecond.
ALTER TABLE positions
    ADD COLUMN topic    text   NOT NULL DEFAULT '',
    ADD COLUMN epoch    text   NOT NULL DEFAULT '',
    ADD COLUMN sequence bigint NOT NULL DEFAULT 0;

-- The newest marker of each stream of positions: whether its positions may lack a change.
CREATE TABLE position_streams (
    account     text        NOT NULL CHECK (account <> ''),
    topic       text        NOT NULL CHECK (topic <> ''),
    is_complete boolean     NOT NULL,
    reason      text        NOT NULL,
    detail      text        NOT NULL,
    epoch       text        NOT NULL,
    sequence    bigint      NOT NULL,
    since       timestamptz NOT NULL,
    PRIMARY KEY (account, topic)
);

COMMENT ON TABLE position_streams IS 'Owned and written by the position manager, as positions are.';

-- What others read.
CREATE VIEW current_positions AS
SELECT
    positions.*,
    stream.account IS NOT NULL                AS is_stale,
    stream.since                              AS stale_since,
    stream.reason                             AS stale_reason
FROM positions
LEFT JOIN position_streams AS stream
    ON stream.account = positions.account AND stream.topic = positions.topic
    AND NOT stream.is_complete;

-- migrate:down

DROP VIEW current_positions;
DROP TABLE position_streams;
ALTER TABLE positions DROP COLUMN topic, DROP COLUMN epoch, DROP COLUMN sequence;
