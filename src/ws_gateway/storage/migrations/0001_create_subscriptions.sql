-- migrate:up

-- What services asked for. One row is one service's wish for one topic; the venue is asked once
-- per topic, however many services want it.
CREATE TABLE subscriptions (
    -- UUID version 7: rises with creation, so it is the paging key as well.
    id                 uuid        PRIMARY KEY,
    -- NULL on the private socket, which serves no single category.
    category           text        CHECK (category IN ('spot', 'linear', 'inverse', 'option', 'spread')),
    topic              text        NOT NULL CHECK (topic <> ''),
    channel            text        NOT NULL CHECK (channel <> ''),
    symbol             text,
    parameter          text,
    requesting_service text        NOT NULL CHECK (requesting_service ~ '^[A-Za-z0-9_.-]{1,64}$'),
    delivery           text        NOT NULL DEFAULT 'shared'
                                   CONSTRAINT subscriptions_delivery_check CHECK (delivery IN ('shared')),
    chosen_by          text        NOT NULL,
    state              text        NOT NULL DEFAULT 'requested'
                                   CHECK (state IN ('requested', 'pending', 'active', 'rejected', 'stalled', 'removing')),
    last_error         text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    state_since        timestamptz NOT NULL DEFAULT now()
);

-- The identity of a wish. An expression, because NULLs are distinct in a plain unique constraint
-- and every private topic would then be stored as often as it is asked for. It also serves the
-- look-up by topic when states are written.
CREATE UNIQUE INDEX subscriptions_wish_key
    ON subscriptions (topic, coalesce(category, ''), requesting_service);

-- A page of one service's wishes, and the removal of all of them.
CREATE INDEX subscriptions_by_service
    ON subscriptions (requesting_service, id);

-- migrate:down

DROP TABLE subscriptions;
