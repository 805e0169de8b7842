"""A collection whose vectors are searched in Milvus, and whose record is elsewhere."""
