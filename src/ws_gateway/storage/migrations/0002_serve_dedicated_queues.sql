-- migrate:up

-- A subscription may ask for a queue that only its service reads.
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_delivery_check;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_delivery_check
    CHECK (delivery IN ('shared', 'dedicated'));

-- What the gateway declared at the broker for one service and one event class. The broker cannot
-- be asked over AMQP what is bound to a queue or who made it; only with this can the gateway take
-- away exactly what it made, also when the last subscription went while the broker was away.
CREATE TABLE dedicated_queues (
    name               text        PRIMARY KEY,
    requesting_service text        NOT NULL,
    event_class        text        NOT NULL,
    -- Routing keys that are bound, or are about to be.
    bindings           text[]      NOT NULL,
    -- False if it stood before the gateway first wanted it: then it is filled and never deleted.
    is_ours            boolean     NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now()
);

-- migrate:down

DROP TABLE dedicated_queues;
DELETE FROM subscriptions WHERE delivery <> 'shared';
ALTER TABLE subscriptions DROP CONSTRAINT subscriptions_delivery_check;
ALTER TABLE subscriptions ADD CONSTRAINT subscriptions_delivery_check CHECK (delivery IN ('shared'));
