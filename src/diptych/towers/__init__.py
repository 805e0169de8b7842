"""Ready trained towers: finding their files, preparing what they take, running them with or without torch."""
