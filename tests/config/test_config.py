"""The configuration: usable, or an error that lists every wrong setting."""

from __future__ import annotations

import doctest
import math
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from scoutcache import config as module
from scoutcache.assembly.given import configuration_of
from scoutcache.config import CacheConfig
from scoutcache.errors import ConfigError

SIGNED = {"signing_keys": {"k1": "0123456789abcdef"}}


def problems(**settings) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        CacheConfig(**settings)
    return caught.value.problems


def test_the_examples_of_the_documentation_run():
    assert doctest.testmod(module).failed == 0


def test_the_defaults_are_those_of_the_contract():
    config = CacheConfig()
    assert config.enabled
    assert config.tiers == ("memory", "disk")
    assert (config.namespace, config.default_ttl) == ("default", 3600.0)
    assert (config.memory.max_entries, config.memory.max_bytes, config.memory.strategy) == (
        100_000,
        100_000_000,
        "adaptive",
    )
    assert config.disk.max_bytes == 1_000_000_000
    assert (config.redis.timeout, config.redis.max_stale) == (0.25, 2.0)
    assert (config.placement.promote_on_hits, config.placement.demote_after) == (2, 3600.0)
    assert (config.compression.type, config.compression.threshold, config.serializer.type) == ("lz4", 1024, "msgpack")
    assert (config.oplog.sample_rate, config.oplog.max_records_per_s) == (1.0, 5000)
    assert config.llm.operation_ttls == {
        "summarize": 7200,
        "key_points": 7200,
        "sentiment": 86400,
        "questions": 3600,
        "qa": 1800,
    }
    assert (config.llm.text_tiers, config.llm.hash_above, config.llm.metrics_ttl) == (
        (500, 5000, 50_000),
        1000,
        86400.0,
    )
    assert config.warming.interval == 300.0
    assert (config.alerts.memory.warn, config.alerts.memory.critical) == (50_000_000, 100_000_000)
    assert (config.alerts.operation, config.alerts.key_generation, config.alerts.hit_rate) == (0.05, 0.1, 0.5)
    assert (config.alerts.invalidations_per_hour.warn, config.alerts.invalidations_per_hour.critical) == (50, 100)
    assert config.costs.default_call_usd is None


def test_the_sections_of_the_contract_are_there():
    sections = {
        "ttl",
        "memory",
        "disk",
        "redis",
        "placement",
        "compression",
        "serializer",
        "security",
        "freshness",
        "semantic",
        "oplog",
        "costs",
        "llm",
        "warming",
        "alerts",
        "policies",
        "rules",
        "tasks",
    }
    assert sections <= set(CacheConfig.model_fields)


def test_it_takes_the_names_of_the_file():
    config = CacheConfig(tiers=["memory"], memory={"max_entries": 1000, "max_bytes": "64MiB"}, default_ttl="90s")
    assert (config.tiers, config.memory.max_entries, config.memory.max_bytes, config.default_ttl) == (
        ("memory",),
        1000,
        2**26,
        90.0,
    )


@pytest.mark.parametrize(
    ("settings", "tiers"),
    [
        ({}, ("memory", "disk")),
        ({"tiers": None}, ("memory", "disk")),
        ({"tiers": "disk"}, ("disk",)),
        ({"redis": {"url": "redis://h"}}, ("memory", "redis", "disk")),
        ({"redis": {"nodes": ["h:1"]}}, ("memory", "redis", "disk")),
        ({"tiers": ["memory", "my.module:Tier"]}, ("memory", "my.module:Tier")),
        ({"tiers": "memory, disk"}, ("memory", "disk")),
    ],
)
def test_tiers_are_those_named_or_those_possible(settings, tiers):
    assert CacheConfig(**settings).tiers == tiers


