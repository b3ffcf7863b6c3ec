"""Pure decisions: plain synchronous state machines without I/O, clock, randomness or threads."""
