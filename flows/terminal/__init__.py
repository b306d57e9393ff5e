"""What flows write to the terminal and to logs."""