@pytest.mark.parametrize(
    ("tiers", "said"),
    [
        (["disk", "memory"], "memory must come first"),
        (["memory", "memory"], "twice"),
        (["memroy"], "did you mean 'memory'"),
        ([], "at least one"),
        (["redis"], "needs redis.url"),
        (5, "expected a list"),
        (["no:"], "is no tier"),
    ],
)
def test_impossible_tiers_are_refused(tiers, said):
    (problem,) = problems(tiers=tiers)
    assert problem.startswith("tiers: ")
    assert said in problem


def test_the_ttl_of_the_prefix_goes_before_that_of_the_namespace_and_the_default():
    config = CacheConfig(ttl={"llm": "2h", "namespace": {"tenant": "never"}}, default_ttl=5)
    assert config.ttl_for("llm:x", "tenant") == 7200.0
    assert config.ttl_for("job:x", "tenant") == math.inf
    assert config.ttl_for("llm", "other") == 5.0


def test_times_to_live_serve_as_names():
    config = CacheConfig(ttl={"short": "5m"})
    assert config.ttl.read("short") == 300.0
    assert config.ttl.read("2h") == 7200.0


def test_ten_mistakes_are_all_listed_with_place_expectation_and_nearest_name():
    wrong = problems(
        tiers=["memroy"],
        max_entries=3,
        default_ttl=-3,
        memry={},
        disk=5,
        policies={"a": 3},
        memory={"max_entires": 3, "strategy": "lri", "max_bytes": "1 parsec"},
        redis={"url": "http://x", "timeout": -1, "tls": "perhaps"},
        security={"signing_keys": {"a": "short"}},
        rules=[{"name": "x", "event_tipes": ["a"]}],
        costs={"models": {"g": {"inpt": 2}}},
        freshness={"soft_timeout": 3, "hard_timeout": 1},
        oplog={"sample_rate": 2},
    )
    for said in [
        "tiers: 'memroy' is no tier; expected 'memory', 'redis', 'disk' or 'module:Class'; did you mean 'memory'?",
        "max_entries: unknown setting here; did you mean memory.max_entries or redis.max_entries?",
        "memry: unknown setting; did you mean 'memory'?",
        "disk: expected a table of settings, not 5",
        "policies: expected a list, not {'a': 3}",
        "memory.max_entires: unknown setting; did you mean 'max_entries'?",
        "redis.url: expected redis://…, rediss://… (TLS) or unix://…",
        "redis.tls: expected true or false, not 'perhaps'",
        "security.signing_keys.a: is too short: expected at least 16 characters",
        "rules[0].event_tipes: unknown setting; did you mean 'event_types'?",
        "costs.models.g.inpt: unknown setting; did you mean 'input'?",
        "costs.models.g.input: is missing",
        "freshness: soft_timeout is longer than hard_timeout",
        "oplog.sample_rate: expected at most 1, not 2",
    ]:
        assert said in wrong
    for begun in (
        "default_ttl: -3 is no time to live",
        "memory.max_bytes: '1 parsec' is no size",
        "redis.timeout: -1 is no duration",
    ):
        assert any(problem.startswith(begun) for problem in wrong)
    assert any(p.startswith("memory.strategy: ") and p.endswith("not 'lri'; did you mean 'lru'?") for p in wrong)
    assert not any("predictive" in problem for problem in wrong), "what can't be had is nothing to choose from"
    assert len(wrong) == 18


def test_contradictions_are_listed_beside_single_mistakes():
    assert problems(tiers=["redis"], serializer={"type": "pickle"}, memry=3) == (
        "memry: unknown setting; did you mean 'memory'?",
        "tiers: the redis tier needs redis.url, redis.nodes or redis.sentinel",
        "serializer.type: pickle runs code when it reads, so it needs a key in security.signing_keys",
    )


