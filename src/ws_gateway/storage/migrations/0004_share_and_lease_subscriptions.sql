-- migrate:up

-- A subscription may be a lease: unless it is renewed it goes, so that a service that died leaves
-- nothing behind. And each row says when what it wants last changed, so that a gateway sees with
-- one number whether it knows all of them as they are.
CREATE SEQUENCE subscription_revisions;

ALTER TABLE subscriptions
    ADD COLUMN ttl_seconds integer CHECK (ttl_seconds BETWEEN 1 AND 604800),
    ADD COLUMN expires_at  timestamptz,
    ADD COLUMN revision    bigint NOT NULL DEFAULT nextval('subscription_revisions'),
    -- For rows that a person writes by hand: a UUID of version 7, as the gateway makes them.
    ALTER COLUMN id SET DEFAULT encode(
        set_bit(set_bit(overlay(
            uuid_send(gen_random_uuid())
            PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
            FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid,
    ALTER COLUMN chosen_by SET DEFAULT 'a row written by hand';

CREATE INDEX subscriptions_by_expiry ON subscriptions (expires_at) WHERE expires_at IS NOT NULL;

-- Pages of one symbol or one channel, whatever else there is.
CREATE INDEX subscriptions_by_symbol ON subscriptions (symbol, id);
CREATE INDEX subscriptions_by_channel ON subscriptions (channel, id);

-- What a row says of states and of a lease's end changes often and is of no concern here.
CREATE FUNCTION subscription_revised() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.revision := nextval('subscription_revisions');
    IF NEW.ttl_seconds IS DISTINCT FROM OLD.ttl_seconds THEN
        NEW.expires_at := now() + make_interval(secs => NEW.ttl_seconds);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER subscriptions_revised BEFORE UPDATE ON subscriptions FOR EACH ROW
    WHEN ((OLD.category, OLD.topic, OLD.channel, OLD.symbol, OLD.parameter, OLD.requesting_service,
           OLD.delivery, OLD.ttl_seconds)
          IS DISTINCT FROM
          (NEW.category, NEW.topic, NEW.channel, NEW.symbol, NEW.parameter, NEW.requesting_service,
           NEW.delivery, NEW.ttl_seconds))
    EXECUTE FUNCTION subscription_revised();

CREATE FUNCTION subscription_leased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.expires_at := now() + make_interval(secs => NEW.ttl_seconds);
    RETURN NEW;
END
$$;

CREATE TRIGGER subscriptions_leased BEFORE INSERT ON subscriptions FOR EACH ROW
    WHEN (NEW.ttl_seconds IS NOT NULL AND NEW.expires_at IS NULL)
    EXECUTE FUNCTION subscription_leased();

-- Every gateway hears at once of what another one, or a person, changed: `+id:revision` and `-id`,
-- or `*` for more than a message holds.
CREATE FUNCTION subscriptions_told() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        told := '*';
    ELSIF TG_OP = 'UPDATE' THEN
        told := '+' || NEW.id || ':' || NEW.revision;
    ELSE
        SELECT CASE
            WHEN count(*) = 0 THEN NULL
            WHEN count(*) > 100 THEN '*'
            WHEN TG_OP = 'INSERT' THEN string_agg('+' || id || ':' || revision, ' ')
            ELSE string_agg('-' || id, ' ')
        END INTO told FROM changed;
    END IF;
    IF told IS NOT NULL THEN
        PERFORM pg_notify('ws_gateway_subscriptions', told);
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER subscriptions_told_insert AFTER INSERT ON subscriptions
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION subscriptions_told();
CREATE TRIGGER subscriptions_told_update AFTER UPDATE ON subscriptions
    FOR EACH ROW WHEN (OLD.revision <> NEW.revision) EXECUTE FUNCTION subscriptions_told();
CREATE TRIGGER subscriptions_told_delete AFTER DELETE ON subscriptions
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION subscriptions_told();
CREATE TRIGGER subscriptions_told_truncate AFTER TRUNCATE ON subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION subscriptions_told();

-- migrate:down

DROP TRIGGER subscriptions_told_truncate ON subscriptions;
DROP TRIGGER subscriptions_told_delete ON subscriptions;
DROP TRIGGER subscriptions_told_update ON subscriptions;
DROP TRIGGER subscriptions_told_insert ON subscriptions;
DROP TRIGGER subscriptions_leased ON subscriptions;
DROP TRIGGER subscriptions_revised ON subscriptions;
DROP FUNCTION subscriptions_told();
DROP FUNCTION subscription_leased();
DROP FUNCTION subscription_revised();
DROP INDEX subscriptions_by_channel;
DROP INDEX subscriptions_by_symbol;
DROP INDEX subscriptions_by_expiry;
ALTER TABLE subscriptions
    ALTER COLUMN chosen_by DROP DEFAULT,
    ALTER COLUMN id DROP DEFAULT,
    DROP COLUMN revision,
    DROP COLUMN expires_at,
    DROP COLUMN ttl_seconds;
DROP SEQUENCE subscription_revisions;
