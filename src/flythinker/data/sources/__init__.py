"""Where a person's past texts come from: files and exports of other programs, one a module."""
