"""`python -m flythinker …`, which launchers of several processes start."""

from flythinker.cli.main import main

main()
