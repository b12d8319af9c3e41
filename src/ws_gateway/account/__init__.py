"""Private facts: balances kept and stored, positions in one form."""
