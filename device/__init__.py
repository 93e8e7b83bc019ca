"""The firmware of a post: what a press means, and everything that follows from it.

`presses`, `held`, `core`, `location` and `feedback` decide and are pure; `outbox`, `service`
and `cli` are the edges that carry the decisions out.
"""
