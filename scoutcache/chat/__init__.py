"""Requests to language models and their answers, as data: what makes two requests the same, what an answer says
and how it is stored.

Pure: no clock, no I/O, no client of any provider.
"""
