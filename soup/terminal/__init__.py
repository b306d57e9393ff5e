"""What a person at the terminal sees of any command: tables, and progress."""
