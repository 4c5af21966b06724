"""Webhooks: who outside is told of what happened here, and every delivery of it.

The follower reads the numbered ledger from a cursor and makes deliveries; the sender brings them to their receivers,
signed, until one is taken or given up. Neither knows of a run: what they tell of has been recorded before.
"""
