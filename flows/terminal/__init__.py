"""What a person at the terminal sees: log lines and progress."""
