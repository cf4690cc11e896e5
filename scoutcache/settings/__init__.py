"""Reading the configuration: files, the environment, profiles, and where each setting came from.

    folders      where files of a user live on this platform
    files        finding and parsing configuration files
    environment  SCOUTCACHE_* variables and .env
    profiles     named sets of settings
    loading      all of it in order, checked as a whole
    showing      origins, the commented template, what needs trust
"""

from __future__ import annotations

from scoutcache.settings.folders import default_directory, directory_of, user_folder
from scoutcache.settings.loading import Loaded, load_config
from scoutcache.settings.profiles import list_profiles, read_profile
from scoutcache.settings.showing import Explained, explain, needs_trust, sources, template, unused

__all__ = [
    "Explained", "Loaded", "default_directory", "directory_of", "explain", "list_profiles", "load_config",
    "needs_trust", "read_profile", "sources", "template", "unused", "user_folder",
]  # fmt: skip
