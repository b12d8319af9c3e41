-- migrate:up

-- The platform's positions. The position manager owns and writes this table; the gateway, which
-- keeps the platform's schema, publishes positions and writes none.
CREATE TABLE positions (
    account                 text        NOT NULL CHECK (account <> ''),
    category                text        NOT NULL CHECK (category IN ('linear', 'inverse', 'option')),
    symbol                  text        NOT NULL CHECK (symbol <> ''),
    -- 0 one-way, 1 hedge buy, 2 hedge sell.
    position_idx            smallint    NOT NULL CHECK (position_idx IN (0, 1, 2)),
    mode                    text        NOT NULL CHECK (mode IN ('one_way', 'hedge')),
    -- NULL when flat.
    side                    text        CHECK (side IN ('Buy', 'Sell')),
    size                    numeric     NOT NULL CHECK (size >= 0),
    entry_price             numeric,
    mark_price              numeric,
    leverage                numeric,
    margin                  numeric,
    maintenance_margin      numeric,
    position_value          numeric,
    unrealised_pnl          numeric,
    realised_pnl            numeric,
    cumulative_realised_pnl numeric,
    liquidation_price       numeric,
    take_profit             numeric,
    stop_loss               numeric,
    trailing_stop           numeric,
    status                  text        NOT NULL,
    -- The symbol's cross sequence; with event_timestamp it tells which of two states is newer.
    seq                     bigint,
    event_timestamp         timestamptz NOT NULL,
    received_at             timestamptz NOT NULL,
    source                  text        NOT NULL CHECK (source IN ('stream', 'rest', 'backfill')),
    event_id                text        NOT NULL,
    trace_id                text        NOT NULL,
    raw                     jsonb       NOT NULL,
    stored_at               timestamptz NOT NULL DEFAULT now(),
    CHECK ((side IS NULL) = (size = 0)),
    PRIMARY KEY (account, category, symbol, position_idx)
);

COMMENT ON TABLE positions IS 'Owned and written by the position manager, never by the gateway.';

-- migrate:down

DROP TABLE positions;
