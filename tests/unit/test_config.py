"""Settings: what is read, what is refused, and in which words."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from ws_gateway.config import (
    SECRETS,
    ConnectionStrategy,
    LogFormat,
    LogLevel,
    QueueType,
    Settings,
)
from ws_gateway.control.api.server import listening
from ws_gateway.domain.topic import Category
from ws_gateway.errors import ConfigError
from ws_gateway.settings_source import load_settings
from ws_gateway.venue_hosts import BybitEnvironment

WORD = "s3cr3t-w0rd"


def refusal(environ: dict[str, str]) -> ConfigError:
    """Load settings that must be refused, and return the refusal."""
    with pytest.raises(ConfigError) as caught:
        load_settings(environ)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(caught.value.setting + ": ")
    return caught.value


def test_nothing_set_serves_public_mainnet_data() -> None:
    """Without any variable there is a complete configuration for public data."""
    settings = load_settings({})
    assert settings.bybit_environment is BybitEnvironment.MAINNET
    assert settings.public_ws_url == "wss://stream.bybit.com"
    assert settings.private_ws_url == "wss://stream.bybit.com"
    assert settings.rest_url == "https://api.bybit.com"
    assert settings.enabled_categories == tuple(Category)
    assert settings.default_category is Category.LINEAR
    assert settings.connection_strategy is ConnectionStrategy.DUAL
    assert settings.queue_type is QueueType.QUORUM
    assert (settings.log_level, settings.log_format) == (LogLevel.INFO, LogFormat.JSON)
    assert (settings.http_host, settings.http_port) == ("127.0.0.1", 8080)
    assert settings.database_url is None
    assert settings.api_key is None
    assert not settings.has_credentials
    assert (settings.redundancy, settings.connection_max_age_hours) == (1, 12.0)
    assert settings.option_base_coins[:2] == ("BTC", "ETH")


def test_every_field_is_read_from_its_variable() -> None:
    """Each documented name reaches its field, with its type."""
    settings = load_settings(
        {
            "WSG_BYBIT_ENVIRONMENT": "testnet",
            "WSG_BYBIT_API_KEY": "key",
            "WSG_BYBIT_API_SECRET": WORD,
            "WSG_CONNECTION_STRATEGY": "single",
            "WSG_REDUNDANCY": "2",
            "WSG_CONNECTION_MAX_AGE_HOURS": "0",
            "WSG_OPTION_BASE_COINS": "BTC, XRP",
            "WSG_ENABLED_CATEGORIES": "spot, option ,",
            "WSG_DEFAULT_CATEGORY": "spot",
            "WSG_DATABASE_URL": "postgresql://u:p@db:5432/gateway",
            "WSG_AMQP_URL": "amqps://u:p@mq/vhost",
            "WSG_QUEUE_TYPE": "stream",
            "WSG_API_KEY": "k",
            "WSG_HTTP_HOST": "::1",
            "WSG_HTTP_PORT": "0",
            "WSG_DATA_DIR": "some/where",
            "WSG_LOG_LEVEL": "debug",
            "WSG_LOG_FORMAT": "console",
            "PATH": "/ignored",
        }
    )
    assert settings.public_ws_url == "wss://stream-testnet.bybit.com"
    assert settings.rest_url == "https://api-testnet.bybit.com"
    assert settings.has_credentials
    assert settings.enabled_categories == (Category.SPOT, Category.OPTION)
    assert settings.default_category is Category.SPOT
    assert (settings.redundancy, settings.connection_max_age_hours) == (2, 0.0)
    assert settings.option_base_coins == ("BTC", "XRP")
    assert settings.queue_type is QueueType.STREAM
    assert settings.http_port == 0
    assert settings.data_dir == Path("some/where")
    assert settings.amqp_url.get_secret_value() == "amqps://u:p@mq/vhost"


def test_demo_takes_public_data_from_mainnet() -> None:
    """The demo environment has a private socket of its own and mainnet's public one."""
    settings = load_settings({"WSG_BYBIT_ENVIRONMENT": "demo"})
    assert settings.public_ws_url == "wss://stream.bybit.com"
    assert settings.private_ws_url == "wss://stream-demo.bybit.com"
    assert settings.rest_url == "https://api-demo.bybit.com"


