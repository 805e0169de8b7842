"""The home in a PostgreSQL database with pgvector: one server, many readers, one writer at a time."""
