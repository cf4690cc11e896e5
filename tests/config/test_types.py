from __future__ import annotations

import pytest

from scoutcache.config.types import mask_url


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h", "redis://:**********@h"),
        ("redis://u:a@b@h", "redis://u:**********@h"),
        ("redis://[::1", "**********"),
        ("unix:///s?password=p", "unix:///s?**********"),
    ],
)
def test_urls_show_everything_but_secrets(url, masked):
    assert mask_url(url) == masked
