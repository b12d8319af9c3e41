-- migrate:up

-- Whose private data a service wants, by the name in WSG_ACCOUNTS; NULL is the first account
-- (WSG_ACCOUNT_NAME), as every row before this one, and public data.
ALTER TABLE subscriptions
    ADD COLUMN account text CHECK (account ~ '^[A-Za-z0-9_-]{1,32}$');

DROP INDEX subscriptions_wish_key;
CREATE UNIQUE INDEX subscriptions_wish_key
    ON subscriptions (topic, coalesce(category, ''), coalesce(account, ''), requesting_service);

DROP TRIGGER subscriptions_revised ON subscriptions;
CREATE TRIGGER subscriptions_revised BEFORE UPDATE ON subscriptions FOR EACH ROW
    WHEN ((OLD.category, OLD.topic, OLD.channel, OLD.symbol, OLD.parameter, OLD.requesting_service,
           OLD.delivery, OLD.ttl_seconds, OLD.account)
          IS DISTINCT FROM
          (NEW.category, NEW.topic, NEW.channel, NEW.symbol, NEW.parameter, NEW.requesting_service,
           NEW.delivery, NEW.ttl_seconds, NEW.account))
    EXECUTE FUNCTION subscription_revised();

-- migrate:down

DROP TRIGGER subscriptions_revised ON subscriptions;
-- An older version would take them for the first account's.
DELETE FROM subscriptions WHERE account IS NOT NULL;
CREATE TRIGGER subscriptions_revised BEFORE UPDATE ON subscriptions FOR EACH ROW
    WHEN ((OLD.category, OLD.topic, OLD.channel, OLD.symbol, OLD.parameter, OLD.requesting_service,
           OLD.delivery, OLD.ttl_seconds)
          IS DISTINCT FROM
          (NEW.category, NEW.topic, NEW.channel, NEW.symbol, NEW.parameter, NEW.requesting_service,
           NEW.delivery, NEW.ttl_seconds))
    EXECUTE FUNCTION subscription_revised();
DROP INDEX subscriptions_wish_key;
CREATE UNIQUE INDEX subscriptions_wish_key
    ON subscriptions (topic, coalesce(category, ''), requesting_service);
ALTER TABLE subscriptions DROP COLUMN account;
