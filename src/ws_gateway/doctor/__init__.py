"""`ws-gateway doctor`: one line per thing the gateway stands on, with what to do about it."""
