"""Supervision as OTP defines it: children that are started again by rules, in Trio programs and in those that block.

Not here: the rules (``core.supervision``), supervised actors in the GCS (``core.actor_life``).
"""
