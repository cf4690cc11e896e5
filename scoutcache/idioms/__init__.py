"""Ways to use a cache, for both faces, made of its calls.

    through      read-through and write-through
    behind       write-behind
    delivering   how its writes reach the source
    delivery     its words
    fields       one entry that holds a mapping, changed field by field
    versioned    keys that are left behind all at once
    checking     values that are looked at before they are served
    alone        one change of a key at a time
"""
