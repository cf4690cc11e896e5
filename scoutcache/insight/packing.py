"""What serializing and compressing does for stored entries: how much smaller, and at what price in time."""

from __future__ import annotations

from scoutcache.insight.logged import Log
from scoutcache.insight.sections import LOG, Section, plain_rows

__all__ = ["compression"]

TOP = 50


def compression(log: Log) -> Section:
    """By codec and prefix: bytes before and after, and what packing and unpacking took."""
    import numpy as np
    import pandas as pd

    known = ~np.isnan(log.number("stored")) & ~np.isnan(log.number("size"))
    packed = np.flatnonzero(known & log.written)
    unpacked = np.flatnonzero(log.flag("hit") & ~np.isnan(log.number("codec_us")))
    tables = []
    for rows in (packed, unpacked):
        codec = log.frame["codec"].iloc[rows].astype(object).fillna("none").to_numpy()
        tables.append(pd.DataFrame({
            "codec": codec, "prefix": log.names["prefix"].to_numpy(dtype=object)[log.entry[rows]],
            "size": log.number("size")[rows], "stored": log.number("stored")[rows], "us": log.number("codec_us")[rows],
        }))  # fmt: skip
    by, read = (table.groupby(["codec", "prefix"]) for table in tables)
    found = by.agg(writes=("size", "size"), size_bytes=("size", "sum"), stored_bytes=("stored", "sum")).assign(
        pack_p50_us=by["us"].quantile(0.5), pack_p95_us=by["us"].quantile(0.95),
    ).join(read["us"].quantile(0.5).rename("unpack_p50_us")).reset_index()  # fmt: skip
    found["ratio_times"] = found["size_bytes"] / found["stored_bytes"].where(found["stored_bytes"] > 0)
    found["saved_bytes"] = found["size_bytes"] - found["stored_bytes"]
    found = found.sort_values(["size_bytes", "codec", "prefix"], ascending=[False, True, True]).head(TOP)
    columns = ("codec", "prefix", "writes", "size_bytes", "stored_bytes", "ratio_times", "saved_bytes", "pack_p50_us",
               "pack_p95_us", "unpack_p50_us")  # fmt: skip
    note = "Stored bytes include what every entry carries beside its value, so small entries grow. Packing is "
    note += "serializing, compressing and sealing; unpacking the reverse."
    about = "How much room compression gains and what it costs. Try others: scoutcache bench compression."
    return Section("compression", "Compression by codec and prefix", columns,
                   plain_rows(columns, found.to_dict("records")), LOG, note, about,
                   ("codec", "prefix", "writes", "size_bytes", "stored_bytes", "ratio_times", "pack_p50_us",
                    "unpack_p50_us"))  # fmt: skip
