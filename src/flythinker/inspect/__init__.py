"""Looking at thoughts: what each did to the text."""
