"""The page that an operator watches: its views, its stream, its text and its pictures."""
