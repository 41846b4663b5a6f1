"""The facts, durable: `memory.MemoryStore` and `sql.SqlStore` behave alike (see README.md)."""
