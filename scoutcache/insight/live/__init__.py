"""What happens in a cache now.

    stats       the figures behind ``stats``, by tag too
    server      what a server says of itself
    pulse       how much happens between two looks
    hot_keys    which keys are asked for most
    metrics     everything under the names of Prometheus
    dashboard   for Grafana
"""
