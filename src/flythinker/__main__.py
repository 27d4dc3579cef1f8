"""`python -m flythinker …`, which launchers of several processes start."""

from flythinker.cli import main

main()
