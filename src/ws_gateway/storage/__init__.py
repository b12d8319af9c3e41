"""PostgreSQL: schema and the ledger of subscriptions."""
