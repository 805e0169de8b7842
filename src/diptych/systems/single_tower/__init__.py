"""Systems that read image and text together in one stream."""
