"""`flythinker demo`: SFT and FlyThinker on real texts, trained and judged in the time there is."""
