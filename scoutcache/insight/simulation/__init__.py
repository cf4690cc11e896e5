"""What caches of other sizes and with other policies would have done with the requests that were: miss-ratio curves."""
