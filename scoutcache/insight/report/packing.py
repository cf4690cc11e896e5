"""What serializing and compressing does for stored entries: how much smaller, and at what price in time."""

from __future__ import annotations

from scoutcache.insight.log.logtable import Log
from scoutcache.insight.report.sections import LOG, Section, plain_rows

__all__ = ["compression"]

TOP = 50


def compression(log: Log) -> Section:
    """By codec and prefix: bytes before and after, and what packing and unpacking took."""
    import numpy as np
    import pandas as pd

    stored, handled = log.known("stored")[0], log.known("codec_us")[0]
    packed = stored[log.written[stored]]
    packed = packed[~np.isnan(log.at("size", packed))]
    unpacked = handled[log.flag("hit")[handled]]
    tables = []
    for rows in (packed, unpacked):
        codec = log.word("codec", rows)
        tables.append(pd.DataFrame({
            "codec": np.where(codec == "", "none", codec), "prefix": log.word("prefix", rows),
            "size": log.at("size", rows), "stored": log.at("stored", rows), "us": log.at("codec_us", rows),
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
