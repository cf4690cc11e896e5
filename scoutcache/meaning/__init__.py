"""When one query may be answered by what another one got: scopes, gates, policies, and the statistics behind them."""