def test_named_hosts_replace_those_of_the_environment() -> None:
    """A simulator's URLs win, and lose a trailing slash because paths are appended."""
    settings = load_settings(
        {
            "WSG_BYBIT_WS_URL": "ws://127.0.0.1:9001/",
            "WSG_BYBIT_REST_URL": "http://127.0.0.1:9001/",
        }
    )
    assert settings.public_ws_url == "ws://127.0.0.1:9001"
    assert settings.private_ws_url == "ws://127.0.0.1:9001"
    assert settings.rest_url == "http://127.0.0.1:9001"


@pytest.mark.parametrize(
    ("sockets", "rest"),
    [
        ("ws://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("wss://stream.bybit.tr", "https://api.bybit.tr"),
        ("wss://stream-testnet.bybit.com", "https://api-testnet.bybit.com"),
        ("wss://streams.example:443/p", "https://streams.example:443/p"),
    ],
)
def test_rest_goes_with_the_host_of_the_sockets(sockets: str, rest: str) -> None:
    """Whoever names a simulator alone is not answered by the real exchange."""
    assert load_settings({"WSG_BYBIT_WS_URL": sockets}).rest_url == rest


def test_other_environments_are_asked_only_beside_bybits_own() -> None:
    """The key of a simulator is nobody else's business."""
    others = load_settings({"WSG_BYBIT_ENVIRONMENT": "testnet"}).other_rest_urls
    assert others == {"mainnet": "https://api.bybit.com", "demo": "https://api-demo.bybit.com"}
    assert load_settings({"WSG_BYBIT_WS_URL": "ws://127.0.0.1:9001"}).other_rest_urls == {}


def test_an_empty_variable_counts_as_unset() -> None:
    """Compose files write `WSG_API_KEY=` for what they leave out."""
    assert (
        load_settings({"WSG_API_KEY": "", "WSG_HTTP_PORT": "", "WSG_NO_SUCH": ""}).api_key is None
    )


@pytest.mark.parametrize(
    ("environ", "serves_public", "has_credentials"),
    [
        ({}, True, False),
        ({"WSG_CONNECTION_STRATEGY": "single"}, True, False),
        ({"WSG_BYBIT_API_KEY": "k", "WSG_BYBIT_API_SECRET": "s"}, True, True),
        (
            {
                "WSG_CONNECTION_STRATEGY": "single",
                "WSG_BYBIT_API_KEY": "k",
                "WSG_BYBIT_API_SECRET": "s",
            },
            False,
            True,
        ),
    ],
)
def test_a_single_connection_is_private_with_a_key_and_public_without(
    environ: dict[str, str],
    serves_public: bool,  # noqa: FBT001
    has_credentials: bool,  # noqa: FBT001
) -> None:
    """An account that needs one kind of data says `single`, and the key says which."""
    settings = load_settings(environ)
    assert (settings.serves_public, settings.has_credentials) == (serves_public, has_credentials)


def test_the_files_of_secrets_are_remembered(tmp_path: Path) -> None:
    """What came from a file can be read again when it is rotated; what did not has no file."""
    secret = tmp_path / "secret"
    secret.write_text(WORD)
    settings = load_settings({"WSG_BYBIT_API_KEY": "k", "WSG_BYBIT_API_SECRET_FILE": str(secret)})
    assert settings.file_of("bybit_api_secret") == secret
    assert settings.file_of("bybit_api_key") is None
    assert WORD not in repr(settings)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("WSG_AMPQ_URL", "did you mean WSG_AMQP_URL?"),
        ("WSG_HTTPPORT", "did you mean WSG_HTTP_PORT?"),
        ("WSG_ZZZZZZ", "default-env"),
        ("WSG_HTTP_PORT_FILE", "did you mean WSG_HTTP_PORT?"),  # not a secret: no file form
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(name: str, hint: str) -> None:
    """A misspelt setting stops the start instead of being ignored."""
    fault = refusal({name: "x"})
    assert fault.setting == name
    assert hint in fault.remedy


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WSG_HTTP_PORT", "http", ["'http'", "a whole number from 0"]),
        ("WSG_HTTP_PORT", "70000", ["'70000'", "65535"]),
        ("WSG_PUBLISH_WINDOW", "0", ["'0'", "a whole number from 1"]),
        ("WSG_BYBIT_ENVIRONMENT", "prod", ["'prod'", "'mainnet', 'testnet' or 'demo'"]),
        ("WSG_DEFAULT_CATEGORY", "futures", ["'futures'", "'spot'"]),
        ("WSG_ENABLED_CATEGORIES", "spot,futures", ["futures", "'spot'"]),
        ("WSG_QUEUE_TYPE", "fast", ["'fast'", "'quorum', 'classic' or 'stream'"]),
        ("WSG_BYBIT_WS_URL", "127.0.0.1:9001", ["127.0.0.1:9001", "write a ws or wss URL"]),
        ("WSG_BYBIT_WS_URL", "http://h", ["http://h", "ws://127.0.0.1:9001"]),
        ("WSG_BYBIT_REST_URL", "http://h:port", ["not a URL", "http://127.0.0.1:9001"]),
        ("WSG_AMQP_URL", "localhost", ["amqp://user:password@host:5672/"]),
        ("WSG_DATABASE_URL", "mysql://h/d", ["postgresql://user:password@host:5432/database"]),
    ],
)
def test_a_malformed_value_is_told_in_one_sentence(name: str, value: str, words: list[str]) -> None:
    """The text names the setting, what was found, and what to write instead."""
    fault = refusal({name: value})
    assert fault.setting == name
    for word in words:
        assert word in str(fault)


