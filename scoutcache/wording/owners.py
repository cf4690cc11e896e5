"""Whose a directory is: only its owner writes there.

Root could write in another's as well; but what it makes is root's, and the owner would no longer get at it.
"""

from __future__ import annotations

import os
from pathlib import Path

from scoutcache.errors import CacheError

__all__ = ["as_owner", "check_owner", "user_named"]


def check_owner(directory: Path, owner: int) -> None:
    """Raise `CacheError` where *owner*, to whom the cache *directory* belongs, is another user."""
    if owner != os.geteuid():
        raise CacheError(f"the cache directory {directory} belongs to user {owner}, not to {os.geteuid()}",
                         hint=as_owner(owner))  # fmt: skip


def as_owner(owner: int) -> str:
    """What to do about a cache of the user *owner*."""
    name = user_named(owner)
    who = f"user {owner}" if name == str(owner) else f"{name} (uid {owner})"
    return f"run it as {who}, whose cache it is, or name a cache of your own with --directory or `directory`"


def user_named(number: int) -> str:
    """The name of a user, or where nobody knows it the number."""
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:  # containers run as any number
        return str(number)
