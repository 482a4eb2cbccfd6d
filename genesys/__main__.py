"""`python -m genesys`."""

from genesys.cli import main

main()