BAD_HOSTS = [".example.", "a..b", "x" * 64, "a b", 'a"b', "a\tb", "a|b"]


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("WSG_BYBIT_WS_URL", "ws://{}"),
        ("WSG_BYBIT_REST_URL", "http://{}:9001/"),
        ("WSG_AMQP_URL", "amqp://guest:guest@{}/"),
        ("WSG_DATABASE_URL", "postgresql://u@{}/d"),
        ("WSG_DATABASE_URL", "postgresql:///d?host=127.0.0.1,{}"),
        ("WSG_HTTP_HOST", "{}"),
    ],
)
def test_a_host_that_no_resolver_takes_is_refused_at_start(name: str, url: str, host: str) -> None:
    """An empty or an endless label is found here, not by the first connection."""
    assert refusal({name: url.format(host)}).setting == name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WSG_BYBIT_WS_URL", "wss://bücher.example.:443"),
        ("WSG_BYBIT_REST_URL", "http://[fe80::1%25lo]:80"),
        ("WSG_AMQP_URL", "amqp://guest:a%20b@my_rabbit/%2F"),
        ("WSG_DATABASE_URL", "postgresql://u@/d?host=/var/run/" + "long-" * 20),
        ("WSG_DATABASE_URL", "postgresql://u@%2Fvar%2Frun/d"),
        ("WSG_HTTP_HOST", "fe80::1%lo"),
        ("WSG_HTTP_HOST", "0.0.0.0"),  # noqa: S104 - a value people set
    ],
)
def test_every_kind_of_host_is_taken(name: str, value: str) -> None:
    """Names, names with a dot at the end, addresses, and the path of a socket."""
    load_settings({name: value})


@pytest.mark.parametrize("secret", sorted(SECRETS))
def test_each_secret_may_come_from_a_file(secret: str, tmp_path: Path) -> None:
    """`…_FILE` names a file; the newline at its end is not part of the secret."""
    value = {
        "amqp_url": f"amqp://u:{WORD}@h/",
        "database_url": f"postgresql://u:{WORD}@h/d",
        "rabbitmq_management_url": f"http://u:{WORD}@h:15672",
        "accounts": '{"hedge": {"api_key": "k", "api_secret": "s"}}',
    }.get(secret, WORD)
    file = tmp_path / "secret"
    file.write_text(value + "\n")
    environ = {f"WSG_{secret.upper()}_FILE": str(file)}
    if secret.startswith("bybit_api"):
        other = ({"bybit_api_key", "bybit_api_secret"} - {secret}).pop()
        environ[f"WSG_{other.upper()}"] = "other half"
    if secret == "accounts":
        environ |= {"WSG_BYBIT_API_KEY": "first", "WSG_BYBIT_API_SECRET": "its secret"}
    settings = load_settings(environ)
    assert getattr(settings, secret).get_secret_value() == value


