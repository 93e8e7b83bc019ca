"""Who works here: accounts, roles, shifts, and the screens they sit at."""