def test_what_only_misses_a_wrong_setting_is_no_problem_of_its_own():
    assert len(problems(tiers=["redis"], redis={"url": "http://h"})) == 1
    assert len(problems(serializer={"type": "pickle"}, security={"signing_keys": {"a": "short"}})) == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"redis": {"url": "redis://h", "nodes": ["h:1"]}}, "can't be used together"),
        ({"redis": {"password": "p", "password_file": "f"}}, "can't be used together"),
        ({"redis": {"nodes": ["u:p@h:1"]}}, "host:port"),
        ({"redis": {"nodes": ["h"]}}, "redis.nodes[0]: expected 'host:port' with a port from 1 to 65535"),
        ({"redis": {"sentinel": ["h:0"]}}, "redis.sentinel[0]: expected 'host:port'"),
        ({"redis": {"nodes": ["h:1", "h:65536"]}}, "redis.nodes[1]: expected 'host:port'"),
        ({"redis": {"sentinel": ["h:1"], "sentinel_service": ""}}, "redis.sentinel_service"),
        ({"redis": {"url": "redis://h:65536/0"}}, "a port is 1 to 65535"),
        ({"security": {**SIGNED, "active_key": "k2"}}, "names no key"),
        ({"security": {"encryption": "aes-256-gcm"}}, "needs a key"),
        ({"security": {"signing_keys": {"a": "x" * 16, "b": "y" * 16}}}, "active_key must name"),
        ({"compression": {"dictionary": "auto"}}, "zstd"),
        ({"policies": [{"policy_id": "a"}, {"policy_id": "a"}]}, "'a' is named twice"),
        ({"namespace": ""}, "can't be empty"),
        ({"llm": {"text_tiers": [5, 3]}}, "rising"),
        ({"memory": {"max_entries": 0}}, "at least 1"),
        ({"freshness": {"refresh_ahead": 1}}, "less than 1"),
        ({"freshness": {"jitter": 1}}, "less than 1"),
        ({"memory": 5}, "table of settings"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    (problem,) = problems(**settings)
    assert said in problem


def test_pickle_is_allowed_with_a_signing_key():
    assert CacheConfig(serializer={"type": "pickle"}, security=SIGNED).serializer.type == "pickle"


def test_secrets_never_show():
    config = CacheConfig(
        redis={"url": "redis://user:hunter2@host:1/0?password=hunter2", "password": "hunter2"},
        security={"signing_keys": {"k1": "hunter2hunter2hunter2"}},
    )
    for told in (repr(config), str(config), config.model_dump_json(), repr(config.model_dump())):
        assert "hunter2" not in told
    assert config.redis.url is not None
    assert config.redis.url.get_secret_value() == "redis://user:hunter2@host:1/0?password=hunter2"


@pytest.mark.parametrize(
    "settings",
    [
        {"redis": {"url": "http://:hunter2@h"}},
        {"redis": {"url": ["hunter2"]}},
        {"redis": {"password": ["hunter2"]}},
        {"redis": "redis://:hunter2@h"},
        {"security": {"signing_keys": {"a": "hunter2"}}},
        {"security": "hunter2"},
        {"security": {"signing_keys": ["hunter2"]}},
        {"redis": {"pasword": "hunter2"}},
        {"redis": {"nodes": ["u:hunter2@h"]}},
    ],
)
def test_a_wrong_secret_is_not_shown_by_the_error(settings):
    with pytest.raises(ConfigError) as caught:
        CacheConfig(**settings)
    assert "hunter2" not in str(caught.value)


def test_it_is_immutable_and_changes_are_checked_copies():
    config = CacheConfig(default_ttl=5, redis={"url": "redis://h"})
    with pytest.raises(ValidationError):
        config.default_ttl = 6
    changed = config.replace(namespace="other")
    assert (changed.namespace, changed.default_ttl, changed.tiers) == ("other", 5.0, ("memory", "redis", "disk"))
    with pytest.raises(ConfigError):
        config.replace(namespace="")


def test_operation_ttls_add_to_the_built_in_ones():
    ttls = CacheConfig(llm={"operation_ttls": {"translate": "1h", "qa": "5m"}}).llm.operation_ttls
    assert (ttls["translate"], ttls["qa"], ttls["summarize"]) == (3600.0, 300.0, 7200.0)


def test_control_codes_of_a_setting_never_reach_the_terminal():
    (problem,) = problems(**{"\x1b[2J": 1})
    assert "\x1b" not in problem


def test_importing_it_brings_nothing_heavy():
    heavy = {
        "redis",
        "pandas",
        "numpy",
        "faiss",
        "torch",
        "yaml",
        "pydantic_settings",
        "rich",
        "typer",
        "asyncio",
        "sqlite3",
    }
    code = "import sys, scoutcache.config, scoutcache.settings as s; s.load_config(); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(("url", "told"), [
    ("redis://h:6379/first", "the number of a database"), ("rediss://h/0x1", "the number of a database"),
    ("redis://h/0?foo=bar", "its query can't say foo"), ("unix:///run/redis.sock?foo=1", "its query can't say foo"),
])  # fmt: skip
def test_urls_that_a_client_would_misread_are_refused(url, told):
    with pytest.raises(ConfigError, match=told):
        CacheConfig(redis={"url": url})