def test_the_secrets_are_those_the_contract_names() -> None:
    """What may come from a file is what must not be shown."""
    assert {
        "api_key",
        "amqp_url",
        "database_url",
        "rabbitmq_management_url",
        "bybit_api_key",
        "bybit_api_secret",
        "accounts",
    } == SECRETS


def test_a_secret_and_its_file_at_once_are_refused(tmp_path: Path) -> None:
    """Two sources for one secret are a mistake, not a question of precedence."""
    file = tmp_path / "secret"
    file.write_text(WORD)
    fault = refusal({"WSG_API_KEY": WORD, "WSG_API_KEY_FILE": str(file)})
    assert "WSG_API_KEY is set too" in str(fault)
    assert WORD not in str(fault)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A missing file and one that is no text are told by their path."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    fault = refusal({"WSG_API_KEY_FILE": str(file)})
    assert fault.setting == "WSG_API_KEY_FILE"
    assert str(file) in fault.found


@pytest.mark.parametrize("half", ["WSG_BYBIT_API_KEY", "WSG_BYBIT_API_SECRET"])
def test_half_a_pair_of_credentials_is_refused(half: str) -> None:
    """The missing half is the one named."""
    fault = refusal({half: WORD})
    assert fault.setting != half
    assert fault.setting.startswith("WSG_BYBIT_API_")
    assert WORD not in str(fault)


def test_secrets_show_nowhere() -> None:
    """Neither repr, str nor a dump of the settings shows what a secret holds."""
    settings = load_settings(
        {
            "WSG_AMQP_URL": f"amqp://u:{WORD}@h/",
            "WSG_DATABASE_URL": f"postgresql://u:{WORD}@h/d",
            "WSG_API_KEY": WORD,
            "WSG_BYBIT_API_KEY": WORD,
            "WSG_BYBIT_API_SECRET": WORD,
        }
    )
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert WORD not in shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WSG_AMQP_URL", f"http://u:{WORD}@h/"),
        ("WSG_AMQP_URL", f"amqp://u:{WORD}@h:port/"),
        ("WSG_AMQP_URL", f"amqp://u:{WORD}@[h/"),
        ("WSG_DATABASE_URL", f"mysql://u:{WORD}@h/d"),
        ("WSG_DATABASE_URL", f"postgresql://u:{WORD}"),
    ],
)
def test_a_refused_url_does_not_show_its_password(name: str, value: str) -> None:
    """Not in the sentence, and not in the traceback of what caused it either."""
    fault = refusal({name: value})
    assert "and is not shown" in fault.found
    assert WORD not in "".join(traceback.format_exception(fault))


def test_settings_cannot_be_changed() -> None:
    """What was checked at start stays true."""
    settings = load_settings({})
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1


def test_every_setting_says_what_it_means() -> None:
    """`default-env` prints the description, so each field has one, as a sentence."""
    for name, info in Settings.model_fields.items():
        assert info.description, name
        assert info.description.endswith("."), name


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"WSG_ENABLED_CATEGORIES": ","}, ("WSG_ENABLED_CATEGORIES", "names no category")),
        (
            {"WSG_ENABLED_CATEGORIES": "spot", "WSG_DEFAULT_CATEGORY": "linear"},
            ("WSG_DEFAULT_CATEGORY", "'linear'", "enabled"),
        ),
        ({"WSG_API_KEY": "  "}, ("WSG_API_KEY", "is blank")),
        ({"WSG_PUBLISH_DEADLINE_SECONDS": "inf"}, ("WSG_PUBLISH_DEADLINE_SECONDS", "inf")),
    ],
)
def test_settings_that_could_never_work_are_refused(
    environ: dict[str, str], words: tuple[str, ...]
) -> None:
    """A value that is well formed but leaves the gateway useless is refused by name."""
    with pytest.raises(ConfigError) as refused:
        load_settings(environ)
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("WSG_BYBIT_WS_URL", "ws://me:hush@127.0.0.1:9001", "user and password"),
        ("WSG_BYBIT_REST_URL", "http://me:hush@127.0.0.1:9001", "user and password"),
        ("WSG_BYBIT_WS_URL", "ws://127.0.0.1:9001/v5/public/linear", "host only"),
        ("WSG_BYBIT_WS_URL", "ws://127.0.0.1:9001?x=1", "host only"),
    ],
)
def test_a_venue_address_holds_no_secret_and_no_path_of_the_venue(
    name: str, value: str, word: str
) -> None:
    """It is shown to whoever reads /health, and a pasted path would answer 404 for ever."""
    with pytest.raises(ConfigError) as refused:
        load_settings({name: value})
    assert name in str(refused.value)
    assert word in str(refused.value)
    assert "hush" not in str(refused.value)


