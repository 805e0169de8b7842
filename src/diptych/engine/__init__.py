"""Collections of pictures and texts that can be searched: record, caches, walk, decoding, batching."""
