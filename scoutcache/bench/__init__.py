"""Measuring: latency and throughput of the tiers, codecs on one's own values, and the demonstration on a real trace.

`run.run_bench`, `compare.compare`, `store.save` and `store.load`, `compression.bench_compression`, `demo.run_demo`.
All of them return plain records and print nothing.
"""
