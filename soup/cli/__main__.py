"""`python -m soup.cli`, where the command is not on the path."""

from soup.cli import main

main()
