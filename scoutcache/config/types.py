"""The types of settings: how a value of the configuration may be written, and what it is once read.

Durations are seconds, sizes bytes once read; files, the environment and callers may write "90s", "2h", "100MB".
Secrets show themselves as stars wherever they are printed or serialised; code asks with ``.get_secret_value()``.
"""

from __future__ import annotations

import os
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, Secret
from pydantic_core import PydanticKnownError

from scoutcache.policies import Duration, Size

MASK: Final = "**********"


def mask_url(url: str) -> str:
    """The URL without what must stay secret: the password, and the whole query (drivers take passwords there)."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user = f"{parts.username or ''}:{MASK}@" if "@" in parts.netloc else ""
        query = f"?{MASK}" if parts.query else ""
        return f"{parts.scheme}://{user}{host}{parts.path}{query}" if parts.scheme else MASK
    except ValueError:
        return MASK


class SecretUrl(Secret[str]):
    """A URL that shows itself without its password."""

    def _display(self) -> str:
        return mask_url(self.get_secret_value())


def _check_url(url: SecretUrl) -> SecretUrl:
    """Raise ValueError for the URL of no server, without quoting it."""
    text = url.get_secret_value()
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("expected redis://…, rediss://… (TLS) or unix://…")
    if not _is_whole(text):
        raise ValueError("it can't be read: a port is 1 to 65535, and in a password write %2F for /, %23 for #, "
                         "%3F for ?, %40 for @")  # fmt: skip
    _check_path_and_query(text)
    return url


def _is_whole(url: str) -> bool:
    """Does it name a place?  A password with the wrong signs in it would be taken for a port or a path, and shown."""
    try:
        parts = urlsplit(url)
        return parts.port is None or parts.port > 0 if "@" not in parts.path + parts.fragment else False
    except ValueError:
        return False


URL_IGNORES: Final = ("max_connections", "retry_on_timeout", "decode_responses", "ssl_cert_reqs", "ssl_check_hostname",
                      "client_name", "protocol", "timeout", "health_check_interval")  # fmt: skip
"""What a URL's query may say and doesn't decide: the configuration does."""


def _check_path_and_query(url: str) -> None:
    """Raise ValueError for a database that is no number, and for what a query can't say."""
    parts = urlsplit(url)
    place = parts.path.strip("/")
    if parts.scheme != "unix" and place and not place.isdecimal():
        raise ValueError("after the / comes the number of a database, such as /0")
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    known = {"db", "username", "password", *URL_IGNORES}
    unknown = [name for name in names if name not in known and not name.startswith(("ssl_", "socket_"))]
    if unknown:
        raise ValueError(f"its query can't say {unknown[0]}: expected db, username or password; see [redis] for more")


def split_list(value: object) -> object:
    """A list written as text, as the environment and options do: ``a,b``."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _path_as_text(value: object) -> object:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


PathText = Annotated[str, BeforeValidator(_path_as_text)]
"""A text that may name a place on this machine, so that a `pathlib.Path` will do."""


def _host_and_port(address: str) -> str:
    if "@" in address:
        raise ValueError("expected 'host:port'; user and password have settings of their own")
    host, _, port = address.rpartition(":")
    if not host.strip() or not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= _LAST_PORT:
        raise ValueError(f"expected 'host:port' with a port from 1 to {_LAST_PORT}")
    return address


_LAST_PORT: Final = 65_535


def _off_peak(text: str) -> str:
    from scoutcache.schedules import daily_window

    if text not in {"always", "auto"}:
        daily_window(text)
    return text


def _no_switch(kind: Literal["int_type", "float_type"]) -> BeforeValidator:
    """True counts as 1 in Python; in a configuration it is a slip, as it is for a duration or a size."""

    def check(value: object) -> object:
        if isinstance(value, bool):
            raise PydanticKnownError(kind)
        return value

    return BeforeValidator(check)


ServerUrl = Annotated[SecretUrl, AfterValidator(_check_url)]
Names = Annotated[tuple[str, ...], BeforeValidator(split_list)]
Addresses = Annotated[tuple[Annotated[str, AfterValidator(_host_and_port)], ...], BeforeValidator(split_list)]
Wait = Annotated[Duration, Field(gt=0)]
Whole = Annotated[int, _no_switch("int_type")]
Number = Annotated[float, _no_switch("float_type")]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Room = Annotated[Size, Field(ge=1)]
Count = Annotated[Whole, Field(ge=1)]
OffPeak = Annotated[str, AfterValidator(_off_peak)]
