-- migrate:up

-- Of many thousands nearly all are active; those that are not are looked for, and are few.
CREATE INDEX subscriptions_by_state ON subscriptions (state, id) WHERE state <> 'active';

-- migrate:down

DROP INDEX subscriptions_by_state;
