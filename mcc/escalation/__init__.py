"""Who is told of a call that nobody answers, and of a command centre where nobody would."""