@pytest.mark.parametrize("url", [
    "redis://h", "redis://h:1/", "rediss://:p@h:1/15", "redis://h?db=3&username=u", "unix:///run/redis.sock?db=1",
    "redis://h/0?timeout=3&ssl_ca_certs=/x&socket_keepalive=1&health_check_interval=5",
])  # fmt: skip
def test_urls_that_say_what_a_client_reads_are_taken(url):
    assert CacheConfig(redis={"url": url}).redis.url.get_secret_value() == url


def test_a_directory_has_a_name():
    with pytest.raises(ConfigError, match=r"directory: an empty name is no folder; leave it out .* or write \. for"):
        CacheConfig(directory="")
    assert CacheConfig(directory=".").directory == Path()


def test_an_embedder_has_a_name():
    with pytest.raises(ConfigError, match=r"semantic\.model"):
        CacheConfig.read({"semantic": {"model": ""}}, str)


def test_what_may_name_a_place_may_be_a_path():
    config = CacheConfig(semantic={"model": Path("/m")}, compression={"type": "zstd", "dictionary": Path("/d")})
    assert (config.semantic.model, config.compression.dictionary) == ("/m", "/d")


def test_a_stale_value_may_wait_for_a_fresh_one_by_default_too():
    freshness = CacheConfig(freshness={"soft_timeout": "never", "hard_timeout": "30s"}).freshness
    assert freshness.soft_timeout == math.inf
    assert freshness.model_dump(mode="json")["soft_timeout"] == "never"


def test_reading_from_replicas_of_one_server_has_no_effect_and_that_is_told():
    alone = CacheConfig(redis={"url": "redis://h", "read_from": "any"}).redis
    assert "read_from" in (alone.without_effect or "")
    assert CacheConfig(redis={"nodes": ["h:1"], "read_from": "any"}).redis.without_effect is None
    assert CacheConfig(redis={"url": "redis://h"}).redis.without_effect is None


@pytest.mark.parametrize("made", [lambda settings: CacheConfig(**settings), dict])
@pytest.mark.parametrize("place", [{"url": "redis://a"}, {"nodes": ["a:1"]}])
def test_another_server_leaves_the_rest_of_its_section(made, place):
    given = made({"redis": {**place, "key_prefix": "mine:", "timeout": 1}})
    redis = configuration_of(given, None, {"redis_url": "redis://b"}).redis
    assert (redis.url.get_secret_value(), redis.key_prefix, redis.timeout, redis.nodes) == ("redis://b", "mine:", 1, ())


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("memory", "max_entries"), ("redis", "max_entries"), ("placement", "promote_on_hits"), ("compression", "level"),
        ("oplog", "sample_rate"), ("llm", "hash_above"), ("costs", "default_call_usd"), ("alerts", "hit_rate"),
        ("alerts", "errors_per_hour"), ("semantic", "threshold"), ("memory", "max_bytes"), ("freshness", "jitter"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("switch", [True, False])
def test_a_switch_is_no_number(section, name, switch):
    with pytest.raises(ConfigError, match=rf"{section}\.{name}: .*{switch}"):
        CacheConfig(**{section: {name: switch}})
