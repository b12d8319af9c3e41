-- migrate:up

-- What each coin of an account was, change by change, as the exchange told it. Appended to only.
-- One partition per month of exchange time (see keep_balance_history); a row of any other month is
-- kept in the default partition, so that no date can keep a row from being written.
CREATE TABLE account_balances (
    -- Name of the key pair it was read with (WSG_ACCOUNT_NAME).
    account            text        NOT NULL CHECK (account <> ''),
    coin               text        NOT NULL CHECK (coin <> ''),
    -- Below zero where the coin is owed.
    wallet_balance     numeric     NOT NULL,
    -- What can be used without a loan.
    available_balance  numeric     CHECK (available_balance >= 0),
    -- Bound by open orders: locked (spot) and order_margin (derivatives).
    frozen             numeric     CHECK (frozen >= 0),
    locked             numeric     CHECK (locked >= 0),
    order_margin       numeric     CHECK (order_margin >= 0),
    position_margin    numeric     CHECK (position_margin >= 0),
    maintenance_margin numeric     CHECK (maintenance_margin >= 0),
    equity             numeric,
    borrowed           numeric     CHECK (borrowed >= 0),
    spot_borrow        numeric     CHECK (spot_borrow >= 0),
    accrued_interest   numeric,
    unrealised_pnl     numeric,
    realised_pnl       numeric,
    bonus              numeric,
    usd_value          numeric,
    is_collateral      boolean,
    -- Exchange time; received_at is the gateway's clock.
    event_timestamp    timestamptz NOT NULL,
    received_at        timestamptz NOT NULL,
    source             text        NOT NULL CHECK (source IN ('stream', 'rest', 'backfill')),
    -- Identity of this state of this coin; it names the coin and the exchange time as well, so it
    -- is unique in its account although a partitioned key has to hold the time too.
    event_id           text        NOT NULL,
    trace_id           text        NOT NULL,
    PRIMARY KEY (account, event_timestamp, event_id)
) PARTITION BY RANGE (event_timestamp);

-- The history of one coin, in either direction.
CREATE INDEX account_balances_by_coin
    ON account_balances (account, coin, event_timestamp, event_id);

CREATE TABLE account_balances_default PARTITION OF account_balances DEFAULT;

-- The newest row of each coin, written in the same statement.
CREATE TABLE account_balances_latest (
    LIKE account_balances INCLUDING CONSTRAINTS,
    PRIMARY KEY (account, coin)
);

-- The account's totals in USD, and its margin rates.
CREATE TABLE account_margin_balances (
    account                  text        NOT NULL CHECK (account <> ''),
    account_type             text        NOT NULL,
    total_equity             numeric,
    total_wallet_balance     numeric,
    total_margin_balance     numeric,
    total_available_balance  numeric,
    total_unrealised_pnl     numeric,
    total_initial_margin     numeric     CHECK (total_initial_margin >= 0),
    total_maintenance_margin numeric     CHECK (total_maintenance_margin >= 0),
    initial_margin_rate      numeric     CHECK (initial_margin_rate >= 0),
    maintenance_margin_rate  numeric     CHECK (maintenance_margin_rate >= 0),
    event_timestamp          timestamptz NOT NULL,
    received_at              timestamptz NOT NULL,
    source                   text        NOT NULL CHECK (source IN ('stream', 'rest', 'backfill')),
    event_id                 text        NOT NULL,
    trace_id                 text        NOT NULL,
    PRIMARY KEY (account, event_timestamp, event_id)
) PARTITION BY RANGE (event_timestamp);

CREATE TABLE account_margin_balances_default PARTITION OF account_margin_balances DEFAULT;

CREATE TABLE account_margin_balances_latest (
    LIKE account_margin_balances INCLUDING CONSTRAINTS,
    PRIMARY KEY (account)
);

-- Makes the partitions of the last month, this one and the next two where they are missing, and
-- drops what is older than so many whole months; 0 keeps everything. Answers what it did.
CREATE FUNCTION keep_balance_history(months integer) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
    this_month CONSTANT timestamp := date_trunc('month', now() AT TIME ZONE 'UTC');
    oldest     CONSTANT timestamptz := (this_month - make_interval(months => months)) AT TIME ZONE 'UTC';
    family     text;
    month      timestamp;
    part       text;
    lower_end  timestamptz;
    upper_end  timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('ws-gateway balance history'));
    FOREACH family IN ARRAY ARRAY['account_balances', 'account_margin_balances'] LOOP
        FOR step IN -1..2 LOOP
            month := this_month + make_interval(months => step);
            part := family || to_char(month, '"_"YYYY"_"MM');
            CONTINUE WHEN to_regclass(part) IS NOT NULL;
            lower_end := month AT TIME ZONE 'UTC';
            upper_end := (month + interval '1 month') AT TIME ZONE 'UTC';
            EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING CONSTRAINTS)', part, family);
            EXECUTE format(
                'WITH moved AS (DELETE FROM %I WHERE event_timestamp >= %L AND event_timestamp < %L '
                'RETURNING *) INSERT INTO %I SELECT * FROM moved',
                family || '_default', lower_end, upper_end, part);
            EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                family, part, lower_end, upper_end);
            RETURN NEXT 'made ' || part;
        END LOOP;
        CONTINUE WHEN months < 1;
        FOR part IN
            SELECT child.relname FROM pg_inherits
            JOIN pg_class AS child ON child.oid = inhrelid
            WHERE inhparent = to_regclass(family)
              AND child.relname ~ ('^' || family || '_[0-9]{4}_[0-9]{2}$')
              AND (to_date(right(child.relname, 7), 'YYYY_MM') + interval '1 month')
                  AT TIME ZONE 'UTC' <= oldest
        LOOP
            EXECUTE format('DROP TABLE %I', part);
            RETURN NEXT 'dropped ' || part;
        END LOOP;
        EXECUTE format('DELETE FROM %I WHERE event_timestamp < %L', family || '_default', oldest);
    END LOOP;
END
$$;

SELECT keep_balance_history(0);

-- migrate:down

DROP FUNCTION keep_balance_history;
DROP TABLE account_margin_balances_latest;
DROP TABLE account_margin_balances;
DROP TABLE account_balances_latest;
DROP TABLE account_balances;