def test_the_management_url_is_a_secret_and_has_a_form() -> None:
    """It may hold a password, so its value is never repeated."""
    url = f"http://u:{WORD}@mq:15672"
    settings = load_settings({"WSG_RABBITMQ_MANAGEMENT_URL": url})
    assert settings.rabbitmq_management_url is not None
    assert WORD not in repr(settings)
    fault = refusal({"WSG_RABBITMQ_MANAGEMENT_URL": f"ftp://u:{WORD}@mq"})
    assert "http or https" in str(fault)
    assert WORD not in str(fault)


def test_a_password_that_breaks_the_broker_url_is_named_as_the_cause() -> None:
    """Whoever pasted one learns how to write it, and it is not repeated."""
    with pytest.raises(ConfigError) as caught:
        load_settings({"WSG_AMQP_URL": "amqp://user:s3/cret@host:5672/"})
    assert "in a password, write /" in str(caught.value)
    assert "s3" not in str(caught.value)


def test_an_address_of_another_machine_is_the_fault_of_the_host_setting() -> None:
    """The port has nothing to do with it."""
    with pytest.raises(ConfigError, match="WSG_HTTP_HOST"), listening("192.0.2.1", 0):
        pass


def test_certificates_of_the_broker_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """The driver would take a missing file for a broker that is away."""
    ca = tmp_path / "ca.pem"
    url = f"amqps://u:{WORD}@mq/?cafile={ca}"
    told = refusal({"WSG_AMQP_URL": url})
    assert "cafile" in str(told)
    assert WORD not in str(told)
    ca.write_text("…", encoding="utf-8")
    load_settings({"WSG_AMQP_URL": url})
    plain = refusal({"WSG_AMQP_URL": url.replace("amqps", "amqp")})
    assert "amqps://" in str(plain)


def test_a_certificate_of_the_api_comes_with_its_key() -> None:
    """One without the other is no TLS, and plain HTTP would be a surprise."""
    assert load_settings({}).http_scheme == "http"
    lonely = refusal({"WSG_HTTP_CERTIFICATE_FILE": "c.pem"})
    assert lonely.setting == "WSG_HTTP_KEY_FILE"
    assert refusal({"WSG_HTTP_KEY_FILE": "k.pem"}).setting == "WSG_HTTP_CERTIFICATE_FILE"
    both = {"WSG_HTTP_CERTIFICATE_FILE": "c.pem", "WSG_HTTP_KEY_FILE": "k.pem"}
    assert load_settings(both).http_scheme == "https"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WSG_HTTP_PORT", "abc", "write a whole number from 0 to 65535"),
        ("WSG_HTTP_PORT", "70000", "write a whole number from 0 to 65535"),
        ("WSG_RECONCILE_SECONDS", "often", "write a number above 0"),
        ("WSG_BACKFILL", "maybe", "write true or false"),
    ],
)
def test_what_is_no_number_is_answered_with_the_numbers_that_fit(
    name: str, value: str, words: str
) -> None:
    """Not with the words of a library about parsing."""
    told = str(refusal({name: value}))
    assert f"found {value!r}" in told
    assert words in told
