"""The gateway of a district: takes in what posts offer, keeps it, passes it up.

`core.py` decides, with `record.py` (one alarm) and `posts.py` (one post); `journal.py` remembers;
`service.py` connects them to brokers. No other room may import this one.
"""
