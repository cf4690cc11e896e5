"""Where entries live: one module per kind of tier, all behind `scoutcache.tiers.base.Tier`."""
