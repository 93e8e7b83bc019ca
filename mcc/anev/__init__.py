"""The weekly analysis and evaluation (anev) for the heads of Polsek and Polresta."""
