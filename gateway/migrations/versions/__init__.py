"""One file for each version of the journal, named by its number."""
