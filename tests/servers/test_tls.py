"""TLS servers: who trusts the right authority comes in, and each wrong certificate is refused for its reason."""

from __future__ import annotations

import pytest
import redis


def ping(server, ca_file, **options):
    with redis.Redis.from_url(server.url, ssl_ca_certs=ca_file, **options) as client:
        return client.ping()


def test_the_authority_is_trusted_with_and_without_a_clients_certificate(redis_tls):
    assert ping(redis_tls, redis_tls.ca_file)
    assert ping(redis_tls, redis_tls.ca_file, ssl_certfile=redis_tls.cert_file, ssl_keyfile=redis_tls.key_file)
    assert redis_tls.server.cli("PING") == b"PONG"


def test_it_speaks_nothing_but_tls(redis_tls):
    with redis.Redis(port=redis_tls.port, socket_timeout=5, retry=None) as plain, pytest.raises(redis.ConnectionError):
        plain.ping()


def test_another_authority_does_not_vouch_for_it(redis_tls):
    with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        ping(redis_tls, redis_tls.rogue_ca_file)


def test_a_certificate_for_another_host_is_refused_for_its_name_alone(redis_tls):
    server = redis_tls.start_for_wrong_host()
    with pytest.raises(redis.ConnectionError, match=r"(?i)hostname mismatch"):
        ping(server, redis_tls.ca_file)
    assert ping(server, redis_tls.ca_file, ssl_check_hostname=False)


def test_an_expired_certificate_is_refused_for_its_age(redis_tls):
    with pytest.raises(redis.ConnectionError, match="expired"):
        ping(redis_tls.start_expired(), redis_tls.ca_file)


def test_a_server_can_insist_on_a_clients_certificate(redis_tls):
    server = redis_tls.start("--tls-auth-clients", "yes")
    assert ping(server, redis_tls.ca_file, ssl_certfile=redis_tls.cert_file, ssl_keyfile=redis_tls.key_file)
    with pytest.raises(redis.ConnectionError):
        ping(server, redis_tls.ca_file)
    rogue = {"ssl_certfile": redis_tls.rogue_cert_file, "ssl_keyfile": redis_tls.rogue_key_file}
    with pytest.raises(redis.ConnectionError):
        ping(server, redis_tls.ca_file, **rogue)
